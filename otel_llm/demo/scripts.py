"""The scripts of the demo: a healthy conversation, and streams that go wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from otel_llm.demo.scripted_server import (
    ABSENT,
    DONE,
    Drop,
    Sleep,
    chunk,
    text,
    tool_call_chunks,
    tool_call_delta,
    usage_chunk,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_llm.demo.scripted_server import Step

_BETWEEN_CHUNKS: Final = Sleep(0.004)


def _paced(*steps: Step) -> list[Step]:
    """The steps with a pause before each, like a model's."""
    return [part for step in steps for part in (_BETWEEN_CHUNKS, step)]


HEALTHY_CONVERSATION: Final = (
    _paced(
        *tool_call_chunks("add_task", '{"title": "buy milk"}', id="call_1", index=0),
        *tool_call_chunks("list_tasks", "{}", id="call_2", index=1),
        chunk(finish_reason="tool_calls"),
        usage_chunk(140, 31),
        DONE,
    ),
    _paced(
        *(chunk(text(word)) for word in ("Done, ", "and ", "your ", "list ", "is ", "up ", "to ", "date.")),
        chunk(finish_reason="stop"),
        usage_chunk(190, 9),
        DONE,
    ),
)
"""The responses to an agent's two requests: tool calls, then text."""


@dataclass(frozen=True)
class BrokenStream:
    """A stream that goes wrong. `story`: how, in a sentence. `named`: what the timeline calls it."""

    story: str
    named: str
    script: Sequence[Step]


BROKEN_STREAMS: Final = (
    BrokenStream(
        "The server cuts the arguments off in the middle and reports the stream as complete.",
        "invalid_json",
        _paced(*tool_call_chunks("add_task", '{"title": "buy mi'), chunk(finish_reason="tool_calls"), DONE),
    ),
    BrokenStream(
        "The server sends a tool call without index or id, then the finish reason of a text response.",
        "finish_reason_mismatch",
        _paced(
            chunk(tool_call_delta(index=ABSENT, name="add_task", arguments='{"title": "buy milk"}')),
            chunk(finish_reason="stop"),
            DONE,
        ),
    ),
    BrokenStream(
        "The server gives two tool calls the same index, and many clients merge them into one.",
        "index_reused",
        _paced(
            chunk(tool_call_delta(id="call_1", name="add_task", arguments='{"title": "buy milk"}')),
            chunk(tool_call_delta(id="call_2", name="list_tasks", arguments="{}")),
            chunk(finish_reason="tool_calls"),
            DONE,
        ),
    ),
    BrokenStream(
        "The server does not recognize a tool call, and passes it on as text.",
        "text_leak",
        _paced(
            chunk(text("Sure.\n<tool_call>\n")),
            chunk(text('{"name": "add_task", "arguments": {"title": "buy milk"}}')),
            chunk(text("\n</tool_call>")),
            chunk(finish_reason="stop"),
            DONE,
        ),
    ),
    BrokenStream(
        "The connection breaks in the middle of a tool call.",
        "peer closed connection",
        [*_paced(*tool_call_chunks("add_task", '{"title": "buy'), Drop())],
    ),
)
