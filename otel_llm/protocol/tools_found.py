"""The tools that conversations declared, for requests that go on from a response and do not repeat them.  Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from otel_llm.protocol.item_kinds import TOOL_SEARCH
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest, Tool

_MOST_RESPONSES = 256
_LONGEST_ID = 512


class _Known(NamedTuple):
    """Tools of a conversation. `are_all`: nothing of it is unknown."""

    tools: Mapping[str, Tool]
    are_all: bool


class FoundTools:
    """By response id, what items of the conversation up to there declared. It is bounded."""

    __slots__ = ("_up_to",)

    def __init__(self) -> None:
        self._up_to: OrderedDict[str, _Known] = OrderedDict()

    def remember(self, request: ChatRequest, recording: Recording) -> None:
        """Keep what the request, and the response to it, declared."""
        response_id = recording.response_id
        if response_id is None or len(response_id) > _LONGEST_ID:
            return
        if request.item_tools or request.leaves_searches:
            self._up_to[response_id] = _Known(_tools_so_far(request, recording), not request.has_unseen_tools)
            if len(self._up_to) > _MOST_RESPONSES:
                self._up_to.popitem(last=False)

    def complete(self, request: ChatRequest) -> ChatRequest:
        """The request, with the tools of the part of its conversation that the server has."""
        previous = None if request.turn is None else request.turn.previous_response
        known = None if previous is None else self._up_to.get(previous)
        return request if known is None else request.with_earlier_tools(known.tools, are_all=known.are_all)


def _tools_so_far(request: ChatRequest, recording: Recording) -> Mapping[str, Tool]:
    """Those that items of the request declare, and those that the server found for the model in its response."""
    names = request.tool_names
    if names is None or recording.declared is None:
        return request.item_tools
    found = {name: Tool(name) for name in recording.declared - names - {TOOL_SEARCH}}
    return {**found, **request.item_tools}
