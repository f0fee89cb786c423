"""Writes scanned calls: as custom tags, or as tool-call deltas of the OpenAI API.  Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Protocol

from otel_llm.tags.custom_tags import ToolCallTags
from otel_llm.tags.ids import new_call_id
from otel_llm.tags.json_body import ARGUMENT_KEYS
from otel_llm.tags.lenient_json import call_in, parse_leniently
from otel_llm.tags.pieces import ParsedCall, Piece


class CallDelta:
    """A tool-call delta as the API streams it: the first one of a call has its id and name.

    `ends`: nothing follows of this call. `complete`: the model wrote it to its end; False if the text ended first.
    """

    __slots__ = ("arguments", "complete", "ends", "id", "index", "name")

    def __init__(self, index: int, id: str | None = None, name: str | None = None, arguments: str = "") -> None:  # noqa: A002
        self.index = index
        self.id = id
        self.name = name
        self.arguments = arguments
        self.ends = False
        self.complete = True


class ThoughtDelta:
    """A piece of the model's thoughts, which the API has in a field of their own."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


Part = str | CallDelta | ThoughtDelta
"""What pieces are written as: text, calls, and thoughts."""


class Writer(Protocol):
    @property
    def owes_call(self) -> bool:
        """Whether a call has begun of which nothing is written yet."""

    @property
    def ended(self) -> list[tuple[ParsedCall, int]]:
        """The calls that have ended, each with the number of characters that it has. Whoever reads it clears it."""

    def write(self, pieces: Iterable[Piece], /) -> list[Part]:
        """The parts of these pieces, in the order of the text. No two texts, and no two deltas of a call, adjoin."""
        ...

    def finish(self) -> list[Part]:
        """The text is over: the parts that were held back."""
        ...


def text_in(parts: Iterable[Part]) -> str:
    """The text among parts."""
    return "".join([part for part in parts if type(part) is str])


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
        self.ended: list[tuple[ParsedCall, int]] = []
        self._length = 0

    @property
    def held(self) -> str:
        """The text of a call that is not written yet."""
        return "".join(self._pending_body) if self._is_unnamed else ""

    def write(self, pieces: Iterable[Piece], /) -> list[Part]:
        text = self.write_text(pieces)
        return [text] if text else []

    def write_text(self, pieces: Iterable[Piece], /) -> str:
        """The same, as the text that it is."""
        written: list[str] = []
        for kind, text, call in pieces:
            if kind == "text" or call is None:
                written.append(text)
            elif kind == "begin":
                written.append(self._opening)
                self._has_arguments, self._is_unnamed = False, True
                self._length = 0
            elif kind == "end":
                written.append(self._end(call))
            elif kind == "body":
                if call.verbatim:
                    self._length += len(text)
                if call.verbatim and self._preserve:
                    written.append(text)
                elif not self._has_arguments:
                    self._pending_body.append(text)
            elif kind == "arguments" and not call.verbatim:
                self._length += len(text)
                self._has_arguments = True
                self._pending_body.clear()
                written.append(text)
            elif call.verbatim and self._preserve:
                continue
            elif kind == "name":
                self._is_unnamed = False
                written.append(f'{{"name": {json.dumps(text, ensure_ascii=False)}, "arguments": ')
            else:
                self._has_arguments = True
                self._pending_body.clear()
                written.append(text)
        return "".join(written)

    def _end(self, call: ParsedCall) -> str:
        self.ended.append((call, self._length))
        rest = "".join(self._pending_body)
        self._pending_body.clear()
        self._is_unnamed = False
        if not (call.verbatim and self._preserve) and call.name is not None:
            rest = "" if self._has_arguments else _arguments_in(rest, call)
            rest += "}" if call.complete else ""
        return rest + (self._closing if call.complete else "")

    def finish(self) -> list[Part]:
        return []


class OpenAIWriter:
    """Writes each call as deltas of `tool_calls`.

    White space before the first call, between calls and after the last one is markup, and is dropped. A call without a
    name cannot be a tool call of the API, so its markup stays text.

    `moves_thoughts`: thoughts are parts of their own, without their marks and the white space inside of these, and
    answers lose the marks around them. White space between the marks and the first word of an answer is dropped, but
    not the indentation of its line. Otherwise all of this is text.

    `new_id`: makes the id of a call.
    """

    def __init__(self, *, moves_thoughts: bool = False, new_id: Callable[[], str] = new_call_id) -> None:
        self._moves_thoughts = moves_thoughts
        self._new_id = new_id
        self._in_thoughts = self._had_thoughts = self._had_text = False
        self._behind_mark = False
        self._white_in_thoughts = ""
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
        self.ended: list[tuple[ParsedCall, int]] = []
        self._length = 0
        self._in_text = False
        self._white = ""

    def write(self, pieces: Iterable[Piece], /) -> list[Part]:
        parts: list[Part] = []
        for kind, piece, call in pieces:
            if kind == "arguments":
                # The most frequent kind.
                if call is not None and not call.verbatim:
                    self._length += len(piece)
                if not self._has_arguments:
                    self._has_arguments = True
                    self._pending_body.clear()
                if piece:
                    self._arguments(parts, piece)
            elif kind == "body":
                if call is not None and call.verbatim:
                    self._length += len(piece)
                if not self._has_arguments:
                    self._pending_body.append(piece)
            elif kind == "text":
                self._text(parts, piece)
            elif call is None:
                self._thoughts(parts, kind, piece)
            elif kind == "begin":
                self._opening = piece
                self._has_arguments = False
                self._length = 0
                self.owes_call = True
            elif kind == "name":
                self._begin(parts, piece)
            else:
                self._end(parts, piece, call)
        return parts

    def pass_over(self, length: int) -> int:
        """So many characters of arguments are put in place by the caller. Returns the index of their call."""
        self._length += length
        return self._index

    def _begin(self, parts: list[Part], name: str) -> None:
        self._white = ""
        self._in_text = False
        self.owes_call = False
        self._index = self.next_index
        self.next_index += 1
        self.calls += 1
        parts.append(CallDelta(self._index, self._new_id(), name))

    def _arguments(self, parts: list[Part], text: str) -> CallDelta:
        last = parts[-1] if parts else None
        if type(last) is CallDelta and last.index == self._index:
            last.arguments += text
            return last
        delta = CallDelta(self._index, None, None, text)
        parts.append(delta)
        return delta

    def _end(self, parts: list[Part], closing: str, call: ParsedCall) -> None:
        body = "".join(self._pending_body)
        self._pending_body.clear()
        self.owes_call = False
        self.ended.append((call, self._length))
        if call.name is None:
            self._text(parts, self._opening + body + closing)
            return
        delta = self._arguments(parts, "" if self._has_arguments else _arguments_in(body, call))
        delta.ends = True
        delta.complete = call.complete

    def _thoughts(self, parts: list[Part], kind: str, text: str) -> None:
        """Thoughts, or a mark around them or around an answer."""
        if not self._moves_thoughts:
            self._text(parts, text)
        elif kind == "thoughts":
            self._thought(parts, text)
        else:
            self._in_thoughts = False
            self._white_in_thoughts = ""
            self._behind_mark = True
            if not self._had_text:
                self._white = ""

    def _thought(self, parts: list[Part], text: str) -> None:
        # White space at both ends belongs to the marks.
        word = text.rstrip()
        if not word:
            self._white_in_thoughts += text
            return
        if self._in_thoughts:
            word = self._white_in_thoughts + word
        else:
            self._in_thoughts = True
            word = ("\n" if self._had_thoughts else "") + word.lstrip()
            self._had_thoughts = True
        self._white_in_thoughts = text[len(text.rstrip()) :]
        last = parts[-1] if parts else None
        if type(last) is ThoughtDelta:
            last.text += word
        else:
            parts.append(ThoughtDelta(word))

    def _text(self, parts: list[Part], text: str) -> None:
        if not self._in_text:
            if not text or text.isspace():
                self._white += text
                return
            self._in_text = True
            text, self._white = self._white + text, ""
        if self._behind_mark:
            self._behind_mark = False
            text = _without_space_before(text, is_first=not self._had_text)
        self._had_text = True
        if parts and type(parts[-1]) is str:
            parts[-1] += text
        elif text:
            parts.append(text)

    def finish(self) -> list[Part]:
        """White space that was held back, if there was no call that it could belong to."""
        white, self._white = self._white, ""
        return [] if self.calls or self._behind_mark or not white else [white]


def _without_space_before(text: str, *, is_first: bool) -> str:
    """What follows a mark, without the white space that belongs to the mark."""
    if not is_first:
        return text
    word = text.lstrip()
    white = text[: len(text) - len(word)]
    return white.rpartition("\n")[2] + word if "\n" in white else word
