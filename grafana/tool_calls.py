"""The dashboard "LLM tool calls": calls by tool, size, generation time, anomalies, and rewritten calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grafana_foundation_sdk.models import units

from grafana import limits
from grafana.board import TOOL_CALLS, board
from grafana.panels import Panel, Query, bars, graph, number
from grafana.promql import MODEL, chosen, diagnosed, increase, or_zero, quantile, rate, share, total, value_of
from otel_llm.telemetry import semconv
from otel_llm.telemetry.prometheus_names import prometheus_label, prometheus_metric

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import dashboard

_CALLS: Final = chosen(prometheus_metric(semconv.METRIC_TOOL_CALL_COUNT))
_DURATION: Final = prometheus_metric(semconv.METRIC_TOOL_CALL_DURATION)
_SIZE: Final = prometheus_metric(semconv.METRIC_TOOL_CALL_ARGUMENTS_SIZE)
_ANOMALIES: Final = chosen(prometheus_metric(semconv.METRIC_ANOMALY_COUNT))
_REQUESTS: Final = diagnosed()
_REWRITES: Final = chosen(prometheus_metric(semconv.METRIC_TAG_REWRITE_COUNT))
_REWRITE_DURATION: Final = prometheus_metric(semconv.METRIC_TAG_REWRITE_DURATION)
_TOOL: Final = prometheus_label(semconv.GEN_AI_TOOL_NAME)
_TYPE: Final = prometheus_label(semconv.OTEL_LLM_ANOMALY_TYPE)
_FORMAT: Final = prometheus_label(semconv.OTEL_LLM_TAG_REWRITE_FORMAT)

_WHAT_TO_DO: Final = "docs/anomalies.md explains each type and what to do."
_EXEMPLARS: Final = "Each dot is one call: click it, then follow the link to its trace."


def tool_calls() -> dashboard.Dashboard:
    """Return the dashboard."""
    return board(
        TOOL_CALLS,
        "Tool calls of language models: which tools, how large, how long they take to generate, and what is wrong.",
        [
            ("Now", _now()),
            ("Calls", _calls()),
            ("Anomalies", _anomalies()),
            ("Rewritten calls", _rewrites()),
        ],
    )


def _now() -> list[Panel]:
    return [
        number(
            "Tool calls",
            "Tool calls per second, for the services and models selected above. If there are none although the agent "
            "has tools: the model answers in text, or writes its calls as text that is not parsed (anomaly text_leak), "
            "or within its thoughts (anomaly call_in_reasoning).",
            Query(total(rate(_CALLS)), "calls"),
            unit=units.CountsPerSecond,
            width=6,
        ),
        number(
            "Generation time p95",
            "95% of calls were generated within this time, from their first delta to their last. Red above "
            f"{limits.GENERATION_SECONDS:.0f} s: compare it with the size of the arguments; if that has not grown, the "
            "server is slow.",
            Query(quantile(0.95, _DURATION), "p95"),
            unit=units.Seconds,
            width=6,
            red_above=limits.GENERATION_SECONDS,
        ),
        number(
            "Anomalies per request",
            "Anomalies per request; one request can have several. Red above "
            f"{limits.ANOMALIES_PER_REQUEST:.0%}: the panels below show their types and models.",
            Query(or_zero(share(rate(_ANOMALIES), rate(_REQUESTS))), "anomalies"),
            unit=units.PercentUnit,
            width=6,
            red_above=limits.ANOMALIES_PER_REQUEST,
        ),
        number(
            "Rewritten calls",
            "Calls per second that the model wrote as text and otel-llm rewrote. OTEL_LLM_TOOL_CALL_TAGS turns this "
            "on. If it is on and there are none: the model's server parses the calls itself.",
            Query(or_zero(total(rate(_REWRITES))), "calls"),
            unit=units.CountsPerSecond,
            width=6,
        ),
    ]


def _calls() -> list[Panel]:
    return [
        graph(
            "Calls by tool",
            "Tool calls per second. _OTHER: names that the request did not declare; see the anomaly unknown_tool. If "
            "only one tool rises, an agent may be in a loop: see the anomaly repeated_call.",
            Query(total(rate(_CALLS), _TOOL), value_of(_TOOL)),
            unit=units.CountsPerSecond,
            stacked=True,
        ),
        bars(
            "Calls in the selected time range",
            "Number of calls. A tool that is missing was never called: its description may not say when to use it.",
            Query(total(increase(_CALLS), _TOOL), value_of(_TOOL)),
            unit=units.Short,
        ),
        graph(
            "Size of the arguments",
            f"Characters in a call's arguments, by tool. {_EXEMPLARS} If sizes grow, the model may copy documents into "
            "its calls; let it refer to them by name instead. If they approach max_tokens, see the anomaly truncated.",
            Query(quantile(0.5, _SIZE, _TOOL), f"{value_of(_TOOL)} p50"),
            Query(quantile(0.95, _SIZE, _TOOL), f"{value_of(_TOOL)} p95", exemplars=True),
            unit=units.Short,
            axis="characters",
        ),
        graph(
            "Generation time",
            f"From the first delta of a call to its last, by tool. {_EXEMPLARS} Red above "
            f"{limits.GENERATION_SECONDS:.0f} s: larger arguments may explain it (see Size of the arguments). "
            "Otherwise open the slowest call and look where its deltas stopped.",
            Query(quantile(0.5, _DURATION, _TOOL), f"{value_of(_TOOL)} p50"),
            Query(quantile(0.95, _DURATION, _TOOL), f"{value_of(_TOOL)} p95", exemplars=True),
            unit=units.Seconds,
            red_above=limits.GENERATION_SECONDS,
        ),
    ]


def _anomalies() -> list[Panel]:
    return [
        graph(
            "Anomalies per request, by type",
            f"Red above {limits.ANOMALIES_PER_REQUEST:.0%} (alert ToolCallAnomalies). {_WHAT_TO_DO} To see one, search "
            f"Jaeger for the tag {semconv.OTEL_LLM_ANOMALY_TYPE}=TYPE.",
            Query(
                f"{total(rate(_ANOMALIES), _TYPE)} / scalar({total(rate(_REQUESTS))})",
                value_of(_TYPE),
            ),
            unit=units.PercentUnit,
            red_above=limits.ANOMALIES_PER_REQUEST,
            empty="no anomalies",
        ),
        graph(
            "Anomalies per request, by model",
            f"Red above {limits.ANOMALIES_PER_REQUEST:.0%}. If one model is red, the cause is the model or its "
            "server's parser: compare with another server of the same model. If all are red, check the tools' schemas "
            "and any proxy.",
            Query(
                share(rate(_ANOMALIES), rate(_REQUESTS), MODEL),
                value_of(MODEL),
            ),
            unit=units.PercentUnit,
            red_above=limits.ANOMALIES_PER_REQUEST,
            empty="no anomalies",
        ),
        bars(
            "Anomalies in the selected time range, by type",
            f"Number of anomalies. Begin with the most frequent type. {_WHAT_TO_DO}",
            Query(total(increase(_ANOMALIES), _TYPE), value_of(_TYPE)),
            unit=units.Short,
        ),
        bars(
            "Anomalies in the selected time range, by type and model",
            "Number of anomalies. If a type occurs with one model only, report it to the operator of that model's "
            "server, with a trace.",
            Query(
                total(increase(_ANOMALIES), _TYPE, MODEL),
                f"{value_of(_TYPE)}, {value_of(MODEL)}",
            ),
            unit=units.Short,
        ),
    ]


def _rewrites() -> list[Panel]:
    return [
        graph(
            "Rewritten calls by syntax",
            "Calls per second, by the syntax in which the model wrote them. If a syntax disappears while requests "
            "continue, the model, its chat template or the server's parser was changed.",
            Query(total(rate(_REWRITES), _FORMAT), value_of(_FORMAT)),
            unit=units.CountsPerSecond,
            stacked=True,
            empty="nothing rewritten",
        ),
        graph(
            "Time to rewrite a call",
            f"Time that rewriting one call added to the stream. {_EXEMPLARS} Red above "
            f"{limits.REWRITE_SECONDS:g} s: the machine is busy, or the arguments are very large; check their size.",
            Query(quantile(0.5, _REWRITE_DURATION, _FORMAT), f"{value_of(_FORMAT)} p50"),
            Query(quantile(0.95, _REWRITE_DURATION, _FORMAT), f"{value_of(_FORMAT)} p95", exemplars=True),
            unit=units.Seconds,
            red_above=limits.REWRITE_SECONDS,
            empty="nothing rewritten",
        ),
    ]
