// Light, dark, or as the system has it. Kept for the next time where the browser lets us.

import { forgetColours } from "./colours.js";

const ORDER = ["system", "light", "dark"];
const KEY = "otel-llm-theme";

export class Theme extends EventTarget {
  constructor() {
    super();
    this.set(stored());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#changed());
  }

  set(name) {
    this.name = ORDER.includes(name) ? name : "system";
    if (this.name === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = this.name;
    try {
      localStorage.setItem(KEY, this.name);
    } catch {
      // A browser that keeps nothing has the system's theme again next time.
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
