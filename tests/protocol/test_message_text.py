"""Answers whose content is a list of parts, as Mistral's are where a model reasons."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from otel_llm import SyncStreamingToolCallTracker
from otel_llm.demo.scripted_server import DONE, Answer, ScriptedServer, chunk, completion, text, tool_call_chunks
from tests.helpers.callers import SyncCaller
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]
BreakScanner = Callable[[str], None]

MODE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
CALL = '<tool_call>\n{"name": "add_task", "arguments": {"title": "buy milk"}}\n</tool_call>'


def thinks(thought: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": [{"type": "text", "text": thought}]}


def says(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


# The answer begins as lists and goes on as strings; one thought comes late, and there is what has no text.
MIXED: list[Any] = [
    [thinks("A gree")],
    [thinks("ting.")],
    [says("Hel")],
    [{"type": "reference", "reference_ids": [1]}],
    "lo ",
    [thinks(" Done?"), says("the")],
    "re",
    [],
    {},
]
END = [chunk(text(""), "stop"), DONE]


@pytest.fixture
def capturing(instrument: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch) -> Seen:
    monkeypatch.setenv(MODE, "span_only")
    return instrument()


def parts_of(seen: Seen) -> list[tuple[str, str]]:
    (message,) = json.loads(seen.attributes["gen_ai.output.messages"])
    return [(part["type"], part["content"]) for part in message["parts"]]


async def test_a_stream_of_parts(capturing: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*(chunk(text(content)) for content in MIXED), *END))
    chunks = await caller.read(await caller.stream())
    assert [one.choices[0].delta.content for one in chunks] == [*MIXED, ""]
    assert parts_of(capturing) == [("reasoning", "A greeting. Done?"), ("text", "Hello there")]
    assert capturing.attributes["otel_llm.stream.text_only"] is True
    assert (capturing.outcome, capturing.anomalies) == ("completed", [])
    capturing.encode()


async def test_it_is_text_without_content_too(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*(chunk(text(content)) for content in MIXED), *END))
    stream = await caller.stream()
    await caller.read(stream, 2)
    assert stream._has_content is False
    await caller.read(stream)
    assert stream._has_content is True
    assert instrumented.attributes["otel_llm.stream.text_only"] is True


async def test_a_thought_before_a_call(capturing: Seen, serve: Serve, connect: Connect) -> None:
    call = tool_call_chunks("add_task", '{"title": "buy milk"}')
    caller = connect(serve(chunk(text([thinks("Call it.")])), *call, chunk(finish_reason="tool_calls"), DONE))
    await caller.read(await caller.stream())
    (message,) = json.loads(capturing.attributes["gen_ai.output.messages"])
    assert [part["type"] for part in message["parts"]] == ["reasoning", "tool_call"]
    assert capturing.attributes["otel_llm.stream.text_only"] is False
    assert capturing.anomalies == []


async def test_a_whole_answer_of_parts(capturing: Seen, serve: Serve, connect: Connect) -> None:
    content = [thinks("A greeting."), says("Hello "), says("there")]
    response = await connect(serve(Answer(completion(text(content))))).create()
    assert response.choices[0].message.content == content
    assert parts_of(capturing) == [("reasoning", "A greeting."), ("text", "Hello there")]


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_call_in_a_part_s_text_is_named(
    instrumented: Seen, serve: Serve, connect: Connect, streamed: bool
) -> None:
    content = [thinks("Call it."), says(CALL)]
    if streamed:
        caller = connect(serve(*(chunk(text([part])) for part in content), *END))
        await caller.read(await caller.stream())
    else:
        await connect(serve(Answer(completion(text(content))))).create()
    assert instrumented.anomalies == ["text_leak"]


async def test_a_call_in_a_part_s_thought_is_none(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(chunk(text([thinks(CALL)])), chunk(text("No.")), *END))
    await caller.read(await caller.stream())
    assert instrumented.anomalies == []


# -- rewriting --


async def streamed_text(caller: SyncCaller) -> tuple[str, list[Any], list[str], str]:
    """Text, thoughts, the calls' arguments and the reason, of a stream."""
    words, thoughts, arguments, reason = "", [], "", ""
    for one in await caller.read(await caller.stream()):
        (choice,) = one.choices
        content = choice.delta.content
        for part in content if isinstance(content, list) else [says(content or "")]:
            words += part.get("text", "")
            thoughts += part.get("thinking", [])
        for call in choice.delta.tool_calls or ():
            arguments += call.function.arguments
        reason = choice.finish_reason or reason
    return words, thoughts, [arguments] if arguments else [], reason


@pytest.mark.parametrize("as_parts", [True, False])
@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_rewritten_streamed_as_whole(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, as_parts: bool, size: int
) -> None:
    instrument(tool_call_tags="openai")
    spoken = f"Sure.\n{CALL}"
    thought = [thinks("Call it.")]
    pieces: list[Any] = [spoken[at : at + size] for at in range(0, len(spoken), size)]
    if as_parts:
        pieces = [[says(piece)] for piece in pieces]
    # A thought in the middle of a call that is held back.
    pieces.insert(len(pieces) // 2, thought)
    found = await streamed_text(connect(serve(*(chunk(text(one)) for one in (thought, *pieces)), *END)))
    assert found == ("Sure.\n", thought[0]["thinking"] * 2, ['{"title": "buy milk"}'], "tool_calls")

    whole = await connect(serve(Answer(completion(text([*thought, says(spoken)]))))).create()
    (choice,) = whole.choices
    assert choice.message.content == [*thought, says("Sure.\n")]
    assert [call.function.arguments for call in choice.message.tool_calls] == found[2]
    assert choice.finish_reason == "tool_calls"


async def test_what_is_held_back_comes_out_behind_a_thought(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    instrument(tool_call_tags="openai")
    last = chunk(text([thinks("Or not.")]), "stop")
    words, thoughts, calls, reason = await streamed_text(connect(serve(chunk(text("1 <tool")), last, DONE)))
    assert (words, calls, reason) == ("1 <tool", [], "stop")
    assert thoughts == thinks("Or not.")["thinking"]


@pytest.mark.swallows("tag rewriting")
async def test_a_fault_gives_back_what_was_held(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, break_scanner: BreakScanner
) -> None:
    instrument(tool_call_tags="openai")
    break_scanner("x")
    server = serve(chunk(text("1 <tool")), chunk(text([thinks("Hm."), says("<x")])), *END)
    words, thoughts, calls, _ = await streamed_text(connect(server))
    assert (words, thoughts, calls) == ("1 <tool<x", thinks("Hm.")["thinking"], [])


def test_a_part_that_will_not_say_whether_it_is_empty() -> None:
    class Odd:
        def __bool__(self) -> bool:
            raise RuntimeError("odd")

    odd = chunk(text([{"type": "thinking", "thinking": Odd()}, says("Hi")]))
    tracker = SyncStreamingToolCallTracker(iter([odd]))
    assert list(tracker) == [odd]
    assert tracker._has_content
