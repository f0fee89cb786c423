"""What the grammars of all call syntaxes share.  Pure.

A grammar reads the text after an opening marker. As soon as it is sure that this is a call, it calls `out.commit()`.
Before that it may return False, and what it read is then read again as something else; so until it is sure it reads no
more than a name, a key and some white space. Once it has committed it returns True, and leaves unread what does not
belong to the call.

- A closing marker outside of a JSON string ends a call wherever it comes; inside a string it is text.
- Where there is no closing marker, the end of the JSON value ends the call.
- White space between a marker and a body is markup.
- If only a complete reading decides (Python's syntax, strings with delimiters of their own), the call is held back to
  its last bracket, and is text if it cannot be read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otel_llm.protocol.request import Tool
from otel_llm.tags.cursor import Cursor, Step, literal, one_of, run, white
from otel_llm.tags.declared import tool_named
from otel_llm.tags.json_text import is_cut_word
from otel_llm.tags.pieces import ParsedCall, PieceBuffer

NAME = re.compile(r"[\w.:\-/$]*")


@dataclass(frozen=True)
class Context:
    """What a grammar knows besides the text.

    `tools`: the declared tools by name, None if they are not known. `opening`: the marker that was read.
    """

    tools: Mapping[str, Tool] | None = None
    format: str = ""
    opening: str = ""

    def may_be_tool(self, name: str) -> bool:
        return self.tools is None or tool_named(self.tools, name) in self.tools


Grammar = Callable[[Cursor, PieceBuffer, Context], Step[bool]]


def tool_name(cursor: Cursor) -> Step[str]:
    """Read the name of a tool; empty if none comes."""
    name = yield from run(cursor, NAME)
    return name if name[:1].isalpha() or name.startswith("_") else ""


def closer(cursor: Cursor, closers: Sequence[str]) -> Step[str]:
    """Read one of `closers` and the white space before it. If none comes, read nothing and return an empty string.

    One that the end of the text cuts is dropped: the part is markup, too.
    """
    if not closers:
        return ""
    before = cursor.mark()
    yield from white(cursor)
    word = yield from one_of(cursor, closers)
    if word is None and ends_within(cursor, closers):
        cursor.take(cursor.waiting)
    elif word is None:
        cursor.rewind(before)
    cursor.settle()
    return word or ""


def ends_within(cursor: Cursor, words: Sequence[str]) -> bool:
    """Whether the text ends here, within one of `words`."""
    return cursor.ended and is_cut_word(cursor.text, cursor.position, words)


def end_json_call(cursor: Cursor, out: PieceBuffer, call: ParsedCall, end: str, closers: Sequence[str]) -> Step[str]:
    """End a call whose JSON ended with `end` (see `json_body.End`), and read the closer if one comes. Returns the
    closer.

    A complete call is emitted without waiting for its closer. One that may not be understood has to wait: its closer is
    part of the text that is then shown.
    """
    is_whole = end == "closed" and call.well_formed and call.name is not None
    if is_whole:
        out.end(call)
    word = "" if end == "cut" else (yield from closer(cursor, closers))
    if not is_whole:
        out.end(call, complete=end != "cut", closing=word)
    return word


def emit_call(out: PieceBuffer, context: Context, name: str, arguments: Mapping[str, Any]) -> ParsedCall:
    """Emit a call that was read as a whole."""
    call = out.begin(context.format, opening=context.opening)
    out.name(call, name)
    out.arguments(call, json.dumps(arguments, ensure_ascii=False))
    out.end(call)
    return call


def name_before(word: str, grammar: Grammar, tool_of: Callable[[str], str] = str) -> Grammar:
    """A name, `word`, and then what `grammar` reads, which has the name in it too.

    `tool_of`: the tool's name in what stands in its place, empty if that is no tool.
    """

    def read(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
        if not tool_of((yield from tool_name(cursor))):
            return False
        yield from white(cursor)
        if not (yield from literal(cursor, word)):
            return False
        return (yield from grammar(cursor, out, context))

    return read


def known_tools(grammar: Grammar) -> Grammar:
    """What `grammar` reads, if the tools are known."""

    def read(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
        return context.tools is not None and (yield from grammar(cursor, out, context))

    return read


def not_indented(grammar: Grammar) -> Grammar:
    """What `grammar` reads, unless its line is indented as code is in Markdown."""

    def read(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
        line = out.tail.rpartition("\n")[2]
        is_code = line.isspace() and line.startswith(("    ", "\t"))
        return not is_code and (yield from grammar(cursor, out, context))

    return read


def first_of(*grammars: Grammar) -> Grammar:
    """The first of `grammars` that reads a call."""

    def read(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
        place = cursor.mark()
        for grammar in grammars:
            if (yield from grammar(cursor, out, context)):
                return True
            out.discard()
            cursor.rewind(place)
        return False

    return read
