"""Options: keyword first, then the environment, then the default; a bad value warns and the next source counts."""

from __future__ import annotations

import inspect
import logging
import re
import textwrap
from dataclasses import fields
from pathlib import Path
from typing import Any

import openai
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NoOpTracerProvider

from otel_llm import CerebrasInstrumentor, GroqInstrumentor, OpenAIInstrumentor, config, intercept_llm_requests
from otel_llm.config import Config, Options, read_config
from tests.helpers.ids import stable_id

NOTHING: dict[str, str] = {}


@pytest.fixture(autouse=True)
def warn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "_warned", set())


def test_the_defaults_are_those_of_the_contract() -> None:
    assert read_config({}, NOTHING) == Config(
        capture_arguments=True, argument_limit=200, events=frozenset({"span"}), log=True, stall_seconds=10.0
    )


GOOD: list[tuple[str, Any, Any]] = [
    *(("capture_arguments", value, True) for value in (True, "true", "TRUE", "1", "yes", "on", " On ", 1)),
    *(("capture_arguments", value, False) for value in (False, "false", "False", "0", "no", "off", 0)),
    ("log", "off", False),
    ("log", "on", True),
    ("argument_limit", 0, 0),
    ("argument_limit", "50", 50),
    ("argument_limit", " 50 ", 50),
    ("argument_limit", 50.0, 50),
    ("stall_seconds", "2.5", 2.5),
    ("stall_seconds", 3, 3.0),
    ("stall_seconds", "1e-3", 0.001),
    ("stall_seconds", "inf", float("inf")),
    ("delta_events", 0, 0),
    ("delta_events", "40", 40),
    ("anomaly_status", "error", "error"),
    ("anomaly_status", " UNSET ", "unset"),
    ("redact", str.lower, str.lower),
    ("redact", "textwrap:dedent", textwrap.dedent),
    ("redact", " textwrap:TextWrapper.fill ", textwrap.TextWrapper.fill),
    ("loop_turns", "2", 2),
    ("loop_turns", 5, 5),
    ("events", "span", frozenset({"span"})),
    ("events", "log", frozenset({"log"})),
    ("events", "span,log", frozenset({"span", "log"})),
    ("events", " Log , SPAN ", frozenset({"span", "log"})),
    ("events", "none", frozenset()),
    ("reasoning", "opened", "opened"),
    ("reasoning", " Keep ", "keep"),
    ("reasoning", "auto", "auto"),
    ("events", ["span", "log"], frozenset({"span", "log"})),
    ("events", frozenset({"log"}), frozenset({"log"})),
]
_BAD_VALUES: dict[str, list[Any]] = {
    "capture_arguments": ["maybe", "", 2, 1.5, "tru"],
    "log": ["x", []],
    "argument_limit": [-1, "-1", "many", "1.5", 1.5, True, "", [], float("inf"), float("nan"), 10**400, "9" * 5000],
    "stall_seconds": [0, -1, "0", "-2", "soon", "nan", float("nan"), True, "", [], 10**400],
    "delta_events": [-1, "-1", "some", True, 1.5],
    "anomaly_status": ["", "ok", "ERRORS", True, 1],
    "reasoning": ["", "open", "auto,keep", True, 1],
    "redact": [
        "",
        "textwrap",
        "textwrap:",
        ":dedent",
        "textwrap:nothing",
        "no_such_module:dedent",
        "textwrap:__doc__",
        5,
        [],
    ],
    "loop_turns": [0, 1, -1, "1", "three", "2.5", 2.5, True, "", [], float("inf")],
    "events": ["", "spam", "span,spam", "none,span", "span,", 5, True, [], [5]],
}
BAD = [(option, value) for option, values in _BAD_VALUES.items() for value in values]


@pytest.mark.parametrize(("option", "value", "expected"), GOOD, ids=stable_id)
def test_a_keyword_argument_is_read(option: str, value: Any, expected: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert getattr(read_config({option: value}, NOTHING), option) == expected
    assert caplog.records == []


@pytest.mark.parametrize(
    ("option", "value", "expected"), [row for row in GOOD if isinstance(row[1], str)], ids=stable_id
)
def test_the_environment_is_read(option: str, value: str, expected: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert getattr(read_config({}, {f"OTEL_LLM_{option.upper()}": value}), option) == expected
    assert caplog.records == []


@pytest.mark.parametrize(("option", "value"), BAD, ids=stable_id)
def test_a_bad_keyword_argument_warns_once_and_the_default_stays(
    option: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_config({option: value}, NOTHING) == Config()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("otel_llm", logging.WARNING)
    assert record.getMessage().startswith(f"{option}= ")


@pytest.mark.parametrize(("option", "value"), [row for row in BAD if isinstance(row[1], str) and row[1]], ids=stable_id)
def test_a_bad_variable_warns_once_and_the_default_stays(
    option: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    variable = f"OTEL_LLM_{option.upper()}"
    assert read_config({}, {variable: value}) == Config()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"{variable} {value!r} is not used")


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __int__ = __float__ = __iter__ = __str__


@pytest.mark.parametrize("option", [entry.name for entry in fields(Config)])
def test_an_option_that_raises_when_it_is_looked_at(option: str, caplog: pytest.LogCaptureFixture) -> None:
    assert read_config({option: Hostile()}, NOTHING) == Config()
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{option}= (Hostile) is not used: ")


def test_a_keyword_argument_goes_before_the_environment() -> None:
    assert read_config({"log": True}, {"OTEL_LLM_LOG": "false"}).log is True


def test_a_false_keyword_argument_goes_before_the_environment_too() -> None:
    config = read_config({"log": False, "argument_limit": 0}, {"OTEL_LLM_LOG": "true", "OTEL_LLM_ARGUMENT_LIMIT": "9"})
    assert (config.log, config.argument_limit) == (False, 0)


def test_the_environment_counts_where_the_keyword_argument_is_none() -> None:
    assert read_config({"log": None}, {"OTEL_LLM_LOG": "false"}).log is False


def test_the_environment_counts_where_the_keyword_argument_is_bad(caplog: pytest.LogCaptureFixture) -> None:
    assert read_config({"argument_limit": "many"}, {"OTEL_LLM_ARGUMENT_LIMIT": "9"}).argument_limit == 9
    assert len(caplog.records) == 1


@pytest.mark.parametrize("value", ["", "  "], ids=["empty", "blank"])
@pytest.mark.parametrize("option", ["capture_arguments", "argument_limit", "events", "log", "loop_turns"])
def test_an_empty_variable_is_not_set(option: str, value: str, caplog: pytest.LogCaptureFixture) -> None:
    assert read_config({}, {f"OTEL_LLM_{option.upper()}": value}) == Config()
    assert caplog.records == []


def test_one_bad_value_spoils_no_other(caplog: pytest.LogCaptureFixture) -> None:
    config = read_config({"log": "x", "stall_seconds": 3}, {"OTEL_LLM_EVENTS": "log", "OTEL_LLM_ARGUMENT_LIMIT": "y"})
    assert config == Config(stall_seconds=3.0, events=frozenset({"log"}))
    assert len(caplog.records) == 2


def test_options_of_other_instrumentors_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    assert read_config({"tracer_provider": object(), "excluded_urls": 5}, {"OTEL_LLM_OTHER": "x"}) == Config()
    assert caplog.records == []


def test_without_arguments_the_process_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_LLM_ARGUMENT_LIMIT", "7")
    assert read_config().argument_limit == 7


@pytest.mark.parametrize(
    ("value", "same"),
    [
        ("OPENAI ", "openai"),
        ("Open AI", "openai"),
        ("\topenai\n", "openai"),
        ("Qwen3", "qwen3"),
        (" LLAMA", "llama"),
        ("Xml", "xml"),
    ],
)
def test_names_of_tags_in_any_writing(value: str, same: str, caplog: pytest.LogCaptureFixture) -> None:
    expected = read_config({"tool_call_tags": same}).tool_call_tags
    for given in (
        read_config({"tool_call_tags": value}),
        read_config({}, {"OTEL_LLM_TOOL_CALL_TAGS": value}),
    ):
        assert given.tool_call_tags == expected or given.tool_call_tags.target_tags == expected.target_tags
    assert caplog.records == []


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("opnai", "openai"),
        ("openia", "openai"),
        ("OpenAi2", "openai"),
        ("gwen3", "qwen3"),
        ("lama", "llama"),
        ("xlm", "xml"),
    ],
)
def test_a_misspelt_name_of_tags(value: str, meant: str, caplog: pytest.LogCaptureFixture) -> None:
    sentence = f'"{value}" is no known target; taken as the tag <{value}>; did you mean "{meant}"?'
    assert read_config({"tool_call_tags": f" {value} "}).tool_call_tags.target_tags.opening == f"<{value}>"
    assert [record.getMessage() for record in caplog.records] == [f"tool_call_tags= {sentence}"]
    caplog.clear()
    for _ in range(2):
        read_config({}, {"OTEL_LLM_TOOL_CALL_TAGS": value})
    assert [record.getMessage() for record in caplog.records] == [f"OTEL_LLM_TOOL_CALL_TAGS {sentence}"]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


@pytest.mark.parametrize(
    "value", ["ojlk", "tool", "call", "function", "opnai,opnai2", "<opnai>", "[gwen]", "x" * 10**6]
)
def test_other_tags_are_in_no_doubt(value: str, caplog: pytest.LogCaptureFixture) -> None:
    assert read_config({"tool_call_tags": value}).tool_call_tags is not None
    assert caplog.records == []


# -- as keywords of `instrument` and `intercept_llm_requests` --


def test_the_typed_keywords_are_the_options() -> None:
    assert set(Options.__annotations__) == {entry.name for entry in fields(Config)}


def client() -> openai.OpenAI:
    return openai.OpenAI(api_key="unused", base_url="http://127.0.0.1:1/v1")


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("capture_argument", "capture_arguments"),
        ("tool_call_tag", "tool_call_tags"),
        ("event", "events"),
        ("Log", "log"),
        ("stall_secs", "stall_seconds"),
        ("trace_provider", "tracer_provider"),
    ],
)
def test_an_unknown_keyword_of_intercept_is_refused(misspelt: str, meant: str) -> None:
    intercepted: Any = intercept_llm_requests
    bare = client()
    message = f"intercept_llm_requests() got an unexpected keyword argument {misspelt!r}; did you mean {meant!r}?"
    with pytest.raises(TypeError, match=re.escape(message)):
        intercepted(bare, **{misspelt: None})
    assert not vars(bare.chat.completions).get("create"), "the client was intercepted all the same"


PROVIDERS: dict[str, Any] = {
    "tracer_provider": "get_tracer",
    "meter_provider": "get_meter",
    "logger_provider": "get_logger",
    "completion_hook": "on_completion",
}


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize(
    ("value", "told"), [("global", "str"), (5, "int"), ({}, "dict"), (object(), "object"), (False, "bool")]
)
def test_what_is_no_provider_is_refused_at_once(name: str, value: Any, told: str) -> None:
    bare = client()
    must = f"{name} must be an object with the method {PROVIDERS[name]}, not {told}"
    with pytest.raises(TypeError, match=re.escape(f"intercept_llm_requests(): {must}")):
        intercept_llm_requests(bare, **{name: value})
    assert not vars(bare.chat.completions).get("create"), "the client was intercepted all the same"
    for instrumentor in (OpenAIInstrumentor(), GroqInstrumentor(), CerebrasInstrumentor()):
        with pytest.raises(TypeError, match=re.escape(f"instrument(): {must}")):
            instrumentor.instrument(**{name: value})
        assert not instrumentor.is_instrumented_by_opentelemetry


def test_a_class_and_another_provider_are_no_provider() -> None:
    with pytest.raises(TypeError, match="tracer_provider must be an object, not the class TracerProvider"):
        intercept_llm_requests(client(), tracer_provider=TracerProvider)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="meter_provider must be an object with the method get_meter, not Tracer"):
        intercept_llm_requests(client(), meter_provider=TracerProvider())  # type: ignore[arg-type]


def test_any_object_with_the_method_is_a_provider() -> None:
    class Mine:
        def get_tracer(self, *args: Any, **kwargs: Any) -> Any:
            return NoOpTracerProvider().get_tracer("x")

    bare = client()
    intercept_llm_requests(bare, tracer_provider=Mine())  # type: ignore[arg-type]
    assert vars(bare.chat.completions).get("create")


def test_a_keyword_like_none_of_the_options_is_answered_with_all_of_them() -> None:
    intercepted: Any = intercept_llm_requests
    names = [entry.name for entry in fields(Config)]
    providers = ["tracer_provider", "meter_provider", "logger_provider", "completion_hook"]
    with pytest.raises(TypeError, match=re.escape(f"'zzz'; it takes {', '.join([*names, *providers])}")):
        intercepted(client(), zzz=1)


def test_the_keywords_of_intercept_are_those_of_instrument() -> None:
    of_instrument = list(inspect.signature(OpenAIInstrumentor().instrument).parameters)
    of_one_client = list(inspect.signature(intercept_llm_requests).parameters)
    base = ["skip_dep_check", "raise_exception_on_conflict"]
    assert [name for name in of_instrument if name not in base] == [name for name in of_one_client if name != "client"]


def test_instrument_ignores_the_keywords_of_other_instrumentors(caplog: pytest.LogCaptureFixture) -> None:
    """`opentelemetry-instrument` and applications pass all instrumentors the same ones."""
    instrument: Any = OpenAIInstrumentor().instrument
    instrument(excluded_urls="x", capture_argument=False)
    OpenAIInstrumentor().uninstrument()
    assert caplog.records == []


SNIPPET = """\
import openai
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from otel_llm import CerebrasInstrumentor, GroqInstrumentor, OpenAIInstrumentor, intercept_llm_requests
from otel_llm.tags import ToolCallTagRewriter, ToolCallTags

OpenAIInstrumentor().instrument()
OpenAIInstrumentor().instrument(skip_dep_check=True)
OpenAIInstrumentor().instrument(tracer_provider=TracerProvider(), meter_provider=MeterProvider(), argument_limit=500)
OpenAIInstrumentor().instrument(events="span,log", log=False, stall_seconds=5, tool_call_tags="openai")
OpenAIInstrumentor().instrument(tool_call_tags="openai", reasoning="opened")
GroqInstrumentor().instrument(events=["span", "log"], stall_seconds=None)
CerebrasInstrumentor().instrument(tool_call_tags=ToolCallTags("ojlk", "dfsd"))
client: openai.AsyncOpenAI = intercept_llm_requests(openai.AsyncOpenAI())
intercept_llm_requests(client, tracer_provider=TracerProvider(), capture_arguments=False)
intercept_llm_requests(client, tool_call_tags=ToolCallTagRewriter("ojlk,dfsd"), argument_limit=None)

OpenAIInstrumentor().instrument(capture_argument=False)  # refused
GroqInstrumentor().instrument(tool_call_tag="openai")  # refused
CerebrasInstrumentor().instrument(excluded_urls="x")  # refused
OpenAIInstrumentor().instrument(argument_limit="many")  # refused
OpenAIInstrumentor().instrument(reasoning="open")  # refused
OpenAIInstrumentor().instrument(tracer_provider=MeterProvider())  # refused
intercept_llm_requests(client, capture_argument=False)  # refused
intercept_llm_requests(client, log="no")  # refused
intercept_llm_requests(client, trace_provider=TracerProvider())  # refused
"""


def test_a_type_checker_takes_the_keywords_and_refuses_others(tmp_path: Path) -> None:
    mypy = pytest.importorskip("mypy.api", reason="mypy is not installed: it is in the dependency group lint")
    program = tmp_path / "program.py"
    program.write_text(SNIPPET, encoding="utf-8")
    said, complaints, _ = mypy.run(["--strict", "--no-error-summary", "--hide-error-context", str(program)])
    assert not complaints
    wrong = {int(number) for number in re.findall(r"program\.py:(\d+): error", said)}
    refused = {number for number, line in enumerate(SNIPPET.splitlines(), 1) if line.endswith("# refused")}
    assert wrong == refused, said


def test_a_bad_variable_warns_once_however_many_read_it(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        read_config({}, {"OTEL_LLM_LOG": "2"})
    assert len(caplog.records) == 1
    read_config({}, {"OTEL_LLM_LOG": "3"})
    assert len(caplog.records) == 2


def test_a_number_that_a_float_cannot_hold_is_still_whole() -> None:
    assert read_config({}, {"OTEL_LLM_ARGUMENT_LIMIT": str(2**53 + 1)}).argument_limit == 2**53 + 1
