"""Text that models should not write: nothing is lost, nothing is invented, nothing raises, and work is bounded."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_llm.tags import IncrementalToolDetector, ToolCallTagRewriter
from otel_llm.tags.declared import declared_tools
from otel_llm.tags.scanner import Scanner
from tests.helpers.scanned import (
    CLOSING,
    OPENING,
    WRITTEN_ANEW,
    cut_up,
    cuts,
    detect,
    rewrite,
    rewrite_with_buffer,
    scan,
)
from tests.helpers.thoroughness import examples
from tests.helpers.written_calls import FAMILIES, MARKERS, Call, calls_of, tools_for

MIB = 1_048_576
thorough = settings(max_examples=examples(200), deadline=None, suppress_health_check=list(HealthCheck))

# Characters that occur in no marker, no bracket and no JSON.
HAN = "一二三四五六七八九十"
han = st.text(st.sampled_from(HAN), min_size=1, max_size=6)


def han_in(text: str) -> str:
    return "".join(char for char in text if char in HAN)


broken = st.lists(
    han
    | st.sampled_from(
        [*MARKERS, *(marker[:-1] for marker in MARKERS), '{"name": "f", "arguments": {', "f(", '"', "}", "`"]
    ),
    max_size=20,
).map("".join)


@settings(max_examples=examples(600), deadline=None, suppress_health_check=list(HealthCheck))
@given(broken, cuts, st.sampled_from([None, [], ["f"]]))
def test_no_character_outside_of_markup_is_lost(text: str, sizes: list[int], tools: Any) -> None:
    chunks = cut_up(text, sizes)
    output = rewrite(text, tools)
    assert rewrite(chunks, tools) == output
    assert no_han_lost(text, output)
    assert no_han_lost(text, rewrite_with_buffer(chunks, tools))
    # A body that is written anew keeps only name and arguments, so no characters are compared.
    assert rewrite(chunks, tools, WRITTEN_ANEW) == rewrite(text, tools, WRITTEN_ANEW)
    if "<" not in text and "[" not in text and "`" not in text:
        assert han_in(detect(chunks, tools)[0]) == han_in(text)


def no_han_lost(text: str, output: str) -> bool:
    """Whether each character of `HAN` is there, in order."""
    return han_in(output) == han_in(text)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_with_a_character_lost(name: str) -> None:
    """A character that is missing, or one too many, breaks one call at most."""
    family = FAMILIES[name]

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(calls_of(family), st.data(), cuts)
    def check(calls: list[Call], data: st.DataObject, sizes: list[int]) -> None:
        text = family.write(calls)
        place = data.draw(st.integers(0, len(text) - 1))
        more = data.draw(st.sampled_from(["", "<", '"', "}", "\ud83d", "\x00", "`", "\n"]))
        text = f"{text[:place]}{more}{text[place + 1 :]}\nthe end"
        tools = tools_for(calls)
        assert scan(cut_up(text, sizes), tools) == scan(text, tools)
        output = rewrite(text, tools)
        assert rewrite(cut_up(text, sizes), tools) == output
        assert detect(cut_up(text, sizes), tools)[0] == detect(text, tools)[0]
        assert output.count(OPENING) >= output.count(CLOSING)

    check()


@pytest.mark.parametrize(
    "end", ["", "\x00", "\ud83d", "<", "<|", "<tool_call", "[TOOL_", "`", "```tool_code", "\n ", " to="]
)
def test_half_a_marker_at_the_end(end: str) -> None:
    for before in ("", "Text. ", "Text.\n", '<tool_call>{"name": "f", "arguments": {}}</tool_call>'):
        text = before + end
        output = rewrite([*text])
        assert output == rewrite(text)
        assert output.endswith(end)
        assert detect(text)[0].endswith(end)


@pytest.mark.parametrize("opener", [marker for marker in MARKERS if len(marker) > 3 and not marker.startswith("{")])
def test_an_opener_without_a_call_behind_it(opener: str) -> None:
    if opener in {'<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>', "[f(a=1)]", "\ntool: [f]: {}"}:
        return
    for text in (f"a {opener}", f"a {opener} and so on", f"a {opener}\n\n{opener} b"):
        assert rewrite([*text]) == rewrite(text) == text
        assert detect([*text])[0] == text


def test_surrogates_and_nul_pass() -> None:
    text = '\ud83d\x00<tool_call>{"name": "f", "arguments": {"a": "\ude00\x00\ud83d"}}</tool_call>\ude00'
    # JSON has no control characters in strings.
    written = text.replace("\ude00\x00\ud83d", "\ude00\\u0000\ud83d")
    assert rewrite([*text]) == written.replace("<tool_call>", OPENING).replace("</tool_call>", CLOSING)
    assert detect(text) == ("\ud83d\x00\ude00", [Call("f", {"a": "\ude00\x00\ud83d"})])


@pytest.mark.parametrize("depth", [50, 5_000, 200_000])
def test_deep_nesting(depth: int) -> None:
    text = '<tool_call>{"name": "f", "arguments": {"a": ' + "[" * depth + "]" * depth + "}}</tool_call>."
    assert rewrite(text) == text.replace("<tool_call>", OPENING).replace("</tool_call>", CLOSING)
    shown, calls = detect(text)
    assert len(calls) == 1 or text.startswith(shown[:40])
    for unmarked in (
        "[" * depth + "]" * depth,
        '{"name": "f", "arguments": {"a": ' + "[" * depth,
        "[f(a=" + "[" * depth + "]" * depth + ")]",
    ):
        assert rewrite(unmarked, ["f"]) == unmarked or depth == 50


UNCLOSED = {
    "json-object": '<tool_call>{"name": "f", "arguments": {"a": "',
    "json-array": '[TOOL_CALLS] [{"name": "f", "arguments": {"a": "',
    "name+json": '[TOOL_CALLS]f{"a": "',
    "xml": "<tool_call>f<arg_key>a</arg_key><arg_value>w",
    "gemma": '<|tool_call>call:f{a:<|"|>',
}


@pytest.mark.parametrize("kind", UNCLOSED)
def test_ten_megabytes_of_one_unclosed_call(kind: str) -> None:
    opened = UNCLOSED[kind]
    filler = "word and word, " * (10 * MIB // 15)
    stream = ToolCallTagRewriter("ojlk,dfsd").stream()
    detector = IncrementalToolDetector()
    written = len(stream.feed(opened))
    detector.process_chunk(opened)
    for chunk in cut_up(filler, [65_536]):
        written += len(stream.feed(chunk))
        assert len(stream.held) < 64
        assert detector.process_chunk(chunk) == ("", [])
    written += len(stream.flush())
    assert written >= len(filler)
    (call,) = detector.finalize()
    assert call.name == "f"
    assert call.arguments["a"].endswith(filler)


@pytest.mark.parametrize("opened", ["[f(a='", '{"name": "f", "arguments": {"a": "'])
def test_ten_megabytes_that_would_have_to_be_held_are_text(opened: str) -> None:
    filler = "word and word, " * (10 * MIB // 15)
    scanner = Scanner(declared_tools(["f"]))
    most, said = 0, 0
    for chunk in itertools.chain([opened], cut_up(filler, [65_536])):
        said += sum(len(piece.text) for piece in scanner.feed(chunk))
        most = max(most, len(scanner.held))
    said += sum(len(piece.text) for piece in scanner.flush())
    assert said == len(opened) + len(filler)
    assert MIB < most < 9 * MIB


@pytest.mark.parametrize("opened", ["[f(a='", '{"name": "f", "arguments": {"a": "'])
def test_a_buffer_that_would_get_long_is_text(opened: str) -> None:
    rewriter = ToolCallTagRewriter("ojlk,dfsd", tools=["f"])
    text = opened + "word, " * 40_000
    outputs, buffer, longest = [], "", 0
    for chunk in cut_up(text, [4096]):
        output, buffer = rewriter.rewrite_streaming_chunk(chunk, buffer)
        outputs.append(output)
        longest = max(longest, len(buffer))
    assert "".join(outputs) + buffer == text
    assert 65_536 < longest < 150_000
    output, buffer = rewriter.rewrite_streaming_chunk('\n<tool_call>{"name": "f"}</tool_call>', buffer)
    assert output == f'\n{OPENING}{{"name": "f"}}{CLOSING}'


@pytest.mark.parametrize("false", ["<tool_call>", "<｜DSML｜", "[TOOL_CALLS]", '{"', "<|tool_call>call:f{"])
def test_after_a_thousand_markers_without_a_call_all_is_text(false: str) -> None:
    call, rewritten = '\n<tool_call>{"name": "f"}</tool_call>', f'\n{OPENING}{{"name": "f"}}{CLOSING}'
    many = false * 1100 + call
    # Brackets alone do not keep a marker from being one.
    assert rewrite(many, ["f"]) == (false * 1100 + rewritten if false == '{"' else many)
    assert rewrite(cut_up(many, [5000, 7]), ["f"]) == rewrite(many, ["f"])
    assert rewrite(false * 20 + call, ["f"]) == false * 20 + rewritten


def test_a_passing_body_takes_no_memory() -> None:
    stream = ToolCallTagRewriter("ojlk,dfsd").stream()
    stream.feed('<tool_call>{"name": "f", "arguments": {"a": "')
    stream.feed("x" * 1000)
    tracemalloc.start()
    try:
        for _ in range(1000):
            stream.feed("0123456789" * 50)
        assert tracemalloc.get_traced_memory()[0] < 50_000
    finally:
        tracemalloc.stop()


def test_twenty_thousand_calls_in_one_text() -> None:
    one = '<tool_call>{"name":"f"}</tool_call>\n'
    count = 20_000
    stream = ToolCallTagRewriter("ojlk,dfsd").stream()
    output = "".join(map(stream.feed, cut_up(one * count, [65_536]))) + stream.flush()
    assert output == '<ojlk>{"name":"f"}</dfsd>\n' * count


def test_a_name_without_a_call() -> None:
    text = "<tool_call>" + "n" * 100_000 + "</tool_call>"
    assert rewrite(cut_up(text, [7])) == rewrite(text) == text
    text = '<tool_call>{"name": ' + json.dumps("n" * 100_000) + ', "arguments": {}}</tool_call>'
    assert scan(text).calls[0].name == "n" * 100_000


@thorough
@given(st.text(max_size=80), cuts)
def test_random_text(text: str, sizes: list[int]) -> None:
    assert scan(cut_up(text, sizes)) == scan(text)
    seen = scan(text)
    assert seen.calls or seen.text == text
