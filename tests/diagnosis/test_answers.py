"""What a response answers: nothing, a text that came twice, one that does not end, broken characters, no usage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_llm.demo.scripted_server import chunk, usage_chunk
from otel_llm.diagnosis.case import Case
from otel_llm.diagnosis.counting import asks_for_several
from otel_llm.diagnosis.judges import diagnose
from otel_llm.diagnosis.repetition import Repetition, find_repetition
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import read_request
from otel_llm.protocol.responses_api import ResponseEvents
from tests.helpers.streams import (
    anomalies_of,
    call,
    calls,
    custom_call,
    custom_tool,
    ends,
    says,
    sdk_completion,
    tool,
    types_of,
)

TOOLS = [tool("add_task", "title"), tool("list_tasks"), custom_tool("note")]
ASKED: dict[str, Any] = {"tools": TOOLS, "messages": [{"role": "user", "content": "What is there to do?"}]}
BROKEN = "\ufffd"


def found(*chunks: Any, asked: Mapping[str, Any] | None = ASKED, outcome: Any = "completed") -> list[str]:
    return types_of(anomalies_of(list(chunks), asked, outcome))


def thinks(text: str, field: str = "reasoning_content") -> dict[str, Any]:
    return chunk({field: text})


# -- nothing --


@pytest.mark.parametrize(
    "chunks",
    [
        [ends("stop")],
        [says(""), ends("stop")],
        [says(None), ends("stop")],
        [says(" \n"), says("\n"), ends("stop")],
        [thinks("Hm."), ends("stop")],
        [thinks("Hm.", "reasoning"), ends("length")],
        [says("<think>\nHm.\n</think>\n\n"), ends("stop")],
        [says("<think>Hm."), ends("length")],
        [says("Hm.\n</think>"), ends("stop")],
        [says([{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]), ends("stop")],
        [says(""), ends("a word of the server's own")],
    ],
)
def test_a_choice_without_an_answer(chunks: list[Any]) -> None:
    for asked in (ASKED, None):
        assert [name for name in found(*chunks, asked=asked) if name != "reasoning_leak"] == ["empty_response"]


def test_the_detail_says_what_there_was() -> None:
    details = [anomalies_of([*chunks, ends("stop")])[0].detail for chunks in ([], [thinks("Hm.")], [says("<think>")])]
    assert details == [
        "nothing at all, and the finish reason stop",
        "thoughts only, and the finish reason stop",
        "thoughts only, and the finish reason stop",
    ]


@pytest.mark.parametrize("details", ["completion_tokens_details", "output_tokens_details"])
def test_thoughts_that_are_only_paid_for(details: str) -> None:
    paid = {"choices": [], "usage": {"completion_tokens": 300, details: {"reasoning_tokens": 300}}}
    (only,) = anomalies_of([ends("length"), paid])
    assert only.detail == "thoughts only, which are not shown (300 tokens), and the finish reason length"
    # With several choices nothing tells whose they are.
    assert {one.detail for one in anomalies_of([ends("stop"), ends("stop", choice=1), paid])} == {
        "nothing at all, and the finish reason stop"
    }


@pytest.mark.parametrize(
    "chunks",
    [
        [says("0"), ends("stop")],
        [says("<think>Hm.</think>Hello."), ends("stop")],
        [says("The mark </think> ends a thought."), ends("stop")],
        [says("<p>Hello.</p>"), ends("stop")],
        [says("[1]"), ends("stop")],
        [chunk({"refusal": "No."}), ends("stop")],
        [chunk({"audio": {"id": "a", "transcript": "Hello."}}), ends("stop")],
        [chunk({"audio": {"id": "a", "data": "AAAA"}}), ends("stop")],
        [chunk({"content": "", "images": [{"type": "image_url", "image_url": {"url": "data:"}}]}), ends("stop")],
        [says([{"type": "image_url", "image_url": {"url": "data:"}}]), ends("stop")],
        [chunk({"executed_tools": [{"index": 0, "type": "search"}]}), ends("stop")],
        [calls(call(0, "a", "list_tasks", "{}")), ends()],
        [thinks("Hm."), ends("content_filter")],
        [says(""), ends("content_filter")],
    ],
)
def test_a_choice_with_an_answer_or_none_that_is_expected(chunks: list[Any]) -> None:
    assert [name for name in found(*chunks) if name != "reasoning_leak"] == []


def test_a_call_in_the_thoughts_says_more() -> None:
    draft = '<tool_call>{"name": "list_tasks", "arguments": {}}</tool_call>'
    assert found(thinks(draft), ends("stop")) == ["call_in_reasoning"]
    assert found(thinks(draft), ends("length")) == ["empty_response"]


def test_a_response_that_ended_with_an_error_needs_no_answer() -> None:
    assert found(says(""), ends("error")) == []


@pytest.mark.parametrize("outcome", ["closed", "abandoned", "cancelled", "error"])
def test_a_stream_that_was_stopped_may_have_had_an_answer(outcome: str) -> None:
    assert found(thinks("Hm."), outcome=outcome) == []
    assert found(thinks("Hm."), ends("stop"), outcome=outcome) == ["empty_response"]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add_task"}}])
def test_a_call_that_was_asked_for_may_not_have_begun_at_length(choice: Any) -> None:
    assert found(ends("length"), asked=ASKED | {"tool_choice": choice}) == []
    assert found(ends("stop"), asked=ASKED | {"tool_choice": choice}) == ["empty_response", "tool_choice_violated"]


def test_each_choice_needs_an_answer() -> None:
    chunks = [says("a"), says("", choice=1), ends("stop"), ends("stop", choice=1)]
    (anomaly,) = anomalies_of(chunks, ASKED)
    assert (anomaly.type, anomaly.choice_index) == ("empty_response", 1)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": None}, ["empty_response"]),
        ({"content": "", "reasoning_content": "Hm."}, ["empty_response"]),
        ({"content": None, "audio": {"id": "a", "data": "AAAA", "expires_at": 1, "transcript": ""}}, []),
        ({"content": None, "images": [{"type": "image_url"}]}, []),
        ({"content": [{"type": "image_url", "image_url": {"url": "data:"}}]}, []),
    ],
)
def test_a_response_that_was_not_streamed(message: dict[str, Any], expected: list[str]) -> None:
    recording = Recording()
    recording.read_response(sdk_completion(message), 1)
    recording.end("completed", 2)
    assert types_of(diagnose(Case(recording))) == expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ([], ["empty_response"]),
        ([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}], ["empty_response"]),
        ([{"type": "web_search_call", "id": "ws_1", "status": "completed"}], []),
        ([{"type": "image_generation_call", "id": "ig_1", "result": "AAAA"}], []),
        ([{"type": "mcp_approval_request", "id": "m_1", "name": "x"}], []),
        ([{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}], []),
    ],
)
def test_a_response_of_the_responses_api(output: list[Any], expected: list[str]) -> None:
    recording = Recording()
    ResponseEvents(recording).read_response(
        {"id": "r", "object": "response", "status": "completed", "output": output}, 1
    )
    recording.end("completed", 2)
    assert types_of(diagnose(Case(recording))) == expected


# -- twice --

PIECES = ["The tasks ", "are ready. ", "Three ", "are due."]
SO_FAR = ["".join(PIECES[: end + 1]) for end in range(len(PIECES))]


@pytest.mark.parametrize(
    "texts",
    [
        SO_FAR,
        [*SO_FAR, SO_FAR[-1]],
        ["", *SO_FAR, ""],
        [*PIECES, SO_FAR[-1]],
        [*PIECES, SO_FAR[-1], ""],
        [SO_FAR[-1], SO_FAR[-1]],
        [*PIECES, "\n", SO_FAR[-1]],
        [SO_FAR[1], SO_FAR[3]],
        [*[f"{number} " for number in range(200)], "".join(f"{number} " for number in range(200))],
        ["".join(f"{number} " for number in range(end)) for end in range(1, 200)],
    ],
)
def test_a_text_that_came_twice(texts: list[str]) -> None:
    assert found(*map(says, texts), ends("stop")) == ["duplicated_text"]
    assert found(*map(thinks, texts), says("Hello."), ends("stop")) == ["duplicated_text"]


@pytest.mark.parametrize(
    "texts",
    [
        PIECES,
        [*PIECES, *PIECES],
        [SO_FAR[-1] * 2],
        ["ha", "ha", "ha", "haha"],
        ["no", "no"],
        ["-", "-" * 20],
        ["1", "1 is the number of players that can be on the bench"],
        ["a" * 16, "b" * 16, "a" * 16, "b" * 16],
        [" ", "  ", "   indented"],
        ["ha"] * 200,
    ],
)
def test_a_text_that_repeats_itself_is_no_text_that_came_twice(texts: list[str]) -> None:
    assert found(*map(says, texts), ends("stop")) == []


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=90))
def test_a_text_whose_deltas_are_new_each_time(texts: list[str]) -> None:
    # Numbered, so that none begins with the one before.
    numbered = [f"{number}{text}" for number, text in enumerate(texts, 10)]
    assert "duplicated_text" not in found(*map(says, numbered), ends("stop"))


@given(st.lists(st.text(min_size=1, max_size=12), min_size=3, max_size=90))
def test_any_text_can_come_twice(texts: list[str]) -> None:
    so_far = ["".join(texts[: end + 1]) for end in range(len(texts))]
    expected = len(so_far[-1]) >= 16
    assert ("duplicated_text" in found(*map(says, so_far), ends("stop"))) is expected


# -- over and over --


@given(st.text(min_size=1, max_size=500), st.text(max_size=300), st.integers(400, 4096))
def test_a_repetition_is_found_by_its_definition(unit: str, before: str, least: int) -> None:
    needed = max(least, 8 * len(unit))
    text = before + unit * (needed // len(unit) + 1)
    result = find_repetition(text, least)
    if needed > 4096 or len(text) < needed:
        return
    assert result is not None
    assert result.unit <= len(unit)
    assert result.length >= max(least, 8 * result.unit)
    end = text[-4096:]
    assert end[-result.length + result.unit :] == end[-result.length : len(end) - result.unit]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=400, unique=True))
def test_lines_that_differ_are_no_repetition(numbers: list[int]) -> None:
    assert find_repetition("".join(f"| task {number} | open |\n" for number in numbers), 400) is None


def test_how_often_it_must_come() -> None:
    assert find_repetition("abcdefghij" * 40, 400) == Repetition(10, 400)
    assert find_repetition("abcdefghij" * 39 + "abcdefghi", 400) is None
    assert find_repetition("x" * 400, 400) == Repetition(1, 400)
    unit = "".join(chr(0x4E00 + number) for number in range(500))
    assert find_repetition("before" + unit * 8, 400) == Repetition(500, 4000)
    assert find_repetition("before" + unit * 7, 400) is None


LONG, SHORT = "No, wait. " * 200, "No, wait. " * 40


@pytest.mark.parametrize(
    ("chunks", "outcome", "expected"),
    [
        ([says(LONG), ends("stop")], "completed", ["repetition"]),
        ([says(SHORT), ends("stop")], "completed", []),
        ([says(SHORT), ends("length")], "completed", ["repetition"]),
        ([says(SHORT)], "closed", ["repetition"]),
        ([says(SHORT)], "cancelled", ["repetition"]),
        ([says(SHORT)], "error", []),
        ([thinks(SHORT), ends("length")], "completed", ["empty_response", "repetition"]),
        ([says(LONG + "Now I am done."), ends("stop")], "completed", []),
        ([says("{" + "\n" * 2000), ends("stop")], "completed", ["repetition"]),
        ([calls(call(0, "a", "add_task", '{"title": "' + SHORT)), ends("length")], "completed",
         ["repetition", "truncated"]),
        ([calls(call(0, "a", "add_task", '{"title": "x"}' + " " * 2000)), ends()], "completed", ["repetition"]),
        ([calls(call(0, "a", "add_task", '{"title": "' + LONG + '"}')), ends()], "completed", []),
        ([calls(custom_call(0, "a", "note", LONG)), ends()], "completed", ["repetition"]),
        ([calls(call(0, "a", "add_task", '{"title": ' + "[" * 3000 + "]" * 3000 + "}")), ends()], "completed",
         ["limit_exceeded"]),
    ],
)  # fmt: skip
def test_a_text_that_does_not_end(chunks: list[Any], outcome: str, expected: list[str]) -> None:
    assert found(*chunks, outcome=outcome) == expected


def test_a_repetition_beyond_what_is_kept_of_a_text() -> None:
    types = found(*[says("No, wait. " * 1000)] * 120, ends("length"))
    assert "repetition" in types


# -- broken characters --


def named(name: str) -> list[Any]:
    return [calls(call(0, "a", name, '{"title": "x"}')), ends()]


def titled(title: str) -> list[Any]:
    return [calls(call(0, "a", "add_task", f'{{"title": "{title}"}}')), ends()]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([says(f"Caf{BROKEN}"), ends("stop")], ["replacement_character"]),
        ([says(f"Done {BROKEN}{BROKEN} so far"), ends("stop")], ["replacement_character"]),
        ([says(f"{BROKEN} is the sign, and Caf{BROKEN} is broken"), ends("stop")], ["replacement_character"]),
        ([says(f"Good job {BROKEN}"), ends("stop")], ["replacement_character"]),
        (titled(f"Caf{BROKEN}"), ["replacement_character"]),
        (titled("Caf\\ufffd"), ["replacement_character"]),
        (titled("Caf\\uFFFD au lait"), ["replacement_character"]),
        (named(f"add_{BROKEN}ask"), ["replacement_character", "unknown_tool"]),
        ([calls(custom_call(0, "a", "note", f"Caf{BROKEN}")), ends()], ["replacement_character"]),
        ([says(f"The sign {BROKEN} stands for it"), ends("stop")], []),
        *[
            ([says(text.replace("?", BROKEN)), ends("stop")], [])
            for text in (
                "It shows ?.",
                "Or ?, or (?)",
                "| ? | bad |",
                "| ?? | bad |",
                "a | ??\nb | ?\n",
                "'??'",
                "“??”",
                "```\n??\n```",
                "`??`",
                "The character is U+FFFD: ??",
                "<td>?</td>",
            )
        ],
        *[
            ([says(text.replace("?", BROKEN)), ends("stop")], ["replacement_character"])
            for text in (
                "Caf??",
                "Caf?.",
                "`Caf?`",
                "```\nCaf?? x\n```",
                "| Caf? | x |",
                '"Caf?"',
                "?? Hello",
                "Great!?",
                "\U0001f44d?",
                "日本?。",
                "Hello ??",
            )
        ],
        ([says(f'The sign "{BROKEN}" or \u201c{BROKEN}\u201d or `{BROKEN}`'), ends("stop")], []),
        (titled(BROKEN), []),
        (titled("\\ufffd"), []),
        (titled("a \\ufffd b"), []),
        (titled("C:\\\\ufffd"), []),
        ([thinks(f"Caf{BROKEN}"), says("Hello."), ends("stop")], []),
        ([says(f"{BROKEN}\x0c{BROKEN}y{BROKEN}O#"), ends("length")], []),
        ([calls(custom_call(0, "a", "note", "Caf\\ufffd")), ends()], []),
    ],
)
def test_characters_that_a_server_cut(chunks: list[Any], expected: list[str]) -> None:
    assert found(*chunks) == expected
    assert "replacement_character" not in found(*chunks, asked=None)


class Part:
    """As an object of an SDK."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__ |= fields


@pytest.mark.parametrize(
    "asked",
    [
        {"messages": [{"role": "user", "content": f"Fix Caf{BROKEN}"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": f"Fix Caf{BROKEN}"}]}]},
        {"messages": [{"role": "tool", "tool_call_id": "a", "content": BROKEN}] + [{"role": "system"}] * 200},
        {"messages": [Part(role="user", content=[Part(type="text", text=BROKEN)])]},
        {"messages": iter(())},
        {"tools": [tool("add_task", "title") | {"description": BROKEN}]},
    ],
)
def test_characters_that_were_broken_before(asked: dict[str, Any]) -> None:
    assert "replacement_character" not in found(says(f"Caf{BROKEN}"), ends("stop"), asked=ASKED | asked)


# -- usage --

USAGE: dict[str, Any] = ASKED | {"stream": True, "stream_options": {"include_usage": True}}
NULLS = {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ([], ["missing_usage"]),
        ([usage_chunk(0, 0)], ["missing_usage"]),
        ([chunk(choices=[]) | {"usage": {}}], ["missing_usage"]),
        ([chunk(choices=[]) | {"usage": NULLS}], ["missing_usage"]),
        ([usage_chunk(9, 0)], []),
        ([usage_chunk(9, 2)], []),
    ],
)
def test_usage_that_was_asked_for(last: list[Any], expected: list[str]) -> None:
    chunks = [says("Hello."), ends("stop"), *last]
    assert found(*chunks, asked=USAGE) == expected
    for asked in (ASKED, USAGE | {"stream_options": {}}, USAGE | {"stream_options": None}, None):
        assert found(*chunks, asked=asked) == []
    assert found(*chunks, asked=USAGE, outcome="closed") == []
    assert found(*chunks, asked=ASKED | {"extra_body": {"stream_options": {"include_usage": True}}}) == expected


@pytest.mark.parametrize("nothing", [usage_chunk(0, 0), chunk(choices=[]) | {"usage": NULLS}, says("") | {"usage": {}}])
@pytest.mark.parametrize("came", [says("") | {"usage": {"completion_tokens": 2}}, usage_chunk(9, 2)])
def test_usage_that_came_counts(came: Any, nothing: Any) -> None:
    """Zeros and nulls, before it or after it, do not take it back."""
    for usages in ([came, nothing], [nothing, came], [nothing, came, nothing, nothing]):
        assert found(says("Hello."), *usages[:-1], ends("stop"), usages[-1], asked=USAGE) == []
    assert found(says("Hello."), nothing, ends("stop"), nothing, asked=USAGE) == ["missing_usage"]


def test_usage_in_other_places() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    of_groq = ends("stop") | {"x_groq": {"id": "r", "usage": usage}}
    of_moonshot = ends("stop")
    of_moonshot["choices"][0]["usage"] = usage
    for last in (of_groq, of_moonshot):
        assert found(says("Hello."), last, asked=USAGE) == []
        assert found(says("Hello."), last, usage_chunk(0, 0), asked=USAGE) == []


# -- how often --


@pytest.mark.parametrize(
    "text",
    [
        "Roll the die three times.",
        "Roll a die twice",
        "roll 3 dice",
        "Flip two coins",
        "Call it 5x",
        "Call it 2 times, please",
        "Ruf das zweimal auf",
        "lance le dé 3 fois",
        "tira el dado dos veces",
        "サイコロを3回振って",
        "掷骰子三次",
        "do that again",
        "Add 2 tasks with the title water",
    ],
)
def test_a_message_that_asks_for_several(text: str) -> None:
    assert asks_for_several(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Add milk.",
        "Add 2 and 3.",
        "What is the weather on 2026-12-05 at 10:30?",
        "Remind me in 3 days",
        "It costs $3.50 or 20%",
        "Summarize chapter 4",
        "Take the 10 first items",
    ],
)
def test_a_message_that_does_not(text: str) -> None:
    assert not asks_for_several(text)


def twice(asked: dict[str, Any]) -> Sequence[str]:
    title = '{"title": "water"}'
    return found(calls(call(0, "a", "add_task", title), call(1, "b", "add_task", title)), ends(), asked=ASKED | asked)


def test_only_the_last_message_of_the_user_counts() -> None:
    once, several = {"role": "user", "content": "Add water."}, {"role": "user", "content": "Add water twice."}
    answer = {"role": "assistant", "content": "Twice?"}
    assert twice({"messages": [once, answer, several]}) == []
    assert twice({"messages": [several, answer, once]}) == ["duplicate_call"]
    assert twice({"messages": [once, answer]}) == ["duplicate_call"]
    assert twice({"messages": iter([several])}) == ["duplicate_call"]
    parts = [{"type": "text", "text": "Add water"}, {"type": "text", "text": "three times."}]
    assert twice({"messages": [{"role": "user", "content": parts}]}) == []
    request = read_request(
        {"input": "Add water twice.", "tools": [{"type": "function", "name": "add_task"}]}, "responses"
    )
    assert request.conversation.entries == ({"role": "user", "content": "Add water twice."},)
