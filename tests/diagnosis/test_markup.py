"""Markup in what a model says: control tokens, thoughts in the text, calls in the thoughts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from otel_llm.demo.scripted_server import DONE, Answer, ScriptedServer, chunk, completion
from otel_llm.diagnosis.case import Case
from otel_llm.diagnosis.judges import diagnose
from otel_llm.diagnosis.markup import MARKUP
from otel_llm.protocol.request import read_request
from otel_llm.tags.thoughts import THOUGHT_MARKS
from tests.helpers.corpus_streams import CORPUS
from tests.helpers.seen import Seen
from tests.helpers.streams import anomalies_of, call, calls, custom_call, ends, record, says

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
ASKED: dict[str, Any] = {"tools": [TOOL]}
BODY = '{"name": "add", "arguments": {"title": "x"}}'
MARKED = f"<tool_call>\n{BODY}\n</tool_call>"
OF_MARKUP = {"token_leak", "reasoning_leak", "call_in_reasoning", "text_leak"}


def thinks(text: str) -> dict[str, Any]:
    return chunk({"reasoning_content": text})


def found(
    chunks: list[Any], asked: dict[str, Any] | None = ASKED, outcome: Any = "completed", **options: Any
) -> list[str]:
    anomalies = anomalies_of(chunks, asked, outcome, **options)
    return [f"{one.type}: {one.detail}" for one in anomalies if one.type in OF_MARKUP]


# -- token_leak --


def test_tokens_in_the_text() -> None:
    (detail,) = found([says("It is done.<|im_"), says("end|>\n<|im_start|>user"), ends("stop")], {})
    assert detail == "token_leak: <|im_end|>, <|im_start|>user in the text"


def test_a_token_that_the_request_holds() -> None:
    chunks = [says("It is done.<|im_end|>"), ends("stop")]
    for messages in (
        [{"role": "system", "content": "End with <|im_end|>."}],
        [{"role": "user", "content": [{"type": "text", "text": "End with <|im_end|>."}]}],
        iter([{"role": "user", "content": "This cannot be known."}]),
    ):
        assert found(chunks, {"messages": messages}) == []
    assert found(chunks, {"instructions": "<|im_end|>", "input": "hi"}) == []
    assert found(chunks, {"messages": [{"role": "user", "content": "<|im_start|>"}]}) != []
    assert found(chunks, None) == []


def test_an_application_that_adds_the_answer_to_its_messages() -> None:
    messages = [{"role": "user", "content": "hi"}]
    asked = {"messages": messages}

    request = read_request(asked)
    recording = record([says("It is done.<|im_end|>"), ends("stop")], request)
    messages.append({"role": "assistant", "content": "It is done.<|im_end|>"})
    assert [one.type for one in diagnose(Case(recording, request))] == ["token_leak"]


@pytest.mark.parametrize("arguments", ['{"a": "x</parameter>"}', '{"a": {"b": ["y", "x</parameter>\\n"]}}'])
def test_a_token_at_the_end_of_a_value(arguments: str) -> None:
    (detail,) = found([calls(call(0, "c", "add", arguments)), ends()])
    assert detail == "token_leak: </parameter> at the end of a value in the arguments"


def test_arguments_without_a_token_at_the_end() -> None:
    for value in ("<parameter=a>x</parameter>", "</parameter> x", "<p>x</p>", "vector<int>", "a[0]", "x > y"):
        assert found([calls(call(0, "c", "add", json.dumps({"a": value}))), ends()]) == []
    held = {**ASKED, "messages": [{"role": "user", "content": "Write </parameter>"}]}
    assert found([calls(call(0, "c", "add", '{"a": "x</parameter>"}')), ends()], held) == []


@pytest.mark.parametrize(
    "said",
    ["What is <EOS>?", "What is \\u003ceos\\u003E?", "What is &lt;eos&gt;?", "What does EOS mean?"],
)
def test_a_token_that_the_user_spoke_of(said: str) -> None:
    chunks = [calls(call(0, "c", "add", '{"a": "meaning of <eos>"}')), ends()]
    assert found(chunks, {**ASKED, "messages": [{"role": "user", "content": said}]}) == []
    for other in ("Search for videos.", "What is <bos>?"):
        assert found(chunks, {**ASKED, "messages": [{"role": "user", "content": other}]}) != []


@pytest.mark.parametrize("unit", ["<tool_call>", "<", "</think>", "<|im_end|>", "`", "```\n", "[f(", '{"name":', "[[{"])
def test_a_hostile_text(unit: str) -> None:
    found([says(unit * (200_000 // len(unit)) + " add"), ends("stop")])


def test_thoughts_beyond_what_is_judged_are_no_empty_answer() -> None:
    chunks = [says("<think>a</think>" * 60_000 + "Hello."), ends("stop")]
    assert [one.type for one in anomalies_of(chunks, ASKED)] == ["reasoning_leak"]


def test_a_token_at_the_end_of_free_text() -> None:
    asked = {"tools": [{"type": "custom", "custom": {"name": "run"}}]}
    chunks = [calls(custom_call(0, "c", "run", "ls</parameter>")), ends()]
    assert found(chunks, asked) == ["token_leak: </parameter> at the end of a value in the arguments"]


def test_a_lone_tag_beside_a_call() -> None:
    chunks = [says("I add it."), calls(call(0, "c", "add", "{}")), says("\n</tool_call>"), ends()]
    assert found(chunks) == ["token_leak: </tool_call> in the text"]


def test_a_leaked_call_is_not_a_token_too() -> None:
    assert [one.partition(":")[0] for one in found([says(MARKED), ends("stop")])] == ["text_leak"]
    both = found([says(f"{MARKED}\n</tool_call>\n"), ends("stop")])
    assert [one.partition(":")[0] for one in both] == ["text_leak", "token_leak"]
    # A call of a tool that is not declared is whole, too.
    assert found([says(MARKED.replace("add", "other")), ends("stop")]) == []


def test_a_call_that_was_not_finished() -> None:
    cut = MARKED[:30]
    assert found([says(cut), ends("stop")]) == ["token_leak: <tool_call> in the text"]
    assert found([says(cut), ends("length")]) == []
    assert found([says(cut)], outcome="closed") == []


def test_a_stream_that_was_stopped() -> None:
    assert found([says("It is done.<|im_end|>")], {}, "closed") == []
    assert found([says("It is done.<|im_end|>\nAnd")], {}, "closed") != []


# -- reasoning_leak --


@pytest.mark.parametrize(
    "content", ["<think>\nhm\n</think>\n\nHi", "hm\n</think>\n\nHi", "<think></think>Hi", "<think>hm"]
)
def test_thoughts_in_the_text(content: str) -> None:
    (detail,) = found([*map(says, content), ends("stop")], {})
    assert detail.startswith("reasoning_leak: ")
    assert "think> in the text, with " in detail
    assert "hm" not in detail


THOUGHTS = [says("<think>\nhm\n</think>\n\nHi"), ends("stop")]


@pytest.mark.parametrize(
    "asked",
    [
        {"messages": [{"role": "system", "content": "Think between <think> and </think>."}]},
        {"messages": [{"role": "system", "content": "End your thoughts with </think>."}]},
        {"reasoning_format": "raw"},
        {"extra_body": {"reasoning_format": "none"}},
        {"extra_body": {"separate_reasoning": False}},
        {"model": "MiniMax-M2.5"},
        {"model": "sonar-reasoning-pro"},
        None,
    ],
    ids=str,
)
def test_thoughts_that_belong_into_the_text(asked: dict[str, Any] | None) -> None:
    assert found(THOUGHTS, asked) == []


@pytest.mark.parametrize(
    "asked", [{"reasoning_format": "parsed"}, {"model": "gpt-4o"}, {"separate_reasoning": True}], ids=str
)
def test_thoughts_that_do_not(asked: dict[str, Any]) -> None:
    assert found(THOUGHTS, asked) != []


def test_other_marks_of_a_model_that_thinks_in_the_text() -> None:
    chunks = [says("<mm:think>hm</mm:think>Hi"), ends("stop")]
    assert found(chunks, {"model": "MiniMax-M3"}) != []


def test_tokens_in_thoughts_are_thoughts() -> None:
    chunks = [says("<think>\nhm<|im_end|>\n</think>\n\nHi"), ends("stop")]
    assert [one.partition(":")[0] for one in found(chunks, {})] == ["reasoning_leak"]


# -- call_in_reasoning --


@pytest.mark.parametrize(
    "chunks",
    [
        [thinks(f"I add it.\n{MARKED}"), ends("stop")],
        [thinks(f"I add it.\n{MARKED}"), says("\n\n"), ends("stop")],
        [*map(thinks, f"I add it.\n{BODY}"), ends("tool_calls")],
        [thinks("I add it.\n<function=add>\n<parameter=title>\nx\n</parameter>\n</function>"), ends("stop")],
        [thinks('I add it.\n<|DSML|invoke name="add">\n</|DSML|invoke>'), ends("stop")],
        [thinks(f"<think>I add it.\n{MARKED}"), ends("stop")],
        [thinks(f"I add it.\n{MARKED}"), says("<|im_end|>"), ends("stop")],
        [says([{"type": "thinking", "thinking": [{"type": "text", "text": MARKED}]}]), ends("stop")],
    ],
)
def test_a_call_in_the_thoughts(chunks: list[Any]) -> None:
    details = [one for one in found(chunks) if one.startswith("call_in_reasoning")]
    (detail,) = details
    assert detail.startswith("call_in_reasoning: 1 call of add in the thoughts, in the syntax ")


@pytest.mark.parametrize("content", [f"<think>\n{MARKED}\n</think>", f"<think>{MARKED}", f"hm {MARKED}\n</think>\n"])
def test_a_call_in_marked_thoughts(content: str) -> None:
    types = [one.partition(":")[0] for one in found([says(content), ends("stop")])]
    assert types == ["reasoning_leak", "call_in_reasoning"]


@pytest.mark.parametrize(
    "chunks",
    [
        [thinks(MARKED), says("It is done."), ends("stop")],
        [thinks(MARKED), calls(call(0, "c", "add", "{}")), ends()],
        [thinks(MARKED), ends("length")],
        [thinks(MARKED), ends("content_filter")],
        [thinks(MARKED.replace("add", "other")), ends("stop")],
        [thinks(MARKED[:-30]), ends("stop")],
        [thinks(f"I could write `{BODY}` here."), ends("stop")],
        [thinks("I call add."), ends("stop")],
        [thinks(MARKED), chunk({"refusal": "No."}), ends("stop")],
    ],
)
def test_thoughts_that_are_no_call(chunks: list[Any]) -> None:
    assert [one for one in found(chunks) if one.startswith("call_in_reasoning")] == []


def test_thoughts_that_may_go_on() -> None:
    assert found([thinks(MARKED)], outcome="closed") == []
    assert found([thinks(MARKED), ends("stop")], {}) == []
    assert found([thinks(MARKED), ends("stop")], None) == []


# -- through the public face --


async def test_an_instrumented_stream(
    instrument: Callable[..., Seen], connect: Callable[..., Any], serve: Callable[..., ScriptedServer]
) -> None:
    seen = instrument()
    caller = connect(
        serve(chunk({"content": "<think>\nhm\n</think>\nHi.<|im_end|>"}), chunk(finish_reason="stop"), DONE)
    )
    await caller.read(await caller.stream())
    assert sorted(seen.anomalies) == ["reasoning_leak", "token_leak"]


async def test_an_instrumented_unstreamed_response(
    instrument: Callable[..., Seen], connect: Callable[..., Any], serve: Callable[..., ScriptedServer]
) -> None:
    seen = instrument()
    message = {
        "role": "assistant",
        "content": None,
        "reasoning_content": '{"name": "add_task", "arguments": {"title": "x"}}',
    }
    caller = connect(serve(Answer(completion(message, "stop"))))
    await caller.create()
    assert "call_in_reasoning" in seen.anomalies


def test_every_mark_has_a_character_that_the_judges_look_for_first() -> None:
    marks = [mark for pair in THOUGHT_MARKS.items() for mark in pair]
    assert [mark for mark in marks if MARKUP.search(mark) is None] == []
    for path in sorted(CORPUS.glob("broken-token-leak-*.jsonl")):
        assert MARKUP.search(path.read_text(encoding="utf-8"))
