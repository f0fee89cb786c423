// A slider over the time of the request, and the arguments as they were at that time.

import { laneColour } from "./colours.js";
import { button, fill, h, icon } from "./dom.js";
import { duration, number, visible } from "./text.js";

/** @import { IconName } from "./dom.js" */
/** @import { Lane, Lanes } from "./lanes.js" */

const STEPS = 10_000; // of the slider, over the whole request
const TAIL = 600; // characters shown, from the end of the arguments
const MOST = 8; // calls shown: those whose arguments grew last
const PLAYED = [1500, 12_000]; // ms that playing takes, at least and at most

export class Scrubber {
  #time = 0;

  /** The next frame while it is playing. */
  #playing = 0;

  #isAsked = false;

  /** @type {Map<number, { line: HTMLElement, code: HTMLElement, size: HTMLElement }>} */
  #lines = new Map();

  /**
   * `moved` gets each new time. `extent`: the least time in ms that the slider spans, to compare two requests.
   * @param {Lanes} lanes
   * @param {(ms: number) => void} moved
   */
  constructor(lanes, moved, { extent = 0 } = {}) {
    this.lanes = lanes;
    this.extent = Math.max(extent, lanes.duration);
    this.moved = moved;
    this.calls = lanes.lanes.filter((lane) => lane.facts.kind === "tool_call");
    /** @type {HTMLInputElement} */
    this.slider = h("input", {
      type: "range", class: "scrub", min: 0, max: STEPS, step: 1, "aria-label": "Time within the request",
      on: { input: () => this.#go((this.slider.valueAsNumber / STEPS) * this.extent), keydown: (event) => this.#key(event) },
    });
    this.player = button("Play", "play", () => (this.#playing ? this.stop() : this.play()), { quiet: true });
    this.clock = h("output", { class: "clock" });
    this.rows = h("ul", { class: "growing", "aria-label": "Arguments at this time" });
    this.element = h("div", { class: "scrubber" }, h("div", { class: "scrub-bar" }, h("div", { class: "scrub-clock" }, this.player, this.clock), this.slider), this.calls.length ? this.rows : null);
    this.rows.style.setProperty("--rows", String(Math.min(MOST, this.calls.length)));
    this.show(lanes.duration);
  }

  /**
   * Show the time `ms`, without calling `moved`.
   * @param {number} ms
   */
  show(ms) {
    this.#time = Math.min(Math.max(0, ms), this.extent);
    this.slider.value = String(Math.round((this.#time / this.extent) * STEPS));
    this.slider.setAttribute("aria-valuetext", this.#spoken());
    this.clock.textContent = `${duration(this.#time)} of ${duration(this.extent)}`;
    if (this.#isAsked) return;
    this.#isAsked = true;
    requestAnimationFrame(() => {
      this.#isAsked = false;
      this.#grow();
    });
  }

  /** @param {number} ms */
  #go(ms) {
    this.show(ms);
    this.moved(this.#time);
  }

  /** Play from here (or from the start, if this is the end) in real time, within the limits of PLAYED. */
  play() {
    const whole = Math.min(Math.max(this.extent, PLAYED[0]), PLAYED[1]);
    const speed = this.extent / whole;
    const from = this.#time >= this.extent ? 0 : this.#time;
    const began = performance.now();
    this.#button("Pause", "pause");
    const step = () => {
      if (!this.element.isConnected) return;
      const at = from + (performance.now() - began) * speed;
      this.#go(at);
      if (at >= this.extent) this.stop();
      else this.#playing = requestAnimationFrame(step);
    };
    this.#playing = requestAnimationFrame(step);
  }

  stop() {
    cancelAnimationFrame(this.#playing);
    this.#playing = 0;
    this.#button("Play", "play");
  }

  /**
   * @param {string} words
   * @param {IconName} name
   */
  #button(words, name) {
    this.player.title = words;
    this.player.setAttribute("aria-label", words);
    fill(this.player, icon(name));
  }

  /**
   * The arrow keys go from delta to delta.
   * @param {KeyboardEvent} event
   */
  #key(event) {
    /** @type {Record<string, number>} */
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 };
    if (event.key === " ") this.player.click();
    else if (event.key in steps && !event.ctrlKey && !event.altKey) this.#go(this.lanes.next(this.#time, steps[event.key]));
    else return;
    event.preventDefault();
  }

  #spoken() {
    const parts = this.calls.slice(0, MOST).map((lane) => `${lane.title} ${number(lane.lengthAt(this.#time))} of ${number(lane.facts.arguments_length)} characters`);
    return [duration(this.#time), ...parts].join(", ");
  }

  #grow() {
    /**
     * When the arguments of a call last grew; those of a call without deltas so far come last.
     * @param {Lane} lane
     */
    const last = (lane) => {
      const arrived = lane.until(this.#time);
      return arrived ? lane.times[arrived - 1] : (lane.starts ?? 0) - 1e9;
    };
    const shown = this.calls.length > MOST
      ? [...this.calls].sort((a, b) => last(b) - last(a)).slice(0, MOST).sort((a, b) => a.number - b.number)
      : this.calls;
    const lines = shown.map((lane) => this.#line(lane).line);
    if (lines.length !== this.rows.children.length || lines.some((line, at) => this.rows.children[at] !== line)) this.rows.replaceChildren(...lines);
    for (const lane of shown) this.#update(lane);
  }

  /** @param {Lane} lane */
  #line(lane) {
    const known = this.#lines.get(lane.number);
    if (known) return known;
    const code = h("code", { class: "growing-text" });
    const size = h("span", { class: "growing-size" });
    const name = h("span", { class: "growing-name" }, h("span", { class: "swatch" }), h("bdi", {}, lane.title));
    const made = { line: h("li", { class: "growing-call", data: { colour: laneColour(lane) } }, name, code, size), code, size };
    this.#lines.set(lane.number, made);
    return made;
  }

  /** @param {Lane} lane */
  #update(lane) {
    const { code, size } = this.#line(lane);
    const { text, fresh } = lane.textAt(this.#time);
    const known = text.slice(-TAIL);
    const cut = Math.max(0, known.length - fresh);
    const recorded = lane.facts.arguments !== null || text !== "";
    fill(code, text.length > TAIL ? "…" : "", visible(known.slice(0, cut)), h("span", { class: "newest" }, visible(known.slice(cut))),
      recorded ? null : h("span", { class: "aside" }, lane.size ? "not recorded" : ""));
    size.textContent = `${number(lane.lengthAt(this.#time))} / ${number(lane.facts.arguments_length)}`;
    code.scrollTop = code.scrollHeight;
  }
}
