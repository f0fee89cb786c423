"""What the judges of a response are given, and what they find.  Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from otel_llm.diagnosis.bounds import Budget
from otel_llm.protocol import json_values
from otel_llm.protocol.choice import CUTTING_FINISH_REASONS, Choice
from otel_llm.protocol.framing import Framing
from otel_llm.protocol.json_values import Reading, Shape
from otel_llm.protocol.past_calls import meaning_of_reading
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import Api, ChatRequest, Tool
from otel_llm.protocol.tool_call import ToolCall

if TYPE_CHECKING:
    from otel_llm.diagnosis.answer_text import AnswerText


class Anomaly(NamedTuple):
    """One anomaly. `type` is a name of the telemetry contract. The indexes are None if it is of the whole response."""

    type: str
    detail: str
    choice_index: int | None = None
    tool_call_index: int | None = None


class Finding(NamedTuple):
    """What a judge yields. `tool_call_index` is only for a judge of a choice whose finding is about one call."""

    type: str
    detail: str
    tool_call_index: int | None = None


# APIs whose whole responses have arguments as objects, an empty one where they were cut.
_OBJECTS = frozenset({"converse", "messages"})


@dataclass(slots=True)
class Case:
    """One response that is over. `request` is None if the stream was watched without its request."""

    recording: Recording
    request: ChatRequest | None = None
    stall_seconds: float = 10.0
    loop_turns: int = 3
    """So many turns in a row with the same call are a loop."""
    on_fault: Callable[[str, Exception], None] | None = None
    """Takes the name of a judge that raised, and its exception; the other judges still run. Without it, it raises."""
    framing: Framing | None = None
    """How the bytes were framed, None where they were not seen."""
    api: Api = "chat"
    repeated_turns: int = 0
    """In so many turns in a row, counting this response, the model made the same call; 0 if there is one. The judge of
    loops sets it."""
    _budget: Budget | None = None
    _readings: dict[int, Reading] = field(default_factory=dict)
    _answers: dict[int, AnswerText] = field(default_factory=dict)
    _thought_calls: dict[int, list[tuple[str, str]]] = field(default_factory=dict)
    _naming: dict[int, bool] = field(default_factory=dict)

    @property
    def is_text_completion(self) -> bool:
        return "completions" in (self.api, None if self.request is None else self.request.api)

    def is_settled(self, choice: Choice) -> bool:
        """Whether nothing more can come for this choice."""
        return choice.finish_reason is not None or self.recording.outcome == "completed"

    def was_cut_off(self, choice: Choice) -> bool:
        """Whether the choice was stopped before the model had finished it."""
        return choice.finish_reason in CUTTING_FINISH_REASONS

    def reading(self, call: ToolCall) -> Reading:
        """The arguments of the call, parsed once for all judges."""
        known = self._readings.get(id(call))
        if known is None:
            known = self._readings[id(call)] = json_values.read(call.arguments)
        return known

    def meaning(self, call: ToolCall) -> str:
        """The arguments in one spelling for all texts with the same meaning."""
        return call.arguments if self.is_free_text(call) else meaning_of_reading(self.reading(call), call.arguments)

    @property
    def budget(self) -> Budget:
        """What the texts of all choices may cost together."""
        if self._budget is None:
            self._budget = Budget()
        return self._budget

    def names_tool(self, choice: Choice) -> bool:
        """Whether the text or the thoughts of the choice hold the name of a declared tool. Looked for once."""
        known = self._naming.get(choice.index)
        if known is None:
            tools = (self.request.tools if self.request is not None else None) or ()
            text, thoughts = choice.text.whole, choice.reasoning.whole
            known = self._naming[choice.index] = any(name in text or name in thoughts for name in tools)
        return known

    def answer(self, choice: Choice) -> AnswerText:
        """The text of the choice by its parts, read once for all judges."""
        known = self._answers.get(choice.index)
        if known is None:
            from otel_llm.diagnosis.answer_text import read_answer  # slow to import, and rarely needed

            known = self._answers[choice.index] = read_answer(
                choice.text.whole,
                (self.request.tools if self.request is not None else None) or {},
                self.budget,
                settled=self.is_settled(choice),
                cut_off=self.was_cut_off(choice) or choice.text.over > 0,
                marked_only=self.request is not None and self.request.wants_json,
                is_thoughts=choice.text_is_thoughts,
            )
        return known

    def thought_calls(self, choice: Choice) -> list[tuple[str, str]]:
        """Tool and syntax of each call that the choice left in its thoughts, read once for all judges."""
        known = self._thought_calls.get(choice.index)
        if known is None:
            from otel_llm.diagnosis.reasoning_calls import calls_in_thoughts

            known = self._thought_calls[choice.index] = calls_in_thoughts(self, choice)
        return known

    def is_free_text(self, call: ToolCall) -> bool:
        """Whether the arguments are the input of a custom tool, in whichever field they came."""
        tool = self.tool(call)
        return call.kind == "custom" or (tool is not None and tool.kind == "custom")

    def is_truncated(self, choice: Choice, call: ToolCall) -> bool:
        """Whether the call was still open when its choice was cut off."""
        if not self.was_cut_off(choice) or call.exceeds_limit:
            return False
        if self.is_free_text(call):
            # Free text has no end to look for, but the last thing written is what was cut off.
            return choice.last_call is call
        if self.is_too_deep(call):
            return not json_values.is_closed(call.arguments)
        if self.reading(call).shape is Shape.OBJECT:
            return self._lost_its_beginning(choice, call)
        return self.reading(call).shape is not Shape.OTHER

    def _lost_its_beginning(self, choice: Choice, call: ToolCall) -> bool:
        """Whether an empty object stands for arguments that were cut: a whole response cannot show half an object."""
        if self.request is None or self.request.api not in _OBJECTS or self.recording.streamed:
            return False
        tool = self.tool(call)
        return (
            choice.last_call is call and tool is not None and tool.requires_arguments and not self.reading(call).value
        )

    def is_too_deep(self, call: ToolCall) -> bool:
        """Whether the arguments are nested too deeply to be parsed."""
        return not self.is_free_text(call) and self.reading(call).shape is Shape.TOO_DEEP

    def is_final(self, choice: Choice, call: ToolCall) -> bool:
        """Whether nothing more was to come for the call, so that anything it lacks is an anomaly."""
        return self.is_settled(choice) and not self.is_truncated(choice, call)

    def tool(self, call: ToolCall) -> Tool | None:
        """The declared tool that is called, None if it is not declared or the tools are not known."""
        if self.request is None or self.request.tools is None or call.name is None:
            return None
        return self.request.tools.get(call.name)

    def name_may_continue(self, choice: Choice, call: ToolCall, names: frozenset[str]) -> bool:
        """Whether the name of the call was stopped at the beginning of one of `names`."""
        name = call.name
        if name is None or self.is_final(choice, call):
            return False
        return any(other.startswith(name) for other in names)
