"""The scanner: text passes unchanged and at once, work is linear, and families that share a marker are told apart."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_llm.tags.cursor import Cursor
from otel_llm.tags.declared import declared_tools
from otel_llm.tags.scanner import Scanner
from tests.helpers.scanned import cut_up, cuts, detect, exact, prose, put_together, rewrite, scan
from tests.helpers.thoroughness import examples
from tests.helpers.written_calls import FAMILIES, LOOKALIKES, MARKERS, Call, tools_for

thorough = settings(max_examples=examples(300), deadline=None, suppress_health_check=list(HealthCheck))

# -- any text at all --

FRAGMENTS = [
    *MARKERS,
    *LOOKALIKES,
    *{marker[:end] for marker in MARKERS for end in (1, len(marker) // 2, len(marker) - 1)},
    *(
        '{"name": "f"',
        '{"name": "f", "arguments": {',
        '{"arguments": {}, "name": "f"}',
        '"arguments": ',
        "[f(",
        "[f(a=",
        "f(",
    ),
    *("call:f{", "f\n", "\n", "\r\n", " ", "\t", "`", "``", "```", "```python\n", "````", '{"a": [1, ', "}}", "]", ")"),
    *("\ud83d", "\x00", "\U0001f600", "\u2028", "<", ">", "[", "{", "|", "｜", "to=f", " to=", "tool: [", "f]:"),
    *("<think>", "</think>", "[THINK]", "<thinking>", "<|channel|>analysis<|message|>", "<|end|>", "<|start|>"),
    *("<think:a>", "</think:a>", "<|channel|>final<|message|>", '"', ". ", "a ", "and"),
]
fragments = st.sampled_from(FRAGMENTS)
any_text = st.lists(fragments | prose, max_size=14).map("".join)
knows = st.sampled_from([None, [], ["f"]])


@settings(max_examples=examples(800), deadline=None, suppress_health_check=list(HealthCheck))
@given(any_text, cuts, knows)
def test_any_cut_of_any_text_gives_the_same(text: str, sizes: list[int], tools: Any) -> None:
    seen = scan(text, tools)
    chunks = cut_up(text, sizes)
    assert scan(chunks, tools) == seen
    assert scan([*text], tools) == seen
    output = rewrite(text, tools)
    assert rewrite(chunks, tools) == output
    assert detect(chunks, tools)[0] == detect(text, tools)[0]
    if not seen.calls:
        assert seen.text == output == detect(text, tools)[0] == text


@thorough
@given(any_text, any_text, cuts)
def test_a_scanner_can_read_one_text_after_another(first: str, second: str, sizes: list[int]) -> None:
    scanner = Scanner()
    for text in (first, second):
        count = scanner.count
        pieces = [piece for chunk in cut_up(text, sizes) for piece in scanner.feed(chunk)] + scanner.flush()
        for call in {id(piece.call): piece.call for piece in pieces if piece.call}.values():
            call.number -= count
        assert put_together(pieces) == scan(text)


# -- as little as possible is held back --

LONGEST_MARKER = max(map(len, MARKERS)) + 8


@given(st.lists(prose.map(lambda text: text.replace("\n", " ").replace("\ud83d", "x")), max_size=20))
def test_plain_text_passes_with_its_chunk(chunks: list[str]) -> None:
    scanner = Scanner()
    assert "".join(piece.text for piece in scanner.feed("I say: ")) == "I say: "
    for chunk in chunks:
        plain = scanner.is_plain(chunk)
        assert plain or "".join(piece.text for piece in scanner.feed(chunk)) == chunk
        assert scanner.held == ""


JSON_CALLS = [
    ('<tool_call>{"name": "f", "arguments": ', "}</tool_call>"),
    ('<tool_call>{"arguments": ', ', "name": "f"}</tool_call>'),
    ('[TOOL_CALLS][{"name": "f", "arguments": {}}, {"arguments": ', ', "name": "g"}]'),
    ("[TOOL_CALLS]f[ARGS]", ""),
    ('{"name": "f", "arguments": ', "}"),
    ("<tool_call>f\n", "</tool_call>"),
]


@thorough
@given(
    st.sampled_from(JSON_CALLS),
    st.dictionaries(st.text(), st.text() | st.lists(st.text()), max_size=3),
    st.booleans(),
    st.lists(st.integers(1, 9), min_size=1),
)
def test_pieces_of_arguments_that_need_not_be_fed(
    around: tuple[str, str], arguments: dict[str, Any], is_cut: bool, sizes: list[int]
) -> None:
    body = json.dumps(arguments, ensure_ascii=False)
    text = around[0] + (body[: len(body) // 2] if is_cut else body + around[1])
    fed, passing = Scanner(declared_tools(["f", "g"])), Scanner(declared_tools(["f", "g"]))
    seen: list[str] = []
    passed: list[str] = []
    for chunk in cut_up(text, sizes):
        seen += [piece.text for piece in fed.feed(chunk) if piece.kind == "arguments"]
        if passing.is_argument(chunk):
            passed.append(chunk)
            assert passing.held == ""
        else:
            passed += [piece.text for piece in passing.feed(chunk) if piece.kind == "arguments"]
        assert "".join(passed) == "".join(seen)
        assert passing.left == fed.left
    assert [piece[:2] for piece in passing.flush()] == [piece[:2] for piece in fed.flush()]


@thorough
@given(st.lists(st.sampled_from([marker[:-1] for marker in MARKERS if marker[-1] == ">"]) | prose, max_size=8))
def test_prose_with_markers_is_held_back_for_a_marker_at_most(parts: list[str]) -> None:
    scanner = Scanner()
    said = "I say: "
    scanner.feed(said)
    for char in "! ".join(parts):
        scanner.feed(char)
        assert len(scanner.held) <= 300
    scanner.flush()
    assert scanner.held == ""


LONG = "word and word, " * 400
STREAMING = {
    "hermes": "json-object",
    "abstractcore_qwen": "json-object",
    "llama_function_call": "json-object",
    "granite_20b_fc": "json-object",
    "phi": "json-object",
    "minimax_m1": "json-object",
    "longcat": "json-object",
    "inkling": "json-object",
    "internlm2": "json-object",
    "llama3_python_tag": "json-object",
    "gemma_tool_code/json": "json-object",
    "mistral_json": "json-array",
    "granite3": "json-array",
    "granite31": "json-array",
    "jamba": "json-array",
    "phi4mini": "json-array",
    "nemotron": "json-array",
    "openpangu": "json-array",
    "cohere_command": "json-array",
    "apertus": "json-array",
    "llama_function_name": "name+json",
    "mistral_v11": "name+json",
    "mistral_v13": "name+json",
    "deepseek_v3": "name+json",
    "deepseek_v31": "name+json",
    "kimi_k2": "name+json",
    "harmony": "name+json",
    "plamo3": "name+json",
    "bracket_prefix": "name+json",
    "step_audio_2": "name+json",
    "deepseek_v4/json": "name+json",
    "deepseek_v32": "xml",
    "kimi_k3": "xml",
    "glm45": "xml",
    "glm47": "xml",
    "qwen3_coder": "xml",
    "hy_v3": "xml",
    "hy_v4": "xml",
    "minimax_m2": "xml",
    "step3": "xml",
    "seed_oss": "xml",
    "dots": "xml",
    "minicpm5": "xml",
    "solar_open2": "xml",
    "k2_horizon": "xml",
    "mimo": "xml",
    "muse_glimmer": "xml",
    "lfm2": "pythonic",
    "olmo3": "pythonic",
    "llama4_pythonic/python_start": "pythonic",
    "gemma4": "custom quoting",
    "functiongemma": "custom quoting",
}


@pytest.mark.parametrize("known", [True, False], ids=["schema", "no-schema"])
@pytest.mark.parametrize("name", STREAMING)
def test_a_long_body_is_not_held_back(name: str, known: bool) -> None:
    call = Call("list_files", {"text": LONG})
    text = FAMILIES[name].write([call])
    scanner = Scanner(declared_tools(tools_for([call]) if known else None))
    # A string of some syntaxes must be long before it shows that this is a call.
    some = 40 if STREAMING[name] in {"pythonic", "custom quoting"} else 20
    begins, ends = text.index(LONG) + some, text.index(LONG) + len(LONG)
    said = 0
    for place, char in enumerate(text):
        said += sum(len(piece.text) for piece in scanner.feed(char) if piece.kind == "arguments")
        if begins < place < ends:
            assert len(scanner.held) <= 64
            assert said >= place - begins - 64
    scanner.flush()


@pytest.mark.parametrize("name", FAMILIES)
def test_text_that_is_held_back_comes_out_at_the_flush(name: str) -> None:
    text = "Well:\n" + FAMILIES[name].write([Call("f", {"city": "Rome"})])
    for end in range(len(text)):
        scanner = Scanner(declared_tools(["f"]))
        pieces = [piece for char in text[:end] for piece in scanner.feed(char)]
        held = scanner.held
        last = scanner.flush()
        assert scanner.held == ""
        if not any(piece.call for piece in pieces + last):
            assert "".join(piece.text for piece in pieces) + held == text[:end]


# -- linear --


class Work:
    """Counts the work on a text: functions called in the scanner, and characters that the cursor copies."""

    def __init__(self) -> None:
        self.calls = 0
        self.copied = 0

    def profile(self, frame: FrameType, event: str, arg: Any) -> None:
        if event not in {"call", "c_call"} or not is_ours(frame.f_code):
            return
        self.calls += 1
        cursor = frame.f_locals.get("self")
        if event == "call" and isinstance(cursor, Cursor):
            if frame.f_code is Cursor.feed.__code__:
                self.copied += cursor.waiting
            elif frame.f_code is Cursor.rewind.__code__ and frame.f_locals["mark"] < cursor._base:
                self.copied += len(cursor.text) + sum(map(len, cursor._kept))
            elif frame.f_code is Cursor.settle.__code__ and cursor._marked is not None:
                self.copied += cursor._base + cursor.position - cursor._marked

    def of(self, run: Callable[[], Any]) -> int:
        sys.setprofile(self.profile)
        try:
            run()
        finally:
            sys.setprofile(None)
        return self.calls + self.copied


def is_ours(code: CodeType) -> bool:
    return "otel_llm" in code.co_filename


HOSTILE = {
    "plain": "This is what I say, in a few words. ",
    "lines": "a\n\n \n",
    "line breaks": "\n",
    "white": " ",
    "open object": '{"name": ',
    "open arguments": '{"arguments":{',
    "open data": '{"a": [',
    "brackets": "[[{[",
    "open list": "[f(",
    "open list with key": "[f(a=",
    "backticks": "`",
    "code spans": "`` ` ",
    "open fences": "```json\n",
    "tool_code": "```tool_code\nf(",
    "markers": "<tool_call>",
    "markers and white": "<tool_call>" + " " * 1023,
    "half markers": "<tool_cal",
    "less than": "<",
    "function_calls": "<function_calls>f(",
    "function_calls with key": "<function_calls>f(a=1",
    "mistral": "[TOOL_CALLS]a",
    "functools": "functools[",
    "lines of functools": "\nfunctools[",
    "deepseek": "<｜tool▁calls▁begin｜>",
    "harmony": "<|channel|>commentary to=a",
    "glm key": "<tool_call>f<arg_key>",
    "glm value": "<tool_call>f<arg_key>a</arg_key><arg_value>",
    "qwen object": '<tool_call>{"name": "f", "arguments": {"a": [',
    "qwen name": '<tool_call>{"name":',
    "gemma": "<|tool_call>call:f{a:",
    "minimax": ']<]minimax[>[<tool_call>]<]minimax[>[<invoke name="f">',
    "apertus": '<|tools_prefix|>[{"f":{',
    "think": "<think>",
    "ampersands": "<function=f><parameter=a>&",
    "bare calls": '{"name": "f", "arguments": {}}\n',
    "joined calls": '{"name": "f", "parameters": {}}; ',
    "python calls": "[f(a=1)]\n",
}


@pytest.mark.parametrize("tools", [None, ["f"]], ids=["unknown", "known"])
@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("step", [5, None], ids=["tokens", "whole"])
def test_work_is_linear(hostile: str, tools: Any, step: int | None) -> None:
    def work(size: int) -> int:
        text = (HOSTILE[hostile] * (size // len(HOSTILE[hostile]) + 1))[:size]
        chunks = cut_up(text, [step or size])

        def run() -> None:
            scanner = Scanner(declared_tools(tools))
            for chunk in chunks:
                scanner.feed(chunk)
            scanner.flush()

        return Work().of(run)

    small, large = work(1_100), work(4_400)
    assert large < 6 * small + 200


LONG_CALLS = {
    "hermes": "json-object",
    "mistral_json": "json-array",
    "mistral_v11": "name+json",
    "qwen3_coder": "xml-parameters",
    "minimax_m3": "tags by key",
    "pythonic": "pythonic",
    "olmo3": "pythonic",
    "gemma4": "custom quoting",
    "bare_json": "no marker",
    "xlam": "no marker",
}


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "unclosed"])
@pytest.mark.parametrize("name", LONG_CALLS)
def test_work_on_one_long_call_is_linear(name: str, cut: bool) -> None:
    def work(count: int) -> int:
        arguments = {"text": 'a "word" \\ and\n' * count, "more": [1, {"a": "b"}] * (count // 4)}
        call = Call("list_files", arguments)
        text = FAMILIES[name].write([call])
        tools = declared_tools(tools_for([call]))
        chunks = cut_up(text[: len(text) // 2] if cut else text, [5])

        def run() -> None:
            scanner = Scanner(tools)
            for chunk in chunks:
                scanner.feed(chunk)
            scanner.flush()

        return Work().of(run)

    assert work(800) < 6 * work(200)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_much_text_at_once(hostile: str) -> None:
    """With copies or searches that grow with the square of the size, this would run for minutes."""
    size = 50_000
    text = (HOSTILE[hostile] * (size // len(HOSTILE[hostile]) + 1))[:size]
    scanner = Scanner()
    pieces = scanner.feed(text) + scanner.flush()
    assert sum(len(piece.text) for piece in pieces if piece.kind == "text") <= size
    assert any(pieces)


# -- markers that families share --

BODY = '{"name": "f", "arguments": {"a": 1}}'
PARAMETERS = '{"name": "f", "parameters": {"a": 1}}'
XML = "<arg_key>a</arg_key><arg_value>1</arg_value>"
INVOKE = '<invoke name="f"><parameter name="a">1</parameter></invoke>'
FUNCTION = "<function=f>\n<parameter=a>\n1\n</parameter>\n</function>"
NS = "]<]minimax[>["


def dsml(prefix: str, wrapper: str) -> str:
    return (
        f'<｜{prefix}｜{wrapper}><｜{prefix}｜invoke name="f"><｜{prefix}｜parameter name="a" string="false">1'
        f"</｜{prefix}｜parameter></｜{prefix}｜invoke></｜{prefix}｜{wrapper}>"
    )


COLLISIONS: dict[str, list[tuple[str, str]]] = {
    "1 <tool_call>": [
        ("hermes", f"<tool_call>\n{BODY}\n</tool_call>"),
        ("granite31", f"<tool_call>[{BODY}]"),
        ("granite31", f"<tool_call>[{BODY}]</tool_call>"),
        ("glm45", "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n</tool_call>"),
        ("glm45", f"<tool_call>f{XML}</tool_call>"),
        ("qwen3_coder", f"<tool_call>\n{FUNCTION}\n</tool_call>"),
        ("qwen3_coder", "<tool_call><function=f><parameter=a>1</parameter></function></tool_call>"),
        ("step_audio_2", '<tool_call>function\nf\n{"a": 1}</tool_call>'),
        ("hy_v3", f"<tool_calls>\n<tool_call>f<tool_sep>\n{XML}</tool_call>\n</tool_calls>"),
        ("hy_v3", f"<tool_calls><tool_call>f{XML}</tool_call></tool_calls>"),
        ("minimax_m3", f'{NS}<tool_call>\n{NS}<invoke name="f">{NS}<a>1{NS}</a>{NS}</invoke>\n{NS}</tool_call>'),
    ],
    "2 <tool_calls>": [
        ("jamba", f"<tool_calls>[{BODY}]</tool_calls>"),
        ("minimax_m1", f"<tool_calls>\n{BODY}\n</tool_calls>"),
        (
            "hy_v4",
            "<tool_calls:x><tool_call:x>f<arg_key:x>a</arg_key:x><arg_value:x>1</arg_value:x></tool_call:x></tool_calls:x>",
        ),
    ],
    "3 <|tool_call|>": [
        ("abstractcore_qwen", f"<|tool_call|>{BODY}</|tool_call|>"),
        ("abstractcore_qwen", f"<|tool_call|>{BODY}<|/tool_call|>"),
        ("granite3", f"<|tool_call|>[{BODY}]"),
        ("gemma4", "<|tool_call>call:f{a:1}<tool_call|>"),
        (
            "solar_open2",
            "<|tool_call:start|>f\n<|tool_arg:start|>a<|tool_arg:value|>1<|tool_arg:end|>\n<|tool_call:end|>",
        ),
        ("kimi_k2", '<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"a": 1}<|tool_call_end|>'),
    ],
    "4 <|tool_call_start|>": [
        ("lfm2", "<|tool_call_start|>[f(a=1)]<|tool_call_end|>"),
        ("openpangu", f"<|tool_call_start|>[{BODY}]<|tool_call_end|>"),
    ],
    "5 <function_call>": [
        ("llama_function_call", f"<function_call>{BODY}</function_call>"),
        ("llama_function_call", f"<function_call> {BODY}"),
        ("functiongemma", "<start_function_call>call:f{a:1}<end_function_call>"),
        ("gigachat3", f"<|function_call|>{BODY}"),
    ],
    "6 <function_calls>": [
        ("olmo3", "<function_calls>\nf(a=1)\n</function_calls>"),
        ("deepseek_v32", f"<function_calls>\n{INVOKE}\n</function_calls>"),
    ],
    "7 <function=NAME>": [
        ("llama_function_name", '<function=f>{"a": 1}</function>'),
        ("qwen3_coder", FUNCTION),
        ("minicpm5", '<function name="f"><param name="a">1</param></function>'),
        ("seed_oss", "<seed:tool_call>\n<function=f>\n<parameter=a>1</parameter>\n</function>\n</seed:tool_call>"),
    ],
    "8 [TOOL_CALLS]": [
        ("mistral_json", f"[TOOL_CALLS] [{BODY}]"),
        ("mistral_v13", '[TOOL_CALLS]f[ARGS]{"a": 1}'),
        ("mistral_v13", '[TOOL_CALLS]f[CALL_ID]aB3dE6gH9[ARGS]{"a": 1}'),
        ("mistral_v11", '[TOOL_CALLS]f{"a": 1}'),
    ],
    "9 deepseek and step3": [
        (
            "deepseek_v3",
            (
                "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n"
                '```json\n{"a": 1}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
            ),
        ),
        (
            "deepseek_v31",
            '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{"a": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        ),
        (
            "step3",
            (
                '<｜tool_calls_begin｜>\n<｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="f">'
                '<steptml:parameter name="a">1</steptml:parameter></steptml:invoke>'
                "<｜tool_call_end｜>\n<｜tool_calls_end｜>"
            ),
        ),
    ],
    "10 one grammar, three wrappers": [
        ("deepseek_v32", dsml("DSML", "function_calls")),
        ("deepseek_v4", dsml("DSML", "tool_calls")),
        ("gigachat35", dsml("GCML", "tool_calls")),
        ("deepseek_v4", '<｜DSML｜tool_calls><｜DSML｜invoke name="f">{"a": 1}</｜DSML｜invoke></｜DSML｜tool_calls>'),
    ],
    "11 the wrapper tells": [
        ("minimax_m2", f"<minimax:tool_call>{INVOKE}</minimax:tool_call>"),
        ("dots", f"<dots_function_call>{INVOKE}</dots_function_call>"),
        ("dots", '<dots_function_call><invoke name="f">{"a": 1}</invoke></dots_function_call>'),
    ],
    "12 functools[": [("phi4mini", f"functools[{BODY}]"), ("phi4mini", f" functools[{BODY}]")],
    "13 no marker": [
        ("bare_json", BODY),
        ("llama3_json", PARAMETERS),
        ("xlam", f"[{BODY}]"),
        ("pythonic", "[f(a=1)]"),
    ],
    "14 fences": [("xlam", f"```json\n[{BODY}]\n```"), ("gemma_tool_code", "```tool_code\nf(a=1)\n```")],
    "15 messages": [
        ("harmony", '<|start|>assistant to=functions.f<|channel|>commentary json<|message|>{"a": 1}<|call|>'),
        (
            "harmony",
            '<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>',
        ),
        (
            "muse_glimmer",
            (
                '<|start|>assistant to=f<|message|><atem:function_calls>\n<atem:invoke name="f">\n'
                '<atem:parameter name="a">1</atem:parameter>\n</atem:invoke>\n</atem:function_calls><|eot|>'
            ),
        ),
        ("gigachat3", f"<|message_sep|>\n\nfunction call<|role_sep|>\n{BODY}"),
        ("inkling", '<|message_model|>f<|content_invoke_tool_json|>{"name": "f", "args": {"a": 1}}<|end_message|>'),
    ],
    "17 keys": [
        (
            "cohere_command",
            '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "f", "parameters": {"a": 1}}]<|END_ACTION|>',
        ),
        ("apertus", '<|tools_prefix|>[{"f": {"a": 1}}]<|tools_suffix|>'),
        ("hermes", '<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>'),
        ("hermes", '<tool_call>{"arguments": {"a": 1}, "name": "f"}</tool_call>'),
    ],
}


@pytest.mark.parametrize(
    ("name", "text"),
    [pytest.param(name, text, id=f"{point}-{name}") for point, rows in COLLISIONS.items() for name, text in rows],
)
def test_the_text_behind_a_shared_marker_decides_the_family(name: str, text: str) -> None:
    for chunks, behind in itertools.product((text, [*text]), ("", "\nand text")):
        seen = scan([*chunks, behind] if behind else chunks, ["f"])
        assert [(one.format, one.call, one.complete) for one in seen.calls] == [(name, Call("f", {"a": 1}), True)]
        assert seen.text.strip() == behind.strip()


@pytest.mark.parametrize("end", ["", "\n", " Then text.", "<tool_call>", "\n```\ncode\n```\n"])
@pytest.mark.parametrize(
    "opened",
    [
        *("<|python_tag|>", "[TOOL_CALLS] [", "[TOOL_CALLS]f", "[TOOL_CALLS]f[ARGS]", "<|tool_call|>[", "<tool_call>["),
        *("<function_call> ", "functools[", "<|function_call|>", "tool: [f]: "),
    ],
)
def test_without_a_closer_the_end_of_the_json_ends_the_call(opened: str, end: str) -> None:
    named = opened.rstrip("[").endswith("f") or opened.endswith(("[ARGS]", "]: "))
    bracket = "]" if opened.endswith("[") else ""
    text = opened + ('{"a": 1}' if named else BODY) + bracket + end
    for chunks in (text, [*text]):
        seen = scan(chunks)
        assert [(one.call, one.complete) for one in seen.calls] == [(Call("f", {"a": 1}), True)]
        assert seen.text == end


def test_strings_of_functiongemma_keep_their_type() -> None:
    values = "a:<escape>42<escape>,b:42,c:<escape>[1]<escape>,d:[true,<escape>}<escape>],e:nan"
    text = f"<start_function_call>call:f{{{values}}}<end_function_call>"
    assert scan(text).calls[0].call == Call("f", {"a": "42", "b": 42, "c": "[1]", "d": [True, "}"], "e": "nan"})


# -- text that is no call --

TALK = [
    "Use <tool_call> and </tool_call> around a call.",
    "The marker <|tool_call|> opens and </|tool_call|> closes it, [TOOL_CALLS] is Mistral's.",
    f"`<tool_call>{BODY}</tool_call>` is what I would write.",
    f"``<tool_call>{BODY}</tool_call>`` too.",
    f"```\n<tool_call>{BODY}</tool_call>\n```",
    f"```xml\n<tool_call>\n{BODY}\n</tool_call>\n```\ndone",
    f"```python\n[f(a=1)]\nprint({BODY})\n```",
    f"````md\n```tool_code\nf(a=1)\n```\n<tool_call>{BODY}</tool_call>\n````",
    f"<think>\nPerhaps <tool_call>{BODY}</tool_call>?\n</think>\nNo.",
    f"  <thinking>{BODY}\n</thinking>",
    f"[THINK]<tool_call>{BODY}</tool_call>[/THINK]No.",
    f"<|channel|>analysis<|message|><tool_call>{BODY}</tool_call><|end|>",
    f"<think>never closed <tool_call>{BODY}</tool_call>",
    f'{{"calls": [{BODY}]}}',
    f'{{"text": "<tool_call>{json.dumps(BODY)[1:-1]}</tool_call>"}}',
    f'{{\n  "calls": [\n{BODY}\n]\n}}',
    f"[1, {BODY}]",
    f'["a", [{BODY}]]',
    '{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}',
    '[{"name": "f", "description": "d", "parameters": {"a": 1}}]',
    '{"name": "f"}',
    '{"name": "f", "arguments": 1}',
    '{"name": "f", "arguments": {}, "more": 1}',
    '{"name": 1, "arguments": {}}',
    '{"name": "f", "arguments": {"a": 1}',
    '[{"name": "f", "arguments": {}}',
    "[f(a=b)]",
    "[f(1)]",
    "[f(a=1), 2]",
    "[see (a) and f(b)]",
    "[f](https://example.org/(a))",
    "f(a=1)",
    "[]",
    "{}",
    "[f(",
    "<tool_call>f and others",
    "<tool_call>\n\n</tool_call>",
    '<tool_call>{"a": 1}</tool_call>',
    "<function_calls>f(x)</function_calls>",
    "<function_calls>f(a=1</function_calls>",
    "<function=f> is a tag",
    "<|channel|>commentary to=all of you",
    "a functools[0] and `functools[`",
    "Say tool: [f]: {}",
    "Move it to=f or so",
    "```tool_code\nprint(1 + 1)\n```",
    '```json\n{"a": 1}\n```',
]


@pytest.mark.parametrize("text", TALK)
def test_calls_that_are_only_mentioned_are_text(text: str) -> None:
    for tools, chunks in itertools.product((None, ["f"], []), (text, [*text], cut_up(text, [7]))):
        seen = scan(chunks, tools)
        assert not seen.calls
        assert seen.text == rewrite(chunks, tools) == text


def test_think_counts_only_at_the_start_of_a_line() -> None:
    text = f"The tag <think> opens it. <tool_call>{BODY}</tool_call>"
    assert len(scan(text).calls) == 1
    assert not scan(f"<think>I will open it. <tool_call>{BODY}</tool_call>").calls
    assert len(scan(f"<think>{BODY}</think><tool_call>{BODY}</tool_call>").calls) == 1


@pytest.mark.parametrize("text", [BODY, PARAMETERS, f"[{BODY}]", "[f(a=1)]"])
def test_without_a_marker_only_declared_tools_or_whole_lines_count(text: str) -> None:
    def count(text: str, tools: Any) -> int:
        seen = scan(text, tools)
        assert scan([*text], tools) == seen
        return len(seen.calls)

    assert [count(text, tools) for tools in (["f"], None, [], ["g"])] == [1, 1, 0, 0]
    assert [count(f"Well: {text}", tools) for tools in (["f"], None)] == [1, 0]
    assert [count(f"{text} is it", tools) for tools in (["f"], None)] == [1, 0]
    assert [count(f"Well:\n  {text} \nDone.", tools) for tools in (["f"], None)] == [1, 1]
    assert [count(f"<tool_call>{text}</tool_call>", []) for text in (BODY, f"[{BODY}]")] == [1, 1]


def test_an_object_with_other_keys_than_a_call_is_data() -> None:
    for more in ('"id": "x"', '"type": "function"'):
        assert len(scan(BODY[:-1] + f", {more}}}").calls) == 1
    for more in ('"note": "x"', '"name2": 1'):
        assert not scan(BODY[:-1] + f", {more}}}", ["f"]).calls


# -- broken calls --


@pytest.mark.parametrize(
    ("text", "calls", "rest"),
    [
        # Two openings in a row.
        (f"<tool_call><tool_call>{BODY}</tool_call>", [True], "<tool_call>"),
        ('<function=f><function=f>{"a": 1}</function>', [True], "<function=f>"),
        (
            f"<|action_start|><|plugin|><|action_start|><|plugin|>{PARAMETERS}<|action_end|>",
            [True],
            "<|action_start|><|plugin|>",
        ),
        ("<function_calls>f(<function_calls>f(a=1)</function_calls>", [True], "<function_calls>f("),
        ("<function_calls>f(a=<function_calls>f(a=1)</function_calls>", [True], "<function_calls>f(a="),
        ("<|tool_call>call:f{<|tool_call>call:f{a:1}<tool_call|>", [True], "<|tool_call>call:f{"),
        (
            f'{NS}<tool_call>{NS}<invoke name="f">' * 2 + f"{NS}<a>1{NS}</a>{NS}</invoke>{NS}</tool_call>",
            [True],
            None,
        ),
        # No closer.
        (f"<tool_call>{BODY} and text", [True], " and text"),
        (f"<tool_call>{BODY}\n<tool_call>{BODY}", [True, True], "\n"),
        (f"<tool_call>f{XML} and text", [True], " and text"),
        (f"<tool_call>f{XML}<tool_call>f{XML}</tool_call>", [True, True], ""),
        ('<minimax:tool_call><invoke name="f"><parameter name="a">1</parameter></minimax:tool_call>.', [True], "."),
        (
            '<minimax:tool_call><invoke name="f"><parameter name="a">1</parameter>' + INVOKE + "</minimax:tool_call>.",
            [True, True],
            ".",
        ),
        # A closing brace is missing.
        (f"<tool_call>{BODY[:-1]}</tool_call>.", [True], "."),
        # A closer of another family.
        (f"<tool_call>{BODY}</function_call>", [True], "</function_call>"),
        # Cut off by the end.
        (f"<tool_call>f{XML}", [False], ""),
        (f"<tool_call>f{XML}</tool_", [False], ""),
        (f"<tool_call>{BODY[:-3]}", [False], ""),
        # A key that is never closed is text.
        ("<tool_call>f<arg_key>" + "x" * 300, [], "<tool_call>f<arg_key>" + "x" * 300),
        # Fences.
        ("```tool_code\nf(a=1)\n", [True], "\n"),
        (f"```tool_code\n{BODY}\nand text\n```\n{BODY}", [True, True], "\nand text\n```\n"),
    ],
)
def test_broken_calls(text: str, calls: list[bool], rest: str | None) -> None:
    seen = scan(text)
    assert scan([*text]) == seen
    assert [one.complete for one in seen.calls] == calls
    if rest is not None:
        assert seen.text == rest


def test_a_marker_in_a_string_does_not_end_a_call() -> None:
    inside = '</tool_call> <tool_call> }} ]] " \\ </parameter> ```\n[TOOL_CALLS]'
    body = json.dumps({"name": "f", "arguments": {"a": inside, "b": {"c": [{"d": {}}]}}})
    seen = scan(f"<tool_call>{body}</tool_call>{BODY}")
    assert [one.body for one in seen.calls] == [body, BODY] or seen.calls[0].body == body
    assert seen.calls[0].call.arguments["a"] == inside


@pytest.mark.parametrize("quote", ['"' * 3, "'" * 3])
@pytest.mark.parametrize("text", ["", "a", 'if a < "b": {', "it's <tool_call> ]", 'two "" and \n', "}\n\n`x`"])
def test_python_strings_in_three_quotes(quote: str, text: str) -> None:
    for call in (f"f(a={quote}{text}{quote}, b='', c=\"\")", f"f(c=\"\", b='', a={quote}{text}{quote})"):
        wanted = Call("f", {"a": text, "b": "", "c": ""})
        for whole in (f"<function_calls>{call}</function_calls>", f"[{call}]", f"```tool_code\n{call}\n```"):
            for chunks in (whole, [*whole], cut_up(whole, [2, 3])):
                assert exact([one.call for one in scan(chunks, ["f"]).calls]) == exact([wanted])


def test_nested_braces_and_escapes_are_kept_to_the_byte() -> None:
    body = '{ "name" :"f" ,\n "arguments": {"a":"\\u00e9\\/ \\\\\\"", "b":[[{}]],"c":1.50,"d":-0} }'
    assert rewrite(f"<tool_call>\n{body}\n</tool_call>") == f"<ojlk>{body}</dfsd>"


def test_the_families_that_are_named_here_exist() -> None:
    assert {*STREAMING, *LONG_CALLS} <= FAMILIES.keys()
