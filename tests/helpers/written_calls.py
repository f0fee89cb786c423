"""Tool calls as models write them in text: a writer for each syntax, and the arguments that it can carry."""

from __future__ import annotations

import html
import json
import keyword
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy


class Call(NamedTuple):
    name: str
    arguments: dict[str, Any]


Write = Callable[[Sequence[Call]], str]
WriteOne = Callable[[Call, int], str]
Body = Callable[[Call], str]
Arguments = SearchStrategy[dict[str, Any]]
Schema = dict[str, Any]

# -- names and keys --

# Words that are special in some syntax.
RESERVED = {*keyword.kwlist, "true", "false", "null", "self", "user"}

identifiers = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,11}", fullmatch=True).filter(lambda name: name not in RESERVED)
plain_names = st.sampled_from(["list_files", "get_weather2", "addTask", "f"]) | identifiers
# JSON can hold names with punctuation too.
any_names = plain_names | st.sampled_from(["list-files", "fs.read_file", "get-weather.v2"])
keys = st.sampled_from(["city", "path", "name", "arguments", "parameters", "id", "type", "function"]) | identifiers

# -- values --

FENCE = "```"
MINIMAX = "]<]minimax[>["

# Text that opens, separates or closes a call in some syntax, or looks like it.
MARKERS = [
    *("<tool_call>", "</tool_call>", "<tool_calls>", "</tool_calls>", "<|tool_call|>", "</|tool_call|>"),
    *("<|/tool_call|>", "<|tool_call>", "<tool_call|>", "<function_call>", "</function_call>", "<function_calls>"),
    *("</function_calls>", "<|python_tag|>", "<|python_start|>", "<|python_end|>", "<function=f>", "</function>"),
    *("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<parameter=city>", "</parameter>", '<parameter name="city">'),
    *("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"),
    *("<｜tool▁calls▁end｜>", "<｜tool_calls_begin｜>", "<｜tool_call_end｜>", "<｜tool_calls_end｜>"),
    *("<｜DSML｜function_calls>", "</｜DSML｜function_calls>", "</｜DSML｜tool_calls>", "</｜DSML｜invoke>"),
    *("</｜DSML｜parameter>", "</｜GCML｜tool_calls>", "</｜GCML｜parameter>", "<|tool_calls_section_begin|>"),
    *("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>", "<|tool_calls_section_end|>"),
    *("<|open|>", "<|sep|>", "<|close|>argument<|sep|>", "<|close|>call<|sep|>", "<|close|>tools<|sep|>"),
    *("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<tool_sep>", "</arg_value:opensource>"),
    *("<|start|>assistant", "<|channel|>commentary to=functions.f", "<|constrain|>json", "<|message|>", "<|call|>"),
    *("<|action_start|><|plugin|>", "<|action_end|>", "functools[", "</minimax:tool_call>", "</invoke>"),
    *('<invoke name="f">', MINIMAX, f"{MINIMAX}</tool_call>", f"{MINIMAX}</city>"),
    *("</steptml:parameter>", "</steptml:invoke>", "</seed:tool_call>", "<think>", "</think>"),
    *(f"{FENCE}json\n", f"{FENCE}tool_code\n", FENCE, f"\n{FENCE}", "<start_function_call>call:f{", "<escape>"),
    *("}<end_function_call>", "<end_function_call>", '<|"|>', "}<tool_call|>", "<|tool_call_start|>"),
    *("</longcat_tool_call>", "<TOOLCALL>", "</TOOLCALL>", "<|START_ACTION|>", "<|END_ACTION|>", "<|tools_prefix|>"),
    *("<|tools_suffix|>", "<|message_sep|>", "<|role_sep|>", "<|function_call|>", "</dots_function_call>"),
    *("<|plamo:end_tool_arguments:plamo|>", "<|plamo:end_tool_requests:plamo|>", "\ntool: [f]: {}", "]]>", "<![CDATA["),
    *('<function name="f">', '<param name="city">', "</param>", "<|content_invoke_tool_json|>", "<|end_message|>"),
    *("<|tool_call:start|>", "<|tool_call:end|>", "<|tool_arg:end|>", "</ifm|arg_value>", "</ifm|tool_call>"),
    *("</atem:parameter>", "</atem:invoke>", "</atem:function_calls>", "<|eom|>", "<|eot|>", "</s>", "; ", "]}", "}]"),
    *('{"name": "f", "arguments": {}}', '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>', "[f(a=1)]"),
]
# Text that is another type if the type has to be guessed, or that would change if it were decoded once too often.
LOOKALIKES = [
    *("", "42", "-1.5", "1e3", "true", "false", "null", "None", "True", '{"a": 1}', "[1, 2]", '"quoted"', "'a'"),
    *(
        "&lt;b&gt; &amp;",
        "a < b && c > d",
        "\\",
        '\\"',
        "\\n",
        "a\nb",
        "x\n\n\ty",
        'say "hi", it\'s {ok}',
        "}",
        "{",
        "]",
    ),
    *("日本語", "🙂", "é\u0301", "a\u2028b", "\x00\x1f\x7f", "\ufeffa", ":", ",", "#", "<", "<a>1</a>", "100%"),
]

pieces = st.sampled_from(MARKERS) | st.sampled_from(LOOKALIKES) | st.text(max_size=6)
texts = st.one_of(
    st.text(max_size=12),
    st.sampled_from(LOOKALIKES),
    st.sampled_from(MARKERS),
    st.lists(pieces, min_size=2, max_size=4).map("".join),
)
numbers = st.integers(-9, 99) | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
bare_scalars = st.none() | st.booleans() | numbers


def nested_in(values: SearchStrategy[Any], titles: SearchStrategy[str]) -> SearchStrategy[Any]:
    return st.lists(values, max_size=3) | st.dictionaries(titles, values, max_size=3)


def containers_of(strings: SearchStrategy[str], titles: SearchStrategy[str]) -> SearchStrategy[Any]:
    """Objects and arrays of any JSON values."""
    inner = st.recursive(bare_scalars | strings, lambda deeper: nested_in(deeper, titles), max_leaves=5)
    return nested_in(inner, titles)


def arguments_of(values: SearchStrategy[Any], titles: SearchStrategy[str] = keys) -> Arguments:
    return st.dictionaries(titles, values, max_size=4)


def json_arguments(*own: str) -> Arguments:
    """Any arguments. `own`: markers of the family itself, which occur more often."""
    strings = texts | st.tuples(texts, st.sampled_from(own), texts).map("".join) if own else texts
    return arguments_of(bare_scalars | strings | containers_of(strings, keys | texts))


def ends_late(text: str, ends: Iterable[str]) -> bool:
    """Whether each of `ends` is first found right after the text, neither in it nor overlapping its end."""
    return all((text + end).find(end) == len(text) for end in ends)


def trimmed(text: str) -> bool:
    return text == text.strip()


def raw_arguments(*ends: str, keeps_space: bool = False, fits: Callable[[str], bool] = lambda text: True) -> Arguments:
    """Strings as raw text, other values as JSON. Neither can contain one of `ends`, since nothing escapes them."""

    def text_fits(text: str) -> bool:
        return (keeps_space or trimmed(text)) and ends_late(text, ends) and fits(text)

    def json_fits(value: Any) -> bool:
        text = json.dumps(value, ensure_ascii=False)
        return ends_late(text, ends) and fits(text)

    strings = texts.filter(text_fits)
    return arguments_of(strings | strings | bare_scalars | containers_of(texts, keys | texts).filter(json_fits))


def delimited_arguments(delimiter: str) -> Arguments:
    """Strings between delimiters, and bare keys."""
    strings = texts.filter(lambda text: ends_late(text, [delimiter]))
    return arguments_of(bare_scalars | strings | containers_of(strings, keys))


def tagged_arguments() -> Arguments:
    """Arguments for tags named after the keys. The schema has the type of leaves, so those of an array are alike."""
    titles = keys.filter(lambda key: key not in {"item", "invoke", "tool_call"})
    strings = texts.filter(lambda text: trimmed(text) and ends_late(text, [MINIMAX]))
    leaves: list[SearchStrategy[Any]] = [strings, st.integers(), st.booleans(), numbers.map(float)]
    lists = st.one_of(*(st.lists(leaf, max_size=3) for leaf in leaves))
    rows = st.fixed_dictionaries(
        {"name": strings, "n": st.integers()}, optional={"tags": st.lists(strings, min_size=1)}
    )
    grids = st.lists(st.lists(st.integers(), min_size=1, max_size=2), max_size=2)
    flat = st.one_of(*leaves, st.none(), lists)
    objects = st.dictionaries(titles, flat | st.dictionaries(titles, flat, max_size=2), max_size=3)
    return arguments_of(st.one_of(*leaves, st.none(), lists, grids, st.lists(rows, max_size=2), objects), titles)


def xml_text(text: str) -> bool:
    """Whether XML can hold each character unchanged."""
    return all(char in "\t\n" or " " <= char < "\ufffe" or char > "\uffff" for char in text)


# -- JSON --


def spelled(value: Any, call: Call) -> str:
    """JSON in one of four spellings, chosen by the name, so that it is always the same for a call."""
    style = len(call.name) % 4
    separators = (",", ":") if style < 2 else (", ", ": ")
    return json.dumps(value, separators=separators, ensure_ascii=style % 2 == 0)


def arguments_json(call: Call) -> str:
    return spelled(call.arguments, call)


def made_id(call: Call) -> str:
    """An id of nine letters and digits."""
    return f"call{zlib.crc32(call.name.encode()) % 10**5:05}"


def object_of(arguments: str = "arguments", name: str = "name", id: str | None = None) -> Body:  # noqa: A002
    """Writes a call as a JSON object with these keys."""

    def body(call: Call) -> str:
        known = {name: call.name, arguments: call.arguments}
        return spelled(known if id is None else known | {id: made_id(call)}, call)

    return body


PLAIN_OBJECT = object_of()


def cohere_object(call: Call) -> str:
    known = {"tool_call_id": made_id(call), "tool_name": call.name, "parameters": call.arguments}
    return spelled(known, call)


def encoded_object(call: Call) -> str:
    """The arguments are JSON in a string."""
    return spelled({"name": call.name, "arguments": arguments_json(call)}, call)


def keyed_object(call: Call) -> str:
    """The name is the key of the arguments."""
    return spelled({call.name: call.arguments}, call)


# -- several calls --


def repeated(one: WriteOne, between: str = "", before: str = "", after: str = "") -> Write:
    def write(calls: Sequence[Call]) -> str:
        return before + between.join(one(call, index) for index, call in enumerate(calls)) + after

    return write


def around(body: Body, before: str = "", after: str = "") -> WriteOne:
    """`before` is a format string with `{name}` and `{index}`."""

    def one(call: Call, index: int) -> str:
        return before.format(name=call.name, index=index) + body(call) + after

    return one


def listed(body: Body, before: str, after: str, between: str | None = None) -> Write:
    """A JSON array."""

    def write(calls: Sequence[Call]) -> str:
        comma = between or (", " if len(calls[0].name) % 2 else ",")
        return before + comma.join(body(call) for call in calls) + after

    return write


# -- tags --


def raw(value: Any, call: Call) -> str:
    return value if isinstance(value, str) else spelled(value, call)


def xml_escaped(value: Any, call: Call) -> str:
    text = raw(value, call)
    if not any(char in text for char in "<>&\n"):
        return text
    return html.escape(text, quote=False) if "]]>" in text else f"<![CDATA[{text}]]>"


def in_tags(value: Any, call: Call) -> str:
    """Objects as tags named after their keys, arrays as items."""
    if not isinstance(value, (dict, list)):
        return raw(value, call)
    inner = value.items() if isinstance(value, dict) else [("item", item) for item in value]
    return "".join(f"{MINIMAX}<{key}>{in_tags(item, call)}{MINIMAX}</{key}>" for key, item in inner)


def type_of(value: Any) -> str:
    known = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
    return "null" if value is None else known[type(value)]


def tags(
    call_open: str,
    argument_open: str,
    argument_close: str,
    call_close: str,
    write_value: Callable[[Any, Call], str] = raw,
) -> WriteOne:
    """One call with a pair of tags for each argument.

    Filled in are `{name}`, `{index}` (from 0) and `{count}` (from 1) of the call, `{key}`, `{type}` and `{string}`
    (whether it is one) of the argument.
    """

    def argument(key: str, value: Any, call: Call) -> str:
        type_ = "number" if type_of(value) == "integer" else type_of(value)
        opened = argument_open.format(key=key, type=type_, string="true" if isinstance(value, str) else "false")
        return opened + write_value(value, call) + argument_close.format(key=key)

    def one(call: Call, index: int) -> str:
        written = [argument(key, value, call) for key, value in call.arguments.items()]
        return "".join([call_open.format(name=call.name, index=index, count=index + 1), *written, call_close])

    return one


def invoke(prefix: str, string: str = "") -> WriteOne:
    """`<invoke>` and `<parameter>`, on lines of their own."""
    return tags(
        f'<{prefix}invoke name="{{name}}">\n',
        f'<{prefix}parameter name="{{key}}"{string}>',
        f"</{prefix}parameter>\n",
        f"</{prefix}invoke>\n",
    )


def marked_up(prefix: str, wrapper: str) -> Write:
    """DeepSeek's tags, which say of each value whether it is a string."""
    one = invoke(prefix, ' string="{string}"')
    return repeated(one, before=f"<{prefix}{wrapper}>\n", after=f"</{prefix}{wrapper}>")


def ends_of(*names: str, prefix: str = "", suffix: str = "") -> list[str]:
    return [f"</{prefix}{name}{suffix}>" for name in names]


def key_value(suffix: str = "", lines: bool = False, prefix: str = "") -> tuple[str, str]:
    """The text before and after a value, if its key has tags of its own."""
    end = "\n" if lines else ""
    key_close = f"</{prefix}arg_key{suffix}>{end}"
    return (
        f"<{prefix}arg_key{suffix}>{{key}}{key_close}<{prefix}arg_value{suffix}>",
        f"</{prefix}arg_value{suffix}>{end}",
    )


# -- Python --


def python_string(text: str, double: bool) -> str:
    # Escapes of JSON are escapes of Python, except for the surrogate pairs of `ensure_ascii`.
    return json.dumps(text, ensure_ascii=False) if double else repr(text)


def python_value(value: Any, double: bool, words: dict[Any, str]) -> str:
    if isinstance(value, str):
        return python_string(value, double)
    if isinstance(value, dict):
        pairs = ((python_string(key, double), python_value(item, double, words)) for key, item in value.items())
        return "{" + ", ".join(f"{key}: {item}" for key, item in pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(python_value(item, double, words) for item in value) + "]"
    return words[value] if value is None or isinstance(value, bool) else repr(value)


PYTHON_WORDS = {None: "None", True: "True", False: "False"}
JSON_WORDS = {None: "null", True: "true", False: "false"}


def python_call(double: bool | None = None, words: dict[Any, str] = PYTHON_WORDS) -> Body:
    """`double`: with double quotes; if it is None, the name decides."""

    def body(call: Call) -> str:
        quotes = len(call.name) % 2 == 0 if double is None else double
        written = (f"{key}={python_value(value, quotes, words)}" for key, value in call.arguments.items())
        return f"{call.name}({', '.join(written)})"

    return body


def python_list(before: str = "", after: str = "", double: bool | None = None) -> Write:
    return repeated(around(python_call(double)), ", ", f"{before}[", f"]{after}")


def python_dicts(before: str) -> Write:
    def body(call: Call) -> str:
        return python_value({"name": call.name, "arguments": call.arguments}, False, PYTHON_WORDS)

    return repeated(around(body), ", ", f"{before}[", "]")


# -- delimiters of their own --


def delimited(value: Any, delimiter: str) -> str:
    if isinstance(value, str):
        return delimiter + value + delimiter
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{delimited(value[key], delimiter)}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(delimited(item, delimiter) for item in value) + "]"
    return json.dumps(value)


# -- the families --


@dataclass(frozen=True)
class Family:
    """One syntax for calls."""

    name: str
    write: Write
    """Writes calls, with their markers and nothing before or after."""
    arguments: Arguments
    """Arguments that the syntax carries without loss if the types are known from the schema."""
    most_calls: int = 3
    """Most calls of one response."""
    marked: bool = True
    """Whether there is an opening marker. Without one, only calls of declared tools count."""
    closed: bool = True
    """Whether there is a closing marker."""
    body: Body | None = None
    """Writes the JSON object of a call, if one has both name and arguments."""
    to_the_byte: bool = True
    """Whether custom tags keep that object as it is."""
    apart: bool = False
    """Whether the arguments are one JSON object, written by `arguments_json`, and the name is outside of it."""
    names: SearchStrategy[str] = plain_names


def objects(
    name: str,
    before: str = "",
    after: str = "",
    between: str = "",
    *,
    body: Body = PLAIN_OBJECT,
    outer: tuple[str, str] = ("", ""),
    **more: Any,
) -> Family:
    """JSON objects with name and arguments, each between markers."""
    own = [mark for mark in (before.strip(), after.strip(), outer[1].strip()) if mark]
    write = repeated(around(body, before, after), between, *outer)
    return Family(name, write, json_arguments(*own), body=body, names=any_names, **more)


def array(
    name: str,
    before: str = "[",
    after: str = "]",
    between: str | None = None,
    *,
    body: Body = PLAIN_OBJECT,
    **more: Any,
) -> Family:
    """One JSON array of objects with name and arguments."""
    own = json_arguments(before, after, after.strip("]\n") or "]")
    return Family(name, listed(body, before, after, between), own, body=body, names=any_names, **more)


def named(
    name: str, before: str, after: str = "", between: str = "", *, outer: tuple[str, str] = ("", ""), **more: Any
) -> Family:
    """The name, then the arguments as JSON."""
    write = repeated(around(arguments_json, before, after), between, *outer)
    own = [mark for mark in (after, outer[1]) if mark]
    return Family(name, write, json_arguments(*own), names=any_names, apart=True, **more)


def function_tags(name: str, before: str, after: str, value: tuple[str, str], between: str) -> Family:
    """`<function=NAME>` and `<parameter=KEY>`. `value`: the text before and after a value."""
    one = tags(
        f"{before}\n<function={{name}}>\n",
        f"<parameter={{key}}>{value[0]}",
        f"{value[1]}</parameter>\n",
        f"</function>\n{after}",
    )
    return Family(name, repeated(one, between), raw_arguments(*ends_of("parameter", "function"), after))


def keyed_tags(
    name: str,
    before: str,
    after: str,
    between: str = "",
    *,
    lines: bool = False,
    prefix: str = "",
    suffix: str = "",
    outer: tuple[str, str] = ("", ""),
) -> Family:
    """`<arg_key>` and `<arg_value>`."""
    one = tags(before, *key_value(suffix, lines, prefix), after)
    ends = [*ends_of("arg_value", prefix=prefix, suffix=suffix), *(mark.strip() for mark in (after, outer[1]) if mark)]
    return Family(name, repeated(one, between, *outer), raw_arguments(*ends))


def longcat_tags(name: str, line: str) -> Family:
    one = tags(
        f"<longcat_tool_call>{{name}}{line}",
        f"<longcat_arg_key>{{key}}</longcat_arg_key>{line}<longcat_arg_value>",
        f"</longcat_arg_value>{line}",
        "</longcat_tool_call>",
    )
    return Family(name, repeated(one, line), raw_arguments(*ends_of("longcat_arg_value", "longcat_tool_call")))


def beam(name: str, constraint: str) -> Family:
    """Tags in the messages of a harmony; each goes to a tool."""
    one = tags(
        f"<|start|>assistant to={{name}}<|channel|>analysis{constraint}<|message|>",
        '<rfl:parameter name="{key}">',
        "</rfl:parameter>",
        "<|call|>",
    )
    own = raw_arguments(*ends_of("parameter", prefix="rfl:"), "<|call|>", "<|end|>")
    return Family(name, repeated(one), own)


def hunyuan_v4(name: str, suffix: str) -> Family:
    outer = (f"<tool_calls{suffix}>", f"</tool_calls{suffix}>")
    return keyed_tags(name, f"<tool_call{suffix}>{{name}}", f"</tool_call{suffix}>", suffix=suffix, outer=outer)


def hunyuan_v3(name: str, suffix: str = "") -> Family:
    before, after = f"<tool_call{suffix}>{{name}}<tool_sep{suffix}>\n", f"</tool_call{suffix}>"
    outer = (f"<tool_calls{suffix}>\n", f"\n</tool_calls{suffix}>")
    return keyed_tags(name, before, after, "\n", lines=True, suffix=suffix, outer=outer)


def deepseek(name: str, prefix: str, wrapper: str) -> Family:
    ends = ends_of("parameter", "invoke", wrapper, prefix=prefix)
    return Family(name, marked_up(prefix, wrapper), raw_arguments(*ends, keeps_space=True))


def json_invokes(name: str, prefix: str, wrapper: str) -> Family:
    """The arguments of an invoke as one JSON object."""
    before, after = f'<{prefix}invoke name="{{name}}">\n', f"\n</{prefix}invoke>\n"
    write = repeated(around(arguments_json, before, after), "", f"<{prefix}{wrapper}>\n", f"</{prefix}{wrapper}>")
    return Family(name, write, json_arguments(*ends_of("parameter", "invoke", wrapper, prefix=prefix)), apart=True)


def quoting(name: str, before: str, after: str, delimiter: str) -> Family:
    def body(call: Call) -> str:
        return delimited(call.arguments, delimiter)

    return Family(name, repeated(around(body, before, after)), delimited_arguments(delimiter))


def pythonic(name: str, write: Write, **more: Any) -> Family:
    return Family(name, write, json_arguments("]", ")", ")]", '"', "'"), **more)


def muse_glimmer(name: str, first: str) -> Family:
    ends = [*ends_of("parameter", "invoke", "function_calls", prefix="atem:"), "<|eom|>", "<|eot|>"]
    one = invoke("atem:")

    def message(call: Call, index: int) -> str:
        inner = one(call, index)
        return f"to={call.name}<|message|><atem:function_calls>\n{inner}</atem:function_calls>"

    write = repeated(message, "<|eom|><|start|>assistant ", first, "<|eot|>")
    return Family(name, write, raw_arguments(*ends, keeps_space=True))


V3_CALL = f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{{name}}\n{FENCE}json\n"
V3_OUTER = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
PLAMO_CALL = (
    "<|plamo:begin_tool_request:plamo|><|plamo:begin_tool_name:plamo|>{name}<|plamo:end_tool_name:plamo|>"
    "<|plamo:begin_tool_arguments:plamo|><|plamo:constrain|>json<|plamo:msg|>"
)
FULL_LINES = ("\n", "\n")
INLINE = ("", "")

ENTRIES = [
    objects("hermes", "<tool_call>\n", "\n</tool_call>", "\n"),
    objects("abstractcore_qwen", "<|tool_call|>\n", "\n</|tool_call|>", "\n"),
    objects("llama_function_call", "<function_call>\n", "\n</function_call>", "\n"),
    objects("llama3_json", between="; ", body=object_of("parameters"), marked=False, closed=False),
    objects(
        "llama3_python_tag", between="; ", body=object_of("parameters"), outer=("<|python_tag|>", ""), closed=False
    ),
    named("llama_function_name", "<function={name}>", "</function>", most_calls=1),
    pythonic("llama4_pythonic", python_list(double=True), marked=False, closed=False),
    pythonic("llama4_pythonic/python_start", python_list("<|python_start|>", "<|python_end|>", double=True)),
    pythonic("pythonic", python_list(), marked=False, closed=False),
    array("mistral_json", "[TOOL_CALLS] [", closed=False),
    array("mistral_json/id", "[TOOL_CALLS] [", body=object_of(id="id"), closed=False),
    named("mistral_v11", "[TOOL_CALLS]{name}", closed=False),
    named("mistral_v13", "[TOOL_CALLS]{name}[ARGS]", closed=False),
    named("mistral_v13/id", "[TOOL_CALLS]{name}[CALL_ID]aB3dE6g{index:02}[ARGS]", closed=False),
    named("deepseek_v3", V3_CALL, f"\n{FENCE}<｜tool▁call▁end｜>", "\n", outer=V3_OUTER),
    named("deepseek_v31", "<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>", "<｜tool▁call▁end｜>", outer=V3_OUTER),
    deepseek("deepseek_v32", "｜DSML｜", "function_calls"),
    json_invokes("deepseek_v32/json", "｜DSML｜", "function_calls"),
    deepseek("deepseek_v4", "｜DSML｜", "tool_calls"),
    json_invokes("deepseek_v4/json", "｜DSML｜", "tool_calls"),
    deepseek("deepseek_v41", "｜DSML｜ ", "calls"),
    json_invokes("deepseek_v41/json", "｜DSML｜ ", "calls"),
    named(
        "kimi_k2",
        "<|tool_call_begin|>functions.{name}:{index}<|tool_call_argument_begin|>",
        "<|tool_call_end|>",
        outer=("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
    ),
    Family(
        "kimi_k3",
        repeated(
            tags(
                '<|open|>call tool="{name}" index="{count}"<|sep|>',
                '<|open|>argument key="{key}" type="{type}"<|sep|>',
                "<|close|>argument<|sep|>",
                "<|close|>call<|sep|>",
            ),
            before="<|open|>tools<|sep|>",
            after="<|close|>tools<|sep|>",
        ),
        raw_arguments(*(f"<|close|>{name}<|sep|>" for name in ("argument", "call", "tools")), keeps_space=True),
    ),
    keyed_tags("glm45", "<tool_call>{name}\n", "</tool_call>", "\n", lines=True),
    keyed_tags("glm47", "<tool_call>{name}", "</tool_call>"),
    function_tags("qwen3_coder", "<tool_call>", "</tool_call>", FULL_LINES, "\n"),
    named(
        "harmony",
        "<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>",
        "<|call|>",
        "<|start|>assistant",
    ),
    named(
        "harmony/role",
        "<|start|>assistant to=functions.{name}<|channel|>commentary json<|message|>",
        "<|call|>",
    ),
    array("granite3", "<|tool_call|>[", closed=False),
    array("granite31", "<tool_call>[", closed=False),
    objects("granite4", "<tool_call>\n", "\n</tool_call>", "\n"),
    objects("granite4/encoded", "<tool_call>\n", "\n</tool_call>", "\n", body=encoded_object, to_the_byte=False),
    objects("granite_20b_fc", "<function_call> ", closed=False),
    pythonic("olmo3", repeated(around(python_call()), "\n", "<function_calls>\n", "\n</function_calls>")),
    pythonic(
        "olmo3/json_words",
        repeated(around(python_call(words=JSON_WORDS)), "\n", "<function_calls>\n", "\n</function_calls>"),
    ),
    objects("internlm2", "<|action_start|><|plugin|>\n", "<|action_end|>", body=object_of("parameters"), most_calls=1),
    objects(
        "internlm2/space", "<|action_start|> <|plugin|>\n", "<|action_end|>", body=object_of("parameters"), most_calls=1
    ),
    array("jamba", "<tool_calls>[\n", "\n]</tool_calls>", ",\n"),
    array("phi4mini", "functools[", closed=False),
    array("firefunction_v2", " functools[", closed=False),
    objects("phi", "<|tool_call|>", "<|/tool_call|>"),
    array("hunyuan_a13b", "<tool_calls>[", "]</tool_calls>"),
    hunyuan_v3("hy_v3"),
    hunyuan_v3("hy_v3/suffix", ":opensource"),
    hunyuan_v4("hy_v4", ":opensource"),
    hunyuan_v4("hy_v4/other_suffix", ":6124c78e"),
    hunyuan_v4("hy_v4/no_suffix", ""),
    objects("minimax_m1", between="\n", outer=("<tool_calls>\n", "\n</tool_calls>")),
    Family(
        "minimax_m2",
        repeated(invoke(""), before="<minimax:tool_call>\n", after="</minimax:tool_call>"),
        raw_arguments(*ends_of("parameter", "invoke", "minimax:tool_call")),
    ),
    Family(
        "minimax_m3",
        repeated(
            tags(
                f'{MINIMAX}<invoke name="{{name}}">',
                f"{MINIMAX}<{{key}}>",
                f"{MINIMAX}</{{key}}>",
                f"{MINIMAX}</invoke>\n",
                in_tags,
            ),
            before=f"{MINIMAX}<tool_call>\n",
            after=f"{MINIMAX}</tool_call>",
        ),
        tagged_arguments(),
    ),
    Family(
        "step3",
        repeated(
            tags(
                '<｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="{name}">\n',
                '<steptml:parameter name="{key}">',
                "</steptml:parameter>\n",
                "</steptml:invoke><｜tool_call_end｜>\n",
            ),
            before="<｜tool_calls_begin｜>\n",
            after="<｜tool_calls_end｜>",
        ),
        raw_arguments(
            *ends_of("parameter", "invoke", prefix="steptml:"), "<｜tool_call_end｜>", "<｜tool_calls_end｜>"
        ),
    ),
    function_tags("step3p5", "<tool_call>", "</tool_call>", FULL_LINES, ""),
    function_tags("seed_oss", "<seed:tool_call>", "</seed:tool_call>", INLINE, "\n"),
    array("xlam", marked=False, closed=False),
    array("xlam/fence", f"{FENCE}json\n[", f"]\n{FENCE}", marked=False),
    array("xlam/think", "</think>[", marked=False, closed=False),
    array("xlam/tool_call", "<tool_call>[", "]</tool_call>"),
    array("xlam/tool_calls", "[TOOL_CALLS][", closed=False),
    objects("ernie45", "<tool_call>\n", "\n</tool_call>", "\n"),
    objects("ernie45/think", "<tool_call>\n", "\n</tool_call>\n", outer=("</think>\n\n", "")),
    pythonic("gemma_tool_code", repeated(around(python_call(), f"{FENCE}tool_code\n", f"\n{FENCE}"), "\n")),
    objects("gemma_tool_code/json", f"{FENCE}tool_code\n", f"\n{FENCE}", "\n"),
    quoting("functiongemma", "<start_function_call>call:{name}", "<end_function_call>", "<escape>"),
    quoting("gemma4", "<|tool_call>call:{name}", "<tool_call|>", '<|"|>'),
    pythonic("lfm2", python_list("<|tool_call_start|>", "<|tool_call_end|>")),
    array("lfm2/json", "<|tool_call_start|>[", "]<|tool_call_end|>"),
    objects("longcat", "<longcat_tool_call>", "</longcat_tool_call>", "\n"),
    objects("longcat/lines", "<longcat_tool_call>\n", "\n</longcat_tool_call>", "\n"),
    longcat_tags("longcat_xml", ""),
    longcat_tags("longcat_xml/lines", "\n"),
    keyed_tags("iquest_q1", "<iquest_tool_call>{name}", "</iquest_tool_call>"),
    keyed_tags("iquest_q1/lines", "<iquest_tool_call>{name}\n", "</iquest_tool_call>", "\n", lines=True),
    beam("beam", " <|constrain|>xml"),
    beam("beam/plain", ""),
    pythonic("sarashina", python_dicts("<|tool_calls|>")),
    pythonic("sarashina/bare", python_dicts(""), marked=False, closed=False),
    array("nemotron", "<TOOLCALL>[", "]</TOOLCALL>"),
    array("cohere_command", "<|START_ACTION|>[", "]<|END_ACTION|>", body=cohere_object),
    array("cohere_command/lines", "<|START_ACTION|>[\n    ", "\n]<|END_ACTION|>", ",\n    ", body=cohere_object),
    array("apertus", "<|tools_prefix|>[", "]<|tools_suffix|>", body=keyed_object),
    objects("gigachat3", "<|message_sep|>\n\nfunction call<|role_sep|>\n", closed=False, most_calls=1),
    objects("gigachat3/function_call", "<|function_call|>", closed=False, most_calls=1),
    deepseek("gigachat35", "｜GCML｜", "tool_calls"),
    keyed_tags("poolside_v1", "<tool_call>{name}\n", "</tool_call>", "\n", lines=True),
    named("poolside_v1/json", "<tool_call>{name}\n", "\n</tool_call>", "\n"),
    Family(
        "dots",
        repeated(invoke(""), before="<dots_function_call>\n", after="</dots_function_call>"),
        raw_arguments(*ends_of("parameter", "invoke", "dots_function_call")),
    ),
    json_invokes("dots/json", "", "dots_function_call"),
    named(
        "plamo3",
        PLAMO_CALL,
        "<|plamo:end_tool_arguments:plamo|><|plamo:end_tool_request:plamo|>",
        outer=("<|plamo:begin_tool_requests:plamo|>", "<|plamo:end_tool_requests:plamo|>"),
    ),
    objects("bare_json", between="\n", marked=False, closed=False),
    named("bracket_prefix", "tool: [{name}]: ", between="\n", closed=False),
    Family(
        "minicpm5",
        repeated(tags('<function name="{name}">', '<param name="{key}">', "</param>", "</function>", xml_escaped)),
        raw_arguments(fits=xml_text),
    ),
    objects(
        "inkling", "<|message_model|>{name}<|content_invoke_tool_json|>", "<|end_message|>", body=object_of("args")
    ),
    Family(
        "solar_open2",
        repeated(
            tags(
                "<|tool_call:start|>{name}\n",
                "<|tool_arg:start|>{key}<|tool_arg:value|>",
                "<|tool_arg:end|>\n",
                "<|tool_call:end|>",
            ),
            "\n",
        ),
        raw_arguments("<|tool_arg:end|>", "<|tool_call:end|>"),
    ),
    keyed_tags(
        "k2_horizon",
        "<ifm|tool_call>{name}",
        "</ifm|tool_call>",
        "\n",
        prefix="ifm|",
        outer=("<ifm|tool_calls>", "</ifm|tool_calls>"),
    ),
    keyed_tags(
        "k2_horizon/lines",
        "<ifm|tool_call>{name}\n",
        "</ifm|tool_call>",
        "\n",
        lines=True,
        prefix="ifm|",
        outer=("<ifm|tool_calls>\n", "\n</ifm|tool_calls>"),
    ),
    array("openpangu", "<|tool_call_start|>[", "]<|tool_call_end|>"),
    function_tags("mimo", "<tool_call>", "</tool_call>", INLINE, "\n"),
    named("step_audio_2", "<tool_call>function\n{name}\n", "</tool_call>"),
    muse_glimmer("muse_glimmer", " "),
    muse_glimmer("muse_glimmer/start", "<|start|>assistant "),
    array("apriel", "<tool_calls>[", "]</tool_calls>", body=object_of(id="id")),
]
FAMILIES: dict[str, Family] = {family.name: family for family in ENTRIES}

# -- calls, and the tools that declare them --


def common(schemas: Sequence[Schema]) -> Schema | None:
    """One schema for the values of all of `schemas`, or None if they differ in type."""
    first, *others = schemas
    for other in others:
        if first == other:
            continue
        if first["type"] != "object" or other["type"] != "object":
            return None
        properties = dict(first["properties"])
        for key, schema in other["properties"].items():
            both = common([properties[key], schema]) if key in properties else schema
            if both is None:
                return None
            properties[key] = both
        first = {"type": "object", "properties": properties}
    return first


def schema_of(value: Any) -> Schema:
    if isinstance(value, dict):
        return {"type": "object", "properties": {key: schema_of(item) for key, item in value.items()}}
    if isinstance(value, list) and value:
        items = common([schema_of(item) for item in value])
        return {"type": "array"} if items is None else {"type": "array", "items": items}
    return {"type": type_of(value)}


def tools_for(calls: Iterable[Call]) -> list[dict[str, Any]]:
    """Tools that declare these calls; each argument has the type of its value."""
    schemas: dict[str, Schema] = {}
    for call in calls:
        both = common([schemas[call.name], schema_of(call.arguments)]) if call.name in schemas else None
        if call.name in schemas and both is None:
            raise ValueError(f"calls of {call.name} differ in the types of their arguments")
        schemas[call.name] = both or schema_of(call.arguments)
    return [{"type": "function", "function": {"name": name, "parameters": schema}} for name, schema in schemas.items()]


def of_one_tool(name: str, all_arguments: Iterable[dict[str, Any]]) -> list[Call]:
    """Calls of one tool. Arguments with another type than before are left out."""
    known: dict[str, Schema] = {}
    made = []
    for arguments in all_arguments:
        kept = {}
        for key, value in arguments.items():
            schema = common([known[key], schema_of(value)]) if key in known else schema_of(value)
            if schema is not None:
                known[key], kept[key] = schema, value
        made.append(Call(name, kept))
    return made


def calls_of(family: Family) -> SearchStrategy[list[Call]]:
    """As many calls as a response may have, of different tools or all of one."""
    call = st.builds(Call, family.names, family.arguments)

    def different(least: int) -> SearchStrategy[list[Call]]:
        return st.lists(call, min_size=least, max_size=family.most_calls, unique_by=lambda one: one.name)

    if family.most_calls == 1:
        return different(1)
    same = st.lists(family.arguments, min_size=2, max_size=family.most_calls)
    return different(1) | different(2) | st.builds(of_one_tool, family.names, same)
