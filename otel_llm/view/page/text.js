// Formats numbers and times, and makes texts from models safe to read.

// Control characters, bidirectional controls, zero-width characters and lone surrogates.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u2069\ufeff]|\p{Surrogate}/gu;

/**
 * `value` as text, with invisible characters written as \uXXXX.
 * @param {unknown} value
 * @returns {string}
 */
export function visible(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  return text.replace(UNSEEN, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/**
 * The same on one line, cut after `most` characters.
 * @param {unknown} value
 */
export function oneLine(value, most = 200) {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  const cut = text.length > most ? `${text.slice(0, most)}…` : text;
  return visible(cut.replace(/\s+/g, " "));
}

/**
 * The offset in UTF-16 code units of the character at `count`. The backend counts code points.
 * @param {string} text
 * @param {number} count
 */
export function unitsOf(text, count) {
  let units = 0;
  for (let seen = 0; seen < count && units < text.length; seen += 1) units += isPair(text, units) ? 2 : 1;
  return units;
}

/**
 * Whether a surrogate pair starts at an offset.
 * @param {string} text
 * @param {number} at
 */
export function isPair(text, at) {
  return (text.codePointAt(at) ?? 0) > 0xffff;
}

const GROUPED = new Intl.NumberFormat("en");

/** @param {unknown} value */
export function number(value) {
  return typeof value === "number" ? GROUPED.format(value) : "–";
}

/**
 * @param {number} value
 * @param {string} one
 */
export function count(value, one, many = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

/**
 * A duration with three digits and its unit.
 * @param {number | null | undefined} ms
 * @returns {string}
 */
export function duration(ms) {
  if (typeof ms !== "number" || !Number.isFinite(ms)) return "–";
  if (ms < 0) return `−${duration(-ms)}`;
  if (ms === 0) return "0 ms";
  if (ms < 0.9995) return `${Math.max(1, Math.round(ms * 1000))} µs`;
  if (ms < 9.995) return `${ms.toFixed(2)} ms`;
  if (ms < 99.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 9.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** @param {number} value */
const two = (value) => String(value).padStart(2, "0");

/**
 * The time of day, with the date unless that is today.
 * @param {number} ms since the epoch
 */
export function when(ms, now = Date.now()) {
  const at = new Date(ms);
  if (Number.isNaN(at.getTime())) return "–";
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  if (at.toDateString() === new Date(now).toDateString()) return time;
  return `${two(at.getDate())}.${two(at.getMonth() + 1)}. ${time}`;
}

/** @param {number} ms since the epoch */
export function exactly(ms) {
  const at = new Date(ms);
  if (Number.isNaN(at.getTime())) return "–";
  const date = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${date} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

/**
 * The name of an anomaly, in words.
 * @param {string} name
 */
export function words(name) {
  return visible(name).replaceAll("_", " ");
}
