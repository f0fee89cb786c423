"""Tool calls are rewritten in the bytes of a response that an application takes."""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import zstandard
from pydantic import BaseModel

from otel_llm.demo.scripted_responses import message, response, response_events
from otel_llm.demo.scripted_server import DONE, Answer, ScriptedServer, completion, data, error_event
from otel_llm.wrappers import rewritten_body
from tests.helpers.callers import ADD_TASK, REQUEST, RESPONSE_REQUEST, AsyncCaller, SyncCaller
from tests.helpers.sdk_versions import helpers, needs_responses, strict
from tests.helpers.seen import Seen
from tests.helpers.streams import ends, says

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]

ARGUMENTS = '{"title": "buy milk"}'
CALL = f'<tool_call>\n{{"name": "add_task", "arguments": {ARGUMENTS}}}\n</tool_call>'
TEXT = f"Sure.\n{CALL}\nDone."
LEFT = "Sure.\n\nDone."
CHUNKS = [*(says(TEXT[start : start + 5]) for start in range(0, len(TEXT), 5)), ends("stop"), DONE]


async def taken(caller: SyncCaller, way: str = "iter_bytes", **kwargs: Any) -> Any:
    """The body of a response, by a method of the SDK's `with_streaming_response`."""
    create = caller.client.chat.completions.with_streaming_response.create
    return await read_from(caller, create(**REQUEST, **kwargs), way)


async def read_from(caller: SyncCaller, manager: Any, way: str = "iter_bytes") -> Any:
    empty: Any = b"" if way == "iter_bytes" else "\n" if way == "iter_lines" else ""
    if isinstance(caller, AsyncCaller):
        async with manager as raw:
            return empty.join([part async for part in getattr(raw, way)()])
    with manager as raw:
        return empty.join(getattr(raw, way)())


def events_in(body: bytes) -> list[dict[str, Any]]:
    values = [line.removeprefix("data: ") for line in body.decode().splitlines() if line.startswith("data:")]
    return [json.loads(value) for value in values if value != "[DONE]"]


def told_in(body: bytes) -> tuple[str, str, list[str]]:
    """The text, the arguments and the finish reasons in a stream."""
    choices = [event["choices"][0] for event in events_in(body)]
    calls = [call["function"] for one in choices for call in one["delta"].get("tool_calls") or ()]
    return (
        "".join(one["delta"].get("content") or "" for one in choices),
        "".join(call["arguments"] for call in calls),
        [one["finish_reason"] for one in choices if one["finish_reason"]],
    )


REWRITTEN = (LEFT, ARGUMENTS, ["tool_calls"])


@pytest.mark.parametrize("way", ["iter_bytes", "iter_text", "iter_lines"])
async def test_a_stream(instrument: Callable[..., Seen], serve: Serve, connect: Connect, way: str) -> None:
    seen = instrument(tool_call_tags="openai")
    body = await taken(connect(serve(*CHUNKS)), way, stream=True)
    assert told_in(body if isinstance(body, bytes) else body.encode()) == REWRITTEN
    assert seen.anomalies == []
    assert seen.attributes["otel_llm.stream.tool_call_count"] == 1
    assert seen.outcome == "completed"
    assert len(seen.events("otel_llm.tag_rewrite")) == 1


async def test_the_response_of_a_stream(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    instrument(tool_call_tags="openai")
    caller = connect(serve(*CHUNKS))
    stream = await caller.stream()
    if isinstance(caller, AsyncCaller):
        body = b"".join([part async for part in stream.response.aiter_bytes()])
    else:
        body = b"".join(stream.response.iter_bytes())
    assert told_in(body) == REWRITTEN


@pytest.mark.parametrize("size", [1, 3, 64])
async def test_bytes_cut_anywhere(instrument: Callable[..., Seen], serve: Serve, connect: Connect, size: int) -> None:
    instrument(tool_call_tags="openai")
    body = b"".join(step if isinstance(step, bytes) else data(step) for step in CHUNKS)
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    assert told_in(await taken(connect(serve(*pieces)), stream=True)) == REWRITTEN


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
async def test_what_is_not_rewritten_is_the_same_to_the_byte(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, newline: bytes
) -> None:
    instrument(tool_call_tags="openai")
    chunk = b'data: {"choices":  [{"index": 0, "delta": {"content": "5 \\u00e9"}}], "a": 1.0}'
    events = [b": a comment", b"id: 5", chunk, b"data: no JSON", b"data: [1]", b"data: [DONE]"]
    told = b"".join(newline.join([event, b"", b""]) for event in events)
    answer = Answer(told, headers={"content-type": "text/event-stream"})
    assert await taken(connect(serve(answer)), stream=True) == told


async def test_text_that_is_held_back_comes_before_the_end(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    instrument(tool_call_tags="openai")
    for end in ([], [DONE]):
        body = await taken(connect(serve(says("so <tool"), says("_ca"), *end)), stream=True)
        assert told_in(body)[0] == "so <tool_ca"
        assert body.endswith(b"[DONE]\n\n") is bool(end)


async def test_an_error_in_the_stream_passes(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    seen = instrument(tool_call_tags="openai")
    body = await taken(connect(serve(says("Sure."), error_event("overloaded"))), stream=True)
    assert b"overloaded" in body
    assert seen.outcome == "error"


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("GZIP", gzip.compress)]
)
async def test_compressed_bytes(
    instrument: Callable[..., Seen],
    serve: Serve,
    connect: Connect,
    encoding: str,
    compress: Callable[[bytes], bytes],
) -> None:
    seen = instrument(tool_call_tags="openai")
    told = b"".join(step if isinstance(step, bytes) else data(step) for step in CHUNKS)
    headers = {"content-type": "text/event-stream", "content-encoding": encoding}
    assert told_in(await taken(connect(serve(Answer(compress(told), headers=headers))), stream=True)) == REWRITTEN
    assert seen.attributes["otel_llm.stream.tool_call_count"] == 1
    whole = json.dumps(completion({"content": TEXT})).encode()
    headers["content-type"] = "application/json"
    body = json.loads(await taken(connect(serve(Answer(compress(whole), headers=headers)))))
    assert body["choices"][0]["message"]["content"] == LEFT


async def test_bytes_in_another_compression_pass_with_a_warning(
    instrument: Callable[..., Seen],
    serve: Serve,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rewritten_body, "_warned", set())
    instrument(tool_call_tags="openai")
    told = b"".join(step if isinstance(step, bytes) else data(step) for step in CHUNKS)
    headers = {"content-type": "text/event-stream", "content-encoding": "zstd"}
    for _ in range(2):
        assert await taken(connect(serve(Answer(zstandard.compress(told), headers=headers))), stream=True) == told
    (record,) = (record for record in caplog.records if "zstd" in record.getMessage())
    assert record.levelno == logging.WARNING


async def test_damaged_compression_is_the_callers_to_see(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    instrument(tool_call_tags="openai")
    headers = {"content-type": "text/event-stream", "content-encoding": "gzip"}
    with pytest.raises(Exception, match=r"(?i)gzip|header|decod"):
        await taken(connect(serve(Answer(b"no gzip", headers=headers))), stream=True)


@pytest.mark.parametrize("body", [b"", b"[1, 2]", b"no JSON", b'{"choices": 5}', b'{"object": "other"}', b"  "])
async def test_a_document_without_a_call_is_the_same(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, body: bytes
) -> None:
    instrument(tool_call_tags="openai")
    assert await taken(connect(serve(Answer(body)))) == body


@pytest.mark.swallows("tag rewriting")
@pytest.mark.parametrize("is_streamed", [True, False])
@pytest.mark.parametrize("is_compressed", [True, False])
async def test_a_fault_loses_no_byte(
    instrument: Callable[..., Seen],
    serve: Serve,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    is_streamed: bool,
    is_compressed: bool,
) -> None:
    def breaks(*_: object, **__: object) -> object:
        raise RuntimeError("broken")

    instrument(tool_call_tags="openai")
    monkeypatch.setattr(rewritten_body, "parse_objects", breaks)
    told = json.dumps(completion({"content": TEXT})).encode()
    headers = {"content-type": "application/json"}
    if is_streamed:
        told = b"".join(step if isinstance(step, bytes) else data(step) for step in CHUNKS)
        headers = {"content-type": "text/event-stream"}
    if is_compressed:
        headers["content-encoding"] = "gzip"
    sent = gzip.compress(told) if is_compressed else told
    assert await taken(connect(serve(Answer(sent, headers=headers))), stream=is_streamed) == told


@needs_responses
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_the_responses_api(instrument: Callable[..., Seen], serve: Serve, connect: Connect, size: int) -> None:
    seen = instrument(tool_call_tags="openai")
    caller = connect(serve(*response_events(message(TEXT), size=size)))
    create = caller.client.responses.with_streaming_response.create
    events = events_in(await read_from(caller, create(**RESPONSE_REQUEST, stream=True)))
    output = events[-1]["response"]["output"]
    assert [(item["type"], item.get("arguments")) for item in output] == [
        ("message", None),
        ("function_call", ARGUMENTS),
        ("message", None),
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert seen.attributes["otel_llm.stream.tool_call_count"] == 1
    whole = connect(serve(Answer(response(message(TEXT)))))
    create = whole.client.responses.with_streaming_response.create
    answer = json.loads(await read_from(whole, create(**RESPONSE_REQUEST)))
    assert [item["type"] for item in answer["output"]] == [item["type"] for item in output]


async def test_parse_with_a_format(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    class Done(BaseModel):
        done: bool

    seen = instrument(tool_call_tags="openai")
    caller = connect(serve(Answer(completion({"content": CALL}))))
    parse = helpers(caller.client).parse
    request = {**REQUEST, "tools": [strict(ADD_TASK)]}
    parsed = await caller.result(parse(**request, response_format=Done))
    (choice,) = parsed.choices
    assert (choice.message.content, choice.message.parsed, choice.finish_reason) == (None, None, "tool_calls")
    assert [call.function.arguments for call in choice.message.tool_calls] == [ARGUMENTS]
    assert seen.anomalies == []
    assert len(seen.events("otel_llm.tag_rewrite")) == 1
    healthy = connect(serve(Answer(completion({"content": '{"done": true}'}))))
    parsed = await healthy.result(helpers(healthy.client).parse(**request, response_format=Done))
    assert parsed.choices[0].message.parsed == Done(done=True)
