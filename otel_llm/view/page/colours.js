// The colours of the style sheet, for drawing on a canvas.

/** @import { Lane } from "./lanes.js" */

const NAMES = ["ink", "muted", "faint", "line", "panel", "danger", "accent", "wait", "text-lane", "lane-0", "lane-1", "lane-2", "lane-3", "lane-4", "lane-5"];
const LANES = 6;

/** @typedef {Record<string, string>} Colours */

/** @type {Colours | null} */
let known = null;

/** The computed colours by name. */
export function colours() {
  if (known) return known;
  const probe = document.createElement("span");
  document.body.append(probe);
  known = {};
  for (const name of NAMES) {
    probe.style.color = `var(--${name})`;
    known[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return known;
}

/** The theme has changed. */
export function forgetColours() {
  known = null;
}

/**
 * The name of a lane's colour: grey for text and reasoning, one of six for a call.
 * @param {Lane} lane
 */
export function laneColour(lane) {
  return lane.facts.kind === "tool_call" ? `lane-${lane.number % LANES}` : "text-lane";
}
