"""Google's SDK over HTTP: one span a request, and the same responses, types and exceptions as without us."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from otel_llm import GoogleGenAIInstrumentor
from otel_llm.demo.scripted_gemini import call_in_pieces, call_part, responses, text_part, text_pieces
from otel_llm.demo.scripted_server import ScriptedServer
from tests.helpers.gemini_callers import AsyncCaller, Caller
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., Caller]

THOUGHT, SAID, CALL = text_part("hm", thought=True), text_part("Sure."), call_part("add_task", {"title": "a"})
HEALTHY = responses([THOUGHT], [text_part("Su")], [text_part("re.")], [CALL], [text_part("")])


@pytest.fixture(params=[Caller, AsyncCaller], ids=["sync", "async"])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    made: list[Caller] = []

    def start(server: ScriptedServer, **options: Any) -> Caller:
        made.append(request.param(server, **options))
        return made[-1]

    yield start
    for caller in made:
        await caller.close_client()


@pytest.fixture
def instrument(seen: Seen) -> Iterator[Callable[..., Seen]]:
    instrumentor = GoogleGenAIInstrumentor()

    def start(**options: Any) -> Seen:
        instrumentor.instrument(**seen.providers, **options)
        return seen

    yield start
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


def dumped(answers: list[Any]) -> list[Any]:
    """Responses without the headers that tell the time."""
    return [(type(one), one.model_dump(exclude={"sdk_http_response"})) for one in answers]


async def test_a_stream(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    caller = connect(serve(*HEALTHY))
    bare = await caller.responses()
    seen = instrument()
    assert dumped(await caller.responses()) == dumped(bare)
    assert seen.outcome == "completed"
    names = [one.name.removeprefix("otel_llm.") for one in seen.events()]
    assert names[:4] == ["reasoning.started", "text.started", "tool_call.detected", "tool_call.name"]
    assert names[-2:] == ["tool_call.completed", "finish_reason"]
    (completed,) = seen.events("otel_llm.tool_call.completed")
    assert (completed.attributes or {})["gen_ai.tool.call.arguments"] == '{"title": "a"}'
    assert seen.anomalies == []
    assert seen.span.name == "generate_content tiny"
    assert seen.attributes["gen_ai.provider.name"] == "gcp.gemini"
    assert seen.attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert (seen.attributes["gen_ai.usage.input_tokens"], seen.attributes["gen_ai.usage.output_tokens"]) == (3, 4)
    seen.encode()


async def test_arguments_in_pieces(connect: Connect, serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    await connect(serve(*responses(*call_in_pieces("add_task", *text_pieces("$.title", "New York"))))).responses()
    deltas = seen.events("otel_llm.tool_call.arguments.delta")
    assert (
        "".join(str((one.attributes or {})["gen_ai.tool.call.arguments"]) for one in deltas) == '{"title":"New York"}'
    )
    assert seen.anomalies == []
