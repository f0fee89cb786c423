"""Calls in tags: names in any quotes, other text between parameters, wrappers that are lost, and tags in values."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tags.test_xml_calls import DSML, TOOLS, check

SAVED = {"path": "a.md"}
ANY_TOOLS = pytest.mark.parametrize("tools", [TOOLS, None], ids=["declared", "unknown"])


def minimax(*parameters: str, name: str = '"save"') -> str:
    return f"<minimax:tool_call>\n<invoke name={name}>\n{''.join(parameters)}</invoke>\n</minimax:tool_call>"


def parameter(key: str, value: str) -> str:
    return f'<parameter name="{key}">{value}</parameter>\n'


def glm(*pairs: tuple[str, str]) -> str:
    written = "".join(f"<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n" for key, value in pairs)
    return f"<tool_call>save\n{written}</tool_call>"


# -- names --


@ANY_TOOLS
@pytest.mark.parametrize("quote", ['"', "'", ""])
@pytest.mark.parametrize("other", ['"', "'", ""])
def test_names_in_any_quotes(quote: str, other: str, tools: Any) -> None:
    name, key = f"{quote}save{quote}", f"{other}path{other}"
    calls = [("save", SAVED)]
    check(f"<minimax:tool_call><invoke name={name}><parameter name={key}>a.md</parameter></invoke>", calls, tools=tools)
    check(f"<function={name}>\n<parameter={key}>\na.md\n</parameter>\n</function>", calls, tools=tools)
    check(f"<function name={name}><param name={key}>a.md</param></function>", calls, tools=tools)
    attribute = f"string={other}true{other}"
    inner = f"<{DSML}parameter name={key} {attribute}>a.md</{DSML}parameter>"
    check(f"<{DSML}tool_calls><{DSML}invoke name={name}>{inner}</{DSML}invoke></{DSML}tool_calls>", calls, tools=tools)


@pytest.mark.parametrize("attribute", ['string="false"', "string='false'", "string=false"])
def test_the_type_that_an_attribute_names(attribute: str) -> None:
    text = f'<{DSML}invoke name="h"><{DSML}parameter name="n" {attribute}>3</{DSML}parameter></{DSML}invoke>'
    check(text, [("h", {"n": 3})], tools=["h"])
    check(text.replace("false", "true"), [("h", {"n": "3"})], tools=["h"])


def test_quotes_that_do_not_match() -> None:
    for text in ('<minimax:tool_call><invoke name="save>', "<minimax:tool_call><invoke name='save\">x</invoke>"):
        check(text, [], text)


# -- wrappers that are lost --


@pytest.mark.parametrize("behind", ["", "\n</minimax:tool_call>", "\n</function_calls>"])
def test_an_invoke_without_its_wrapper(behind: str) -> None:
    text = f'<invoke name="save">\n{parameter("path", "a.md")}</invoke>{behind}'
    check(text, [("save", SAVED)])
    check(f"Now {text}\nDone.", [("save", SAVED)], "Now \nDone.")
    # If no tools are known, it must begin a line.
    check(f'<invoke name="save">{parameter("path", "a.md")}</invoke>', [("save", SAVED)], tools=None)


def test_an_invoke_in_prose() -> None:
    undeclared = '<invoke name="other"><parameter name="path">a.md</parameter></invoke>'
    check(undeclared, [], undeclared)
    for text in (
        'The tag <invoke name="save"> opens a call, and </invoke> closes it.',
        'Write\n<invoke name="save">\nand the parameters.',
        '`<invoke name="save"></invoke>` calls.',
        '```xml\n<invoke name="save"><parameter name="path">a.md</parameter></invoke>\n```',
    ):
        check(text, [], text)
    inline = 'so <invoke name="save"><parameter name="path">a.md</parameter></invoke> calls'
    check(inline, [], inline, tools=None)


@pytest.mark.parametrize("bars", ["｜DSML｜", "|DSML|", "｜｜DSML｜｜", "||DSML||"])
@pytest.mark.parametrize("space", ["", " "])
@pytest.mark.parametrize("wrapper", ["", "tool_calls", "function_calls"])
def test_bars_of_deepseek(bars: str, space: str, wrapper: str) -> None:
    mark = bars + space
    text = f'<{mark}invoke name="save"><{mark}parameter name="path" string="true">a.md</{mark}parameter></{mark}invoke>'
    if wrapper:
        text = f"<{mark}{wrapper}>\n{text}\n</{mark}{wrapper}>"
    check(text, [("save", SAVED)])


# -- between parameters --


@ANY_TOOLS
def test_other_text_between_parameters_is_dropped(tools: Any) -> None:
    both = [("save", {"path": "a.md", "content": "x"})]
    path, content = parameter("path", "a.md"), parameter("content", "x")
    check(minimax(path, "and now the content:\n", content), both, tools=tools)
    check(minimax(path, content, "that is all\n"), both, tools=tools)
    written = "<function=save>\n<parameter=path>\na.md\n</parameter>\nand\n<parameter=content>\nx\n</parameter>\nok"
    written += "</function>"
    check(f"<tool_call>\n{written}\n</tool_call>", both, tools=tools)
    pairs = glm(("path", "a.md"), ("content", "x"))
    check(pairs.replace("</arg_value>\n<arg_key>", "</arg_value>\n, then <arg_key>"), both, tools=tools)


@ANY_TOOLS
def test_text_behind_a_call_that_is_not_closed_stays(tools: Any) -> None:
    one = [("save", SAVED)]
    text = "<tool_call>\n<function=save>\n<parameter=path>\na.md\n</parameter>\n"
    check(f"{text}Saved. All done.", one, "Saved. All done.", tools)
    check(f"{text}Saved.\n{text}</function>\n</tool_call>", one * 2, "Saved.", tools)
    check(f"{text}{'Saved. ' * 200}", one, ("Saved. " * 200).strip(), tools)


# -- tags in values --


@pytest.mark.parametrize(
    "content",
    [
        "GLM writes <arg_key>k</arg_key>\n<arg_value>v</arg_value><arg_key>k2</arg_key><arg_value>v2</arg_value> here.",
        'split("</arg_value><arg_key>")',
        "a </arg_value>\n<arg_key> b",
        "</arg_value><arg_key>path</arg_key>",
        "<arg_key>path</arg_key>\n<arg_value>x</arg_value>\n<arg_key>content</arg_key>\n<arg_value>y</arg_value> end",
    ],
)
def test_the_end_of_a_value_and_the_next_key_in_a_value(content: str) -> None:
    check(glm(("path", "a.md"), ("content", content)), [("save", {"path": "a.md", "content": content})])


def test_a_parameter_that_is_not_declared_is_one_all_the_same() -> None:
    check(glm(("path", "a.md"), ("mode", "w")), [("save", {"path": "a.md", "mode": "w"})])
    check(minimax(parameter("path", "a.md"), parameter("mode", "w")), [("save", {"path": "a.md", "mode": "w"})])
    text = glm(("mode", "w"), ("path", "a.md"))
    check(f"{text}\n{text}", [("save", {"mode": "w", "path": "a.md"})] * 2)


@pytest.mark.parametrize(
    "content", ['Use <parameter name="x"> to open.', 'a\n<parameter name="x">\nb', '<parameter name="x">']
)
def test_a_lone_opening_tag_in_a_value(content: str) -> None:
    for order in (("path", "content"), ("content", "path")):
        values = {key: {"path": "a.md", "content": content}[key] for key in order}
        check(minimax(*(parameter(key, value) for key, value in values.items())), [("save", values)])
        marked = content.replace("<parameter", f"<{DSML}parameter")
        written = "".join(
            f'<{DSML}parameter name="{key}" string="true">{marked if key == "content" else value}</{DSML}parameter>\n'
            for key, value in values.items()
        )
        block = f'<{DSML}tool_calls>\n<{DSML}invoke name="save">\n{written}</{DSML}invoke>\n</{DSML}tool_calls>'
        check(block, [("save", values | {"content": marked})])


def qwen(path: str, content: str) -> str:
    return (
        f"<tool_call>\n<function=save>\n<parameter=path>\n{path}\n</parameter>\n"
        f"<parameter=content>\n{content}\n</parameter>\n</function>\n</tool_call>"
    )


@pytest.mark.parametrize("content", ['Use <parameter name="x"> to open.', '<parameter name="x">', "a <parameter=x> b"])
def test_a_lone_opening_tag_in_a_line_of_a_value_of_unknown_tools(content: str) -> None:
    """Where parameters begin lines, a head within a line is text."""
    written = {"path": "a.md", "content": content}
    check(minimax(*(parameter(key, value) for key, value in written.items())), [("save", written)], tools=None)
    check(qwen("a.md", content), [("save", written)], tools=None)


def test_a_missing_closing_tag_where_parameters_stand_in_one_line() -> None:
    text = '<minimax:tool_call><invoke name="save"><parameter name="path">a.md<parameter name="content">b</parameter>'
    check(f"{text}</invoke></minimax:tool_call>", [("save", {"path": "a.md", "content": "b"})], tools=None)
    lines = minimax('<parameter name="path">a.md\n', parameter("content", "b"))
    check(lines, [("save", {"path": "a.md", "content": "b"})], tools=None)
