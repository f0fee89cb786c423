"""Finds complete tool calls in the text of a choice, which should have come as `tool_calls`.  Pure.

- A call counts if it is complete and of a declared tool. The scanner (`tags/scanner.py`) decides what is a call, so
  nothing in reasoning, in backticks or in a fence is one.
- A call without a marker (a bare object, a list in Python's syntax, a `tool_code` fence) counts if it is the whole text
  or a block of its own, with nothing but white space beside it in its lines. In a `json` fence it is an example; if the
  request asks for JSON, it is the answer. An object that is the schema of a tool declares that tool.
- Forms that no chat template has are looked for too (`lookalikes.py`).
- A text without the name of any declared tool is not scanned. Any other text is scanned up to a number of pieces, since
  a hostile text can consist of nothing but opening markers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from otel_llm.diagnosis.bounds import Budget
from otel_llm.diagnosis.declarations import is_schema
from otel_llm.diagnosis.lookalikes import FOUND, find_lookalikes
from otel_llm.protocol import json_values
from otel_llm.protocol.request import Tool
from otel_llm.tags.formats import FORMATS
from otel_llm.tags.mentions import is_example
from otel_llm.tags.pieces import ParsedCall, Piece
from otel_llm.tags.scanner import Scanner

_SLICE = 4_096

_MARKS = frozenset("<[{`~|\uff5c\u25c1")
_OPENERS = Counter(opener for entry in FORMATS for opener in entry.openers)
# What follows the first character of an opening marker of several formats, each of which is tried.
_SHARED = tuple({"function", *(opener[1:] for opener, count in _OPENERS.items() if count > 1 and len(opener) > 4)})

# Elements that no chat template has, with a call in them (see `lookalikes.py`).
_ELEMENTS = ("<tool_use>", "<use_tool>", "<use_mcp_tool>", "<tool_invocation>")
_LONGEST_ELEMENT = 64


class Leak(NamedTuple):
    """A call in the text: the tool, and the name of the syntax in `tags/formats.py`."""

    name: str | None
    format: str


class Leaks(NamedTuple):
    """The calls in a text, how many characters of it were not scanned, and the text without any calls.

    In `rest` there is `FOUND` in place of each whole call, of a declared tool or not. Of a call that is not whole, its
    marks are left.
    """

    found: list[Leak]
    unread: int = 0
    rest: str = ""


def find_leaks(
    text: str, tools: Mapping[str, Tool], budget: Budget, *, ended: bool = True, marked_only: bool = False
) -> Leaks:
    """The calls in `text`, which is without thoughts. `ended`: no more text can come. `marked_only`: leave out calls
    without a marker.
    """
    if "<" not in text and "[" not in text and not any(name in text for name in tools):
        return Leaks([], rest=text)
    pieces: list[Piece] = []
    scanner = Scanner(tools or None)
    unread = 0
    for start in range(0, len(text), _SLICE):
        if budget.pieces < 0 or budget.failed < 0:
            unread = len(text) - start
            break
        found_here = scanner.feed(text[start : start + _SLICE])
        budget.pieces -= len(found_here)
        budget.failed -= sum(_failed(piece) for piece in found_here)
        pieces.extend(found_here)
    pieces.extend(scanner.flush())
    bodies: dict[ParsedCall, list[str]] = {}
    for piece in pieces:
        if piece.kind == "arguments" and piece.call is not None and not piece.call.has_marker:
            bodies.setdefault(piece.call, []).append(piece.text)
    rest = "".join(_left_over(pieces))
    examples = _examples(pieces, rest)
    found = [
        Leak(call.name, call.format)
        for call in _counted(pieces, ended=ended and not unread)
        if call.name is not None
        and call not in examples
        and call.name in tools
        and _is_whole(call)
        and (call.has_marker or not (marked_only or _declares("".join(bodies.get(call, ())), tools[call.name])))
    ]
    if any(name in rest for name in tools):
        lookalikes, rest = find_lookalikes(rest, tools, marked_only=marked_only)
        found += [Leak(call.name, call.format) for call in lookalikes]
    return Leaks(found, unread, rest)


def _failed(piece: Piece) -> int:
    """How many readings a piece has cost, each of which may have been in vain."""
    if piece.kind == "begin":
        return 4
    if piece.kind != "text":
        return 0
    if piece.text == "[" or piece.text.startswith(_SHARED):
        return 6 if piece.text != "[" else 2
    return piece.text in _MARKS or piece.text[0] == "{"


def _left_over(pieces: list[Piece]) -> Iterator[str]:
    for piece in pieces:
        if piece.call is None:
            yield piece.text
        elif piece.call.complete and piece.call.well_formed:
            yield FOUND if piece.kind == "begin" else ""
        elif piece.kind in {"begin", "end"}:
            yield piece.text


def _examples(pieces: list[Piece], rest: str) -> set[ParsedCall]:
    """The calls that a text shows, indented and between its words. `rest`: see `Leaks`."""
    calls = [piece.call for piece in pieces if piece.kind == "begin" and piece.call is not None]
    whole = [call for call in calls if call.complete and call.well_formed]
    places = [match.start() for match in re.finditer(FOUND, rest)]
    if len(places) != len(whole):
        # The text itself has such characters.
        return set()
    return {call for call, place in zip(whole, places, strict=True) if is_example(rest, place, place + 1)}


def _declares(arguments: str, tool: Tool) -> bool:
    """Whether the arguments are a schema, although the tool takes none."""
    value = json_values.read(arguments).value
    return isinstance(value, dict) and is_schema(value, tool)


def _is_whole(call: ParsedCall) -> bool:
    return call.complete and call.well_formed and not call.in_fence


def _counted(pieces: list[Piece], *, ended: bool) -> Iterator[ParsedCall]:
    """The calls, except those without a marker that neither have their lines to themselves nor stand in an element."""
    calls: list[ParsedCall] = []
    has_text, before = False, ""
    for piece in pieces:
        if piece.kind == "begin" and piece.call is not None:
            if not piece.call.has_marker and before.rstrip().endswith(_ELEMENTS):
                yield piece.call
            else:
                calls.append(piece.call)
            before = ""
        elif piece.call is None:
            before = (before + piece.text)[-_LONGEST_ELEMENT:]
            first, line_break, rest = piece.text.partition("\n")
            has_text = has_text or bool(first.strip())
            if line_break:
                yield from _counted_in_line(calls, alone=not has_text)
                calls, has_text = [], bool(rest.rpartition("\n")[2].strip())
    yield from _counted_in_line(calls, alone=ended and not has_text)


def _counted_in_line(calls: list[ParsedCall], *, alone: bool) -> Iterator[ParsedCall]:
    return (call for call in calls if alone or call.has_marker)
