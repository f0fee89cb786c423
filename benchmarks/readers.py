"""Times the readers of all SDKs' streams in this process, and writes what a delta costs each as JSON.

The deltas are objects of the SDKs, made beforehand, and only the reader and the recording behind it run. So the figures
of two SDKs tell what one API costs more to read than another.
"""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter, perf_counter_ns
from typing import Any, Literal, NamedTuple, TypedDict

from benchmarks import workload
from otel_llm.protocol.dialects import reader_of
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import Api

Kind = Literal["text", "arguments"]
OPENAI = "openai"
"""The SDK that the others are compared with."""

# So few that the processor's caches hold them, as they hold an event that has just been parsed.
_DISTINCT = 10
# Short, so that some rounds run through without another process in between.
_LENGTH = 200
_TOOL = "add_task"
_BEGINS = '{"title":"'


class Stream(NamedTuple):
    """The events before the deltas, and a function that makes the delta with a text."""

    api: Api
    opening: Sequence[Any]
    delta: Callable[[str], Any]


def _openai() -> Mapping[Kind, Stream]:
    return {
        "text": Stream(
            "chat", [workload.delta_chunk("text", "Hello")], lambda text: workload.delta_chunk("text", text)
        ),
        "arguments": Stream("chat", workload.beginning("tool"), lambda text: workload.delta_chunk("tool", text)),
    }


def _anthropic() -> Mapping[Kind, Stream]:
    from anthropic.types import RawMessageStreamEvent
    from pydantic import TypeAdapter

    adapter: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)

    def begins(block: dict[str, Any]) -> list[Any]:
        message: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": workload.MODEL}
        usage = {"input_tokens": 50, "output_tokens": 1}
        message |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        start = {"type": "content_block_start", "index": 0, "content_block": block}
        return [adapter.validate_python({"type": "message_start", "message": message}), adapter.validate_python(start)]

    def delta(kind: str, field: str) -> Callable[[str], Any]:
        return lambda text: adapter.validate_python(
            {"type": "content_block_delta", "index": 0, "delta": {"type": kind, field: text}}
        )

    call = {"type": "tool_use", "id": "toolu_1", "name": _TOOL, "input": {}}
    return {
        "text": Stream("messages", begins({"type": "text", "text": ""}), delta("text_delta", "text")),
        "arguments": Stream("messages", begins(call), delta("input_json_delta", "partial_json")),
    }


def _google() -> Mapping[Kind, Stream]:
    from google.genai.types import GenerateContentResponse

    def response(part: dict[str, Any]) -> Any:
        # The API reports the usage with each response.
        usage = {"prompt_token_count": 50, "candidates_token_count": 5}
        candidate = {"content": {"role": "model", "parts": [part]}}
        head = {"response_id": "r", "model_version": workload.MODEL}
        return GenerateContentResponse.model_validate({**head, "candidates": [candidate], "usage_metadata": usage})

    def piece(text: str, name: str | None = None) -> Any:
        partial = {"json_path": "$.title", "string_value": text, "will_continue": True}
        return response({"function_call": {"name": name, "will_continue": True, "partial_args": [partial]}})

    return {
        "text": Stream("gemini", [response({"text": "Hello"})], lambda text: response({"text": text})),
        "arguments": Stream("gemini", [piece("", _TOOL)], piece),
    }


def _bedrock() -> Mapping[Kind, Stream]:
    # botocore's events are plain mappings.
    import botocore  # noqa: F401

    def delta(of: Callable[[str], dict[str, Any]]) -> Callable[[str], Any]:
        return lambda text: {"contentBlockDelta": {"contentBlockIndex": 0, "delta": of(text)}}

    start = {"messageStart": {"role": "assistant"}}
    call = {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "tooluse_1", "name": _TOOL}}}
    return {
        "text": Stream("converse", [start], delta(lambda text: {"text": text})),
        "arguments": Stream(
            "converse", [start, {"contentBlockStart": call}], delta(lambda text: {"toolUse": {"input": text}})
        ),
    }


def _mistral() -> Mapping[Kind, Stream]:
    from mistralai.client.models import CompletionEvent

    return _in_chunks("mistral", lambda chunk: CompletionEvent.model_validate({"data": chunk}))


def _huggingface() -> Mapping[Kind, Stream]:
    from huggingface_hub import ChatCompletionStreamOutput

    return _in_chunks("huggingface", ChatCompletionStreamOutput.parse_obj_as_instance)


def _in_chunks(api: Api, parse: Callable[[dict[str, Any]], Any]) -> Mapping[Kind, Stream]:
    """Streams of chunks that have OpenAI's shape on the wire."""

    def chunk(delta: dict[str, Any]) -> Any:
        choice = {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": None}
        head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": workload.MODEL}
        return parse({**head, "system_fingerprint": "fp", "choices": [choice]})

    def call(arguments: str, call_id: str | None = None, name: str | None = None) -> Any:
        function = {"name": name or "", "arguments": arguments}
        begun = {"index": 0, "type": "function", "function": function}
        return chunk({"content": "", "tool_calls": [begun if call_id is None else {**begun, "id": call_id}]})

    return {
        "text": Stream(api, [chunk({"content": "Hello"})], lambda text: chunk({"content": text})),
        "arguments": Stream(api, [call(_BEGINS, "call12345", _TOOL)], call),
    }


def _ollama() -> Mapping[Kind, Stream]:
    from ollama import ChatResponse

    def part(text: str) -> Any:
        message = {"role": "assistant", "content": text}
        return ChatResponse.model_validate({"model": workload.MODEL, "done": False, "message": message})

    # Its calls come whole.
    return {"text": Stream("ollama", [part("Hello")], part)}


class Readings(TypedDict):
    """`times`: nanoseconds a delta, by SDK and kind. `left_out`: the SDKs that are not installed."""

    times: dict[str, dict[Kind, float]]
    left_out: list[str]


SDKS: Mapping[str, Callable[[], Mapping[Kind, Stream]]] = {
    OPENAI: _openai,
    "anthropic": _anthropic,
    "google-genai": _google,
    "boto3": _bedrock,
    "mistralai": _mistral,
    "ollama": _ollama,
    "huggingface_hub": _huggingface,
}


def least(rounds: Sequence[Readings]) -> Readings:
    """The lowest times of several processes."""
    first = rounds[0]
    for other in rounds[1:]:
        for sdk, times in other["times"].items():
            known = first["times"][sdk]
            for kind, taken in times.items():
                known[kind] = min(taken, known[kind])
    return first


def _time(stream: Stream, deltas: Sequence[Any], kind: Kind) -> float:
    """Nanoseconds a delta."""
    recording = Recording()
    feed = reader_of(stream.api, recording).feed
    for event in stream.opening:
        feed(event, 0, 1)
    began = perf_counter_ns()
    for event in deltas:
        feed(event, 1, 2)
    taken = perf_counter_ns() - began
    recording.end("completed", 3)
    (choice,) = recording.choices
    read = choice.text.length if kind == "text" else choice.calls[0].length
    if read < len(deltas):
        raise RuntimeError(f"{stream.api} read {read} characters of {len(deltas)} deltas of {kind}")
    return taken / len(deltas)


def time_readers(seconds: float) -> Readings:
    """The lowest time of each SDK and kind."""
    prepared: dict[tuple[str, Kind], tuple[Stream, list[Any]]] = {}
    left_out = []
    for sdk, make in SDKS.items():
        try:
            streams = make()
        except ImportError:
            left_out.append(sdk)
            continue
        for kind, stream in streams.items():
            distinct = [stream.delta(f"word{number} ") for number in range(_DISTINCT)]
            prepared[sdk, kind] = stream, distinct * (_LENGTH // _DISTINCT)
    # As in `measure`: exclude what was made beforehand from garbage collection.
    gc.collect()
    gc.freeze()
    best: dict[str, dict[Kind, float]] = {}
    until = perf_counter() + seconds
    rounds = 0
    # Take turns, as in `measure`.
    while rounds < 3 or perf_counter() < until:
        rounds += 1
        for (sdk, kind), (stream, deltas) in prepared.items():
            known = best.setdefault(sdk, {})
            known[kind] = min(_time(stream, deltas, kind), known.get(kind, float("inf")))
    return {"times": best, "left_out": left_out}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    print(json.dumps(time_readers(parser.parse_args().seconds)))


if __name__ == "__main__":
    main()
