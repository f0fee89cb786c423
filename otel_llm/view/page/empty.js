// What is said where there is nothing to list.

import { copier } from "./copying.js";
import { h } from "./dom.js";

/** `isFiltered`: there may be requests, but none that was asked for. */
export function empty(isFiltered) {
  if (isFiltered) return h("div", { class: "empty" }, h("h2", {}, "Nothing fits"), h("p", {}, "No request that is kept here fits the search and the filters."));
  const install = "pip install 'otel-llm[instruments,otlp]'";
  const send = [
    `OTEL_EXPORTER_OTLP_ENDPOINT=${location.origin}`,
    "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
    "OTEL_METRICS_EXPORTER=none OTEL_LOGS_EXPORTER=none",
    "opentelemetry-instrument python app.py",
  ].join(" \\\n");
  return h("div", { class: "empty" }, h("h2", {}, "No request yet"),
    h("p", {}, "This page shows each chat completion as soon as its span arrives. Send it those of your application:"),
    command(install), command(send),
    h("p", {}, "or let it do that itself:"), command("otel-llm view --run python app.py"),
    h("p", { class: "aside" }, "Or drop a file here that was exported from another view, or any OTLP JSON."));
}

function command(text) {
  return h("div", { class: "command" }, h("pre", {}, text), copier("Copy this command", () => text, { quiet: true }));
}
