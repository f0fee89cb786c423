"""What both dashboards share: the variables, the links between them, and the layout of rows."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Final, TypeAlias

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

from grafana.panels import PROMETHEUS, Panel
from grafana.promql import MODEL, PROVIDER
from otel_llm.telemetry.prometheus_names import prometheus_metric
from otel_llm.telemetry.semconv import METRIC_GEN_AI_CLIENT_OPERATION_DURATION

if TYPE_CHECKING:
    from collections.abc import Sequence

_Variable: TypeAlias = Builder[models.VariableModel]

OVERVIEW: Final = "otel-llm-overview"
TOOL_CALLS: Final = "otel-llm-tool-calls"
_TITLES: Final = {OVERVIEW: "LLM requests", TOOL_CALLS: "LLM tool calls"}

# Has every request, and so every value of the variables.
_REQUESTS: Final = f"{prometheus_metric(METRIC_GEN_AI_CLIENT_OPERATION_DURATION)}_count"
_LABEL_VALUES: Final = 1  # the Prometheus data source's code for a label_values query


def board(uid: str, description: str, rows: Sequence[tuple[str, Sequence[Panel]]]) -> dashboard.Dashboard:
    """Return the dashboard ``uid``. ``rows`` are titles and the panels below them, left to right, in 24 columns."""
    made = (
        dashboard.Dashboard(_TITLES[uid])
        .uid(uid)
        .description(description)
        .tags(["otel-llm"])
        .readonly()
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .variables(_variables())
        .links([_link(other) for other in _TITLES if other != uid])
    )
    # Links to a panel contain its id, so ids must not change when the dashboard is reloaded.
    ids = count(1)
    for title, panels in rows:
        made.with_row(dashboard.Row(title).id(next(ids)))
        for panel in panels:
            made.with_panel(panel.id(next(ids)))
    return made


def _variables() -> list[_Variable]:
    return [
        _variable("service", "Service", "job", _REQUESTS),
        _variable("provider", "Provider", PROVIDER, f'{_REQUESTS}{{job=~"$service"}}'),
        _variable(
            "model",
            "Model",
            MODEL,
            f'{_REQUESTS}{{job=~"$service", {PROVIDER}=~"$provider"}}',
        ),
    ]


def _variable(name: str, title: str, label: str, series: str) -> _Variable:
    query = f"label_values({series}, {label})"
    return (
        dashboard.QueryVariable(name)
        .label(title)
        .datasource(PROMETHEUS)
        .query({"qryType": _LABEL_VALUES, "query": query, "refId": f"variable-{name}"})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
    )


def _link(uid: str) -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink(_TITLES[uid])
        .type(models.DashboardLinkType.LINK)
        .icon("dashboard")
        .tooltip(f"{_TITLES[uid]}, for the same services, models and time range")
        .url(f"/d/{uid}")
        .keep_time(True)
        .include_vars(True)
    )
