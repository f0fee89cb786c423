"""Thoughts in the text move to `reasoning_content`, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from otel_llm.demo.scripted_server import Answer, ScriptedServer, chunk, completion
from otel_llm.tags import UnifiedStreamProcessor, rewritten_text
from otel_llm.tags.reasoning import KnownBeginnings, Reasoning, ThoughtReading
from otel_llm.tags.response_objects import EventMaker
from otel_llm.tags.response_stage import ResponseStage
from otel_llm.tags.scanner import Scanner
from otel_llm.wrappers import rewritten_stream
from tests.helpers.callers import SyncCaller
from tests.helpers.seen import Seen
from tests.helpers.streams import ends, says

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]
Instrument = Callable[..., Seen]

BODY = '{"name": "add_task", "arguments": {"title": "buy milk"}}'
CALL = f"<tool_call>{BODY}</tool_call>"
THOUGHT = f"Perhaps {CALL}? Yes."
TEXT = f"<think>\n{THOUGHT}\n</think>\n\nSure.\n{CALL}"
OPENED = f"{THOUGHT}\n</think>\n\nSure.\n{CALL}"
MODE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewritten_stream, "_beginnings", KnownBeginnings())


def streamed(text: str, size: int, *, choice: int = 0, reason: Any = "stop") -> list[Any]:
    pieces = [says(text[start : start + size], choice=choice) for start in range(0, len(text), size)]
    return pieces if reason is None else [*pieces, ends(reason, choice=choice)]


def whole(text: str, reason: str = "stop", **message: Any) -> Answer:
    return Answer(completion({"role": "assistant", "content": text, **message}, reason))


def said(chunks: list[Any], choice: int = 0) -> tuple[str, str]:
    """The thoughts and the text of a choice."""
    deltas = [one.delta for chunk in chunks for one in chunk.choices if one.index == choice]
    thoughts = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    return thoughts, "".join(delta.content or "" for delta in deltas)


def names(chunks: list[Any]) -> list[str]:
    deltas = [call for chunk in chunks for one in chunk.choices for call in one.delta.tool_calls or ()]
    return [call.function.name for call in deltas if call.function.name]


async def read(caller: SyncCaller, **kwargs: Any) -> list[Any]:
    return await caller.read(await caller.stream(**kwargs))


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_a_stream(instrument: Instrument, serve: Serve, connect: Connect, size: int) -> None:
    seen = instrument(tool_call_tags="openai")
    steps = streamed(TEXT, size)
    chunks = await read(connect(serve(*steps)))
    assert said(chunks) == (THOUGHT, "Sure.\n")
    assert names(chunks) == ["add_task"]
    assert len(chunks) == len(steps)
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert seen.anomalies == []
    if size == 1:
        with_thoughts = [one for one in chunks if said([one])[0]]
        assert len(with_thoughts) > len(THOUGHT) // 2, "the thoughts stream"
        assert all(said([one])[1] == "" for one in with_thoughts)


async def test_a_whole_response(instrument: Instrument, serve: Serve, connect: Connect) -> None:
    seen = instrument(tool_call_tags="openai")
    response = await connect(serve(whole(TEXT))).create()
    message = response.choices[0].message
    assert (message.reasoning_content, message.content) == (THOUGHT, "Sure.\n")
    assert [call.function.name for call in message.tool_calls] == ["add_task"]
    assert response.choices[0].finish_reason == "tool_calls"
    assert seen.anomalies == []


async def test_what_stays_in_the_text(instrument: Instrument, serve: Serve, connect: Connect) -> None:
    instrument(tool_call_tags="ojlk,dfsd")
    caller = connect(serve(*streamed(TEXT, 3)))
    assert said(await read(caller)) == ("", TEXT.replace(f"Sure.\n{CALL}", f"Sure.\n<ojlk>{BODY}</dfsd>"))


async def test_the_option_keep(instrument: Instrument, serve: Serve, connect: Connect) -> None:
    seen = instrument(tool_call_tags="openai", reasoning="keep")
    caller = connect(serve(*streamed(TEXT, 3)))
    chunks = await read(caller)
    assert said(chunks) == ("", TEXT.removesuffix(CALL))
    assert names(chunks) == ["add_task"]
    assert seen.anomalies == ["reasoning_leak"]


async def test_a_request_that_asks_for_thoughts_in_the_text(
    instrument: Instrument, serve: Serve, connect: Connect
) -> None:
    instrument(tool_call_tags="openai")
    caller = connect(serve(*streamed(TEXT, 3)))
    chunks = await read(caller, extra_body={"reasoning_format": "none"})
    assert said(chunks) == ("", TEXT.removesuffix(CALL))


async def test_the_option_opened(
    instrument: Instrument, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_LLM_REASONING", "opened")
    instrument(tool_call_tags="openai")
    chunks = await read(connect(serve(*streamed(OPENED, 3))))
    assert said(chunks) == (THOUGHT, "Sure.\n")
    assert names(chunks) == ["add_task"]
    message = (await connect(serve(whole("cut off", "length"))).create()).choices[0].message
    assert (message.reasoning_content, message.content) == ("cut off", None)


@pytest.mark.parametrize("way", ["stream", "whole"])
@pytest.mark.parametrize(
    ("text", "anomalies"),
    [(f"Perhaps {CALL}", ["call_in_reasoning", "reasoning_leak"]), ("hm", ["empty_response", "reasoning_leak"])],
)
async def test_thoughts_without_a_mark_are_read_alike_everywhere(
    instrument: Instrument,
    serve: Serve,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    text: str,
    anomalies: list[str],
) -> None:
    monkeypatch.setenv(MODE, "span_only")
    seen = instrument(tool_call_tags="ojlk,dfsd", reasoning="opened")
    if way == "stream":
        assert said(await read(connect(serve(*streamed(text, 3))))) == ("", text)
    else:
        response = await connect(serve(whole(text))).create()
        assert response.choices[0].message.content == text
    assert sorted(seen.anomalies) == anomalies
    seen.encode()
    (message,) = json.loads(str(seen.attributes["gen_ai.output.messages"]))
    assert message["parts"] == [{"content": text, "type": "reasoning"}]


async def test_auto_learns_from_earlier_responses(instrument: Instrument, serve: Serve, connect: Connect) -> None:
    seen = instrument(tool_call_tags="openai")
    server = serve(*streamed(OPENED, 3))
    caller = connect(server)
    first = await read(caller)
    assert said(first)[0] == "", "nothing showed it before the mark came"
    assert "</think>" in said(first)[1]
    assert "reasoning_leak" in seen.anomalies
    second = await read(caller)
    assert said(second) == (THOUGHT, "Sure.\n")
    assert names(second) == ["add_task"]
    for other in ({"model": "other"}, {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}}):
        assert said(await read(caller, **other))[0] == ""


async def test_a_wrong_guess_with_custom_tags_accuses_nobody(
    instrument: Instrument, serve: Serve, connect: Connect
) -> None:
    seen = instrument(tool_call_tags="ojlk,dfsd")
    caller = connect(serve([whole(OPENED)], streamed("No thoughts.", 5)))
    await caller.create()
    assert said(await read(caller)) == ("", "No thoughts.")
    assert "otel_llm.anomaly" not in {event.name for event in seen.spans[1].events}


async def test_auto_learns_from_a_whole_response(instrument: Instrument, serve: Serve, connect: Connect) -> None:
    instrument(tool_call_tags="openai")
    plain = streamed("No thoughts.", 5)
    caller = connect(serve([whole(OPENED)], streamed(OPENED, 5), plain, plain))
    message = (await caller.create()).choices[0].message
    assert (message.reasoning_content, message.content) == (THOUGHT, "Sure.\n")
    assert said(await read(caller)) == (THOUGHT, "Sure.\n")
    assert said(await read(caller)) == ("No thoughts.", ""), "what is said cannot be taken back"
    assert said(await read(caller)) == ("", "No thoughts.")


async def test_a_server_that_parses_thoughts(instrument: Instrument, serve: Serve, connect: Connect) -> None:
    instrument(tool_call_tags="openai", reasoning="opened")
    steps = [chunk({"role": "assistant", "content": ""}), chunk({"reasoning_content": "hm"}), *streamed("Hi.", 2)]
    assert said(await read(connect(serve(*steps)))) == ("hm", "Hi.")
    message = (await connect(serve(whole("Hi.", reasoning_content="hm"))).create()).choices[0].message
    assert (message.reasoning_content, message.content) == ("hm", "Hi.")


async def test_choices_apart(instrument: Instrument, serve: Serve, connect: Connect) -> None:
    instrument(tool_call_tags="openai")
    one, other = streamed("<think>a</think>b", 3), streamed("<|channel>thought\nc<channel|>d", 5, choice=1)
    steps = [step for pair in zip(one, other, strict=False) for step in pair]
    steps += one[len(other) :] + other[len(one) :]
    chunks = await read(connect(serve(*steps)))
    assert said(chunks) == ("a", "b")
    assert said(chunks, 1) == ("c", "d")


@pytest.mark.parametrize("reason", [["stop"], {"a": 1}, 7])
async def test_a_finish_reason_that_is_no_text(
    reason: Any, instrument: Instrument, serve: Serve, connect: Connect
) -> None:
    instrument(tool_call_tags="openai", log=False)
    caller = connect(serve(streamed(OPENED, 7), streamed("Sure.", 7, reason=reason)))
    await read(caller)
    assert said(await read(caller)) == ("Sure.", "")


async def test_a_stream_without_an_end(instrument: Instrument, serve: Serve, connect: Connect) -> None:
    instrument(tool_call_tags="openai")
    chunks = await read(connect(serve(*streamed("<think>hm</thi", 3, reason=None))))
    assert said(chunks) == ("hm</thi", "")


async def test_logprobs_role_and_usage_stay(instrument: Instrument, serve: Serve, connect: Connect) -> None:
    instrument(tool_call_tags="openai")
    first = chunk({"role": "assistant", "content": "<think>hm</think>Hi"})
    first["choices"][0]["logprobs"] = {"content": [{"token": "hm", "logprob": -1, "bytes": None, "top_logprobs": []}]}
    last = {**chunk({}, "stop"), "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
    chunks = await read(connect(serve(first, last)))
    assert said(chunks) == ("hm", "Hi")
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].choices[0].logprobs.content[0].token == "hm"
    assert chunks[-1].usage.total_tokens == 3


@pytest.mark.swallows("tag rewriting")
async def test_a_fault_loses_nothing(
    instrument: Instrument, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each word is in the thoughts or in the text, wherever the stage fails."""
    instrument(tool_call_tags="openai")
    text = "<think>\none two three\n</think>\n\nfour five"
    told = streamed(text, 3)
    caller = connect(serve(*told))
    feed = Scanner.feed
    for place in range(len(told)):
        left = [place]

        def breaks(scanner: Scanner, text: str, left: list[int] = left) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise RuntimeError("broken")
            return feed(scanner, text)

        with monkeypatch.context() as patch:
            patch.setattr(rewritten_text, "Scanner", type("Breaking", (Scanner,), {"feed": breaks}))
            thoughts, rest = said(await read(caller))
        written = thoughts + rest
        for mark in ("<think>", "</think>"):
            written = written.replace(mark, "")
        assert "".join(written.split()) == "onetwothreefourfive"


async def test_captured_content_shows_the_thoughts(
    instrument: Instrument, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MODE, "span_only")
    seen = instrument()
    await read(connect(serve(*streamed("<think>\nhm\n</think>\n\nHi `<think>`.", 3))))
    seen.encode()
    (message,) = json.loads(str(seen.attributes["gen_ai.output.messages"]))
    assert message["parts"] == [
        {"content": "hm", "type": "reasoning"},
        {"content": "Hi `<think>`.", "type": "text"},
    ]


def test_the_processor() -> None:
    from openai.types.chat import ChatCompletionChunk

    processor = UnifiedStreamProcessor("m", tool_call_tags="openai", reasoning="opened")
    fields = {"id": "c", "created": 1, "model": "m", "object": "chat.completion.chunk"}
    chunks = [ChatCompletionChunk.model_validate({**fields, **step}) for step in streamed(OPENED, 4)]
    out = list(processor.process_stream(chunks))
    assert said(out) == (THOUGHT, "Sure.\n")
    assert names(out) == ["add_task"]


def test_a_whole_response_of_the_responses_api() -> None:
    responses = pytest.importorskip("openai.types.responses")
    content = [{"type": "output_text", "text": OPENED, "annotations": []}]
    message = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": content}
    fields = {"id": "r", "created_at": 1, "model": "m", "object": "response", "tools": [], "tool_choice": "auto"}
    options: tuple[Reasoning, ...] = ("auto", "opened")
    for option in options:
        response = responses.Response.model_validate(
            {**fields, "parallel_tool_calls": True, "status": "completed", "output": [message]}
        )
        rewriter = rewritten_text.Rewriter("openai", thoughts=ThoughtReading(option))
        ResponseStage(rewriter, EventMaker(None)).rewrite_response(response)
        assert [item.type for item in response.output] == ["reasoning", "message", "function_call"]
        assert response.output_text.strip() == "Sure."
