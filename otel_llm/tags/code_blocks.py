"""Reads code in a text that is still coming: spans in backticks, and fences.  Pure.

Code is text, whatever it says, with two exceptions: a `tool_code` fence, and calls that are all there is in a fence of
JSON (see `unmarked.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from otel_llm.protocol.request import Tool
from otel_llm.tags import unmarked
from otel_llm.tags.cursor import Cursor, Step, literal, peek, run, until
from otel_llm.tags.formats import FORMATS
from otel_llm.tags.grammars import Context
from otel_llm.tags.pieces import PieceBuffer

_Tools = Mapping[str, Tool] | None

(_TOOL_CODE,) = (entry for entry in FORMATS if entry.openers == ("```tool_code",))
# Languages of fences whose JSON may be calls.
_CALL_FENCES = frozenset({"json", "tool_call", "tool_calls"})
_TICKS = {"`": re.compile(r"`*"), "~": re.compile(r"~*")}
_WHITE = re.compile(r"\s*")
_BEFORE_FENCE = re.compile(r"[ \t>]*")
_INFO = re.compile(r"[^`\n]*")


def code(cursor: Cursor, out: PieceBuffer, tools: _Tools, mark: str) -> Step[None]:
    """Read a code span, or a code fence if this is the start of a line. `mark`: the character that comes next."""
    cursor.mark()
    in_line_head = out.in_line_head
    ticks = yield from run(cursor, _TICKS[mark], 1024)
    may_be_fence = len(ticks) >= 3
    if may_be_fence and (yield from _tool_code(cursor, out, tools, ticks)):
        return
    info = ""
    if may_be_fence:
        info = yield from run(cursor, _INFO, 256)
        may_be_fence = (yield from peek(cursor)) in {"", "\n"}
    if not may_be_fence or not in_line_head:
        out.text(cursor.settle())
        if mark == "`":
            yield from _span(cursor, out, ticks)
    elif not (yield from _fenced_call(cursor, out, tools, info.strip(), ticks)):
        yield from _fence(cursor, out, ticks)


def _fence(cursor: Cursor, out: PieceBuffer, ticks: str) -> Step[None]:
    """Read the rest of a fence. The ticks that close it are at the start of a line, also in a quote or a list."""
    while True:
        if out.in_line_head:
            out.text((yield from run(cursor, _BEFORE_FENCE, 256)))
            if (yield from literal(cursor, ticks)):
                out.text(ticks + (yield from run(cursor, _TICKS[ticks[0]], 1024)))
                return
        _, end = yield from until(cursor, ("\n",), out.text)
        if end is None:
            return
        out.text(end)


def _span(cursor: Cursor, out: PieceBuffer, ticks: str) -> Step[None]:
    """Read the rest of a code span, to the same number of backticks or the end of the line."""
    while True:
        _, end = yield from until(cursor, ("`", "\n"), out.text)
        if end is None:
            return
        out.text(end)
        if end == "\n":
            return
        more = yield from run(cursor, _TICKS["`"], 1024)
        out.text(more)
        if len(more) + 1 == len(ticks):
            return


def _tool_code(cursor: Cursor, out: PieceBuffer, tools: _Tools, ticks: str) -> Step[bool]:
    """Read a `tool_code` fence, in a line of its own or within one. Returns whether that came; if not, nothing."""
    place = cursor.mark()
    behind = ""
    if (yield from literal(cursor, "tool_code")):
        behind = yield from peek(cursor)
    if not behind.isspace() or _TOOL_CODE.grammar is None:
        cursor.rewind(place)
        return False
    before = out.count
    yield from _TOOL_CODE.grammar(cursor, out, Context(tools, _TOOL_CODE.name, cursor.kept))
    if not out.committed:
        out.discard()
        cursor.rewind(place)
        return False
    out.reset()
    cursor.settle()
    is_closed = False
    if out.count > before:
        place = cursor.mark()
        yield from run(cursor, _WHITE, 1024)
        is_closed = yield from literal(cursor, ticks)
        if not is_closed:
            cursor.rewind(place)
        cursor.settle()
    if not is_closed:
        yield from _fence(cursor, out, ticks)
    return True


def _fenced_call(cursor: Cursor, out: PieceBuffer, tools: _Tools, language: str, ticks: str) -> Step[bool]:
    """Read the calls in a fence of JSON, and its closing line. Returns whether that is all; if not, it is text."""
    is_whole = False
    if language in _CALL_FENCES and tools is not None:
        is_whole = yield from unmarked.fenced_json(cursor, out, Context(tools), ticks, is_json=language == "json")
    if not is_whole:
        out.discard()
        out.text(cursor.settle())
    out.reset()
    cursor.settle()
    return is_whole
