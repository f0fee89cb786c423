"""`otel-llm probe` against a correct server, servers with one fault each, and llama.cpp."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_llm.cli import main
from otel_llm.demo.llama_server import MODEL
from otel_llm.demo.scripted_server import (
    DONE,
    Answer,
    Drop,
    ScriptedServer,
    Sleep,
    chunk,
    completion,
    error_event,
    tool_call_delta,
    usage_chunk,
)
from otel_llm.probe.battery import BATTERY
from tests.helpers.obedient_model import wanted_calls

NAMES = [check.name for check in BATTERY]
OTEL_LLM = (sys.executable, "-c", "import sys; from otel_llm.cli import main; sys.exit(main(sys.argv[1:]))")


def answer(body: dict[str, Any]) -> Iterator[Any]:
    """A correct response: a completion, or the same as a stream."""
    calls = wanted_calls(body)
    ids = [f"call_{number}_{id(body) % 10**6}" for number in range(len(calls))]
    cut = body["max_tokens"] <= 24 and bool(calls)
    reason = "length" if cut else "tool_calls" if calls and not isinstance(body.get("tool_choice"), dict) else "stop"
    written = [json.dumps(arguments, ensure_ascii=False) for _, arguments in calls]
    if cut:
        written = [text[:20] for text in written]
    choices = range(body.get("n", 1))
    if not body["stream"]:
        made = [
            {"id": id_, "type": "function", "function": {"name": name, "arguments": text}}
            for id_, (name, _), text in zip(ids, calls, written, strict=True)
        ]
        message = {"role": "assistant", "content": None if made else "Hello.", **({"tool_calls": made} if made else {})}
        choice = [{"index": index, "message": message, "finish_reason": reason} for index in choices]
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        yield Answer({"id": "x", "object": "chat.completion", "model": "m", "choices": choice, "usage": usage})
        return
    for index in choices:
        if not calls:
            yield chunk({"content": "Hello."}, index=index)
        for number, (id_, (name, _), text) in enumerate(zip(ids, calls, written, strict=True)):
            yield chunk(tool_call_delta(index=number, id=id_, name=name, arguments=""), index=index)
            for at in range(0, len(text), 50):
                yield chunk(tool_call_delta(index=number, arguments=text[at : at + 50]), index=index)
        yield chunk(finish_reason=reason, index=index)
    if (body.get("stream_options") or {}).get("include_usage"):
        yield usage_chunk(1, 1)
    yield DONE


def deltas_of(step: Any) -> list[Any]:
    return [
        delta
        for choice in (step.get("choices") or () if isinstance(step, dict) else ())
        for delta in choice["delta"].get("tool_calls") or ()
    ]


Wrong = Callable[[dict[str, Any]], Iterable[Any]]


def streamed(change: Callable[[Any], Any]) -> Wrong:
    """A server whose streams are changed chunk by chunk."""

    def wrong(body: dict[str, Any]) -> Iterator[Any]:
        for step in answer(body):
            yield change(copy.deepcopy(step)) if isinstance(step, dict) else step

    return wrong


@streamed
def index_0(step: Any) -> Any:
    for delta in deltas_of(step):
        delta["index"] = 0
    return step


@streamed
def no_ids(step: Any) -> Any:
    for delta in deltas_of(step):
        delta.pop("id", None)
    return step


@streamed
def stops(step: Any) -> Any:
    for choice in step["choices"]:
        if choice["finish_reason"] == "tool_calls":
            choice["finish_reason"] = "stop"
    return step


def leaks(body: dict[str, Any]) -> Iterator[Any]:
    calls = wanted_calls(body)
    if not body["stream"] or not calls:
        yield from answer(body)
        return
    for name, arguments in calls:
        yield chunk({"content": f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>\n"})
    yield chunk(finish_reason="stop")
    yield DONE


def ignores_n(body: dict[str, Any]) -> Iterator[Any]:
    return answer({**body, "n": 1})


def refuses_n(body: dict[str, Any]) -> Iterator[Any]:
    return iter([Answer(error_event("n is not supported"), 400)]) if "n" in body else answer(body)


def refuses_streams_of_tools(body: dict[str, Any]) -> Iterator[Any]:
    refused = body["stream"] and body.get("tools")
    return iter([Answer(error_event("cannot stream tools"), 400)]) if refused else answer(body)


def busy(body: dict[str, Any]) -> Iterator[Any]:
    refused = body["stream"] and body.get("tools")
    return iter([Answer(error_event("slow down"), 429)]) if refused else answer(body)


def fails(body: dict[str, Any]) -> Iterator[Any]:
    return iter([Answer(error_event("out of order"), 500)]) if body.get("tools") else answer(body)


def error_in_stream(body: dict[str, Any]) -> Iterator[Any]:
    steps = list(answer(body))
    return iter([*steps[:1], error_event("lost the engine")]) if body["stream"] else iter(steps)


def drops(body: dict[str, Any]) -> Iterator[Any]:
    steps = list(answer(body))
    return iter([*steps[:1], Drop()]) if body["stream"] else iter(steps)


def violates(body: dict[str, Any]) -> Iterator[Any]:
    """A fault of the model, not the server: it occurs both ways."""
    for step in answer(body):
        yield from _replaced(step, '"celsius"', '"kelvin"')


def cuts_streams(body: dict[str, Any]) -> Iterator[Any]:
    """The last piece of the arguments is lost."""
    steps = list(answer(body))
    last = max((at for at, step in enumerate(steps) if deltas_of(step)), default=None)
    return iter([step for at, step in enumerate(steps) if at != last])


def _replaced(step: Any, old: str, new: str) -> Iterator[Any]:
    if isinstance(step, bytes):
        yield step
        return
    body = step.body if isinstance(step, Answer) else step
    text = json.dumps(body).replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1])
    yield Answer(json.loads(text)) if isinstance(step, Answer) else json.loads(text)


def holds_back(body: dict[str, Any]) -> Iterator[Any]:
    steps = list(answer(body))
    if not body["stream"] or not any(map(deltas_of, steps)):
        yield from steps
        return
    for number, (name, arguments) in enumerate(wanted_calls(body)):
        text = json.dumps(arguments)
        yield chunk(tool_call_delta(index=number, id=f"call_{number}", name=name, arguments=text[:20] if len(text) > 900 and body["max_tokens"] <= 24 else text))  # fmt: skip # noqa: E501
    yield from steps[-2:]


def no_usage(body: dict[str, Any]) -> Iterator[Any]:
    return answer({name: value for name, value in body.items() if name != "stream_options"})


def length_as_tool_calls(body: dict[str, Any]) -> Iterator[Any]:
    for step in answer(body):
        if isinstance(step, dict):
            yield from _replaced(step, "length", "tool_calls")
        else:
            yield step


def never_twice_alike() -> Wrong:
    count = iter(range(10**6))

    def wrong(body: dict[str, Any]) -> Iterator[Any]:
        for step in answer(body):
            yield from _replaced(step, "Paris", f"Paris {next(count)}" if isinstance(step, Answer) else "Paris")

    return wrong


def answers_another() -> Wrong:
    """Each request gets the response to the previous one; the first gets its own."""
    before: list[dict[str, Any]] = []

    def wrong(body: dict[str, Any]) -> Iterator[Any]:
        before.append(body)
        yield from answer(before[max(0, len(before) - 2)])

    return wrong


def never_calls(body: dict[str, Any]) -> Iterator[Any]:
    wanted = body.get("tool_choice") == "required" or isinstance(body.get("tool_choice"), dict)
    return answer(body if wanted else {**body, "tools": None})


def whole_for_stream(body: dict[str, Any]) -> Iterator[Any]:
    return answer({**body, "stream": False})


def busy_streams(status: int, headers: dict[str, str] | None = None) -> Wrong:
    """A gateway that does not reach the server, for streams of tools."""

    def wrong(body: dict[str, Any]) -> Iterator[Any]:
        refused = body["stream"] and body.get("tools")
        return iter([Answer(error_event("no backend"), status, headers or {})]) if refused else answer(body)

    return wrong


def busy_in_stream(error: dict[str, Any]) -> Wrong:
    def wrong(body: dict[str, Any]) -> Iterator[Any]:
        steps = list(answer(body))
        return iter([*steps[:1], {"error": error}]) if body["stream"] else iter(steps)

    return wrong


def violates_while_busy(body: dict[str, Any]) -> Iterator[Any]:
    return busy(body) if body["stream"] else violates(body)


def no_usage_whole(body: dict[str, Any]) -> Iterator[Any]:
    for step in answer(body):
        yield Answer({**step.body, "usage": None}) if isinstance(step, Answer) else step


def _counted(usage: dict[str, Any]) -> Wrong:
    def wrong(body: dict[str, Any]) -> Iterator[Any]:
        for step in answer(body):
            if isinstance(step, Answer):
                yield Answer({**step.body, "usage": usage})
            else:
                yield {**step, "usage": usage} if isinstance(step, dict) and "usage" in step else step

    return wrong


zero_usage = _counted({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})
wrong_total = _counted({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 7})
hidden_thoughts = _counted(
    {
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "total_tokens": 2,
        "completion_tokens_details": {"reasoning_tokens": 9},
    }
)


def _with_ids(id_of: Callable[[int], str], *, streams: bool = True) -> Wrong:
    def wrong(body: dict[str, Any]) -> Iterator[Any]:
        for step in answer(body):
            if isinstance(step, Answer):
                for choice in step.body["choices"]:
                    for number, call in enumerate(choice["message"].get("tool_calls") or ()):
                        call["id"] = id_of(number)
            elif streams:
                for delta in deltas_of(step):
                    if "id" in delta:
                        delta["id"] = id_of(delta["index"])
            yield step

    return wrong


same_ids = _with_ids(lambda number: f"call_{number}")
same_ids_whole = _with_ids(lambda number: f"call_{number}", streams=False)
one_id = _with_ids(lambda _: "call")


def residue(mark: str) -> Wrong:
    """What the server does not take out of the text."""

    def wrong(body: dict[str, Any]) -> Iterator[Any]:
        for step in answer(body):
            yield from _replaced(step, "Hello.", f"Hello.{mark}")

    return wrong


def residue_in_calls(body: dict[str, Any]) -> Iterator[Any]:
    for step in answer(body):
        yield from _replaced(step, '"Lima"', '"Lima<|im_end|>"')


def thinks(text: str = "Hm.", *, streamed: bool = True, whole: bool = True) -> Wrong:
    """A server whose model thinks."""

    def wrong(body: dict[str, Any]) -> Iterator[Any]:
        if body["stream"] and streamed:
            yield chunk({"reasoning_content": text})
        for step in answer(body):
            if isinstance(step, Answer) and whole:
                for choice in step.body["choices"]:
                    choice["message"]["reasoning_content"] = text
            yield step

    return wrong


def swallows(*, streamed: bool, whole: bool) -> Wrong:
    """A server whose parser of thoughts takes the call along."""

    def wrong(body: dict[str, Any]) -> Iterator[Any]:
        calls = wanted_calls(body)
        if not calls or not (streamed if body["stream"] else whole):
            yield from answer(body)
            return
        name, arguments = calls[0]
        call = json.dumps({"name": name, "arguments": arguments})
        thought = f"I call it.\n<tool_call>\n{call}\n</tool_call>"
        if body["stream"]:
            yield chunk({"reasoning_content": thought})
            yield chunk(finish_reason="stop")
            yield DONE
        else:
            yield Answer(completion({"content": None, "reasoning_content": thought}))

    return wrong


def twice(body: dict[str, Any]) -> Iterator[Any]:
    for step in answer(body):
        yield step
        if isinstance(step, dict) and step["choices"] and "content" in step["choices"][0]["delta"]:
            yield step


def no_done(body: dict[str, Any]) -> Iterator[Any]:
    return (step for step in answer(body) if step != DONE)


def framed(
    frame: Callable[[str], str] = lambda data: f"data: {data}\n\n",
    stream_type: str = "text/event-stream",
    whole_type: str = "application/json",
) -> Wrong:
    """A server that writes its bytes itself."""

    def wrong(body: dict[str, Any]) -> Iterator[Any]:
        steps = list(answer(body))
        if not body["stream"]:
            yield Answer(json.dumps(steps[0].body).encode(), headers={"Content-Type": whole_type})
            return
        data = [json.dumps(step) if isinstance(step, dict) else "[DONE]" for step in steps]
        yield Answer("".join(map(frame, data)).encode(), headers={"Content-Type": stream_type})

    return wrong


def silent(status: int, headers: dict[str, str] | None = None) -> Wrong:
    """A server that answers requests with tools with a status and no body."""

    def wrong(body: dict[str, Any]) -> Iterator[Any]:
        return iter([Answer(b"", status, headers or {})]) if body.get("tools") else answer(body)

    return wrong


def not_utf8(body: dict[str, Any]) -> Iterator[Any]:
    """The server cuts a character of several bytes."""
    steps = list(answer(body))
    if body["stream"]:
        steps = [f"data: {json.dumps(step, ensure_ascii=False)}" if step != DONE else "data: [DONE]" for step in steps]
        kind, text = "text/event-stream", "".join(f"{step}\n\n" for step in steps)
    else:
        kind, text = "application/json", json.dumps(steps[0].body, ensure_ascii=False)
    yield Answer(text.encode().replace("乳".encode(), "乳".encode()[:2]), headers={"Content-Type": kind})


def repeats_names(body: dict[str, Any]) -> Iterator[Any]:
    """Each delta of a call has its name, as some servers send it."""
    names: dict[Any, str] = {}
    for step in answer(body):
        for delta in deltas_of(step):
            delta["function"]["name"] = names.setdefault(delta["index"], delta["function"].get("name"))
        yield step


def no_arguments(body: dict[str, Any]) -> Iterator[Any]:
    for step in answer(body):
        if step == DONE:
            yield step
            continue
        text = json.dumps(step.body if isinstance(step, Answer) else step).replace('"{}"', '""')
        yield Answer(json.loads(text)) if isinstance(step, Answer) else json.loads(text)


def ignores_max_tokens(body: dict[str, Any]) -> Iterator[Any]:
    return answer({**body, "max_tokens": 10_000})


def says(text: str) -> Wrong:
    """A server that sends a text before each call, if it streams."""

    def wrong(body: dict[str, Any]) -> Iterator[Any]:
        if body["stream"] and wanted_calls(body):
            yield chunk({"content": text})
        yield from answer(body)

    return wrong


def drops_after_a_stray(body: dict[str, Any]) -> Iterator[Any]:
    if body["stream"]:
        yield b"oops\n\n"
    yield from drops(body)


def probed(server: Wrong, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    """The exit status, and the findings of each check that is not ok: (status, texts)."""
    with ScriptedServer(server) as running:
        status = main(["probe", "--base-url", running.base_url, "--model", "m", "--json", *options])
    told = json.loads(capsys.readouterr().out)
    return status, {
        check["name"]: (check["status"], [finding["text"] for finding in check["findings"]])
        for check in told["checks"]
        if check["status"] != "ok" or check["findings"]
    }


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_llm.probe.patience._WAITS", (0.0, 0.01))


def test_a_correct_server_has_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert probed(answer, capsys) == (0, {})


@pytest.mark.parametrize(
    ("server", "name", "status", "text"),
    [
        (index_0, "parallel_calls", "fault", "streamed: index_reused, call_1"),
        (no_ids, "one_call", "fault", "streamed: missing_id"),
        (stops, "required", "fault", "streamed: finish_reason_mismatch"),
        (
            stops,
            "required",
            "fault",
            "the responses differ in the same way each time; streamed: list_tasks({}),",
        ),
        (leaks, "one_call", "fault", "streamed: text_leak, 1 call of get_weather"),
        (leaks, "required", "fault", "streamed: tool_choice_violated"),
        (ignores_n, "two_choices", "fault", "streamed: n=2, but the number of choices is 1"),
        (refuses_n, "two_choices", "not judged", "the server rejects it: 400 n is not supported"),
        (refuses_streams_of_tools, "one_call", "fault", "streamed: status 400, cannot stream tools"),
        (busy, "one_call", "not judged", "streamed: the server is busy: 429 slow down"),
        (busy_streams(502), "one_call", "not judged", "streamed: the server is busy: 502 no backend"),
        (busy_streams(503), "concurrent", "not judged", "streamed: the server is busy: 503 no backend"),
        (busy_streams(504), "cancel", "not judged", "streamed: the server is busy: 504 no backend"),
        (busy_streams(529), "ids", "not judged", "streamed: the server is busy: 529 no backend"),
        (busy_streams(500, {"Retry-After": "0"}), "named", "not judged", "streamed: the server is busy: 500"),
        (
            busy_streams(429, {"Retry-After": "3600"}),
            "none",
            "not judged",
            "(it asks to wait for 3600 s)",
        ),
        (
            busy_in_stream({"code": 429, "message": "slow down"}),
            "one_call",
            "not judged",
            "the server is busy: an error event",
        ),
        (busy_in_stream({"type": "overloaded_error", "message": "full"}), "named", "not judged", "the server is busy"),
        (busy_in_stream({"code": "rate_limit_exceeded", "message": "x"}), "ids", "not judged", "the server is busy"),
        (busy_in_stream({"code": 400, "message": "a bug"}), "ids", "fault", "streamed: an error event: a bug"),
        (busy, "concurrent", "not judged", "the server rejects it: 429 slow down"),
        (violates_while_busy, "one_call", "not judged", "not streamed: schema_violation"),
        (fails, "required", "fault", "not streamed: status 500, out of order"),
        (fails, "cancel", "fault", "streamed: status 500, out of order"),
        (error_in_stream, "none", "fault", "streamed: an error event: lost the engine"),
        (error_in_stream, "concurrent", "fault", "streamed: an error event: lost the engine"),
        (answers_another(), "concurrent", "fault", "belongs to another request, for "),
        (drops, "named", "fault", "streamed: RemoteProtocolError"),
        (violates, "one_call", "model", "streamed: schema_violation, against the schema of get_weather at"),
        (cuts_streams, "nested_arguments", "fault", "streamed: invalid_json"),
        (holds_back, "long_arguments", "ok", "the server buffers arguments: "),
        (no_usage, "usage", "fault", "streamed: usage was requested, but is missing"),
        (no_usage_whole, "usage", "fault", "not streamed: usage is missing"),
        (zero_usage, "usage", "fault", "streamed: usage counts 0 tokens of the prompt and 0 of the answer"),
        (wrong_total, "usage", "ok", "not streamed: usage has a total of 7 tokens, but 1 + 1"),
        (same_ids, "ids", "fault", "the next turn, streamed: the id call_0 was given before"),
        (same_ids_whole, "ids", "fault", "the next turn, not streamed: the id call_0 was given before"),
        (one_id, "ids", "fault", "streamed: duplicate_id"),
        (no_ids, "ids", "fault", "the next turn, streamed: missing_id"),
        (never_calls, "ids", "not judged", "streamed: the model made 0 of the 2 requested calls"),
        (residue("<|im_end|>"), "markup", "fault", "streamed: <|im_end|> in the text"),
        (residue("</tool_call>"), "no_call", "fault", "streamed: </tool_call> in the text"),
        (residue("<｜tool▁calls▁begin｜>"), "tool_result", "fault", "not streamed: <｜tool▁calls▁begin｜> in the text"),  # noqa: RUF001
        (residue("[TOOL_CALLS]"), "thoughts", "fault", "streamed: [TOOL_CALLS] in the text"),
        (residue("<think>Short.</think>"), "thoughts", "fault", "streamed: <think>, </think> in the text"),
        (residue_in_calls, "thoughts_and_call", "fault", "streamed: <|im_end|> in a call of get_weather"),
        (
            thinks(streamed=True, whole=False),
            "thoughts",
            "fault",
            "streamed: thoughts, text, then stop; not",
        ),
        (thinks(streamed=False, whole=True), "thoughts_and_call", "fault", "not streamed: thoughts, get_weather("),
        (thinks("a <think> b"), "thoughts", "fault", "streamed: <think> in the thoughts"),
        (thinks("a <|channel|>final b"), "thoughts", "fault", "not streamed: <|channel|> in the thoughts"),
        (thinks("a<|im_end|>"), "thoughts_and_call", "fault", "streamed: <|im_end|> in the thoughts"),
        (thinks("a<|close|>think<|sep|>"), "thoughts", "fault", "streamed: <|close|>, <|sep|> in the thoughts"),
        (thinks("<|channel>thought"), "thoughts", "fault", "streamed: <|channel> in the thoughts"),
        (thinks("I <tool_call> it"), "thoughts", "ok", "streamed: <tool_call> in the thoughts, perhaps a draft"),
        (
            thinks('<|tool_call>call:f{a:<|"|>b<|"|>}'),
            "thoughts",
            "ok",
            'streamed: <|tool_call>, <|"|> in the thoughts',
        ),
        (thinks("Caf\ufffd\ufffd"), "thoughts", "ok", "streamed: U+FFFD stands in the thoughts"),
        (silent(500), "one_call", "fault", "not streamed: status 500, the body is empty"),
        (silent(404), "one_call", "not judged", "the server rejects it: 404 the body is empty"),
        (
            silent(307, {"Location": "http://me:secret@127.0.0.1:9/v1/chat/completions?key=a"}),
            "one_call",
            "fault",
            "status 307, the server redirects to http://****@127.0.0.1:9/v1/chat/completions",
        ),
        (not_utf8, "unicode_arguments", "fault", "not streamed: the body is not UTF-8"),
        (not_utf8, "unicode_arguments", "fault", "streamed: the body is not UTF-8"),
        (repeats_names, "one_call", "ok", "streamed: the name comes again in later deltas"),
        (no_arguments, "empty_parameters", "ok", "not streamed: the arguments are an empty text instead of {}"),
        (ignores_max_tokens, "cut_by_max_tokens", "fault", "not streamed: max_tokens=24, but 1932 characters came"),
        (says("I call it."), "one_call", "fault", "streamed: text, get_weather("),
        (hidden_thoughts, "thoughts", "ok", "not streamed: the server counts 9 tokens of thoughts, but sends none"),
        (swallows(streamed=True, whole=True), "thoughts_and_call", "fault", "streamed: call_in_reasoning"),
        (swallows(streamed=True, whole=False), "thoughts_and_call", "fault", "streamed: call_in_reasoning"),
        (twice, "no_call", "fault", "streamed: the text came twice"),
        (no_done, "one_call", "fault", "streamed: missing_done"),
        (framed(stream_type="application/json"), "none", "fault", "streamed: wrong_content_type, application/json"),
        (framed(stream_type="text/plain"), "cancel", "fault", "streamed: wrong_content_type, text/plain instead"),
        (framed(stream_type="text/plain"), "ids", "fault", "the next turn, streamed: wrong_content_type, text/plain"),
        (framed(whole_type="text/event-stream"), "one_call", "fault", "not streamed: wrong_content_type, text/event"),
        (framed(lambda data: f"message: x\ndata: {data}\n\n"), "enum", "fault", "streamed: invalid_framing"),
        (framed(lambda data: f"data: {data}\n"), "concurrent", "fault", "streamed: invalid_framing"),
        (drops_after_a_stray, "named", "fault", "streamed: invalid_framing, 1 line that is no event"),
        (drops_after_a_stray, "named", "fault", "streamed: RemoteProtocolError"),
        (length_as_tool_calls, "cut_by_max_tokens", "fault", "a call was cut off, but the finish reason is tool_calls"),
        (never_twice_alike(), "one_call", "not judged", "the server's responses vary"),
        (never_calls, "one_call", "not judged", "streamed: the model made 0 of the 1 requested calls"),
        (never_calls, "parallel_calls", "not judged", "streamed: the model made 0 of the 2 requested calls"),
        (whole_for_stream, "none", "fault", "streamed: a stream was requested, but a whole response arrived"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_each_fault_is_found(
    server: Wrong, name: str, status: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_status, found = probed(server, capsys, "--only", name)
    assert found[name][0] == status, found
    assert any(text in finding for finding in found[name][1]), found
    assert exit_status == {"fault": 1, "not judged": 3}.get(status, 0)


def test_nothing_that_could_be_judged(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model", "m", "--only", "one_call", "--only", "none"]
    with ScriptedServer(busy) as running:
        assert main(["probe", "--base-url", running.base_url, *options]) == 3
    out, err = capsys.readouterr()
    assert "2 not judged" in out
    assert err.splitlines() == [
        "otel-llm probe: nothing could be judged: this says neither that the server is correct nor that it is not"
    ]
    with ScriptedServer(refuses_n) as running:
        assert main(["probe", "--base-url", running.base_url, *options, "--only", "two_choices"]) == 0
    assert "nothing could be judged" not in capsys.readouterr().err


def test_a_model_that_thinks_behind_a_correct_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert probed(thinks(), capsys) == (0, {})


def test_white_space_before_a_call_is_no_difference(capsys: pytest.CaptureFixture[str]) -> None:
    assert probed(says("\n\n"), capsys, "--only", "one_call") == (0, {})


@pytest.mark.parametrize("retry_after", ["0", "0.01", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_busy_server_is_asked_again_when_it_says(retry_after: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked: set[str] = set()

    def first_busy(body: dict[str, Any]) -> Iterator[Any]:
        key = json.dumps(body)
        refused = key not in asked
        asked.add(key)
        return iter([Answer(error_event("slow down"), 429, {"Retry-After": retry_after})]) if refused else answer(body)

    assert probed(first_busy, capsys) == (0, {})
    assert len(asked) > len(NAMES)


def test_a_server_that_wants_too_long_a_wait_is_asked_once(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Any] = []

    def wants(body: dict[str, Any]) -> Iterator[Any]:
        asked.append(body)
        return busy_streams(503, {"Retry-After": "31"})(body)  # type: ignore[return-value]

    probed(wants, capsys, "--only", "named")
    assert len(asked) == 3, "a greeting, and each way once"


def test_a_server_that_does_not_answer_in_time(capsys: pytest.CaptureFixture[str]) -> None:
    def hangs(body: dict[str, Any]) -> Iterator[Any]:
        if body.get("tools"):
            yield Sleep(20)
        yield from answer(body)

    assert probed(hangs, capsys, "--only", "required", "--timeout", "0.3") == (
        1,
        {"required": ("fault", ["streamed: ReadTimeout", "not streamed: ReadTimeout"])},
    )


def test_the_request_after_a_disconnected_client(capsys: pytest.CaptureFixture[str]) -> None:
    """A server that mixes responses up: the request after the cancelled one gets the rest of it."""
    left: list[Any] = []

    def mixes(body: dict[str, Any]) -> Iterator[Any]:
        if left:
            yield chunk(tool_call_delta(index=5, arguments="rest"))
        if body.get("tools"):
            left.append(body)
        for step in answer(body):
            yield step
            if not isinstance(step, Answer):
                yield Sleep(0.01)

    status, found = probed(mixes, capsys, "--only", "cancel")
    assert status == 1
    assert found["cancel"][1][0].startswith("the request after it, streamed: missing_name")


def test_every_check_can_run_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for name in NAMES:
        with ScriptedServer(answer) as running:
            assert main(["probe", "--base-url", running.base_url, "--model", "m", "--only", name]) == 0
        out = capsys.readouterr().out
        assert out.startswith("ok         ")
        assert name in out
        assert out.endswith("1 ok\n")


def test_the_table_lists_findings_under_their_check(capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedServer(index_0) as running:
        assert main(["probe", "--base-url", running.base_url, "--model", "m", "--only", "parallel_calls"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("fault      parallel_calls")
    assert lines[1].startswith("           streamed: index_reused")
    assert lines[-1] == "1 fault"


def test_no_secret_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def tells(body: dict[str, Any]) -> Iterator[Any]:
        return iter([Answer(error_event("wrong key: sk-secret-4711"), 400)]) if body.get("tools") else answer(body)

    with ScriptedServer(tells) as running:
        url = running.base_url.replace("//", "//alice:pass-word-4711@")
        for options in ([], ["--json"]):
            main(
                ["probe", "--base-url", url, "--model", "m", "--api-key", "sk-secret-4711", "--only", "none", *options]
            )
    told = capsys.readouterr()
    assert "wrong key: ***" in told.out
    assert "4711" not in told.out + told.err


@pytest.mark.skipif(sys.platform == "win32", reason="it has no pseudo-terminals")
@pytest.mark.parametrize(("options", "shown"), [([], True), (["--json"], False)])
def test_a_terminal_shows_what_is_running(options: list[str], shown: bool) -> None:
    import pty

    ours, theirs = pty.openpty()
    with ScriptedServer(answer) as running:
        command = [*OTEL_LLM, "probe", "--base-url", running.base_url, "--model", "m"]
        command += ["--only", "named", "--only", "none", *options]
        environment = {**os.environ, "TERM": "xterm"}
        with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
            os.close(theirs)
            read = b""
            while True:
                try:
                    piece = os.read(ours, 65536)
                except OSError:  # Linux reports the end so
                    break
                if not piece:
                    break
                read += piece
    os.close(ours)
    assert process.returncode == 0
    assert (b"1/2 named" in read) == (b"2/2 none" in read) == shown
    if shown:
        assert read.index(b"1/2 named") < read.index(b"a named tool") < read.index(b"2/2 none")
        assert b"\r\x1b[K" in read[read.index(b"2/2 none") : read.index(b"tool_choice=none")], "the line is cleared"


def test_no_progress_where_nobody_watches() -> None:
    with ScriptedServer(answer) as running:
        command = [*OTEL_LLM, "probe", "--base-url", running.base_url, "--model", "m"]
        done = subprocess.run([*command, "--only", "named"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    assert "1/1" not in done.stdout


def test_junit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "probe.xml"

    def several(body: dict[str, Any]) -> Iterator[Any]:
        if "n" in body:
            return iter([Answer(error_event("no \x00\ud800 n"), 400)])
        return iter(no_ids(body)) if isinstance(body.get("tool_choice"), dict) else holds_back(body)

    only = [word for name in ("one_call", "named", "two_choices", "long_arguments") for word in ("--only", name)]
    status, _ = probed(several, capsys, "--junit", str(path), *only)
    assert status == 1
    suite = ET.parse(path).getroot().find("testsuite")
    assert suite is not None
    assert {name: suite.get(name) for name in ("tests", "failures", "skipped", "errors")} == {
        "tests": "4",
        "failures": "1",
        "skipped": "1",
        "errors": "0",
    }
    cases = {case.get("name"): [child.tag for child in case] for case in suite}
    assert cases == {"one_call": [], "named": ["failure"], "two_choices": ["skipped"], "long_arguments": ["system-out"]}


def test_every_request_has_the_extra_fields_and_the_key(capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedServer(answer) as running:
        options = ["--only", "none", "--extra-body", '{"top_k": 3, "temperature": 1}', "--api-key", "secret"]
        assert main(["probe", "--base-url", running.base_url, "--model", "m", "--json", *options]) == 0
    assert {request.body["top_k"] for request in running.requests} == {3}
    assert {request.body["temperature"] for request in running.requests} == {1}
    assert {request.headers["authorization"] for request in running.requests} == {"Bearer secret"}
    assert "secret" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--only", "magic"], "unknown check magic; there are one_call, "),
        (["--extra-body", "[]"], "--extra-body is not a JSON object"),
        (["--extra-body", "{"], "--extra-body is not a JSON object"),
        ([], "http://127.0.0.1:9/v1: ConnectError"),
        (["--base-url", "http://[::bad/v1"], "http://[::bad/v1: "),
    ],
)
def test_wrong_options_and_servers_are_explained(
    options: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", "--base-url", "http://127.0.0.1:9/v1", "--model", "m", *options]) == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "why"),
    [(401, "wrong key"), (400, "max_tokens is not supported"), (429, "slow down"), (503, "no backend")],
)
def test_a_server_that_rejects_everything_is_not_correct(
    status: int, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with ScriptedServer([Answer(error_event(why), status)]) as running:
        assert main(["probe", "--base-url", running.base_url, "--model", "m"]) == 2
    assert f"status {status}, {why}" in capsys.readouterr().err


def test_a_missing_package_is_named() -> None:
    program = """
import sys
sys.modules["httpx"] = None
from otel_llm.cli import main
sys.exit(main(["probe", "--model", "m"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, "otel-llm probe needs httpx: pip install 'otel-llm[cli]'\n")


# -- a real server --


def test_llama_cpp(llama: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its model produces noise, so most checks cannot be judged. The others pass, with one known fault."""
    only = [
        word
        for name in ("one_call", "required", "named", "none", "many_tools", "cut_by_max_tokens", "usage", "cancel")
        for word in ("--only", name)
    ]
    main(["probe", "--base-url", llama, "--model", MODEL, "--json", *only])
    told = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    status = {name: check["status"] for name, check in told.items()}
    assert {name for name in status if status[name] == "ok"} >= {"none", "cut_by_max_tokens", "usage", "cancel"}
    assert status["required"] in {"ok", "model", "not judged"}
    assert status["many_tools"] == "not judged"
    assert "400 request" in told["many_tools"]["findings"][0]["text"]
    # It expects a token that starts calls, which this model's vocabulary does not mark.
    assert status["one_call"] == status["named"] == "fault"
    assert "Grammar trigger word should be marked as preserved token" in told["named"]["findings"][0]["text"]
