// Connects the parts of the page. The address says what is shown.

import * as api from "./api.js";
import { Comparison } from "./compare.js";
import { Detail } from "./detail.js";
import { announce, button, existing, fill, h } from "./dom.js";
import { empty } from "./empty.js";
import { fileChooser } from "./files.js";
import { Filters } from "./filters.js";
import { confirmed, helpDialog } from "./help.js";
import { Kept } from "./kept.js";
import { listen } from "./keys.js";
import { List } from "./list.js";
import * as route from "./route.js";
import { visible } from "./text.js";
import { Theme } from "./theme.js";

/** @import { Summary } from "./api.js" */
/** @import { Route } from "./route.js" */

const RECOUNT = 1000; // ms between two reads of the facets while requests arrive

const theme = new Theme();
const kept = new Kept();

/** @type {string[]} Ids of the requests selected for comparison. */
let marked = [];

/** @type {Required<Route> | null} */
let shown = null;

const back = () => route.go({ view: "list", filters: route.read().filters });

/** @param {string} id */
const open = (id) => route.go({ view: "request", ids: [id], filters: route.read().filters });

/** @param {string | null | undefined} id */
function mark(id) {
  if (!id) return;
  marked = marked.includes(id) ? marked.filter((one) => one !== id) : [...marked, id].slice(-2);
  if (marked.length === 2) {
    const ids = marked;
    marked = [];
    route.go({ view: "compare", ids, filters: route.read().filters });
  } else announce(marked.length ? "Selected for comparison. Select another request with c." : "No longer selected.");
  list.show({ open: shown?.ids[0] ?? null, marked });
  tellMarked();
}

const list = new List(kept, { open, mark, empty });
const detail = new Detail({ back, mark });
const comparison = new Comparison({ back });
const filters = new Filters({
  changed: (chosen) => route.go({ ...route.read(), view: "list", ids: [], filters: chosen }),
  grouped: (isGrouped) => list.group(isGrouped),
});
const help = helpDialog();
const chooser = fileChooser();
const connection = h("span", { class: "connection", role: "status" }, "connecting");
const choice = h("div", { class: "choice", hidden: true });
const themeButton = button("", "theme", () => theme.next(), { quiet: true });

function tellMarked() {
  choice.hidden = !marked.length;
  const one = kept.requests.find((request) => request.id === marked[0]);
  fill(choice, marked.length ? [h("span", {}, "Compare ", h("bdi", {}, visible(one?.model ?? "this request")), " with… Select another request and press ", h("kbd", {}, "c")), button("Cancel the comparison", "close", () => mark(marked[0]), { quiet: true })] : null);
}

function tellTheme() {
  const words = `Theme: ${theme.name}`;
  themeButton.title = words;
  themeButton.setAttribute("aria-label", words);
  detail.redraw();
  comparison.redraw();
}

async function clear() {
  if (!(await confirmed("Delete all stored requests? This cannot be undone.", "Delete"))) return;
  try {
    await api.clear();
    await kept.load();
    count();
    back();
  } catch (failure) {
    announce(api.sentenceOf(failure));
  }
}

// -- what is shown --

function show() {
  const next = route.read();
  const before = shown;
  shown = next;
  document.body.dataset.view = next.view;
  filters.show(next.filters);
  if (!before || JSON.stringify(before.filters) !== JSON.stringify(next.filters)) {
    kept.load(next.filters);
    list.toTop();
  }
  if (next.view !== "request") detail.close();
  if (next.view !== "compare") comparison.close();
  if (next.view === "request" && detail.id !== next.ids[0]) detail.open(next.ids[0]);
  if (next.view === "compare") comparison.open(next.ids);
  if (before && before.view !== next.view) {
    if (next.view === "list") list.focus();
    else if (next.view === "compare") comparison.element.focus();
    else if (matchMedia("(max-width: 1099px)").matches) detail.element.focus();
  }
  list.show({ open: next.view === "request" ? next.ids[0] : null, marked });
}

let recount = 0; // timer, 0 if none is set

async function count() {
  clearTimeout(recount);
  recount = 0;
  try {
    filters.facets(await api.facets());
  } catch {
    // The list shows the failure.
  }
}

function countSoon() {
  recount ||= setTimeout(count, RECOUNT);
}

/** @type {Summary[]} */
let arriving = [];

function follow() {
  let wasLost = false;
  api.live({
    request: (summary) => {
      // Many that arrive at once are drawn once.
      if (!arriving.length) requestAnimationFrame(() => { kept.arrived(arriving); arriving = []; });
      arriving.push(summary);
      countSoon();
    },
    cleared: () => { kept.load(); count(); },
    connected: (isThere) => {
      connection.textContent = isThere ? "live" : "not connected";
      connection.title = isThere ? "New requests appear as they arrive." : "Reconnecting every second.";
      connection.classList.toggle("lost", !isThere);
      if (isThere && wasLost) { kept.load(); count(); }
      wasLost = !isThere;
    },
  });
}

fill(existing("app"),
  h("header", { class: "page-head" }, h("h1", {}, h("a", { href: "#/" }, "otel-llm")), connection, filters.count, h("span", { class: "spring" }),
    button("Open a file", "upload", () => chooser.click(), { quiet: true }), button("Delete all requests", "trash", clear, { quiet: true }), themeButton,
    button("Keyboard shortcuts", "help", () => help.showModal(), { quiet: true, "aria-keyshortcuts": "?" }), chooser),
  filters.element, choice,
  h("main", { class: "panes" }, h("section", { class: "list-pane", "aria-label": "Requests" }, list.element), detail.element, comparison.element),
  help);

/** @type {number | undefined} */
let resting;

/**
 * Move in the list. If a request is open beside it, open the one that the user stops at.
 * @param {number} by lines
 */
function step(by) {
  if (shown?.view === "compare") return;
  list.step(by);
  if (shown?.view !== "request") return;
  clearTimeout(resting);
  resting = setTimeout(() => list.active && open(list.active), 120);
}

listen({
  j: () => step(1),
  k: () => step(-1),
  Enter: () => { if (list.active && shown?.view !== "compare") open(list.active); },
  "/": () => { filters.search.focus(); filters.search.select(); },
  c: () => mark(shown?.view === "request" && !list.element.contains(document.activeElement) ? shown.ids[0] : list.active),
  g: () => list.toTop(),
  t: () => theme.next(),
  "?": () => help.showModal(),
  Escape: (_, { isField }) => {
    if (isField) list.focus();
    else if (shown?.view !== "list") back();
    else if (marked.length) mark(marked[0]);
  },
});

theme.addEventListener("change", tellTheme);
kept.addEventListener("change", () => filters.total(kept));
addEventListener("hashchange", show);
tellTheme();
show();
count();
follow();
