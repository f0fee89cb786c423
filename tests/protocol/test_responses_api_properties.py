"""What holds for any stream of the Responses API: nothing raises, nothing is lost, and the end is always read."""

from __future__ import annotations

import json
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from openai._models import construct_type

from otel_llm.config import Config
from otel_llm.demo.scripted_responses import (
    custom_tool_call,
    function_call,
    message,
    reasoning,
    refusal,
    response,
    response_events,
)
from otel_llm.diagnosis.case import Case
from otel_llm.diagnosis.judges import diagnose
from otel_llm.protocol.choice import Limits
from otel_llm.protocol.dialects import EitherEvents
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import read_request
from otel_llm.protocol.responses_api import _READERS, ResponseEvents
from otel_llm.telemetry.log_lines import log_end, log_notices
from otel_llm.telemetry.semconv import EVENT_TOOL_CALL_ARGUMENTS_DELTA, EVENT_TOOL_CALL_COMPLETED
from otel_llm.telemetry.timeline import Event, build_timeline
from tests.helpers.nonsense import Raises, RaisesForAll, leaves, misplaced, nonsense_of, with_fields
from tests.helpers.plain_text import PLAIN_TEXT
from tests.helpers.sdk_versions import needs_responses
from tests.helpers.thoroughness import examples

pytestmark = needs_responses

Events = list[Any]

TOOL = {"type": "function", "name": "add_task", "parameters": {"type": "object"}}
REQUEST = read_request({"tools": [TOOL, {"type": "custom", "name": "note"}], "stream": True}, "responses")
FEW_LIMITS = Limits(calls=3, choices=2, deltas=4, arguments=6, arguments_of_stream=12, text=3, name=3, id=2, notes=2)
OUTCOMES = st.sampled_from(["completed", "closed", "abandoned", "cancelled", "error"])
LIMITS = st.sampled_from([None, FEW_LIMITS])

KINDS = [*_READERS, "response.web_search_call.completed", "response", ""]
FIELDS = (
    *("type", "response", "item", "output_index", "item_id", "delta", "arguments", "input", "output", "status", "id"),
    *("call_id", "name", "usage", "model", "error", "code", "message", "incomplete_details", "reason", "content"),
    *("summary", "text", "refusal", "service_tier", "system_fingerprint", "object", "__dict__"),
)


# -- events --

ITEM_KINDS = st.sampled_from(["function_call", "custom_tool_call", "message", "reasoning", "web_search_call"])
CALL_IDS = st.sampled_from(["a", "a", "b", "c", "", None])
# Each is valid by itself; together, ids and names may repeat.
items = st.one_of(
    st.builds(
        lambda id_, name, text: {**function_call(name, text), "call_id": id_, "id": f"fc_{id_}"},
        CALL_IDS,
        st.sampled_from(["add_task", "add_task", "nope", ""]),
        st.sampled_from(['{"title": "a"}', "{}", "", '{"a', "[1]", "\ud83d"]),
    ),
    st.builds(
        lambda id_, text: custom_tool_call("note", text, call_id=id_), st.sampled_from("ab"), st.text(max_size=9)
    ),
    st.builds(message, st.sampled_from(["Sure.", ""])),
    st.builds(refusal, st.just("No.")),
    st.builds(reasoning, st.just("hm")),
)
streams = st.builds(
    lambda made, status, size: response_events(*made, status=status, size=size),
    st.lists(items, max_size=4),
    st.sampled_from(["completed", "completed", "incomplete", "failed"]),
    st.integers(1, 5),
)
json_values = st.recursive(
    st.one_of(
        st.sampled_from([None, True, False, 0, 1, -1, 10**30, 0.5, "", "a", "function_call", "message", "\ud83d"]),
        st.sampled_from(KINDS),
        st.text(max_size=3),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)),
    max_leaves=5,
)


@st.composite
def damaged(draw: st.DrawFn, events: Events, most: int = 5) -> Events:
    """Events of which some are lost, repeated, out of place, or have any JSON value somewhere in them."""
    events = deepcopy(events)
    for _ in range(draw(st.integers(0, most))):
        at = draw(st.integers(0, len(events)))
        change = draw(st.sampled_from(["put", "put", "put", "lose", "repeat", "insert"]))
        if change == "insert" or not events or at == len(events):
            events.insert(at, draw(json_values))
        elif change == "lose":
            del events[at]
        elif change == "repeat":
            events.insert(draw(st.integers(0, len(events))), deepcopy(events[at]))
        else:
            events[at] = draw(changed(events[at]))
    return events


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """`value` with one place of it set to any JSON value."""
    if not value or not isinstance(value, (dict, list)) or draw(st.integers(0, 3)) == 0:
        return draw(json_values)
    key: Any = draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
    value[key] = draw(changed(value[key]))
    return value


def sdk_event(event: Any) -> Any:
    """An event as the SDK constructs it from a server's JSON: without validation."""
    from openai.types.responses import ResponseStreamEvent

    try:
        return construct_type(type_=ResponseStreamEvent, value=deepcopy(event))
    except Exception:
        return event


def object_of(value: Any) -> Any:
    """The value as objects with attributes, as other SDKs and mocks have them."""
    if isinstance(value, dict):
        return with_fields({name: object_of(part) for name, part in value.items()})
    return [object_of(part) for part in value] if isinstance(value, list) else value


FORMS = st.sampled_from([lambda event: event, sdk_event, object_of])


# -- recordings --


def feed(events: Events, reader_of: Any = ResponseEvents, **options: Any) -> Recording:
    """Feed events directly, without the observation that would swallow an exception."""
    recording = Recording(declared=REQUEST.tool_names, **options)
    reader = reader_of(recording)
    for at, event in enumerate(events):
        log_notices(Config(), recording, reader.feed(event, at, at + 1) or [])
    return recording


def end(recording: Recording, outcome: Any) -> list[Event]:
    """Do all that is done at the end of a stream. Returns the events without a limit."""
    log_notices(Config(), recording, recording.end(outcome, recording.chunk_count + 1))
    anomalies = diagnose(Case(recording, REQUEST))
    limited = build_timeline(recording, anomalies, limit=20, preview=200)
    log_end(Config(), recording, limited.anomalies)
    assert len(limited.events) <= 20
    for event in limited.events:
        for value in event.attributes.values():
            if isinstance(value, str):
                value.encode()
    return build_timeline(recording, anomalies, limit=None, preview=200).events


def stands_for(events: list[Event]) -> int:
    return sum(
        int(event.attributes["otel_llm.delta.count"])
        for event in events
        if event.name == EVENT_TOOL_CALL_ARGUMENTS_DELTA
    )


def check_sums(recording: Recording, events: list[Event]) -> None:
    kept = sum(one.delta_count for one in recording.calls)
    assert stands_for(events) == kept
    assert recording.delta_count == kept + recording.over_deltas
    for one in recording.calls:
        assert [delta.length for delta in one.deltas][-1] == one.length
        assert sum(delta.stands_for for delta in one.deltas) == one.delta_count
        if not one.exceeds_limit:
            assert len(one.arguments) == one.length


CALL_SHAPE = {"type": "function_call", "id": "i", "call_id": "a", "name": "add_task", "arguments": "{}", "input": "x"}
MESSAGE_SHAPE = {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "hi", "refusal": None}]}
RESPONSE_SHAPE = {
    "id": "r",
    "object": "response",
    "model": "m",
    "status": "completed",
    "output": [CALL_SHAPE, CALL_SHAPE | {"type": "custom_tool_call", "call_id": "b"}, MESSAGE_SHAPE],
    "usage": {"input_tokens": 1},
    "error": {"code": "c", "message": "m"},
    "incomplete_details": {"reason": "max_output_tokens"},
    "service_tier": "t",
}


def shape(kind: str) -> dict[str, Any]:
    place = {"output_index": 0, "item_id": "i", "delta": "{", "arguments": "{}", "input": "x", "code": "c"}
    return {"type": kind, "item": CALL_SHAPE, "response": RESPONSE_SHAPE, **place}


def nonsense_events(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Events with a valid type, and anything in any other field."""
    fields = {name: values for name in FIELDS if name not in {"type", "__dict__"}}
    made = st.fixed_dictionaries({"type": st.sampled_from(KINDS)}, optional=fields)
    return st.one_of(made, made.map(with_fields))


nonsense = nonsense_of(FIELDS)
nonsense_streams = st.lists(
    st.one_of(
        nonsense,
        nonsense_events(leaves),
        nonsense_events(nonsense),
        *(misplaced(shape(kind), leaves) for kind in _READERS),
    ),
    max_size=6,
)


# Arguments that are no text, and raise when asked whether they are empty.
UNASKABLE = [
    SimpleNamespace(type="response.function_call_arguments.delta", output_index=0, item_id="i", delta=Raises()),
    SimpleNamespace(type="response.custom_tool_call_input.done", output_index=0, item_id="i", arguments=Raises()),
]


@given(nonsense_streams, st.sampled_from([ResponseEvents, EitherEvents]), OUTCOMES, LIMITS)
@example(UNASKABLE, ResponseEvents, "completed", None)
@settings(max_examples=examples(300))
def test_no_stream_raises(events: Events, reader_of: Any, outcome: Any, limits: Limits | None) -> None:
    recording = feed(events, reader_of, limits=limits)
    assert recording.chunk_count == len(events)
    check_sums(recording, end(recording, outcome))


@given(st.one_of(nonsense, misplaced(RESPONSE_SHAPE, leaves)), st.sampled_from([ResponseEvents, EitherEvents]))
@example(SimpleNamespace(object="response", usage=SimpleNamespace(input_tokens=RaisesForAll())), ResponseEvents)
def test_no_unstreamed_response_raises(whole: Any, reader_of: Any) -> None:
    recording = Recording(declared=REQUEST.tool_names)
    log_notices(Config(), recording, reader_of(recording).read_response(whole, 1))
    end(recording, "completed")


@given(streams.flatmap(damaged), FORMS, OUTCOMES)
@settings(max_examples=examples(200))
def test_no_delta_of_a_damaged_stream_is_lost(events: Events, form: Any, outcome: Any) -> None:
    folded, unfolded, short = (
        feed([form(event) for event in events], limits=limits) for limits in (Limits(deltas=4), None, FEW_LIMITS)
    )
    for recording in (folded, unfolded, short):
        assert recording.chunk_count == len(events)
        check_sums(recording, end(recording, outcome))
    # Folding changes the number of events, but not what they add up to.
    assert [(one.arguments, one.delta_count) for one in folded.calls] == [
        (one.arguments, one.delta_count) for one in unfolded.calls
    ]


REASONS: dict[str, set[str | None]] = {"completed": {"tool_calls", "stop"}, "incomplete": {"length"}, "failed": {None}}


@given(
    streams.flatmap(damaged),
    st.lists(items, max_size=3).flatmap(lambda made: st.one_of(st.just(made), damaged(made), json_values)),
    st.sampled_from(sorted(REASONS)),
    FORMS,
)
@settings(max_examples=examples(300))
def test_the_end_of_a_response_is_always_read(before: Events, output: Any, status: str, form: Any) -> None:
    """Whatever came before, and whatever its items are."""
    before = [event for event in before if not (isinstance(event, dict) and is_terminal(event))]
    details = {"reason": "max_output_tokens"} if status == "incomplete" else None
    error = {"code": "server_error", "message": "sorry"} if status == "failed" else None
    final = response(status=status, incomplete_details=details, error=error) | {"output": output}
    recording = feed([form(event) for event in [*before, {"type": f"response.{status}", "response": final}]])
    end(recording, "completed")
    assert recording.chunk_count == len(before) + 1
    assert as_json(recording.usage) == final["usage"]
    assert recording.response_id is not None
    assert recording.response_model is not None
    if not came_before(before, "id"):
        assert recording.response_id == final["id"]
    if not came_before(before, "model"):
        assert recording.response_model == final["model"]
    reasons = {choice.finish_reason for choice in recording.choices} or {None}
    assert reasons <= REASONS[status]
    assert (recording.failure is not None) == (status == "failed" or any(is_error(event) for event in before))


def is_terminal(event: dict[str, Any]) -> bool:
    return event.get("type") in ("response.completed", "response.incomplete", "response.failed")


def is_error(event: Any) -> bool:
    return isinstance(event, dict) and event.get("type") == "error"


def came_before(events: Events, name: str) -> bool:
    """Whether an event that may begin a response has this field."""
    for event in events:
        head = event.get("response") if isinstance(event, dict) else None
        if isinstance(head, dict) and head.get(name):
            return True
    return False


def as_json(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, dict):
        return value
    return {name: as_json(part) if hasattr(part, "__dict__") else part for name, part in vars(value).items()}


# -- healthy streams --


@given(
    st.lists(st.dictionaries(PLAIN_TEXT, PLAIN_TEXT, max_size=3), max_size=4),
    st.integers(1, 7),
    st.booleans(),
    st.booleans(),
    FORMS,
)
def test_a_healthy_stream_is_complete_and_has_no_anomalies(
    arguments: list[dict[str, str]], size: int, says: bool, ascii_only: bool, form: Any
) -> None:
    assume(says or arguments)  # else it is an empty answer
    texts = [json.dumps(value | {"n": n}, ensure_ascii=ascii_only) for n, value in enumerate(arguments)]
    made = [function_call("add_task", text, call_id=f"call_{n}") for n, text in enumerate(texts)]
    events = response_events(reasoning("hm"), *([message("Sure.")] if says else []), *made, size=size)
    recording = feed([form(event) for event in events])
    timeline = end(recording, "completed")
    assert diagnose(Case(recording, REQUEST)) == []
    assert [(one.id, one.name, one.arguments) for one in recording.calls] == [
        (f"call_{n}", "add_task", text) for n, text in enumerate(texts)
    ]
    assert len([event for event in timeline if event.name == EVENT_TOOL_CALL_COMPLETED]) == len(texts)
    check_sums(recording, timeline)
