"""Writes scanned calls: as custom tags, or as tool-call deltas of the OpenAI API.  Pure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from otel_llm.tags.custom_tags import ToolCallTags
from otel_llm.tags.json_body import ARGUMENT_KEYS
from otel_llm.tags.lenient_json import call_in, parse_leniently
from otel_llm.tags.pieces import ParsedCall, Piece


@dataclass
class CallDelta:
    """A tool-call delta as the API streams it: the first one of a call has its id and name."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass
class Written:
    """What some pieces were written as: text, and deltas of calls."""

    text: str = ""
    deltas: list[CallDelta] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.text or self.deltas)

    def add(self, more: Written) -> None:
        self.text += more.text
        self.deltas += more.deltas


class Writer(Protocol):
    @property
    def owes_call(self) -> bool:
        """Whether a call has begun of which nothing is written yet."""

    def write(self, pieces: Iterable[Piece], /) -> Written: ...
    def finish(self) -> str: ...


def _arguments_in(body: str, call: ParsedCall) -> str:
    """The arguments, as JSON, of a call that ended with a name and without arguments.

    If the body is not valid JSON they are what can be understood of it, or else the whole body, so that no text is
    lost. A call that was cut off gets none: what the model did not write must not look as if it had.
    """
    if not call.complete:
        return ""
    if call.well_formed or not body:
        return "{}"
    value = parse_leniently(body)
    arguments = call_in(value)[1] if isinstance(value, dict) and value.keys() & ARGUMENT_KEYS else None
    return json.dumps(arguments, ensure_ascii=False) if isinstance(arguments, dict) else body


class TagWriter:
    """Writes each call as one JSON object between two tags.

    A call that was cut off gets no closing tag. If the body is written anew: a call without a name keeps the text of
    its body; arguments that are not in their place are taken from what can be understood of the body; and everything in
    the body besides name and arguments is dropped.
    """

    owes_call = False

    def __init__(self, tags: ToolCallTags) -> None:
        self._opening = tags.opening
        self._closing = tags.closing
        self._preserve = tags.preserve_json
        self._has_arguments = False
        self._is_unnamed = False
        # The body of a call without arguments so far; if it has no name either, it can only be written as it is.
        self._pending_body: list[str] = []

    @property
    def held(self) -> str:
        """The text of a call that is not written yet."""
        return "".join(self._pending_body) if self._is_unnamed else ""

    def write(self, pieces: Iterable[Piece], /) -> Written:
        written: list[str] = []
        for kind, text, call in pieces:
            if kind == "text" or call is None:
                written.append(text)
            elif kind == "begin":
                written.append(self._opening)
                self._has_arguments, self._is_unnamed = False, True
            elif kind == "end":
                written.append(self._end(call))
            elif call.verbatim and self._preserve:
                if kind == "body":
                    written.append(text)
            elif kind == "body":
                if not self._has_arguments:
                    self._pending_body.append(text)
            elif kind == "name":
                self._is_unnamed = False
                written.append(f'{{"name": {json.dumps(text, ensure_ascii=False)}, "arguments": ')
            else:
                self._has_arguments = True
                self._pending_body.clear()
                written.append(text)
        return Written("".join(written))

    def _end(self, call: ParsedCall) -> str:
        rest = "".join(self._pending_body)
        self._pending_body.clear()
        self._is_unnamed = False
        if not (call.verbatim and self._preserve) and call.name is not None:
            rest = "" if self._has_arguments else _arguments_in(rest, call)
            rest += "}" if call.complete else ""
        return rest + (self._closing if call.complete else "")

    def finish(self) -> str:
        return ""


class OpenAIWriter:
    """Writes each call as deltas of `tool_calls`.

    White space before the first call, between calls and behind the last one is markup, and is dropped. A call without a
    name cannot be a tool call of the API, so its markup stays text.
    """

    def __init__(self) -> None:
        self.next_index = 0
        """The index of the next call. The stage raises it if the server makes calls itself."""
        self.calls = 0
        """How many calls were written."""
        self.owes_call = False
        self._index = 0
        self._has_arguments = False
        self._opening = ""
        # The body of a call without arguments so far.
        self._pending_body: list[str] = []
        self._in_text = False
        self._white = ""

    def write(self, pieces: Iterable[Piece], /) -> Written:
        written = Written()
        text: list[str] = []
        for kind, piece, call in pieces:
            if kind == "text" or call is None:
                text.append(self._text(piece))
            elif kind == "begin":
                self._opening = piece
                self._has_arguments = False
                self.owes_call = True
            elif kind == "body":
                if not self._has_arguments:
                    self._pending_body.append(piece)
            elif kind == "name":
                self._begin(written, piece)
            elif kind == "arguments":
                self._has_arguments = True
                self._pending_body.clear()
                self._arguments(written, piece)
            else:
                body = "".join(self._pending_body)
                self._pending_body.clear()
                self.owes_call = False
                if call.name is None:
                    text.append(self._text(self._opening + body + piece))
                elif not self._has_arguments:
                    self._arguments(written, _arguments_in(body, call))
        written.text = "".join(text)
        return written

    def _begin(self, written: Written, name: str) -> None:
        self._white = ""
        self._in_text = False
        self.owes_call = False
        self._index = self.next_index
        self.next_index += 1
        self.calls += 1
        written.deltas.append(CallDelta(self._index, f"call_{uuid.uuid4().hex[:24]}", name))

    def _arguments(self, written: Written, text: str) -> None:
        if not text:
            return
        deltas = written.deltas
        if deltas and deltas[-1].index == self._index:
            deltas[-1].arguments += text
        else:
            deltas.append(CallDelta(self._index, arguments=text))

    def _text(self, text: str) -> str:
        if self._in_text:
            return text
        if not text or text.isspace():
            self._white += text
            return ""
        self._in_text = True
        white, self._white = self._white, ""
        return white + text

    def finish(self) -> str:
        """White space that was held back, if there was no call that it could belong to."""
        white, self._white = self._white, ""
        return "" if self.calls else white
