// The light or dark theme, or the system's. The choice is stored if the browser permits it.

import { forgetColours } from "./colours.js";

const ORDER = ["system", "light", "dark"];
const KEY = "otel-llm-theme";

export class Theme extends EventTarget {
  name = "system";

  constructor() {
    super();
    this.set(stored());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#changed());
  }

  /** @param {string | null} name */
  set(name) {
    this.name = name && ORDER.includes(name) ? name : "system";
    if (this.name === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = this.name;
    try {
      localStorage.setItem(KEY, this.name);
    } catch {
      // The browser blocks storage; the next visit starts with the system's theme.
    }
    this.#changed();
  }

  next() {
    this.set(ORDER[(ORDER.indexOf(this.name) + 1) % ORDER.length]);
  }

  #changed() {
    forgetColours();
    this.dispatchEvent(new Event("change"));
  }
}

function stored() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}
