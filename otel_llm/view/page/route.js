// The address says what the page shows: #/, #/requests/ID or #/compare/ID/ID, then the filters as a query.

const FILTERS = /** @type {const} */ (["q", "model", "service", "tool", "anomaly", "outcome", "trace"]);

/** @typedef {(typeof FILTERS)[number]} FilterName */

/** An absent or empty value is no filter. @typedef {Partial<Record<FilterName, string>>} FilterValues */

/** @typedef {{ view: "list" | "request" | "compare", ids?: string[], filters?: FilterValues }} Route */

/**
 * What the address says.
 * @returns {Required<Route>}
 */
export function read(hash = location.hash) {
  const [path, query = ""] = hash.replace(/^#/, "").split("?");
  const [, what, ...ids] = path.split("/").map(decoded);
  const given = new URLSearchParams(query);
  /** @type {FilterValues} */
  const filters = {};
  for (const name of FILTERS) {
    const value = given.get(name);
    if (value) filters[name] = value;
  }
  if (what === "requests" && ids[0]) return { view: "request", ids: [ids[0]], filters };
  if (what === "compare" && ids[1]) return { view: "compare", ids: ids.slice(0, 2), filters };
  return { view: "list", ids: [], filters };
}

/** @param {string} part */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** @param {Route} route */
export function address({ view, ids = [], filters = {} }) {
  const path = { list: "/", request: "/requests/", compare: "/compare/" }[view] + ids.map(encodeURIComponent).join("/");
  const query = new URLSearchParams(filters).toString();
  return `#${path}${query ? `?${query}` : ""}`;
}

/**
 * The address of a request. It keeps the current filters.
 * @param {string} id
 */
export const toRequest = (id) => address({ view: "request", ids: [id], filters: read().filters });
/** @param {string} trace */
export const toTrace = (trace) => address({ view: "list", filters: { trace } });

/** @param {Route} to */
export function go(to) {
  location.hash = address(to);
}
