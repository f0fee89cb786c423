"""`OTEL_LLM_REDACT`: each text that is sent goes through the application's function, and none goes around it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace

from otel_llm import tool_execution
from otel_llm.demo.scripted_responses import response, response_events
from otel_llm.demo.scripted_server import DONE, Answer, ScriptedServer, chunk, completion, error_event, text
from otel_llm.telemetry import redaction
from otel_llm.telemetry.redaction import WITHHELD, Redaction
from tests.helpers.callers import MESSAGES, SyncCaller
from tests.helpers.sdk_versions import needs_responses
from tests.helpers.seen import Seen
from tests.helpers.streams import call, calls

Instrument = Callable[..., Seen]
Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]

SECRET = "hunter2-hunter2"
COVER = "***"
CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


def cover(text: str) -> str:
    return text.replace(SECRET, COVER)


def fail(text: str) -> str:
    raise ValueError(f"cannot redact {text}")


@pytest.fixture(autouse=True)
def warn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_warned", set())


def call_with(arguments: str, size: int) -> list[Any]:
    pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    return [
        calls(call(0, "call_1", "add_task", "")),
        *(calls(call(0, arguments=piece)) for piece in pieces),
        chunk(finish_reason="tool_calls"),
        DONE,
    ]


def sent_by(seen: Seen) -> str:
    """All that one request sent, as text."""
    attributes = [dict(event.attributes or {}) for span in seen.spans for event in span.events]
    records = [[record.body, dict(record.attributes or {})] for record in seen.log_records]
    spans = [[dict(span.attributes or {}), span.status.description] for span in seen.spans]
    return json.dumps([attributes, records, spans], default=repr, ensure_ascii=False)


@pytest.mark.parametrize("size", [1, 3, 7, 100])
async def test_a_secret_in_the_arguments_is_in_no_event_however_it_is_cut(
    instrument: Instrument, serve: Serve, connect: Connect, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    seen = instrument(redact=cover, events="span,log")
    caller = connect(serve(*call_with(f'{{"title": "a {SECRET} b"}}', size)))
    with caplog.at_level(logging.INFO, "otel_llm"):
        await caller.read(await caller.stream())
    (completed,) = seen.events("otel_llm.tool_call.completed")
    assert completed.attributes is not None
    assert completed.attributes["gen_ai.tool.call.arguments"] == f'{{"title": "a {COVER} b"}}'
    pieces = [
        str((event.attributes or {})["gen_ai.tool.call.arguments"])
        for event in seen.events("otel_llm.tool_call.arguments.delta")
    ]
    assert any(WITHHELD in piece or COVER in piece for piece in pieces)
    shown = "".join(piece for piece in pieces if piece != WITHHELD)
    assert not any(SECRET[at : at + 4] in shown for at in range(len(SECRET) - 4))
    if size < 4:
        assert shown.startswith('{"title"')
        assert shown.endswith("}")
    assert SECRET not in sent_by(seen)
    assert SECRET not in caplog.text
    assert COVER in caplog.text
    assert "otel_llm.redaction.withheld_count" not in seen.attributes


async def test_arguments_are_redacted_before_they_are_cut(
    instrument: Instrument, serve: Serve, connect: Connect
) -> None:
    """The limit must not cut a secret in two, of which the function then knows neither half."""
    seen = instrument(redact=cover, argument_limit=15)
    caller = connect(serve(*call_with(f'{{"title": "{SECRET}"}}', 100)))
    await caller.read(await caller.stream())
    assert SECRET[:4] not in sent_by(seen)


@pytest.mark.parametrize("events", ["span_only", "event_only"])
async def test_captured_content_is_redacted(
    instrument: Instrument, serve: Serve, connect: Connect, events: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CAPTURE, events)
    seen = instrument(redact=cover)
    caller = connect(serve(text(f"Your key is {SECRET}."), *call_with(f'{{"title": "{SECRET}"}}', 5)))
    arguments = json.dumps({"key": SECRET, "more": [SECRET]})
    made = {"id": "call_0", "type": "function", "function": {"name": "add_task", "arguments": arguments}}
    messages: list[Any] = [
        {"role": "system", "content": f"Never say {SECRET}."},
        {"role": "user", "content": [{"type": "text", "text": SECRET}]},
        {"role": "assistant", "reasoning_content": f"It is {SECRET}.", "tool_calls": [made]},
        {"role": "tool", "tool_call_id": "call_0", "content": f"found {SECRET}"},
        *MESSAGES,
    ]
    tool = {
        "type": "function",
        "function": {"name": "add_task", "description": f"like {SECRET}", "parameters": {"x": SECRET}},
    }
    await caller.read(await caller.stream(messages=messages, tools=[tool]))
    sent = sent_by(seen)
    assert SECRET not in sent
    assert sent.count(COVER) >= 9
    # Values keep their structure.
    assert "found ***" in sent


async def test_an_error_of_the_server_is_redacted(instrument: Instrument, serve: Serve, connect: Connect) -> None:
    seen = instrument(redact=cover)
    caller = connect(serve(error_event(f"key {SECRET} is invalid")))
    with pytest.raises(Exception, match=SECRET):
        await caller.read(await caller.stream())
    assert SECRET not in sent_by(seen)
    assert COVER in str(seen.span.status.description)


async def test_where_the_function_raises_the_text_is_withheld_and_counted(
    instrument: Instrument, serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    seen = instrument(redact=fail)
    caller = connect(serve(*call_with(f'{{"title": "{SECRET}"}}', 5)))
    with caplog.at_level(logging.INFO, "otel_llm"):
        chunks = await caller.read(await caller.stream())
    assert "".join(c.choices[0].delta.tool_calls[0].function.arguments for c in chunks[:-1]) == (
        f'{{"title": "{SECRET}"}}'
    )
    assert SECRET[:4] not in sent_by(seen)
    (completed,) = seen.events("otel_llm.tool_call.completed")
    assert (completed.attributes or {})["gen_ai.tool.call.arguments"] == WITHHELD
    assert seen.attributes["otel_llm.redaction.withheld_count"] == 1
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    # The message of the exception quotes the text.
    assert SECRET[:4] not in caplog.text
    assert "ValueError" in warning.getMessage()


async def test_the_message_of_an_error_is_counted(instrument: Instrument, serve: Serve, connect: Connect) -> None:
    """With all the other texts of the request, in one count."""
    seen = instrument(redact=fail)
    caller = connect(serve(calls(call(0, "call_1", "add_task", "")), error_event(f"key {SECRET} is invalid")))
    with pytest.raises(Exception, match=SECRET):
        await caller.read(await caller.stream(stop=["a", "b"]))
    assert SECRET not in sent_by(seen)
    assert seen.span.status.description == WITHHELD
    assert seen.attributes["otel_llm.redaction.withheld_count"] == 3


async def test_the_message_of_a_refusal_is_counted(instrument: Instrument, serve: Serve, connect: Connect) -> None:
    seen = instrument(redact=fail)
    with pytest.raises(Exception, match=SECRET):
        await connect(serve(Answer(error_event(f"bad {SECRET}"), 400))).create()
    assert seen.span.status.description == WITHHELD
    assert seen.attributes["otel_llm.redaction.withheld_count"] == 1


@needs_responses
@pytest.mark.parametrize("streamed", [True, False])
async def test_an_error_that_a_response_reports_is_counted(
    instrument: Instrument, serve: Serve, connect: Connect, streamed: bool
) -> None:
    seen = instrument(redact=fail)
    failed: dict[str, Any] = {"status": "failed", "error": {"code": "server_error", "message": f"lost {SECRET}"}}
    caller = connect(serve(*(response_events(**failed) if streamed else [Answer(response(**failed))])))
    result = await caller.respond(stream=streamed)
    if streamed:
        await caller.read(result)
    assert SECRET not in sent_by(seen)
    assert seen.span.status.description == WITHHELD
    assert seen.attributes["otel_llm.redaction.withheld_count"] == 1


@pytest.mark.parametrize("distance", [985, 995, 1000])
async def test_an_error_is_redacted_before_it_is_cut(
    instrument: Instrument, serve: Serve, connect: Connect, distance: int
) -> None:
    seen = instrument(redact=cover)
    caller = connect(serve(error_event(f"{'x' * distance}{SECRET}")))
    with pytest.raises(Exception, match=SECRET):
        await caller.read(await caller.stream())
    with pytest.raises(ValueError, match=SECRET), tool_execution("add_task"):
        raise ValueError(f"{'x' * distance}{SECRET}")
    assert len(seen.spans) == 2
    assert SECRET[:5] not in sent_by(seen)


def test_all_texts_of_a_tool_are_counted(instrument: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CAPTURE, "span_only")
    seen = instrument(redact=fail)
    execution = tool_execution("add_task", arguments={"key": 1})
    execution.result = "found"
    with pytest.raises(ValueError, match=SECRET), execution:
        raise ValueError(f"bad {SECRET}")
    assert seen.span.status.description == WITHHELD
    assert seen.attributes["otel_llm.redaction.withheld_count"] == 3
    monkeypatch.setenv(CAPTURE, "no_content")
    with pytest.raises(ValueError, match=SECRET), tool_execution("add_task"):
        raise ValueError(f"bad {SECRET}")
    assert [(span.attributes or {})["otel_llm.redaction.withheld_count"] for span in seen.spans] == [3, 1]


@pytest.mark.parametrize("returned", [None, 5, b"text", ["text"]])
async def test_what_is_no_string_is_withheld(
    instrument: Instrument, serve: Serve, connect: Connect, returned: Any
) -> None:
    seen = instrument(redact=lambda _text: returned)
    caller = connect(serve(*call_with('{"title": "x"}', 50)))
    await caller.read(await caller.stream())
    assert seen.attributes["otel_llm.redaction.withheld_count"] == 1


async def test_the_function_is_not_called_while_the_stream_flows(
    instrument: Instrument, serve: Serve, connect: Connect
) -> None:
    seen: list[str] = []

    def remember(text: str) -> str:
        seen.append(text)
        return text

    instrument(redact=remember, log=False)
    caller = connect(serve(*call_with('{"title": "' + "x" * 300 + '"}', 1)))
    stream = await caller.stream()
    await caller.read(stream, 200)
    assert seen == []
    await caller.read(stream)
    assert seen[0] == '{"title": "' + "x" * 300 + '"}'


async def test_a_response_that_is_not_streamed(instrument: Instrument, serve: Serve, connect: Connect) -> None:
    seen = instrument(redact=cover)
    function = {"name": "add_task", "arguments": f'{{"title": "{SECRET}"}}'}
    message = {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
    await connect(serve(Answer(completion(message, "tool_calls")))).create()
    assert SECRET not in sent_by(seen)
    assert COVER in sent_by(seen)


async def test_nothing_is_redacted_where_arguments_are_not_captured(
    instrument: Instrument, serve: Serve, connect: Connect
) -> None:
    seen = instrument(redact=fail, capture_arguments=False)
    caller = connect(serve(*call_with('{"title": "x"}', 5)))
    await caller.read(await caller.stream())
    assert "otel_llm.redaction.withheld_count" not in seen.attributes


async def test_stop_sequences_and_details_of_anomalies(
    instrument: Instrument, serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    seen = instrument(redact=cover)
    caller = connect(serve(chunk(text(f'<invoke name="{SECRET}">\n foo')), chunk(finish_reason="stop"), DONE))
    with caplog.at_level(logging.INFO, "otel_llm"):
        await caller.read(await caller.stream(stop=[SECRET]))
    assert "token_leak" in seen.anomalies
    assert SECRET not in sent_by(seen)
    assert SECRET not in caplog.text


def test_the_error_of_a_tool_is_redacted(instrument: Instrument) -> None:
    seen = instrument(redact=cover)
    with pytest.raises(ValueError, match=SECRET), tool_execution("add_task"):
        raise ValueError(f"bad {SECRET}")
    assert SECRET not in sent_by(seen)
    assert COVER in str(seen.span.status.description)


async def test_an_interrupt_in_the_function_leaves_no_span_current(
    instrument: Instrument, serve: Serve, connect: Connect
) -> None:
    def interrupted(_text: str) -> str:
        raise KeyboardInterrupt

    seen = instrument(redact=interrupted)
    caller = connect(serve(*call_with('{"title": "x"}', 5)))
    with pytest.raises(KeyboardInterrupt):
        await caller.stream(stop=["x"])
    assert not trace.get_current_span().get_span_context().is_valid
    assert len(seen.spans) == 1


def test_the_spans_of_tools_are_redacted(instrument: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CAPTURE, "span_only")
    seen = instrument(redact=cover)
    with tool_execution("add_task", call_id="call_1", arguments={"key": SECRET}) as execution:
        execution.result = {"found": [SECRET]}
    assert SECRET not in sent_by(seen)
    assert sent_by(seen).count(COVER) == 2


@pytest.fixture
def path_of_function(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OTEL_LLM_REDACT", f"{__name__}:cover")
    return f"{__name__}:cover"


async def test_the_function_is_named_by_its_path(
    path_of_function: str, instrument: Instrument, serve: Serve, connect: Connect
) -> None:
    assert path_of_function.endswith("test_redaction:cover")
    seen = instrument()
    caller = connect(serve(*call_with(f'{{"title": "{SECRET}"}}', 4)))
    await caller.read(await caller.stream())
    assert SECRET not in sent_by(seen)


@given(st.text(max_size=60), st.lists(st.integers(1, 9), max_size=12), st.text("ab", min_size=2, max_size=4))
def test_no_piece_shows_what_the_function_removed(arguments: str, sizes: list[int], secret: str) -> None:
    arguments = arguments + secret + arguments
    redacted = Redaction(lambda text: text.replace(secret, "#" * 3)).arguments(arguments)
    start = 0
    shown: set[int] = set()
    for size in [*sizes, len(arguments)]:
        piece = arguments[start : start + size]
        if redacted.piece(piece, start) == piece:
            shown.update(range(start, start + len(piece)))
        start += len(piece)
    removed = {at for match in re.finditer(re.escape(secret), arguments) for at in range(*match.span())}
    assert removed
    assert not shown & removed
