// The colours of the style sheet, for a canvas. Asked again when the theme changes.

const NAMES = ["ink", "muted", "faint", "line", "panel", "danger", "accent", "wait", "text-lane", "lane-0", "lane-1", "lane-2", "lane-3", "lane-4", "lane-5"];
const LANES = 6;
let known = null;

/** The colours by name, as the browser computes them. */
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

export function forgetColours() {
  known = null;
}

/** The name of a lane's colour: text and reasoning are grey, calls take turns. */
export function laneColour(lane) {
  return lane.facts.kind === "tool_call" ? `lane-${lane.number % LANES}` : "text-lane";
}
