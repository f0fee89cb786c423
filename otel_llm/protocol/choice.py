"""What is kept of a response: its choices and their calls, how much of them, and how it ended.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from otel_llm.protocol.tool_call import ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable

Outcome = Literal["completed", "closed", "abandoned", "cancelled", "error"]

# Finish reasons that stop a choice in the middle of whatever it was writing.
# `error` is what gateways say where the model's server failed; `incomplete` a response that does not say why.
CUTTING_FINISH_REASONS = frozenset({"length", "content_filter", "error", "incomplete"})


@dataclass(frozen=True)
class Limits:
    """How much of one stream is kept. Lengths are in characters."""

    calls: int = 256
    choices: int = 128
    deltas: int = 1024
    arguments: int = 1_048_576
    arguments_of_stream: int = 8 * 1_048_576
    text: int = 1_048_576
    name: int = 256
    """A declared name is kept whole however long: the request holds it anyway."""
    # Some gateways carry a signature of the model's thoughts in the id.
    id: int = 8192
    notes: int = 8
    """Contradicting ids or names of one call, finish reasons of one choice."""
    note: int = 80
    """Length of a contradicting id or name."""
    failure: int = 1000
    """What a server says of its own failure."""


class Notice(NamedTuple):
    """Something that a person watching the stream would want to know now."""

    kind: Literal["detected", "name", "text", "completed", "finish"]
    choice: Choice
    call: ToolCall | None = None


class Failure(NamedTuple):
    """What a server says of its own failure within a response. `type` is a word of the API (`server_error`)."""

    type: str
    message: str


class TagRewrite(NamedTuple):
    """One call in the text that was rewritten. `length`: characters of its body; `duration_ns`: what that took."""

    choice_index: int
    format: str
    name: str | None
    length: int
    target: str
    duration_ns: int


class Choice:
    """One choice of the completion and its calls, in the order in which they began."""

    __slots__ = (
        "by_id",
        "by_index",
        "calls",
        "deltas_after_finish",
        "finish_reason",
        "finish_reasons",
        "finished_ns",
        "fresh_text",
        "index",
        "keep_text",
        "last_call",
        "last_over",
        "missing_index",
        "open_calls",
        "over_calls",
        "over_text_calls",
        "reasoning_parts",
        "reasoning_started_ns",
        "text_parts",
        "text_started_ns",
        "without_index",
    )

    def __init__(self, index: int) -> None:
        self.index = index
        self.calls: list[ToolCall] = []
        self.over_calls = 0
        """Calls beyond the limit: counted, not kept."""
        self.over_text_calls = 0
        """Those of them that were found in the text."""
        self.last_call: ToolCall | None = None
        """The call that the last delta was of, None where that one is not kept."""
        self.last_over: tuple[Any, str | None] | None = None
        """Index and id of the last call that was not kept."""
        self.text_started_ns: int | None = None
        self.reasoning_started_ns: int | None = None
        self.finish_reason: str | None = None
        """The last one that came."""
        self.finished_ns: int | None = None
        """When the first one came."""
        self.finish_reasons: list[tuple[int, str]] = []
        self.deltas_after_finish = 0
        self.missing_index = 0
        self.fresh_text: list[str] = []
        """What came lately as text, as it came."""
        self.keep_text: Callable[[str], None] | None = None
        """Takes text, once it has begun and where it is kept."""
        self.text_parts: list[str] = []
        self.reasoning_parts: list[str] = []
        self.by_index: dict[Any, ToolCall] = {}
        self.open_calls = self.by_index
        """Calls whose deltas go the straight way: `by_index` until the choice has its finish reason, then none."""
        self.by_id: dict[str, ToolCall] = {}
        self.without_index: dict[int, ToolCall] = {}
        """Calls whose index no delta gave so far, by the free one that they got."""

    @property
    def has_text(self) -> bool:
        return self.text_started_ns is not None

    @property
    def call_count(self) -> int:
        """Calls begun, those that were not kept included."""
        return len(self.calls) + self.over_calls
