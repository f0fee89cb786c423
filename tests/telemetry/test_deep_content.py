"""Deeply nested values in captured messages: the whole batch can be exported, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_llm import tool_execution
from otel_llm.demo.scripted_server import DONE, ScriptedServer, chunk, text, tool_call_delta
from tests.helpers.callers import SyncCaller
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]

SHALLOW = 5
DEPTHS = [SHALLOW, *range(20, 61)]
# Deeper than Python parses, and than the OpenAI SDK sends.
ABYSS = 10_000
# How each level opens and closes, from the outside in.
SHAPES = {"objects": [('{"a":', "}")], "lists": [("[", "]")], "both": [('{"a":', "}"), ("[", "]")]}
MODES = ["span_only", "event_only", "span_and_event"]


def nested(levels: list[tuple[str, str]], depth: int) -> str:
    """A JSON object of this depth."""
    opened = [('{"a":', "}"), *(levels[place % len(levels)] for place in range(1, depth))]
    return "".join(opens for opens, _ in opened) + '"\u00e9"' + "".join(closes for _, closes in reversed(opened))


def captured(seen: Seen, mode: str, name: str) -> list[Any]:
    """An attribute with messages or definitions, from the span or the event."""
    seen.encode()
    found = []
    if "span" in mode:
        found.append(json.loads(str(seen.attributes[name])))
    if "event" in mode:
        # The receiver limits the depth too.
        encoded = encode_logs(seen._logs.get_finished_logs()).SerializeToString()
        assert ExportLogsServiceRequest.FromString(encoded).resource_logs
        (attributes,) = (record.attributes for record in seen.log_records if name in record.attributes)
        found.append(json.loads(json.dumps(attributes[name])))
    assert all(one == found[0] for one in found)
    whole: list[Any] = found[0]
    return whole


def check(values: list[Any], texts: list[str]) -> None:
    """Each holds what its text says: a shallow value as the value, a deep one as text."""
    assert values[0] == json.loads(texts[0])
    assert isinstance(values[1], dict)
    assert isinstance(values[-1], str)
    assert [json.loads(one) if isinstance(one, str) else one for one in values] == [json.loads(one) for one in texts]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", request.param)
    return str(request.param)


@pytest.fixture
def watched(mode: str, instrument: Callable[..., Seen]) -> Seen:
    return instrument(log=False)


@pytest.mark.parametrize("shape", SHAPES)
async def test_arguments_of_the_model(mode: str, watched: Seen, serve: Serve, connect: Connect, shape: str) -> None:
    texts = [nested(SHAPES[shape], depth) for depth in DEPTHS]
    deltas = [
        chunk(tool_call_delta(index=place, id=f"c{place}", name="f", arguments=one)) for place, one in enumerate(texts)
    ]
    caller = connect(serve(*deltas, chunk(finish_reason="tool_calls"), DONE))
    await caller.read(await caller.stream())
    ((answer),) = captured(watched, mode, "gen_ai.output.messages")
    values = [part["arguments"] for part in answer["parts"]]
    check(values, texts)
    # As the model wrote it.
    assert values[-1] == texts[-1]


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_request(mode: str, watched: Seen, serve: Serve, connect: Connect, shape: str) -> None:
    texts = [nested(SHAPES[shape], depth) for depth in DEPTHS]
    values = [json.loads(one) for one in texts]
    messages: list[dict[str, Any]] = [
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", **given}}]}
        for written, value in zip(texts, values, strict=True)
        for given in ({"arguments": written}, {"arguments": value})
    ]
    messages += [{"role": "tool", "tool_call_id": "c", "content": value} for value in values]
    tools = [{"type": "function", "function": {"name": "f", "parameters": value}} for value in values]
    caller = connect(serve(chunk(text("ok")), chunk(finish_reason="stop"), DONE))
    await caller.read(
        await caller.stream(messages=messages, tools=tools, extra_body={"metadata": values[-1]}),
    )
    asked = captured(watched, mode, "gen_ai.input.messages")
    called = [message["parts"][0]["arguments"] for message in asked if message["role"] == "assistant"]
    check(called[::2], texts)
    check(called[1::2], texts)
    check([message["parts"][0]["response"] for message in asked if message["role"] == "tool"], texts)
    check([tool["parameters"] for tool in captured(watched, mode, "gen_ai.tool.definitions")], texts)
    assert watched.outcome == "completed"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("depth", [900, ABYSS])
async def test_extreme_depth(mode: str, watched: Seen, serve: Serve, connect: Connect, shape: str, depth: int) -> None:
    written = nested(SHAPES[shape], depth)
    steps = [
        chunk(tool_call_delta(index=0, id="c", name="f", arguments=written)),
        chunk(finish_reason="tool_calls"),
        DONE,
    ]
    caller = connect(serve(*steps))
    called = {"id": "c", "type": "function", "function": {"name": "f", "arguments": written}}
    await caller.read(await caller.stream(messages=[{"role": "assistant", "tool_calls": [called]}]))
    for name in ("gen_ai.input.messages", "gen_ai.output.messages"):
        (message,) = captured(watched, mode, name)
        assert message["parts"][0]["arguments"] == written
    assert watched.outcome == "completed"


def abyss(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": [value]}
    return value


async def test_a_request_too_deep_to_be_sent(mode: str, watched: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(chunk(text("ok")), chunk(finish_reason="stop"), DONE))
    with suppress(RecursionError):
        await caller.stream(messages=[{"role": "tool", "tool_call_id": "c", "content": abyss(ABYSS)}])
    (asked,) = captured(watched, mode, "gen_ai.input.messages")
    assert asked["parts"][0]["response"] == '{"a":[' * ABYSS + "1" + "]}" * ABYSS


@pytest.mark.parametrize("depth", [SHALLOW, 40, ABYSS])
def test_a_tool_of_the_user(mode: str, watched: Seen, depth: int) -> None:
    with tool_execution("f", arguments=abyss(depth)) as execution:
        execution.result = abyss(depth)
    watched.encode()
    written = '{"a":[' * depth + "1" + "]}" * depth
    for name in ("arguments", "result"):
        assert watched.attributes.get(f"gen_ai.tool.call.{name}", written) == written
    if "span" in mode:
        assert "gen_ai.tool.call.result" in watched.attributes


def test_the_contents_of_a_deep_value(mode: str, watched: Seen) -> None:
    inside = abyss(40)
    inside["itself"] = inside
    inside["\ud83d"] = ("\ud83d", b"x", {1}, float("nan"), 2**70, print)
    with tool_execution("f", arguments=inside):
        pass
    watched.encode()
    if "span" in mode:
        arguments = json.loads(str(watched.attributes["gen_ai.tool.call.arguments"]))
        assert arguments["itself"] is None
        assert arguments["\\ud83d"] == ["\\ud83d", "eA==", [1], None, str(2**70), None]


def test_a_long_deep_value_is_cut(mode: str, watched: Seen) -> None:
    with tool_execution("f", arguments={"deep": abyss(40), "wide": ["x" * 1000] * 2000}):
        pass
    watched.encode()
    if "span" in mode:
        assert len(str(watched.attributes["gen_ai.tool.call.arguments"])) == 1_048_576
