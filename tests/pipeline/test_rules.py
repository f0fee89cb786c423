"""The alert rules: valid, tested case by case, and about metrics that exist."""

from __future__ import annotations

import re
import subprocess
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from stack import tools
from tests.helpers.pipeline.backends import eventually, get_json
from tests.helpers.pipeline.live_stack import LiveStack

pytestmark = pytest.mark.usefixtures("prometheus_programs")

FOLDER: Final = Path(__file__).parents[2] / "grafana" / "prometheus"
RULES: Final[list[dict[str, Any]]] = [
    rule for group in yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"] for rule in group["rules"]
]
ALERTS: Final = {rule["alert"]: rule for rule in RULES if "alert" in rule}

# The names of metrics in an expression. Those of labels follow `by` or `on`, or are in braces.
_SELECTOR: Final = re.compile(r"\b((?:gen_ai_client|otel_llm|otelcol|traces_span_metrics)[\w:]+|up)(?=[\s{\[)])")


def promtool(*arguments: str) -> str:
    ended = subprocess.run(
        [tools.find("promtool"), *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def metrics_of(rule: dict[str, Any]) -> set[str]:
    without_labels = re.sub(r"\b(by|on|group_left)\s*\([^)]*\)", "", rule["expr"])
    return set(_SELECTOR.findall(without_labels))


def test_configuration_is_valid() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "config", "prometheus.yaml")


def test_each_case_of_the_alerts() -> None:
    promtool("test", "rules", "rules_test.yaml")


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_firing_and_a_silent_case(name: str) -> None:
    cases = [
        one["exp_samples"]
        for case in yaml.safe_load((FOLDER / "rules_test.yaml").read_text())["tests"]
        for one in case["promql_expr_test"]
        if f'alertname="{name}"' in one["expr"]
    ]
    assert any(cases)
    assert not all(cases)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_explains_itself(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or "-".join(rule["labels"].values()))
def test_a_rule_queries_metrics_that_exist(rule: dict[str, Any], live_stack: LiveStack) -> None:
    metrics = metrics_of(rule)
    assert metrics
    for metric in metrics:
        assert eventually(partial(live_stack.prometheus.query, metric), bool), metric


def test_the_loss_of_a_collector_is_reported(live_stack: LiveStack) -> None:
    def told() -> list[dict[str, Any]]:
        return [
            alert
            for alert in get_json(f"{live_stack.prometheus_url}/api/v1/alerts")["data"]["alerts"]
            if alert["labels"]["alertname"] == "TelemetryLost"
            and alert["labels"]["instance"] == live_stack.losing_agent
            and alert["state"] == "firing"
        ]

    alerts = eventually(told, lambda alerts: len(alerts) == 6)
    assert {(one["labels"]["reason"], one["labels"]["signal"]) for one in alerts} == {
        (reason, signal) for reason in ("send_failed", "enqueue_failed") for signal in ("spans", "metrics", "logs")
    }
    for alert in alerts:
        assert re.fullmatch(
            rf"Collector {live_stack.losing_agent} lost 1 (spans|metrics|logs) on the way to otlp_http/gateway",
            alert["annotations"]["summary"],
        )


@pytest.mark.parametrize("signal", ["spans", "metric_points", "log_records"])
def test_a_collector_s_refusals_are_counted(signal: str, live_stack: LiveStack) -> None:
    metric = f'otelcol_receiver_refused_{signal}{{instance="{live_stack.losing_agent}"}}'
    assert eventually(lambda: live_stack.prometheus.value(metric), bool) == 1
