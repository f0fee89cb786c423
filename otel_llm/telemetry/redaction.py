"""Passes each text that is to be sent through a function of the application's (`OTEL_LLM_REDACT`).

- The function gets whole texts: the joined arguments of a call, a message, a tool's result. They are cut afterwards.
- It also gets each piece of the arguments that an event shows. A secret may be spread over several pieces, so a piece
  is withheld if it touches a place where the function changed the joined arguments.
- Where the function raises, or returns no string, `WITHHELD` is sent instead of the text, and that is counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from typing import Any

from opentelemetry.util.genai.invocation import GenAIInvocation
from opentelemetry.util.genai.utils import gen_ai_json_dumps

from otel_llm.telemetry.plain_values import plain_arguments
from otel_llm.telemetry.semconv import OTEL_LLM_REDACTION_WITHHELD_COUNT

WITHHELD = "[withheld]"
"""Sent in place of a text that could not be redacted."""

_logger = logging.getLogger("otel_llm")
_warned: set[str] = set()

# Fields of the conventions' messages and tool definitions that hold content. The others are ids, names and types.
_CONTENT = frozenset(
    {
        "arguments",
        "content",
        "description",
        "parameters",
        "response",
        "server_tool_call",
        "server_tool_call_response",
        "uri",
    }
)


class Redaction:
    """The redaction of one request. `withheld` counts the texts that were not sent because `function` failed."""

    __slots__ = ("_function", "withheld")

    def __init__(self, function: Callable[[str], object]) -> None:
        self._function = function
        self.withheld = 0

    def text(self, text: str) -> str:
        """The text that may be sent. Never raises."""
        try:
            redacted = self._function(text)
            if isinstance(redacted, str):
                return redacted
            fault = f"it returned {type(redacted).__name__}, not str"
        except Exception as error:  # noqa: BLE001  the application's function may raise anything
            fault = f"it raised {type(error).__name__}"
        self.withheld += 1
        # Without the error's message, which may quote the text.
        if fault not in _warned:
            _warned.add(fault)
            _logger.warning("The function of OTEL_LLM_REDACT failed, and texts are withheld: %s", fault)
        return WITHHELD

    def count_on(self, invocation: GenAIInvocation, before: int = 0) -> None:
        """Say on a span that ends how many texts were withheld, with those `before`. To be called when all are done."""
        if self.withheld or before:
            invocation.attributes[OTEL_LLM_REDACTION_WITHHELD_COUNT] = before + self.withheld

    def arguments(self, arguments: str) -> RedactedArguments:
        return RedactedArguments(self, arguments)

    def value(self, value: Any) -> Any:
        """A text, or a plain value in place of which its JSON is redacted."""
        if isinstance(value, str):
            return self.text(value) if value else value
        if not isinstance(value, (dict, list)) or not value:
            return value
        if isinstance(value, list) and all(is_dataclass(part) for part in value):
            self.parts(value)
            return value
        text = gen_ai_json_dumps(value)
        redacted = self.text(text)
        return value if redacted == text else plain_arguments(redacted)

    def parts(self, things: Iterable[Any]) -> None:
        """Redact messages, their parts or tool definitions of the GenAI conventions, in place."""
        for thing in things:
            for entry in fields(thing):
                value = getattr(thing, entry.name)
                if entry.name == "parts":
                    self.parts(value)
                elif entry.name in _CONTENT:
                    setattr(thing, entry.name, self.value(value))


class RedactedArguments:
    """The arguments of one call: joined, and in pieces."""

    __slots__ = ("_changed_from", "_changed_to", "_length", "_redaction", "whole")

    def __init__(self, redaction: Redaction, arguments: str) -> None:
        self._redaction = redaction
        self.whole = whole = redaction.text(arguments) if arguments else arguments
        self._length = len(arguments)
        # Of the characters `changed_from` to `changed_to` the function changed some.
        self._changed_from, self._changed_to = len(arguments), 0
        if whole != arguments:
            start = _length_in_common(whole, arguments)
            shorter = min(len(whole), len(arguments)) - start
            end = _length_in_common(whole[::-1], arguments[::-1])
            self._changed_from, self._changed_to = start, len(arguments) - min(end, shorter)

    def piece(self, text: str, start: int) -> str:
        """The piece that begins at character `start` of the arguments, as it may be sent."""
        if not text:
            return text
        end = start + len(text)
        touches = self._changed_from < self._changed_to and start < self._changed_to and end > self._changed_from
        # Of what was not kept, nobody knows whether it belongs to a secret that was.
        if touches or end > self._length:
            return WITHHELD
        return self._redaction.text(text)


def _length_in_common(one: str, other: str) -> int:
    """How many characters both texts begin with."""
    for at, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return at
    return min(len(one), len(other))
