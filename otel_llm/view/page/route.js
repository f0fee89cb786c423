// What is shown is in the address: #/ or #/requests/ID or #/compare/ID/ID, and the filters behind a question mark.

export const FILTERS = ["q", "model", "service", "tool", "anomaly", "outcome", "trace"];

/** {view: "list" | "request" | "compare", ids, filters} of the address. */
export function read(hash = location.hash) {
  const [path, query = ""] = hash.replace(/^#/, "").split("?");
  const [, what, ...ids] = path.split("/").map(decoded);
  const given = new URLSearchParams(query);
  const filters = {};
  for (const name of FILTERS) if (given.get(name)) filters[name] = given.get(name);
  if (what === "requests" && ids[0]) return { view: "request", ids: [ids[0]], filters };
  if (what === "compare" && ids[1]) return { view: "compare", ids: ids.slice(0, 2), filters };
  return { view: "list", ids: [], filters };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function address({ view, ids = [], filters = {} }) {
  const path = { list: "/", request: "/requests/", compare: "/compare/" }[view] + ids.map(encodeURIComponent).join("/");
  const query = new URLSearchParams(filters).toString();
  return `#${path}${query ? `?${query}` : ""}`;
}

/** The address of one request, with the filters that are in force. */
export const toRequest = (id) => address({ view: "request", ids: [id], filters: read().filters });
export const toTrace = (trace) => address({ view: "list", filters: { trace } });

export function go(to) {
  location.hash = address(to);
}
