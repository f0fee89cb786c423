"""Streams made by hand: dicts like the JSON of a server, constructed as the OpenAI SDK does, recorded and judged."""

# ruff: noqa: A002 - `id` and `input` are what the protocol calls them
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from openai._models import construct_type
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from otel_llm.demo.scripted_server import ABSENT, completion, tool_call_delta
from otel_llm.demo.scripted_server import chunk as chunk_dict
from otel_llm.diagnosis.case import Anomaly, Case
from otel_llm.diagnosis.judges import diagnose, diagnose_request
from otel_llm.protocol.choice import Outcome
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest, read_request

Chunk = dict[str, Any]
Stream = Sequence[Chunk]

STEP_NS = 1_000_000
"""Time between two chunks of a recorded stream."""


# The arguments of `create` that are read.
REQUEST_FIELDS = (
    "model",
    "stream",
    "tools",
    "functions",
    "tool_choice",
    "function_call",
    "parallel_tool_calls",
    "extra_body",
)


def tool(name: str, *required: str, **properties: Any) -> dict[str, Any]:
    """A declared function. Required parameters are strings unless `properties` say otherwise."""
    known = {title: {"type": "string"} for title in required} | properties
    parameters = {"type": "object", "properties": known, "required": list(required)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def custom_tool(name: str) -> dict[str, Any]:
    return {"type": "custom", "custom": {"name": name}}


# -- what a server sends --


def call(
    index: Any = 0, id: Any = ABSENT, name: Any = ABSENT, arguments: Any = ABSENT, **fields: Any
) -> dict[str, Any]:
    """One tool-call delta."""
    made: dict[str, Any] = tool_call_delta(index=index, id=id, name=name, arguments=arguments)["tool_calls"][0]
    return made | fields


def custom_call(index: Any = 0, id: Any = ABSENT, name: Any = ABSENT, input: Any = ABSENT) -> dict[str, Any]:
    """One delta of a call to a custom tool."""
    body = {key: value for key, value in (("name", name), ("input", input)) if value is not ABSENT}
    fields = {"index": index, "id": id, "type": "custom", "custom": body}
    return {key: value for key, value in fields.items() if value is not ABSENT}


def calls(*deltas: Any, choice: Any = 0, finish: str | None = None) -> Chunk:
    """A chunk with tool-call deltas."""
    return chunk_dict({"tool_calls": list(deltas)}, finish, choice)


def whole_call(
    name: str = "list_tasks",
    arguments: str = "{}",
    *,
    id: Any = "call_1",
    index: Any = 0,
    choice: int = 0,
    size: int = 4,
) -> list[Chunk]:
    """A call as servers stream it: first its id and name, then the arguments in pieces."""
    pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    first = calls(call(index, id, name, ""), choice=choice)
    return [first, *(calls(call(index, arguments=piece), choice=choice) for piece in pieces)]


def legacy(name: Any = ABSENT, arguments: Any = ABSENT, *, choice: int = 0) -> Chunk:
    """A chunk with a `function_call`, the predecessor of `tool_calls`."""
    body = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not ABSENT}
    return chunk_dict({"function_call": body}, None, choice)


def says(content: Any, *, choice: Any = 0) -> Chunk:
    return chunk_dict({"content": content}, None, choice)


def ends(reason: Any = "tool_calls", *, choice: Any = 0) -> Chunk:
    """The chunk that carries a finish reason."""
    return chunk_dict({}, reason, choice)


# -- recorded and judged --


def sdk_chunk(chunk: Any) -> Any:
    """A chunk as the OpenAI SDK constructs it from JSON: without validation."""
    return construct_type(type_=ChatCompletionChunk, value=chunk)


def sdk_completion(message: Mapping[str, Any], finish_reason: Any = "stop", **fields: Any) -> Any:
    return construct_type(type_=ChatCompletion, value=completion(message, finish_reason, **fields))


def feed(recording: Recording, chunks: Iterable[Any], *, waits_ns: Mapping[int, int] | None = None) -> Recording:
    """Feed chunks, STEP_NS apart. `waits_ns`: longer waits before some of them, by position."""
    now = 0
    for position, chunk in enumerate(chunks):
        asked, now = now, now + (waits_ns or {}).get(position, STEP_NS)
        recording.feed(sdk_chunk(chunk) if isinstance(chunk, dict) else chunk, asked, now)
    return recording


def record(
    chunks: Iterable[Any],
    request: ChatRequest | None = None,
    outcome: Outcome = "completed",
    *,
    waits_ns: Mapping[int, int] | None = None,
    **options: Any,
) -> Recording:
    """The recording of a stream that is over."""
    declared = None if request is None else request.tool_names
    recording = feed(Recording(declared=declared, **options), chunks, waits_ns=waits_ns)
    recording.end(outcome, (recording.chunk_count + 1) * STEP_NS)
    return recording


def anomalies_of(
    chunks: Iterable[Any],
    asked: Mapping[str, Any] | None = None,
    outcome: Outcome = "completed",
    *,
    provider: str | None = None,
    **options: Any,
) -> list[Anomaly]:
    """The anomalies of a stream. `asked`: the keyword arguments of `create`, None if they are not known."""
    request = None if asked is None else read_request(asked)
    of_request = [] if request is None else diagnose_request(request, provider)
    return [*of_request, *diagnose(Case(record(chunks, request, outcome, **options), request))]


def types_of(anomalies: Iterable[Anomaly]) -> list[str]:
    """The types of the anomalies, sorted, with repetitions."""
    return sorted(anomaly.type for anomaly in anomalies)
