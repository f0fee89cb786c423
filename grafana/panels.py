"""The look of panels: each function returns one kind of panel, ready to be put on a board."""

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

# How often applications send metrics (OTEL_METRIC_EXPORT_INTERVAL). A rate over a shorter time has gaps.
_OF_APPLICATIONS: Final = "60s"

_RED: Final = "red"
_GREEN: Final = "green"
_NEUTRAL: Final = "text"
_UNCOLOURED: Final = "transparent"


@dataclass(frozen=True)
class Query:
    """One query of a panel.

    ``legend`` may contain labels: ``{{job}}``. ``exemplars`` shows a dot for each exemplar, with a link to its trace.
    ``of_collector`` marks the collector's own metrics, which are more frequent than those of applications.
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
    """Return a graph of values over time; its background is red above ``red_above``."""
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
        # Over a short time range, an application that sends once a minute would have gaps.
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
    """Return the latest value in large digits; its background is red above ``red_above``."""
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
    """Return one bar for each series, over the whole time range of the dashboard."""
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
