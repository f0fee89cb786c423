"""The events of a response: names and attributes of the contract, in order, within the limit."""

from __future__ import annotations

from typing import Any

import pytest

from otel_llm.demo.scripted_server import ABSENT, chunk
from otel_llm.diagnosis.case import Anomaly, Case
from otel_llm.diagnosis.judges import diagnose
from otel_llm.protocol.recording import Recording
from otel_llm.telemetry.timeline import Timeline, build_timeline
from tests.helpers.streams import STEP_NS, Chunk, call, calls, ends, record, says, sdk_completion, whole_call

TITLE = '{"title":"Test"}'


def timeline(
    chunks: list[Chunk], *, limit: int | None = None, preview: int | None = 200, outcome: Any = "completed"
) -> Timeline:
    recording = record(chunks, outcome=outcome)
    return build_timeline(recording, diagnose(Case(recording)), limit=limit, preview=preview)


def names(built: Timeline) -> list[str]:
    return [event.name.removeprefix("otel_llm.") for event in built.events]


INDEXES = {"otel_llm.choice.index": 0, "otel_llm.tool_call.index": 2}


def test_the_life_of_a_call_has_the_names_attributes_and_times_of_the_contract() -> None:
    chunks = [
        chunk({"reasoning_content": "hm"}),
        says("Sure."),
        calls(call(2, "call_1", "add_task", "")),
        calls(call(2, arguments='{"title":')),
        calls(call(2, arguments='"Test"}')),
        ends("tool_calls"),
    ]
    ident, name, args = "gen_ai.tool.call.id", "gen_ai.tool.name", "gen_ai.tool.call.arguments"
    count, length = "otel_llm.delta.count", "otel_llm.arguments.length"
    delta = "otel_llm.tool_call.arguments.delta"
    completed = {ident: "call_1", name: "add_task", args: TITLE, length: 16, count: 3}
    assert [tuple(event) for event in timeline(chunks).events] == [
        ("otel_llm.reasoning.started", 1 * STEP_NS, {"otel_llm.choice.index": 0}),
        ("otel_llm.text.started", 2 * STEP_NS, {"otel_llm.choice.index": 0}),
        ("otel_llm.tool_call.detected", 3 * STEP_NS, INDEXES | {ident: "call_1"}),
        ("otel_llm.tool_call.name", 3 * STEP_NS, INDEXES | {name: "add_task"}),
        (delta, 3 * STEP_NS, INDEXES | {args: "", count: 1, length: 0}),
        (delta, 4 * STEP_NS, INDEXES | {args: '{"title":', count: 1, length: 9}),
        (delta, 5 * STEP_NS, INDEXES | {args: '"Test"}', count: 1, length: 16}),
        ("otel_llm.tool_call.completed", 6 * STEP_NS, INDEXES | completed),
        ("otel_llm.finish_reason", 6 * STEP_NS, {"otel_llm.finish_reason": "tool_calls", "otel_llm.choice.index": 0}),
    ]


def test_an_anomaly_comes_at_the_end_with_its_indexes() -> None:
    built = timeline([*whole_call(arguments="{", index=2), ends()])
    last = built.events[-1]
    assert last.name == "otel_llm.anomaly"
    assert last.time_ns == 4 * STEP_NS
    assert last.attributes == INDEXES | {
        "otel_llm.anomaly.type": "invalid_json",
        "otel_llm.anomaly.detail": built.anomalies[0].detail,
    }


def test_an_anomaly_of_the_stream_has_no_indexes() -> None:
    built = timeline([])
    assert set(built.events[0].attributes) == {"otel_llm.anomaly.type", "otel_llm.anomaly.detail"}


def test_whole_calls_in_one_chunk_follow_one_another() -> None:
    built = timeline([calls(call(0, "a", "add", "{}"), call(1, "b", "sub", "{}"), finish="tool_calls")])
    life = ["tool_call.detected", "tool_call.name", "tool_call.arguments.delta"]
    assert names(built) == [*life, *life, "tool_call.completed", "tool_call.completed", "finish_reason"]


def test_an_interrupted_call_is_not_completed() -> None:
    assert names(timeline(whole_call(arguments="{"), outcome="closed")) == [
        "tool_call.detected",
        "tool_call.name",
        "tool_call.arguments.delta",
        "tool_call.arguments.delta",
    ]


def test_without_a_finish_reason_a_call_is_completed_at_the_end() -> None:
    built = timeline(whole_call(arguments=""))
    assert names(built)[-2:] == ["tool_call.completed", "anomaly"]
    assert built.events[-2].time_ns == built.events[-1].time_ns


def test_a_late_delta_comes_before_its_call_is_completed() -> None:
    built = timeline([*whole_call(arguments="{}"), ends(), calls(call(0, arguments=" "))])
    assert names(built)[-4:] == ["finish_reason", "tool_call.arguments.delta", "tool_call.completed", "anomaly"]


def test_facts_that_never_came_are_in_no_event() -> None:
    built = timeline([calls(call(0)), ends()])
    assert names(built)[:3] == ["tool_call.detected", "tool_call.arguments.delta", "tool_call.completed"]
    for event in built.events:
        assert not {"gen_ai.tool.name", "gen_ai.tool.call.id"} & set(event.attributes)


def test_every_different_finish_reason_has_an_event() -> None:
    built = timeline([*whole_call(), ends("stop"), ends("stop"), ends("tool_calls")])
    reasons = [event.attributes["otel_llm.finish_reason"] for event in built.events if "finish_reason" in event.name]
    assert reasons == ["stop", "tool_calls"]


def test_a_whole_response_has_no_deltas() -> None:
    recording = Recording()
    message = {"tool_calls": [{"id": "a", "type": "function", "function": {"name": "add", "arguments": TITLE}}]}
    recording.read_response(sdk_completion(message, "tool_calls"), 5)
    recording.end("completed", 6)
    built = build_timeline(recording, [], limit=128, preview=200)
    assert names(built) == ["tool_call.detected", "tool_call.name", "tool_call.completed", "finish_reason"]
    assert built.events[2].attributes["otel_llm.delta.count"] == 1
    assert built.coalesced == 0


# -- arguments --


@pytest.mark.parametrize(
    ("preview", "shown"), [(200, "x" * 200), (3, "xxx"), (0, ""), (None, ABSENT)], ids=["200", "3", "0", "off"]
)
def test_arguments_are_cut_at_the_preview_or_absent(preview: int | None, shown: Any) -> None:
    built = timeline([calls(call(0, "a", "add", "x" * 500)), ends()], preview=preview)
    held = [event for event in built.events if "delta" in event.name or "completed" in event.name]
    assert [event.attributes.get("gen_ai.tool.call.arguments", ABSENT) for event in held] == [shown, shown]
    assert [event.attributes["otel_llm.arguments.length"] for event in held] == [500, 500]


def test_lone_surrogates_are_escaped_in_deltas_and_joined_in_the_whole() -> None:
    built = timeline([calls(call(0, "a", "add", '"\ud83d')), calls(call(0, arguments='\ude00"')), ends()])
    shown = [
        (event.attributes["gen_ai.tool.call.arguments"], event.attributes["otel_llm.arguments.length"])
        for event in built.events
        if "gen_ai.tool.call.arguments" in event.attributes
    ]
    assert shown == [('"\\ud83d', 2), ('\\ude00"', 3), ('"\U0001f600"', 3)]


def test_escapes_do_not_exceed_the_preview() -> None:
    built = timeline([calls(call(0, "a", "add", "\ud83d!" * 500)), ends()])
    held = [event.attributes.get("gen_ai.tool.call.arguments", "") for event in built.events]
    assert {len(str(text)) for text in held} == {0, 200}


# -- limits --


def folded(limit: int, deltas: int) -> tuple[list[int], Timeline]:
    chunks = [
        calls(call(0, "a", "add", "")),
        *(calls(call(0, arguments=" ")) for _ in range(deltas - 1)),
        ends("tool_calls"),
    ]
    built = timeline(chunks, limit=limit)
    counts = [event.attributes["otel_llm.delta.count"] for event in built.events if "arguments.delta" in event.name]
    return [int(count) for count in counts], built


@pytest.mark.parametrize(
    ("limit", "deltas", "counts"),
    [
        pytest.param(14, 10, [1] * 10, id="all-fit"),
        pytest.param(13, 9, [1] * 9, id="just"),
        pytest.param(13, 10, [2, 2, 3, 3], id="one-too-many"),
        pytest.param(9, 10, [5, 5], id="half"),
        pytest.param(5, 10, [10], id="one-is-left"),
    ],
)
def test_deltas_that_do_not_fit_are_folded_to_half_the_room(limit: int, deltas: int, counts: list[int]) -> None:
    # Beside them: detected, name, completed, finish reason.
    built, whole = folded(limit, deltas)
    assert sorted(built) == sorted(counts)
    assert len(whole.events) <= limit
    assert whole.coalesced == deltas - len(counts)
    assert [anomaly.type for anomaly in whole.anomalies] == []


def test_calls_share_the_room_by_their_length() -> None:
    chunks = [
        calls(call(0, "a", "add", ""), call(1, "b", "sub", "{}")),
        *(calls(call(0, arguments=" ")) for _ in range(59)),
        ends(),
    ]
    built = timeline(chunks, limit=20)
    counts: dict[Any, list[Any]] = {0: [], 1: []}
    for event in built.events:
        if "arguments.delta" in event.name:
            counts[event.attributes["otel_llm.tool_call.index"]].append(event.attributes["otel_llm.delta.count"])
    assert counts[1] == [1]
    assert sum(counts[0]) == 60
    assert len(counts[0]) == 5
    assert max(counts[0]) - min(counts[0]) <= 1


@pytest.mark.parametrize(
    ("limit", "left_out"),
    [
        (17, []),
        (16, ["arguments.delta"] * 2),
        (14, ["arguments.delta"] * 4),
        (13, ["arguments.delta"] * 4 + ["name"]),
        (10, ["arguments.delta"] * 4 + ["name"] * 4),
        (9, ["arguments.delta"] * 4 + ["name"] * 4 + ["detected"]),
        (6, ["arguments.delta"] * 4 + ["name"] * 4 + ["detected"] * 4),
        (2, ["arguments.delta"] * 4 + ["name"] * 4 + ["detected"] * 4 + ["completed"] * 4),
        (1, ["arguments.delta"] * 4 + ["name"] * 4 + ["detected"] * 4 + ["completed"] * 4 + ["finish_reason"]),
    ],
)
def test_if_folding_is_not_enough_repeated_facts_are_omitted_first(limit: int, left_out: list[str]) -> None:
    deltas = [call(n, f"call_{n}", f"tool_{n}", "{}") for n in range(4)]
    built = timeline([calls(*deltas), ends()], limit=limit)
    kept = names(built)
    assert len(kept) == limit
    everything = ["detected", "name", "arguments.delta", "completed"] * 4
    everything = [f"tool_call.{name}" for name in everything] + ["finish_reason"]
    if left_out:
        everything.append("anomaly")
        (lost,) = built.anomalies
        assert (lost.type, lost.detail) == (
            "limit_exceeded",
            f"{len(left_out)} of 17 events did not fit the span's {limit}",
        )
    for name in left_out:
        everything.remove(name if name == "finish_reason" else f"tool_call.{name}")
    assert sorted(kept) == sorted(everything)


def test_all_anomalies_are_shown_if_they_fit() -> None:
    deltas = [call(n, None, f"tool_{n}", "[]") for n in range(20)]
    built = timeline([calls(*deltas), ends()], limit=128)
    assert names(built).count("anomaly") == 40
    assert len(built.anomalies) == 40


def test_deltas_are_omitted_before_anomalies() -> None:
    recording = record([calls(*[call(n, f"call_{n}", f"tool_{n}", "{}") for n in range(10)]), ends()])
    anomalies = [Anomaly("invalid_json", f"number {n}") for n in range(20)]
    # 41 events besides the anomalies; 10 of them are deltas.
    built = build_timeline(recording, anomalies, limit=55, preview=200)
    assert names(built).count("anomaly") == 21
    assert names(built).count("tool_call.arguments.delta") == 3


def test_thousands_of_anomalies_do_not_displace_the_events_of_calls() -> None:
    recording = record([*whole_call(), ends()])
    anomalies = [Anomaly("invalid_json", f"number {n}") for n in range(1000)] + [Anomaly("stalled", "11 s")]
    built = build_timeline(recording, anomalies, limit=32, preview=200)
    kept = names(built)
    assert len(kept) == 32
    assert {"tool_call.detected", "tool_call.name", "tool_call.completed", "finish_reason"} <= set(kept)
    shown = [event.attributes["otel_llm.anomaly.type"] for event in built.events if event.name == "otel_llm.anomaly"]
    assert set(shown) == {"invalid_json", "stalled", "limit_exceeded"}
    assert len(built.anomalies) == 1002


@pytest.mark.parametrize("limit", [0, -5])
def test_a_span_without_room_gets_no_events(limit: int) -> None:
    assert timeline([*whole_call(), ends()], limit=limit).events == []


def many_deltas(count: int, *, index: int = 0) -> list[Chunk]:
    return [
        calls(call(index, f"call_{index}", "add_task", "")),
        *(calls(call(index, arguments=" ")) for _ in range(count - 1)),
    ]


@pytest.mark.parametrize(("calls_made", "delta_limit"), [(1, 0), (1, 1), (1, 7), (3, 2), (3, 3), (3, 10), (5, 1000)])
def test_an_option_limits_the_events_of_deltas(calls_made: int, delta_limit: int) -> None:
    chunks = [chunk for index in range(calls_made) for chunk in many_deltas(20, index=index)]
    recording = record([*chunks, ends("tool_calls")])
    whole = build_timeline(recording, [], limit=None, preview=200)
    built = build_timeline(recording, [], limit=None, preview=200, delta_limit=delta_limit)
    deltas = [event for event in built.events if event.name == "otel_llm.tool_call.arguments.delta"]
    assert len(deltas) == min(delta_limit, 20 * calls_made)
    # What is not sent is counted; the other events stay.
    assert built.coalesced == 20 * calls_made - len(deltas)
    others = [event for event in whole.events if event.name != "otel_llm.tool_call.arguments.delta"]
    assert [event for event in built.events if event not in deltas] == others
    if delta_limit >= calls_made:
        assert sum(int(event.attributes["otel_llm.delta.count"]) for event in deltas) == 20 * calls_made
