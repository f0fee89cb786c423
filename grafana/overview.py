"""The dashboard "LLM requests": rate, errors, latency and tokens, and whether the telemetry arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grafana_foundation_sdk.models import units

from grafana import limits
from grafana.board import OVERVIEW, board
from grafana.panels import Panel, Query, graph, number
from grafana.promql import MODEL, chosen, diagnosed, or_zero, quantile, rate, share, total, value_of
from otel_llm.telemetry import semconv
from otel_llm.telemetry.prometheus_names import prometheus_label, prometheus_metric

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import dashboard

_DURATION: Final = prometheus_metric(semconv.METRIC_GEN_AI_CLIENT_OPERATION_DURATION)
_FIRST_CHUNK: Final = prometheus_metric(semconv.METRIC_GEN_AI_CLIENT_OPERATION_TIME_TO_FIRST_CHUNK)
_FIRST_TOOL_CALL: Final = prometheus_metric(semconv.METRIC_STREAM_TIME_TO_FIRST_TOOL_CALL)
_TIME_PER_OUTPUT_TOKEN: Final = prometheus_metric(semconv.METRIC_STREAM_TIME_PER_OUTPUT_TOKEN)
_TOKEN_USAGE: Final = prometheus_metric(semconv.METRIC_GEN_AI_CLIENT_TOKEN_USAGE)
_ERROR: Final = prometheus_label(semconv.ERROR_TYPE)
_FAILED: Final = f'{_ERROR}!=""'
_IN_OR_OUT: Final = prometheus_label(semconv.GEN_AI_TOKEN_TYPE)
_OUTCOME: Final = prometheus_label(semconv.OTEL_LLM_STREAM_OUTCOME)

_REQUESTS: Final = rate(chosen(f"{_DURATION}_count"))
_FAILURES: Final = rate(chosen(f"{_DURATION}_count", _FAILED))
_TOKENS: Final = rate(chosen(f"{_TOKEN_USAGE}_sum"))
_STREAMS: Final = rate(chosen(prometheus_metric(semconv.METRIC_STREAM_COUNT)))
_DIAGNOSED: Final = rate(diagnosed())
_ANOMALIES: Final = rate(chosen(prometheus_metric(semconv.METRIC_ANOMALY_COUNT)))
_LOST: Final = "otel_llm:collector_loss:increase5m"  # recorded by prometheus/rules.yaml

_NOTHING_LOST: Final = 'label_replace(vector(0), "reason", "nothing", "", "")'

_EXEMPLARS: Final = "Each dot is one request: click it, then follow the link to its trace."


def overview() -> dashboard.Dashboard:
    """Return the dashboard."""
    return board(
        OVERVIEW,
        "Requests to language models: rate, errors, latency and tokens, and whether their telemetry arrives.",
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
            "Requests per second, for the services and models selected above. If there is no value although the "
            "application works: see the row about the pipeline, and run `otel-llm doctor`.",
            Query(total(_REQUESTS), "requests"),
            unit=units.RequestsPerSecond,
        ),
        number(
            "Errors",
            f"Share of requests that ended with an error. Red above {limits.ERROR_SHARE:.0%}: see the panel Errors by "
            f"type, and open a trace with such an error in Jaeger (tag {semconv.OTEL_LLM_STREAM_OUTCOME}=error).",
            Query(or_zero(share(_FAILURES, _REQUESTS)), "errors"),
            unit=units.PercentUnit,
            red_above=limits.ERROR_SHARE,
        ),
        number(
            "Latency p95",
            f"95% of requests ended within this time. Red above {limits.SLOW_SECONDS:.0f} s: compare it with the time "
            "to the first chunk. If that is short, the answers are long; otherwise the server is busy.",
            Query(quantile(0.95, _DURATION), "p95"),
            unit=units.Seconds,
            red_above=limits.SLOW_SECONDS,
        ),
        number(
            "First chunk p95",
            f"95% of streams had their first chunk within this time. Red above {limits.FIRST_CHUNK_SECONDS:.0f} s: the "
            "server queues requests, loads the model, or reads longer prompts than before (see Tokens per request).",
            Query(quantile(0.95, _FIRST_CHUNK), "p95"),
            unit=units.Seconds,
            red_above=limits.FIRST_CHUNK_SECONDS,
        ),
        number(
            "Anomalies per request",
            "Anomalies of requests, answers and conversations per request; one request can have several. Red above "
            f"{limits.ANOMALIES_PER_REQUEST:.0%}: see the dashboard LLM tool calls, which has them by type and model.",
            Query(or_zero(share(_ANOMALIES, _DIAGNOSED)), "anomalies"),
            unit=units.PercentUnit,
            red_above=limits.ANOMALIES_PER_REQUEST,
        ),
        number(
            "Telemetry lost",
            "Spans, metric points and log records that collectors dropped within 5 minutes. Red above 0: the panel "
            "Telemetry lost below shows the reason.",
            Query(or_zero(total(_LOST)), "lost", of_collector=True),
            unit=units.Short,
            red_above=0.5,
        ),
    ]


def _requests() -> list[Panel]:
    return [
        graph(
            "Requests by model",
            "Requests per second, by requested model. If one model suddenly disappears, its application has stopped or "
            "its telemetry does not arrive (alert TelemetryStopped). A sudden rise can be an agent in a loop "
            "(anomaly repeated_call, alert AgentLoops).",
            Query(total(_REQUESTS, MODEL), value_of(MODEL)),
            unit=units.RequestsPerSecond,
            stacked=True,
        ),
        graph(
            "Errors by type",
            f"Failed requests per second by {semconv.ERROR_TYPE}, which is mostly the OpenAI SDK's exception. "
            "RateLimitError: send fewer requests, or get a higher limit. AuthenticationError and "
            "PermissionDeniedError: check the key. BadRequestError: the application made a mistake (anomaly "
            "unacceptable_id, anomaly unacceptable_name, anomaly unanswered_call), or the prompt is too long. "
            "InternalServerError and APIConnectionError: check the server and any proxy in front of it. "
            "APITimeoutError: compare with the latency below.",
            Query(total(_FAILURES, _ERROR), value_of(_ERROR)),
            unit=units.RequestsPerSecond,
            stacked=True,
            empty="no errors",
        ),
        graph(
            "Share of errors by model",
            f"Red above {limits.ERROR_SHARE:.0%} (alert RequestsFail). If one model is red, check its server. If all "
            "are red, check the network, the key and the application.",
            Query(share(_FAILURES, _REQUESTS, MODEL), value_of(MODEL)),
            unit=units.PercentUnit,
            red_above=limits.ERROR_SHARE,
            empty="no errors",
        ),
        graph(
            "Latency",
            f"Duration of requests, up to the last chunk. {_EXEMPLARS} Red above {limits.SLOW_SECONDS:.0f} s (alert "
            "RequestsSlow): open the slowest request. Its events show whether it waited for the first chunk or between "
            f"two chunks ({semconv.OTEL_LLM_STREAM_MAX_CHUNK_GAP}, anomaly stalled), or whether the answer was long.",
            Query(quantile(0.5, _DURATION), "p50"),
            Query(quantile(0.95, _DURATION), "p95", exemplars=True),
            Query(quantile(0.99, _DURATION), "p99"),
            unit=units.Seconds,
            red_above=limits.SLOW_SECONDS,
        ),
        graph(
            "Time to first chunk",
            f"From the request to the first chunk of the stream. {_EXEMPLARS} Red above "
            f"{limits.FIRST_CHUNK_SECONDS:.0f} s (alert FirstChunkSlow): the server queues requests, loads the model, "
            "or reads long prompts. Check whether the prompt cache still hits.",
            Query(quantile(0.5, _FIRST_CHUNK), "p50"),
            Query(quantile(0.95, _FIRST_CHUNK), "p95", exemplars=True),
            unit=units.Seconds,
            red_above=limits.FIRST_CHUNK_SECONDS,
        ),
        graph(
            "Time to first tool call",
            f"From the request to the first delta of a tool call. {_EXEMPLARS} Red above "
            f"{limits.FIRST_TOOL_CALL_SECONDS:.0f} s: if it is far above the time to the first chunk, the model "
            "reasons or writes text first. If it is close to it, see Time to first chunk.",
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
            "Input and output tokens per second, as the server reports them. If there is no value, the server sends no "
            "usage: request it (stream_options include_usage); if it was requested, see the "
            "anomaly missing_usage. If input grows but requests do not, conversations are not trimmed.",
            Query(total(_TOKENS, _IN_OR_OUT), value_of(_IN_OR_OUT)),
            unit=units.Short,
            axis="tokens/s",
            width=6,
        ),
        graph(
            "Tokens per request",
            "Mean input and output tokens of a request. Input near the model's context window: requests will soon be "
            "rejected or truncated. Output at max_tokens: answers are cut (anomaly truncated), "
            "empty (anomaly empty_response) or do not end (anomaly repetition).",
            Query(
                share(_TOKENS, rate(chosen(f"{_TOKEN_USAGE}_count")), MODEL, _IN_OR_OUT),
                f"{value_of(MODEL)} {value_of(_IN_OR_OUT)}",
            ),
            unit=units.Short,
            axis="tokens",
            width=6,
        ),
        graph(
            "Time per output token",
            "95% of streams take at most this time for each token after the first chunk. It rises when the server is "
            "busy or its batches grew. It needs usage, as Tokens does.",
            Query(quantile(0.95, _TIME_PER_OUTPUT_TOKEN, MODEL), value_of(MODEL)),
            unit=units.Seconds,
            width=6,
        ),
        graph(
            "Streams by outcome",
            "How streams ended. completed: read to the end. closed and cancelled: the application stopped on purpose. "
            "abandoned: the application dropped the stream without closing it, which keeps the connection busy; fix "
            "that place. error: see Errors by type.",
            Query(total(_STREAMS, _OUTCOME), value_of(_OUTCOME)),
            unit=units.RequestsPerSecond,
            stacked=True,
            width=6,
        ),
    ]


def _pipeline() -> list[Panel]:
    spans = total(rate(chosen("traces_span_metrics_calls_total")))
    return [
        graph(
            "Spans at the collectors",
            "Received: accepted from senders. Refused: rejected because memory or a queue was full; the sender keeps "
            "them and retries. Failed: an error inside the collector; see its log. If spans are refused for longer "
            "than 2 minutes (alert TelemetryRefused), look at the panel Queues; if no queue is full, raise the "
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
            "How full the queue of each backend is. It fills up while the backend is down or too slow. Red above "
            f"{limits.QUEUE_FILLED:.0%} (alert QueueNearlyFull): restore the backend. Once the queue is full, new data "
            "is refused or lost.",
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
            "What collectors dropped within 5 minutes. send_failed: the backend rejected it permanently; its log says "
            "why. enqueue_failed: the queue was full; senders that get this error retry. Red above 0 (alert "
            "TelemetryLost): restore the backend, then enlarge the queue.",
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
            "Requests, by metrics and by spans",
            "The same requests, counted by the application's metrics and by its spans, for the selection above. Both "
            "lines should coincide. Fewer spans: the application samples, or its spans are lost on the way (alert "
            "TracesMissing). Lower metrics: they are sent once a minute, and a killed process does not send them.",
            Query(total(_REQUESTS), "by metrics"),
            Query(spans, "by spans"),
            unit=units.RequestsPerSecond,
            width=8,
        ),
        graph(
            "Memory of the collectors",
            "Memory of each collector process. Near the limit of its memory_limiter it refuses data: raise the limit, "
            "or add a collector. If there is no value, the collector is down (alert CollectorDown).",
            Query("max by (instance) (otelcol_process_memory_rss)", "{{instance}}", of_collector=True),
            unit=units.BytesIEC,
            width=8,
        ),
    ]
