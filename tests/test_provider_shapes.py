"""Answers in the shapes in which users of single providers and gateways report them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from callers import SyncCaller
from otel_llm.demo.scripted_server import DONE, Answer, ScriptedServer, chunk, completion, text
from seen import Seen

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]

MODE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
END = [chunk({}, "stop"), DONE]


@pytest.fixture
def capturing(instrument: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch) -> Seen:
    monkeypatch.setenv(MODE, "span_only")
    return instrument()


async def answered(caller: SyncCaller, *, streamed: bool) -> None:
    """Ask once, and read what comes."""
    if streamed:
        await caller.read(await caller.stream())
    else:
        await caller.create()


def parts_of(message: Any) -> list[tuple[str, str]]:
    return [(part["type"], part["content"]) for part in message["parts"]]


def output_of(seen: Seen) -> list[tuple[str, str]]:
    (message,) = json.loads(seen.attributes["gen_ai.output.messages"])
    return parts_of(message)


# -- reasoning --


def summary(thought: str) -> dict[str, Any]:
    """A part as Databricks has it."""
    return {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": thought}]}]}


def details(thought: str) -> dict[str, Any]:
    """As MiniMax has it where it is asked to split reasoning off."""
    return {"content": "", "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": thought}]}


def summed_up(thought: str) -> dict[str, Any]:
    """As OpenRouter has it of models that only sum up what they think."""
    shown = [{"type": "reasoning.summary", "summary": thought}, {"type": "reasoning.encrypted", "data": "gAAAA"}]
    return {"content": "", "reasoning": None, "reasoning_details": shown}


def twice(thought: str) -> dict[str, Any]:
    """As OpenRouter has it of the others."""
    return {**details(thought), "reasoning": thought}


def within_an_object(thought: str) -> dict[str, Any]:
    """As Envoy's gateway has it, of models at Bedrock."""
    return {"reasoning_content": {"text": thought}}


def of_copilot(thought: str) -> dict[str, Any]:
    return {"content": None, "reasoning_text": thought}


SHAPES = [summary, details, summed_up, twice, within_an_object, of_copilot]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("streamed", [True, False])
async def test_reasoning(capturing: Seen, serve: Serve, connect: Connect, shape: Any, streamed: bool) -> None:
    if streamed:
        server = serve(*(chunk(shape(piece)) for piece in ("A gree", "ting.")), chunk(text("Hello")), *END)
    else:
        message = {"content": "Hello"} | shape("A greeting.")
        if isinstance(message["content"], list):
            message["content"].append({"type": "text", "text": "Hello"})
        message["content"] = message["content"] or "Hello"
        server = serve(Answer(completion(message)))
    await answered(connect(server), streamed=streamed)
    assert output_of(capturing) == [("reasoning", "A greeting."), ("text", "Hello")]
    assert capturing.events("otel_llm.reasoning.started")
    assert capturing.anomalies == []


@pytest.mark.parametrize("shape", SHAPES)
async def test_reasoning_that_is_sent_back(capturing: Seen, serve: Serve, connect: Connect, shape: Any) -> None:
    messages = [{"role": "assistant", **shape("A greeting.")}, {"role": "user", "content": "Again."}]
    await connect(serve(Answer(completion(text("Hello"))))).create(messages=messages)
    first, _ = json.loads(capturing.attributes["gen_ai.input.messages"])
    assert parts_of(first) == [("reasoning", "A greeting.")]


@pytest.mark.parametrize("nothing", ["", [], {}, [{}], {"text": None}, 7, [7, None], {"summary": 3}])
@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "reasoning_text", "reasoning_details"])
async def test_no_reasoning(instrumented: Seen, serve: Serve, connect: Connect, name: str, nothing: Any) -> None:
    await answered(connect(serve(chunk({"content": "Hello", name: nothing}), *END)), streamed=True)
    assert instrumented.events("otel_llm.reasoning.started") == []
    assert instrumented.attributes["otel_llm.stream.text_only"] is True
