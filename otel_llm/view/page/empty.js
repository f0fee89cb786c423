// The empty states of the list.

import { copier } from "./copying.js";
import { h } from "./dom.js";

/**
 * `isFiltered`: there may be requests, but none matches.
 * @param {boolean} isFiltered
 */
export function empty(isFiltered) {
  if (isFiltered) return h("div", { class: "empty" }, h("h2", {}, "No matches"), h("p", {}, "No stored request matches the search and the filters."));
  const install = "pip install 'otel-llm[instruments,otlp]'";
  const send = [
    `OTEL_EXPORTER_OTLP_ENDPOINT=${location.origin}`,
    "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
    "OTEL_METRICS_EXPORTER=none OTEL_LOGS_EXPORTER=none",
    "opentelemetry-instrument python app.py",
  ].join(" \\\n");
  return h("div", { class: "empty" }, h("h2", {}, "No requests yet"),
    h("p", {}, "This page shows each chat completion as soon as its span arrives. Send your application's spans to it:"),
    command(install), command(send),
    h("p", {}, "Or let otel-llm view start your application:"), command("otel-llm view --run python app.py"),
    h("p", { class: "aside" }, "You can also drop a file here: an export of another view or any OTLP JSON."));
}

/** @param {string} text */
function command(text) {
  return h("div", { class: "command" }, h("pre", {}, text), copier("Copy this command", () => text, { quiet: true }));
}
