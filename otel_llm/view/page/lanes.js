// The deltas of a request by lane, in a form that is fast to draw and to search. This module does not touch the DOM.

import { isPair, visible } from "./text.js";

/** @import { Delta, Detail, LaneFacts } from "./api.js" */

/** A time without data. @typedef {{ from: number, to: number, ms: number }} Wait */

/** One lane: its facts from the backend, and its deltas in typed arrays, ordered by time. */
export class Lane {
  /** @type {string | undefined} */
  #joined;

  /** Where the text of each delta ends in `#joined`. */
  #ends = new Float64Array();

  /**
   * @param {LaneFacts} facts
   * @param {number} number
   * @param {number} size how many deltas it will get
   */
  constructor(facts, number, size) {
    this.facts = facts;
    this.number = number;
    this.times = new Float64Array(size); // ms
    this.lengths = new Float64Array(size); // characters so far
    this.folded = new Int32Array(size); // deltas that this one stands for
    /** @type {(string | null)[]} */
    this.texts = new Array(size);
    this.size = 0;
  }

  /** @param {Delta} delta */
  push([time, , text, length, folded]) {
    const at = this.size;
    this.times[at] = time;
    this.lengths[at] = length ?? (at ? this.lengths[at - 1] : 0);
    this.folded[at] = folded ?? 1;
    this.texts[at] = text;
    this.size += 1;
  }

  get title() {
    const { kind, name } = this.facts;
    if (kind === "tool_call") return name ? visible(name) : "(no name)";
    return kind === "text" ? "text" : "reasoning";
  }

  get starts() {
    const { detected_ms, first_ms } = this.facts;
    return first(detected_ms, first_ms, this.size ? this.times[0] : null);
  }

  get ends() {
    const { completed_ms, last_ms } = this.facts;
    const known = [completed_ms, last_ms, this.size ? this.times[this.size - 1] : null, this.starts];
    return Math.max(...known.filter((value) => typeof value === "number"), 0);
  }

  /**
   * How many deltas had arrived by `time`.
   * @param {number} time
   */
  until(time) {
    let low = 0;
    let high = this.size;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] <= time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /**
   * The length of the arguments by `time`.
   * @param {number} time
   */
  lengthAt(time) {
    const arrived = this.until(time);
    return arrived ? this.lengths[arrived - 1] : 0;
  }

  /**
   * When the delta `at` ended. A folded delta has the time of the first delta that it stands for.
   * @param {number} at
   */
  lasts(at) {
    if (this.folded[at] < 2) return this.times[at];
    if (at + 1 < this.size) return this.times[at + 1];
    const { completed_ms, last_ms } = this.facts;
    return Math.max(this.times[at], first(last_ms, completed_ms) ?? this.times[at]);
  }

  /**
   * The text by `time`. `fresh`: how many characters at its end are from the newest delta.
   * @param {number} time
   */
  textAt(time) {
    const arrived = this.until(time);
    if (!arrived) return { text: "", fresh: 0 };
    this.#joined ??= this.#join();
    const end = this.#ends[arrived - 1];
    return { text: this.#joined.slice(0, end), fresh: end - (arrived > 1 ? this.#ends[arrived - 2] : 0) };
  }

  #join() {
    this.#ends = new Float64Array(this.size);
    const pieces = [];
    let units = 0;
    let before = 0;
    for (let at = 0; at < this.size; at += 1) {
      const text = this.texts[at] ?? "";
      const missing = this.lengths[at] - before - characters(text);
      const piece = missing > 0 ? `${text}⟨${missing} characters not recorded⟩` : text;
      pieces.push(piece);
      units += piece.length;
      this.#ends[at] = units;
      before = this.lengths[at];
    }
    return pieces.join("");
  }
}

/**
 * The length of a text in code points.
 * @param {string} text
 */
function characters(text) {
  let units = text.length;
  for (let at = 0; at < text.length - 1; at += 1) if (isPair(text, at)) { units -= 1; at += 1; }
  return units;
}

/** @param {(number | null)[]} values */
function first(...values) {
  return values.find((value) => typeof value === "number") ?? null;
}

/** All lanes of a request, and what concerns them together. */
export class Lanes {
  /** @type {Float64Array | undefined} */
  #moments;

  /** @param {Detail} detail */
  constructor(detail) {
    const sizes = new Array(detail.lanes.length).fill(0);
    for (const delta of detail.deltas) if (delta[1] < sizes.length) sizes[delta[1]] += 1;
    this.lanes = detail.lanes.map((facts, number) => new Lane(facts, number, sizes[number]));
    this.times = new Float64Array(detail.deltas.length);
    detail.deltas.forEach((delta, at) => {
      this.times[at] = delta[0];
      this.lanes[delta[1]]?.push(delta);
    });
    this.finishes = detail.finish_reasons;
    this.rewrites = detail.rewrites;
    const ends = [detail.duration_ms, ...this.lanes.map((lane) => lane.ends), ...this.finishes.map((one) => one.at_ms)];
    this.duration = Math.max(1e-3, ...ends.filter((value) => Number.isFinite(value)));
    this.waits = waitsOf(this);
    // Anomalies are reported at the end of the stream, but a stall can be located.
    const [longest] = this.waits;
    this.anomalies = detail.anomalies_explained.map((one) => (one.type === "stalled" && longest ? { ...one, at_ms: longest.to } : one));
  }

  /** The times of all events, in order. The arrow keys stop at each. */
  get moments() {
    if (!this.#moments) {
      const marks = this.lanes.flatMap(({ facts }) => [facts.detected_ms, facts.named_ms, facts.completed_ms]);
      const all = [0, ...this.times, ...marks, ...this.finishes.map((one) => one.at_ms), this.duration];
      this.#moments = Float64Array.from(all.filter((value) => typeof value === "number")).sort();
    }
    return this.#moments;
  }

  /**
   * The next moment after `time`, or the previous one if `step` is negative.
   * @param {number} time
   * @param {number} step
   */
  next(time, step) {
    const moments = this.moments;
    if (step > 0) return moments.find((value) => value > time + 1e-6) ?? this.duration;
    for (let at = moments.length - 1; at >= 0; at -= 1) if (moments[at] < time - 1e-6) return moments[at];
    return 0;
  }
}

const MOST_WAITS = 3;

/**
 * The waits to point out: for the first event, and those far longer than usual in this request. The longest comes first.
 * @param {Lanes} lanes
 * @returns {Wait[]}
 */
function waitsOf(lanes) {
  const marks = [0];
  for (const lane of lanes.lanes) {
    const { facts } = lane;
    for (const at of [facts.detected_ms, facts.first_ms, facts.completed_ms]) if (typeof at === "number") marks.push(at);
    // Deltas arrived all the time that a folded delta stands for.
    for (let at = 0; at < lane.size; at += 1) if (lane.folded[at] > 1) marks.push(lane.lasts(at));
  }
  for (const { at_ms } of lanes.finishes) marks.push(at_ms);
  const times = new Float64Array(marks.length + lanes.times.length);
  times.set(marks);
  times.set(lanes.times, marks.length);
  times.sort();
  const waits = new Float64Array(times.length - 1);
  for (let at = 1; at < times.length; at += 1) waits[at - 1] = times[at] - times[at - 1];
  const sorted = waits.filter((ms) => ms > 0).sort();
  const usual = sorted[sorted.length >> 1];
  /** @type {Wait[]} */
  const long = [];
  for (let at = 0; at < waits.length; at += 1) {
    const wait = { from: times[at], to: times[at + 1], ms: waits[at] };
    const isFirst = wait.from === 0 && wait.ms > 0;
    if (isFirst || (wait.ms > 4 * usual && wait.ms > 0.06 * lanes.duration && !lanes.lanes.some((lane) => isFoldedOver(lane, wait)))) long.push(wait);
  }
  return long.sort((a, b) => b.ms - a.ms).slice(0, MOST_WAITS + 1);
}

/**
 * Whether a folded delta covers a gap.
 * @param {Lane} lane
 * @param {Wait} gap
 */
function isFoldedOver(lane, gap) {
  const at = lane.until(gap.from) - 1;
  return at >= 0 && lane.folded[at] > 1 && lane.lasts(at) > gap.from;
}
