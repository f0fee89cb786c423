"""What a check of the battery is, and what it may find.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from otel_llm.probe.answers import Answer

Kind = Literal["fault", "model", "unjudged", "remark"]


class Finding(NamedTuple):
    """`kind`: a `fault` of the server, probably one of the `model`, why something is `unjudged`, or just a `remark`."""

    kind: Kind
    text: str


Expectation = Callable[["Answer"], Iterator[Finding]]


@dataclass(frozen=True)
class Check:
    """One request, and what is expected of the response. `allowed`: anomalies that the request provokes.

    `compares_thoughts`: whether thoughts must come streamed and not streamed, or neither way.
    """

    name: str
    title: str
    request: Mapping[str, Any]
    expects: tuple[Expectation, ...] = ()
    allowed: frozenset[str] = field(default_factory=frozenset)
    way: Literal["both", "concurrent", "cancel", "turns"] = "both"
    compares_thoughts: bool = False
