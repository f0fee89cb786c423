"""Responses in provider-specific shapes, as users of those providers and gateways reported them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.trace import StatusCode

from otel_llm.demo.scripted_server import DONE, Answer, ScriptedServer, chunk, completion, text
from tests.helpers.callers import SyncCaller
from tests.helpers.sdk_versions import needs_responses
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]

MODE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
END = [chunk({}, "stop"), DONE]


@pytest.fixture
def capturing(instrument: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch) -> Seen:
    monkeypatch.setenv(MODE, "span_only")
    return instrument()


async def answered(caller: SyncCaller, *, streamed: bool) -> None:
    """Make one request and read the response."""
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
    """A part of Databricks."""
    return {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": thought}]}]}


def details(thought: str) -> dict[str, Any]:
    """MiniMax, when asked to split reasoning off."""
    return {"content": "", "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": thought}]}


def summed_up(thought: str) -> dict[str, Any]:
    """OpenRouter, for models that only summarize their reasoning."""
    shown = [{"type": "reasoning.summary", "summary": thought}, {"type": "reasoning.encrypted", "data": "gAAAA"}]
    return {"content": "", "reasoning": None, "reasoning_details": shown}


def twice(thought: str) -> dict[str, Any]:
    """OpenRouter, for other models."""
    return {**details(thought), "reasoning": thought}


def within_an_object(thought: str) -> dict[str, Any]:
    """Envoy's gateway, for models at Bedrock."""
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


# -- numbers instead of strings --

PIECES: list[Any] = [
    "It costs $",
    0.005,
    " or [",
    1,
    "].\n",
    '<tool_call>\n{"name": "add_task", ',
    '"arguments": {"title": "',
]
PIECES += [7, '"}}\n</tool_call>']


async def test_numbers_are_text(capturing: Seen, serve: Serve, connect: Connect) -> None:
    """Cloudflare, if a token consists of digits."""
    caller = connect(serve(*(chunk(text(piece)) for piece in (6, *PIECES[:5])), *END))
    chunks = await caller.read(await caller.stream())
    assert [one.choices[0].delta.content for one in chunks[:-1]] == [6, *PIECES[:5]]
    assert output_of(capturing) == [("text", "6It costs $0.005 or [1].\n")]
    assert capturing.attributes["otel_llm.stream.text_only"] is True


async def test_numbers_in_a_call_that_stays_text(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    await answered(connect(serve(*(chunk(text(piece)) for piece in PIECES), *END)), streamed=True)
    assert instrumented.anomalies == ["text_leak"]


async def test_numbers_with_tags_rewritten(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    seen = instrument(tool_call_tags="openai")
    caller = connect(serve(*(chunk(text(piece)) for piece in PIECES), *END))
    choices = [one.choices[0] for one in await caller.read(await caller.stream())]
    words = [choice.delta.content for choice in choices if choice.delta.content]
    assert "".join(map(str, words)) == "It costs $0.005 or [1].\n"
    assert 0.005 in words  # what is not rewritten stays a number
    calls = [call for choice in choices for call in choice.delta.tool_calls or ()]
    assert "".join(call.function.arguments for call in calls) == '{"title": "7"}'
    assert seen.anomalies == []
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


# -- audio --


async def test_a_transcript_is_text(capturing: Seen, serve: Serve, connect: Connect) -> None:
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": None, "refusal": None, "audio": {"id": "audio_1"}},
        {"audio": {"transcript": "Hel"}},
        {"audio": {"data": "AAAA"}},
        {"audio": {"transcript": "lo"}},
        {"audio": {"expires_at": 1_700_000_000}},
    ]
    await answered(connect(serve(*map(chunk, deltas), *END)), streamed=True)
    assert output_of(capturing) == [("text", "Hello")]
    assert capturing.attributes["otel_llm.stream.text_only"] is True


async def test_the_transcript_of_a_whole_answer(capturing: Seen, serve: Serve, connect: Connect) -> None:
    audio = {"id": "audio_1", "data": "AAAA", "expires_at": 1_700_000_000, "transcript": "Hello"}
    await answered(connect(serve(Answer(completion({"content": None, "audio": audio})))), streamed=False)
    assert output_of(capturing) == [("text", "Hello")]


# -- usage --


async def test_usage_in_the_last_choice(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """Moonshot."""
    usage = {"prompt_tokens": 19, "completion_tokens": 13, "total_tokens": 32}
    last = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage}])
    await answered(connect(serve(chunk(text("Hello")), last, DONE)), streamed=True)
    assert instrumented.attributes["gen_ai.usage.input_tokens"] == 19
    assert instrumented.attributes["gen_ai.usage.output_tokens"] == 13


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"prompt_cache_hit_tokens": 7, "prompt_cache_miss_tokens": 12}, {"cache_read.input_tokens": 7}),
        ({"prompt_tokens_details": None, "cached_tokens": 7}, {"cache_read.input_tokens": 7}),
        ({"prompt_tokens_details": {}, "cached_tokens": 7}, {"cache_read.input_tokens": 7}),
        ({"prompt_tokens_details": {"cached_tokens": 3}, "cached_tokens": 7}, {"cache_read.input_tokens": 3}),
        (
            {"prompt_tokens_details": {"cached_tokens": 7, "cache_write_tokens": 5}},
            {"cache_read.input_tokens": 7, "cache_write.input_tokens": 5},
        ),
        ({"prompt_tokens_details": None, "reasoning_tokens": 9}, {"reasoning.output_tokens": 9}),
        (
            {"completion_tokens_details": {"reasoning_tokens": 9}, "reasoning_tokens": 0},
            {"reasoning.output_tokens": 9},
        ),
        ({"cached_tokens": "7", "reasoning_tokens": 10**30, "prompt_cache_hit_tokens": -1}, {}),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
async def test_details_of_the_usage(
    instrumented: Seen, serve: Serve, connect: Connect, details: Any, expected: dict[str, int], streamed: bool
) -> None:
    usage = {"prompt_tokens": 19, "completion_tokens": 13, "total_tokens": 32, **details}
    if streamed:
        server = serve(chunk(text("Hello")), chunk({}, "stop"), chunk(choices=[], usage=usage), DONE)
    else:
        server = serve(Answer(completion(text("Hello"), usage=usage)))
    await answered(connect(server), streamed=streamed)
    found = {
        name.removeprefix("gen_ai.usage."): value
        for name, value in instrumented.attributes.items()
        if name.startswith("gen_ai.usage.")
    }
    assert found == {"input_tokens": 19, "output_tokens": 13, **expected}


# -- errors with status 200 --


ERROR = {"code": 502, "message": "Provider returned error", "metadata": {"provider_name": "Somebody"}}
CUT = {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "add_task", "arguments": '{"ti'}}]}


def failing(error: Any, **fields: Any) -> dict[str, Any]:
    """A choice of OpenRouter if the model's server failed."""
    return {"index": 0, "finish_reason": "error", "native_finish_reason": None, "error": error, **fields}


def assert_failed(seen: Seen, message: str, kind: str) -> None:
    assert seen.span.status.status_code is StatusCode.ERROR
    assert (seen.span.status.description, seen.attributes["error.type"]) == (message, kind)


@pytest.mark.parametrize(
    ("error", "message", "kind"),
    [
        (ERROR, "Provider returned error", "502"),
        ({"code": "server_error", "message": "gone"}, "gone", "server_error"),
        ({"code": 429, "type": "rate_limit_error"}, "rate_limit_error", "rate_limit_error"),
        ({"message": "gone"}, "gone", "error"),
        ("gone", "gone", "error"),
    ],
)
async def test_only_an_error(
    instrumented: Seen, serve: Serve, connect: Connect, error: Any, message: str, kind: str
) -> None:
    response = await connect(serve(Answer({"error": error, "user_id": "u"}))).create()
    assert response.error == error
    assert_failed(instrumented, message, kind)
    assert instrumented.anomalies == []


@needs_responses
async def test_only_an_error_in_a_whole_response(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    await connect(serve(Answer({"error": ERROR}))).respond()
    assert_failed(instrumented, "Provider returned error", "502")
    assert "gen_ai.response.finish_reasons" not in instrumented.attributes


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_choice_that_failed(instrumented: Seen, serve: Serve, connect: Connect, streamed: bool) -> None:
    if streamed:
        end = chunk(choices=[failing(ERROR, delta={"content": ""})])
        server = serve(chunk(text("Hel")), chunk(CUT), end, DONE)
    else:
        server = serve(Answer(completion({}, choices=[failing(ERROR, message={"content": "Hel", **CUT})])))
    await answered(connect(server), streamed=streamed)
    assert_failed(instrumented, "Provider returned error", "502")
    assert instrumented.outcome == ("error" if streamed else None)
    assert instrumented.attributes["gen_ai.response.finish_reasons"] == ("error",)
    assert instrumented.anomalies == ["truncated"]


async def test_a_chunk_that_is_an_error(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """vLLM's shape, which the OpenAI SDK does not recognize as an error."""
    error = {"object": "error", "message": "out of blocks", "type": "BadRequestError", "param": None, "code": 400}
    await answered(connect(serve(chunk(text("Hel")), chunk(CUT), error, DONE)), streamed=True)
    assert_failed(instrumented, "out of blocks", "BadRequestError")
    assert (instrumented.outcome, instrumented.anomalies) == ("error", [])


@pytest.mark.parametrize("nothing", [{"type": "ping"}, {"choices": None, "error": None}, {"choices": {}, "object": ""}])
async def test_a_chunk_without_choices(instrumented: Seen, serve: Serve, connect: Connect, nothing: Any) -> None:
    await answered(connect(serve(chunk(text("Hello")), nothing, *END)), streamed=True)
    assert (instrumented.outcome, instrumented.anomalies) == ("completed", [])
    assert instrumented.span.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    "choice",
    [
        failing(None, delta={}),
        failing({}, delta={}),
        failing(7, delta={}),
        failing(ERROR, delta={}, finish_reason="stop"),
    ],
)
async def test_no_failure(instrumented: Seen, serve: Serve, connect: Connect, choice: Any) -> None:
    await answered(connect(serve(chunk(text("Hello")), chunk(choices=[choice]), DONE)), streamed=True)
    assert instrumented.span.status.status_code is StatusCode.UNSET
    assert instrumented.outcome == "completed"


@pytest.mark.parametrize("error", [None, {}, "", ERROR])
async def test_an_error_next_to_an_answer(instrumented: Seen, serve: Serve, connect: Connect, error: Any) -> None:
    await connect(serve(Answer(completion(text("Hello"), error=error)))).create()
    assert instrumented.span.status.status_code is StatusCode.UNSET
