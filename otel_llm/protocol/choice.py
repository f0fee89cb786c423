"""The facts of a response: its choices, how it ended, what the server reported, and how much of it is kept.  Pure.

A `Recording` fills these in. They hold no telemetry and no objects of an SDK.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from otel_llm.protocol.kept_text import KeptText
from otel_llm.protocol.tool_call import ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable

Outcome = Literal["completed", "closed", "abandoned", "cancelled", "error"]
"""How a stream ended.

`completed`: the server ended it. `closed`: the application stopped reading. `abandoned`: the application dropped it.
`cancelled`: the application's task was cancelled. `error`: reading failed, or the server reported an error.
"""

# Finish reasons that cut a choice off. Gateways send `error` if the model's server failed; `incomplete` stands for a
# response of the Responses API that gives no reason; after `continuation`, another request gets the rest (Gemini).
CUTTING_FINISH_REASONS = frozenset({"length", "content_filter", "error", "incomplete", "continuation"})


@dataclass(frozen=True)
class Limits:
    """How much of one response is kept. Lengths are in characters."""

    calls: int = 256
    choices: int = 128
    deltas: int = 1024
    """Tool-call deltas; neighbours are folded beyond it."""
    arguments: int = 1_048_576
    """Arguments of one call."""
    arguments_of_stream: int = 8 * 1_048_576
    """Arguments of all calls together."""
    text: int = 1_048_576
    """Text and reasoning of all choices together."""
    name: int = 256
    """A declared name is kept whole, however long: the request holds it anyway."""
    # Some gateways put a signature of the model's reasoning into the id.
    id: int = 8192
    notes: int = 8
    """Contradicting ids or names of one call; finish reasons of one choice."""
    note: int = 80
    """Length of a contradicting id or name."""
    failure: int = 16_384
    """Length of an error message of the server. What is sent of it is cut once it is redacted."""


class Notice(NamedTuple):
    """Something that is worth a log line while the stream flows.

    `detected`: a call started. `name`: its name is complete. `completed`: it can be executed, before the response ends
    (Responses API). `text`: the text of a choice started. `finish`: a choice has a finish reason.
    """

    kind: Literal["detected", "name", "text", "completed", "finish"]
    choice: Choice
    call: ToolCall | None = None


class Failure(NamedTuple):
    """An error that the server reported in its response. `type` is a word of the API, such as `server_error`."""

    type: str
    message: str


class TagRewrite(NamedTuple):
    """One call in the text that was rewritten.

    `format`: the name of its syntax in `tags/formats.py`. `length`: characters of its JSON. `target`: `openai`, or the
    tags. `duration_ns`: time spent on the rewriting.
    """

    choice_index: int
    format: str
    name: str | None
    length: int
    target: str
    duration_ns: int


class Choice:
    """One choice of the response: its calls in the order in which they started, its text, and its finish reason."""

    __slots__ = (
        "by_id",
        "by_index",
        "calls",
        "deltas_after_finish",
        "finish_reason",
        "finish_reasons",
        "finished_ns",
        "has_media",
        "index",
        "keep_text",
        "last_call",
        "last_over",
        "missing_index",
        "open_calls",
        "over_calls",
        "over_text_calls",
        "reasoning",
        "reasoning_field",
        "reasoning_started_ns",
        "server_items",
        "text",
        "text_is_thoughts",
        "text_started_ns",
        "without_index",
    )

    def __init__(self, index: int) -> None:
        self.index = index
        self.calls: list[ToolCall] = []
        self.over_calls = 0
        """Calls beyond the limit, which are counted and not kept."""
        self.over_text_calls = 0
        """How many of these were found in the text."""
        self.last_call: ToolCall | None = None
        """The call of the last delta, None if that is not kept."""
        self.last_over: tuple[Any, str | None] | None = None
        """Index and id of the last call that is not kept."""
        self.text_started_ns: int | None = None
        self.reasoning_started_ns: int | None = None
        self.finish_reason: str | None = None
        """The last one."""
        self.finished_ns: int | None = None
        """When the first one came."""
        self.finish_reasons: list[tuple[int, str]] = []
        """When each different one came."""
        self.deltas_after_finish = 0
        """Tool-call deltas after the finish reason."""
        self.missing_index = 0
        """Tool-call deltas without a usable index."""
        self.server_items = 0
        """Items that the server made by itself: tools that it ran, a request for approval, a compaction."""
        self.has_media = False
        """Whether it has an image, speech or a file."""
        self.text = KeptText()
        self.text_is_thoughts = False
        """Whether the rewriting read all of it as thoughts. No mark in it shows them."""
        self.reasoning = KeptText()
        self.keep_text: Callable[[str], None] | None = None
        """Takes content, once there is text."""
        self.reasoning_field: str | None = None
        """The field of the deltas that has the reasoning, once there is any."""
        self.by_index: dict[Any, ToolCall] = {}
        self.open_calls = self.by_index
        """Calls whose deltas take the straight path: `by_index` until the choice has its finish reason, then none."""
        self.by_id: dict[str, ToolCall] = {}
        self.without_index: dict[int, ToolCall] = {}
        """Calls that came without an index so far, by the free index that they were given."""

    @property
    def has_text(self) -> bool:
        return self.text_started_ns is not None

    @property
    def call_count(self) -> int:
        """Calls, including those that are not kept."""
        return len(self.calls) + self.over_calls
