"""The grammar for calls in Kimi K3's tags: `<|open|>NAME attributes<|sep|>` … `<|close|>NAME<|sep|>`.  Pure.

A call is `call tool="NAME"`, with an element `argument key="KEY" type="TYPE"` for each argument, or one element `json`
with all of them. Attributes are escaped as in XML; text is raw. Since it has no escape for a tag either, a closing tag
counts only before another tag of a call, or at the end of the text. White space may stand around the name of a tag.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from xml.sax.saxutils import unescape

from otel_llm.tags.cursor import Cursor, Step, literal, peek, run, until, white
from otel_llm.tags.grammars import Context, Grammar, end_json_call
from otel_llm.tags.json_text import container
from otel_llm.tags.pieces import ParsedCall, PieceBuffer
from otel_llm.tags.raw_values import NO_STRING, STRING, RawValue, Types, parameter_types, quoted

_OPEN, _CLOSE, _SEPARATOR = "<|open|>", "<|close|>", "<|sep|>"
OPENERS = tuple(f"{_OPEN}{before}tools{behind}{_SEPARATOR}" for before in ("", " ") for behind in ("", " "))
_WORD = re.compile(r"[a-z]*")
_WHOLE_TAG = re.compile(r"<\|(?:close\|>\s*|(open)\|>\s*)([a-z]+)(?(1)([^<]*)|\s*)<\|sep\|>")
_ATTRIBUTE = re.compile(r'(\w+)\s*=\s*"([^"]*)"')
_QUOTES = {"&quot;": '"', "&apos;": "'", "&#34;": '"', "&#39;": "'"}
_LONGEST_ATTRIBUTES = 4096
_PARTS = frozenset({"tools", "call", "argument", "json", "message"})


class _Tag(NamedTuple):
    opens: bool
    name: str
    attributes: str

    def attribute(self, name: str) -> str:
        for match in _ATTRIBUTE.finditer(self.attributes):
            if match[1] == name:
                return unescape(match[2], _QUOTES)
        return ""


def xtml_calls() -> Grammar:
    """The calls behind an opening tag `tools`, and its closing tag if it comes."""

    def read(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
        while True:
            place = cursor.mark()
            yield from white(cursor)
            tag = yield from _tag(cursor)
            if tag is not None and not tag.opens and tag.name == "tools" and out.committed:
                cursor.settle()
                return True
            name = tag.attribute("tool") if tag is not None and tag.opens and tag.name == "call" else ""
            if not name:
                if not out.committed:
                    return False
                yield from _drop_cut_tag(cursor, place)
                return True
            out.commit()
            cursor.settle()
            call = out.begin(context.format, opening=context.opening)
            out.name(call, name)
            if not (yield from _body(cursor, out, context, call)):
                return True

    return read


def _tag(cursor: Cursor) -> Step[_Tag | None]:
    """Read a tag. The cursor keeps what was read if it is none."""
    if match := _WHOLE_TAG.match(cursor.text, cursor.position):
        cursor.take(len(match.group()))
        return _Tag(match[1] == "open", match[2], match[3] or "") if match[2] in _PARTS else None
    head = yield from _tag_head(cursor)
    if head is None:
        return None
    opens, name = head
    if not opens:
        yield from white(cursor)
        return _Tag(opens, name, "") if (yield from literal(cursor, _SEPARATOR)) else None
    attributes, end = yield from until(cursor, (_SEPARATOR,), most=_LONGEST_ATTRIBUTES)
    return None if end is None else _Tag(opens, name, attributes)


def _tag_head(cursor: Cursor) -> Step[tuple[bool, str] | None]:
    """Read the beginning of a tag: whether it opens, and its name."""
    opens = yield from literal(cursor, _OPEN)
    if not opens and not (yield from literal(cursor, _CLOSE)):
        return None
    yield from white(cursor)
    name = yield from run(cursor, _WORD, 32)
    return (opens, name) if name in _PARTS else None


def _drop_cut_tag(cursor: Cursor, place: int) -> Step[bool]:
    """Whether the text ends within a tag behind `place`, which is then markup. If not, go back to `place`."""
    cursor.rewind(place)
    yield from white(cursor)
    is_cut = bool(cursor.waiting) and _ends_in_tag(cursor)
    if is_cut:
        cursor.take(cursor.waiting)
    else:
        cursor.rewind(place)
    cursor.settle()
    return is_cut


def _ends_in_tag(cursor: Cursor) -> bool:
    """Whether the text is over, and what is left of it is nothing or the beginning of a tag."""
    rest = cursor.text[cursor.position :]
    return cursor.ended and any(
        tag.startswith(rest) or (rest.startswith(tag) and _SEPARATOR not in rest) for tag in (_OPEN, _CLOSE)
    )


def _body(cursor: Cursor, out: PieceBuffer, context: Context, call: ParsedCall) -> Step[bool]:
    """Read the elements of a call, and its closing tag. Returns whether the call is whole."""

    def emit(text: str) -> None:
        out.arguments(call, text)

    separator = "{"
    while True:
        place = cursor.mark()
        yield from white(cursor)
        tag = yield from _tag(cursor)
        if tag is not None and tag.opens and tag.name == "json" and separator == "{":
            yield from white(cursor)
            if (yield from peek(cursor)) == "{":
                cursor.settle()
                end = yield from container(cursor, emit, (_CLOSE,))
                call.well_formed = end == "closed"
                yield from end_json_call(cursor, out, call, end, (f"{_CLOSE}json{_SEPARATOR}",))
                yield from _closing_tag(cursor)
                return end != "cut"
        if tag is not None and tag.opens and tag.name == "argument":
            cursor.settle()
            key = tag.attribute("key")
            emit(f"{separator}{quoted(key)}: ")
            separator = ", "
            value = RawValue(_types(context, call, key, tag), emit, own_lines=False)
            out.unwritten = lambda value=value: value.held
            is_closed = yield from _value(cursor, value)
            out.unwritten = None
            if not is_closed:
                value.cut()
                out.end(call, complete=False)
                return False
            value.close()
            continue
        if tag is None and ((yield from _drop_cut_tag(cursor, place)) or (cursor.ended and not cursor.waiting)):
            out.end(call, complete=False)
            return False
        if tag is not None and not (tag.name == "call" and not tag.opens):
            cursor.rewind(place)
        cursor.settle()
        emit("{}" if separator == "{" else "}")
        out.end(call)
        return True


def _closing_tag(cursor: Cursor) -> Step[None]:
    """Read the closing tag of a call, if it comes."""
    place = cursor.mark()
    yield from white(cursor)
    tag = yield from _tag(cursor)
    if tag is None or tag.opens or tag.name != "call":
        yield from _drop_cut_tag(cursor, place)
    cursor.settle()


def _value(cursor: Cursor, value: RawValue) -> Step[bool]:
    """Read the text of an argument and its closing tag. Returns whether that came."""
    while True:
        _, mark = yield from until(cursor, (_CLOSE,), value.feed)
        if mark is None:
            return False
        cursor.back(len(mark))
        place = cursor.mark()
        tag = yield from _tag(cursor)
        if tag is None and (yield from _drop_cut_tag(cursor, place)):
            return False
        behind = cursor.mark()
        if tag is not None and tag.name in {"argument", "call"} and (yield from _tag_follows(cursor)):
            # A missing closing tag of the argument: that of the call is read again.
            cursor.rewind(behind if tag.name == "argument" else place)
            cursor.settle()
            return True
        cursor.rewind(place)
        cursor.settle()
        value.feed(cursor.take(len(_CLOSE)))


def _tag_follows(cursor: Cursor) -> Step[bool]:
    """Whether another tag follows, or nothing."""
    yield from white(cursor)
    yield from peek(cursor)
    place = cursor.mark()
    if (yield from _tag_head(cursor)) is not None:
        return True
    cursor.rewind(place)
    return _ends_in_tag(cursor)


def _types(context: Context, call: ParsedCall, key: str, tag: _Tag) -> Types | None:
    named = tag.attribute("type")
    if named:
        return STRING if named == "string" else NO_STRING
    return parameter_types(context.tools, call.name or "", key)
