"""Custom tags: the forms in which users give them, tags that are refused, and text rewritten whole and in chunks."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_llm.tags import ToolCallTagRewriter, ToolCallTags, UnifiedStreamProcessor
from otel_llm.tags.custom_tags import NAMED_TAGS, read_tags
from tests.helpers.scanned import WRITTEN_ANEW, cut_up, cuts, rewrite, rewrite_with_buffer
from tests.helpers.thoroughness import examples

BODY = '{"name": "list_files", "arguments": {"directory_path": "abstractllm/", "recursive": true}}'
REWRITTEN = f"<ojlk>{BODY}</dfsd>"
FORMATS = {
    "qwen": f"<|tool_call|>{BODY}</|tool_call|>",
    "llama": f"<function_call>{BODY}</function_call>",
    "xml": f"<tool_call>{BODY}</tool_call>",
    "gemma": f"```tool_code\n{BODY}\n```",
    "bare json": BODY,
}


# -- initialization --


def test_comma_separated_tags() -> None:
    tags = read_tags("ojlk,dfsd")
    assert (tags.start_tag, tags.end_tag) == ("ojlk", "dfsd")
    assert (tags.opening, tags.closing) == ("<ojlk>", "</dfsd>")
    assert read_tags(" ojlk , dfsd ") == tags
    assert ToolCallTagRewriter("ojlk,dfsd").target_tags.start_tag == "ojlk"
    rewriter = UnifiedStreamProcessor("any", tool_call_tags="ojlk,dfsd").tag_rewriter
    assert rewriter is not None
    assert rewriter.target_tags.start_tag == "ojlk"


@pytest.mark.parametrize(
    ("text", "opening", "closing"),
    [
        ("custom_tool", "<custom_tool>", "</custom_tool>"),
        ("<custom_tool>", "<custom_tool>", "</custom_tool>"),
        ("[call]", "[call]", "[/call]"),
        ("<|x|>,<|/x|>", "<|x|>", "<|/x|>"),
        ("ojlk,/dfsd", "<ojlk>", "</dfsd>"),
        ("[[call,call]]", "[[call", "call]]"),
        ("xml", "<tool_call>", "</tool_call>"),
        ("qwen", "<|tool_call|>", "</|tool_call|>"),
        ("llama3", "<function_call>", "</function_call>"),
        ("gemma", "```tool_code\n", "\n```"),
    ],
)
def test_one_tag_and_named_formats(text: str, opening: str, closing: str) -> None:
    tags = read_tags(text)
    assert (tags.opening, tags.closing) == (opening, closing)
    assert rewrite(FORMATS["xml"], tags=tags) == opening + BODY + closing
    assert rewrite(FORMATS["xml"], tags=text) == opening + BODY + closing


def test_tags_objects_are_used_as_given() -> None:
    exact = ToolCallTags("ojlk", "dfsd", auto_format=False)
    assert rewrite(FORMATS["xml"], tags=exact) == f"ojlk{BODY}dfsd"
    processor = UnifiedStreamProcessor("any", tool_call_tags=exact)
    assert processor.tag_rewriter is not None
    assert processor.tag_rewriter.target_tags is exact


def test_a_rewriter_is_used_as_given() -> None:
    rewriter = ToolCallTagRewriter("ojlk,dfsd")
    processor = UnifiedStreamProcessor("any", tool_call_tags=rewriter)
    assert processor.tag_rewriter is rewriter


def test_no_tags() -> None:
    processor = UnifiedStreamProcessor("any")
    assert processor.tag_rewriter is None
    assert processor.tag_rewrite_buffer == ""


@pytest.mark.parametrize("tags", ["a,b,c", ",", "x,", "same,same ,", '"', 42, object(), ["a", "b"]])
def test_bad_tags_are_a_logged_error_and_nothing_is_rewritten(tags: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        processor = UnifiedStreamProcessor("any", tool_call_tags=tags)
    assert processor.tag_rewriter is None
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "".join(processor.process_stream([FORMATS["xml"]])) == FORMATS["xml"]


# -- tags that cannot be used --


@pytest.mark.parametrize(
    ("start", "end", "auto_format", "why"),
    [
        ("", "x", True, "empty"),
        ("x", " ", True, "empty"),
        ("<x>", "<x>", True, "told apart"),
        ("x", "x", False, "told apart"),
        ("x", "xy", False, "begins with"),
        ("<x><y>", "<x>", True, "begins with"),
        ("{", "}", True, "inside JSON"),
        ('"', "]", True, "inside JSON"),
        ("true", "x", False, "inside JSON"),
        ("x", "42", False, "inside JSON"),
        ("name", "end_of_it", False, "inside JSON"),
        ("call", "arguments", False, "inside JSON"),
        ('"arguments": ', "call", False, "inside JSON"),
    ],
)
def test_tags_that_no_parser_could_find_again(start: str, end: str, auto_format: bool, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ToolCallTags(start, end, auto_format=auto_format)


def test_tags_of_another_type() -> None:
    with pytest.raises(TypeError):
        ToolCallTags(1, "x")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        ToolCallTagRewriter(7)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="names 3 tags"):
        read_tags("a,b,c")


@given(st.text(max_size=8), st.text(max_size=8), st.booleans())
def test_accepted_tags_can_be_found_again(start: str, end: str, auto_format: bool) -> None:
    try:
        tags = ToolCallTags(start, end, auto_format=auto_format)
    except ValueError:
        return
    written = rewrite(FORMATS["xml"], tags=tags)
    assert written == tags.opening + BODY + tags.closing


# -- basic rewriting --


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("target", [None, *NAMED_TAGS])
def test_each_named_format_in_one_chunk(name: str, target: str | None) -> None:
    if target is None:
        assert rewrite(FORMATS[name]) == ToolCallTagRewriter("ojlk,dfsd").rewrite_text(FORMATS[name]) == REWRITTEN
        return
    tags = NAMED_TAGS[target]
    written = rewrite(FORMATS[name], tags=tags)
    assert written == tags.opening + BODY + tags.closing
    assert rewrite(written) == REWRITTEN


# -- split chunks --


@pytest.mark.parametrize("name", FORMATS)
def test_split_across_two_chunks(name: str) -> None:
    text = FORMATS[name]
    for place in range(len(text) + 1):
        assert rewrite([text[:place], text[place:]]) == REWRITTEN


@pytest.mark.parametrize("name", FORMATS)
def test_character_by_character(name: str) -> None:
    assert rewrite([*FORMATS[name]]) == REWRITTEN
    assert rewrite_with_buffer([*FORMATS[name]], ["list_files"]) == REWRITTEN


@given(cuts)
def test_multiple_splits(sizes: list[int]) -> None:
    text = " and ".join(["Hi", FORMATS["qwen"], FORMATS["xml"], "bye"])
    expected = f"Hi and {REWRITTEN} and {REWRITTEN} and bye"
    assert rewrite(cut_up(text, sizes)) == rewrite_with_buffer(cut_up(text, sizes)) == expected


# -- mixed content --


@pytest.mark.parametrize(
    ("before", "behind"), [("I'll list them.\n", ""), ("", "\nDone."), ("A ", " B"), ("\n\n", "\n\n")]
)
def test_text_before_and_behind(before: str, behind: str) -> None:
    for name in ("qwen", "llama", "xml"):
        text = before + FORMATS[name] + behind
        assert rewrite([*text]) == before + REWRITTEN + behind


def test_several_calls_in_one_stream() -> None:
    text = "\n".join(FORMATS[name] for name in ("qwen", "llama", "xml", "gemma", "bare json"))
    assert rewrite([*text]) == "\n".join([REWRITTEN] * 5)


# -- edge cases --


@pytest.mark.parametrize("nothing", ["", None])
def test_empty_chunks_and_none(nothing: Any) -> None:
    stream = ToolCallTagRewriter("ojlk,dfsd").stream()
    output = "".join(stream.feed(chunk) + stream.feed(nothing) for chunk in FORMATS["qwen"]) + stream.flush()
    assert output == REWRITTEN
    rewriter = ToolCallTagRewriter("ojlk,dfsd")
    assert rewriter.rewrite_streaming_chunk(nothing) == ("", "")
    assert rewriter.rewrite_streaming_chunk(nothing, "") == ("", "")


@pytest.mark.parametrize(
    "body",
    [
        '{"name": "f" "arguments": {"a": 1}}',
        '{"name": "f", "arguments": {"a": x1}}',
        '{"name": "f", "arguments": {"a": @}}',
    ],
)
def test_malformed_json_is_kept(body: str) -> None:
    text = f"Hi <tool_call>{body}</tool_call> and bye"
    assert rewrite(text) == rewrite([*text]) == f"Hi <ojlk>{body}</dfsd> and bye"


@pytest.mark.parametrize(
    "body", ['{"name": f, "arguments": {}}', '{"arguments": {"a": 1}', "{'arguments': {'a': True}}"]
)
def test_a_body_without_a_name_stays_as_it_was(body: str) -> None:
    for tags in (ToolCallTags("ojlk", "dfsd"), WRITTEN_ANEW):
        text = f"Hi <tool_call>{body}</tool_call> and bye"
        assert rewrite(text, tags=tags) == rewrite([*text], tags=tags) == text


@pytest.mark.parametrize(
    ("body", "written"),
    [
        (BODY, BODY),
        ('{"name":"f","arguments":{"a":1}}', '{"name": "f", "arguments": {"a":1}}'),
        ('{"parameters": {"a": 1}, "name": "f"}', '{"name": "f", "arguments": {"a": 1}}'),
        ('{"name": "f", "id": 3}', '{"name": "f", "arguments": {}}'),
        ('{"name": "f", "arguments": "{\\"a\\": 1}"}', '{"name": "f", "arguments": {"a": 1}}'),
        ('{"name": "f", "arguments": null}', '{"name": "f", "arguments": {}}'),
        # A body that is not JSON is repaired, or kept.
        ('{"name": "f" "arguments": {"a": 1}}', '{"name": "f", "arguments": {"a": 1}}'),
    ],
)
def test_bodies_are_written_anew_without_preserve_json(body: str, written: str) -> None:
    text = f"<tool_call>{body}</tool_call>"
    assert rewrite(text, tags=WRITTEN_ANEW) == rewrite([*text], tags=WRITTEN_ANEW) == f"<ojlk>{written}</dfsd>"


def test_large_payloads() -> None:
    body = json.dumps({"name": "write", "arguments": {"text": 'x "y" \n' * 20_000}})
    text = f"Now: <|tool_call|>{body}</|tool_call|> done"
    assert rewrite(cut_up(text, [1000])) == f"Now: <ojlk>{body}</dfsd> done"


# -- performance --


def test_text_without_calls_is_not_buffered() -> None:
    stream = ToolCallTagRewriter("ojlk,dfsd").stream()
    for number in range(100):
        chunk = f"This is chunk {number}. "
        assert stream.feed(chunk) == chunk
    assert stream.held == stream.flush() == ""


# -- integration --


def test_the_buffer_is_empty_between_calls() -> None:
    rewriter = ToolCallTagRewriter("ojlk,dfsd")
    buffer, outputs = "", []
    for _ in range(3):
        for char in FORMATS["qwen"] + ".":
            output, buffer = rewriter.rewrite_streaming_chunk(char, buffer)
            outputs.append(output)
        assert buffer == ""
    assert "".join(outputs) == f"{REWRITTEN}." * 3


def test_a_buffer_is_the_text_that_is_left() -> None:
    rewriter = ToolCallTagRewriter("ojlk,dfsd")
    output, buffer = rewriter.rewrite_streaming_chunk("Hi <tool_")
    assert isinstance(buffer, str)
    assert (output, buffer) == ("Hi ", "<tool_")
    # A buffer that was stored as plain text works too.
    output, rest = rewriter.rewrite_streaming_chunk(f"call>{BODY}</tool_call>.", str.__str__(buffer) + "")
    assert output + rest == f"{REWRITTEN}."
    output, rest = rewriter.rewrite_streaming_chunk("?", "half <tool")
    assert output + rest == "half <tool?"


@settings(max_examples=examples(60))
@given(
    st.sampled_from(["<tool_call>", "<function=f>", "[TOOL_CALLS]f{"]),
    st.booleans(),
)
def test_a_buffer_is_the_text_that_a_flush_would_give(text: str, anew: bool) -> None:
    tags = WRITTEN_ANEW if anew else ToolCallTags("ojlk", "dfsd")
    for end in range(len(text) + 1):
        assert rewrite_with_buffer([*text[:end]], tags=tags) == rewrite([*text[:end]], tags=tags)


def test_two_streams_of_one_rewriter_are_independent() -> None:
    rewriter = ToolCallTagRewriter("ojlk,dfsd")
    one, other = rewriter.stream(), rewriter.stream()
    assert one.feed("<tool_call>") == other.feed("a <")[2:] == ""
    assert one.feed(BODY + "</tool_call>") + one.flush() == REWRITTEN
    assert other.feed("b") + other.flush() == "<b"


def test_a_stream_may_be_fed_another_text() -> None:
    stream = ToolCallTagRewriter("ojlk,dfsd").stream()
    for _ in range(2):
        assert stream.feed(FORMATS["bare json"]) + stream.flush() == REWRITTEN


# -- real-world scenarios --


def test_the_scenario_of_the_source_document() -> None:
    """/tooltag 'ojlk' 'dfsd'"""
    tags = ToolCallTags("ojlk", "dfsd")
    chunks = ["<|tool_", "call|>", '{"name": "list_files", ', '"arguments": {"path": "."}}', "</|tool", "_call|>"]
    assert rewrite(chunks, tags=tags) == '<ojlk>{"name": "list_files", "arguments": {"path": "."}}</dfsd>'


def test_an_agentic_workflow() -> None:
    text = f"First I look.\n{FORMATS['qwen']}\nThen I read.\n<tool_call>[{BODY}, {BODY}]</tool_call>\nThat's all."
    output = rewrite(cut_up(text, [3]))
    assert output == f"First I look.\n{REWRITTEN}\nThen I read.\n{REWRITTEN}{REWRITTEN}\nThat's all."
    assert "tool_call" not in output


def test_tools_of_a_request() -> None:
    rewriter = ToolCallTagRewriter("ojlk,dfsd")
    assert rewriter.with_tools(None) is rewriter
    knows = rewriter.with_tools(["list_files"])
    assert knows.with_tools(["other"]) is knows
    assert knows.rewrite_text(f"Now {BODY}") == f"Now {REWRITTEN}"
    assert rewriter.with_tools([]).rewrite_text(BODY) == BODY
