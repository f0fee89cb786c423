// The timeline of one request: a lane for each tool call and for text, with every delta at its time.
//
// It is drawn on a canvas and aggregated per pixel, so that 100,000 deltas cost as much as 1,000. The names of the lanes are
// elements beside the canvas; screen readers get the lanes' facts from them, and the facts of a moment from the scrubber.

import { colours, laneColour } from "./colours.js";
import { button, fill, h, icon } from "./dom.js";
import { count, duration, number, oneLine, visible, words } from "./text.js";

/** @import { Colours } from "./colours.js" */
/** @import { Lane, Lanes, Wait } from "./lanes.js" */

/** @typedef {CanvasRenderingContext2D} Canvas */

const AXIS = 46; // px: a row of times, a row of flags
const TICKS = 8; // px: the strip of deltas at the bottom of a lane
const EDGE = 10; // px at both sides, so that what is at the start and at the end is visible
const MOST_HEIGHT = 460; // px; more lanes scroll
const CLOSEST = 0.02; // ms: the shortest time that the width can show

export class Timeline {
  #from = 0;
  #to;
  #time;

  /** @type {number | null} The lane that is marked. */
  #pointed = null;

  #isAsked = false;
  #isClosed = false;
  #width = 0;
  #laneHeight = 0;
  #laneTop = 0;

  /** @type {Colours} */
  #colours = {};

  /**
   * `scrubbed` gets the time that the user points at. `extent`: the least time in ms that is shown, to compare two requests.
   * @param {Lanes} lanes
   * @param {{ scrubbed: (ms: number) => void, extent?: number, label?: string }} options
   */
  constructor(lanes, { scrubbed, extent = 0, label = "Timeline" }) {
    this.lanes = lanes;
    this.scrubbed = scrubbed;
    this.extent = Math.max(extent, lanes.duration);
    this.#to = this.extent;
    this.#time = lanes.duration;
    this.axis = h("canvas", { class: "axis", "aria-hidden": "true" });
    this.canvas = h("canvas", { class: "lanes-picture", role: "img", "aria-label": summary(lanes) });
    this.labels = h("ul", { class: "lane-labels", "aria-label": "Lanes" }, lanes.lanes.map((lane) => this.#label(lane)));
    this.tip = h("div", { class: "tip", role: "presentation", hidden: true });
    this.space = h("div", { class: "lanes-space" }, this.canvas);
    this.scroll = h("div", { class: "lanes-scroll", tabindex: "0", role: "group", "aria-label": `${label}: + and - zoom, 0 shows all` }, this.labels, this.space);
    this.zoomOut = button("Zoom out", "minus", () => this.zoom(2), { quiet: true });
    this.fitAll = button("Show all", "fit", () => this.fit(), { quiet: true });
    const tools = h("div", { class: "timeline-tools" }, legend(), h("span", { class: "spring" }),
      button("Zoom in", "plus", () => this.zoom(0.5), { quiet: true }), this.zoomOut, this.fitAll);
    this.element = h("div", { class: "timeline" }, tools, this.axis, this.scroll, this.tip);
    this.#listen();
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.scroll);
  }

  close() {
    this.observer.disconnect();
    this.#isClosed = true;
  }

  /**
   * Show the time `ms`, and bring it into view.
   * @param {number} ms
   */
  at(ms) {
    this.#time = ms;
    if (ms < this.#from || ms > this.#to) {
      const width = this.#to - this.#from;
      this.#show(ms - width / 2, ms + width / 2);
    }
    this.draw();
  }

  /**
   * Mark a lane, and scroll to it; null marks none.
   * @param {number | null} number
   */
  point(number) {
    this.#pointed = number;
    for (const [at, label] of [...this.labels.children].entries()) label.classList.toggle("pointed", at === number);
    if (number !== null) this.labels.children[number]?.scrollIntoView({ block: "nearest" });
    this.draw();
  }

  /** @param {number} factor of the time shown */
  zoom(factor, around = this.#time) {
    const width = Math.max(CLOSEST, (this.#to - this.#from) * factor);
    const share = around >= this.#from && around <= this.#to ? (around - this.#from) / (this.#to - this.#from) : 0.5;
    const middle = around >= this.#from && around <= this.#to ? around : (this.#from + this.#to) / 2;
    this.#show(middle - width * share, middle + width * (1 - share));
  }

  fit() {
    this.#show(0, this.extent);
  }

  /** @param {number} ms */
  pan(ms) {
    this.#show(this.#from + ms, this.#to + ms);
  }

  /**
   * @param {number} from
   * @param {number} to
   */
  #show(from, to) {
    const width = Math.min(to - from, this.extent);
    this.#from = Math.min(Math.max(0, from), this.extent - width);
    this.#to = this.#from + width;
    this.draw();
  }

  /** @param {Lane} lane */
  #label(lane) {
    const { facts } = lane;
    const wrong = this.lanes.anomalies.filter((one) => one.lane === lane.number);
    const calls = facts.kind === "tool_call";
    const badge = wrong.length ? h("span", { class: "lane-wrong", title: wrong.map((one) => words(one.type)).join(", ") }, icon("warning"), wrong.length > 1 ? String(wrong.length) : null, h("span", { class: "unseen" }, ` ${wrong.map((one) => words(one.type)).join(", ")}`)) : null;
    const about = calls
      ? `${number(facts.arguments_length)} chars · ${count(facts.delta_count, "delta")}`
      : `from ${duration(lane.starts)}`;
    return h("li", { class: "lane-label", data: { colour: laneColour(lane) } },
      h("span", { class: "lane-name" }, h("span", { class: "swatch" }), h("bdi", {}, lane.title),
        calls && facts.index !== null ? h("span", { class: "lane-index" }, `[${facts.index}]`) : null, badge),
      h("span", { class: "lane-about" }, about));
  }

  #listen() {
    const canvas = this.canvas;
    let dragging = false;
    /** @param {MouseEvent} event */
    const scrubTo = (event) => {
      this.#time = Math.min(Math.max(0, this.#timeOf(event.offsetX)), this.extent);
      this.scrubbed(this.#time);
      this.draw();
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      dragging = true;
      canvas.setPointerCapture(event.pointerId);
      scrubTo(event);
    });
    canvas.addEventListener("pointermove", (event) => (dragging ? scrubTo(event) : this.#tell(event)));
    canvas.addEventListener("pointerup", () => { dragging = false; });
    canvas.addEventListener("pointercancel", () => { dragging = false; });
    canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    canvas.addEventListener("dblclick", (event) => this.zoom(0.25, this.#timeOf(event.offsetX)));
    canvas.addEventListener("wheel", (event) => {
      if (event.ctrlKey || event.metaKey) this.zoom(Math.exp(event.deltaY * 0.01), this.#timeOf(event.offsetX));
      else if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) this.pan(((event.deltaX || event.deltaY) / this.#width) * (this.#to - this.#from));
      else return;
      event.preventDefault();
    }, { passive: false });
    this.scroll.addEventListener("scroll", () => this.draw());
    this.scroll.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const quarter = (this.#to - this.#from) / 4;
      /** @type {Record<string, () => void>} */
      const actions = { "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), 0: () => this.fit(), ArrowLeft: () => this.pan(-quarter), ArrowRight: () => this.pan(quarter) };
      const does = actions[event.key];
      if (!does) return;
      event.preventDefault();
      event.stopPropagation();
      does();
    });
  }

  // -- places --

  /** @param {number} time */
  #x(time) {
    return EDGE + ((time - this.#from) / (this.#to - this.#from)) * (this.#width - 2 * EDGE);
  }

  /** @param {number} x */
  #timeOf(x) {
    return this.#from + ((x - EDGE) / (this.#width - 2 * EDGE)) * (this.#to - this.#from);
  }

  // -- drawing --

  draw() {
    if (this.#isAsked || this.#isClosed) return;
    this.#isAsked = true;
    requestAnimationFrame(() => {
      this.#isAsked = false;
      if (this.scroll.isConnected) this.#paint();
    });
  }

  #paint() {
    const style = getComputedStyle(this.scroll);
    this.#laneHeight = parseFloat(style.getPropertyValue("--lane-height")) || 48;
    this.#laneTop = parseFloat(style.getPropertyValue("--lane-top")) || 0;
    const all = this.lanes.lanes.length * this.#laneHeight;
    const height = Math.max(this.#laneHeight, Math.min(all, MOST_HEIGHT));
    this.scroll.style.height = `${height}px`;
    this.space.style.height = `${Math.max(all, this.#laneHeight)}px`;
    this.#width = this.space.clientWidth;
    if (this.#width < 4 * EDGE) return;
    this.axis.style.marginLeft = `${this.space.offsetLeft}px`;
    this.zoomOut.disabled = this.fitAll.disabled = this.#to - this.#from >= this.extent;
    this.#colours = colours();
    this.#paintAxis(sized(this.axis, this.#width, AXIS));
    this.#paintLanes(sized(this.canvas, this.#width, height), height);
  }

  /** @param {Canvas} to */
  #paintAxis(to) {
    const ink = this.#colours;
    to.font = fontOf(this.element);
    to.textBaseline = "middle";
    for (const [time, label] of ticksOf(this.#from, this.#to, Math.max(2, Math.floor(this.#width / 90)))) {
      const x = Math.round(this.#x(time)) + 0.5;
      to.fillStyle = ink.muted;
      const wide = to.measureText(label).width;
      to.fillText(label, Math.min(Math.max(0, x - wide / 2), this.#width - wide), 10);
      line(to, ink.line, x, 18, x, AXIS);
    }
    line(to, ink.line, 0, AXIS - 0.5, this.#width, AXIS - 0.5);
    const places = new Places();
    /**
     * @param {number} x
     * @param {string} label
     * @param {string} colour
     * @param {boolean} mark with a triangle, as for an anomaly
     */
    const flag = (x, label, colour, mark) => {
      if (x < -1 || x > this.#width + 1) return;
      const wide = to.measureText(label).width + 6;
      const [right, left] = [x + (mark ? 10 : 4), x - (mark ? 10 : 4) - wide].map((at) => (at + wide > this.#width || !places.isFree(at - 2, at + wide + 2) ? null : at));
      const at = right ?? left;
      to.fillStyle = colour;
      if (mark) triangle(to, x, 32, colour, ink.panel);
      if (at === null) return;
      places.take(at - 2, at + wide + 2);
      to.fillStyle = ink.panel;
      to.fillRect(at, 22, wide, 18);
      to.fillStyle = colour;
      to.fillText(label, at + 3, 31.5);
    };
    const ofAll = this.lanes.anomalies.filter(({ lane }) => lane === null);
    for (const { at_ms } of ofAll) places.take(this.#x(at_ms) - 8, this.#x(at_ms) + 8);
    for (const { at_ms, reason } of this.lanes.finishes) {
      const x = Math.round(this.#x(at_ms)) + 0.5;
      line(to, ink.ink, x, 22, x, AXIS);
      flag(x, oneLine(reason, 30), ink.ink, false);
    }
    for (const { at_ms, type } of ofAll) flag(this.#x(at_ms), words(type), ink.danger, true);
    for (const wait of this.lanes.waits) {
      const [left, right] = [this.#x(wait.from), this.#x(wait.to)];
      const room = Math.min(right, this.#width) - Math.max(left, 0) - 12;
      const long = wait.from === 0 ? `first event after ${duration(wait.ms)}` : `no event for ${duration(wait.ms)}`;
      const label = [long, duration(wait.ms)].find((one) => to.measureText(one).width <= room);
      if (!label) continue;
      const wide = to.measureText(label).width;
      const middle = (Math.max(left, 0) + Math.min(right, this.#width)) / 2 - wide / 2;
      if (!places.take(middle - 2, middle + wide + 2)) continue;
      to.fillStyle = wait.from === 0 ? ink.muted : ink.wait;
      to.fillText(label, middle, 31.5);
    }
    this.#cursor(to, AXIS, true);
  }

  /**
   * @param {Canvas} to
   * @param {number} height
   */
  #paintLanes(to, height) {
    const ink = this.#colours;
    const laneHeight = this.#laneHeight;
    const top = this.scroll.scrollTop;
    for (const wait of this.lanes.waits) this.#paintWait(to, wait, height);
    for (const [time] of ticksOf(this.#from, this.#to, Math.max(2, Math.floor(this.#width / 90)))) {
      const x = Math.round(this.#x(time)) + 0.5;
      line(to, ink.line, x, 0, x, height);
    }
    for (const { at_ms } of this.lanes.finishes) {
      const x = Math.round(this.#x(at_ms)) + 0.5;
      to.setLineDash([3, 3]);
      line(to, ink.muted, x, 0, x, height);
      to.setLineDash([]);
    }
    const begin = Math.max(0, Math.floor(top / laneHeight));
    const end = Math.min(this.lanes.lanes.length, Math.ceil((top + height) / laneHeight));
    for (let at = begin; at < end; at += 1) this.#paintLane(to, this.lanes.lanes[at], at * laneHeight - top);
    this.#cursor(to, height, false);
  }

  /**
   * @param {Canvas} to
   * @param {Wait} wait
   * @param {number} height
   */
  #paintWait(to, wait, height) {
    const left = Math.max(0, this.#x(wait.from));
    const right = Math.min(this.#width, this.#x(wait.to));
    if (right <= left) return;
    to.save();
    to.beginPath();
    to.rect(left, 0, right - left, height);
    to.clip();
    to.strokeStyle = wait.from === 0 ? this.#colours.faint : this.#colours.wait;
    to.globalAlpha = wait.from === 0 ? 0.35 : 0.3;
    to.beginPath();
    for (let x = left - height - (left % 7); x < right; x += 7) {
      to.moveTo(x, height);
      to.lineTo(x + height, 0);
    }
    to.stroke();
    to.restore();
  }

  /**
   * @param {Canvas} to
   * @param {Lane} lane
   * @param {number} y
   */
  #paintLane(to, lane, y) {
    const ink = this.#colours;
    const colour = ink[laneColour(lane)];
    const top = y + this.#laneTop + 5;
    const foot = y + this.#laneHeight - 5;
    line(to, ink.line, 0, y + this.#laneHeight - 0.5, this.#width, y + this.#laneHeight - 0.5);
    if (lane.number === this.#pointed) {
      to.globalAlpha = 0.08;
      to.fillStyle = ink.danger;
      to.fillRect(0, y, this.#width, this.#laneHeight - 1);
      to.globalAlpha = 1;
    }
    if (lane.starts === null) return;
    const [left, right] = [this.#x(lane.starts), this.#x(lane.ends)];
    to.fillStyle = colour;
    to.globalAlpha = 0.14;
    to.fillRect(left, foot - TICKS, Math.max(2, right - left), TICKS);
    to.globalAlpha = 1;
    if (lane.facts.kind !== "tool_call" && !lane.size) this.#paintUnknown(to, colour, left, foot);
    this.#paintGrowth(to, lane, colour, top, foot - TICKS - 1);
    this.#paintDeltas(to, lane, colour, foot);
    this.#paintMarks(to, lane, colour, top, foot);
  }

  /**
   * Only the start of text is recorded, so its bar fades out.
   * @param {Canvas} to
   * @param {string} colour
   * @param {number} left
   * @param {number} foot
   */
  #paintUnknown(to, colour, left, foot) {
    const long = Math.min(160, this.#width - left - EDGE);
    if (long <= 0) return;
    const fade = to.createLinearGradient(left, 0, left + long, 0);
    fade.addColorStop(0, colour);
    fade.addColorStop(1, "transparent");
    to.globalAlpha = 0.5;
    to.fillStyle = fade;
    to.fillRect(left, foot - TICKS, long, TICKS);
    to.globalAlpha = 1;
  }

  /**
   * The length of the arguments over time, as a share of their final length.
   * @param {Canvas} to
   * @param {Lane} lane
   * @param {string} colour
   * @param {number} top
   * @param {number} foot
   */
  #paintGrowth(to, lane, colour, top, foot) {
    const whole = lane.size ? lane.lengths[lane.size - 1] : 0;
    if (!whole) return;
    const begin = Math.max(0, lane.until(this.#from) - 1);
    const end = Math.min(lane.size, lane.until(this.#to) + 1);
    /** @param {number} length */
    const height = (length) => foot - (length / whole) * (foot - top);
    to.beginPath();
    let y = height(begin > 0 ? lane.lengths[begin - 1] : 0);
    let pixel = Math.max(-1, this.#x(lane.times[begin]));
    to.moveTo(pixel, foot);
    to.lineTo(pixel, y);
    let level = null;
    for (let at = begin; at < end; at += 1) {
      const x = this.#x(lane.times[at]);
      const now = height(lane.lengths[at]);
      if (lane.folded[at] > 1) {
        if (level !== null) { y = level; to.lineTo(pixel, y); level = null; }
        to.lineTo(x, y);
        pixel = Math.min(this.#width + 1, this.#x(lane.lasts(at)));
        y = now;
        to.lineTo(pixel, y);
      } else if (x - pixel < 0.75 && at + 1 < end) level = now;
      else {
        if (level !== null) { y = level; to.lineTo(pixel, y); level = null; }
        to.lineTo(x, y);
        to.lineTo(x, now);
        pixel = x;
        y = now;
      }
    }
    const right = Math.min(this.#width + 1, Math.max(pixel, this.#x(lane.ends)));
    to.lineTo(right, y);
    to.strokeStyle = colour;
    to.lineWidth = 1.25;
    to.stroke();
    to.lineWidth = 1;
    to.lineTo(right, foot);
    to.closePath();
    to.globalAlpha = 0.16;
    to.fillStyle = colour;
    to.fill();
    to.globalAlpha = 1;
  }

  /**
   * @param {Canvas} to
   * @param {Lane} lane
   * @param {string} colour
   * @param {number} foot
   */
  #paintDeltas(to, lane, colour, foot) {
    const begin = Math.max(0, lane.until(this.#from) - 1);
    const end = Math.min(lane.size, lane.until(this.#to) + 1);
    to.fillStyle = colour;
    to.globalAlpha = 0.45;
    for (let at = begin; at < end; at += 1) {
      if (lane.folded[at] < 2) continue;
      const x = this.#x(lane.times[at]);
      to.fillRect(x, foot - TICKS + 2, Math.max(1, this.#x(lane.lasts(at)) - x), TICKS - 4);
    }
    to.globalAlpha = 1;
    let last = -Infinity;
    for (let at = begin; at < end; at += 1) {
      const x = Math.round(this.#x(lane.times[at]));
      if (x === last) continue;
      to.fillRect(x - 1, foot - TICKS, x - last > 3 ? 2 : 1, TICKS);
      last = x;
    }
  }

  /**
   * @param {Canvas} to
   * @param {Lane} lane
   * @param {string} colour
   * @param {number} top
   * @param {number} foot
   */
  #paintMarks(to, lane, colour, top, foot) {
    const ink = this.#colours;
    const { detected_ms, completed_ms, kind } = lane.facts;
    const middle = foot - TICKS / 2;
    const start = kind === "tool_call" ? detected_ms : lane.starts;
    if (typeof start === "number") dot(to, this.#x(start), middle, ink.panel, colour);
    if (typeof completed_ms === "number") dot(to, this.#x(completed_ms), middle, colour, colour);
    let shift = 0;
    let before = null;
    for (const { lane: number, at_ms } of this.lanes.anomalies) {
      if (number !== lane.number) continue;
      shift = before === at_ms ? shift + 13 : 0;
      before = at_ms;
      triangle(to, this.#x(at_ms) - shift, top + 6, ink.danger, ink.panel);
    }
  }

  /**
   * @param {Canvas} to
   * @param {number} height
   * @param {boolean} isAxis
   */
  #cursor(to, height, isAxis) {
    const x = Math.round(this.#x(this.#time)) + 0.5;
    line(to, this.#colours.accent, x, isAxis ? 20 : 0, x, height);
    if (!isAxis) return;
    to.fillStyle = this.#colours.accent;
    to.beginPath();
    to.moveTo(x - 5, 18);
    to.lineTo(x + 5, 18);
    to.lineTo(x, 24);
    to.fill();
  }

  // -- what is under the pointer --

  /** @param {MouseEvent} event */
  #tell(event) {
    const lane = this.lanes.lanes[Math.floor((event.offsetY + this.scroll.scrollTop) / this.#laneHeight)];
    const time = this.#timeOf(event.offsetX);
    const said = lane ? tellOf(lane, this.lanes, time, (ms) => Math.abs(this.#x(ms) - event.offsetX)) : null;
    this.tip.hidden = !said;
    if (!said) return;
    fill(this.tip, said.map((words, at) => h(at ? "div" : "strong", {}, words)));
    const room = this.element.clientWidth - this.tip.offsetWidth - 8;
    const left = this.space.offsetLeft + event.offsetX + 14;
    this.tip.style.left = `${Math.max(0, Math.min(room, left))}px`;
    this.tip.style.top = `${this.scroll.offsetTop + event.offsetY + 20}px`;
  }
}

const NEAR = 6; // px

/**
 * The lines of the tooltip for a lane at a time.
 * @param {Lane} lane
 * @param {Lanes} lanes
 * @param {number} time
 * @param {(ms: number) => number} distance in px from the pointer
 * @returns {string[] | null}
 */
function tellOf(lane, lanes, time, distance) {
  for (const anomaly of lanes.anomalies)
    if (anomaly.lane === lane.number && distance(anomaly.at_ms) < NEAR) return [words(anomaly.type), oneLine(anomaly.detail), duration(anomaly.at_ms)];
  const arrived = lane.until(time);
  let nearest = arrived - 1;
  if (arrived < lane.size && (nearest < 0 || distance(lane.times[arrived]) < distance(lane.times[nearest]))) nearest = arrived;
  const isIn = nearest >= 0 && (distance(lane.times[nearest]) < NEAR || (lane.folded[nearest] > 1 && time >= lane.times[nearest] && time <= lane.lasts(nearest)));
  if (isIn) {
    const before = nearest ? lane.lengths[nearest - 1] : 0;
    const said = [`${lane.title} at ${duration(lane.times[nearest])}`, `+${number(lane.lengths[nearest] - before)} characters, ${number(lane.lengths[nearest])} so far`];
    const text = lane.texts[nearest];
    if (text) said.push(oneLine(text, 80));
    if (lane.folded[nearest] > 1) said.push(`stands for ${number(lane.folded[nearest])} deltas`);
    else if (nearest) said.push(`${duration(lane.times[nearest] - lane.times[nearest - 1])} after the previous delta`);
    return said;
  }
  const { detected_ms, completed_ms, call_id } = lane.facts;
  if (typeof completed_ms === "number" && distance(completed_ms) < NEAR) return [`${lane.title} completed at ${duration(completed_ms)}`];
  if (typeof detected_ms === "number" && distance(detected_ms) < NEAR) return [`${lane.title} detected at ${duration(detected_ms)}`, call_id ? `id ${visible(call_id)}` : "no id"];
  if (lane.starts !== null && distance(lane.starts) < NEAR) return [`${lane.title} started at ${duration(lane.starts)}`];
  const wait = lanes.waits.find((one) => time >= one.from && time <= one.to);
  return wait ? [`no event for ${duration(wait.ms)}`, `from ${duration(wait.from)} to ${duration(wait.to)}`] : null;
}

/**
 * The timeline in words, for screen readers.
 * @param {Lanes} lanes
 */
function summary(lanes) {
  const calls = lanes.lanes.filter(({ facts }) => facts.kind === "tool_call");
  const said = [`Timeline of ${duration(lanes.duration)}: ${count(calls.length, "tool call")}`];
  for (const lane of lanes.lanes.slice(0, 20)) {
    const ends = lane.facts.kind === "tool_call" ? ` to ${duration(lane.ends)}, ${count(lane.facts.delta_count, "delta")}` : "";
    said.push(`${lane.title} from ${duration(lane.starts)}${ends}`);
  }
  for (const wait of lanes.waits) said.push(`no event for ${duration(wait.ms)} from ${duration(wait.from)}`);
  return `${said.join("; ")}.`;
}

function legend() {
  const kinds = [["key-begin", "detected"], ["key-delta", "delta"], ["key-folded", "folded deltas"], ["key-end", "completed"], ["key-wrong", "anomaly"]];
  return h("ul", { class: "legend", "aria-label": "Legend" }, kinds.map(([kind, words]) => h("li", {}, h("span", { class: `key ${kind}` }), words)));
}

// -- strokes --

/**
 * The context of a canvas of this size, cleared.
 * @param {HTMLCanvasElement} canvas
 * @param {number} width
 * @param {number} height
 */
function sized(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const to = canvas.getContext("2d");
  if (!to) throw new Error("the browser has no canvas to draw on");
  to.setTransform(scale, 0, 0, scale, 0, 0);
  to.clearRect(0, 0, width, height);
  return to;
}

/** @param {HTMLElement} element */
function fontOf(element) {
  return `12px ${getComputedStyle(element).fontFamily}`;
}

/**
 * @param {Canvas} to
 * @param {string} colour
 * @param {number} x
 * @param {number} y
 * @param {number} toX
 * @param {number} toY
 */
function line(to, colour, x, y, toX, toY) {
  to.strokeStyle = colour;
  to.beginPath();
  to.moveTo(x, y);
  to.lineTo(toX, toY);
  to.stroke();
}

/**
 * @param {Canvas} to
 * @param {number} x
 * @param {number} y
 * @param {string} inside
 * @param {string} around
 */
function dot(to, x, y, inside, around) {
  to.beginPath();
  to.arc(x, y, 3.5, 0, 2 * Math.PI);
  to.fillStyle = inside;
  to.fill();
  to.strokeStyle = around;
  to.lineWidth = 1.5;
  to.stroke();
  to.lineWidth = 1;
}

/**
 * @param {Canvas} to
 * @param {number} x
 * @param {number} y
 * @param {string} colour
 * @param {string} inside
 */
function triangle(to, x, y, colour, inside) {
  to.beginPath();
  to.moveTo(x, y - 6);
  to.lineTo(x + 6.5, y + 5);
  to.lineTo(x - 6.5, y + 5);
  to.closePath();
  to.fillStyle = colour;
  to.fill();
  to.fillStyle = inside;
  to.fillRect(x - 0.75, y - 2.5, 1.5, 4);
  to.fillRect(x - 0.75, y + 2.5, 1.5, 1.5);
}

/**
 * About `most` round times between `from` and `to`, each with its label.
 * @param {number} from
 * @param {number} to
 * @param {number} most
 * @returns {[number, string][]}
 */
function ticksOf(from, to, most) {
  const rough = (to - from) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5].map((times) => times * power).find((size) => size >= rough) ?? 10 * power;
  /** @type {[number, string]} */
  const [size, unit] = to >= 1000 ? [1000, "s"] : to >= 1 ? [1, "ms"] : [0.001, "µs"];
  const digits = Math.max(0, -Math.floor(Math.log10(step / size) + 1e-9));
  /** @type {[number, string][]} */
  const ticks = [];
  for (let at = Math.ceil(from / step - 1e-9); at * step <= to + 1e-9; at += 1) {
    const value = at * step;
    ticks.push([value, value === 0 ? "0" : `${(value / size).toFixed(digits)} ${unit}`]);
  }
  return ticks;
}

/** The places of a row that hold a label, so that no two labels overlap. */
class Places {
  /** @type {[number, number][]} */
  #taken = [];

  /**
   * @param {number} from
   * @param {number} to
   */
  isFree(from, to) {
    return !this.#taken.some(([left, right]) => from < right && to > left);
  }

  /**
   * Take a place, unless it overlaps another one.
   * @param {number} from
   * @param {number} to
   */
  take(from, to) {
    if (!this.isFree(from, to)) return false;
    this.#taken.push([from, to]);
    return true;
  }
}
