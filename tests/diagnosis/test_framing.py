"""The bytes of a response: what is wrong with them is told, however they are cut into reads, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_llm.exchanges.bodies import BodyReader
from otel_llm.exchanges.entries import Entry
from otel_llm.exchanges.verdicts import Verdict, judge
from otel_llm.protocol.choice import Outcome

STREAM_TYPE = "text/event-stream"
CHUNK = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}
LAST = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
WHOLE = {"object": "chat.completion", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
ASKED_FOR_A_STREAM = {"messages": [], "stream": True}


def events(*data: Any) -> str:
    return "".join(f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n" for one in data)


HEALTHY_STREAM = events(CHUNK, LAST, "[DONE]")


def judged(
    body: bytes,
    content_type: str = STREAM_TYPE,
    request: dict[str, Any] | None = None,
    outcome: Outcome = "completed",
    sizes: tuple[int, ...] = (10**6,),
    may_be_several: bool = False,
) -> list[Verdict]:
    reader = BodyReader("body", request, content_type=content_type, may_be_several=may_be_several)
    entries: list[Entry] = []
    at = number = 0
    while at < len(body):
        size = sizes[number % len(sizes)]
        entries += reader.feed(body[at : at + size])
        at, number = at + size, number + 1
    return list(judge([*entries, *reader.finish(outcome)]))


def found(verdicts: list[Verdict]) -> list[tuple[str, str]]:
    return [(anomaly.type, anomaly.detail) for verdict in verdicts for anomaly, _ in verdict.anomalies]


BROKEN: dict[str, tuple[str, str, dict[str, Any] | None, str, str]] = {
    "no [DONE]": (events(CHUNK, LAST), STREAM_TYPE, None, "missing_done", "the stream ended without [DONE]"),
    "usage, and no [DONE]": (
        events(CHUNK, LAST, {"choices": [], "usage": {"total_tokens": 1}}),
        STREAM_TYPE,
        None,
        "missing_done",
        "the stream ended without [DONE]",
    ),
    "a stream as JSON": (
        HEALTHY_STREAM,
        "application/json",
        None,
        "wrong_content_type",
        "application/json instead of text/event-stream",
    ),
    "JSON as a stream": (
        json.dumps(WHOLE),
        "text/event-stream; charset=utf-8",
        None,
        "wrong_content_type",
        "text/event-stream, but the body is no stream",
    ),
    "JSON for a stream": (
        json.dumps(WHOLE),
        "application/json",
        ASKED_FOR_A_STREAM,
        "wrong_content_type",
        "application/json, though a stream was asked for",
    ),
    "JSON as text": (
        json.dumps(WHOLE),
        "text/plain",
        None,
        "wrong_content_type",
        "text/plain instead of application/json",
    ),
    "a field that there is not": (
        "message: secret\n\n" + HEALTHY_STREAM,
        STREAM_TYPE,
        None,
        "invalid_framing",
        "1 line that is no event, at byte 0 (the field message)",
    ),
    "lines that are no field": (
        "secret\n\n" + events(CHUNK) + "secret: no\n" + events(LAST, "[DONE]"),
        STREAM_TYPE,
        None,
        "invalid_framing",
        "2 lines that are no event, the first at byte 0",
    ),
    "no data": (
        events(CHUNK, "", LAST, "[DONE]"),
        STREAM_TYPE,
        None,
        "invalid_framing",
        f"1 line that is no event, at byte {len(events(CHUNK))} (no data)",
    ),
    "no blank lines": (
        HEALTHY_STREAM.replace("\n\n", "\n"),
        STREAM_TYPE,
        None,
        "invalid_framing",
        "1 line that is no event, at byte 0 (several events without a blank line between them)",
    ),
    "lines of JSON": (
        f"{json.dumps(CHUNK)}\n{json.dumps(LAST)}\n",
        "application/x-ndjson",
        None,
        "invalid_framing",
        "1 line that is no event, at byte 0 (lines of JSON)",
    ),
}
HEALTHY: dict[str, tuple[str, str, dict[str, Any] | None, Outcome]] = {
    "a stream": (HEALTHY_STREAM, STREAM_TYPE, ASKED_FOR_A_STREAM, "completed"),
    "a header that is not known": (HEALTHY_STREAM, "", None, "completed"),
    "JSON without a header": (json.dumps(WHOLE), "", ASKED_FOR_A_STREAM, "completed"),
    "JSON": (json.dumps(WHOLE), "application/json; charset=utf-8", {"messages": []}, "completed"),
    "JSON of another name": (json.dumps(WHOLE), "application/problem+json", None, "completed"),
    "an error for a stream": ('{"error": {"message": "no"}}', "application/json", ASKED_FOR_A_STREAM, "completed"),
    "an error event": (events(CHUNK, {"error": {"message": "no"}}), STREAM_TYPE, None, "completed"),
    "comments": (": hello\n\n" + events(CHUNK) + ":\n" + events(LAST, "[DONE]"), STREAM_TYPE, None, "completed"),
    "the other fields": (f"event: x\nid: 1\nretry: 5\n{HEALTHY_STREAM}", STREAM_TYPE, None, "completed"),
    "no space": (HEALTHY_STREAM.replace("data: ", "data:"), STREAM_TYPE, None, "completed"),
    "carriage returns": (HEALTHY_STREAM.replace("\n", "\r\n"), STREAM_TYPE, None, "completed"),
    "carriage returns alone": (HEALTHY_STREAM.replace("\n", "\r"), STREAM_TYPE, None, "completed"),
    "a byte order mark": (f"\ufeff{HEALTHY_STREAM}", STREAM_TYPE, None, "completed"),
    "no line end": (HEALTHY_STREAM.rstrip(), STREAM_TYPE, None, "completed"),
    "more after [DONE]": (f"{HEALTHY_STREAM}good bye\n", STREAM_TYPE, None, "completed"),
    "a caller that left at the finish reason": (events(CHUNK, LAST), STREAM_TYPE, None, "closed"),
    "a caller that left before": (events(CHUNK), STREAM_TYPE, None, "closed"),
    "a connection that broke": (events(CHUNK, LAST), STREAM_TYPE, None, "error"),
    "the Responses API": (
        events(
            {"type": "response.created", "response": {}},
            {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Hi."},
            {"type": "response.completed", "response": {}},
        ),
        STREAM_TYPE,
        None,
        "completed",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("size", [1, 7, 10**6])
def test_what_is_wrong(name: str, size: int) -> None:
    body, content_type, request, kind, detail = BROKEN[name]
    assert found(judged(body.encode(), content_type, request, sizes=(size,))) == [(kind, detail)]
    assert "secret" not in detail


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("size", [1, 7, 10**6])
def test_what_is_not(name: str, size: int) -> None:
    body, content_type, request, outcome = HEALTHY[name]
    assert found(judged(body.encode(), content_type, request, outcome, (size,))) == []


def test_a_stream_that_broke_off_lacks_its_finish_reason_only() -> None:
    assert [kind for kind, _ in found(judged(events(CHUNK).encode()))] == ["missing_finish_reason"]


def test_each_of_several_streams_is_judged() -> None:
    body = HEALTHY_STREAM + "oops\n\n" + HEALTHY_STREAM + events(CHUNK, LAST)
    verdicts = judged(body.encode(), may_be_several=True)
    assert [[anomaly.type for anomaly, _ in one.anomalies] for one in verdicts] == [
        [],
        ["invalid_framing"],
        ["missing_done"],
    ]


def test_what_came_behind_an_error_is_not_of_the_next_stream() -> None:
    body = f"error: no\n\noops\n\n{events('[DONE]')}{HEALTHY_STREAM}".encode()
    first, second = judged(body, may_be_several=True)
    assert (first.outcome, second.outcome) == ("error", "completed")
    assert [kind for kind, _ in found([first])] == ["invalid_framing"]
    assert second.anomalies == []


USAGE = {"object": "chat.completion.chunk", "choices": [], "usage": {"total_tokens": 3, "completion_tokens": 1}}
CALL = {"index": 0, "id": "call_1", "function": {"name": "f", "arguments": "{}"}}
BEHIND_DONE: dict[str, tuple[str, bool]] = {
    "usage": (events(USAGE), False),
    "usage without choices": (events({"usage": {"total_tokens": 3}}), False),
    "usage and another end": (events(USAGE, "[DONE]"), False),
    "the end again": (events("[DONE]", "[DONE]"), False),
    "nothing": (events({}, ""), False),
    "comments and other lines": (": c\n\nevent: done\n\ngood bye\n\n", False),
    "text": (events(CHUNK), True),
    "a call": (events({"choices": [{"index": 0, "delta": {"tool_calls": [CALL]}}]}, "[DONE]"), True),
    "a finish reason": (events(LAST), True),
    "an error event": (events({"error": {"message": "no"}}), True),
    "an error in a field": ('error: {"message": "no"}\n\n', True),
    "an error in a line": ('{"error": {"message": "no"}}\n\n', True),
    "what is no JSON": (events("{oops"), True),
    "an event of the Responses API": (events({"type": "response.completed", "response": {}}), True),
}


@pytest.mark.parametrize("name", BEHIND_DONE)
@pytest.mark.parametrize("size", [1, 7, 10**6])
def test_what_comes_behind_the_end_is_of_the_same_response(name: str, size: int) -> None:
    """No client reads on, so the rest changes nothing; what is lost there is a fault of the framing."""
    rest, is_fault = BEHIND_DONE[name]
    asked = ASKED_FOR_A_STREAM | {"stream_options": {"include_usage": True}}
    (one,) = judged((HEALTHY_STREAM + rest).encode(), request=asked, sizes=(size,))
    assert (one.outcome, one.note) == ("completed", "")
    assert one.recording is not None
    assert one.recording.chunk_count == 2
    offset = len(HEALTHY_STREAM)
    detail = f"1 line that is no event, at byte {offset} (behind [DONE], where no client reads)"
    # The usage that came too late is missing, too.
    expected = [("invalid_framing", detail)] if is_fault else []
    assert [entry for entry in found([one]) if entry[0] != "missing_usage"] == expected
    assert "missing_usage" in [kind for kind, _ in found([one])]


@pytest.mark.parametrize("end", ["[DONE]", ""])
def test_what_comes_behind_the_end_of_one_of_several_responses(end: str) -> None:
    """In a file of several, a chunk with another id, or none, begins a response; usage does not."""
    said = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}
    first, second = ({"id": name, **LAST, "choices": [said]} for name in ("a", "b"))
    body = events(first, "[DONE]", USAGE, {"id": "a", **CHUNK}, second, *([end] if end else []))
    one, other = judged(body.encode(), may_be_several=True)
    assert [kind for kind, _ in found([one])] == ["invalid_framing"]
    assert [kind for kind, _ in found([other])] == ([] if end else ["missing_done"])


lines = st.sampled_from(
    [": c", "event: x", "", "oops", "error: no", "data: [DONE]", f"data: {json.dumps(CHUNK)}", "data:"]
)


@settings(deadline=None)
@given(
    st.lists(lines),
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_reads_do_not_matter(body: list[str], sizes: list[int], end: str, may_be_several: bool) -> None:
    data = end.join([*body, ""]).encode()
    at_once = judged(data, may_be_several=may_be_several)
    in_pieces = judged(data, sizes=tuple(sizes), may_be_several=may_be_several)
    assert may_be_several or len(at_once) <= 1
    assert found(in_pieces) == found(at_once)
    assert [(one.outcome, one.note) for one in in_pieces] == [(one.outcome, one.note) for one in at_once]


def test_a_body_of_nothing_but_wrong_lines_is_bounded() -> None:
    reader = BodyReader("body")
    for _ in range(200):
        assert list(reader.feed(b"oops\n" * 1000)) == []
    (verdict,) = judge(reader.finish())
    ((kind, detail),) = found([verdict])
    assert kind == "invalid_framing"
    assert detail == "200000 lines that are no event, the first at byte 0"
