"""Scenes of an agent: a scripted server, the real OpenAI SDK, and the real exporter, which sends spans to the view."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import openai
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otel_llm import intercept_llm_requests
from otel_llm.demo.scripted_server import (
    DONE,
    Answer,
    Drop,
    ScriptedServer,
    Sleep,
    chunk,
    error_event,
    text,
    tool_call_chunks,
    tool_call_delta,
    usage_chunk,
)

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": what,
            "parameters": {"type": "object", "properties": {one: {"type": "string"} for one in of}, "required": of},
        },
    }
    for name, what, of in (
        ("search_flights", "Flights of one day.", ["origin", "destination", "date"]),
        ("get_weather", "The weather of a day.", ["city"]),
        ("book_flight", "Book a seat.", ["flight", "seat"]),
        ("list_tasks", "All tasks.", []),
    )
]
FLIGHTS = json.dumps({"origin": "ZRH", "destination": "LIS", "date": "2026-12-04", "cabin": "economy", "max_stops": 1})
WEATHER = json.dumps({"city": "Lisbon", "date": "2026-12-04", "units": "metric"})
BOOKING = json.dumps({"flight": "TP939", "seat": "14A", "passenger": {"name": "Ada Lovelace", "meal": "vegetarian"}})
LEAKED = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Lisbon"}}\n</tool_call>'


def _paced(seconds: float, steps: Sequence[Any]) -> list[Any]:
    return [part for step in steps for part in (Sleep(seconds), step)]


def _words(said: str) -> list[Any]:
    return [chunk(text(f"{word} ")) for word in said.split()]


def _interleaved(*calls: Sequence[Any]) -> list[Any]:
    queues = [list(call) for call in calls]
    mixed = []
    while any(queues):
        for queue in queues:
            mixed += queue[:2]
            del queue[:2]
    return mixed


def _end(reason: str = "tool_calls", tokens: tuple[int, int] = (412, 57)) -> list[Any]:
    return [chunk(finish_reason=reason), usage_chunk(*tokens), DONE]


def _searches() -> list[Any]:
    both = _interleaved(
        tool_call_chunks("search_flights", FLIGHTS, id="call_7Hq2"),
        tool_call_chunks("get_weather", WEATHER, id="call_9Kd4", index=1),
    )
    return [
        Sleep(0.15),
        *_paced(0.006, _words("Let me look for flights and for the weather.")),
        *_paced(0.009, both[:22]),
        Sleep(0.42),
        *_paced(0.009, both[22:]),
        *_end(),
    ]


_BROKEN = '{"origin": "ZRH", "destination": LIS, "date": "2026-12-04"}'
_LONG = json.dumps({"flight": "TP939", "seat": "14A", "notes": "as discussed, " * 60})
_STALLING = tool_call_chunks("get_weather", WEATHER, id="call_s")
_THOUGHTS = [chunk({"reasoning_content": word}) for word in ("Which ", "tool ", "fits ", "here? ")]
_AT_ONE_INDEX = [
    chunk(tool_call_delta(index=0, id=f"call_{city}", name="get_weather", arguments=json.dumps({"city": city})))
    for city in ("Lisbon", "Porto")
]


def _calls(name: str, arguments: str, seconds: float = 0.008, tokens: tuple[int, int] = (412, 57)) -> list[Any]:
    return [Sleep(0.08), *_paced(seconds, tool_call_chunks(name, arguments, id="call_b81")), *_end(tokens=tokens)]


SCENES: Mapping[str, Sequence[Any]] = {
    "searches": _searches(),
    "books": _calls("book_flight", BOOKING, tokens=(934, 48)),
    "says": [
        Sleep(0.06),
        *_paced(0.006, _words("Booked: TP939, seat 14A. It will be sunny, 17 degrees.")),
        *_end("stop", (1012, 21)),
    ],
    "thinks": [*_paced(0.005, _THOUGHTS), *_calls("list_tasks", "{}", tokens=(120, 33))],
    "broken": _calls("search_flights", _BROKEN, 0.01, (403, 31)),
    "truncated": [*_paced(0.006, tool_call_chunks("book_flight", BOOKING[:61])), *_end("length", (903, 24))],
    "same index": [*_paced(0.02, _AT_ONE_INDEX), *_end("stop")],
    "nobody's tool": _calls("send_email", '{"to": "ada@example.org"}', 0.004),
    "leaks": [
        *_paced(0.004, [chunk(text(LEAKED[at : at + 6])) for at in range(0, len(LEAKED), 6)]),
        *_end("stop", (377, 29)),
    ],
    "stalls": [*_paced(0.01, _STALLING[:6]), Sleep(1.3), *_paced(0.01, _STALLING[6:]), *_end()],
    "drops": [*_paced(0.01, _STALLING[:8]), Drop()],
    "fails": [*_paced(0.01, _words("One moment")), error_event("the engine ran out of memory")],
    "overloaded": [Answer(error_event("too many requests", code="rate_limit"), status=429)],
    "writes long": [*_paced(0.0008, tool_call_chunks("book_flight", _LONG, size=3)), *_end(tokens=(800, 410))],
}


class Agent:
    """An application on the OpenAI SDK that plays scenes and sends its spans to the view at `url`."""

    def __init__(self, url: str, model: str = "qwen3-coder-30b", service: str = "travel-agent", **options: Any) -> None:
        self._model = model
        self.provider = TracerProvider(resource=Resource({"service.name": service}), span_limits=SpanLimits())
        self.provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces")))
        self.tracer = self.provider.get_tracer("agent")
        self._options = {"stall_seconds": 1.0, "log": False, **options}

    def plays(self, scene: str, **kwargs: Any) -> None:
        """One request, read to its end, which may be an error."""
        with ScriptedServer(SCENES[scene]) as server:
            self.asks(server.base_url, **kwargs)

    def asks(self, base_url: str, **kwargs: Any) -> None:
        """One request to a server."""
        with openai.OpenAI(api_key="unused", base_url=base_url, max_retries=0, timeout=30) as client:
            intercept_llm_requests(client, tracer_provider=self.provider, **self._options)
            asked = {
                "model": self._model,
                "messages": [{"role": "user", "content": "Fly me to Lisbon on December 4."}],
                "tools": TOOLS,
                "temperature": 0.2,
                "max_tokens": 512,
                "stream_options": {"include_usage": True},
                **kwargs,
            }
            with contextlib.suppress(openai.OpenAIError):
                for _ in client.chat.completions.create(stream=True, **asked):
                    pass

    @contextlib.contextmanager
    def turns(self) -> Iterator[None]:
        """One trace for the requests of a block."""
        with self.tracer.start_as_current_span("agent run"):
            yield

    def close(self) -> None:
        self.provider.shutdown()
