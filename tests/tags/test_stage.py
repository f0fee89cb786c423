"""Tool calls are rewritten in instrumented streams and responses, over real HTTP."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable
from typing import Any

import openai
import pytest

from otel_llm import OpenAIInstrumentor, intercept_llm_requests
from otel_llm.config import read_config
from otel_llm.demo.scripted_server import Answer, Drop, ScriptedServer, completion, error_event
from otel_llm.protocol.choice import Limits
from otel_llm.tags import ToolCallTagRewriter, ToolCallTags, rewritten_text
from otel_llm.tags.scanner import Scanner
from tests.helpers.callers import ADD_TASK, SyncCaller
from tests.helpers.sdk_versions import DISCONNECTED, helpers, strict
from tests.helpers.seen import Seen
from tests.helpers.streams import call, calls, ends, says

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]
BreakScanner = Callable[[str], None]

BODY = '{"name": "add_task", "arguments": {"title": "buy milk"}}'
TEXT = f"Sure.\n<tool_call>\n{BODY}\n</tool_call>\n"
ARGUMENTS = '{"title": "buy milk"}'


def streamed(text: str, size: int, *, choice: int = 0, reason: str | None = "stop") -> list[Any]:
    """A stream of `text` in pieces of `size` characters, and its end."""
    pieces = [says(text[start : start + size], choice=choice) for start in range(0, len(text), size)]
    return pieces if reason is None else [*pieces, ends(reason, choice=choice)]


def text_in(chunks: list[Any], choice: int | None = 0) -> str:
    """The text of one choice."""
    return "".join(one.delta.content or "" for chunk in chunks for one in chunk.choices if one.index == choice)


def calls_by_index(chunks: list[Any]) -> dict[int, tuple[str, str]]:
    """Name and arguments of each call, by its index."""
    found: dict[int, tuple[str, str]] = {}
    for delta in (delta for chunk in chunks for one in chunk.choices for delta in one.delta.tool_calls or ()):
        name, arguments = found.get(delta.index, ("", ""))
        found[delta.index] = (name + (delta.function.name or ""), arguments + (delta.function.arguments or ""))
    return found


def reasons(chunks: list[Any]) -> list[str]:
    return [one.finish_reason for chunk in chunks for one in chunk.choices if one.finish_reason]


async def read_all(caller: SyncCaller, **kwargs: Any) -> list[Any]:
    return await caller.read(await caller.stream(**kwargs))


# -- the targets --


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_custom_tags(instrument: Callable[..., Seen], serve: Serve, connect: Connect, size: int) -> None:
    seen = instrument(tool_call_tags="ojlk,dfsd")
    steps = streamed(TEXT, size)
    caller = connect(serve(*steps))
    stream = await caller.stream()
    assert isinstance(stream, caller.stream_class)
    chunks = await caller.read(stream)
    assert text_in(chunks) == f"Sure.\n<ojlk>{BODY}</dfsd>\n"
    assert len(chunks) == len(steps)
    assert {type(chunk).__name__ for chunk in chunks} == {"ChatCompletionChunk"}
    assert calls_by_index(chunks) == {}
    assert reasons(chunks) == ["stop"]
    assert seen.anomalies == []
    assert seen.outcome == "completed"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_real_tool_calls(instrument: Callable[..., Seen], serve: Serve, connect: Connect, size: int) -> None:
    seen = instrument(tool_call_tags="openai")
    steps = streamed(TEXT, size)
    chunks = await read_all(connect(serve(*steps)))
    assert text_in(chunks) == "Sure.\n"
    assert calls_by_index(chunks) == {0: ("add_task", ARGUMENTS)}
    assert reasons(chunks) == ["tool_calls"]
    assert len(chunks) == len(steps)
    deltas = [delta for chunk in chunks for one in chunk.choices for delta in one.delta.tool_calls or ()]
    assert [delta.id is not None for delta in deltas] == [True] + [False] * (len(deltas) - 1)
    assert deltas[0].type == "function"
    if size == 1:
        assert len(deltas) > len(ARGUMENTS) // 2, "the arguments stream"
    assert seen.anomalies == []


@pytest.mark.parametrize("target", ["qwen", "llama", "xml", "gemma"])
async def test_named_formats(instrument: Callable[..., Seen], serve: Serve, connect: Connect, target: str) -> None:
    instrument(tool_call_tags=target)
    text = f"[TOOL_CALLS]add_task{ARGUMENTS}"
    opening, closing = {
        "qwen": ("<|tool_call|>", "</|tool_call|>"),
        "llama": ("<function_call>", "</function_call>"),
        "xml": ("<tool_call>", "</tool_call>"),
        "gemma": ("```tool_code\n", "\n```"),
    }[target]
    assert text_in(await read_all(connect(serve(*streamed(text, 3))))) == f"{opening}{BODY}{closing}"


@pytest.mark.parametrize(
    "form", [ToolCallTags("ojlk", "dfsd"), ToolCallTagRewriter("ojlk,dfsd")], ids=["tags", "rewriter"]
)
async def test_forms_of_the_option(instrument: Callable[..., Seen], serve: Serve, connect: Connect, form: Any) -> None:
    instrument(tool_call_tags=form)
    assert text_in(await read_all(connect(serve(*streamed(TEXT, 4))))) == f"Sure.\n<ojlk>{BODY}</dfsd>\n"


async def test_by_environment(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_LLM_TOOL_CALL_TAGS", "openai")
    instrument()
    assert calls_by_index(await read_all(connect(serve(*streamed(TEXT, 4))))) == {0: ("add_task", ARGUMENTS)}


async def test_one_client(seen: Seen, serve: Serve, connect: Connect) -> None:
    server = serve(*streamed(TEXT, 4))
    caller, other = connect(server), connect(server)
    intercept_llm_requests(caller.client, tool_call_tags="openai", **seen.providers)
    assert calls_by_index(await read_all(caller)) == {0: ("add_task", ARGUMENTS)}
    assert text_in(await read_all(other)) == TEXT


# -- the tools of the request --


async def test_a_rewriter_keeps_its_own_tools(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    instrument(tool_call_tags=ToolCallTagRewriter("o,c", tools=["other"]))
    other = '{"name": "other", "arguments": {}}'
    chunks = await read_all(connect(serve(*streamed(f"so: {other} {BODY}", 5))))
    assert text_in(chunks) == f"so: <o>{other}</c> {BODY}"


async def test_types_come_from_the_schema(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    instrument(tool_call_tags="openai")
    text = "<tool_call>\n<function=add_task>\n<parameter=title>\n42\n</parameter>\n</function>\n</tool_call>"
    assert calls_by_index(await read_all(connect(serve(*streamed(text, 3))))) == {0: ("add_task", '{"title": "42"}')}


async def test_without_a_marker_only_declared_tools(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    instrument(tool_call_tags="openai")
    other = '{"name": "other", "arguments": {}}'
    chunks = await read_all(connect(serve(*streamed(f"{other}\n{BODY}", 5))))
    assert text_in(chunks) == f"{other}\n"
    assert calls_by_index(chunks) == {0: ("add_task", ARGUMENTS)}


async def test_tools_that_only_the_prompt_declares(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    seen = instrument(tool_call_tags="openai")
    assert calls_by_index(await read_all(connect(serve(*streamed(TEXT, 5))), tools=openai.NOT_GIVEN))
    assert seen.anomalies == []


# -- choices, chunks and ends --


async def test_each_choice_by_itself(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    instrument(tool_call_tags="openai")
    first, second = streamed(TEXT, 3), streamed("no <tool", 3, choice=1)
    mixed = [step for pair in zip(first, [*second, *[says("", choice=1)] * len(first)], strict=False) for step in pair]
    chunks = await read_all(connect(serve(*mixed)), n=2)
    assert text_in(chunks, 0) == "Sure.\n"
    assert text_in(chunks, 1) == "no <tool"
    assert calls_by_index(chunks) == {0: ("add_task", ARGUMENTS)}


async def test_a_last_chunk_without_a_delta(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    seen = instrument(tool_call_tags="openai")
    last = ends("stop")
    last["choices"][0]["delta"] = None
    chunks = await read_all(connect(serve(*streamed(TEXT, 5, reason=None), last)))
    assert reasons(chunks) == ["tool_calls"]
    assert seen.anomalies == []


@pytest.mark.parametrize("target", ["ojlk,dfsd", "openai"])
async def test_half_a_marker_comes_out_at_the_end(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, target: str
) -> None:
    instrument(tool_call_tags=target)
    with_reason = await read_all(connect(serve(*streamed("so <tool_ca", 2))))
    assert text_in(with_reason) == "so <tool_ca"
    assert reasons(with_reason) == ["stop"]
    steps = streamed("so <tool_ca", 2, reason=None)
    without = await read_all(connect(serve(*steps)))
    assert text_in(without) == "so <tool_ca"
    assert len(without) == len(steps) + 1
    assert reasons(without) == []


async def test_a_stream_can_be_read_on_after_a_loop_was_left(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    seen = instrument(tool_call_tags="ojlk,dfsd")
    caller = connect(serve(*streamed(TEXT, 2)))
    stream = await caller.stream()
    first = await caller.read(stream, 9)
    rest = await caller.read(stream)
    assert text_in([*first, *rest]) == f"Sure.\n<ojlk>{BODY}</dfsd>\n"
    assert seen.outcome == "completed"


async def test_closed_in_the_middle_of_a_call(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    seen = instrument(tool_call_tags="openai")
    caller = connect(serve(*streamed(TEXT, 2)))
    stream = await caller.stream()
    await caller.read(stream, 20)
    await caller.close(stream)
    assert seen.outcome == "closed"
    assert seen.anomalies == []


@pytest.mark.parametrize("end", [Drop(), error_event("overloaded")])
async def test_an_error_in_the_middle_of_a_call(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, end: Any
) -> None:
    seen = instrument(tool_call_tags="openai")
    caller = connect(serve(*streamed(TEXT, 2, reason=None)[:20], end))
    stream = await caller.stream()
    with pytest.raises((openai.APIError, DISCONNECTED)):
        await caller.read(stream)
    assert seen.outcome == "error"
    assert seen.events("otel_llm.tool_call.detected")


@pytest.mark.parametrize("end", [Drop(), error_event("overloaded")])
async def test_text_that_is_held_back_comes_before_the_error(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, end: Any
) -> None:
    instrument(tool_call_tags="openai")
    caller = connect(serve(*streamed("so <tool_c", 2, reason=None), end))
    stream = await caller.stream()
    chunks: list[Any] = []

    async def read_one_by_one() -> None:
        for _ in range(20):
            chunks.extend(await caller.read(stream, 1))

    with pytest.raises((openai.APIError, DISCONNECTED)):
        await read_one_by_one()
    assert text_in(chunks) == "so <tool_c"
    assert await caller.read(stream) == []


async def test_text_in_the_chunk_that_finishes(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    instrument(tool_call_tags="openai")
    last = says(TEXT[9:])
    last["choices"][0]["finish_reason"] = "stop"
    chunks = await read_all(connect(serve(says(TEXT[:9]), last)))
    assert calls_by_index(chunks) == {0: ("add_task", ARGUMENTS)}
    assert reasons(chunks) == ["tool_calls"]


@pytest.mark.parametrize("size", [1, 2, 7, 20, 1000])
@pytest.mark.parametrize("reason", ["stop", ""])
@pytest.mark.parametrize("target", ["openai", "ojlk,dfsd"])
async def test_a_finish_reason_in_every_chunk(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, size: int, reason: str, target: str
) -> None:
    instrument(tool_call_tags=target)
    steps = streamed(f"{TEXT}So {TEXT}", size)
    for step in steps[:-1]:
        step["choices"][0]["finish_reason"] = reason
    chunks = await read_all(connect(serve(*steps)))
    if target == "openai":
        assert calls_by_index(chunks) == {0: ("add_task", ARGUMENTS), 1: ("add_task", ARGUMENTS)}
        assert text_in(chunks).split() == ["Sure.", "So", "Sure."]
        assert reasons(chunks)[-1] == "tool_calls"
    else:
        assert text_in(chunks) == f"Sure.\n<ojlk>{BODY}</dfsd>\nSo Sure.\n<ojlk>{BODY}</dfsd>\n"


async def test_a_stream_that_stops_within_a_call(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    instrument(tool_call_tags="openai")
    last = says(TEXT[9:-20])
    last["choices"][0]["finish_reason"] = "stop"
    chunks = await read_all(connect(serve(says(TEXT[:9]), last)))
    name, arguments = calls_by_index(chunks)[0]
    assert (name, ARGUMENTS.startswith(arguments)) == ("add_task", True)
    last = says("<tool_c")
    last["choices"][0]["finish_reason"] = "stop"
    assert text_in(await read_all(connect(serve(says("so "), last)))) == "so <tool_c"


async def test_a_call_that_is_cut_off(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    seen = instrument(tool_call_tags="openai")
    chunks = await read_all(connect(serve(*streamed(TEXT[:60], 4, reason="length"))))
    assert calls_by_index(chunks)[0][0] == "add_task"
    assert ARGUMENTS.startswith(calls_by_index(chunks)[0][1])
    assert reasons(chunks) == ["length"]
    assert seen.anomalies == ["truncated"]


async def test_calls_of_the_server_keep_their_indexes(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    instrument(tool_call_tags="openai")
    own = calls(call(0, "call_1", "list_tasks", "{}"))
    chunks = await read_all(connect(serve(own, *streamed(TEXT, 9))))
    assert calls_by_index(chunks) == {0: ("list_tasks", "{}"), 1: ("add_task", ARGUMENTS)}


async def test_other_fields_are_left_alone(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    instrument(tool_call_tags="ojlk,dfsd")
    chunk = says("<tool_call>")
    chunk["choices"][0]["delta"] |= {"reasoning_content": "<tool_call>", "refusal": None}
    chunk["choices"][0]["logprobs"] = {"content": None}
    chunks = await read_all(connect(serve(chunk, ends("stop"))))
    assert chunks[0].choices[0].delta.reasoning_content == "<tool_call>"
    assert chunks[0].choices[0].logprobs.content is None
    assert text_in(chunks) == "<tool_call>"


async def test_untouched_without_the_option(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    chunks = await read_all(connect(serve(*streamed(TEXT, 4))))
    assert text_in(chunks) == TEXT
    assert calls_by_index(chunks) == {}
    assert instrumented.events("otel_llm.tag_rewrite") == []


# -- unstreamed responses, and helpers of the OpenAI SDK --


@pytest.mark.parametrize("raw", [False, True])
async def test_an_unstreamed_response(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, raw: bool
) -> None:
    seen = instrument(tool_call_tags="openai")
    caller = connect(serve(Answer(completion({"role": "assistant", "content": TEXT}, "stop"))))
    if raw:
        method = caller.client.chat.completions.with_raw_response.create
        result = method(model="m", messages=[], tools=[ADD_TASK])
        response = (await result if isinstance(caller.client, openai.AsyncOpenAI) else result).parse()
    else:
        response = await caller.create()
    (choice,) = response.choices
    assert choice.message.content == "Sure.\n"
    assert [(one.function.name, one.function.arguments) for one in choice.message.tool_calls] == [
        ("add_task", ARGUMENTS)
    ]
    assert choice.finish_reason == "tool_calls"
    assert [
        (event.attributes or {})["otel_llm.tag_rewrite.format"] for event in seen.events("otel_llm.tag_rewrite")
    ] == ["hermes"]
    assert seen.anomalies == []


async def test_an_unstreamed_response_is_rewritten_like_a_stream(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    instrument(tool_call_tags="ojlk,dfsd")
    whole = connect(serve(Answer(completion({"role": "assistant", "content": TEXT}, "stop"))))
    response = await whole.create()
    assert response.choices[0].message.content == text_in(await read_all(connect(serve(*streamed(TEXT, 1)))))
    assert response.choices[0].finish_reason == "stop"


def test_the_stream_helper(instrument: Callable[..., Seen], serve: Serve) -> None:
    instrument(tool_call_tags="openai")
    client = SyncCaller(serve(*streamed(TEXT, 5)).base_url).client
    with client, helpers(client).stream(model="m", messages=[], tools=[strict(ADD_TASK)]) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.arguments == ARGUMENTS
    assert final.choices[0].finish_reason == "tool_calls"


# -- telemetry --


async def test_telemetry(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    seen = instrument(tool_call_tags="ojlk,dfsd")
    await read_all(connect(serve(*streamed(TEXT * 2, 6))))
    rewrites = [dict(event.attributes or {}) for event in seen.events("otel_llm.tag_rewrite")]
    assert rewrites == 2 * [
        {
            "otel_llm.choice.index": 0,
            "otel_llm.tag_rewrite.format": "hermes",
            "otel_llm.tag_rewrite.length": len(BODY),
            "otel_llm.tag_rewrite.target": "<ojlk>...</dfsd>",
            "gen_ai.tool.name": "add_task",
        }
    ]
    completed = [dict(event.attributes or {}) for event in seen.events("otel_llm.tool_call.completed")]
    assert [one["otel_llm.tool_call.index"] for one in completed] == [0, 1]
    assert {one["gen_ai.tool.call.arguments"] for one in completed} == {ARGUMENTS}
    assert seen.attributes["otel_llm.stream.tool_call_count"] == 2
    assert seen.attributes["otel_llm.stream.text_only"] is False
    assert seen.anomalies == ["duplicate_call"]
    ((attributes, count),) = seen.metric("otel_llm.tag_rewrite.count")
    assert attributes["otel_llm.tag_rewrite.format"] == "hermes"
    assert count == 2
    ((_, (durations, total)),) = seen.metric("otel_llm.tag_rewrite.duration")
    assert durations == 2
    assert 0 < total < 10
    seen.encode()


async def test_hostile_text_is_exported(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    seen = instrument(tool_call_tags="openai")
    body = '{"name": "add_task\\ud83d", "arguments": {"title": "\\ud83d\\u0000"}}'
    chunks = await read_all(connect(serve(*streamed(f"<tool_call>{body}</tool_call>", 5))))
    assert json.loads(calls_by_index(chunks)[0][1]) == {"title": "\ud83d\x00"}
    assert set(seen.anomalies) == {"unknown_tool", "invalid_unicode"}
    seen.encode()


async def test_a_choice_without_an_index(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    seen = instrument(tool_call_tags="ojlk,dfsd")
    told = streamed(TEXT, 6, reason=None)
    for one in told:
        one["choices"][0]["index"] = None
    chunks = await read_all(connect(serve(*told)))
    assert f"<ojlk>{BODY}</dfsd>" in text_in(chunks, None).replace("\n", "")
    (rewrite,) = seen.events("otel_llm.tag_rewrite")
    assert (rewrite.attributes or {})["otel_llm.choice.index"] == 0
    seen.encode()


@pytest.mark.parametrize("odd", [{"index": {}}, {"delta": {"tool_calls": 5}}, None], ids=["index", "calls", "choices"])
async def test_nonsense_in_the_middle_of_a_call(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, odd: Any
) -> None:
    seen = instrument(tool_call_tags="openai")
    told = streamed(TEXT, 6)
    nonsense = says(None)
    nonsense["choices"] = 5 if odd is None else [{**nonsense["choices"][0], **odd}]
    chunks = await read_all(connect(serve(*told[:8], nonsense, *told[8:])))
    found = [one for one in chunks if type(one.choices) is list]
    calls_made = [one for one in found if type(one.choices[0].delta.tool_calls) is not int]
    assert calls_by_index(calls_made) == {0: ("add_task", ARGUMENTS)}
    assert seen.anomalies == []


# -- more calls than are kept --

KEPT = Limits().calls


def many(count: int) -> str:
    """Calls that all have other arguments."""
    bodies = [f'{{"name": "add_task", "arguments": {{"title": "{number}"}}}}' for number in range(count)]
    return "\n".join(f"<tool_call>\n{body}\n</tool_call>" for body in bodies)


@pytest.mark.parametrize("is_streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("target", ["ojlk,dfsd", "openai"])
async def test_more_calls_than_are_kept(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, target: str, is_streamed: bool
) -> None:
    """The application gets all of them, the telemetry counts all of them, and nothing else is wrong."""
    seen = instrument(tool_call_tags=target)
    text = many(300)
    if is_streamed:
        chunks = await read_all(connect(serve(*streamed(text, 4000))))
        said, names = text_in(chunks), [name for name, _ in calls_by_index(chunks).values()]
    else:
        whole = completion({"role": "assistant", "content": text}, "stop")
        message = (await connect(serve(Answer(whole))).create()).choices[0].message
        said, names = message.content or "", [one.function.name for one in message.tool_calls or ()]
    if target == "openai":
        assert names == ["add_task"] * 300
        assert said == ""
    else:
        assert names == []
        assert said.count("<ojlk>") == said.count("</dfsd>") == 300

    assert set(seen.anomalies) == {"limit_exceeded"}
    details = [str((event.attributes or {})["otel_llm.anomaly.detail"]) for event in seen.events("otel_llm.anomaly")]
    assert f"{300 - KEPT} rewritten calls beyond {KEPT} were only counted" in details
    assert seen.attributes["otel_llm.stream.tool_call_count"] == 300
    by_format = {attributes["otel_llm.tag_rewrite.format"]: count for attributes, count in rewrites(seen)}
    assert by_format == {"hermes": KEPT, "_OTHER": 300 - KEPT}
    by_tool = {attributes["gen_ai.tool.name"]: count for attributes, count in seen.metric("otel_llm.tool_call.count")}
    assert by_tool == {"add_task": KEPT, "_OTHER": 300 - KEPT}
    assert seen.metric("otel_llm.tag_rewrite.duration")[0][1][0] == KEPT


async def test_more_calls_than_are_kept_and_one_of_the_server(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    """The call that the server sees is one that `stop` contradicts."""
    seen = instrument(tool_call_tags="ojlk,dfsd")
    own = calls(call(0, "call_1", "add_task", ARGUMENTS))
    await read_all(connect(serve(*streamed(many(300), 4000, reason=None), own, ends("stop"))))
    assert set(seen.anomalies) == {"limit_exceeded", "finish_reason_mismatch"}


def rewrites(seen: Seen) -> list[tuple[dict[str, Any], Any]]:
    return seen.metric("otel_llm.tag_rewrite.count")


# -- faults and wrong options --


@pytest.mark.swallows("tag rewriting")
async def test_a_fault_gives_back_what_was_held(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, break_scanner: BreakScanner
) -> None:
    seen = instrument(tool_call_tags="openai")
    break_scanner("l_")
    chunks = await read_all(connect(serve(*streamed(TEXT, 2))))
    assert text_in(chunks) == TEXT
    assert reasons(chunks) == ["stop"]
    assert seen.outcome == "completed"


@pytest.mark.swallows("tag rewriting")
async def test_what_is_held_comes_out_even_if_no_last_chunk_can_be_made(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    instrument(tool_call_tags="openai")
    monkeypatch.setattr("otel_llm.tags.stage.Stage._one_more", None)
    text = 'Sure.\n{"name": "add_task", "arg'
    chunks = await read_all(connect(serve(*streamed(text, 5, reason=None))))
    assert text_in(chunks) == text


@pytest.mark.swallows("tag rewriting")
@pytest.mark.parametrize("target", ["openai", "ojlk,dfsd"])
async def test_a_fault_loses_nothing_wherever_it_comes(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """A call of which the application has got a part is not taken back; whatever else there is it gets as text."""
    instrument(tool_call_tags=target)
    feed = Scanner.feed
    told = streamed(TEXT, 3)
    caller = connect(serve(*told))
    new = text_in(await read_all(caller, tools=[]))
    for place in range(len(told)):
        left = [place]

        def breaks(scanner: Scanner, text: str, left: list[int] = left) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise RuntimeError("broken")
            return feed(scanner, text)

        with monkeypatch.context() as patch:
            # Not that of the diagnosis, which reads the same text.
            patch.setattr(rewritten_text, "Scanner", type("Breaking", (Scanner,), {"feed": breaks}))
            chunks = await read_all(caller, tools=[])
        text = text_in(chunks)
        if text != TEXT and left[0] < 0:
            begun = max(at for at in range(len(text) + 1) if new.startswith(text[:at]))
            assert TEXT.endswith(text[begun:])
            assert calls_by_index(chunks) if target == "openai" else begun > len("Sure.\n<")


@pytest.mark.swallows("tag rewriting")
async def test_a_fault_at_the_end_gives_back_what_was_held(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(_scanner: Scanner) -> object:
        raise RuntimeError("broken")

    instrument(tool_call_tags="openai")
    monkeypatch.setattr(rewritten_text, "Scanner", type("Breaking", (Scanner,), {"flush": breaks}))
    chunks = await read_all(connect(serve(*streamed("so <tool_c", 2, reason=None))), tools=[])
    assert text_in(chunks) == "so <tool_c"


@pytest.mark.swallows("tag rewriting")
async def test_a_fault_gives_back_what_was_held_of_a_choice_that_never_comes_again(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, break_scanner: BreakScanner
) -> None:
    instrument(tool_call_tags="openai")
    break_scanner("broken")
    told = [says("<tool_", choice=1), says("<broken"), ends("stop")]
    chunks = await read_all(connect(serve(*told)), n=2, tools=[])
    assert (text_in(chunks), text_in(chunks, 1)) == ("<broken", "<tool_")


@pytest.mark.swallows("tag rewriting")
async def test_a_fault_in_the_second_choice_of_a_chunk(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, break_scanner: BreakScanner
) -> None:
    instrument(tool_call_tags="openai")
    break_scanner("broken")
    both = says("so <tool_")
    both["choices"] += says("<broken", choice=1)["choices"]
    chunks = await read_all(connect(serve(both, ends("stop"), ends("stop", choice=1))), n=2, tools=[])
    assert (text_in(chunks), text_in(chunks, 1)) == ("so <tool_", "<broken")


@pytest.mark.swallows("tag rewriting")
async def test_a_message_is_left_alone_where_its_calls_cannot_be_made(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(_call: object, **_fields: object) -> None:
        raise RuntimeError("broken")

    newer = hasattr(openai.types.chat, "ChatCompletionMessageFunctionToolCall")
    name = "ChatCompletionMessageFunctionToolCall" if newer else "ChatCompletionMessageToolCall"
    instrument(tool_call_tags="openai")
    caller = connect(serve(Answer(completion({"role": "assistant", "content": TEXT}, "stop"))))
    monkeypatch.setattr(getattr(openai.types.chat, name), "__init__", breaks)
    (choice,) = (await caller.create(tools=[])).choices
    assert (choice.message.content, choice.message.tool_calls, choice.finish_reason) == (TEXT, None, "stop")


@pytest.mark.swallows("tag rewriting")
async def test_a_fault_gives_back_what_was_held_of_another_choice(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, break_scanner: BreakScanner
) -> None:
    instrument(tool_call_tags="openai")
    break_scanner("broken")
    told = [says("<tool_", choice=1), says("<broken"), says("call>", choice=1), ends("stop"), ends("stop", choice=1)]
    chunks = await read_all(connect(serve(*told)), n=2)
    assert (text_in(chunks), text_in(chunks, 1)) == ("<broken", "<tool_call>")


@pytest.mark.parametrize("bad", ["a,b,c", "{,}", "<x,<xy", 5, ToolCallTagRewriter])
async def test_tags_that_cannot_be_used(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, bad: Any, caplog: pytest.LogCaptureFixture
) -> None:
    instrument(tool_call_tags=bad)
    assert text_in(await read_all(connect(serve(*streamed(TEXT, 4))))) == TEXT
    assert [record.levelno for record in caplog.records if "tool_call_tags" in record.getMessage()] == [logging.WARNING]


def test_unset_is_none() -> None:
    assert read_config({}, {"OTEL_LLM_TOOL_CALL_TAGS": " "}).tool_call_tags is None


def test_uninstrumented_again(instrument: Callable[..., Seen], serve: Serve) -> None:
    instrument(tool_call_tags="openai")
    OpenAIInstrumentor().uninstrument()
    client = SyncCaller(serve(*streamed(TEXT, 4)).base_url).client
    with client:
        assert text_in(list(client.chat.completions.create(model="m", messages=[], stream=True))) == TEXT


@pytest.mark.parametrize("nothing", [None, 5, "x", [], {}])
async def test_what_is_no_call_among_a_servers_calls_does_not_stop_the_rewriting(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, nothing: Any
) -> None:
    seen = instrument(tool_call_tags="openai")
    server = serve(*streamed(TEXT, 9, reason=None), calls(nothing), *streamed(TEXT, 9))
    chunks = await connect(server).read(await connect(server).stream())
    assert "<tool_call>" not in text_in(chunks)
    assert reasons(chunks) == ["tool_calls"]
    assert seen.attributes["otel_llm.stream.tool_call_count"] == 2


@pytest.mark.parametrize("left_out", [0, 25], ids=["whole", "cut off"])
async def test_a_call_whose_arguments_the_sdk_cannot_parse_stays_text(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, left_out: int
) -> None:
    """The SDK parses the arguments of strict tools itself, and raises if it cannot."""
    instrument(tool_call_tags="openai")
    text = TEXT[: len(TEXT) - left_out]
    caller = connect(serve(Answer(completion({"role": "assistant", "content": text}, "stop"))))
    tool = {"type": "function", "function": {**ADD_TASK["function"], "strict": True}}
    parse = helpers(caller.client).parse
    (choice,) = (await caller.result(parse(model="tiny", messages=[], tools=[tool]))).choices
    if left_out:
        assert choice.message.content == text
        assert not choice.message.tool_calls
    else:
        assert choice.message.tool_calls[0].function.parsed_arguments == json.loads(ARGUMENTS)


@pytest.mark.parametrize("body", [b"", b'{"id": "\xff"}', b"no JSON"])
async def test_a_body_that_the_sdk_cannot_parse_is_no_fault_of_the_rewriting(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, body: bytes
) -> None:
    seen = instrument(tool_call_tags="openai")
    caller = connect(serve(Answer(body)))
    raw = await caller.result(caller.client.chat.completions.with_raw_response.create(model="tiny", messages=[]))
    # Whatever the SDK does with such a body, it does for the application.
    with contextlib.suppress(ValueError, openai.APIError):
        raw.parse()
    assert seen.outcome is None
    assert len(seen.spans) == 1
