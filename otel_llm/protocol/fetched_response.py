"""A response that was made before and is fetched by its id: what is asked for, and a stream that begins in its middle.
Pure.

Shapes: the OpenAI API reference, "Get a model response" and "Cancel a response". The readings:

- A fetch declares no tools, so nothing is judged by them.
- A stream that resumes behind an event has the rest of some items: deltas whose beginning an earlier stream brought.
  Such an item is taken whole, from the event that it is done or from the end of the response.
- That the response failed is no failure of the fetch: it is the finish reason `error`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from otel_llm.protocol.choice import Notice
from otel_llm.protocol.fields import field, given, index_of, text_of
from otel_llm.protocol.made_chunks import EMPTY_CHUNK
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest, Fetch
from otel_llm.protocol.responses_api import ResponseEvents

_MOST_ITEMS = 1024


def fetch_arguments(
    _method: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The arguments of `retrieve` or `cancel` by their names, None without the id of a response: the SDK refuses it."""
    response_id = text_of(args[0] if args else kwargs.get("response_id"))
    return None if response_id is None else {**kwargs, "response_id": response_id}


def read_fetch(kwargs: Mapping[str, Any]) -> ChatRequest:
    """Read what `fetch_arguments` returned."""
    extra = given(kwargs.get("extra_query"))
    query = {**kwargs, **extra} if isinstance(extra, Mapping) else kwargs
    stream = given(query.get("stream"))
    return ChatRequest(
        stream=stream is True or stream == "true",
        api="responses",
        fetch=Fetch(kwargs["response_id"], index_of(given(query.get("starting_after")))),
    )


class ResumedEvents(ResponseEvents):
    """Reads a stream that begins behind an event."""

    def __init__(self, recording: Recording, request: ChatRequest | None = None) -> None:
        super().__init__(recording, request)
        # The indexes of the items whose beginning came.
        self._begun_items: set[int] = set()

    def feed(self, event: Any, wait_started_ns: int, received_ns: int) -> list[Notice] | None:
        index = index_of(field(event, "output_index"))
        if index is not None and index not in self._begun_items:
            kind = text_of(field(event, "type"))
            if kind == "response.output_item.added" and len(self._begun_items) < _MOST_ITEMS:
                self._begun_items.add(index)
            elif kind != "response.output_item.done":
                return self._feed(EMPTY_CHUNK, wait_started_ns, received_ns)
        return super().feed(event, wait_started_ns, received_ns)
