"""Marked thoughts are found in a text, and marks that are only mentioned are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_llm.tags.thought_marks import THOUGHT_MARKS
from otel_llm.tags.thoughts import may_hold_thoughts, read_layout


def parts(text: str) -> tuple[list[str], str]:
    """The thoughts in `text`, and the rest."""
    layout = read_layout(text)
    return [thought.inner for thought in layout.thoughts], layout.without_thoughts(text)


@pytest.mark.parametrize(
    ("text", "thoughts", "rest"),
    [
        ("<think>\nhm\n</think>\n\nHi", ["\nhm\n"], "\n\nHi"),
        ("<think>\n\n</think>\n\nHi", ["\n\n"], "\n\nHi"),
        ("<think>hm</think>Hi", ["hm"], "Hi"),
        ("hm\n</think>\n\nHi", ["hm\n"], "\n\nHi"),
        ("Two.</think>The answer", ["Two."], "The answer"),
        ("Two. </think> The answer", ["Two. "], " The answer"),
        ("</think>Hi", [""], "Hi"),
        ("hm </think>", ["hm "], ""),
        ("<think>never closed", ["never closed"], ""),
        ("Sure!\n<think>\nhm\n</think>\nHi", ["\nhm\n"], "Sure!\n\n\nHi"),
        ("Sure! <think>\nhm\n</think>\nHi", ["\nhm\n"], "Sure! \n\nHi"),
        ("Sure. <think>hm</think> Hi", ["hm"], "Sure. \n Hi"),
        ("<think>a</think><think>b</think>c", ["a", "b"], "c"),
        ("<think>\n```\nhm\n</think>\nHi", ["\n```\nhm\n"], "\nHi"),
        ("<|channel>thought\nhm<channel|>Hi", ["\nhm"], "Hi"),
        ("hm<channel|>Hi", ["hm"], "Hi"),
        ("- one\n- two\n</think>\n\nHi", ["- one\n- two\n"], "Hi"),
        ("<think>\n- one: two\n</think>\n- three", ["\n- one: two\n"], "- three"),
        ("用户想要。\n</think>是的，好。", ["用户想要。\n"], "是的，好。"),
        ("<think>是的，用户\n想要</think>好", ["是的，用户\n想要"], "好"),
        ("a <|START_THINKING|>hm<|END_THINKING|>b", ["hm"], "a \nb"),
    ],
)
def test_thoughts(text: str, thoughts: list[str], rest: str) -> None:
    assert may_hold_thoughts(text)
    found, left = parts(text)
    assert found == thoughts
    assert left.strip("\n") == rest.strip("\n")


@pytest.mark.parametrize("opening", THOUGHT_MARKS)
def test_each_pair_of_marks(opening: str) -> None:
    assert parts(f"{opening}\nhm\n{THOUGHT_MARKS[opening]}\nHi") == (["\nhm\n"], "\nHi")


@pytest.mark.parametrize(
    "text",
    [
        "Use `<think>` and `</think>`.",
        "```\n<think>a</think>\n```",
        "> ~~~\n> <think>a</think>\n> ~~~",
        "<think> and </think> are tags",
        "<think>/</think> are tags",
        "The <think> tag opens, the </think> tag closes.",
        "It ends with </think>.",
        '"<think>x</think>"',
        "    <think>\n    x\n    </think>",
        "Like this:\n\n\t<think>x</think>\n",
        "wrap it in <think>…</think> please",
        "<think> tags are used",
        "a [THINK] b? no",
        "('</think>')",
        "**</think>** closes",
        "I use <think>ideas</think> here.",
        "a < b and c > d",
        "- <think>: opens a thought\n- </think>: closes it",
        "| <think> | start |\n| </think> | end |",
        "<think> | start\n</think> | end\n",
        "</think>: closes it",
        "<think>: opens it\n</think>: closes it\n",
        "<think>\n: opens it\n\n</think>\n: closes it\n",
        "1. <think>\n2. </think>\n",
        "</think> closes it.",
        "The closing tag </think>",
        "Closing tag: </think>\n",
        "A thought ends with </think>",
        "<td></think></td>",
        "- </think> : ferme la pensée",
        "<think>标签表示思考开始，</think>表示结束。",
        "Option<think>\nand\n",
        "</think>\nThis tag closes the reasoning.",
        "<think>\nThe tag opens it.",
        "</think>\nIt is the closing tag.",
        "[THINK] about it.",
        "Three steps:\n[THINK] about it.\n[DO] it.",
    ],
)
def test_mentioned_marks(text: str) -> None:
    assert parts(text) == ([], text)


@pytest.mark.parametrize(
    ("text", "thought"),
    [
        ("[THINK]hm", "hm"),
        ("[THINK] hm [/THINK]Hi", " hm "),
        ("</think>\nThis is the answer: 4.", ""),
        ("hm</think>\nThe box is open.", "hm"),
    ],
)
def test_marks_that_are_not_mentioned(text: str, thought: str) -> None:
    assert parts(text)[0] == [thought]


@given(st.lists(st.sampled_from([*THOUGHT_MARKS, *THOUGHT_MARKS.values(), "`", "```", "~~~", "\n", "    ", "a", ". "])))
def test_the_layout_of_any_text(pieces: list[str]) -> None:
    text = "".join(pieces)
    layout = read_layout(text)
    assert len(layout.plain) == len(text)
    places = [place for thought in layout.thoughts for place in (thought.start, thought.end)]
    assert places == sorted(places)
    assert all(0 <= place <= len(text) for place in places)
    assert all(thought.inner in text[thought.start : thought.end] for thought in layout.thoughts)
    # In lines of their own, so that no other text hides them.
    assert bool(read_layout(f"<think>\nhm\n</think>\n{text}").thoughts)
