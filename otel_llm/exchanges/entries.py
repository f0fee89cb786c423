"""The entries that a file of exchanges is read as, one after the other, so a file of any length takes little memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from otel_llm.protocol.choice import Outcome


class ResponseStart(NamedTuple):
    """A response begins. `request`: the arguments of `create`, None where the file does not tell."""

    title: str
    request: Mapping[str, Any] | None = None


class Chunk(NamedTuple):
    """A chunk of a stream, and the text it was read from, which begins at byte `offset` of its body or file."""

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
    """The response is over. `note`: a sentence where it did not just end."""

    outcome: Outcome
    note: str = ""
    time_ns: int | None = None


class ReportedSpan(NamedTuple):
    """A response that was observed before, as a span of otel-llm. `events`: name, time, attributes."""

    title: str
    attributes: Mapping[str, Any]
    events: list[tuple[str, int, dict[str, Any]]]
    started_ns: int
    ended_ns: int
    error: str = ""


Entry = ResponseStart | Chunk | WholeResponse | ResponseEnd | ReportedSpan
