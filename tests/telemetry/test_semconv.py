"""The names of the telemetry contract: one module spells them, and all that cannot import it agrees with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import (
    error_attributes,
    exception_attributes,
    server_attributes,
    service_attributes,
)

from otel_llm.telemetry import semconv
from otel_llm.telemetry.prometheus_names import prometheus_label, prometheus_metric
from otel_llm.telemetry.semconv import Metric

ROOT = Path(__file__).parents[2]
SEMCONV = ROOT / "otel_llm/telemetry/semconv.py"
DOCUMENTATION = (ROOT / "docs/telemetry.md").read_text(encoding="utf-8")

CONSTANTS = {name: value for name, value in vars(semconv).items() if name.isupper()}
METRICS = {name: value for name, value in CONSTANTS.items() if isinstance(value, Metric)}
PREFIXES = {semconv.NAMESPACE, semconv.GEN_AI_REQUEST_PREFIX}
OPERATIONS = {value for name, value in CONSTANTS.items() if name.startswith("OPERATION_")}
EVENTS = {name: value for name, value in CONSTANTS.items() if name.startswith("EVENT_")}
ATTRIBUTES = {
    name: value
    for name, value in CONSTANTS.items()
    if isinstance(value, str)
    and name not in EVENTS
    and value not in {semconv.SCOPE, semconv.OTHER, semconv.ERROR_OF_ANOMALY, *PREFIXES, *OPERATIONS}
}
NAMES = {*ATTRIBUTES.values(), *EVENTS.values(), *(metric.name for metric in METRICS.values())}
IN_PROMETHEUS = {
    *(prometheus_label(name) for name in ATTRIBUTES.values()),
    *(prometheus_metric(metric) for metric in METRICS.values() if metric.kind == "counter"),
    *(
        f"{prometheus_metric(metric)}_{part}"
        for metric in METRICS.values()
        if metric.kind == "histogram"
        for part in ("bucket", "count", "sum")
    ),
}

# What reads or writes telemetry. Tests spell names on purpose: a constant that changes by mistake must not take the
# test with it.
SOURCES = [
    path
    for folder in ("otel_llm", "grafana", "benchmarks", "stack")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != SEMCONV
]
MODULES = {
    ".".join(part for part in path.relative_to(ROOT).with_suffix("").parts if part != "__init__")
    for path in ROOT.glob("otel_llm/**/*.py")
}
ENTRY_POINTS = {entry.name for entry in distribution("otel-llm").entry_points}
# Names that look alike and are no telemetry.
OTHERS = {
    "otel_llm_recording": "the mark of a recorded exchange",
    "otel_llm_current_request": "a context variable",
    "otel_llm_token": "the cookie of the view",
}
# Attributes that collector-config/ sets for its own processors, and removes before anything is exported.
WITHIN_A_COLLECTOR = {
    f"otel_llm.{name}" for name in ("cut", "event_name", "joined", "kept", "span_name", "status_message")
}

# Whatever begins like ours or the GenAI conventions', in either spelling; of other namespaces the names we use.
_OTHER_NAMESPACES = sorted(name for name in NAMES if not name.startswith(("otel_llm.", "gen_ai.")) and "." in name)
_TOKEN = re.compile(
    r"(?<![\w.])(?:(?:otel_llm|gen_ai)[._][\w.]*|openai\.(?:api|request|response)\.[\w.]*|(?:"
    + "|".join(map(re.escape, _OTHER_NAMESPACES))
    + r")(?!\w))"
)


def tokens_of(text: str) -> Iterator[str]:
    """What looks like a telemetry name, or the beginning of one."""
    # As regular expressions escape them.
    for token in _TOKEN.findall(text.replace("[.]", ".").replace("\\.", ".")):
        # A sentence may end behind a name.
        yield token[:-1] if token[:-1] in NAMES else token


def exists(token: str) -> bool:
    """Whether a token is a name of the contract, the beginning of one, or what Prometheus makes of one."""
    if token.endswith("."):
        return any(name.startswith(token) for name in NAMES)
    return token in NAMES or token in IN_PROMETHEUS


def is_pure(path: Path) -> bool:
    """Whether a module may not import the telemetry. Its prose may name what exists."""
    return path.relative_to(ROOT).parts[1] in {"protocol", "tags", "diagnosis"}


def literals_of(path: Path) -> Iterator[tuple[int, str]]:
    """The line and text of string literals and the constant parts of f-strings, without docstrings and logger names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ignored = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            ignored.add(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "getLogger":
            ignored.update(node.args)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in ignored:
            yield node.lineno, node.value


def test_no_other_module_spells_a_name() -> None:
    spelled = [
        f"{path.relative_to(ROOT)}:{line}: {token}"
        for path in SOURCES
        for line, text in literals_of(path)
        for token in tokens_of(text)
        if token not in {*MODULES, *ENTRY_POINTS, *OTHERS} and not (is_pure(path) and exists(token))
    ]
    assert not spelled, "Use the constants of otel_llm/telemetry/semconv.py."


def test_a_spelled_name_is_found(tmp_path: Path) -> None:
    """The test above can fail."""
    module = tmp_path / "module.py"
    module.write_text(
        '"""A docstring may say otel_llm.stream.outcome."""\n'
        "import logging\n"
        'logging.getLogger("otel_llm.view.http")\n'
        'name = "otel_llm.stream.outcome"\n'
        'prefix = f"gen_ai.{name}"\n'
        'label = "sum by (otel_llm_anomaly_type)"\n'
        'other = "the error.type of openai.request.service_tier"\n'
        'harmless = "server.addresses, api.openai.com, myotel_llm.x and otel_llm alone"\n'
    )
    found = sorted((line, token) for line, text in literals_of(module) for token in tokens_of(text))
    assert found == [
        (4, "otel_llm.stream.outcome"),
        (5, "gen_ai."),
        (6, "otel_llm_anomaly_type"),
        (7, "error.type"),
        (7, "openai.request.service_tier"),
    ]


@pytest.mark.parametrize(
    "path",
    [
        *sorted((ROOT / "collector-config").glob("*.yaml")),
        *sorted((ROOT / "grafana/prometheus").glob("*.yaml")),
        *sorted((ROOT / "otel_llm/view/page").glob("*.js")),
    ],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_names_in_other_languages_exist(path: Path) -> None:
    tokens = set(tokens_of(path.read_text(encoding="utf-8"))) - WITHIN_A_COLLECTOR
    assert not {token for token in tokens if not exists(token)}


def test_every_name_is_documented_and_every_documented_name_exists() -> None:
    documented = set(re.findall(r"`([\w.]+)`", DOCUMENTATION))
    assert not NAMES - documented
    assert not {name for name in documented if name.startswith(semconv.NAMESPACE)} - NAMES
    assert not {operation for operation in OPERATIONS if f"`{operation}" not in DOCUMENTATION}


def test_a_constant_is_called_like_its_name() -> None:
    for constant, name in ATTRIBUTES.items():
        assert constant == name.replace(".", "_").upper()
    for constant, name in EVENTS.items():
        assert constant == "EVENT_" + name.removeprefix(semconv.NAMESPACE).replace(".", "_").upper()
    for constant, metric in METRICS.items():
        assert constant == "METRIC_" + metric.name.removeprefix(semconv.NAMESPACE).replace(".", "_").upper()


def test_names_of_the_conventions_are_theirs() -> None:
    """As far as the installed package still has them: it is giving up those of GenAI."""
    theirs: dict[str, object] = {}
    for module in (gen_ai_attributes, error_attributes, exception_attributes, server_attributes, service_attributes):
        theirs |= vars(module)
    compared = {name: value for name, value in ATTRIBUTES.items() if name in theirs}
    assert {"ERROR_TYPE", "EXCEPTION_TYPE", "SERVER_PORT", "SERVICE_NAME"} <= compared.keys()
    assert compared == {name: theirs[name] for name in compared}
    for constant, metric in METRICS.items():
        name = constant.removeprefix("METRIC_")
        assert getattr(gen_ai_metrics, name, metric.name) == metric.name


def test_the_names_import_nothing_heavy() -> None:
    tree = ast.parse(SEMCONV.read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"__future__", "typing"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import)]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (semconv.METRIC_STREAM_COUNT, "otel_llm_stream_count_total"),
        (semconv.METRIC_TOOL_CALL_DURATION, "otel_llm_tool_call_duration_seconds"),
        (semconv.METRIC_TOOL_CALL_ARGUMENTS_SIZE, "otel_llm_tool_call_arguments_size"),
        (semconv.METRIC_GEN_AI_CLIENT_TOKEN_USAGE, "gen_ai_client_token_usage"),
    ],
)
def test_names_in_prometheus(metric: Metric, expected: str) -> None:
    assert prometheus_metric(metric) == expected
