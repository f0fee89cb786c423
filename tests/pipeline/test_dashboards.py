"""The dashboards: made by the code beside them, readable, and each query of each panel answered by the real stack."""

from __future__ import annotations

import itertools
import json
import math
import operator
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from grafana import limits
from tests.helpers.pipeline.backends import eventually, get_json
from tests.helpers.pipeline.live_stack import SERVICES, LiveStack

GRAFANA: Final = Path(__file__).parents[2] / "grafana"
BOARDS: Final[dict[str, dict[str, Any]]] = {
    path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))
}
PANELS: Final[dict[str, dict[str, Any]]] = {
    f"{name}-{panel['id']}": panel
    for name, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] != "row"
}
_COLUMNS: Final = 24


def asked(expression: str) -> str:
    """The query as Grafana sends it, with "All" chosen everywhere."""
    for variable, value in {
        "$service": ".*",
        "$provider": ".*",
        "$model": ".*",
        # Longer than these tests take: the applications ended before them, and a rate of nothing has no quantiles.
        "$__rate_interval": "10m",
        "$__range": "10m",
    }.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


@pytest.mark.skipif(sys.version_info < (3, 11), reason="grafana-foundation-sdk, which makes them, needs Python 3.11.")
def test_files_are_what_the_code_makes() -> None:
    from grafana.rendered import FOLDER, rendered

    assert {path: path.read_text() for path in FOLDER.iterdir()} == rendered(), "Run `python -m grafana`."


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_panels_fill_rows_and_do_not_overlap(board: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = set(
            itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])),
        )
        assert not taken & cells, panel["title"]
        taken |= cells
    height = max(row for _, row in taken) + 1
    assert taken == set(itertools.product(range(_COLUMNS), range(height)))


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_ids_are_used_once(board: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_links_lead_to_the_other_board_with_its_variables(board: dict[str, Any]) -> None:
    (link,) = board["links"]
    (other,) = [one for one in BOARDS.values() if one["uid"] != board["uid"]]
    assert link["url"] == f"/d/{other['uid']}"
    assert link["includeVars"]
    assert link["keepTime"]
    names = [variable["name"] for variable in board["templating"]["list"]]
    assert names == [variable["name"] for variable in other["templating"]["list"]] == ["service", "provider", "model"]


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_panel_is_readable(panel: dict[str, Any]) -> None:
    assert panel["title"]
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"] in {"reqps", "cps", "s", "short", "percentunit", "bytes"}
    assert defaults["min"] == 0
    assert all(target["legendFormat"] for target in panel["targets"])
    assert [target["refId"] for target in panel["targets"]] == list("ABC"[: len(panel["targets"])])
    # What it shows, and what to do: two sentences at least.
    assert len(re.findall(r"[.:] ", panel["description"] + " ")) >= 2
    is_red_somewhere = any(step["color"] == "red" for step in defaults["thresholds"]["steps"])
    assert is_red_somewhere == ("Red above" in panel["description"])


def test_data_sources_are_provisioned() -> None:
    provisioned = yaml.safe_load((GRAFANA / "provisioning/datasources/datasources.yaml").read_text())["datasources"]
    uids = {source["uid"]: source["type"] for source in provisioned}
    used = {
        (one["uid"], one["type"])
        for board in BOARDS.values()
        for one in _every(board, "datasource")
        if one["uid"] != "-- Grafana --"
    }
    assert used == {("prometheus", "prometheus")}
    assert uids["prometheus"] == "prometheus"
    (prometheus,) = [source for source in provisioned if source["uid"] == "prometheus"]
    to_traces = prometheus["jsonData"]["exemplarTraceIdDestinations"]
    assert {one["name"] for one in to_traces} == {"trace_id"}
    assert [uids[one["datasourceUid"]] for one in to_traces if "datasourceUid" in one] == ["jaeger"]


def _every(part: Any, key: str) -> list[Any]:
    """The values of ``key``, however deep."""
    if isinstance(part, list):
        return [found for one in part for found in _every(one, key)]
    if isinstance(part, dict):
        return [value for name, value in part.items() if name == key] + [
            found for value in part.values() for found in _every(value, key)
        ]
    return []


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_every_query_has_data(panel: dict[str, Any], live_stack: LiveStack) -> None:
    for target in panel["targets"]:
        query = asked(target["expr"])

        def numbers(query: str = query) -> list[dict[str, Any]]:
            return [one for one in live_stack.prometheus.query(query) if math.isfinite(float(one["value"][1]))]

        series = eventually(numbers, bool)
        assert series, query
        labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert labels <= set().union(*(one["metric"] for one in series)), "The legend names what is not there."


@pytest.mark.parametrize(
    "panel",
    [pytest.param(panel, id=name) for name, panel in PANELS.items() if any(t["exemplar"] for t in panel["targets"])],
)
def test_exemplars_lead_to_traces(panel: dict[str, Any], live_stack: LiveStack) -> None:
    for target in panel["targets"]:
        if target["exemplar"]:
            query = asked(target["expr"])
            trace_ids = eventually(partial(live_stack.prometheus.exemplars, query), bool)
            assert trace_ids, query
            known = eventually(lambda: _trace_ids(live_stack), trace_ids.issubset)
            assert trace_ids <= known


def _trace_ids(stack: LiveStack) -> set[str]:
    return {trace["traceID"] for service in SERVICES for trace in stack.jaeger.traces(service)}


def test_searches_that_the_texts_tell_of_find_traces(live_stack: LiveStack) -> None:
    texts = [panel["description"] for panel in PANELS.values()] + [(GRAFANA / "prometheus/rules.yaml").read_text()]
    searches = {tag for text in texts for tag in re.findall(r"\btag\s+([\w.]+)=", text)}
    values = {"otel_llm.stream.outcome": "error", "otel_llm.anomaly.type": "invalid_json"}
    assert searches == values.keys()
    for tag, value in values.items():
        # Five rounds of one kind with this anomaly, and of two that fail.
        wanted = {"error": 10, "invalid_json": 5}[value]
        tags = json.dumps({tag: value})

        def found(tags: str = tags) -> int:
            url = f"{live_stack.jaeger_url}/api/traces"
            return len(get_json(url, service=SERVICES[0], tags=tags, limit=1000)["data"])

        assert eventually(found, partial(operator.le, wanted)) == wanted


@pytest.mark.parametrize("variable", BOARDS["overview"]["templating"]["list"], ids=lambda one: one["name"])
def test_variables_have_values(variable: dict[str, Any], live_stack: LiveStack) -> None:
    parts = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
    assert parts
    series, label = parts.groups()
    wanted = {"service": set(SERVICES), "provider": {"openai"}, "model": {"scripted-model"}}[variable["name"]]

    def values() -> set[str]:
        return {one["metric"][label] for one in live_stack.prometheus.query(asked(series))}

    assert eventually(values, lambda values: values == wanted) == wanted


@pytest.mark.parametrize(
    ("limit", "alert"),
    [
        (limits.ERROR_SHARE, "RequestsFail"),
        (limits.SLOW_SECONDS, "RequestsSlow"),
        (limits.FIRST_CHUNK_SECONDS, "FirstChunkSlow"),
        (limits.ANOMALIES_PER_STREAM, "ToolCallAnomalies"),
        (limits.QUEUE_FILLED, "QueueNearlyFull"),
    ],
)
def test_red_begins_where_the_alert_fires(limit: float, alert: str) -> None:
    rules = yaml.safe_load((GRAFANA / "prometheus/rules.yaml").read_text())["groups"]
    (expression,) = [rule["expr"] for group in rules for rule in group["rules"] if rule.get("alert") == alert]
    assert re.search(rf"> {limit:g}\s", expression)
