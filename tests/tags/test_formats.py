"""Each syntax of the table: calls are found, however the text is cut, and are written correctly."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from otel_llm.tags.declared import declared_tools
from otel_llm.tags.formats import FORMATS
from otel_llm.tags.scanner import Scanner
from otel_llm.tags.writers import CallDelta, OpenAIWriter
from tests.helpers.scanned import (
    CLOSING,
    OPENING,
    WRITTEN_ANEW,
    Scan,
    cut_up,
    cuts,
    detect,
    exact,
    prose,
    rewrite,
    rewrite_with_buffer,
    scan,
)
from tests.helpers.thoroughness import examples
from tests.helpers.written_calls import FAMILIES, Call, Family, arguments_json, calls_of, tools_for

property_of_all = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))


def calls_in_deltas(chunks: Sequence[str], tools: Any) -> list[Call]:
    """The calls in the deltas that the stage makes."""
    scanner, writer = Scanner(declared_tools(tools)), OpenAIWriter()
    said: dict[int, list[str]] = {}
    names: dict[int, str] = {}
    for pieces in itertools.chain(map(scanner.feed, chunks), (scanner.flush() for _ in range(1))):
        for delta in writer.write(pieces):
            if not isinstance(delta, CallDelta):
                continue
            said.setdefault(delta.index, []).append(delta.arguments)
            if delta.name is not None:
                assert delta.id
                assert delta.index not in names
                names[delta.index] = delta.name
    return [Call(names[index], json.loads("".join(said[index]))) for index in sorted(said)]


# In a value, only the end of the text decides whether the tag that closes this one is part of the value.
OPENED_IN_VALUES = ("<parameter=city>", '<parameter name="city">', '<parameter name=\\"city\\">')
# Text between the calls of a response, besides white space, that belongs to none of them.
BETWEEN = ("</think>", "<|start|>assistant")
# The first message begins with the response.
ONLY_FIRST = {"muse_glimmer"}


def text_of(family: Family, calls: list[Call], before: str, behind: str) -> tuple[str, str, str]:
    """The text of a model, and the texts before and after its calls."""
    before = "" if family.name in ONLY_FIRST else before + "\n" * bool(before)
    behind = "\n" * bool(behind) + behind
    return before + family.write(calls) + behind, before, behind


def written(family: Family, seen: Scan, calls: list[Call]) -> str:
    """The text that the rewriter must write."""

    def one(number: int) -> str:
        made = seen.calls[number]
        if family.body is not None and made.verbatim:
            return OPENING + (family.body(calls[number]) if family.to_the_byte else made.body) + CLOSING
        return f'{OPENING}{{"name": {json.dumps(made.name)}, "arguments": {made.arguments or "{}"}}}{CLOSING}'

    return "".join(part if isinstance(part, str) else one(part) for part in seen.parts)


@pytest.mark.parametrize("name", FAMILIES)
def test_any_cut_of_the_text_gives_the_same_calls(name: str) -> None:
    family = FAMILIES[name]

    @property_of_all
    @given(calls_of(family), prose, prose, cuts)
    def check(calls: list[Call], before: str, behind: str, sizes: list[int]) -> None:
        text, before, behind = text_of(family, calls, before, behind)
        tools = tools_for(calls)
        chunks = cut_up(text, sizes)
        seen = scan(text, tools)
        assert scan(chunks, tools) == seen

        assert exact(one.call for one in seen.calls) == exact(calls)
        assert all(one.complete and one.understood for one in seen.calls)
        assert seen.text.startswith(before)
        assert seen.text.endswith(behind)
        rest = seen.text[len(before) : len(seen.text) - len(behind)]
        for word in BETWEEN:
            rest = rest.replace(word, "")
        assert not rest.strip()

        for call, one in zip(calls, seen.calls, strict=True):
            assert one.verbatim == (
                family.body is not None and not family.name.startswith(("apertus", "cohere_command", "inkling"))
            )
            if one.verbatim and family.body is not None and family.to_the_byte:
                assert one.body == family.body(call)
            if family.apart:
                assert one.arguments == arguments_json(call)

        output = rewrite(text, tools)
        assert output == written(family, seen, calls)
        assert rewrite(chunks, tools) == output
        if not any(tag in text for tag in OPENED_IN_VALUES):
            assert rewrite_with_buffer(chunks, tools) == output

        anew = rewrite(text, tools, WRITTEN_ANEW)
        assert rewrite(chunks, tools, WRITTEN_ANEW) == anew
        assert exact(between_tags(anew)) == exact(calls)

        assert exact(calls_in_deltas(chunks, tools)) == exact(calls)

        shown, found = detect(text, tools)
        assert (shown, exact(found)) == (seen.text, exact(calls))
        shown, found = detect(chunks, tools)
        assert (shown, exact(found)) == (seen.text, exact(calls))

    check()


def between_tags(text: str) -> list[Call]:
    """The calls in rewritten text. Each has exactly a name and arguments, in this order."""
    calls = []
    decoder = json.JSONDecoder()
    place = 0
    while (place := text.find(OPENING + '{"name": ', place)) >= 0:
        value, place = decoder.raw_decode(text, place + len(OPENING))
        assert [*value] == ["name", "arguments"]
        assert text.startswith(CLOSING, place)
        calls.append(Call(value["name"], value["arguments"]))
    return calls


# A call of these counts in a line of its own, or after another call.
MIXABLE = [family for family in FAMILIES.values() if family.name not in ONLY_FIRST]


@st.composite
def responses(draw: st.DrawFn) -> list[tuple[str, Family, list[Call]]]:
    """Prose, and calls in different syntaxes."""
    families = draw(st.lists(st.sampled_from(MIXABLE), min_size=1, max_size=4))
    return [(draw(prose), family, draw(calls_of(family))) for family in families]


@settings(max_examples=examples(150), deadline=None, suppress_health_check=list(HealthCheck))
@given(responses(), prose, cuts)
def test_mixed_formats_in_one_text(parts: list[tuple[str, Family, list[Call]]], last: str, sizes: list[int]) -> None:
    calls = [call for _, _, some in parts for call in some]
    try:
        tools = tools_for(calls)
    except ValueError:
        assume(False)
    text = "\n".join([f"{before}\n{family.write(some)}" for before, family, some in parts] + [last])
    seen = scan(text, tools)
    assert exact(one.call for one in seen.calls) == exact(calls)
    assert all(one.complete for one in seen.calls)
    chunks = cut_up(text, sizes)
    assert scan(chunks, tools) == seen
    assert rewrite(chunks, tools) == rewrite(text, tools)
    assert exact(detect(chunks, tools)[1]) == exact(calls)


# -- a text that is cut off --

GREEK = "αβγδεζηθικλμνξοπρστυφχψω"
greek = st.text(st.sampled_from(GREEK), min_size=1, max_size=8)
greek_arguments = st.dictionaries(
    st.sampled_from(["city", "path", "n"]), greek | st.lists(greek, max_size=2), min_size=1, max_size=3
)


def greek_in(text: str) -> str:
    return "".join(char for char in text if char in GREEK)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_text_that_is_cut_off_loses_nothing(name: str) -> None:
    family = FAMILIES[name]

    # With these names, letters in the arguments are not escaped.
    names = st.sampled_from(["get_a", "add", "list_files_"])
    call = st.builds(Call, names, greek_arguments)

    @property_of_all
    @given(
        st.lists(call, min_size=1, max_size=min(2, family.most_calls), unique_by=lambda one: one.name),
        greek,
        st.floats(0, 1),
        cuts,
    )
    def check(calls: list[Call], before: str, place: float, sizes: list[int]) -> None:
        text, _, _ = text_of(family, calls, before, "")
        text = text[: int(len(text) * place)]
        tools = tools_for(calls)
        output = rewrite(text, tools)
        chunks = cut_up(text, sizes)
        assert rewrite(chunks, tools) == output
        assert scan(chunks, tools) == scan(text, tools)
        assert greek_in(output) == greek_in(text)
        assert greek_in(rewrite_with_buffer(chunks, tools)) == greek_in(text)
        assert greek_in(rewrite(text, tools, WRITTEN_ANEW)) == greek_in(text)
        if family.marked:
            shown, found = detect(chunks, tools)
            said = json.dumps([call.arguments for call in found], ensure_ascii=False)
            assert len(greek_in(shown) + greek_in(said)) >= len(greek_in(text)) - 8

    check()


def test_at_least_fifty_five_families_with_their_references() -> None:
    names = {entry.name for entry in FORMATS}
    assert len(names) >= 55
    assert all(entry.reference and entry.models for entry in FORMATS)
    assert {name.partition("/")[0] for name in FAMILIES} <= names | {"llama4_pythonic", "pythonic"}


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        # With the type string, text stays text.
        ("<tool_call>f\n<arg_key>s</arg_key>\n<arg_value>42</arg_value>\n</tool_call>", {"s": "42"}),
        ("<tool_call>f\n<arg_key>s</arg_key>\n<arg_value>true</arg_value>\n</tool_call>", {"s": "true"}),
        ('<tool_call>f<arg_key>s</arg_key><arg_value>{"a": 1}</arg_value></tool_call>', {"s": '{"a": 1}'}),
        ("<tool_call>f<arg_key>n</arg_key><arg_value>42</arg_value></tool_call>", {"n": 42}),
        ("<tool_call>f<arg_key>o</arg_key><arg_value>42</arg_value></tool_call>", {"o": 42}),
        ("<tool_call>f<arg_key>o</arg_key><arg_value>x42</arg_value></tool_call>", {"o": "x42"}),
        ('<tool_call>f<arg_key>o</arg_key><arg_value>"x"</arg_value></tool_call>', {"o": '"x"'}),
        # Without a type, text that reads as JSON is JSON.
        ("<tool_call>f<arg_key>u</arg_key><arg_value>-1.5</arg_value></tool_call>", {"u": -1.5}),
        ("<tool_call>f<arg_key>u</arg_key><arg_value>null</arg_value></tool_call>", {"u": None}),
        ("<tool_call>f<arg_key>u</arg_key><arg_value>[1, 2]</arg_value></tool_call>", {"u": [1, 2]}),
        ("<tool_call>f<arg_key>u</arg_key><arg_value>[1, 2</arg_value></tool_call>", {"u": "[1, 2"}),
        ("<tool_call>f<arg_key>u</arg_key><arg_value>null and void</arg_value></tool_call>", {"u": "null and void"}),
        ("<tool_call>f<arg_key>u</arg_key><arg_value></arg_value></tool_call>", {"u": ""}),
        ("<tool_call>f<arg_key>u</arg_key><arg_value>" + "1" * 600 + "</arg_value></tool_call>", {"u": "1" * 600}),
    ],
)
def test_types_of_raw_values(text: str, arguments: dict[str, Any]) -> None:
    properties = {
        "s": {"type": "string"},
        "n": {"type": "integer"},
        "o": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    }
    tools = [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": properties}}}
    ]
    for chunks in ([text], [*text], cut_up(text, [5])):
        assert exact(one.call for one in scan(chunks, tools).calls) == exact([Call("f", arguments)])


def test_the_page_lists_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "tool-call-tags.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (\w+) \| .* \| (\S+) \|$", page.partition("| format | models |")[2], re.MULTILINE)
    assert dict(listed) == {entry.name: entry.reference for entry in reversed(FORMATS)}
    assert len({entry.name for entry in FORMATS}) == 71
    assert {name.partition("/")[0] for name in FAMILIES} == {entry.name for entry in FORMATS}
