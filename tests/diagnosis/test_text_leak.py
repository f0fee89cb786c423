"""Calls in the text are found; text that only mentions calls is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_llm.demo.scripted_server import DONE, Answer, ScriptedServer, chunk, completion, text
from otel_llm.diagnosis import bounds
from otel_llm.diagnosis.case import Case
from otel_llm.diagnosis.judges import diagnose
from otel_llm.protocol.choice import Limits
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import read_request
from tests.helpers.seen import Seen
from tests.helpers.streams import anomalies_of, call, calls, ends, record, says, sdk_completion, tool, types_of

ASKED: dict[str, Any] = {"tools": [tool("add_task", "title"), tool("list_tasks")]}
BODY = '{"name": "add_task", "arguments": {"title": "buy milk"}}'
MARKED = f"<tool_call>\n{BODY}\n</tool_call>"
PYTHONIC = "[add_task(title='buy milk')]"


def leaks_in(content: str, *, size: int | None = None, outcome: Any = "completed") -> list[str]:
    size = size or max(1, len(content))
    chunks = [says(content[at : at + size]) for at in range(0, len(content), size)]
    if outcome == "completed":
        chunks.append(ends("stop"))
    found = anomalies_of(chunks, ASKED, outcome)
    # Some of the texts are thoughts only, or come twice.
    return [one.detail for one in found if one.type in {"text_leak", "limit_exceeded"}]


LEAKS = [
    f"I think so.\n</think>\n{MARKED}",
    '{"name": "add_task", "arguments": {"title": "x", "type": "object"}}',
    MARKED,
    f"Sure.\n{MARKED}",
    f"Sure. {MARKED} Anything else?",
    f"<tool_call>{BODY}",
    f"<|tool_call|>{BODY}</|tool_call|>",
    f"[TOOL_CALLS][{BODY}]",
    "<function=add_task>\n<parameter=title>\nbuy milk\n</parameter>\n</function>",
    '<function=add_task>{"title": "buy milk"}</function>',
    '<|channel|>commentary to=functions.add_task <|constrain|>json<|message|>{"title": "x"}<|call|>',
    "<tool_call>{'name': 'add_task', 'arguments': {'title': 'x'}}</tool_call>",
    f"<think>\nI should call it.\n</think>\n{MARKED}",
    f"```json\n{{}}\n```\n{MARKED}",
    f"In `code` and then {MARKED}",
    BODY,
    f"  {BODY}\n",
    f"Sure.\n\n{BODY}\n\nDone.",
    '{"name": "add_task",\n "arguments": {\n  "title": "x"}\n}',
    f"[{BODY}, {BODY}]",
    f"{BODY};{BODY}",
    PYTHONIC,
    f"Sure:\n{PYTHONIC}\nDone.",
    f"Sure:\n\n    <tool_call>{BODY}</tool_call>\n",
    f"    <tool_call>{BODY}</tool_call>\nDone.",
    f"Sure.\n  <tool_call>{BODY}</tool_call>\nIt is done.",
    "```tool_code\nadd_task(title='x')\n```",
    "Sure.\n```tool_code\nprint(list_tasks())\n```\nDone.",
]  # fmt: skip

TALK = [
    "Hello.",
    "I use add_task and list_tasks.",
    "Models write <tool_call> and </tool_call> around a call of add_task.",
    "add_task(title='buy milk')",
    'Call add_task: {"title": "buy milk"}',
    f"`<tool_call>{BODY}</tool_call>`",
    f"``{BODY}``",
    f"```\n{MARKED}\n```",
    f"```xml\n{MARKED}\n```",
    f"```json\n{BODY}\n```",
    f"```json\n[{BODY}]\n```\nThat is how.",
    f"~~~\n{BODY}\n~~~",
    f"The model writes this:\n\n    <tool_call>{BODY}</tool_call>\n\nThe server reads it.",
    f"1. The model writes:\n   <tool_call>\n   {BODY}\n   </tool_call>\n2. The server reads it.",
    f"First, an example.\n\n\t<tool_call>{BODY}</tool_call>\n\nThe server reads it.",
    f"```python\n{PYTHONIC}\n```",
    f"<think>\n{MARKED}\n</think>\nI did not call it.",
    f"<think>{MARKED}",
    f"I could write\n{MARKED}\n</think>\nI did not call it.",
    f"{BODY}\n</think>\n\nI did not call it.",
    f"<thought>\n{MARKED}\n</thought>\nI did not call it.",
    f"<reasoning>{MARKED}</reasoning>\nI did not call it.",
    f"<|START_THINKING|>{MARKED}<|END_THINKING|>I did not call it.",
    f"◁think▷{MARKED}◁/think▷I did not call it.",
    json.dumps({"name": "add_task", "parameters": tool("add_task", "title")["function"]["parameters"]}),
    json.dumps([{"name": "add_task", "parameters": {"type": "object", "properties": {}}}], indent=1),
    MARKED.replace("add_task", "delete_all"),
    BODY.replace("add_task", "delete_all"),
    f"<tool_call>{BODY[:-8]}",
    f"<tool_call>{BODY[:-4]}</tool_call> add_task",
    "The tags <tool_call>, </tool_call> and <arg_key> stand around add_task",
    f"You could send {BODY} to it.",
    f"{BODY} is what I would send.",
    f"It is {BODY}",
    f"See {PYTHONIC} above",
    f'{{"task": {BODY}}}',
    f"[1, {BODY}]",
    '{"name": "add_task", "title": "not a call"}',
    '{"name": "add_task"}',
]  # fmt: skip


@pytest.mark.parametrize("content", LEAKS)
@pytest.mark.parametrize("size", [None, 1, 7])
def test_a_call_in_the_text(content: str, size: int | None) -> None:
    (detail,) = leaks_in(content, size=size)
    assert "add_task" in detail or "list_tasks" in detail


@pytest.mark.parametrize("content", TALK)
@pytest.mark.parametrize("size", [None, 1, 7])
def test_text_that_only_mentions_calls(content: str, size: int | None) -> None:
    assert leaks_in(content, size=size) == []


def test_the_detail_has_number_tools_and_syntaxes() -> None:
    other = "<function=list_tasks>{}</function>"
    assert leaks_in(f"{MARKED}\n{MARKED}\n{other}") == [
        "3 calls of add_task, list_tasks in the text, in the syntax hermes, llama_function_name"
    ]


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from([*LEAKS, *TALK, "\n", " ", "`", "```\n"]), max_size=4), st.integers(1, 40))
def test_any_cut_into_chunks_gives_the_same(parts: list[str], size: int) -> None:
    content = "".join(parts)
    assert leaks_in(content) == leaks_in(content, size=size)


# -- streams, choices and responses --


def test_what_came_before_a_stream_was_stopped_is_searched() -> None:
    assert leaks_in(f"{MARKED} and", outcome="closed") != []
    assert leaks_in(f"{BODY}\n", outcome="closed") != []
    # More text in its line would have made it prose.
    assert leaks_in(BODY, outcome="closed") == []
    assert leaks_in(MARKED[:30], outcome="closed") == []


def test_without_declared_tools_nothing_leaks() -> None:
    chunks = [says(MARKED), ends("stop")]
    without: tuple[dict[str, Any] | None, ...] = (None, {}, {"tools": []})
    for asked in without:
        assert anomalies_of(chunks, asked) == []


def test_reasoning_in_a_field_of_its_own_is_not_searched() -> None:
    chunks = [chunk({"reasoning_content": MARKED}), chunk({"reasoning": BODY}), says("Done."), ends("stop")]
    assert anomalies_of(chunks, ASKED) == []


def test_each_choice_is_searched_by_itself() -> None:
    chunks = [
        says(MARKED[:20]),
        says("Hello, ", choice=1),
        says(MARKED[20:]),
        says("add_task.", choice=1),
        ends("stop"),
        ends("stop", choice=1),
    ]
    assert [(one.type, one.choice_index) for one in anomalies_of(chunks, ASKED)] == [("text_leak", 0)]


def test_beside_real_calls() -> None:
    chunks = [says(MARKED), calls(call(0, "a", "list_tasks", "{}")), ends()]
    assert types_of(anomalies_of(chunks, ASKED)) == ["text_leak"]


def test_an_unstreamed_response_is_searched_too() -> None:
    request = read_request(ASKED)
    recording = Recording(declared=request.tool_names)
    recording.read_response(sdk_completion({"content": MARKED}, "stop"), 1)
    recording.end("completed", 2)
    assert types_of(diagnose(Case(recording, request))) == ["text_leak"]


# -- bounds --


def test_text_beyond_the_limit_is_counted_and_not_searched() -> None:
    found = anomalies_of([says("x" * 50), says(f"\n{MARKED}"), ends("stop")], ASKED, limits=Limits(text=60))
    assert [(one.type, one.detail) for one in found] == [("limit_exceeded", "72 characters of text were not kept")]


def test_a_text_of_opening_markers_is_searched_up_to_a_limit() -> None:
    content = "{ add_task" + "{ " * 300_000
    (found,) = [one for one in anomalies_of([says(content), ends("stop")], ASKED) if one.type == "limit_exceeded"]
    assert found.detail.endswith("characters of text were not searched for calls")


def test_text_is_kept_in_order() -> None:
    chunks = [says("a"), chunk({"refusal": "b"}), *[says(str(at % 10)) for at in range(5000)], says("z"), ends("stop")]
    recording = record(chunks, read_request(ASKED))
    assert recording.choices[0].text.whole == "ab" + "0123456789" * 500 + "z"


# -- through the public face --


def steps(content: str) -> list[Any]:
    return [*[chunk(text(part)) for part in content.splitlines(keepends=True)], chunk(finish_reason="stop"), DONE]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["text_leak"]),
        ({"tool_call_tags": "openai"}, []),
        ({"tool_call_tags": "<tool_call>,</tool_call>"}, []),
        ({"tool_call_tags": "ojlk,dfsd"}, []),
    ],
    ids=str,
)
async def test_a_rewritten_call_is_no_leak(
    instrument: Callable[..., Seen],
    connect: Callable[..., Any],
    serve: Callable[..., ScriptedServer],
    options: dict[str, Any],
    expected: list[str],
) -> None:
    seen = instrument(**options)
    caller = connect(serve(*steps(f"Sure.\n{MARKED}")))
    await caller.read(await caller.stream())
    assert seen.anomalies == expected
    assert len(seen.events("otel_llm.tag_rewrite")) == (1 if options else 0)


async def test_an_instrumented_unstreamed_response(
    instrument: Callable[..., Seen], connect: Callable[..., Any], serve: Callable[..., ScriptedServer]
) -> None:
    seen = instrument()
    caller = connect(serve(Answer(completion(text(MARKED), "stop"))))
    await caller.create()
    assert seen.anomalies == ["text_leak"]


async def test_text_that_is_kept_for_the_diagnosis_is_not_sent(
    instrument: Callable[..., Seen], connect: Callable[..., Any], serve: Callable[..., ScriptedServer]
) -> None:
    seen = instrument()
    caller = connect(serve(*steps("A secret.")))
    await caller.read(await caller.stream())
    assert "secret" not in seen.span.to_json()


ASKS_FOR_JSON = [
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "step"}}},
    {"response_format": type("Step", (), {})},
    {"text": {"format": {"type": "json_schema", "name": "step"}}},
]


@pytest.mark.parametrize("wanted", ASKS_FOR_JSON, ids=str)
def test_an_object_is_the_answer_if_the_request_asks_for_json(wanted: dict[str, Any]) -> None:
    for content in (BODY, f"[{BODY}]"):
        assert types_of(anomalies_of([says(content), ends("stop")], {**ASKED, **wanted})) == []
    assert types_of(anomalies_of([says(MARKED), ends("stop")], {**ASKED, **wanted})) == ["text_leak"]
    as_text = {**ASKED, "response_format": {"type": "text"}}
    assert types_of(anomalies_of([says(BODY), ends("stop")], as_text)) == ["text_leak"]


def test_the_texts_of_all_choices_share_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a hostile response of many choices would be searched once for each."""
    monkeypatch.setattr(bounds, "_MOST_PIECES", 500)
    hostile = f"{MARKED}\n" * 300

    def unread(*texts: str) -> list[str]:
        chunks = [one for at, text in enumerate(texts) for one in (says(text, choice=at), ends("stop", choice=at))]
        return [one.detail for one in anomalies_of(chunks, ASKED) if one.type == "limit_exceeded"]

    (alone,) = unread(hostile)
    none = f"{len(hostile)} characters of text were not searched for calls"
    assert alone != none
    assert unread(hostile, hostile, hostile) == [alone, none, none]
    assert unread(*[MARKED] * 8) == []
