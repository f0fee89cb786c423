// Copies to the clipboard.

import { sentenceOf } from "./api.js";
import { announce, button } from "./dom.js";

/**
 * A button that copies what `text()` returns.
 * @param {string} words
 * @param {() => string | Promise<string>} text
 * @param {{ quiet?: boolean, label?: string | null }} options `label`: for screen readers; the button then has no icon
 */
export function copier(words, text, { quiet = false, label = null } = {}) {
  return button(words, label ? null : "copy", async () => {
    try {
      await put(await text());
      announce("Copied.");
    } catch (failure) {
      announce(`Copy failed: ${sentenceOf(failure)}`);
    }
  }, { quiet, ...(label && { "aria-label": label }) });
}

/** @param {string} text */
async function put(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return;
    } catch {
      // Not permitted; execCommand may be.
    }
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("the browser does not allow this page to use the clipboard.");
}
