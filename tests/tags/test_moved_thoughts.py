"""Thoughts of any family leave the text, streamed as whole, and no character is lost or said twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_llm.tags.declared import declared_tools
from otel_llm.tags.reasoning import KnownBeginnings, ThoughtReading
from otel_llm.tags.rewritten_text import Rewriter
from otel_llm.tags.scanner import Scanner
from otel_llm.tags.thought_marks import CLOSING_MARKS, LONE_ANSWER_MARKS, THOUGHT_MARKS, closing_of
from otel_llm.tags.thoughts import read_layout
from otel_llm.tags.writers import CallDelta, ThoughtDelta
from tests.helpers.scanned import cut_up, cuts, scan
from tests.helpers.thoroughness import examples

DRAFT = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
thorough = settings(max_examples=examples(400), deadline=None, suppress_health_check=list(HealthCheck))


def moved(chunks: list[str], inside: tuple[str, ...] = (), **kwargs: Any) -> tuple[str, str, int]:
    """The thoughts, the text, and the number of calls that a text becomes."""
    text = Rewriter("openai", declared_tools(["f"]), **kwargs).begin(0, inside=inside)
    parts = [part for chunk in chunks for part in text.feed(chunk)] + text.flush()
    thoughts = "".join(part.text for part in parts if type(part) is ThoughtDelta)
    said = "".join(part for part in parts if type(part) is str)
    return thoughts, said, sum(type(part) is CallDelta and part.name is not None for part in parts)


@pytest.mark.parametrize("opening", [*THOUGHT_MARKS, "<think:opensource>", "<think:>"])
def test_a_draft_in_the_thoughts_of_any_family_is_no_call(opening: str) -> None:
    text = f"{opening}\nPerhaps {DRAFT}?\n{closing_of(opening)}\n\nNo."
    for chunks in ([text], [*text], cut_up(text, [7])):
        assert moved(chunks) == (f"Perhaps {DRAFT}?", "No.", 0)
        kept = moved(chunks, thoughts=ThoughtReading("keep"))
        assert kept == ("", text, 0)
        assert not scan(chunks, ["f"]).calls
    behind = f"{opening}hm{closing_of(opening)}{DRAFT}"
    assert moved([*behind]) == ("hm", "", 1)


@pytest.mark.parametrize("closing", CLOSING_MARKS)
def test_a_text_that_begins_inside_of_thoughts(closing: str) -> None:
    text = f"Perhaps {DRAFT}?\n{closing}\n\nNo."
    for chunks in ([text], [*text]):
        assert moved(chunks, CLOSING_MARKS) == (f"Perhaps {DRAFT}?", "No.", 0)
        assert moved(chunks, (closing,)) == (f"Perhaps {DRAFT}?", "No.", 0)
    assert moved(["hm"], (closing,)) == ("hm", "", 0)
    assert moved([" <think>hm</think> Hi"], (closing,)) == ("hm", "Hi", 0)


@pytest.mark.parametrize(
    ("text", "thoughts", "answer"),
    [
        ("<think>hm</think>Hi", "hm", "Hi"),
        ("<think>\n\n</think>\n\nHi", "", "Hi"),
        ("\n<think> hm, well \n</think>\n    indented", "hm, well", "    indented"),
        ("Sure. <think>hm</think> Hi", "hm", "Sure.  Hi"),
        (f"I will look <think>the call {DRAFT} is right</think>\nHi", f"the call {DRAFT} is right", "I will look \nHi"),
        ("Well <think>\nhm\n</think>Hi", "hm", "Well Hi"),
        ("<think>a</think><think>b</think>c", "a\nb", "c"),
        ("<think>a `</think>` b</think>c", "a `</think>` b", "c"),
        ("<think>hm", "hm", ""),
        ("<think>用户想要</think>好", "用户想要", "好"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>", "a", "b"),
        ("<|channel|>analysis<|message|>a<|start|>assistant<|channel|>final<|message|>b", "a", "b"),
        ("<|think|>a<|end|><|begin|>assistant<|content|>b<|end|>", "a", "b"),
        ("<|open|>think<|sep|>a<|close|>think<|sep|><|open|>response<|sep|>b<|close|>response<|sep|>", "a", "b"),
        (
            "<|content_thinking|>a<|end_message|><|message_model|><|content_text|>b<|content_model_end_sampling|>",
            "a",
            "b",
        ),
        ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>b<|END_RESPONSE|>", "a", "b"),
        (" to=self<|message|>a<|eom|><|start|>assistant to=user<|message|>b<|eot|>", "a", "b"),
        ("Here are my reasoning steps:\na\n[BEGIN FINAL RESPONSE]\nb\n[END FINAL RESPONSE]", "a", "b\n"),
    ],
)
def test_what_is_thought_and_what_is_said(text: str, thoughts: str, answer: str) -> None:
    for chunks in ([text], [*text], cut_up(text, [3])):
        assert moved(chunks) == (thoughts, answer, 0)


@pytest.mark.parametrize(
    "text",
    [
        "Use `<think>` and `</think>`.",
        "```\n<think>a</think>\n```",
        "<think> and </think> are tags",
        "The <think> tag opens, the </think> tag closes.",
        "It ends with </think>.",
        '"<think>x</think>"',
        "wrap it in <think>…</think> please",
        "<think> tags are used",
        "I use <think>ideas</think> here.",
        "The <|END_RESPONSE|> token ends it.",
        "Write <|channel>thought, then go on.",
        "<thinking> is an element of our own.\n\nRegister it first.",
        "<think> opens the thoughts.\nThey end with </think>.\nBoth are tokens.",
        "<think>标签用于思考。\n</think>标签用于结束。",
        "</think> is missing in the output.",
    ],
)
def test_mentioned_marks_stay(text: str) -> None:
    for chunks in ([text], [*text]):
        assert moved(chunks) == ("", text, 0)


FRAGMENTS = [
    *("<think>", "</think>", "<think:a>", "</think:a>", "[THINK]", "[/THINK]", "<|channel>thought", "<channel|>"),
    *("<|channel|>analysis<|message|>", "<|end|>", "<|start|>assistant", "<|channel|>final<|message|>", "<|call|>"),
    *("<|content_thinking|>", "<|end_message|>", "<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|eom|>"),
    *("a", "b ", ". ", "c.", "\n", "    ", "`", '"', "and", " tag", "d" * 50, "<", "e" * 400, "[BEGIN FINAL RESPONSE]"),
    *(" to=self<|message|>", "Here are my reasoning steps:\n"),
]
any_text = st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join)
inside = st.sampled_from([(), ("</think>",), CLOSING_MARKS])


@thorough
@given(any_text, cuts, inside)
def test_any_cut_moves_the_same(text: str, sizes: list[int], inside: tuple[str, ...]) -> None:
    whole = moved([text], inside)
    assert moved([*text], inside) == whole
    assert moved(cut_up(text, sizes), inside) == whole


@thorough
@given(any_text, cuts, inside)
def test_each_character_is_thought_or_said(text: str, sizes: list[int], inside: tuple[str, ...]) -> None:
    scanner = Scanner(None, inside)
    pieces = [piece for chunk in cut_up(text, sizes) for piece in scanner.feed(chunk)] + scanner.flush()
    assert "".join(piece.text for piece in pieces) == text
    thoughts, said, _ = moved([*text], inside)
    for kind, got in (("thoughts", thoughts), ("text", said)):
        there = "".join(piece.text for piece in pieces if piece.kind == kind)
        assert "".join(got.split()) == "".join(there.split())


# Whatever is code is read alike only where it is closed, and only the scanner knows calls and answers. Words that show
# a mark to be the subject of its sentence may come later than a stream can wait for.
_NOT_SAME = {"`", "    ", " tag", "and", ". ", "c.", "b ", '"'}
SAME = [one for one in FRAGMENTS if one not in _NOT_SAME and "final" not in one and "response" not in one]


@thorough
@given(st.lists(st.sampled_from(SAME), max_size=12).map("".join))
def test_the_diagnosis_reads_what_a_stream_reads(text: str) -> None:
    if any(mark in text for mark in LONE_ANSWER_MARKS):
        return
    thoughts = read_layout(text).thoughts
    if any(thought.mark in {*CLOSING_MARKS, "</think:a>"} for thought in thoughts):
        # No stream could know before.
        return
    assert [thought.inner for thought in thoughts] == scan(text).thoughts


# -- what is remembered of a model --


def test_a_whole_text_shows_whether_it_began_inside() -> None:
    known = KnownBeginnings()
    reading = ThoughtReading("auto", known, "model")
    assert reading.of_stream() == ()
    assert reading.of_whole("hm</think>Hi", None, "stop") == ("</think>",)
    assert ThoughtReading("auto", known, "model").of_stream() == ("</think>",)
    assert ThoughtReading("auto", known, "another").of_stream() == ()
    assert reading.of_whole("cut off", None, "length") == ("</think>",)
    assert reading.of_whole("Hi", None, "stop") == ()
    assert reading.of_stream() == ()
    assert (
        reading.of_whole('<tool_call>{"name": "f", "arguments": {"a": "x</think>y"}}</tool_call>', None, "stop") == ()
    )


def test_a_stream_shows_it_at_its_end() -> None:
    reading = ThoughtReading("auto", KnownBeginnings(), "model")

    def read(text: str, reason: str | None) -> None:
        scanner = Scanner(None, reading.of_stream())
        scanner.feed(text)
        scanner.flush()
        reading.learn(scanner, reason)

    read("hm</think>Hi", "stop")
    assert reading.of_stream() == ("</think>",)
    read("cut off", "length")
    read("broken off", None)
    read("hm</think>Hi", "stop")
    assert reading.of_stream() == ("</think>",)
    read("No thoughts this time.", "stop")
    assert reading.of_stream() == ()


@pytest.mark.parametrize("text", ["Say {= </think> twice", "{= </think> x|", "<function= to= </think>|"])
def test_a_mark_in_a_sentence_shows_nothing_however_it_is_cut(text: str) -> None:
    for chunks in ([text], [*text], cut_up(text, [2])):
        scanner = Scanner()
        for chunk in chunks:
            if not scanner.is_plain(chunk):
                scanner.feed(chunk)
        scanner.flush()
        assert scanner.lone_closing is None


def test_only_so_many_models_are_remembered() -> None:
    known = KnownBeginnings()
    for number in range(1000):
        known.learn(number, "</think>")
    remembered = [number for number in range(1000) if known.mark_of(number)]
    assert len(remembered) == 256
    assert remembered[-1] == 999
