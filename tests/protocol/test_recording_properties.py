"""What holds for any stream: nothing raises, nothing is lost, and healthy streams have no anomalies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_llm.config import Config
from otel_llm.demo.scripted_server import ABSENT
from otel_llm.diagnosis.case import Case
from otel_llm.diagnosis.judges import diagnose
from otel_llm.protocol.choice import Limits
from otel_llm.protocol.fields import field
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest, read_request
from otel_llm.telemetry.log_lines import log_end, log_notices, log_request
from otel_llm.telemetry.semconv import EVENT_ANOMALY, EVENT_TOOL_CALL_ARGUMENTS_DELTA, EVENT_TOOL_CALL_COMPLETED
from otel_llm.telemetry.timeline import Event, build_timeline
from tests.helpers.nonsense import leaves, misplaced, nonsense_of
from tests.helpers.plain_text import PLAIN_TEXT
from tests.helpers.streams import (
    REQUEST_FIELDS,
    Chunk,
    call,
    calls,
    custom_call,
    ends,
    legacy,
    record,
    says,
    sdk_chunk,
    tool,
)
from tests.helpers.thoroughness import examples

OUTCOMES = ["completed", "closed", "abandoned", "cancelled", "error"]
FEW_LIMITS = Limits(calls=3, choices=2, deltas=4, arguments=6, arguments_of_stream=12, text=3, name=3, id=2, notes=2)


def one_of(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


# -- any stream of the protocol's shape, valid or not --

INDEXES = one_of(0, 0, 0, 1, 2, ABSENT, None, -1, 10**9, 2**70, "0")
IDS = one_of(ABSENT, ABSENT, None, "", "a", "b", "a\ud83d", "long" * 10)
NAMES = one_of(ABSENT, ABSENT, None, "", "add", "add_", "task", "nope", "\ude00")
PIECES = one_of(ABSENT, None, "", "{", "}", "{}", '{"a":"', '\\"', "\\", " ", "1", "\ud83d", "\ude00", "é", {}, [1], 5)
REASONS = one_of(None, "", "tool_calls", "stop", "length", "content_filter")

call_deltas = st.builds(call, INDEXES, IDS, NAMES, PIECES)
custom_deltas = st.builds(custom_call, INDEXES, IDS, NAMES, PIECES)
chunks_of_calls = st.builds(
    lambda deltas, choice, reason: calls(*deltas, choice=choice, finish=reason),
    st.lists(st.one_of(call_deltas, call_deltas, custom_deltas), min_size=1, max_size=4),
    one_of(0, 0, 1, None, 7),
    one_of(None, None, None, "tool_calls", "length"),
)
any_streams = st.lists(
    st.one_of(
        chunks_of_calls,
        chunks_of_calls,
        st.builds(lambda name, piece: legacy(name, piece), NAMES, PIECES),
        st.builds(says, one_of("", "Hi", None)),
        st.builds(lambda reason, choice: ends(reason, choice=choice), REASONS, one_of(0, 0, 1)),
    ),
    max_size=30,
)
any_requests = st.one_of(
    st.none(),
    st.builds(
        lambda tools, choice, parallel: read_request(
            {"tools": [tool(name) for name in tools], "tool_choice": choice, "parallel_tool_calls": parallel}
        ),
        st.lists(one_of("add", "add_task", "nope"), unique=True),
        one_of("auto", "none", "required", {"type": "function", "function": {"name": "add"}}),
        one_of(True, False, None),
    ),
)


def deltas_in(chunks: list[Chunk]) -> int:
    """Tool-call deltas that the server sent."""
    count = 0
    for chunk in chunks:
        for choice in chunk["choices"]:
            count += len(choice["delta"].get("tool_calls") or ())
            function_call = choice["delta"].get("function_call") or {}
            # With neither a name nor arguments, it is no call.
            count += bool(function_call.get("name") or function_call.get("arguments"))
    return count


def delta_events(events: list[Event]) -> list[Event]:
    return [event for event in events if event.name == EVENT_TOOL_CALL_ARGUMENTS_DELTA]


def stands_for(events: list[Event]) -> int:
    return sum(int(event.attributes["otel_llm.delta.count"]) for event in delta_events(events))


def lifecycle(events: list[Event]) -> list[Event]:
    return [event for event in events if event.name not in {EVENT_TOOL_CALL_ARGUMENTS_DELTA, EVENT_ANOMALY}]


@given(any_streams, any_requests, one_of(*OUTCOMES), one_of(None, FEW_LIMITS))
def test_no_delta_is_lost_and_lengths_only_grow(
    chunks: list[Chunk], request_: ChatRequest | None, outcome: Any, limits: Limits | None
) -> None:
    recording = record(chunks, request_, outcome, limits=limits)
    assert recording.chunk_count == len(chunks)
    if not recording.over_choices:
        assert recording.delta_count == deltas_in(chunks)
        assert sum(one.delta_count for one in recording.calls) + recording.over_deltas == deltas_in(chunks)
    for one in recording.calls:
        lengths = [delta.length for delta in one.deltas]
        assert lengths == sorted(lengths)
        assert lengths[-1] == one.length
        assert all(delta.stands_for >= 1 for delta in one.deltas)
        assert [delta.time_ns for delta in one.deltas] == sorted(delta.time_ns for delta in one.deltas)
        if not one.exceeds_limit:
            assert len(one.arguments) == one.length


@given(any_streams, any_requests, one_of(*OUTCOMES), st.integers(1, 60), one_of(0, 3, 200, None))
def test_events_fit_any_limit_and_stand_for_every_delta(
    chunks: list[Chunk], request_: ChatRequest | None, outcome: Any, limit: int, preview: int | None
) -> None:
    recording = record(chunks, request_, outcome, preview=preview or 0)
    anomalies = diagnose(Case(recording, request_))
    unlimited = build_timeline(recording, anomalies, limit=None, preview=preview)
    limited = build_timeline(recording, anomalies, limit=limit, preview=preview)

    assert len(limited.events) <= limit
    assert stands_for(unlimited.events) == deltas_in(chunks)
    assert unlimited.anomalies == anomalies
    least = len(lifecycle(unlimited.events)) + len(recording.calls) + len(anomalies)
    if least <= limit:
        assert lifecycle(limited.events) == lifecycle(unlimited.events)
        assert stands_for(limited.events) == deltas_in(chunks)
        assert limited.anomalies == anomalies
        assert limited.coalesced == deltas_in(chunks) - len(delta_events(limited.events))
    else:
        *named, lost = limited.anomalies
        assert named == anomalies
        assert lost.type == "limit_exceeded"
        assert lost.detail.startswith(f"{least + 1 - limit} of ")
        assert len(limited.events) == limit
    times = [event.time_ns for event in limited.events]
    assert times == sorted(times)


@given(any_streams, any_requests, one_of(*OUTCOMES))
def test_the_last_delta_and_the_completed_event_match_the_call(
    chunks: list[Chunk], request_: ChatRequest | None, outcome: Any
) -> None:
    recording = record(chunks, request_, outcome)
    # One call at a time, because an index may be used twice.
    for one in recording.calls:
        for choice in recording.choices:
            choice.calls = [one] if choice.index == one.choice_index else []
        events = build_timeline(recording, [], limit=None, preview=200).events
        deltas = delta_events(events)
        assert deltas[-1].attributes["otel_llm.arguments.length"] == one.length
        assert stands_for(events) == one.delta_count
        for completed in (event for event in events if event.name == EVENT_TOOL_CALL_COMPLETED):
            assert completed.attributes["otel_llm.arguments.length"] == one.length
            assert completed.attributes["otel_llm.delta.count"] == one.delta_count


@given(any_streams, any_requests, one_of(*OUTCOMES), one_of(None, FEW_LIMITS), st.integers(1, 20))
def test_events_can_be_encoded_and_are_short(
    chunks: list[Chunk], request_: ChatRequest | None, outcome: Any, limits: Limits | None, preview: int
) -> None:
    recording = record(chunks, request_, outcome, limits=limits, preview=preview)
    for event in build_timeline(recording, diagnose(Case(recording, request_)), limit=20, preview=preview).events:
        for name, value in event.attributes.items():
            if isinstance(value, str):
                value.encode()
            else:
                assert -(2**63) <= value < 2**63
            if name == "gen_ai.tool.call.arguments":
                assert len(str(value)) <= preview


# -- anything at all --

FIELDS = (
    *("choices", "usage", "id", "model", "index", "finish_reason", "delta", "message", "content", "refusal"),
    *("tool_calls", "function_call", "function", "custom", "name", "arguments", "input", "reasoning", "extra"),
    *("reasoning_content", "__pydantic_extra__", "__dict__", "service_tier", "system_fingerprint"),
)
nonsense = nonsense_of(FIELDS)
CALL_SHAPE = {"index": 0, "id": "a", "function": {"name": "add", "arguments": "{}"}, "custom": None}
CHUNK_SHAPE: dict[str, Any] = {
    "usage": None,
    "choices": [
        {
            "index": 0,
            "finish_reason": None,
            "delta": {
                "content": None,
                "tool_calls": [CALL_SHAPE, CALL_SHAPE],
                "function_call": {"name": "add", "arguments": "{}"},
                "__pydantic_extra__": {"reasoning": "hm"},
            },
        }
    ],
}
nonsense_chunks = st.lists(
    st.one_of(nonsense, misplaced(CHUNK_SHAPE, leaves), misplaced(CHUNK_SHAPE, nonsense)), max_size=5
)


@given(nonsense_chunks, one_of(*OUTCOMES), one_of(None, FEW_LIMITS))
@settings(max_examples=examples(300))
def test_no_stream_raises(chunks: list[Any], outcome: Any, limits: Limits | None) -> None:
    request_ = read_request({"tools": [tool("add")]})
    recording = Recording(declared=request_.tool_names, limits=limits)
    config = Config()
    for at, chunk in enumerate(chunks):
        log_notices(config, recording, recording.feed(chunk, at, at + 1) or [])
    log_notices(config, recording, recording.end(outcome, len(chunks) + 1))
    assert recording.chunk_count == len(chunks)
    anomalies = diagnose(Case(recording, request_))
    timeline = build_timeline(recording, anomalies, limit=20, preview=200)
    log_end(config, recording, timeline.anomalies)
    assert stands_for(build_timeline(recording, anomalies, limit=None, preview=None).events) == sum(
        one.delta_count for one in recording.calls
    )


@given(
    st.one_of(
        nonsense, misplaced({**CHUNK_SHAPE, "choices": [{"message": CHUNK_SHAPE["choices"][0]["delta"]}]}, leaves)
    )
)
def test_no_unstreamed_response_raises(response: Any) -> None:
    recording = Recording(declared=frozenset({"add"}))
    log_notices(Config(), recording, recording.read_response(response, 1))
    recording.end("completed", 2)
    build_timeline(recording, diagnose(Case(recording)), limit=20, preview=200)


@given(st.dictionaries(st.sampled_from(REQUEST_FIELDS), nonsense))
def test_no_request_raises(kwargs: dict[str, Any]) -> None:
    log_request(read_request(kwargs))


@given(nonsense, st.sampled_from(FIELDS))
def test_reading_a_field_never_raises(thing: Any, name: str) -> None:
    field(thing, name)


# -- healthy streams --

NAME = st.text("abc_", min_size=1, max_size=6)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), PLAIN_TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(PLAIN_TEXT, inner, max_size=3)),
    max_leaves=6,
)
SPELLINGS: list[dict[str, Any]] = [{}, {"ensure_ascii": False}, {"indent": 1}, {"separators": (",", ":")}]


def halves(text: str) -> str:
    """`text` with each character beyond 16 bits as a surrogate pair, which a server may cut in two."""
    units = text.encode("utf-16-be")
    return "".join(chr(int.from_bytes(units[at : at + 2], "big")) for at in range(0, len(units), 2))


@st.composite
def cuts(draw: st.DrawFn, text: str, most: int = 6) -> list[str]:
    """Pieces that join to `text`, empty ones included."""
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=most)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


@st.composite
def calls_of_a_choice(draw: st.DrawFn, names: list[str], choice: int) -> list[list[tuple[int, Any]]]:
    """The deltas of each call of the choice, in order."""
    made = []
    indexes = draw(st.lists(st.integers(0, 2**40), unique=True, max_size=4))
    for number, index in enumerate(indexes):
        name = draw(st.sampled_from(names))
        value = draw(st.dictionaries(PLAIN_TEXT, json_values, max_size=3)) | {"number of the call": number}
        text = json.dumps(value, **draw(one_of(*SPELLINGS)))
        if draw(st.booleans()):
            text = halves(text)
        pieces = draw(cuts(text))
        id_ = f"call_{choice}_{number}"
        begins_with_another = any(name != other and name.startswith(other) for other in names)
        name_pieces = [name] if begins_with_another else draw(cuts(name, 2))
        deltas = [call(index, id_, piece or ABSENT) for piece in name_pieces]
        repeats = draw(st.booleans())
        deltas += [call(index, id_ if repeats else ABSENT, ABSENT, piece) for piece in pieces]
        made.append([(choice, delta) for delta in deltas])
    return made


@st.composite
def healthy_streams(draw: st.DrawFn) -> tuple[list[Chunk], ChatRequest]:
    names = draw(st.lists(NAME, min_size=1, max_size=4, unique=True))
    chunks: list[Chunk] = []
    waiting: list[list[tuple[int, Any]]] = []
    reasons = {}
    for choice in range(draw(st.integers(1, 3))):
        texts = draw(st.lists(PLAIN_TEXT, max_size=2))
        chunks += [says(text, choice=choice) for text in texts]
        of_choice = draw(calls_of_a_choice(names, choice))
        if not of_choice:
            chunks.append(says("That is all.", choice=choice))
        reasons[choice] = "tool_calls" if of_choice else draw(one_of("stop", "length", "content_filter"))
        waiting += of_choice
    while waiting:
        queue = draw(st.sampled_from(waiting))
        choice, first = queue.pop(0)
        together = [first]
        # A chunk may have deltas of several calls of the choice.
        for other in waiting:
            if other and other[0][0] == choice and draw(st.booleans()):
                together += [other.pop(0)[1]]
        chunks.append(calls(*together, choice=choice))
        waiting = [queue for queue in waiting if queue]
    chunks += [ends(reason, choice=choice) for choice, reason in reasons.items()]
    return chunks, read_request({"tools": [tool(name) for name in names], "tool_choice": "auto"})


@given(healthy_streams())
def test_a_healthy_stream_has_no_anomalies(stream: tuple[list[Chunk], ChatRequest]) -> None:
    chunks, request_ = stream
    recording = record(chunks, request_)
    assert diagnose(Case(recording, request_)) == []
    assert recording.delta_count == deltas_in(chunks)
    for one in recording.calls:
        assert one.name in (request_.tools or {})
        assert isinstance(json.loads(one.arguments), dict)


@given(healthy_streams(), st.data(), one_of("closed", "abandoned", "cancelled", "error"))
def test_a_healthy_stream_that_is_stopped_has_no_anomalies(
    stream: tuple[list[Chunk], ChatRequest], data: st.DataObject, outcome: Any
) -> None:
    chunks, request_ = stream
    part = chunks[: data.draw(st.integers(0, len(chunks)))]
    assert diagnose(Case(record(part, request_, outcome), request_)) == []


fragments = st.lists(
    st.one_of(one_of("{", "}", '"a":', '"', "\\", "\\ud83d", "[", "]", "1", "NaN", " ", "\ud83d", "\ude00"), st.text()),
    max_size=12,
).map("".join)


@given(st.data(), st.one_of(fragments, json_values.map(json.dumps), json_values.map(json.dumps).map(lambda t: t + t)))
def test_any_cut_of_the_arguments_gives_the_same(data: st.DataObject, text: str) -> None:
    request_ = read_request({"tools": [tool("add", "title")]})

    def judged(pieces: list[str], outcome: Any, reason: str | None) -> Any:
        first, *rest = pieces
        chunks = [
            calls(call(0, "a", "add", first)),
            *(calls(call(0, arguments=piece)) for piece in rest),
            *([ends(reason)] if reason else []),
        ]
        recording = record(chunks, request_, outcome)
        (one,) = recording.calls
        return one.arguments, one.length, diagnose(Case(recording, request_))

    outcome, reason = data.draw(one_of(("completed", "tool_calls"), ("completed", "length"), ("closed", None)))
    whole = judged([text], outcome, reason)
    assert judged(data.draw(cuts(text)), outcome, reason) == whole
    assert judged(list(text) or [""], outcome, reason) == whole


@given(st.data(), fragments)
def test_any_cut_before_a_second_call_at_an_index_gives_the_same(data: st.DataObject, text: str) -> None:
    """Whether the first call is whole is decided at different times, from different pieces."""

    def judged(pieces: list[str]) -> Any:
        chunks = [
            calls(call(0, "a", "add", "")),
            *(calls(call(0, arguments=piece)) for piece in pieces),
            calls(call(0, "b", "add", "{}")),
            ends(),
        ]
        recording = record(chunks)
        return [(one.id, one.arguments) for one in recording.calls], diagnose(Case(recording))

    assert judged(data.draw(cuts(text))) == judged([text])


@given(healthy_streams())
def test_chunks_of_the_sdk_and_mappings_are_read_alike(stream: tuple[list[Chunk], ChatRequest]) -> None:
    chunks, request_ = stream
    of_sdk = record([sdk_chunk(chunk) for chunk in chunks], request_)
    of_mappings = Recording(declared=request_.tool_names)
    for at, chunk in enumerate(chunks):
        of_mappings.feed(chunk, at, at + 1)
    of_mappings.end("completed", len(chunks) + 1)
    assert [(one.id, one.name, one.index, one.arguments) for one in of_mappings.calls] == [
        (one.id, one.name, one.index, one.arguments) for one in of_sdk.calls
    ]
    assert diagnose(Case(of_mappings, request_)) == []


@pytest.mark.parametrize("limit", [1, 2, 128])
def test_an_empty_recording_has_few_events(limit: int) -> None:
    recording = Recording()
    recording.end("completed", 5)
    timeline = build_timeline(recording, diagnose(Case(recording)), limit=limit, preview=200)
    assert [event.name for event in timeline.events] == [EVENT_ANOMALY]
    assert timeline.coalesced == 0
