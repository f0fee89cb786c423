"""The look of panels, in one place: each function gives one kind, ready to be put on a board."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase
from typing import TYPE_CHECKING, Final, TypeAlias

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

if TYPE_CHECKING:
    from collections.abc import Sequence

Panel: TypeAlias = timeseries.Panel | stat.Panel | bargauge.Panel

PROMETHEUS: Final = models.DataSourceRef(type_val="prometheus", uid="prometheus")

# How often an application sends its metrics (OTEL_METRIC_EXPORT_INTERVAL): a rate over less has holes.
_OF_APPLICATIONS: Final = "60s"

_RED: Final = "red"
_GREEN: Final = "green"
_NEUTRAL: Final = "text"
_UNCOLOURED: Final = "transparent"


@dataclass(frozen=True)
class Query:
    """One query of a panel.

    ``legend`` may name labels: ``{{job}}``. ``exemplars`` shows a dot for each recorded one, which leads to its trace.
    ``of_collector`` is for what the collector says about itself, which is newer than what applications send.
    """

    expression: str
    legend: str
    exemplars: bool = False
    of_collector: bool = False


def graph(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    width: int = 12,
    stacked: bool = False,
    red_above: float | None = None,
    axis: str = "",
    empty: str = "nothing yet",
) -> timeseries.Panel:
    """Values over time; above ``red_above`` the ground is red."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .targets([_target(number, query) for number, query in enumerate(queries)])
        .unit(unit)
        .min(0)
        .no_value(empty)
        .span(width)
        .height(8)
        .axis_label(axis)
        .line_width(1)
        .fill_opacity(30 if stacked else 8)
        # One application that sends once a minute has a gap wherever the time shown is short.
        .span_nulls(300_000)
        .show_points(common_models.VisibilityMode.NEVER)
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC))
        .thresholds(_thresholds(red_above, below=_UNCOLOURED))
        .legend(
            common.VizLegendOptions()
            .display_mode(common_models.LegendDisplayMode.TABLE)
            .placement(common_models.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_models.TooltipDisplayMode.MULTI)
            .sort(common_models.SortOrder.DESCENDING)
        )
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL).group("A"))
    if red_above is not None:
        panel.thresholds_style(
            common.GraphThresholdsStyleConfig().mode(common_models.GraphThresholdsStyleMode.DASHED_AND_AREA)
        )
    return panel


def number(
    title: str, description: str, query: Query, *, unit: str, width: int = 4, red_above: float | None = None
) -> stat.Panel:
    """The newest value, large, on a ground that is red above ``red_above``."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .targets([_target(0, query)])
        .unit(unit)
        .min(0)
        .no_value("-")
        .span(width)
        .height(4)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_mode(
            common_models.BigValueColorMode.NONE if red_above is None else common_models.BigValueColorMode.BACKGROUND
        )
        .graph_mode(common_models.BigValueGraphMode.AREA)
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .thresholds(_thresholds(red_above, below=_NEUTRAL if red_above is None else _GREEN))
    )


def bars(title: str, description: str, query: Query, *, unit: str, width: int = 12) -> bargauge.Panel:
    """One bar for each series, over the whole time that the dashboard shows."""
    target = _target(0, query).instant()
    return (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .targets([target])
        .unit(unit)
        .decimals(0)
        .min(0)
        .no_value("none")
        .span(width)
        .height(8)
        .orientation(common_models.VizOrientation.HORIZONTAL)
        .display_mode(common_models.BarGaugeDisplayMode.BASIC)
        .value_mode(common_models.BarGaugeValueMode.TEXT)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC))
        .thresholds(_thresholds(None, below=_NEUTRAL))
    )


def _target(position: int, query: Query) -> prometheus.Dataquery:
    target = (
        prometheus.Dataquery()
        .expr(query.expression)
        .legend_format(query.legend)
        .ref_id(ascii_uppercase[position])
        .datasource(PROMETHEUS)
        .exemplar(query.exemplars)
        .range()
    )
    return target if query.of_collector else target.interval(_OF_APPLICATIONS)


def _thresholds(red_above: float | None, *, below: str) -> dashboard.ThresholdsConfig:
    steps: Sequence[models.Threshold] = [models.Threshold(value=None, color=below)]
    if red_above is not None:
        steps = [*steps, models.Threshold(value=red_above, color=_RED)]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(list(steps))
