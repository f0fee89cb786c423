// The keyboard shortcuts, and the question before a deletion.

import { button, h } from "./dom.js";

/** @type {[string, [string, string][]][]} */
const KEYS = [
  ["The list", [["j  k", "next, previous request"], ["Enter", "open the request"], ["/", "search"], ["c", "select for comparison; the second one opens it"], ["g", "go to the newest request"], ["Esc", "close the open request, leave the search field"]]],
  ["The timeline", [["← →", "on the slider: go to the previous or next delta; on the chart: pan"], ["Space", "on the slider: play, pause"], ["+  −  0", "on the chart: zoom in, zoom out, show all"], ["Ctrl and wheel", "zoom at the pointer"]]],
  ["Anywhere", [["t", "switch the theme: system, light, dark"], ["?", "show this help"]]],
];

export function helpDialog() {
  const dialog = h("dialog", { class: "help", "aria-labelledby": "help-title" },
    h("div", { class: "help-head" }, h("h2", { id: "help-title" }, "Keyboard shortcuts"), h("span", { class: "spring" }), button("Close", "close", () => dialog.close(), { quiet: true })),
    KEYS.map(([title, keys]) => [h("h3", {}, title), h("dl", {}, keys.map(([key, does]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, does))))]));
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  return dialog;
}

/**
 * Ask before an action that cannot be undone.
 * @param {string} question
 * @param {string} yes label of the button that confirms
 * @returns {Promise<boolean>}
 */
export function confirmed(question, yes) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { class: "ask", "aria-labelledby": "ask-title" }, h("p", { id: "ask-title" }, question),
      h("div", { class: "ask-actions" }, button("Cancel", null, () => dialog.close("no")), button(yes, null, () => dialog.close("yes"), { class: "danger" })));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
