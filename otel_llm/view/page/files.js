// Requests out of a file: chosen, or dropped on the page.

import * as api from "./api.js";
import { announce, h } from "./dom.js";
import { go } from "./route.js";
import { count } from "./text.js";

export function fileChooser() {
  const chooser = h("input", { type: "file", accept: "application/json,.json", multiple: true, hidden: true });
  chooser.addEventListener("change", () => {
    take([...chooser.files]);
    chooser.value = "";
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    take([...event.dataTransfer.files]);
  });
  return chooser;
}

async function take(files) {
  for (const file of files) {
    try {
      const { requests } = await api.imported(file);
      announce(requests.length ? `${count(requests.length, "request")} out of ${file.name}.` : `There is no request in ${file.name}.`);
      if (requests.length === 1) go({ view: "request", ids: requests });
    } catch (failure) {
      announce(`${file.name} was not read: ${failure.message}`);
    }
  }
}
