"""The parts of an explanation, and the chunks that its sample stream is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple


class Seen(NamedTuple):
    """A public report of the anomaly: `where` is a repository and the number of an issue or pull request."""

    where: str
    what: str


class Sample(NamedTuple):
    """A stream: its chunks, the request parameters besides `tools`, and waits (s) before chunks, by their position.

    `provider`: who sends it, as in `gen_ai.provider.name`, if that matters.
    `raw`: the lines in which a server sends it, if they are the fault; `CHUNK` stands for the next chunk.
    """

    chunks: tuple[Mapping[str, Any], ...]
    asked: Mapping[str, Any] = {}
    waits: Mapping[int, float] = {}
    raw: tuple[str, ...] = ()
    provider: str | None = None

    def lines(self) -> list[str]:
        """The stream as a server sends it, one line per event."""
        lines = []
        if self.raw:
            chunks = iter(self.chunks)
            return [line.replace("CHUNK", json.dumps(next(chunks))) if "CHUNK" in line else line for line in self.raw]
        for position, chunk in enumerate(self.chunks):
            if position in self.waits:
                lines.append(f": {self.waits[position]:g} seconds without data")
            lines.append("data: " + json.dumps(chunk))
        return [*lines, "data: [DONE]"]


class Explanation(NamedTuple):
    """One type of anomaly."""

    type: str
    group: str
    means: str
    seen: tuple[Seen, ...]
    do: str
    sample: Sample


TOOLS: tuple[Mapping[str, Any], ...] = tuple(
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {title: {"type": "string"} for title in required},
                "required": required,
            },
        },
    }
    for name, required in (("add_task", ["title"]), ("list_tasks", []))
)


TITLE = '{"title": "buy milk"}'


def chunk(delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def delta(index: Any = 0, call_id: Any = None, name: Any = None, arguments: Any = None) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    fields = {"index": index, "id": call_id, "function": function or None}
    return {key: value for key, value in fields.items() if value is not None}


def calls(*deltas: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return chunk({"tool_calls": list(deltas)}, finish_reason)


def ends(finish_reason: str = "tool_calls") -> dict[str, Any]:
    return chunk({}, finish_reason)


def one_call(arguments: Any, name: str = "add_task", finish_reason: str = "tool_calls", **asked: Any) -> Sample:
    return Sample((calls(delta(0, "call_1", name, arguments)), ends(finish_reason)), asked)


HEAD = calls(delta(0, "call_1", "add_task", ""))
WHOLE = calls(delta(0, "call_1", "add_task", TITLE))
OTHER = delta(1, "call_2", "list_tasks", "{}")
