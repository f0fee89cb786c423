// A moment of the request, and how far the arguments had grown by then.

import { laneColour } from "./colours.js";
import { button, fill, h, icon } from "./dom.js";
import { duration, number, visible } from "./text.js";

const STEPS = 10_000; // of the slider, over the whole request
const TAIL = 600; // characters of arguments shown while they grow: their newest end
const MOST = 8; // calls shown at a time: those that grew last
const PLAYED = [1500, 12_000]; // ms that playing takes at the least and at the most

export class Scrubber {
  /** `moved(ms)` is called for every new moment. `extent`: ms that the slider spans at the least, to compare two. */
  constructor(lanes, moved, { extent = 0 } = {}) {
    this.lanes = lanes;
    this.extent = Math.max(extent, lanes.duration);
    this.moved = moved;
    this.calls = lanes.lanes.filter((lane) => lane.facts.kind === "tool_call");
    this.slider = h("input", {
      type: "range", class: "scrub", min: 0, max: STEPS, step: 1, "aria-label": "Moment of the request",
      on: { input: () => this.#go((this.slider.valueAsNumber / STEPS) * this.extent), keydown: (event) => this.#key(event) },
    });
    this.player = button("Play", "play", () => (this.playing ? this.stop() : this.play()), { quiet: true });
    this.clock = h("output", { class: "clock" });
    this.rows = h("ul", { class: "growing", "aria-label": "Arguments at this moment" });
    this.element = h("div", { class: "scrubber" }, h("div", { class: "scrub-bar" }, h("div", { class: "scrub-clock" }, this.player, this.clock), this.slider), this.calls.length ? this.rows : null);
    this.lines = new Map();
    this.rows.style.setProperty("--rows", Math.min(MOST, this.calls.length));
    this.show(lanes.duration);
  }

  /** Show the moment `ms` that was chosen elsewhere. */
  show(ms) {
    this.time = Math.min(Math.max(0, ms), this.extent);
    this.slider.value = Math.round((this.time / this.extent) * STEPS);
    this.slider.setAttribute("aria-valuetext", this.#spoken());
    this.clock.textContent = `${duration(this.time)} of ${duration(this.extent)}`;
    if (!this.asked)
      this.asked = requestAnimationFrame(() => {
        this.asked = null;
        this.#grow();
      });
  }

  #go(ms) {
    this.show(ms);
    this.moved(this.time);
  }

  /** From here (or from the start) to the end, in the request's own time where that is neither too short nor too long. */
  play() {
    const whole = Math.min(Math.max(this.extent, PLAYED[0]), PLAYED[1]);
    const speed = this.extent / whole;
    const from = this.time >= this.extent ? 0 : this.time;
    const began = performance.now();
    this.#button("Pause", "pause");
    const step = () => {
      if (!this.element.isConnected) return;
      const at = from + (performance.now() - began) * speed;
      this.#go(at);
      if (at >= this.extent) this.stop();
      else this.playing = requestAnimationFrame(step);
    };
    this.playing = requestAnimationFrame(step);
  }

  stop() {
    cancelAnimationFrame(this.playing);
    this.playing = null;
    this.#button("Play", "play");
  }

  #button(words, name) {
    this.player.title = words;
    this.player.setAttribute("aria-label", words);
    fill(this.player, icon(name));
  }

  // The arrows step from delta to delta, which is what one looks for.
  #key(event) {
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 };
    if (event.key === " ") this.player.click();
    else if (event.key in steps && !event.ctrlKey && !event.altKey) this.#go(this.lanes.next(this.time, steps[event.key]));
    else return;
    event.preventDefault();
  }

  #spoken() {
    const parts = this.calls.slice(0, MOST).map((lane) => `${lane.title} ${number(lane.lengthAt(this.time))} of ${number(lane.facts.arguments_length)} characters`);
    return [duration(this.time), ...parts].join(", ");
  }

  #grow() {
    const last = (lane) => { const come = lane.until(this.time); return come ? lane.times[come - 1] : (lane.starts ?? 0) - 1e9; };
    const shown = this.calls.length > MOST
      ? [...this.calls].sort((a, b) => last(b) - last(a)).slice(0, MOST).sort((a, b) => a.number - b.number)
      : this.calls;
    const lines = shown.map((lane) => this.#line(lane));
    if (lines.length !== this.rows.children.length || lines.some((line, at) => this.rows.children[at] !== line)) this.rows.replaceChildren(...lines);
    for (const lane of shown) this.#update(lane);
  }

  #line(lane) {
    let line = this.lines.get(lane.number);
    if (!line) {
      line = h("li", { class: "growing-call", data: { colour: laneColour(lane) } },
        h("span", { class: "growing-name" }, h("span", { class: "swatch" }), h("bdi", {}, lane.title)), h("code", { class: "growing-text" }), h("span", { class: "growing-size" }));
      this.lines.set(lane.number, line);
    }
    return line;
  }

  #update(lane) {
    const [, code, size] = this.lines.get(lane.number).children;
    const { text, fresh } = lane.textAt(this.time);
    const known = text.slice(-TAIL);
    const cut = Math.max(0, known.length - fresh);
    const recorded = lane.facts.arguments !== null || text !== "";
    fill(code, text.length > TAIL ? "…" : "", visible(known.slice(0, cut)), h("span", { class: "newest" }, visible(known.slice(cut))),
      recorded ? null : h("span", { class: "aside" }, lane.size ? "not recorded" : ""));
    size.textContent = `${number(lane.lengthAt(this.time))} / ${number(lane.facts.arguments_length)}`;
    code.scrollTop = code.scrollHeight;
  }
}
