// The only place that creates elements. It inserts everything as text, so no input becomes markup.

/**
 * What an element can contain. Arrays are flattened; null, undefined and false add nothing.
 * @typedef {Node | string | number | false | null | undefined | Child[]} Child
 */

/**
 * `on`: listeners by event. `data`: data-* attributes. `style`: CSS properties. All others are attributes, omitted where
 * the value is null, undefined or false.
 * @typedef {{
 *   on?: { [Name in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[Name]) => void },
 *   data?: Record<string, string>,
 *   style?: Record<string, string>,
 *   class?: string,
 *   [attribute: string]: unknown,
 * }} Properties
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Create an element.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Properties} properties
 * @param {Child[]} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, { on = {}, data = {}, style = {}, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : String(value));
  for (const [event, listener] of Object.entries(on)) element.addEventListener(event, /** @type {EventListener} */ (listener));
  for (const [property, value] of Object.entries(style)) element.style.setProperty(property, value);
  Object.assign(element.dataset, data);
  add(element, children);
  return element;
}

/**
 * @param {Element} element
 * @param {Child[]} children
 */
function add(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) add(element, child);
    else element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/**
 * Replace the children of an element.
 * @template {Element} Filled
 * @param {Filled} element
 * @param {Child[]} children
 */
export function fill(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

/** Paths of 16 by 16 pixels. */
const ICONS = {
  warning: ["M8 1.8 15 14.2H1z", "M8 6.2v3.6", "M8 11.9v.2"],
  copy: ["M5.5 5.5h8v8h-8z", "M10.5 5.5v-3h-8v8h3"],
  download: ["M8 2v8", "M4.5 7 8 10.5 11.5 7", "M2.5 13.5h11"],
  upload: ["M8 10.5v-8", "M4.5 6 8 2.5 11.5 6", "M2.5 13.5h11"],
  back: ["M10 3 5 8l5 5"],
  close: ["M3.5 3.5l9 9", "M12.5 3.5l-9 9"],
  search: ["M7 2.5a4.5 4.5 0 1 1 0 9a4.5 4.5 0 0 1 0-9z", "M10.4 10.4l3.6 3.6"],
  plus: ["M8 3v10", "M3 8h10"],
  minus: ["M3 8h10"],
  fit: ["M2.5 3v10", "M13.5 3v10", "M5 8h6", "M6.5 6 4.5 8l2 2", "M9.5 6l2 2-2 2"],
  play: ["M4.5 2.5v11l9-5.5z"],
  pause: ["M5 3v10", "M11 3v10"],
  compare: ["M2.5 2.5h4v11h-4z", "M9.5 2.5h4v11h-4z"],
  theme: ["M8 2a6 6 0 1 0 0 12z", "M8 2a6 6 0 0 1 0 12"],
  trash: ["M3 4.5h10", "M6 4.5v-2h4v2", "M4.5 4.5l.7 9h5.6l.7-9"],
  link: ["M3 2.5v6.5h9.5", "M9.5 6l3 3-3 3"],
  help: ["M5.5 6a2.5 2.5 0 1 1 3.5 2.3c-.7.3-1 .8-1 1.6", "M8 12.4v.2"],
  filter: ["M2 4h12", "M4.5 8h7", "M7 12h2"],
};

/** @typedef {keyof typeof ICONS} IconName */

/**
 * A decorative icon. The words beside it must say the same, because screen readers skip it.
 * @param {IconName} name
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true", focusable: "false" }))
    svg.setAttribute(key, value);
  for (const d of ICONS[name]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

/**
 * A button with an icon and a label. If it is `quiet`, only screen readers and the tooltip have the label.
 * @param {string} words
 * @param {IconName | null} name
 * @param {(event: MouseEvent) => void} action
 * @param {Properties & { quiet?: boolean }} options
 */
export function button(words, name, action, { quiet = false, ...properties } = {}) {
  const named = quiet ? { "aria-label": words, title: words } : {};
  const look = `button${quiet ? " quiet" : ""}${properties.class ? ` ${properties.class}` : ""}`;
  return h("button", { type: "button", ...named, ...properties, class: look, on: { click: action } }, name && icon(name), quiet ? null : words);
}

/**
 * An element of index.html.
 * @param {string} id
 */
export function existing(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no #${id}`);
  return element;
}

/** @type {number | undefined} */
let announced;

/**
 * Announce something to screen readers, and show it in a corner of the page for 4 s.
 * @param {string} words
 */
export function announce(words) {
  const place = existing("announcements");
  fill(place, h("p", {}, words));
  clearTimeout(announced);
  announced = setTimeout(() => fill(place), 4000);
}
