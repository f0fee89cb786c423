// What is written: numbers, times, and texts of models made fit to be read.

// Control characters, those that turn the direction of writing, those without width, and halves of surrogate pairs.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u2069\ufeff]|\p{Surrogate}/gu;

/** `value` as text in which every character can be seen: those that cannot are written as \uXXXX. */
export function visible(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.replace(UNSEEN, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** The same on one line, and no longer than `most` characters. */
export function oneLine(value, most = 200) {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  const cut = text.length > most ? `${text.slice(0, most)}…` : text;
  return visible(cut.replace(/\s+/g, " "));
}

/** Where the character number `count` of `text` begins in JavaScript's units: the backend counts whole characters. */
export function unitsOf(text, count) {
  let units = 0;
  for (let seen = 0; seen < count && units < text.length; seen += 1) units += text.codePointAt(units) > 0xffff ? 2 : 1;
  return units;
}

const GROUPED = new Intl.NumberFormat("en");

export function number(value) {
  return typeof value === "number" ? GROUPED.format(value) : "–";
}

export function count(value, one, many = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

/** A span of time in three digits and its unit. */
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

const two = (value) => String(value).padStart(2, "0");

/** The time of day, with the date where that is not today's. */
export function when(ms, now = Date.now()) {
  const at = new Date(ms);
  if (Number.isNaN(at.getTime())) return "–";
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  if (at.toDateString() === new Date(now).toDateString()) return time;
  return `${two(at.getDate())}.${two(at.getMonth() + 1)}. ${time}`;
}

export function exactly(ms) {
  const at = new Date(ms);
  if (Number.isNaN(at.getTime())) return "–";
  const date = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${date} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

/** The name of an anomaly, in words. */
export function words(name) {
  return visible(name).replaceAll("_", " ");
}
