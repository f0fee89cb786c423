"""The overview: are requests answered, how fast, at what cost, and does the telemetry about them arrive?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grafana_foundation_sdk.models import units

from grafana import limits
from grafana.board import OVERVIEW, board
from grafana.panels import Panel, Query, graph, number
from grafana.promql import chosen, or_zero, quantile, rate, share, total

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import dashboard

_DURATION: Final = "gen_ai_client_operation_duration_seconds"
_FIRST_CHUNK: Final = "gen_ai_client_operation_time_to_first_chunk_seconds"
_FIRST_TOOL_CALL: Final = "otel_llm_stream_time_to_first_tool_call_seconds"
_FAILED: Final = 'error_type!=""'
_MODEL: Final = "gen_ai_request_model"
_IN_OR_OUT: Final = "gen_ai_token_type"

_REQUESTS: Final = rate(chosen(f"{_DURATION}_count"))
_FAILURES: Final = rate(chosen(f"{_DURATION}_count", _FAILED))
_TOKENS: Final = rate(chosen("gen_ai_client_token_usage_sum"))
_STREAMS: Final = rate(chosen("otel_llm_stream_count_total"))
_ANOMALIES: Final = rate(chosen("otel_llm_anomaly_count_total"))
_LOST: Final = "otel_llm:collector_loss:increase5m"  # recorded by prometheus/rules.yaml

_NOTHING_LOST: Final = 'label_replace(vector(0), "reason", "nothing", "", "")'

_EXEMPLARS: Final = "Each dot is one request: click it, then the link to its trace."


def overview() -> dashboard.Dashboard:
    """Give the dashboard."""
    return board(
        OVERVIEW,
        "Requests to language models: rate, errors, latency, tokens; and whether the telemetry about them arrives.",
        [
            ("Now", _now()),
            ("Requests", _requests()),
            ("Tokens and streams", _tokens_and_streams()),
            ("The pipeline itself (all services)", _pipeline()),
        ],
    )


def _now() -> list[Panel]:
    return [
        number(
            "Requests",
            "Requests per second, of the services and models chosen above. Nothing here though the application works: "
            "see the row about the pipeline, and ask `otel-llm doctor`.",
            Query(total(_REQUESTS), "requests"),
            unit=units.RequestsPerSecond,
        ),
        number(
            "Errors",
            f"Share of the requests that ended with an error. Red above {limits.ERROR_SHARE:.0%}: look at the panel "
            "Errors by type, and open a trace with such an error in Jaeger (tag otel_llm.stream.outcome=error).",
            Query(or_zero(share(_FAILURES, _REQUESTS)), "errors"),
            unit=units.PercentUnit,
            red_above=limits.ERROR_SHARE,
        ),
        number(
            "Latency p95",
            f"95 of 100 requests ended within this time. Red above {limits.SLOW_SECONDS:.0f} s: compare it with the "
            "time to the first chunk. If that is short, the answers are long; if it is not, the server is busy.",
            Query(quantile(0.95, _DURATION), "p95"),
            unit=units.Seconds,
            red_above=limits.SLOW_SECONDS,
        ),
        number(
            "First chunk p95",
            f"95 of 100 streams had their first chunk within this time. Red above {limits.FIRST_CHUNK_SECONDS:.0f} s: "
            "the server queues requests, loads the model, or reads a prompt that has grown (see Tokens per request).",
            Query(quantile(0.95, _FIRST_CHUNK), "p95"),
            unit=units.Seconds,
            red_above=limits.FIRST_CHUNK_SECONDS,
        ),
        number(
            "Anomalies per stream",
            "Anomalies of tool calls, for each stream; one stream can have several. Red above "
            f"{limits.ANOMALIES_PER_STREAM:.0%}: go to the dashboard LLM tool calls, which has them by type and model.",
            Query(or_zero(share(_ANOMALIES, _STREAMS)), "anomalies"),
            unit=units.PercentUnit,
            red_above=limits.ANOMALIES_PER_STREAM,
        ),
        number(
            "Telemetry lost",
            "Spans, metric points and log records that collectors threw away within 5 minutes. Red above 0: see the "
            "panel Telemetry lost below for the reason.",
            Query(or_zero(total(_LOST)), "lost", of_collector=True),
            unit=units.Short,
            red_above=0.5,
        ),
    ]


def _requests() -> list[Panel]:
    return [
        graph(
            "Requests by model",
            "Requests per second by the model that was asked for. A sudden end of one model: its application has "
            "stopped, or its telemetry does not arrive (alert TelemetryStopped). A sudden rise: an agent in a loop.",
            Query(total(_REQUESTS, _MODEL), "{{gen_ai_request_model}}"),
            unit=units.RequestsPerSecond,
            stacked=True,
        ),
        graph(
            "Errors by type",
            "Failed requests per second by error.type, the SDK's exception. RateLimitError: ask for less, or for a "
            "higher limit. AuthenticationError and PermissionDeniedError: the key. BadRequestError: the application, "
            "or a prompt that is too long. InternalServerError and APIConnectionError: the server or what stands "
            "before it. APITimeoutError: compare with the latency below.",
            Query(total(_FAILURES, "error_type"), "{{error_type}}"),
            unit=units.RequestsPerSecond,
            stacked=True,
            empty="no errors",
        ),
        graph(
            "Share of errors by model",
            f"Red above {limits.ERROR_SHARE:.0%} (alert RequestsFail). One model red: its server; all of them: the "
            "network, the key or the application.",
            Query(share(_FAILURES, _REQUESTS, _MODEL), "{{gen_ai_request_model}}"),
            unit=units.PercentUnit,
            red_above=limits.ERROR_SHARE,
            empty="no errors",
        ),
        graph(
            "Latency",
            f"Whole requests, until the last chunk. {_EXEMPLARS} Red above {limits.SLOW_SECONDS:.0f} s (alert "
            "RequestsSlow): open the slowest; its events say whether the wait was before the first chunk, between two "
            "(otel_llm.stream.max_chunk_gap), or in the length of the answer.",
            Query(quantile(0.5, _DURATION), "p50"),
            Query(quantile(0.95, _DURATION), "p95", exemplars=True),
            Query(quantile(0.99, _DURATION), "p99"),
            unit=units.Seconds,
            red_above=limits.SLOW_SECONDS,
        ),
        graph(
            "Time to first chunk",
            f"From the request to the first chunk of the stream. {_EXEMPLARS} Red above "
            f"{limits.FIRST_CHUNK_SECONDS:.0f} s (alert FirstChunkSlow): the server queues, loads the model, or reads "
            "a long prompt; look for a cache of prompts that no longer hits.",
            Query(quantile(0.5, _FIRST_CHUNK), "p50"),
            Query(quantile(0.95, _FIRST_CHUNK), "p95", exemplars=True),
            unit=units.Seconds,
            red_above=limits.FIRST_CHUNK_SECONDS,
        ),
        graph(
            "Time to first tool call",
            f"From the request to the first piece of a tool call. {_EXEMPLARS} Red above "
            f"{limits.FIRST_TOOL_CALL_SECONDS:.0f} s: far above the time to the first chunk, the model reasons or "
            "writes text first; near it, see there.",
            Query(quantile(0.5, _FIRST_TOOL_CALL), "p50"),
            Query(quantile(0.95, _FIRST_TOOL_CALL), "p95", exemplars=True),
            unit=units.Seconds,
            red_above=limits.FIRST_TOOL_CALL_SECONDS,
        ),
    ]


def _tokens_and_streams() -> list[Panel]:
    return [
        graph(
            "Tokens",
            "Tokens per second, in and out, as the server reports them. Nothing here: the server sends no usage; ask "
            "for it (stream_options include_usage). Input that grows while requests do not: conversations are not cut.",
            Query(total(_TOKENS, _IN_OR_OUT), "{{gen_ai_token_type}}"),
            unit=units.Short,
            axis="tokens/s",
            width=8,
        ),
        graph(
            "Tokens per request",
            "The mean of one request, in and out. Input near the model's window: requests will soon be refused or cut. "
            "Output at max_tokens: answers are cut (anomaly truncated).",
            Query(
                share(_TOKENS, rate(chosen("gen_ai_client_token_usage_count")), _MODEL, _IN_OR_OUT),
                "{{gen_ai_request_model}} {{gen_ai_token_type}}",
            ),
            unit=units.Short,
            axis="tokens",
            width=8,
        ),
        graph(
            "Streams by outcome",
            "How streams ended. completed: read to the end. closed and cancelled: the application stopped on purpose. "
            "abandoned: it forgot the stream, which keeps its connection busy; find the place. error: see Errors by "
            "type.",
            Query(total(_STREAMS, "otel_llm_stream_outcome"), "{{otel_llm_stream_outcome}}"),
            unit=units.RequestsPerSecond,
            stacked=True,
            width=8,
        ),
    ]


def _pipeline() -> list[Panel]:
    spans = total(rate(chosen("traces_span_metrics_calls_total")))
    return [
        graph(
            "Spans at the collectors",
            "Received: taken from senders. Refused: sent back because memory or a queue was full; the sender keeps "
            "them and tries again. Failed: an error inside the collector, whose log says which. Refused for longer "
            "than 2 minutes (alert TelemetryRefused): see the queue beside it; if that is not full, raise the "
            "collector's memory limit.",
            Query(
                total(rate("otelcol_receiver_accepted_spans"), "instance"), "received {{instance}}", of_collector=True
            ),
            Query(total(rate("otelcol_receiver_refused_spans"), "instance"), "refused {{instance}}", of_collector=True),
            Query(total(rate("otelcol_receiver_failed_spans"), "instance"), "failed {{instance}}", of_collector=True),
            unit=units.Short,
            axis="spans/s",
        ),
        graph(
            "Queues",
            "How full the queue before each backend is. It fills while the backend is away or too slow. Red above "
            f"{limits.QUEUE_FILLED:.0%} (alert QueueNearlyFull): bring the backend back; what comes when the queue is "
            "full is refused or lost.",
            Query(
                "max by (instance, exporter, data_type) (otelcol_exporter_queue_size)"
                " / max by (instance, exporter, data_type) (otelcol_exporter_queue_capacity)",
                "{{exporter}} {{data_type}} {{instance}}",
                of_collector=True,
            ),
            unit=units.PercentUnit,
            red_above=limits.QUEUE_FILLED,
        ),
        graph(
            "Telemetry lost",
            "What collectors threw away within 5 minutes. send_failed: the backend refused it for good, its log says "
            "why. enqueue_failed: the queue was full; a sender that was told so tries again. Red above 0 (alert "
            "TelemetryLost): bring the backend back, then give the queue more room.",
            Query(
                f"{total(_LOST, 'reason', 'signal', 'exporter')} or {_NOTHING_LOST}",
                "{{reason}} {{signal}} {{exporter}}",
                of_collector=True,
            ),
            unit=units.Short,
            red_above=0.5,
            width=8,
        ),
        graph(
            "Requests measured, and seen as spans",
            "The same requests, as the application's metrics and as its spans tell them, of what is chosen above. The "
            "lines lie on each other. Spans below: the application samples, or its spans are lost on the way (alert "
            "TracesMissing). Metrics below: they are sent once a minute, and not at all by a process that is killed.",
            Query(total(_REQUESTS), "measured"),
            Query(spans, "seen as spans"),
            unit=units.RequestsPerSecond,
            width=8,
        ),
        graph(
            "Memory of the collectors",
            "What each collector's process holds. Near the limit of its memory_limiter it refuses; give it more, or "
            "another collector. Nothing here: the collector is down (alert CollectorDown).",
            Query("max by (instance) (otelcol_process_memory_rss)", "{{instance}}", of_collector=True),
            unit=units.BytesIEC,
            width=8,
        ),
    ]
