"""Finds the calls in a text while it streams, and takes them out of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from otel_llm.tags.declared import declared_tools
from otel_llm.tags.ids import new_id
from otel_llm.tags.lenient_json import call_in, parse_leniently
from otel_llm.tags.pieces import ParsedCall, Piece
from otel_llm.tags.scanner import Scanner


@dataclass
class ToolCall:
    """A tool call of a model."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    call_id: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """`{"name": …, "arguments": …, "call_id": …}`"""
        return {"name": self.name, "arguments": self.arguments, "call_id": self.call_id}


class IncrementalToolDetector:
    """Finds calls in any of the known syntaxes.

    `model_name` is for messages only: all syntaxes are searched for, whatever the model. `tools`: as for
    `ToolCallTagRewriter`.

    >>> detector = IncrementalToolDetector("qwen3")
    >>> detector.process_chunk('Hi <tool_call>{"name": "f", "arguments": {}}</tool_call>')[0]
    'Hi '
    """

    def __init__(self, model_name: str = "", *, tools: Any = None) -> None:
        self.model_name = model_name
        self.tools = declared_tools(tools)
        self.reset()

    def reset(self) -> None:
        """Begin another text. What is held back of this one is dropped, and a call that it left open is not one."""
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
        """The text is over: returns the calls that were left open, if they can be understood."""
        self.text_left, calls = self._take(self._scanner.flush())
        return calls

    def _take(self, pieces: Iterable[Piece]) -> tuple[str, list[ToolCall]]:
        shown: list[str] = []
        calls: list[ToolCall] = []
        for kind, text, parsed in pieces:
            if kind == "text" or parsed is None:
                shown.append(text)
            elif kind == "begin":
                self._opening, self._body, self._arguments = text, [], []
            elif kind == "body":
                self._body.append(text)
            elif kind == "arguments":
                self._arguments.append(text)
            elif kind == "end":
                call = self._call(parsed)
                if call is not None:
                    calls.append(call)
                else:
                    # It cannot be understood, so all of its text is shown.
                    shown += (self._opening, *(self._body or (parsed.name or "", *self._arguments)), text)
        return "".join(shown), calls

    def _call(self, parsed: ParsedCall) -> ToolCall | None:
        name, arguments = parsed.name, None
        text = "".join(self._arguments)
        if name is not None and (text.strip() or parsed.well_formed):
            arguments = parse_leniently(text) if text.strip() else {}
        if not isinstance(arguments, dict):
            body = parse_leniently("".join(self._body))
            name, arguments = call_in(body) if isinstance(body, dict) else (name, None)
        if not name or not isinstance(arguments, dict):
            return None
        return ToolCall(name, arguments, new_id("call"))
