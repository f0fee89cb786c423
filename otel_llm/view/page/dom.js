// The one place where elements are made. Whatever is given is text: there is no way in for markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. `properties`: `class`, `on` (listeners by event), `data` (data-*), `style` (CSS properties), anything else
 * is an attribute (left out where null, undefined or false). `children`: nodes, texts, arrays of them; null is nothing.
 */
export function h(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "style") for (const [key, of] of Object.entries(value)) element.style.setProperty(key, of);
    else if (name === "class") element.setAttribute("class", value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) add(element, child);
    else element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Put `children` where the element's own were. */
export function fill(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

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

/** A small picture beside words that say the same; nothing is told by it alone. */
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

/** A button of an icon and, unless it is `quiet`, its words; a quiet one says them to a screen reader and on hovering. */
export function button(words, name, action, { quiet = false, ...properties } = {}) {
  const named = quiet ? { "aria-label": words, title: words } : {};
  const look = `button${quiet ? " quiet" : ""}${properties.class ? ` ${properties.class}` : ""}`;
  return h("button", { type: "button", ...named, ...properties, class: look, on: { click: action } }, name && icon(name), quiet ? null : words);
}

/** Say something to screen readers, and to those who look in a corner of the page for a moment. */
export function announce(words) {
  const place = document.getElementById("announcements");
  fill(place, h("p", {}, words));
  clearTimeout(announce.timer);
  announce.timer = setTimeout(() => fill(place), 4000);
}
