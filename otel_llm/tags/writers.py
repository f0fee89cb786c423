"""Write what a scanner found: as custom tags, or as the tool-call deltas of the OpenAI API.  Pure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from otel_llm.tags.custom_tags import ToolCallTags
from otel_llm.tags.detector import parts, understand
from otel_llm.tags.found import FoundCall, Piece
from otel_llm.tags.json_body import ARGUMENT_KEYS


@dataclass
class CallDelta:
    """A piece of a call as the API streams it: id and name come first, and once."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass
class Written:
    """What a text became: text, and deltas of calls."""

    text: str = ""
    deltas: list[CallDelta] = field(default_factory=list)

    @property
    def holds_anything(self) -> bool:
        return bool(self.text or self.deltas)


class Writer(Protocol):
    @property
    def owes_call(self) -> bool:
        """Whether a call has begun of which nothing is written yet."""

    def write(self, pieces: Iterable[Piece], /) -> Written: ...
    def finish(self) -> str: ...


def arguments_in(body: str, call: FoundCall) -> str:
    """The arguments of a call that has a name and has ended without them, as JSON; nothing where it was cut off.

    Those of a body that is no JSON are what can be understood of it, or else all of it: nothing of it may be lost.
    """
    if not call.complete:
        # Arguments that nobody wrote to their end must not look as if somebody had.
        return ""
    if call.understood or not body:
        return "{}"
    value = understand(body)
    arguments = parts(value)[1] if isinstance(value, dict) and value.keys() & ARGUMENT_KEYS else None
    return json.dumps(arguments, ensure_ascii=False) if isinstance(arguments, dict) else body


class TagWriter:
    """Every call becomes one JSON object between two tags.

    A call that was cut off gets no closing tag: nothing is written that nobody said. Where the body is made anew, a
    call whose name never came keeps the text of its body, and arguments that are not where they should be are made of
    what can be understood of it; whatever else stands in a body beside name and arguments goes.
    """

    owes_call = False

    def __init__(self, tags: ToolCallTags) -> None:
        self._opening = tags.opening
        self._closing = tags.closing
        self._preserve = tags.preserve_json
        self._has_arguments = False
        self._unnamed = False
        # The body of a call whose arguments have not come; without a name it can be written as it is only.
        self._unsaid: list[str] = []

    @property
    def held(self) -> str:
        """What was said of a call and is not written yet."""
        return "".join(self._unsaid) if self._unnamed else ""

    def write(self, pieces: Iterable[Piece], /) -> Written:
        written: list[str] = []
        for kind, text, call in pieces:
            if kind == "text" or call is None:
                written.append(text)
            elif kind == "begin":
                written.append(self._opening)
                self._has_arguments, self._unnamed = False, True
            elif kind == "end":
                written.append(self._end(call))
            elif call.verbatim and self._preserve:
                if kind == "body":
                    written.append(text)
            elif kind == "body":
                if not self._has_arguments:
                    self._unsaid.append(text)
            elif kind == "name":
                self._unnamed = False
                written.append(f'{{"name": {json.dumps(text, ensure_ascii=False)}, "arguments": ')
            else:
                self._has_arguments = True
                self._unsaid.clear()
                written.append(text)
        return Written("".join(written))

    def _end(self, call: FoundCall) -> str:
        rest = "".join(self._unsaid)
        self._unsaid.clear()
        self._unnamed = False
        if not (call.verbatim and self._preserve) and call.name is not None:
            rest = "" if self._has_arguments else arguments_in(rest, call)
            rest += "}" if call.complete else ""
        return rest + (self._closing if call.complete else "")

    def finish(self) -> str:
        return ""


class OpenAIWriter:
    """Every call becomes deltas of `tool_calls`.

    White space before the first call, between calls and behind the last is markup, and goes. A call without a name
    cannot be said in the protocol: its markup stays text.
    """

    def __init__(self) -> None:
        self.next_index = 0
        """The index of the next call. Raised where the server makes calls of its own."""
        self.calls = 0
        self.owes_call = False
        self._index = 0
        self._has_arguments = False
        self._opening = ""
        # The body of a call whose arguments have not come.
        self._unsaid: list[str] = []
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
                    self._unsaid.append(piece)
            elif kind == "name":
                self._begin(written, piece)
            elif kind == "arguments":
                self._has_arguments = True
                self._unsaid.clear()
                self._arguments(written, piece)
            else:
                body = "".join(self._unsaid)
                self._unsaid.clear()
                self.owes_call = False
                if call.name is None:
                    text.append(self._text(self._opening + body + piece))
                elif not self._has_arguments:
                    self._arguments(written, arguments_in(body, call))
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
        """White space that was held back, where there was no call that it could belong to."""
        white, self._white = self._white, ""
        return "" if self.calls else white
