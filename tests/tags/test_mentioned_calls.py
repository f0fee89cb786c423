"""Calls that a text only shows, and markup of calls that holds none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.scanned import Scan, scan

HERMES = '<tool_call>{"name": "f", "arguments": {"a": "1"}}</tool_call>'
QWEN = "<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>"
KIMI = '<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"a": 1}<|tool_call_end|>'
SECTION, SECTION_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
FORMS = [
    HERMES,
    QWEN,
    '[TOOL_CALLS]f{"a": 1}',
    '{"name": "f", "arguments": {}}',
    "[f(a=1)]",
    SECTION + KIMI + SECTION_END,
]


def read(text: str, tools: Any = ("f", "g")) -> Scan:
    """The same in any cut in two, and character by character."""
    whole = scan(text, tools)
    for place in range(0, len(text), 1 + len(text) // 120):
        assert scan([text[:place], text[place:]], tools) == whole
    assert scan([*text], tools) == whole
    return whole


@pytest.mark.parametrize("call", FORMS)
@pytest.mark.parametrize("quotes", ['""', "''", "“”", "«»", "「」", "„“"])
def test_a_call_in_quotes_is_text(call: str, quotes: str) -> None:
    text = f"It wrote {quotes[0]}{call}{quotes[1]} to me."
    seen = read(text)
    assert not seen.calls
    assert seen.text == text


@pytest.mark.parametrize("call", FORMS)
@pytest.mark.parametrize(
    "sentence",
    [
        "In this syntax, a call looks like {} in the text.",
        "For example, {} calls f.",
        "The model writes {} when it wants to call.",
        "To call f, you can write {} and wait.",
        "A text such as {}, if it is complete, is a call.",
    ],
)
def test_a_call_within_a_sentence_that_shows_it_is_text(call: str, sentence: str) -> None:
    text = sentence.replace("{}", call)
    seen = read(text)
    assert not seen.calls
    assert seen.text == text


@pytest.mark.parametrize("call", FORMS)
@pytest.mark.parametrize(
    ("before", "behind"),
    [
        ("Let me look. ", ""),
        ("Let me look. ", " Done."),
        ("I will use f: ", "\nand go on."),
        ("Here is an example: ", "\n"),
        ("Let me call it with ", ""),
        ("Some text before ", " after"),
        ("Then it writes a file: ", " and is done."),
        ('He said "go". ', ""),
        ('He said "', ""),
        ("It's ", "'"),
    ],
)
def test_other_calls_in_a_line_are_calls(call: str, before: str, behind: str) -> None:
    seen = read(before + call + behind)
    assert [one.name for one in seen.calls] == ["f"]
    assert seen.text == before + behind


@pytest.mark.parametrize("call", FORMS)
def test_a_text_that_is_all_in_quotes_has_calls(call: str) -> None:
    assert len(read(f'\n"{call}"').calls) == 1
    assert len(read(f'"{call}"\n"{call}"\n').calls) == 2
    text = f'"{call}" is how to call f.'
    assert read(text).text == text


def test_a_quote_that_is_never_closed_holds_back_only_so_much() -> None:
    text = 'It wrote "' + '<tool_call>{"name": "f", "arguments": {"a": "' + "x" * 70_000
    seen = scan([text[place : place + 997] for place in range(0, len(text), 997)], ["f"])
    assert seen.calls[0].arguments.endswith("x" * 100)


def test_an_indented_invoke_without_its_wrapper_is_code() -> None:
    invoke = '<invoke name="f">\n<parameter name="a">1</parameter>\n</invoke>'
    assert [one.name for one in read(invoke).calls] == ["f"]
    text = "Like this:\n\n    " + invoke.replace("\n", "\n    ")
    seen = read(text)
    assert not seen.calls
    assert seen.text == text


# -- markup without a call --


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (f"Done. {SECTION}{SECTION_END}", "Done. "),
        (f"Done.\n{SECTION}\n{SECTION_END}\nBye.", "Done.\n\nBye."),
        ("Done.<｜tool▁calls▁begin｜><｜tool▁calls▁end｜>", "Done."),
        ("Done.\n<tool_calls>[]</tool_calls>\n", "Done.\n\n"),
        ("Done.\n<tool_call></tool_call>", "Done.\n"),
        ("<|tool_call_start|>[]<|tool_call_end|>", ""),
        ("Done.[TOOL_CALLS][]", "Done."),
        ("<minimax:tool_call>\n</minimax:tool_call>", ""),
        # The end of the text cut the beginning of a call off.
        ("Let me look.[TOOL_CALLS]", "Let me look."),
        ("Let me look.\n<tool_call>", "Let me look.\n"),
        ("Let me look.\n<tool_call>\n", "Let me look.\n"),
        ('Let me look.\n<tool_call>\n{"na', "Let me look.\n"),
        ("Let me look.\n\n<tool_call>\n<function=f", "Let me look.\n\n"),
        (f"Let me look.{SECTION}<|tool_call_begin|>functions.f:0", "Let me look."),
        ("<|start|>assistant to=functions.f<|channel|>commentary <|constrain|>json", ""),
    ],
)
def test_markup_of_calls_that_holds_none_is_no_content(text: str, answer: str) -> None:
    seen = read(text)
    assert not seen.calls
    assert seen.text == text
    assert seen.answer == answer


@pytest.mark.parametrize(
    "text",
    [
        "The tag is <tool_call>",
        "Mistral uses [TOOL_CALLS]",
        "The opening tag:\n<tool_call>",
        "Use <tool_call></tool_call> tags.",
        "<tool_call></tool_call> tags are empty.",
        "<tool_call> opens",
        f"Kimi writes {SECTION}{SECTION_END} around calls.",
        f"Kimi writes {SECTION} first, and <|tool_call_begin|> then.",
        "`<tool_call>",
    ],
)
def test_markup_that_is_mentioned_is_content(text: str) -> None:
    seen = read(text)
    assert not seen.calls
    assert seen.answer == text


def test_other_text_between_tokens_does_not_hide_the_calls() -> None:
    seen = read(f"Now. {SECTION} some noise {KIMI} and {KIMI}{SECTION_END} Bye.")
    assert [one.name for one in seen.calls] == ["f", "f"]
    assert seen.text == "Now.  Bye."
    seen = read(f"{SECTION}{KIMI} is over")
    assert len(seen.calls) == 1
    assert seen.text == " is over"


# -- thoughts --


@pytest.mark.parametrize(
    "block",
    [
        QWEN,
        '<minimax:tool_call><invoke name="f"><parameter name="a">1</parameter></invoke></minimax:tool_call>',
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    ],
)
def test_a_call_that_ends_thoughts_and_the_text(block: str) -> None:
    for inside in ((), ("</think>",)):
        opening = "" if inside else "<think>"
        text = f"{opening}I should call f.\n{block}"
        whole = scan(text, ["f"], inside)
        assert [one.name for one in whole.calls] == ["f"]
        assert whole.thoughts == ["I should call f.\n"]
        assert scan([*text], ["f"], inside) == whole
        draft = f"{opening}I could write {block} or not.</think>No."
        assert not scan(draft, ["f"], inside).calls
        assert scan([*draft], ["f"], inside) == scan(draft, ["f"], inside)


def test_details_end_thoughts_that_are_not_closed() -> None:
    seen = read(f"<details><summary>Thoughts</summary>\n<think>\nhm\n</details>\nAnswer. {HERMES}")
    assert [one.name for one in seen.calls] == ["f"]
    assert seen.thoughts == ["\nhm\n"]
    assert seen.answer.endswith("</details>\nAnswer. ")
    seen = read(f"<details></details><think>\nhm </details>\n{HERMES}")
    assert not seen.calls
