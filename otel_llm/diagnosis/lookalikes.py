"""Finds calls in forms that no chat template has, but that models and servers are seen to write.  Pure.

The rewriter leaves them alone: they are told, and not executed. Each form counts only if it is a whole call of a
declared tool, outside of code, and not inside a sentence:

- DeepSeek's `DSML` tags with other bars, or without the outer tag; `<invoke name="…">` and the like without one;
- `<function name="…">` with a JSON object in it;
- a fence whose language says that it is a call;
- `[Called function "…" with args: {…}]`, which agents write into a history that must not have calls;
- Gemma 4's `call:name{…}` without its special tokens;
- `functions.name:0{…}` (Kimi K2) and `to=functions.name{…}` (gpt-oss) without, or with some of, theirs;
- `{"action": "name", "action_input": …}`, the JSON of ReAct agents;
- `<tool_use>` and the like with JSON in it, or with elements for the name and the arguments;
- a whole text that is a call, or a message with calls, as the API has it (`{"tool_calls": […]}`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from otel_llm.diagnosis.declarations import is_schema
from otel_llm.protocol.json_values import strict_value
from otel_llm.protocol.request import Tool
from otel_llm.tags.control_tokens import BARS
from otel_llm.tags.cursor import Cursor
from otel_llm.tags.grammars import Context
from otel_llm.tags.json_body import ARGUMENT_KEYS, NAME_KEYS
from otel_llm.tags.mentions import CODE, is_example, line_around
from otel_llm.tags.pieces import ParsedCall, PieceBuffer
from otel_llm.tags.python_calls import calls_in
from otel_llm.tags.python_syntax import NotACall, read_literal
from otel_llm.tags.thoughts import read_layout
from otel_llm.tags.xml_calls import Tags, xml_parameters

FOUND = "\x00"
"""Stands for a call that was found."""
# So many places of one form are tried, and so many characters read from each.
_MOST = 256
_MOST_FAILED = 12
_LONGEST = 65_536

_PREFIX = rf"(?:[\w.\-]{{1,32}}:|[{BARS}\s]{{0,3}}[A-Z]{{4}}[{BARS}\s]{{1,3}})?"
_INVOKE = re.compile(rf"<\s?{_PREFIX}(?P<tag>invoke|function|function_call|tool_call|tool)\s+name\s*=\s*[\"']")
_OUTER = rf"<\s?/?\s?{_PREFIX}(?:function_calls|tool_calls|tool_call|toolcalls?|tools)>"
_OUTER_BEFORE = re.compile(rf"(?:{_OUTER}\s*)+$")
_OUTER_AFTER = re.compile(rf"\s*(?:{_OUTER}\s*)+")
_ANY_TAG = re.compile(r"<[^<>]*>")
_TAGS = xml_parameters(
    Tags(
        key='<parameter name="',
        key_end='"',
        value=">",
        value_end="</parameter>",
        call_open=('<invoke name="',),
        name_end=('">', '" >'),
        closers=("</invoke>",),
        attributes=True,
        json_body=True,
    )
)
_TYPED = re.compile(r"<parameter name=\"[^\"]*\"\s+type=")
_FENCE = re.compile(
    r"^[ \t]*(?P<ticks>`{3,9}|~{3,9})[ \t]*(?:tool|function|(?:tool|function)[ _-]?calls?|tool[ _-]?use)[ \t]*\n",
    re.MULTILINE | re.IGNORECASE,
)
_CALLED = re.compile(
    r"^[ \t]*\[[ \t]*(?P<head>(?:(?:tool|function)[ _-]?(?:call(?:ed|ing|s)?|use[d]?|using)"
    r"|call(?:ed|ing)?|us(?:ed|ing)|invok(?:ed|ing)|execut(?:ed|ing)|ran|running|requested)\b[^{}\n\[\]]{0,160})(?=\{)",
    re.MULTILINE | re.IGNORECASE,
)
_GEMMA = re.compile(r"(?:^|(?<=[}\s]))[ \t]*call:(?P<name>[\w.\-]+)(?=\{)", re.MULTILINE)
_GEMMA_BODY = re.compile(r"\{\s*(?:\}|[\"']?[\w.\-]+[\"']?\s*:)")
_FUNCTIONS = re.compile(
    r"(?P<to>\bto=)?\bfunctions\.(?P<name>[\w.\-]{1,128})(?P<number>:\d{1,6})?"
    r"(?:\s{1,4}|<\|\w{1,40}\|>|(?:commentary|analysis|code|json)\b){0,8}(?=\{)"
)
_BEFORE_FUNCTIONS = re.compile(r"(?:<\|\w{1,40}\|>|(?:assistant|commentary|analysis|final)\b|\s)*")
_BEHIND_FUNCTIONS = re.compile(r"(?:\s{0,4}<\|\w{1,40}\|>){1,8}")
_ACTION_KEYS = frozenset({"action", "action_input"})
_ACTION = re.compile(r"^[ \t]{0,16}\{(?=\s{0,64}[\"']action(?:_input)?[\"']\s{0,8}:)", re.MULTILINE)
_USE = re.compile(r"<(?P<tag>tool_use|use_tool|use_mcp_tool|tool_invocation)(?P<attributes>\s[^<>\n]{0,200})?>")
_NAME_ATTRIBUTE = re.compile(r"\b(?:name|tool)\s*=\s*[\"'](?P<name>[^\"'<>\n]{1,128})[\"']")
_NAME_ELEMENT = re.compile(r"<(?P<tag>tool_name|name|tool|function)>\s*(?P<name>[\w.\-:/]{1,128})\s*</(?P=tag)>")
_OTHER_ELEMENT = re.compile(r"<(?P<tag>server_name|id|tool_use_id|tool_call_id)>[^<>]{0,200}</(?P=tag)>")
_ELEMENT = re.compile(r"\s*<(?P<tag>[A-Za-z_][\w.\-]{0,127})>(?P<inner>.*?)</(?P=tag)>\s*", re.DOTALL)
_ARGUMENT_ELEMENTS = frozenset({"arguments", "parameters", "input", "args", "params", "tool_input"})
_MOST_ELEMENTS = 64
# Strings and braces of one object.
_MOST_MARKS = 8_192
_LISTS = frozenset({"tool_calls", "function_call", "tool_call", "tool_use", "calls"})
_WRAPPERS = frozenset({"function", "function_call", "tool_call", "tool_use", "call"})
_KINDS = frozenset({"function", "function_call", "tool_call", "tool_use", "custom"})
_BESIDE = frozenset(
    {"id", "type", "index", "call_id", "tool_call_id", "role", "content", "status", "object", "refusal"}
)


class Lookalike(NamedTuple):
    """A call of the tool `name`, in the form `format`."""

    name: str
    format: str


class _Found(NamedTuple):
    """The calls of the tools `names` at a place."""

    start: int
    end: int
    names: list[str]


_Read = Callable[["re.Match[str]", str, Mapping[str, Tool]], "_Found | None"]


def find_lookalikes(text: str, tools: Mapping[str, Tool], *, marked_only: bool) -> tuple[list[Lookalike], str]:
    """The calls in `text`, and `text` with `FOUND` in place of them. `marked_only`: JSON is the answer."""
    found: list[Lookalike] = []
    if not marked_only and (names := _in_whole_text(text, tools)):
        form = "action" if '"action_input"' in text else "json"
        return [Lookalike(name, form) for name in names], FOUND
    for form, hint, opening, read in _FORMS:
        if hint not in text or (marked_only and read is _action):
            continue
        places = list(_places(text, tools, opening, read))
        found += [Lookalike(name, form) for place in places for name in place.names]
        for place in reversed(places):
            text = text[: place.start] + FOUND + text[place.end :]
    return found, text


def _places(text: str, tools: Mapping[str, Tool], opening: re.Pattern[str], read: _Read) -> Iterator[_Found]:
    # A fence is code itself.
    plain = text if opening is _FENCE else read_layout(text).plain
    end = tried = failed = 0
    for match in opening.finditer(text):
        if match.start() < end or plain[match.start() : match.end()].lstrip().startswith(CODE):
            continue
        tried += 1
        place = read(match, text, tools)
        if place is None:
            failed += 1
        elif not is_example(text, place.start, place.end):
            end = place.end
            yield place._replace(start=max(place.start, 0))
        if tried >= _MOST or failed >= _MOST_FAILED:
            return


# Tags -----------------------------------------------------------------------------------------------------------------


def _invoke(match: re.Match[str], text: str, tools: Mapping[str, Tool]) -> _Found | None:
    start = match.start()
    if text[start - 1 : start] == "`":
        return None
    raw = text[start : start + _LONGEST]
    canonical = _canonical(raw, match["tag"])
    read = _read_invokes(canonical, tools)
    if read is None:
        return None
    names, length = read
    # Where that is in the text as it came: behind as many closing tags.
    closings = [closing.end() for closing in _closing_tag(match["tag"]).finditer(raw)]
    count = canonical.count("</invoke>", 0, length)
    end = start + (closings[count - 1] if 0 < count <= len(closings) else len(raw))
    if after := _OUTER_AFTER.match(text, end):
        end = after.end()
    if before := _OUTER_BEFORE.search(text[max(start - 200, 0) : start]):
        start -= len(before.group())
    return None if _is_in_sentence(text, start, end) else _Found(start, end, names)


def _closing_tag(tag: str) -> re.Pattern[str]:
    return re.compile(rf"<\s?/\s?{_PREFIX}{tag}\s*>")


def _canonical(text: str, tag: str) -> str:
    text = _closing_tag(tag).sub("</invoke>", text)
    text = re.sub(rf"<\s?{_PREFIX}{tag}\s+name\s*=\s*([\"'])([^\"'<>\n]{{1,256}})\1\s*>", r'<invoke name="\2">', text)
    text = re.sub(rf"<\s?/\s?{_PREFIX}param(?:eter)?\s*>", "</parameter>", text)
    return re.sub(
        rf"<\s?{_PREFIX}param(?:eter)?\s+name\s*=\s*([\"'])([^\"'<>\n]{{1,256}})\1", r'<parameter name="\2"', text
    )


def _read_invokes(text: str, tools: Mapping[str, Tool]) -> tuple[list[str], int] | None:
    cursor = Cursor()
    cursor.feed(text)
    cursor.ended = True
    out = PieceBuffer(cursor)
    for _ in _TAGS(cursor, out, Context(tools, "invoke", "")):
        pass
    arguments: dict[ParsedCall, str] = {}
    for piece in out.drain():
        if piece.call is not None:
            arguments[piece.call] = arguments.get(piece.call, "") + (piece.text if piece.kind == "arguments" else "")
    names = [
        call.name
        for call, body in arguments.items()
        if call.name is not None
        and call.name in tools
        and call.complete
        and call.well_formed
        and not _declares(body, text, tools[call.name])
    ]
    return (names, cursor.settled) if names else None


def _declares(arguments: str, text: str, tool: Tool) -> bool:
    """Whether the arguments are a schema, or parameters that have a type and no value."""
    value = strict_value(arguments)
    if not isinstance(value, dict):
        return False
    return is_schema(value, tool) or (bool(value) and not any(value.values()) and _TYPED.search(text) is not None)


def _is_in_sentence(text: str, start: int, end: int) -> bool:
    before, after = (_ANY_TAG.sub("", side) for side in line_around(text, start, end))
    return any(map(str.isalnum, before)) and any(map(str.isalnum, after))


# Other marks ----------------------------------------------------------------------------------------------------------


def _fence(match: re.Match[str], text: str, tools: Mapping[str, Tool]) -> _Found | None:
    closing = re.compile(rf"^[ \t]*{match['ticks']}[ \t]*$", re.MULTILINE).search(
        text, match.end(), match.end() + _LONGEST
    )
    names = None if closing is None else _in_fence(text[match.end() : closing.start()].strip(), tools)
    if closing is None or not names:
        return None
    # Within another fence, there is code around it.
    before = read_layout(text[: match.start()] + "x").plain
    return None if before.endswith(CODE) else _Found(match.start(), closing.end(), names)


def _in_fence(body: str, tools: Mapping[str, Tool]) -> list[str] | None:
    names = _in_whole_text(body, tools)
    if names:
        return names
    lines = [_in_whole_text(line, tools) for line in body.splitlines() if line.strip()]
    if lines and all(lines):
        return [name for line in lines for name in line or ()]
    first, _, rest = body.partition("\n")
    if first.strip() in tools and isinstance(strict_value(rest), dict):
        return [first.strip()]
    calls = calls_in(f"[{body}]") if "(" in body else None
    return [name for name, _ in calls] if calls and all(name in tools for name, _ in calls) else None


def _called(match: re.Match[str], text: str, tools: Mapping[str, Tool]) -> _Found | None:
    names = [word for word in re.findall(r"[\w.\-:/]+", match["head"]) if word in tools]
    found = _object_at(text, match.end()) if len(names) == 1 else None
    if found is None or is_schema(found.value, tools[names[0]]):
        return None
    closing = re.compile(r"\s*\)?\s*\]").match(text, found.end)
    return None if closing is None else _Found(match.start(), closing.end(), names)


def _functions(match: re.Match[str], text: str, tools: Mapping[str, Tool]) -> _Found | None:
    name = match["name"]
    if name not in tools or not (match["to"] or match["number"]):
        return None
    before, _ = line_around(text, match.start(), match.end())
    if _BEFORE_FUNCTIONS.fullmatch(before) is None:
        return None
    found = _object_at(text, match.end())
    if found is None or is_schema(found.value, tools[name]) or _has_words_behind(text, found.end):
        return None
    # The tokens behind it belong to it.
    closing = _BEHIND_FUNCTIONS.match(text, found.end)
    return _Found(match.start() - len(before), found.end if closing is None else closing.end(), [name])


def _action(match: re.Match[str], text: str, tools: Mapping[str, Tool]) -> _Found | None:
    found = _object_at(text, match.end() - 1)
    if found is None or found.value.keys() != _ACTION_KEYS or _has_words_behind(text, found.end):
        return None
    names = list(_called_in(found.value, tools, 0))
    return _Found(match.end() - 1, found.end, [name for name in names if name]) if names and names[0] in tools else None


def _has_words_behind(text: str, end: int) -> bool:
    """Whether words follow in the line."""
    return any(map(str.isalnum, _ANY_TAG.sub("", line_around(text, end, end)[1])))


def _use(match: re.Match[str], text: str, tools: Mapping[str, Tool]) -> _Found | None:
    closing = f"</{match['tag']}>"
    stop = text.find(closing, match.end(), match.end() + _LONGEST)
    body = text[match.end() : stop if stop >= 0 else match.end() + _LONGEST].strip()
    end = len(text) if stop < 0 else stop + len(closing)
    named = _NAME_ATTRIBUTE.search(match["attributes"] or "")
    names = _used(body, None if named is None else named["name"], tools)
    if not names or _is_in_sentence(text, match.start(), end):
        return None
    return _Found(match.start(), end, names)


def _used(body: str, name: str | None, tools: Mapping[str, Tool]) -> list[str] | None:
    """The tools that the body of a `<tool_use>` calls. `name`: that of an attribute."""
    if name is None and (names := _in_whole_text(body, tools)):
        return names
    if name is None and (element := _NAME_ELEMENT.search(body)) is not None:
        name, body = element["name"], body[: element.start()] + body[element.end() :]
    arguments = _arguments_in(_OTHER_ELEMENT.sub("", body))
    if name is None and arguments is not None and len(arguments) == 1:
        # The element of a tool, with one for each argument in it.
        ((name, inner),) = arguments.items()
        arguments = _arguments_in(inner) if isinstance(inner, str) else None
    if name is None or name not in tools or arguments is None or is_schema(arguments, tools[name]):
        return None
    return [name]


def _arguments_in(body: str) -> Mapping[str, Any] | None:
    """The arguments that are an object, or elements; None for anything else."""
    body = body.strip()
    if not body:
        return {}
    if body.startswith("{"):
        value = strict_value(body)
        return value if isinstance(value, dict) else None
    elements: dict[str, Any] = {}
    place = 0
    while place < len(body):
        element = _ELEMENT.match(body, place)
        if element is None or len(elements) >= _MOST_ELEMENTS:
            return None
        elements[element["tag"]] = element["inner"]
        place = element.end()
    (only, *more) = elements
    return _arguments_in(elements[only]) if not more and only in _ARGUMENT_ELEMENTS else elements


def _gemma(match: re.Match[str], text: str, tools: Mapping[str, Tool]) -> _Found | None:
    end = _end_of_object(text, match.end()) if match["name"] in tools else None
    if end is None or _GEMMA_BODY.match(text, match.end()) is None:
        return None
    before, after = line_around(text, match.start(), end)
    # In a line of its own, or behind another one.
    if (before.strip() and not before.rstrip().endswith("}")) or any(map(str.isalnum, after.partition("call:")[0])):
        return None
    return _Found(match.start(), end, [match["name"]])


class _Object(NamedTuple):
    """An object in a text, and the place behind it."""

    value: Mapping[str, Any]
    end: int


_IN_JSON = re.compile(r'"(?:[^"\\\n]|\\.)*"|[{}]')
_IN_PYTHON = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|[{}]")


def _object_at(text: str, start: int) -> _Object | None:
    """The object in JSON, or in Python's syntax, that begins at `start`."""
    for marks, read in ((_IN_JSON, strict_value), (_IN_PYTHON, _literal)):
        end = _end_of_object(text, start, marks)
        value = None if end is None else read(text[start:end])
        if end is not None and isinstance(value, dict):
            return _Object(value, end)
    return None


def _literal(text: str) -> Any:
    try:
        return read_literal(text)
    except (NotACall, RecursionError):
        return None


def _end_of_object(text: str, start: int, marks: re.Pattern[str] = _IN_JSON) -> int | None:
    """The place behind the brace that closes the one at `start`. Braces in strings do not count."""
    depth = 0
    for match in islice(marks.finditer(text, start, start + _LONGEST), _MOST_MARKS):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0 and match.group() == "}":
            return match.end()
    return None


_FORMS: tuple[tuple[str, str, re.Pattern[str], _Read], ...] = (
    ("invoke", "name", _INVOKE, _invoke),
    ("fence", "\n", _FENCE, _fence),
    ("called", "[", _CALLED, _called),
    ("gemma4", "call:", _GEMMA, _gemma),
    ("functions", "functions.", _FUNCTIONS, _functions),
    ("action", "action_input", _ACTION, _action),
    ("tool_use", "</", _USE, _use),
)


# JSON -----------------------------------------------------------------------------------------------------------------


def _in_whole_text(text: str, tools: Mapping[str, Tool]) -> list[str] | None:
    text = text.strip()
    if text[:1] not in {"{", "["} or len(text) > 4 * _LONGEST:
        return None
    value = strict_value(text)
    names = list(_called_in(value, tools, 0)) if isinstance(value, (dict, list)) else []
    return [name for name in names if name is not None] if names and all(name in tools for name in names) else None


def _called_in(value: Any, tools: Mapping[str, Tool], depth: int, within: str = "") -> Iterator[str | None]:
    """The names of the calls that a value is; None for anything that is no call. `within`: the key it stands behind."""
    if isinstance(value, list):
        if not value:
            yield None
        for element in value:
            yield from _called_in(element, tools, depth + 1) if depth < 3 else (None,)
        return
    if not isinstance(value, dict) or depth >= 4:
        yield None
        return
    others = value.keys() - _BESIDE
    (only, *more) = others or {""}
    inner = value.get(only)
    if not more and (only in _LISTS or (only in _WRAPPERS and isinstance(inner, dict))):
        yield from _called_in(inner, tools, depth + 1, only)
    else:
        yield _name_of(value, others, tools, within)


def _name_of(value: Mapping[str, Any], others: set[str], tools: Mapping[str, Tool], within: str) -> str | None:
    if others == _ACTION_KEYS:
        # The input of such an action may be text.
        name, arguments = value["action"], value["action_input"]
        if not isinstance(name, str) or not isinstance(arguments, (dict, str)):
            return None
        return None if isinstance(arguments, dict) and is_schema(arguments, tools.get(name)) else name
    names = [key for key in others if key in NAME_KEYS or key == "function"]
    bodies = [key for key in others if key in ARGUMENT_KEYS or key == "input"]
    kind = value.get("type")
    if len(names) != 1 or len(bodies) != 1 or len(others) != 2:
        return None
    if kind is not None and kind not in _KINDS:
        return None
    name, arguments = value[names[0]], value[bodies[0]]
    if isinstance(arguments, str):
        arguments = strict_value(arguments)
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    if within == "function" and bodies[0] == "parameters" and not arguments:
        # In such a function, a call has `arguments`.
        return None
    return None if is_schema(arguments, tools.get(name)) else name
