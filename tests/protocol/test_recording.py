"""The facts that a recording has of a stream, and its notices."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from otel_llm.demo.scripted_server import chunk, usage_chunk
from otel_llm.protocol.choice import Limits
from otel_llm.protocol.recording import Recording
from tests.helpers.streams import (
    STEP_NS,
    Chunk,
    call,
    calls,
    custom_call,
    ends,
    feed,
    legacy,
    record,
    says,
    sdk_chunk,
    sdk_completion,
    whole_call,
)


def notices(chunks: list[Chunk], **options: Any) -> list[list[str]]:
    """The kinds of the notices for each chunk."""
    recording = Recording(**options)
    return [[notice.kind for notice in recording.feed(sdk_chunk(one), 0, 1) or []] for one in chunks]


# -- the head --


def test_the_head_is_read_from_the_first_chunks_that_have_one() -> None:
    chunks = [
        chunk({}, id="", model=""),
        chunk({}, id="chat_1", model=None, system_fingerprint="fp", service_tier="flex"),
        chunk({"content": "Hi"}, id="chat_2", model="m"),
        chunk({}, id="chat_3", model="n"),
    ]
    recording = record(chunks)
    assert (recording.response_id, recording.response_model) == ("chat_1", "m")
    assert (recording.system_fingerprint, recording.service_tier) == ("fp", "flex")


def test_the_head_is_cut_at_the_limit() -> None:
    recording = record([chunk({}, id="i" * 500, model="m" * 500)])
    assert (recording.response_id, recording.response_model) == ("i" * 256, "m" * 256)


def test_the_last_usage_counts() -> None:
    recording = record([chunk({}, usage={"prompt_tokens": 1}), says("Hi"), usage_chunk(7, 5)])
    assert (recording.usage.prompt_tokens, recording.usage.completion_tokens) == (7, 5)


# -- times --


def test_times_are_those_of_the_chunks() -> None:
    chunks = [says("Hi"), calls(call(0, "a")), calls(call(0, name="add")), calls(call(0, arguments="{}")), ends()]
    recording = record(chunks)
    (one,) = recording.calls
    assert recording.first_chunk_ns == recording.choices[0].text_started_ns == 1 * STEP_NS
    assert recording.first_tool_call_ns == one.first_delta_ns == 2 * STEP_NS
    assert one.named_ns == 3 * STEP_NS
    assert one.last_delta_ns == 4 * STEP_NS
    assert one.completed_ns == recording.choices[0].finished_ns == 5 * STEP_NS
    assert recording.ended_ns == 6 * STEP_NS
    assert recording.max_wait_ns == STEP_NS
    assert recording.chunk_count == 5


# -- text and reasoning --


def test_text_has_one_notice_and_is_kept() -> None:
    chunks = [says(""), says("Hel"), says("lo")]
    assert notices(chunks) == [[], ["text"], []]
    recording = record(chunks)
    assert recording.choices[0].text.whole == "Hello"
    assert recording.choices[0].text_started_ns == 2 * STEP_NS
    assert recording.has_text


@pytest.mark.parametrize("content", [None, "", [{"type": "text", "text": 1}, "Hi"], True, {"text": "Hi"}], ids=repr)
def test_content_that_is_not_text(content: Any) -> None:
    assert not record([says(content)]).has_text


def test_a_refusal_is_text() -> None:
    recording = record([chunk({"content": "", "refusal": "No"}), chunk({"refusal": "."})])
    assert recording.choices[0].text.whole == "No."


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"reasoning_content": "", "reasoning": "hm"},
        {"reasoning_content": "hm", "content": ""},
        {"reasoning_content": "hm", "content": "Hi"},
        {"reasoning_content": "hm", "tool_calls": []},
        {"reasoning_content": "hm", "tool_calls": [call(0)]},
    ],
    ids=str,
)
def test_reasoning_in_the_fields_of_providers(delta: dict[str, Any]) -> None:
    recording = record([chunk({}), chunk(delta), chunk(delta)])
    assert recording.choices[0].reasoning.whole == "hmhm"
    assert recording.choices[0].reasoning_started_ns == 2 * STEP_NS


@pytest.mark.parametrize("form", [sdk_chunk, lambda chunk: chunk], ids=["sdk", "mapping"])
@pytest.mark.parametrize("content", [None, "", "Hi"], ids=repr)
def test_reasoning_behind_text(content: Any, form: Callable[[Any], Any]) -> None:
    recording = Recording()
    for at, one in enumerate([says("Well"), *[chunk({"reasoning": "hm", "content": content})] * 2]):
        recording.feed(form(one), at, at)
    recording.end("completed", 3)
    assert recording.choices[0].reasoning.whole == "hmhm"


def test_reasoning_in_a_field_of_the_sdk() -> None:
    delta = SimpleNamespace(content=None, reasoning="hm", tool_calls=None, function_call=None, __pydantic_extra__=None)
    choice = SimpleNamespace(index=0, delta=delta, finish_reason=None)
    recording = record([SimpleNamespace(choices=[choice], usage=None)] * 2)
    assert recording.choices[0].reasoning.whole == "hmhm"


def test_text_and_reasoning_share_one_limit() -> None:
    chunks = [chunk({"reasoning": "abc"}), says("defg"), says("hi")]
    recording = record(chunks, limits=Limits(text=5))
    assert recording.choices[0].reasoning.whole == "abc"
    assert recording.choices[0].text.whole == "de"
    assert recording.over_text == 4


def test_reasoning_does_not_start_again_with_null_or_an_empty_string() -> None:
    chunks = [
        chunk({"reasoning_content": "a"}),
        chunk({"reasoning_content": ""}),
        chunk({"content": "Hi", "reasoning_content": None}),
        chunk({"content": "!", "reasoning_content": "b"}),
        chunk({"content": None, "reasoning_content": {"text": "c"}}),
    ]
    (choice,) = record(chunks).choices
    assert (choice.reasoning.whole, choice.text.whole) == ("abc", "Hi!")


def test_how_the_text_came_is_kept() -> None:
    deltas = [f"{number} " for number in range(200)]
    (choice,) = record([chunk({"reasoning": "hm"}), *map(says, deltas), says("")]).choices
    assert choice.text.whole == "".join(deltas)
    assert list(choice.text.first) == deltas[: len(choice.text.first)]
    assert len(choice.text.first) > 32
    assert choice.text.last == deltas[-1]
    assert choice.reasoning.first == (choice.reasoning.last,) == ("hm",)


def test_the_end_of_a_text_beyond_the_limit_is_kept() -> None:
    deltas = [f"{number} " for number in range(5000)]
    (choice,) = record(map(says, deltas), limits=Limits(text=100)).choices
    assert choice.text.end == "".join(deltas)[-4096:]
    assert choice.text.last == ""
    (short,) = record(map(says, deltas[:10])).choices
    assert short.text.end == short.text.whole == "".join(deltas[:10])


# -- calls --


def test_a_call_has_a_notice_when_it_starts_and_when_it_is_named() -> None:
    chunks = [calls(call(0)), calls(call(0, "a")), calls(call(0, name="add")), calls(call(0, name="add")), ends()]
    assert notices(chunks) == [["detected"], [], ["name"], [], ["finish"]]


def test_calls_without_an_index_get_free_ones() -> None:
    chunks = [
        calls(call(1, "a")),
        calls(call(None, "b")),
        calls(call(None, "c")),
        calls(call(0, "d")),
        calls(call(2, "e")),
    ]
    indexes = [one.index for one in record(chunks).calls]
    assert indexes[:3] == [1, 2, 3]
    assert [one.id for one in record(chunks).calls] == ["a", "b", "c", "d", "e"]


def test_an_index_that_comes_late() -> None:
    recording = record([calls(call(None, "a", "add", "{")), calls(call(7, "a")), calls(call(7, arguments="}"))])
    assert [(one.index, one.arguments) for one in recording.calls] == [(7, "{}")]


def test_a_place_is_free_again_when_its_call_gets_an_index() -> None:
    chunks = [
        calls(call(None, "a", "add", "{}")),
        calls(call(7, "a")),
        calls(call(0, None, "list_tasks", "{}")),
    ]
    assert [(one.index, one.name) for one in record(chunks).calls] == [(7, "add"), (0, "list_tasks")]


@pytest.mark.parametrize(
    ("deltas", "kind"),
    [
        ([calls(call(0, "a", "f", "{}"))], "function"),
        ([calls(custom_call(0, "a", "f", "x"))], "custom"),
        ([calls({"index": 0, "type": "custom"}), calls(custom_call(0, input="x"))], "custom"),
        ([legacy("f", "{}")], "legacy"),
    ],
    ids=["function", "custom", "custom-late", "legacy"],
)
def test_the_kind_of_a_call(deltas: list[Chunk], kind: str) -> None:
    assert [one.kind for one in record(deltas).calls] == [kind]


def test_arguments_can_be_read_while_they_grow() -> None:
    recording = feed(Recording(), [calls(call(0, "a", "add", '{"a":"\ud83d')), calls(call(0, arguments='\ude00"}'))])
    assert recording.calls[0].arguments_so_far() == '{"a":"\U0001f600"}'
    assert recording.calls[0].arguments == ""
    recording.end("closed", 9)
    assert recording.calls[0].arguments_so_far() == recording.calls[0].arguments == '{"a":"\U0001f600"}'


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(['{"a":"', "x" * 600_000 + '"', "}"], id="the-end-of-a-text-is-settled"),
        pytest.param(["{", '"a":[', " " * 600_000, '"b"', "]}"], id="white-space-is-settled"),
        pytest.param(['{"a":"\\', '"' + "x" * 600_000, '\\"', '"', "}"], id="behind-an-escape"),
    ],
)
@pytest.mark.parametrize("asked_after", [[], [0], [0, 1, 2, 3]], ids=["asked-once", "asked-early", "asked-after-each"])
def test_a_second_call_at_an_index_is_found_behind_settled_arguments(pieces: list[str], asked_after: list[int]) -> None:
    chunks = [calls(call(0, "a", "add", ""))]
    for number, piece in enumerate(pieces[:-1]):
        chunks.append(calls(call(0, arguments=piece)))
        if number in asked_after:
            # With another id and the same name, it matters whether the arguments are whole.
            chunks.append(calls(call(0, "z", "add", "")))
    recording = record([*chunks, calls(call(0, arguments=pieces[-1])), calls(call(0, "b", "add", "{}"))])
    assert [(one.id, one.arguments) for one in recording.calls] == [("a", "".join(pieces)), ("b", "{}")]


def test_contradictions_are_kept_short_and_once() -> None:
    chunks = [calls(call(0, "a", "add", "{"))]
    chunks += [calls(call(0, id_, name)) for id_, name in [("b", "c"), ("b", "c"), ("d" * 500, "e" * 500)]]
    # With another id, another name would start a new call.
    chunks += [calls(call(0, "a", f"name_{number}")) for number in range(50)]
    recording = record(chunks)
    for one in recording.calls:
        assert len(one.other_ids) <= 8
        assert len(one.other_names) <= 8
        assert len(set(one.other_names)) == len(one.other_names)
        assert max(map(len, [*one.other_ids, *one.other_names]), default=0) <= 80


def test_the_same_other_id_again_is_noted_once() -> None:
    recording = record([calls(call(0, "a", "add")), *[calls(call(0, "b"))] * 3, calls(call(0, "c"))])
    assert recording.calls[0].other_ids == ["b", "c"]


# -- the end --


def test_only_the_first_end_counts() -> None:
    recording = record([*whole_call(), ends()])
    ended_ns = recording.ended_ns
    assert recording.end("error", 99 * STEP_NS) == []
    assert (recording.outcome, recording.ended_ns) == ("completed", ended_ns)


def test_each_call_of_an_unstreamed_response_is_one_delta() -> None:
    message = {
        "content": "Sure.",
        "reasoning_content": "hm",
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "add", "arguments": "{}"}}],
        "function_call": {"name": "old", "arguments": "{}"},
    }
    recording = Recording(declared=frozenset({"add"}))
    kinds = [notice.kind for notice in recording.read_response(sdk_completion(message, "tool_calls"), 5)]
    recording.end("completed", 6)
    assert kinds == ["text", "detected", "name", "detected", "name", "finish"]
    assert [(one.name, one.id, one.delta_count, one.completed_ns) for one in recording.calls] == [
        ("add", "a", 1, 5),
        ("old", None, 1, 5),
    ]
    assert recording.choices[0].text.whole == "Sure."
    assert recording.choices[0].reasoning.whole == "hm"
    assert not recording.streamed
    assert recording.usage.prompt_tokens == 1


def test_a_declared_name_has_a_notice_as_soon_as_it_is_complete() -> None:
    declared = frozenset({"add", "add_task"})
    chunks = [calls(call(0, "a", "ad")), calls(call(0, name="d")), calls(call(0, name="_task"))]
    assert notices(chunks, declared=declared) == [["detected"], ["name"], []]
