"""Stand-ins for the ids of calls, for APIs that may leave ids out.  Pure.

A result then belongs to its call by the tool's name and the order of the calls. The request that made the call and the
one that brings its result come to the same stand-in, so everything that matches by ids works with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from otel_llm.protocol.tool_call import ToolCall


class ImpliedId(str):
    """The name of a call's tool, and the call's place among those of that name in one turn. It is never sent."""

    __slots__ = ()


def implied_id(name: str, place: int) -> ImpliedId:
    """The stand-in for the id of a turn's call of `name`, of which `place` others came before it."""
    return ImpliedId(f"{name}#{place + 1}")


def real_id(call_id: str | None) -> str | None:
    """The id, None if it is only implied."""
    return None if isinstance(call_id, ImpliedId) else call_id


def with_ids(calls: Iterable[ToolCall]) -> Iterator[tuple[ToolCall, str]]:
    """The calls of one choice that have a name, each with its id or its implied one."""
    places: dict[str, int] = {}
    for call in calls:
        if call.id is not None:
            yield call, call.id
        elif call.name is not None:
            place = places[call.name] = places.get(call.name, -1) + 1
            yield call, implied_id(call.name, place)
