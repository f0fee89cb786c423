"""Tool calls: which, how large, how long in the making, what is wrong with them, and which were rewritten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grafana_foundation_sdk.models import units

from grafana import limits
from grafana.board import TOOL_CALLS, board
from grafana.panels import Panel, Query, bars, graph, number
from grafana.promql import chosen, increase, or_zero, quantile, rate, share, total

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import dashboard

_CALLS: Final = chosen("otel_llm_tool_call_count_total")
_DURATION: Final = "otel_llm_tool_call_duration_seconds"
_SIZE: Final = "otel_llm_tool_call_arguments_size"
_ANOMALIES: Final = chosen("otel_llm_anomaly_count_total")
_STREAMS: Final = chosen("otel_llm_stream_count_total")
_REWRITES: Final = chosen("otel_llm_tag_rewrite_count_total")
_REWRITE_DURATION: Final = "otel_llm_tag_rewrite_duration_seconds"
_TOOL: Final = "gen_ai_tool_name"
_MODEL: Final = "gen_ai_request_model"
_TYPE: Final = "otel_llm_anomaly_type"
_FORMAT: Final = "otel_llm_tag_rewrite_format"

_WHAT_TO_DO: Final = "docs/anomalies.md says for each type what to do."
_EXEMPLARS: Final = "Each dot is one call: click it, then the link to its trace."


def tool_calls() -> dashboard.Dashboard:
    """Give the dashboard."""
    return board(
        TOOL_CALLS,
        "Tool calls of language models: which, how large, how long in the making, and what is wrong with them.",
        [
            ("Now", _now()),
            ("Calls", _calls()),
            ("Anomalies", _anomalies()),
            ("Calls written as text, and rewritten", _rewrites()),
        ],
    )


def _now() -> list[Panel]:
    return [
        number(
            "Tool calls",
            "Tool calls per second, of the services and models chosen above. None though the agent has tools: the "
            "model answers in text, or writes its calls as text that nobody parses (anomaly text_leak).",
            Query(total(rate(_CALLS)), "calls"),
            unit=units.CountsPerSecond,
            width=6,
        ),
        number(
            "Generation time p95",
            "95 of 100 calls were written, from their first piece to their last, within this time. Red above "
            f"{limits.GENERATION_SECONDS:.0f} s: compare it with the size of the arguments; if that has not grown, the "
            "server is slow.",
            Query(quantile(0.95, _DURATION), "p95"),
            unit=units.Seconds,
            width=6,
            red_above=limits.GENERATION_SECONDS,
        ),
        number(
            "Anomalies per stream",
            "Anomalies, for each stream; one stream can have several. Red above "
            f"{limits.ANOMALIES_PER_STREAM:.0%}: see below of which type they are, and of which model.",
            Query(or_zero(share(rate(_ANOMALIES), rate(_STREAMS))), "anomalies"),
            unit=units.PercentUnit,
            width=6,
            red_above=limits.ANOMALIES_PER_STREAM,
        ),
        number(
            "Rewritten calls",
            "Calls per second that the model wrote as text and that were rewritten. They are asked for with "
            "OTEL_LLM_TOOL_CALL_TAGS; none though they are: the model's server parses them itself.",
            Query(or_zero(total(rate(_REWRITES))), "calls"),
            unit=units.CountsPerSecond,
            width=6,
        ),
    ]


def _calls() -> list[Panel]:
    return [
        graph(
            "Calls by tool",
            "Tool calls per second. _OTHER: names that no request declared, see the anomaly unknown_tool. One tool "
            "that rises alone: an agent in a loop.",
            Query(total(rate(_CALLS), _TOOL), "{{gen_ai_tool_name}}"),
            unit=units.CountsPerSecond,
            stacked=True,
        ),
        bars(
            "Calls in the time shown",
            "The same, counted. A tool that is missing is never called: its description may not say when to use it.",
            Query(total(increase(_CALLS), _TOOL), "{{gen_ai_tool_name}}"),
            unit=units.Short,
        ),
        graph(
            "Size of the arguments",
            f"Characters of one call's arguments, by tool. {_EXEMPLARS} Sizes that grow: the model copies documents "
            "into its calls; let it name them instead. Near the limit of max_tokens: see the anomaly truncated.",
            Query(quantile(0.5, _SIZE, _TOOL), "{{gen_ai_tool_name}} p50"),
            Query(quantile(0.95, _SIZE, _TOOL), "{{gen_ai_tool_name}} p95", exemplars=True),
            unit=units.Short,
            axis="characters",
        ),
        graph(
            "Generation time",
            f"From the first piece of a call to its last, by tool. {_EXEMPLARS} Red above "
            f"{limits.GENERATION_SECONDS:.0f} s: larger arguments beside it explain it; if they do not, open the "
            "slowest and look where its pieces stopped.",
            Query(quantile(0.5, _DURATION, _TOOL), "{{gen_ai_tool_name}} p50"),
            Query(quantile(0.95, _DURATION, _TOOL), "{{gen_ai_tool_name}} p95", exemplars=True),
            unit=units.Seconds,
            red_above=limits.GENERATION_SECONDS,
        ),
    ]


def _anomalies() -> list[Panel]:
    return [
        graph(
            "Anomalies per stream, by type",
            f"Red above {limits.ANOMALIES_PER_STREAM:.0%} (alert ToolCallAnomalies). {_WHAT_TO_DO} To see one, search "
            "Jaeger for the tag otel_llm.anomaly.type=TYPE.",
            Query(
                f"{total(rate(_ANOMALIES), _TYPE)} / scalar({total(rate(_STREAMS))})",
                "{{otel_llm_anomaly_type}}",
            ),
            unit=units.PercentUnit,
            red_above=limits.ANOMALIES_PER_STREAM,
            empty="no anomalies",
        ),
        graph(
            "Anomalies per stream, by model",
            f"Red above {limits.ANOMALIES_PER_STREAM:.0%}. One model alone: the model, or the parser of its server; "
            "compare it with another server of the same model. All of them: the tools' schemas, or a proxy.",
            Query(
                share(rate(_ANOMALIES), rate(_STREAMS), _MODEL),
                "{{gen_ai_request_model}}",
            ),
            unit=units.PercentUnit,
            red_above=limits.ANOMALIES_PER_STREAM,
            empty="no anomalies",
        ),
        bars(
            "Anomalies in the time shown, by type",
            f"Counted. Begin with the longest. {_WHAT_TO_DO}",
            Query(total(increase(_ANOMALIES), _TYPE), "{{otel_llm_anomaly_type}}"),
            unit=units.Short,
        ),
        bars(
            "Anomalies in the time shown, by type and model",
            "Counted. One type at one model: report it to who runs that model's server, with a trace.",
            Query(
                total(increase(_ANOMALIES), _TYPE, _MODEL),
                "{{otel_llm_anomaly_type}}, {{gen_ai_request_model}}",
            ),
            unit=units.Short,
        ),
    ]


def _rewrites() -> list[Panel]:
    return [
        graph(
            "Rewritten calls by format",
            "Calls per second by the format that the model wrote them in. A format that ends while requests go on: the "
            "model, its chat template or the server's parser was changed.",
            Query(total(rate(_REWRITES), _FORMAT), "{{otel_llm_tag_rewrite_format}}"),
            unit=units.CountsPerSecond,
            stacked=True,
            empty="nothing rewritten",
        ),
        graph(
            "Time to rewrite a call",
            f"What rewriting added to the stream, for one call. {_EXEMPLARS} Red above "
            f"{limits.REWRITE_SECONDS:g} s: the machine is busy, or arguments are very large; see their size.",
            Query(quantile(0.5, _REWRITE_DURATION, _FORMAT), "{{otel_llm_tag_rewrite_format}} p50"),
            Query(quantile(0.95, _REWRITE_DURATION, _FORMAT), "{{otel_llm_tag_rewrite_format}} p95", exemplars=True),
            unit=units.Seconds,
            red_above=limits.REWRITE_SECONDS,
            empty="nothing rewritten",
        ),
    ]
