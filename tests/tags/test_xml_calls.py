"""Calls in tags, with tags missing, doubled, or part of a value."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from otel_llm.tags.declared import declared_tools
from otel_llm.tags.raw_values import schema_types
from otel_llm.tags.scanner import Scanner
from tests.helpers.scanned import scan

NS = "]<]minimax[>["
DSML = "｜DSML｜"


def tool(name: str, **properties: Any) -> dict[str, Any]:
    schemas = {key: {"type": kind} if isinstance(kind, str) else kind for key, kind in properties.items()}
    return {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": schemas}},
    }


TOOLS = [
    tool("book", city="string", nights="integer", note="string"),
    tool("save", path="string", content="string"),
    tool("ping"),
]


def check(text: str, calls: list[tuple[str, dict[str, Any]]], rest: str = "", tools: Any = TOOLS) -> None:
    """The calls, and the text besides them, in any cut in two and character by character."""
    whole = scan(text, tools)
    assert [(call.name, json.loads(call.arguments or "{}")) for call in whole.calls] == calls
    assert whole.text.strip() == rest
    assert all(call.complete for call in whole.calls)
    for place in range(len(text)):
        assert scan([text[:place], text[place:]], tools) == whole
    assert scan([*text], tools) == whole


def qwen(*parameters: str, name: str = "book") -> str:
    return f"<tool_call>\n<function={name}>\n" + "".join(parameters) + "</function>\n</tool_call>"


def lines(key: str, value: str, end: str = "</parameter>\n") -> str:
    return f"<parameter={key}>\n{value}\n{end}"


# -- the closing tag of a value is missing --


@pytest.mark.parametrize("tools", [TOOLS, None], ids=["declared", "unknown"])
def test_a_value_without_its_closing_tag_ends_at_the_next_element(tools: Any) -> None:
    two = {"city": "Oslo", "nights": 3}
    check(qwen(lines("city", "Oslo", ""), lines("nights", "3")), [("book", two)], tools=tools)
    check(qwen(lines("city", "Oslo"), lines("nights", "3", "")), [("book", two)], tools=tools)
    check(qwen(lines("city", "Oslo", ""), lines("nights", "3", "")), [("book", two)], tools=tools)
    check("<function=book><parameter=city>Oslo<parameter=nights>3</function>", [("book", two)], tools=tools)
    twice = qwen(lines("city", "Oslo", "")) + "\n" + qwen(lines("city", "Rome", ""))
    check(twice, [("book", {"city": "Oslo"}), ("book", {"city": "Rome"})], tools=tools)
    check(qwen(lines("city", "Oslo", "")) + "\nBooked.", [("book", {"city": "Oslo"})], "Booked.", tools)


@pytest.mark.parametrize(
    "text",
    [
        f'<{DSML}invoke name="book"><{DSML}parameter name="city">Oslo<{DSML}parameter name="nights">3</{DSML}invoke>',
        '<dots_function_call><invoke name="book"><parameter name="city">Oslo<parameter name="nights">3</invoke>',
        "<tool_call>book<arg_key>city</arg_key><arg_value>Oslo<arg_key>nights</arg_key><arg_value>3</tool_call>",
        '<function name="book"><param name="city">Oslo<param name="nights">3</function>',
    ],
    ids=["dsml", "dots", "glm", "minicpm5"],
)
def test_missing_closing_tags_of_other_families(text: str) -> None:
    check(text, [("book", {"city": "Oslo", "nights": 3})])


def test_the_line_break_after_a_value_without_its_closing_tag_is_markup() -> None:
    text = f'<{DSML}tool_calls>\n<{DSML}invoke name="book">\n<{DSML}parameter name="city" string="true">Oslo\n'
    text += f'<{DSML}parameter name="note" string="true">late\n</{DSML}parameter>\n</{DSML}invoke>\n</{DSML}tool_calls>'
    check(text, [("book", {"city": "Oslo", "note": "late\n"})])


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>book<arg_key>city</arg_key><arg_value>Oslo</tool_call>",
        "<function=book>\n<parameter=city>\nOslo\n</function>",
        qwen(lines("city", "Oslo", "")),
    ],
)
def test_the_rest_of_the_answer_is_no_part_of_a_value(text: str) -> None:
    check(f"{text}\n\nBooked.", [("book", {"city": "Oslo"})], "Booked.")


def test_a_closing_tag_that_comes_twice_is_markup() -> None:
    check(
        qwen(lines("city", "Oslo", "</parameter>\n</parameter>\n"), lines("nights", "3")),
        [("book", {"city": "Oslo", "nights": 3})],
    )


# -- tags are part of a value --

DRAFT = "<tool_call>\n<function=f>\n<parameter=x>\n1\n</parameter>\n</function>\n</tool_call>"


@pytest.mark.parametrize(
    "content",
    [
        "Close with </parameter> or </function>, open with <parameter=city>.",
        "a\n</function>\nb",
        "a\n</parameter>\n</function>\nb",
        "a </parameter> b </parameter> c",
        f"Write this:\n{DRAFT}\nand no more.",
        f"{DRAFT}\n{DRAFT}\nand no more.",
        '<parameter name="x">1</parameter>\n<parameter name="y">2</parameter>',
        "<parameter=path>\nwhere it goes\n</parameter>\nthat is the path",
        "</tool_call> ends it",
    ],
)
@pytest.mark.parametrize("tools", [TOOLS, None], ids=["declared", "unknown"])
def test_tags_in_the_value_of_a_file(content: str, tools: Any) -> None:
    wanted = {"content": content, "path": "a.md"}
    check(qwen(lines("content", content), lines("path", "a.md"), name="save"), [("save", wanted)], tools=tools)


def test_the_end_of_a_call_in_the_text_behind_it() -> None:
    call = qwen(lines("city", "Oslo")).removesuffix("\n</tool_call>")
    rest = "It ends with </parameter></function>."
    check(f"{call}\n{rest}", [("book", {"city": "Oslo"})], rest)


def test_xml_in_a_value_of_tags_that_look_alike() -> None:
    content = '<job><parameter name="x">1</parameter><parameter name="y">2</parameter></job>'
    text = f'<invoke name="save"><parameter name="path">a</parameter><parameter name="content">{content}</parameter>'
    wanted = ("save", {"path": "a", "content": content})
    check(f"<minimax:tool_call>{text}</invoke></minimax:tool_call>", [wanted])


def test_a_value_that_mentions_a_tag_is_cut_off_as_it_is() -> None:
    seen = scan("<tool_call>\n<function=save>\n<parameter=content>\na\n</function>\nb", TOOLS)
    assert [(call.arguments, call.complete) for call in seen.calls] == [('{"content": "a\\n</function>\\nb', False)]


# -- keys without values --


def test_a_key_without_a_value_takes_no_other_value() -> None:
    key, value = "<arg_key>{}</arg_key>", "<arg_value>{}</arg_value>"
    city, nights = key.format("city"), key.format("nights") + value.format(3)
    check(f"<tool_call>book{city}{nights}</tool_call>", [("book", {"nights": 3})])
    check(f"<tool_call>book{nights}{city}</tool_call>", [("book", {"nights": 3})])
    check(
        f"<tool_call>book{city}</tool_call><tool_call>book{nights}</tool_call>",
        [("book", {}), ("book", {"nights": 3})],
    )
    check(
        f"<tool_call>book{city} is {value.format(3)}</tool_call>",
        [],
        f"<tool_call>book{city} is {value.format(3)}</tool_call>",
    )


def test_text_that_is_cut_within_a_tag_is_not_content() -> None:
    first = qwen(lines("city", "Oslo"))
    for text in (f"{first[:-6]}", "<tool_call>book<arg_key>city</arg_key><arg_value>Oslo</arg_value><arg_key>ni"):
        seen = scan(text, TOOLS)
        assert seen.text == ""
        assert len(seen.calls) == 1
    block = f'<{DSML}tool_calls><{DSML}invoke name="ping"></{DSML}invoke><{DSML}invoke name="book"><{DSML}param'
    check(block, [("ping", {})])
    value = scan("<function=book><parameter=city>Oslo</para", TOOLS)
    assert value.calls[0].arguments == '{"city": "Oslo'


# -- parts of the markup are missing --


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"<{DSML}tool_calls>", f"</{DSML}tool_calls>"),
        ("", f"</{DSML}tool_calls>"),
        ("", ""),
        (f"<{DSML}tool_call>\n", f"</{DSML}tool_call>"),
        (f"<{DSML}calls\n", f"</{DSML}calls>"),
        (f"<{DSML}function_calls>", f"</{DSML}tool_calls>"),
    ],
)
@pytest.mark.parametrize("space", ["", " "])
def test_invokes_of_deepseek_with_a_wrapper_that_is_lost_or_damaged(before: str, after: str, space: str) -> None:
    invoke = f'<{DSML}{space}invoke name="book"><{DSML}{space}parameter name="city" string="true">Oslo'
    invoke += f"</{DSML}{space}parameter></{DSML}{space}invoke>"
    seen = scan(before + invoke + after, TOOLS)
    assert [(call.name, call.arguments) for call in seen.calls] == [("book", '{"city": "Oslo"}')]
    assert seen.text == ""
    assert scan([*before, *invoke, *after], TOOLS) == seen


def test_invokes_without_parameters() -> None:
    wrapped = f"<{DSML}tool_calls>\n{{}}\n</{DSML}tool_calls>".format
    check(wrapped(f'<{DSML}invoke name="ping"/>'), [("ping", {})])
    check(wrapped(f'<{DSML}invoke name="ping" />\n<{DSML}invoke name="ping"/>'), [("ping", {}), ("ping", {})])
    check(wrapped(f'<{DSML}invoke name="ping">\nas you wish\n</{DSML}invoke>'), [("ping", {})])
    check('<minimax:tool_call><invoke name="ping"/></minimax:tool_call>', [("ping", {})])


STEP = ["<｜tool_calls_begin｜>", "<｜tool_call_begin｜>", "function<｜tool_sep｜>", '<steptml:invoke name="book">']


@pytest.mark.parametrize("lost", [lost for n in range(4) for lost in itertools.combinations(range(3), n)])
def test_step_3_with_parts_missing(lost: tuple[int, ...]) -> None:
    if lost == (0, 1):
        pytest.skip("the word function is text without a marker before it")
    before = "".join(part for number, part in enumerate(STEP) if number not in lost)
    text = before + '<steptml:parameter name="city">Oslo</steptml:parameter></steptml:invoke>'
    for after in ("", "<｜tool_call_end｜>", "\n<｜tool_call_end｜>\n<｜tool_calls_end｜>"):
        check(text + after, [("book", {"city": "Oslo"})])


@pytest.mark.parametrize(
    "text",
    [
        '<｜tool▁call▁begin｜>function<｜tool▁sep｜>book\n```json\n{"city": "Oslo"}\n```<｜tool▁call▁end｜>',
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>book\n{"city": "Oslo"}<｜tool▁call▁end｜>',
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>book\n```json\n{"city": "Oslo"}\n```<｜tool▁call▁end｜>',
        '<｜tool▁call▁begin｜>book<｜tool▁sep｜>{"city": "Oslo"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        '<｜tool▁call▁begin｜>book<｜tool▁sep｜>\n```json\n{"city": "Oslo"}\n```<｜tool▁calls▁end｜>',
    ],
)
def test_deepseek_v3_with_parts_missing(text: str) -> None:
    check(text, [("book", {"city": "Oslo"})])


# -- values --


def test_character_references_in_qwen_values_are_text() -> None:
    check(
        qwen("<parameter=city>&lt;b&gt; &amp;amp; &#60;</parameter>\n"),
        [("book", {"city": "&lt;b&gt; &amp;amp; &#60;"})],
    )


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("int", "integer"), ("uint", "integer"), ("int64", "integer"), ("float", "number"), ("double", "number"),
        ("bool", "boolean"), ("dict", "object"), ("Dict[str, int]", "object"), ("list", "array"),
        ("list[str]", "array"), ("text", "string"), ("String", "string"), ("date", "date"),
    ],
)  # fmt: skip
def test_names_of_types_in_other_languages(name: str, known: str) -> None:
    assert schema_types(None, {"type": name}) == frozenset({known})
    assert schema_types(None, {"type": [name, "null"]}) == frozenset({known, "null"})


def test_values_of_types_in_other_languages() -> None:
    tools = [tool("f", n="int", x="float", b="bool", d="dict", a="list", s="str")]
    values = {"n": "7", "x": "1.5", "b": "True", "d": "{'k': None}", "a": "[1, 'x']", "s": '"quoted"'}
    text = "<tool_call>f" + "".join(f"<arg_key>{k}</arg_key><arg_value>{v}</arg_value>" for k, v in values.items())
    wanted = {"n": 7, "x": 1.5, "b": True, "d": {"k": None}, "a": [1, "x"], "s": "quoted"}
    check(text + "</tool_call>", [("f", wanted)], tools=tools)


# -- MiniMax M3 --


def element(key: str, *inner: str) -> str:
    return f"{NS}<{key}>{''.join(inner)}{NS}</{key}>"


def m3(*elements: str) -> str:
    return f'{NS}<tool_call>{NS}<invoke name="f">{"".join(elements)}{NS}</invoke>{NS}</tool_call>'


M3_TOOLS = [
    tool(
        "f",
        tags={"type": "array", "items": {"type": "integer"}},
        mode="string",
        maybe={"type": ["string", "null"]},
        label={"oneOf": [{"type": "string"}, {"type": "object"}]},
        place={"anyOf": [{"type": "null"}, {"type": "object", "properties": {"zip": {"type": "string"}}}]},
    )
]


@pytest.mark.parametrize(
    ("elements", "wanted"),
    [
        ([element("tags", "1"), element("tags", "2")], {"tags": [1, 2]}),
        ([element("place", element("x", "1"), element("x", "b"))], {"place": {"x": [1, "b"]}}),
        # The first was emitted as it came.
        ([element("mode", "a"), element("mode", "b")], {"mode": "a"}),
        ([element("maybe", "none")], {"maybe": "none"}),
        ([element("maybe", "null")], {"maybe": None}),
        ([element("mode", "null")], {"mode": "null"}),
        ([element("place", element("zip", "0150"))], {"place": {"zip": "0150"}}),
        ([element("label", element("b", "hi"))], {"label": element("b", "hi")}),
        ([element("mode", "see ", element("b", "hi"), " there")], {"mode": f"see {element('b', 'hi')} there"}),
        # A closing tag that is missing, or that of another element.
        ([f"{NS}<mode>a", element("maybe", "b")], {"mode": "a", "maybe": "b"}),
        ([element("mode", "a"), f"{NS}<maybe>b"], {"mode": "a", "maybe": "b"}),
        ([f"{NS}<mode>a{NS}</moed>", element("maybe", "b")], {"mode": "a", "maybe": "b"}),
        ([f"{NS}<tags>1{NS}</tag>", element("mode", "b")], {"mode": "b"}),
        (
            [element("maybe", "b"), element("mode", "a", element("b", "hi"), "c"), element("x", "1")],
            {"maybe": "b", "mode": f"a{element('b', 'hi')}c", "x": 1},
        ),
        (
            [element("mode", "a"), element("tags", "1"), element("maybe", "b"), element("tags", "2")],
            {"mode": "a", "tags": [1, 2], "maybe": "b"},
        ),
        ([element("mode", "")], {"mode": ""}),
        ([element("place", f"{NS}<zip>0150"), element("mode", "a")], {"place": {"zip": "0150"}, "mode": "a"}),
        ([f"{NS}</lost>", element("mode", "a")], {"mode": "a"}),
    ],
)
def test_elements_of_minimax_m3(elements: list[str], wanted: dict[str, Any]) -> None:
    check(m3(*elements), [("f", wanted)], tools=M3_TOOLS)


def test_a_call_of_minimax_m3_with_nothing_to_read_is_text() -> None:
    text = m3(f"{NS}<tags>1{NS}</tag>")
    check(text, [], text, tools=M3_TOOLS)


def test_the_first_arguments_of_minimax_m3_are_emitted_as_they_come() -> None:
    before, behind = m3(element("maybe", "x"), element("mode", "word " * 100)).split("word " * 100)
    scanner = Scanner(declared_tools(M3_TOOLS))
    assert '"maybe": "x"' in "".join(piece.text for piece in scanner.feed(before) if piece.kind == "arguments")
    for _ in range(100):
        pieces = scanner.feed("word ")
        assert [piece.text for piece in pieces if piece.kind == "arguments"] == ["word "]
    assert any(piece.kind == "end" for piece in scanner.feed(behind))


@pytest.mark.parametrize("length", range(1, 60))
def test_the_rest_of_a_call_of_minimax_m3_that_is_cut_off_is_not_lost(length: int) -> None:
    elements = element("mode", "a"), element("place", element("zip", "0150"), element("x", "word"))
    text = m3(*elements)[: -len(f"{NS}</invoke>{NS}</tool_call>") - length]
    whole = scan(text, M3_TOOLS)
    assert not whole.calls[0].complete
    assert ("0150" in text) == ("0150" in whole.calls[0].arguments)
    assert ("wor" in text) == ("wor" in whole.calls[0].arguments)
    assert "min" not in whole.calls[0].arguments
    assert scan([*text], M3_TOOLS) == whole


@pytest.mark.parametrize("length", range(1, 12))
def test_a_call_of_minimax_m3_that_is_cut_off(length: int) -> None:
    text = m3(element("mode", "a"), element("maybe", "word"))[: -len(f"{NS}</invoke>{NS}</tool_call>") - length]
    whole = scan(text, M3_TOOLS)
    assert [(call.name, call.complete) for call in whole.calls] == [("f", False)]
    assert '{"mode": "a"'.startswith(whole.calls[0].arguments[:12])
    assert NS[:2] not in whole.calls[0].arguments
    assert whole.text == ""
    assert scan([*text], M3_TOOLS) == whole


# -- families --


def test_the_name_of_a_tool_before_json() -> None:
    check('<tool_call>book\n{"city": "Oslo"}\n</tool_call>', [("book", {"city": "Oslo"})])
    prose = '<tool_call>\nSure: {"city": "Oslo"}\n</tool_call>'
    check(prose, [], prose)


@pytest.mark.parametrize("tag", ["function", "invoke", "tool", "tool_call"])
@pytest.mark.parametrize("tools", [TOOLS, None], ids=["declared", "unknown"])
def test_a_tag_that_lost_its_name_is_no_name(tag: str, tools: Any) -> None:
    text = f"<tool_call>\n<{tag}>\n{lines('city', 'Oslo')}</{tag}>\n</tool_call>"
    check(text, [], text, tools)
    named = "<tool_call>\n<book>\n" + lines("city", "Oslo") + "</book>\n</tool_call>"
    assert [call.name for call in scan(named, tools).calls] == ["book"]


def test_longcat_names_have_a_prefix() -> None:
    key = "<longcat_arg_key>city</longcat_arg_key><longcat_arg_value>Oslo</longcat_arg_value>"
    check(f"<longcat_tool_call>functions.book\n{key}</longcat_tool_call>", [("book", {"city": "Oslo"})])


def test_beam_trims_values_and_ends_a_message() -> None:
    head = "<|start|>assistant to=book<|channel|>analysis <|constrain|>xml<|message|>"
    body = '<rfl:parameter name="city">\n  Oslo \n</rfl:parameter><rfl:parameter name="nights"> 3</rfl:parameter>'
    wanted = ("book", {"city": "Oslo", "nights": 3})
    check(f"{head}{body}<|call|>", [wanted])
    check(f"{head}{body}<|end|>{head}{body}<|call|>", [wanted, wanted])
    check(f"{head}{body}"[len("<|start|>assistant") :] + "<|call|>", [wanted])


def test_sarashina_writes_python() -> None:
    call = "{'name': 'book', 'arguments': {'city': 'it\\'s [Oslo]', 'nights': None}}"
    wanted = ("book", {"city": "it's [Oslo]", "nights": None})
    check(f"Now.<|tool_calls|>[{call}, {call}]", [wanted, wanted], "Now.")
    check(f"[{call}]", [wanted], tools=None)
    check(f"I say [{call}]", [], f"I say [{call}]", tools=None)
    check("<|tool_calls|>[{'name': 'book'", [], "<|tool_calls|>[{'name': 'book'")
    check("[{'name': 'Ann', 'age': 3}]", [], "[{'name': 'Ann', 'age': 3}]", tools=None)
