"""Calls in forms that no chat template has are told as leaks, and no others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otel_llm.diagnosis.lookalikes import FOUND, find_lookalikes
from otel_llm.protocol.request import Tool
from tests.helpers.streams import anomalies_of, ends, says, types_of

PARAMETERS = {"type": "object", "properties": {"title": {"type": "string"}}}
TOOLS = {name: Tool(name, "function", PARAMETERS) for name in ("add", "get-it")}
DECLARED = [{"type": "function", "function": {"name": name, "parameters": PARAMETERS}} for name in TOOLS]
ARGUMENTS = '{"title": "x"}'
BODY = f'{{"name": "add", "arguments": {ARGUMENTS}}}'


def invoke(prefix: str = "", name: str = "add") -> str:
    return f'<{prefix}invoke name="{name}">\n<{prefix}parameter name="title">x</{prefix}parameter>\n</{prefix}invoke>'


CALLS = [
    *[invoke(f"{bars}DSML{bars}") for bars in ("|", "||", "｜", "｜｜", "‖", "│", "∣", "❘")],
    *[f"<{dsml}tool_calls>\n{invoke(dsml)}\n</{dsml}tool_calls>" for dsml in ("|DSML|", "｜｜DSML｜｜", "‖DSML‖")],
    f"<|DSML|function_calls>{invoke('|DSML|')}</|DSML|function_calls>",
    "<｜DSML｜function_calls>\n" + invoke("|DSML|"),
    '<｜DSML｜invoke name="add">{"title": "x"}</｜DSML｜invoke>',
    invoke(),
    invoke("antml:"),
    invoke().replace('"', "'"),
    f"I add it.\n\n{invoke()}\n\nThat is all.",
    f"I add it. {invoke()}",
    '<function name="add">{"title": "x"}</function>',
    '<function name="add">\n{"title": "x"}\n</function>\n',
    "<function name='add'>{}</function>",
    '<tool_call name="add">{"title": "x"}</tool_call>',
    f"```tool_call\n{BODY}\n```",
    f"I add it.\n```tool_calls\n[{BODY}]\n```\nDone.",
    f"```function_call\n{BODY}\n{BODY}\n```",
    f"~~~tool-call\n{BODY}\n~~~",
    "```tool_call\nadd\n{}\n```",
    "```tool_call\nadd(title='x')\n```",
    '[Called function "add" with args: {"title": "x"}]',
    "[Called function add with arguments {}]",
    'Done.\n[Calling tool `add` with: {"title": "x"}]\n',
    '[Tool call: add({"title": "x"})]',
    "[tool_call add {}]",
    "call:add{title:x}",
    "call:add{}",
    'I add it.\ncall:add{title: "buy milk, eggs", n: {a:1}}',
    "call:get-it{title:x}call:add{title:y}",
    "[Called function \"add\" with args: {'title': 'x'}]",
    "[Called function add with args: {'title': None, 'n': [1, True], \"o\": '}'}]",
    'functions.add:0{"title": "x"}',
    'functions.add:12 {"title": "x"}<|tool_call_end|>',
    'I add it.\nfunctions.get-it:1<|tool_call_argument_begin|>{"title": "x"}',
    'to=functions.add\n{"title": "x"}',
    'commentary to=functions.add json{"title": "x"}',
    'assistant to=functions.add<|channel|>commentary json<|message|>{"title": "x"}<|call|>',
    '{"action": "add", "action_input": {"title": "x"}}',
    '{"action": "add", "action_input": "x"}',
    'I add it.\n{"action_input": {"title": "x"}, "action": "add"}\nDone.',
    f"<tool_use>{BODY}</tool_use>",
    f"I add it. <tool_use>{BODY}</tool_use>",
    '<tool_use>\n{"name": "add", "input": {"title": "x"}}\n</tool_use>',
    '<tool_use name="add">{"title": "x"}</tool_use>',
    f"<tool_use>\n  <name>add</name>\n  <arguments>{ARGUMENTS}</arguments>\n</tool_use>",
    "<tool_use><tool_name>add</tool_name><parameters><title>x</title></parameters></tool_use>",
    f"<use_mcp_tool>\n<server_name>s</server_name>\n<tool_name>add</tool_name>\n{ARGUMENTS}</use_mcp_tool>",
    "<tool_use>\n<add>\n<title>x</title>\n</add>\n</tool_use>",
    f'{{"type": "function", "function": {BODY}}}',
    f'{{"type": "function", "function": {json.dumps({"name": "add", "arguments": ARGUMENTS})}}}',
    f'[{{"id": "call_1", "type": "function", "function": {BODY}}}]',
    f'{{"tool_calls": [{{"function": {BODY}}}]}}',
    f'{{"role": "assistant", "content": null, "tool_calls": [{{"id": "1", "type": "function", "function": {BODY}}}]}}',
    f'{{"tool_calls": [{BODY}]}}',
    f'{{"function_call": {BODY}}}',
    f'{{"tool_call": {BODY}}}',
    '{"type": "tool_use", "id": "1", "name": "add", "input": {"title": "x"}}',
    f"\n  {json.dumps({'tool_calls': [json.loads(BODY)]}, indent=2)}\n",
]  # fmt: skip

TALK = [
    "Hello.",
    "I use add.",
    f"`{invoke()}`",
    f"```xml\n{invoke()}\n```",
    f"```\n{invoke('|DSML|')}\n```",
    f"    {invoke().replace(chr(10), chr(10) + '    ')}",
    'You can write <invoke name="add"></invoke> to call it.',
    invoke(name="other"),
    '<invoke name="add">',
    '<invoke name="add">\n<parameter name="title">x',
    '<function name="add">{"title": </function>',
    '<function name="add">(a, b)</function>',
    "```python\nadd(title='x')\n```",
    f"```text\n{BODY}\n```",
    f"````\n```tool_call\n{BODY}\n```\n````",
    "```tool_call\nnothing\n```",
    f'```json\n{{"tool_calls": [{BODY}]}}\n```',
    "[Called function add]",
    '[Called function "other" with args: {"title": "x"}]',
    "It said [Called function add with args: {x}] then.",
    "I would write call:add{title:x} to add it.",
    "call:other{title:x}",
    "call:add",
    "call:add{one day}",
    "recall:add{title:x}",
    f'Here: {{"tool_calls": [{BODY}]}}',
    "[Called function add with args: {x, y}]",
    'In TypeScript it is functions.add({"title": "x"}).',
    'functions.add {"title": "x"}',
    'functions.other:0{"title": "x"}',
    'Send it to=functions.add {"title": "x"} and wait.',
    '`functions.add:0{"title": "x"}`',
    '{"action": "add"}',
    '{"action": "add", "action_input": {"title": "x"}, "score": 1}',
    '{"action": "other", "action_input": "x"}',
    '{"action": "add", "action_input": "x"} is what it wrote.',
    "<tool_use>add</tool_use>",
    "<tool_use><name>other</name><arguments>{}</arguments></tool_use>",
    "Write <tool_use><name>add</name></tool_use> to call it.",
    f"```xml\n<tool_use>{BODY}</tool_use>\n```",
    f"It writes:\n\n  <tool_use>{BODY}</tool_use>\n\nThe server reads that.",
    f'{{"type": "function", "function": {json.dumps({"name": "add", "parameters": PARAMETERS})}}}',
    json.dumps(DECLARED),
    json.dumps({"tools": DECLARED}),
    '{"tool_calls": []}',
    '{"tool_calls": [{"function": {"name": "other", "arguments": {}}}]}',
    '{"function": "add", "about": "a tool"}',
    '{"type": "task", "name": "add", "input": {}}',
    '{"title": "add"}',
]  # fmt: skip


DECLARATIONS: list[dict[str, Any]] = [
    {"name": "add", "parameters": {"type": "object"}},
    {"name": "add", "parameters": {"type": "OBJECT"}},
    {"name": "add", "parameters": {"type": ["object", "null"]}},
    {"name": "add", "parameters": {"properties": {"title": {"type": "string"}}}},
    {"name": "add", "parameters": {"$ref": "#/$defs/Add"}},
    {"name": "add", "parameters": {"anyOf": [PARAMETERS]}},
    {"name": "add", "parameters": {"additionalProperties": False}},
    {"name": "add", "parameters": {"title": {"type": "string", "description": "What to do"}}},
    {"name": "add", "parameters": {"title": "Add", **PARAMETERS}},
    {"name": "add", "strict": True, "parameters": {}},
    {"name": "add", "description": "Adds it", "parameters": {}},
    {"name": "add", "input_schema": PARAMETERS},
    {"name": "add", "inputSchema": {}},
    {"name": "add", "input": {"type": "object"}},
    {"type": "function", "function": {"name": "add", "parameters": {}}},
    {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},
    {"function_declarations": [{"name": "add", "parameters": {"type": "OBJECT"}}]},
    {"functions": [{"name": "add", "parameters": {"type": "object"}}]},
    {"operationId": "add", "parameters": [{"name": "title", "in": "query"}]},
]


@pytest.mark.parametrize("declared", DECLARATIONS, ids=json.dumps)
@pytest.mark.parametrize("form", ["%s", "So:\n\n%s\n\nThat is it.", "[%s]", "```tool_call\n%s\n```"])
def test_a_declaration(declared: dict[str, Any], form: str) -> None:
    assert leaks(form % json.dumps(declared)) == []
    assert leaks(form % json.dumps(declared, indent=2)) == []


@pytest.mark.parametrize(
    "content",
    [
        f'<function name="add">{json.dumps(PARAMETERS)}</function>',
        '<function name="add"><parameter name="title" type="string"></parameter></function>',
        '[Tool add with parameters {"type": "object"}]',
    ],
)
def test_a_declaration_in_tags(content: str) -> None:
    assert "text_leak" not in leaks(content)


@pytest.mark.parametrize("arguments", [{}, {"title": "object"}, {"title": "x", "n": {"type": "a"}}])
def test_a_call_that_is_no_declaration(arguments: dict[str, Any]) -> None:
    for key in ("arguments", "parameters"):
        assert leaks(json.dumps({"name": "add", key: arguments})) == ["text_leak"]


def test_a_tool_that_takes_what_a_schema_has() -> None:
    takes = {"type": "object", "properties": {"type": {"type": "string"}, "properties": {"type": "object"}}}
    tools = [{"type": "function", "function": {"name": "make", "parameters": takes}}]
    for arguments in ({"type": "object"}, {"type": "object", "properties": {}}):
        assert leaks(json.dumps({"name": "make", "parameters": arguments}), tools=tools) == ["text_leak"]


def leaks(content: str, size: int | None = None, **asked: Any) -> list[str]:
    size = size or len(content)
    chunks = [says(content[at : at + size]) for at in range(0, len(content), size)]
    return types_of(anomalies_of([*chunks, ends("stop")], {"tools": DECLARED, **asked}))


@pytest.mark.parametrize("content", CALLS)
@pytest.mark.parametrize("size", [None, 5])
def test_a_call(content: str, size: int | None) -> None:
    assert leaks(content, size) == ["text_leak"]


@pytest.mark.parametrize("content", TALK)
def test_no_call(content: str) -> None:
    assert "text_leak" not in leaks(content)


def test_what_is_left_of_the_text() -> None:
    found, rest = find_lookalikes(f"I add it.\n{invoke()}\nDone.", TOOLS, marked_only=False)
    assert [call.name for call in found] == ["add"]
    assert rest == f"I add it.\n{FOUND}\nDone."
    found, rest = find_lookalikes(f"call:add{{}}\n{invoke()}\n", TOOLS, marked_only=False)
    assert len(found) == 2
    assert "invoke" not in rest


def test_json_is_the_answer_if_the_request_asks_for_it() -> None:
    wanted: dict[str, Any] = {"response_format": {"type": "json_object"}}
    assert leaks(f'{{"tool_calls": [{BODY}]}}', **wanted) == []
    assert leaks(invoke(), **wanted) == ["text_leak"]


def test_an_agent_that_asks_for_actions() -> None:
    action = '{"action": "add", "action_input": "x"}'
    prompt = [{"role": "system", "content": 'Answer with {"action": tool, "action_input": its input}.'}]
    assert leaks(action, messages=prompt) == []
    assert leaks(action, response_format={"type": "json_object"}) == []


@pytest.mark.parametrize(
    "content",
    [
        '<invoke name="add">' * 20_000,
        '<invoke name="add"><parameter name="title">' * 10_000,
        "call:add{" * 50_000,
        "[Called function add {" * 30_000,
        "functions.add:0{" * 30_000,
        "functions.add:0{" + "'" * 200_000,
        '{"action": "add", "action_input": ' * 10_000,
        "<tool_use><name>add</name>" * 10_000,
        "<tool_use><name>add</name>" + "<a></a>" * 30_000,
        "```tool_call\nadd\n" * 30_000,
        "{" * 200_000 + "add",
        f"[{', '.join([BODY] * 3000)}]",
    ],
    ids=lambda content: content[:12],
)
def test_a_hostile_text(content: str) -> None:
    find_lookalikes(content, TOOLS, marked_only=False)
