"""A tool call as users read it: a copy of what a recording holds at one moment.  Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_llm.protocol.recording import Recording


@dataclass(frozen=True)
class ToolCall:
    """One call as the model sent it, as far as it has come. `arguments` is its text, valid JSON or not.

    `index` is the call's index in the protocol, `choice` that of its choice.
    """

    name: str | None
    arguments: str
    id: str | None = None
    index: int = 0
    choice: int = 0

    @property
    def parsed(self) -> Any:
        """The arguments parsed as JSON. Raises ValueError if they are not JSON."""
        return json.loads(self.arguments)


def calls_in(recording: Recording) -> list[ToolCall]:
    """The calls of a recording so far, choice by choice, each choice's in the order in which they began."""
    return [
        ToolCall(call.name, call.arguments_so_far(), call.id, call.index, call.choice_index) for call in recording.calls
    ]
