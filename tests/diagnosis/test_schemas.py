"""Arguments are checked against the schema that the tool declares, and no schema does any harm."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from otel_llm.demo.scripted_server import DONE, ScriptedServer, tool_call_chunks
from otel_llm.demo.scripted_server import chunk as chunk_dict
from otel_llm.diagnosis import schemas
from otel_llm.diagnosis.case import Case
from otel_llm.diagnosis.judges import diagnose
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import read_request
from otel_llm.transparency import faults
from tests.helpers.ids import stable_id
from tests.helpers.seen import Seen
from tests.helpers.streams import anomalies_of, call, calls, custom_tool, ends, sdk_completion, types_of

NODE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "left": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "right": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["value"],
        }
    },
    "$ref": "#/$defs/node",
}
FORKING = {
    "anyOf": [{"allOf": [{"properties": {"a": {"$ref": "#"}}}, {"required": [name]}]} for name in ("x", "y", "z")]
}


def declaring(parameters: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "do", "parameters": parameters}}]}


def found(parameters: Any, arguments: Any, **options: Any) -> list[tuple[str, str]]:
    """(type, detail) of the anomalies of a call to a tool with these parameters."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    chunks = [calls(call(0, "a", "do", text)), ends(options.pop("reason", "tool_calls"))]
    return [(one.type, one.detail) for one in anomalies_of(chunks, declaring(parameters), **options)]


def obj(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


@pytest.mark.parametrize(
    ("parameters", "arguments", "place"),
    [
        (obj("title", title={"type": "string"}), {}, "required: title"),
        (obj(title={"type": "string"}), {"title": 3}, "properties/title/type: string"),
        (obj(title={"type": ["string", "null"]}), {"title": []}, "properties/title/type: null, string"),
        (obj(kind={"enum": ["a", "b"]}), {"kind": "c"}, "properties/kind/enum"),
        (obj(kind={"const": 1}), {"kind": True}, "properties/kind/const"),
        (obj(n={"type": "integer"}), '{"n": 1.5}', "properties/n/type: integer"),
        (obj(n={"type": "integer"}), '{"n": %s.5}' % ("1" * 5000), "properties/n/type: integer"),
        (obj(n={"maximum": 10}), '{"n": 1e400}', "properties/n/maximum"),
        (obj(n={"minimum": -10}), '{"n": -1e99999999999999999999}', "properties/n/minimum"),
        (obj(id={"pattern": "^[a-z]+$"}), {"id": "A"}, "properties/id/pattern"),
        (obj(id={"pattern": "^(?!x)[a-z]+$"}), {"id": "xa"}, "properties/id/pattern"),
        ({**obj(a={}), "additionalProperties": False}, {"b": "hidden"}, "additionalProperties"),
        (obj(a={"type": "array", "items": obj("b")}), {"a": [{"b": 1}, {}]}, "properties/a/items/required: b"),
        (obj(a={"anyOf": [{"type": "string"}, {"type": "null"}]}), {"a": 1}, "properties/a/anyOf"),
        (NODE, {"value": 1, "left": {"value": "2"}}, "$defs/node/properties/left/anyOf"),
        ({"$schema": "http://json-schema.org/draft-07/schema#", **obj("a")}, {}, "required: a"),
    ],
    ids=str,
)  # fmt: skip
def test_a_violation_is_described_in_the_words_of_the_schema(parameters: Any, arguments: Any, place: str) -> None:
    assert found(parameters, arguments) == [("schema_violation", f"against the schema of do at {place}")]


@pytest.mark.parametrize(
    ("parameters", "arguments"),
    [
        (obj("title", title={"type": "string"}), {"title": "x"}),
        (obj(title={"type": "string"}), {"other": 1}),
        (obj(n={"type": "integer"}), '{"n": 1.0}'),
        (obj(n={"type": "integer"}), '{"n": 1e400}'),
        (obj(n={"type": "integer"}), '{"n": -%s}' % ("1" * 5000)),
        (obj(n={"type": "number"}), '{"n": 1e99999999999999999999}'),
        (obj(n={"type": "integer", "multipleOf": 2}), '{"n": %s}' % ("2" * 5000)),
        (obj(when={"type": "string", "format": "date-time"}), {"when": "tomorrow"}),
        (NODE, {"value": 1, "left": {"value": 2, "right": None}}),
        ({}, {"a": 1}),
        (None, {"a": 1}),
        (True, {"a": 1}),
        (obj(a={"type": "string"}), '{"a": "\\ud83d\\ude00"}'),
    ],
    ids=str,
)
def test_arguments_that_satisfy_the_schema(parameters: Any, arguments: Any) -> None:
    assert found(parameters, arguments) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", ["empty_arguments"]),
        ("[]", ["arguments_not_object"]),
        ("{}{}", ["arguments_duplicated"]),
        ('{"title":', ["invalid_json"]),
        ('{"title": "\\ud83d"}', ["invalid_unicode"]),
    ],
)
def test_arguments_with_another_anomaly_are_not_a_violation_too(arguments: str, expected: list[str]) -> None:
    assert [type_ for type_, _ in found(obj("title", title={"type": "string"}), arguments)] == expected


def test_arguments_that_came_as_an_object_have_both_anomalies() -> None:
    chunks = [calls(call(0, "a", "do", {"title": 3})), ends()]
    types = types_of(anomalies_of(chunks, declaring(obj(title={"type": "string"}))))
    assert types == ["arguments_not_string", "schema_violation"]


def test_what_more_chunks_could_have_fixed_is_no_violation() -> None:
    parameters = obj("title", title={"type": "string"})
    assert found(parameters, '{"title"', reason="length") == [("truncated", "length after 8 characters of arguments")]
    assert anomalies_of([calls(call(0, "a", "do", "{}"))], declaring(parameters), "closed") == []
    assert found(parameters, "{}", reason="length") == [
        ("schema_violation", "against the schema of do at required: title")
    ]


def test_custom_tools_and_undeclared_tools_have_no_schema() -> None:
    chunks = [calls(call(0, "a", "note", "{}")), ends()]
    assert anomalies_of(chunks, {"tools": [custom_tool("note")]}) == []
    assert anomalies_of(chunks, None) == []


def test_an_unstreamed_response_is_checked_too() -> None:
    request = read_request(declaring(obj("title", title={"type": "string"})))
    message = {"tool_calls": [{"id": "a", "type": "function", "function": {"name": "do", "arguments": "{}"}}]}
    recording = Recording(declared=request.tool_names)
    recording.read_response(sdk_completion(message, "tool_calls"), 1)
    recording.end("completed", 2)
    assert types_of(diagnose(Case(recording, request))) == ["schema_violation"]


# -- schemas that cannot be used --


LOOP: dict[str, Any] = {}
LOOP["properties"] = {"a": LOOP}
DEEP: dict[str, Any] = {}
for _ in range(100_000):
    DEEP = {"not": DEEP}


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "STRING"},
        {"properties": []},
        {"properties": {"a": {"type": "string", "nullable": True}}},
        {"properties": {"a": {"pattern": "("}}},
        {"$ref": "#/nowhere"},
        {"$ref": "file:///etc/passwd"},
        {"$schema": "https://example.invalid/schema", "type": "string"},
        {"description": "x" * 300_000},
        {"default": float("nan")},
        {"default": object()},
        {"default": "\ud800"},
        "no schema",
        7,
        ["a"],
        LOOP,
        DEEP,
    ],
    ids=lambda parameters: "deep" if parameters is DEEP else stable_id(parameters),
)
def test_a_schema_that_cannot_be_used_is_reported_once(parameters: Any, caplog: pytest.LogCaptureFixture) -> None:
    faults._reported.clear()
    schemas._validator.cache_clear()
    for _ in range(3):
        assert found(parameters, {"a": 1}) == []
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    assert caplog.records[0].name == "otel_llm"


def test_nothing_is_fetched() -> None:
    with ScriptedServer([DONE]) as server:
        for path in ("", "#/definitions/a"):
            assert found({"$ref": f"{server.base_url}/models{path}"}, {"a": 1}) == []
        assert server.requests == []


def test_without_the_validator_one_warning_says_so() -> None:
    program = """
import sys
sys.modules["jsonschema_rs"] = None
from tests.diagnosis.test_schemas import found, obj
for name in ("a", "b", "c"):
    assert found(obj(name), {}) == [], name
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("schema_violation is never reported") == 1


def test_the_validator_is_imported_when_a_tool_with_a_schema_is_called() -> None:
    program = """
import sys
from otel_llm.instrumentor import OpenAIInstrumentor
from tests.diagnosis.test_schemas import declaring, found, obj
from tests.helpers.streams import anomalies_of, ends, says
assert found(None, "{}") == []
assert anomalies_of([says("do"), ends("stop")], declaring(obj("a"))) == []
assert "jsonschema_rs" not in sys.modules
assert found(obj("a"), "{}") != []
assert "jsonschema_rs" in sys.modules
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr


# -- hostile arguments --


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


def test_arguments_nested_too_deeply_are_not_checked() -> None:
    grows = {"additionalProperties": {"$ref": "#"}}
    assert found(grows, nested(128)) == []
    too_deep = [("limit_exceeded", "arguments are nested too deeply to be checked against the schema")]
    assert found(grows, nested(129)) == too_deep
    assert found({"$ref": "#"}, nested(500)) == too_deep


def test_cyclic_branches_do_not_multiply() -> None:
    assert found(FORKING, nested(3)) == [("schema_violation", "against the schema of do at anyOf")]
    # 3**60 ways to fail, so the place is left out.
    assert found(FORKING, nested(60)) == [("schema_violation", "against the schema of do")]


def test_a_pattern_that_would_run_for_ever_gives_up() -> None:
    evil = {"pattern": "^(?=a)((a+)\\2?)+$"}
    hostile = {"id": "a" * 60 + "b"}
    assert found(obj(id=evil), hostile) == []
    assert found(obj(id={"anyOf": [{"type": "integer"}, evil]}), hostile) == []
    assert found(obj(id={"pattern": "^(a+)+$"}), hostile) == [
        ("schema_violation", "against the schema of do at properties/id/pattern")
    ]


def test_the_same_tool_is_compiled_once() -> None:
    schemas._validator.cache_clear()
    for _ in range(20):
        # A new object each time, as in each request.
        found(obj("title", title={"type": "string"}), {"title": "x"})
    assert schemas._validator.cache_info().misses == 1
    for number in range(1000):
        found(obj(f"title_{number}"), {})
    assert schemas._validator.cache_info().currsize <= 256


def test_arguments_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from otel_llm.protocol import json_values

    count = 0
    read = json_values.read

    def counting(text: str) -> Any:
        nonlocal count
        count += 1
        return read(text)

    monkeypatch.setattr(json_values, "read", counting)
    assert found(obj("title"), '{"a": "\\u00e9"}') != []
    assert count == 1


def test_the_parsed_arguments_are_not_changed() -> None:
    twice = '{"n": 1e400}'
    chunks = [calls(call(0, "a", "do", twice), call(1, "b", "do", twice)), ends()]
    assert types_of(anomalies_of(chunks, declaring(obj(n={"type": "integer"})))) == ["duplicate_call"]


# -- through the public face --


async def test_an_instrumented_request(
    instrument: Callable[..., Seen], connect: Callable[..., Any], serve: Callable[..., ScriptedServer]
) -> None:
    seen = instrument()
    server = serve(*tool_call_chunks("add_task", '{"title": 5}'), chunk_dict(finish_reason="tool_calls"), DONE)
    caller = connect(server)
    await caller.read(await caller.stream())
    assert seen.anomalies == ["schema_violation"]
