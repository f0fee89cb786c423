// To the clipboard, and what to do where there is none.

import { announce, button } from "./dom.js";

/** A button that copies what `text()` gives, a string or a promise of one. */
export function copier(words, text, { quiet = false, label = null } = {}) {
  return button(words, label ? null : "copy", async () => {
    try {
      await put(await text());
      announce("Copied.");
    } catch (failure) {
      announce(failure.message ? `Not copied: ${failure.message}` : "Not copied.");
    }
  }, { quiet, ...(label && { "aria-label": label }) });
}

async function put(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return;
    } catch {
      // Not allowed to; the old way may be.
    }
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("the browser does not let this page use the clipboard.");
}
