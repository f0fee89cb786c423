"""The input of the judges, a case, and their output, anomalies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from otel_llm.protocol import json_values
from otel_llm.protocol.choice import CUTTING_FINISH_REASONS, Choice
from otel_llm.protocol.json_values import Reading, Shape
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest, Tool
from otel_llm.protocol.tool_call import ToolCall


class Anomaly(NamedTuple):
    """One fault. `type`: see docs/anomalies.md. The indexes are None for a fault of the whole response."""

    type: str
    detail: str
    choice_index: int | None = None
    tool_call_index: int | None = None


@dataclass(slots=True)
class Case:
    """One response to judge. `request` is None if it is not known."""

    recording: Recording
    request: ChatRequest | None = None
    stall_seconds: float = 10.0
    on_fault: Callable[[str, Exception], None] | None = None
    """Called with the name of a judge that raised, and the exception. If None, the exception is raised."""
    _readings: dict[int, Reading] = field(default_factory=dict)

    def settled(self, choice: Choice) -> bool:
        """Whether the choice is over."""
        return choice.finish_reason is not None or self.recording.outcome == "completed"

    def cut(self, choice: Choice) -> bool:
        """Whether the choice was stopped before the model ended it."""
        return choice.finish_reason in CUTTING_FINISH_REASONS

    def reading(self, call: ToolCall) -> Reading:
        """The call's arguments, parsed once for all judges."""
        known = self._readings.get(id(call))
        if known is None:
            known = self._readings[id(call)] = json_values.read(call.arguments)
        return known

    def is_free_text(self, call: ToolCall) -> bool:
        """Whether the arguments are the input of a custom tool, in whichever field they came."""
        tool = self.tool(call)
        return call.kind == "custom" or (tool is not None and tool.kind == "custom")

    def is_truncated(self, choice: Choice, call: ToolCall) -> bool:
        """Whether the call was still open when its choice was cut."""
        if not self.cut(choice) or call.exceeds_limit:
            return False
        if self.is_free_text(call):
            # The end of free text cannot be seen; the call that was written last is the one that was cut.
            return choice.last_call is call
        if self.is_too_deep(call):
            return not json_values.is_closed(call.arguments)
        return self.reading(call).shape not in {Shape.OBJECT, Shape.OTHER}

    def is_too_deep(self, call: ToolCall) -> bool:
        return not self.is_free_text(call) and self.reading(call).shape is Shape.TOO_DEEP

    def judged_whole(self, choice: Choice, call: ToolCall) -> bool:
        """Whether anything that the call lacks is a fault."""
        return self.settled(choice) and not self.is_truncated(choice, call)

    def tool(self, call: ToolCall) -> Tool | None:
        if self.request is None or self.request.tools is None or call.name is None:
            return None
        return self.request.tools.get(call.name)

    def name_may_become(self, choice: Choice, call: ToolCall, names: frozenset[str]) -> bool:
        """Whether the call was stopped in the middle of a name that may be one of `names`."""
        name = call.name
        if name is None or self.judged_whole(choice, call):
            return False
        return any(other.startswith(name) for other in names)
