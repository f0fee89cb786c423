"""However much a server sends, memory is bounded, work is linear, and what exceeds a limit is counted."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from otel_llm.diagnosis.case import Case
from otel_llm.diagnosis.judges import diagnose
from otel_llm.protocol import json_values
from otel_llm.protocol.choice import Limits
from otel_llm.protocol.json_values import GrowingText
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import read_request
from otel_llm.protocol.tool_call import ToolCall
from otel_llm.telemetry.semconv import EVENT_TOOL_CALL_ARGUMENTS_DELTA
from otel_llm.telemetry.timeline import build_timeline
from tests.helpers.streams import tool, types_of

MANY = 20_000
MEGABYTE = 1_048_576
REQUEST = read_request({"tools": [tool("add"), tool("add_task")]})

# Chunks are generated while they are fed, so that only what the recording keeps stays in memory.


def chunk(*deltas: Any, choice: int = 0, finish: str | None = None, content: str | None = None) -> Any:
    delta = SimpleNamespace(
        content=content, tool_calls=list(deltas) or None, function_call=None, refusal=None, __pydantic_extra__={}
    )
    choice_ = SimpleNamespace(index=choice, delta=delta, finish_reason=finish)
    return SimpleNamespace(id="chat_1", model="m", choices=[choice_], usage=None)


def call(index: Any = None, id: Any = None, name: Any = None, arguments: Any = None) -> Any:  # noqa: A002
    return SimpleNamespace(index=index, id=id, function=SimpleNamespace(name=name, arguments=arguments))


def many_calls(count: int) -> Iterator[Any]:
    for number in range(count):
        yield chunk(call(number, f"call_{number}", "add", "{"))
        yield chunk(call(number, None, None, f'"n":{number}}}'))
    yield chunk(finish="tool_calls")


def many_calls_at_one_index(count: int) -> Iterator[Any]:
    for number in range(count):
        yield chunk(call(0, f"call_{number}", "add", f'{{"n":{number}}}'))
        yield chunk(call(0, None, None, ""))
    yield chunk(finish="tool_calls")


def many_calls_without_an_index(count: int) -> Iterator[Any]:
    for number in range(count):
        yield chunk(call(None, f"call_{number}", "add", "{"))
        yield chunk(call(None, None, None, f'"n":{number}}}'))
    yield chunk(finish="tool_calls")


def many_deltas(count: int) -> Iterator[Any]:
    yield chunk(call(0, "call_1", "add", '{"a":"'))
    for number in range(count - 2):
        yield chunk(call(0, None, None, str(number % 10)))
    yield chunk(call(0, None, None, '"}'))
    yield chunk(finish="tool_calls")


def many_empty_deltas(count: int) -> Iterator[Any]:
    yield chunk(call(0, "call_1", "add", "{}"))
    for _ in range(count - 1):
        yield chunk(call(0, None, None, ""))
    yield chunk(finish="tool_calls")


def long_arguments(count: int) -> Iterator[Any]:
    yield chunk(call(0, "call_1", "add", '{"a":"'))
    for number in range(count):
        # A new string for each delta, as from a parser.
        yield chunk(call(0, None, None, f"{number % 10}" * 1024))
    yield chunk(call(0, None, None, '"}'))
    yield chunk(finish="tool_calls")


def another_id_in_every_delta(count: int) -> Iterator[Any]:
    """Whether the arguments are whole matters at each delta, and they never are."""
    for number in range(count):
        yield chunk(call(0, f"call_{number}" * 10, "add", '{"a":"}"' if number == 0 else ',"b":"{}"'))
    yield chunk(finish="tool_calls")


def another_id_in_every_digit(count: int) -> Iterator[Any]:
    """A number is whole at every digit, but the next digit belongs to it too."""
    for number in range(count):
        yield chunk(call(0, f"call_{number}", "add" if number % 2 else None, "1"))
    yield chunk(finish="tool_calls")


def another_id_in_every_letter(count: int) -> Iterator[Any]:
    for number in range(count):
        yield chunk(call(0, f"call_{number}", "add", "x"))
    yield chunk(finish="tool_calls")


def another_name_in_every_delta(count: int) -> Iterator[Any]:
    for number in range(count):
        yield chunk(call(0, "call_1", f"name_{number}" * 10, " "))
    yield chunk(finish="tool_calls")


def many_choices(count: int) -> Iterator[Any]:
    for number in range(count):
        yield chunk(call(0, "call_1", "add", "{}"), choice=number)


def much_text(count: int) -> Iterator[Any]:
    for number in range(count):
        yield chunk(content=f"{number % 10}" * 1024)
    yield chunk(finish="stop")


def long_labels(count: int) -> Iterator[Any]:
    for number in range(count):
        label = f"{number}" * 20_000
        yield chunk(call(number % 300, label, label, "{}"))
    yield chunk(finish="tool_calls")


def many_finish_reasons(count: int) -> Iterator[Any]:
    for number in range(count):
        yield chunk(finish=f"reason_{number}" * 100)


def recorded(chunks: Iterable[Any], **options: Any) -> Recording:
    recording = Recording(declared=REQUEST.tool_names, **options)
    now = 0
    for now, one in enumerate(chunks):
        recording.feed(one, now, now + 1)
    recording.end("completed", now + 2)
    return recording


# -- memory --


@pytest.mark.parametrize(
    ("chunks", "count", "megabytes"),
    [
        pytest.param(many_calls, MANY, 2, id="20,000-calls"),
        pytest.param(many_calls_at_one_index, MANY, 2, id="20,000-calls-at-one-index"),
        pytest.param(many_calls_without_an_index, MANY, 2, id="20,000-calls-without-an-index"),
        pytest.param(many_deltas, MANY, 2, id="20,000-deltas"),
        pytest.param(many_empty_deltas, MANY, 2, id="20,000-empty-deltas"),
        pytest.param(long_arguments, 10 * 1024, 4, id="10-megabytes-of-arguments"),
        pytest.param(another_id_in_every_delta, 20_000, 4, id="another-id-in-every-delta"),
        pytest.param(another_name_in_every_delta, 20_000, 2, id="another-name-in-every-delta"),
        pytest.param(many_choices, 20_000, 2, id="20,000-choices"),
        pytest.param(much_text, 10 * 1024, 2, id="10-megabytes-of-text"),
        pytest.param(long_labels, 2_000, 8, id="2,000-long-ids-and-names"),
        pytest.param(many_finish_reasons, 5_000, 1, id="5,000-finish-reasons"),
    ],
)
def test_memory_is_bounded_during_and_after_a_stream(
    chunks: Callable[[int], Iterator[Any]], count: int, megabytes: int
) -> None:
    recording = Recording(declared=REQUEST.tool_names)
    tracemalloc.start()
    try:
        for now, one in enumerate(chunks(count)):
            recording.feed(one, now, now + 1)
        recording.end("completed", count * 3)
        build_timeline(recording, diagnose(Case(recording, REQUEST)), limit=128, preview=200)
        kept, highest = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < megabytes * MEGABYTE
    # The diagnosis has the text, its parts, and its value in memory at once.
    assert highest < (4 * megabytes + 4) * MEGABYTE


def test_a_huge_index_allocates_nothing() -> None:
    tracemalloc.start()
    try:
        recording = recorded([chunk(call(10**9, "a", "add", "{}"), choice=10**9)])
        _, highest = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert recording.calls[0].index == 10**9
    assert highest < 100_000


# -- what exceeds a limit is counted --


@pytest.mark.parametrize(
    ("chunks", "deltas"),
    [
        pytest.param(many_calls, 2, id="an-index-each"),
        pytest.param(many_calls_at_one_index, 2, id="one-index"),
        pytest.param(many_calls_without_an_index, 2, id="no-index"),
    ],
)
def test_calls_beyond_the_limit_are_counted_one_by_one(chunks: Callable[[int], Iterator[Any]], deltas: int) -> None:
    recording = recorded(chunks(MANY))
    assert len(recording.calls) == 256
    assert recording.tool_call_count == MANY
    assert recording.delta_count == MANY * deltas
    assert [one.delta_count for one in recording.calls] == [deltas] * 256
    limits = [one.detail for one in diagnose(Case(recording, REQUEST)) if one.type == "limit_exceeded"]
    assert limits == [f"{MANY - 256} calls beyond 256 ({(MANY - 256) * deltas} deltas) were only counted"]
    assert "invalid_json" not in types_of(diagnose(Case(recording, REQUEST)))


def test_deltas_beyond_the_limit_are_folded_and_counted() -> None:
    recording = recorded(many_deltas(MANY))
    (one,) = recording.calls
    assert len(one.deltas) <= Limits().deltas
    assert sum(delta.stands_for for delta in one.deltas) == MANY
    assert one.length == MANY + 6
    assert diagnose(Case(recording, REQUEST)) == []
    timeline = build_timeline(recording, [], limit=128, preview=200)
    deltas = [event for event in timeline.events if event.name == EVENT_TOOL_CALL_ARGUMENTS_DELTA]
    assert 32 < len(timeline.events) <= 128
    assert sum(int(event.attributes["otel_llm.delta.count"]) for event in deltas) == MANY
    assert timeline.coalesced == MANY - len(deltas)


@pytest.mark.parametrize("most", [0, 1, 2, 128, 5_000])
def test_no_delta_is_lost_if_few_will_be_sent(most: int) -> None:
    recording = Recording()
    for now, one in enumerate(many_deltas(1_000)):
        recording.feed(one, now, now + 1)
    recording.end("completed", 9_999, None, most)
    (one,) = recording.calls
    assert 1 <= len(one.deltas) <= max(1, most)
    assert one.delta_count == 1_000
    assert one.length == len(one.arguments) == one.deltas[-1].length == 1_006


def test_a_folded_delta_shows_its_beginning() -> None:
    recording = recorded(many_deltas(MANY))
    events = build_timeline(recording, [], limit=10, preview=200).events
    shown = [event.attributes["gen_ai.tool.call.arguments"] for event in events if "arguments.delta" in event.name]
    text = recording.calls[0].arguments
    lengths = [event.attributes["otel_llm.arguments.length"] for event in events if "arguments.delta" in event.name]
    assert shown == [text[start : start + 200] for start in (0, *map(int, lengths[:-1]))]


def test_arguments_beyond_the_limit_are_measured() -> None:
    recording = recorded(long_arguments(10 * 1024))
    (one,) = recording.calls
    assert one.length == 10 * MEGABYTE + 8
    assert len(one.arguments) == MEGABYTE
    assert [found.detail for found in diagnose(Case(recording, REQUEST))] == [
        f"{10 * MEGABYTE + 8} characters of arguments, of which {MEGABYTE} were kept"
    ]


def test_arguments_of_all_calls_together_are_bounded() -> None:
    chunks = [chunk(call(number, f"call_{number}", "add", "x" * MEGABYTE)) for number in range(20)]
    recording = recorded(chunks)
    assert sum(len(one.arguments) for one in recording.calls) == 8 * MEGABYTE
    assert all(one.length == MEGABYTE for one in recording.calls)


@pytest.mark.parametrize("position", [127, 128, 129, 1_000])
def test_the_last_choices_beyond_the_limit_are_counted(position: int) -> None:
    recording = recorded(many_choices(position))
    assert len(recording.choices) == min(position, 128)
    assert recording.over_choices == max(0, position - 128)
    # Each choice kept also lacks a finish reason.
    assert types_of(diagnose(Case(recording, REQUEST))).count("limit_exceeded") == (position > 128)


# -- work --


def steps_of(chunks: Callable[[int], Iterator[Any]], count: int) -> int:
    """How many functions, built-in ones included, are called for a stream, from its first chunk to its events."""
    stream = list(chunks(count))
    steps = 0

    def count_call(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal steps
        if event in {"call", "c_call"}:
            steps += 1

    before = sys.getprofile()
    sys.setprofile(count_call)
    try:
        recording = recorded(stream)
        build_timeline(recording, diagnose(Case(recording, REQUEST)), limit=128, preview=200)
    finally:
        sys.setprofile(before)
    return steps


@pytest.mark.parametrize(
    "chunks",
    [
        many_calls,
        many_calls_at_one_index,
        many_calls_without_an_index,
        many_deltas,
        many_empty_deltas,
        long_arguments,
        another_id_in_every_delta,
        another_name_in_every_delta,
        many_choices,
        much_text,
        many_finish_reasons,
    ],
)
def test_twice_as_long_a_stream_is_twice_the_work(chunks: Callable[[int], Iterator[Any]]) -> None:
    assert steps_of(chunks, 6_000) < 2.2 * steps_of(chunks, 3_000)


@pytest.mark.parametrize(
    "chunks",
    [
        another_id_in_every_delta,
        another_id_in_every_digit,
        another_id_in_every_letter,
        many_calls_at_one_index,
        many_deltas,
        long_arguments,
        many_empty_deltas,
    ],
)
def test_a_character_is_read_a_few_times_at_most(
    chunks: Callable[[int], Iterator[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = 0

    def counted(function: Callable[..., Any], size: Callable[[Any, Any], int]) -> Callable[..., Any]:
        def count(*args: Any) -> Any:
            nonlocal looked_at
            result = function(*args)
            looked_at += size(args[-1], result)
            return result

        return count

    monkeypatch.setattr(GrowingText, "feed", counted(GrowingText.feed, lambda text, _: len(text)))
    monkeypatch.setattr(json_values, "read", counted(json_values.read, lambda text, _: len(text)))
    monkeypatch.setattr(ToolCall, "arguments_so_far", counted(ToolCall.arguments_so_far, lambda _, result: len(result)))
    stream = list(chunks(8_000))
    sent = sum(len(delta.function.arguments) for one in stream for delta in one.choices[0].delta.tool_calls or ())
    recording = recorded(stream)
    diagnose(Case(recording, REQUEST))
    # A number or a word, being short, may be read once for each of its characters.
    assert looked_at <= 4 * sent + 10_000


def test_a_second_end_has_no_notices() -> None:
    recording = recorded(many_deltas(10))
    assert recording.end("error", 99) == []
    assert recording.outcome == "completed"
