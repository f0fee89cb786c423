// Imports requests from files that are opened or dropped on the page.

import * as api from "./api.js";
import { announce, h } from "./dom.js";
import { go } from "./route.js";
import { count } from "./text.js";

export function fileChooser() {
  const chooser = h("input", { type: "file", accept: "application/json,.json", multiple: true, hidden: true });
  chooser.addEventListener("change", () => {
    take([...(chooser.files ?? [])]);
    chooser.value = "";
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    take([...(event.dataTransfer?.files ?? [])]);
  });
  return chooser;
}

/** @param {File[]} files */
async function take(files) {
  for (const file of files) {
    try {
      const { requests } = await api.imported(file);
      announce(requests.length ? `Loaded ${count(requests.length, "request")} from ${file.name}.` : `${file.name} contains no requests.`);
      if (requests.length === 1) go({ view: "request", ids: requests });
    } catch (failure) {
      announce(`Could not read ${file.name}: ${api.sentenceOf(failure)}`);
    }
  }
}
