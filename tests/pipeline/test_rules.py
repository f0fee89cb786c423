"""The alert rules: valid, tested case by case, and about metrics that exist."""

from __future__ import annotations

import re
import subprocess
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from otel_llm.diagnosis.explanations import BY_TYPE, EXPLANATIONS
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


def test_each_type_of_anomaly_alerts(tmp_path: Path) -> None:
    """Each type that is counted, in a tenth of a model's requests. Those of the bytes are not counted."""
    counted = [one.type for one in EXPLANATIONS if one.group != "The bytes"]
    labels = 'job="agent", gen_ai_request_model="of {}"'
    series = [
        {"series": f"{name}{{{labels.format(of)}, {more}}}", "values": values}
        for of in counted
        for name, more, values in (
            ("otel_llm_anomaly_count_total", f'otel_llm_anomaly_type="{of}"', "0+10x40"),
            ("gen_ai_client_operation_duration_seconds_count", 'gen_ai_operation_name="chat"', "0+100x40"),
        )
    ]
    told = 'alertname="ToolCallAnomalies", alertstate="firing"'
    fired = [
        {
            "labels": f'ALERTS{{{told}, {labels.format(of)}, otel_llm_anomaly_type="{of}", severity="warning"}}',
            "value": 1,
        }
        for of in counted
    ]
    case = {
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [{"expr": f"ALERTS{{{told}}}", "eval_time": "30m", "exp_samples": fired}],
    }
    test = tmp_path / "types.yaml"
    test.write_text(yaml.safe_dump({"rule_files": [str(FOLDER / "rules.yaml")], "tests": [case]}))
    promtool("test", "rules", str(test))


def test_the_rules_name_only_types_that_there_are() -> None:
    rules = (FOLDER / "rules.yaml").read_text()
    named = set(re.findall(r'otel_llm_anomaly_type="(\w+)"', rules)) | set(re.findall(r"anomaly\.type=(\w+)", rules))
    assert "repeated_call" in named
    assert named <= BY_TYPE.keys()


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
