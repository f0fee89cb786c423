"""The entries of a file of exchanges, one after the other, so a file of any length takes little memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from otel_llm.protocol.choice import Outcome
from otel_llm.protocol.framing import Framing


class ResponseStart(NamedTuple):
    """A response begins. `request`: its request's body, None if the file does not have it. `url`: where it was sent."""

    title: str
    request: Mapping[str, Any] | None = None
    url: str = ""


class Chunk(NamedTuple):
    """A chunk of a stream, and the text it was read from, at byte `offset` of its body or file."""

    value: Any
    raw: str
    offset: int
    time_ns: int | None = None


class WholeResponse(NamedTuple):
    """A response that was not streamed."""

    value: Any
    raw: str
    time_ns: int | None = None


class ResponseEnd(NamedTuple):
    """The response ends. `note`: why, if it did not simply end.

    `framing`: how its bytes were framed, None if the file does not have them. `is_damaged`: the rest of it cannot be
    read.
    """

    outcome: Outcome
    note: str = ""
    time_ns: int | None = None
    framing: Framing | None = None
    is_damaged: bool = False


class Unread(NamedTuple):
    """A response that is not read, and what it is."""

    title: str
    what: str


class ReportedSpan(NamedTuple):
    """A span of otel-llm: a response that was observed live. `events`: name, time (ns of the epoch), attributes."""

    title: str
    attributes: Mapping[str, Any]
    events: list[tuple[str, int, dict[str, Any]]]
    started_ns: int
    ended_ns: int
    error: str = ""


Entry = ResponseStart | Chunk | WholeResponse | ResponseEnd | Unread | ReportedSpan
