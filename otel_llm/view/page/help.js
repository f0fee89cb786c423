// The keys, told on "?".

import { button, h } from "./dom.js";

const KEYS = [
  ["The list", [["j  k", "next, previous request"], ["Enter", "open it"], ["/", "search"], ["c", "choose it for comparison; the second opens both"], ["g", "to the newest"], ["Esc", "back: close what is open, leave the search"]]],
  ["The timeline", [["← →", "in the scrubber: delta by delta; in the picture: move it"], ["Space", "in the scrubber: play, pause"], ["+  −  0", "in the picture: zoom in, out, show all"], ["Ctrl and wheel", "zoom where the pointer is"]]],
  ["Anywhere", [["t", "light, dark, as the system has it"], ["?", "this"]]],
];

export function helpDialog() {
  const dialog = h("dialog", { class: "help", "aria-labelledby": "help-title" },
    h("div", { class: "help-head" }, h("h2", { id: "help-title" }, "Keys"), h("span", { class: "spring" }), button("Close", "close", () => dialog.close(), { quiet: true })),
    KEYS.map(([title, keys]) => [h("h3", {}, title), h("dl", {}, keys.map(([key, does]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, does))))]));
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  return dialog;
}

/** Ask before something that cannot be undone: a promise of yes or no. */
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
