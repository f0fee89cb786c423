"""Takes the calls out of a text, while it streams, and gives each once, complete."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from otel_llm.tags.declared import declared_tools
from otel_llm.tags.found import FoundCall, Piece
from otel_llm.tags.json_body import ARGUMENT_KEYS, NAME_KEYS
from otel_llm.tags.python_calls import NotACall, read_literal
from otel_llm.tags.scanner import Scanner

# Longer texts, and texts that leave more brackets open, are not repaired: that would take seconds.
_MOST_REPAIRED = 131_072
_DEEPEST_REPAIRED = 64
_CLOSERS = {"{": "}", "[": "]"}
_STRUCTURE = re.compile(r'["{}\[\]]')
_IN_STRING = re.compile(r'["\\]')


@dataclass
class ToolCall:
    """A call that a model asked for."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    call_id: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """`{"name": …, "arguments": …, "call_id": …}`"""
        return {"name": self.name, "arguments": self.arguments, "call_id": self.call_id}


class IncrementalToolDetector:
    """Finds calls in any of the known syntaxes.

    `model_name` names the model in messages; every syntax is looked for whatever the model. `tools`: as for
    `ToolCallTagRewriter`.

    >>> detector = IncrementalToolDetector("qwen3")
    >>> detector.process_chunk('Hi <tool_call>{"name": "f", "arguments": {}}</tool_call>')[0]
    'Hi '
    """

    def __init__(self, model_name: str = "", *, tools: Any = None) -> None:
        self.model_name = model_name
        self.tools = declared_tools(tools)
        self._scanner = Scanner(self.tools)
        self._body: list[str] = []
        self._arguments: list[str] = []
        self._opening = ""
        self.text_left = ""
        """After `finalize`: text that had been held back."""

    def process_chunk(self, text: str | None) -> tuple[str, list[ToolCall]]:
        """The text to show, without markup, and the calls that became complete."""
        if not text:
            return "", []
        if self._scanner.is_plain(text):
            return text, []
        return self._take(self._scanner.feed(text))

    def finalize(self) -> list[ToolCall]:
        """The text is over: the calls that were left open, as far as they can be understood."""
        self.text_left, calls = self._take(self._scanner.flush())
        return calls

    def _take(self, pieces: Iterable[Piece]) -> tuple[str, list[ToolCall]]:
        shown: list[str] = []
        calls: list[ToolCall] = []
        for kind, text, found in pieces:
            if kind == "text" or found is None:
                shown.append(text)
            elif kind == "begin":
                self._opening, self._body, self._arguments = text, [], []
            elif kind == "body":
                self._body.append(text)
            elif kind == "arguments":
                self._arguments.append(text)
            elif kind == "end":
                call = self._call(found)
                if call is not None:
                    calls.append(call)
                else:
                    # Nobody understands it: nothing of it may be lost.
                    shown += (self._opening, *(self._body or (found.name or "", *self._arguments)), text)
        return "".join(shown), calls

    def _call(self, found: FoundCall) -> ToolCall | None:
        name, arguments = found.name, None
        text = "".join(self._arguments)
        if name is not None and (text.strip() or found.understood):
            arguments = understand(text) if text.strip() else {}
        if not isinstance(arguments, dict):
            body = understand("".join(self._body))
            name, arguments = parts(body) if isinstance(body, dict) else (name, None)
        if not name or not isinstance(arguments, dict):
            return None
        return ToolCall(name, arguments, f"call_{uuid.uuid4().hex[:24]}")


def parts(body: dict[str, Any]) -> tuple[str | None, Any]:
    """Name and arguments of an object that is a call, also of `{"type": "function", "function": {…}}`."""
    inner = body.get("function")
    if isinstance(inner, dict):
        return parts(inner)
    name = next((body[key] for key in ("name", *NAME_KEYS) if isinstance(body.get(key), str)), None)
    arguments: Any = next((body[key] for key in sorted(ARGUMENT_KEYS) if key in body), {})
    if isinstance(arguments, str):
        arguments = understand(arguments)
    return name, {} if arguments is None else arguments


def understand(text: str) -> Any:
    """The value of a text that is JSON, or nearly; None where nothing can be made of it."""
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        pass
    try:
        return read_literal(text)
    except (NotACall, RecursionError):
        pass
    closing = _closing(text)
    try:
        return json.loads(text + closing, strict=False)
    except (ValueError, RecursionError):
        pass
    if len(text) > _MOST_REPAIRED or len(closing) > _DEEPEST_REPAIRED:
        return None
    # Imported where it is needed: it is large, and models mostly write JSON.
    from json_repair import repair_json

    try:
        return repair_json(text, return_objects=True) or None
    except Exception:  # noqa: BLE001  it fails assertions of its own on some texts
        return None


def _closing(text: str) -> str:
    """What closes the string and the brackets of a JSON text that was cut off."""
    open_brackets: list[str] = []
    place, in_string = 0, False
    while match := (_IN_STRING if in_string else _STRUCTURE).search(text, place):
        place = match.end()
        mark = match.group()
        if mark == '"':
            in_string = not in_string
        elif mark == "\\":
            place += 1
        elif mark in _CLOSERS:
            open_brackets.append(_CLOSERS[mark])
        elif open_brackets:
            open_brackets.pop()
    return '"' * in_string + "".join(reversed(open_brackets))
