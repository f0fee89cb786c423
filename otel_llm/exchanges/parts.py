"""What a file of exchanges is read as: one part after the other, so that a file of any length takes little memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from otel_llm.choice import Outcome

MEGABYTE = 1024 * 1024


class UnreadableFileError(Exception):
    """A file, or what is left of it, cannot be read; the message is a sentence for its owner."""


class Begins(NamedTuple):
    """A response begins. `request`: the arguments of `create`, None where the file does not tell."""

    title: str
    request: Mapping[str, Any] | None = None


class Chunk(NamedTuple):
    """A chunk of a stream, and the text it was read from, which begins at byte `offset` of its body or file."""

    value: Any
    raw: str
    offset: int
    time_ns: int | None = None


class Whole(NamedTuple):
    """A response that was not streamed."""

    value: Any
    raw: str
    time_ns: int | None = None


class Ends(NamedTuple):
    """The response is over. `note`: a sentence where it did not just end."""

    outcome: Outcome
    note: str = ""
    time_ns: int | None = None


class Told(NamedTuple):
    """A response that somebody told already, as a span of ours. `events`: name, time, attributes."""

    title: str
    attributes: Mapping[str, Any]
    events: list[tuple[str, int, dict[str, Any]]]
    started_ns: int
    ended_ns: int
    error: str = ""


Part = Begins | Chunk | Whole | Ends | Told
