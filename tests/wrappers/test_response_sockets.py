"""Responses over a WebSocket: a span each, as for a stream, and a connection that nobody can tell from the SDK's."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import openai
import pytest

from otel_llm import OpenAIInstrumentor, intercept_llm_requests
from otel_llm.demo.scripted_responses import function_call, message, response_events
from tests.helpers.callers import RESPONSE_REQUEST
from tests.helpers.sdk_versions import HAS_SOCKETS, needs_response_sockets
from tests.helpers.seen import Seen

pytestmark = [
    needs_response_sockets,
    # Newer versions of `websockets` than the SDK asks for say so.
    pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning"),
]

if HAS_SOCKETS:
    from websockets.exceptions import ConnectionClosedError

    from tests.helpers.web_sockets import CLOSE, DROP, SocketServer

Listen = Callable[[Callable[[Mapping[str, Any]], Any]], SocketServer]
Event = dict[str, Any]

CALLING = response_events(message("Sure."), function_call("add_task", '{"title": "a"}'))
ANSWER = response_events(message("Done."))
NOT_TAKEN = {"type": "error", "status": 400, "error": {"code": "previous_response_not_found", "message": "no such id"}}
ENDS = {"response.completed", "response.incomplete", "response.failed", "error"}


@pytest.fixture
def listen() -> Iterator[Listen]:
    """`listen(answer)`: a server whose messages `answer` gives, until the test ends."""
    servers: list[SocketServer] = []

    def start(answer: Callable[[Mapping[str, Any]], Any]) -> SocketServer:
        servers.append(SocketServer(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__()


class Sync:
    """An application with a synchronous client, whose steps can be awaited like those of the other one."""

    kind: Any = openai.OpenAI

    def __init__(self, base_url: str, **options: Any) -> None:
        self.client: Any = self.kind(base_url=base_url, api_key="unused", max_retries=0, **options)

    async def open(self) -> Any:
        return self.client.responses.connect().enter()

    async def ask(self, connection: Any, **fields: Any) -> None:
        connection.response.create(**{**RESPONSE_REQUEST, **fields})

    async def receive(self, connection: Any) -> Any:
        return connection.recv()

    async def shut(self, connection: Any) -> None:
        connection.close()

    async def close(self) -> None:
        self.client.close()

    async def all_events(self, connection: Any, until: str | None = None) -> list[Any]:
        """The events up to the end of a response."""
        events: list[Any] = []
        while not events or events[-1].type not in ({until} if until else ENDS):
            events.append(await self.receive(connection))
        return events


class Async(Sync):
    kind = openai.AsyncOpenAI

    async def open(self) -> Any:
        return await self.client.responses.connect().enter()

    async def ask(self, connection: Any, **fields: Any) -> None:
        await connection.response.create(**{**RESPONSE_REQUEST, **fields})

    async def receive(self, connection: Any) -> Any:
        return await connection.recv()

    async def shut(self, connection: Any) -> None:
        await connection.close()

    async def close(self) -> None:
        await self.client.close()


@pytest.fixture(params=[Sync, Async], ids=["sync", "async"])
async def application(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Sync]]:
    applications: list[Sync] = []

    def of(server: SocketServer, **options: Any) -> Sync:
        applications.append(request.param(server.base_url, **options))
        return applications[-1]

    yield of
    for one in applications:
        await one.close()


Application = Callable[..., Sync]


def in_lane(events: list[Event], lane: str | None) -> list[Event]:
    return events if lane is None else [{**event, "stream_id": lane} for event in events]


def outcomes(seen: Seen) -> list[Any]:
    return [(span.attributes or {}).get("otel_llm.stream.outcome") for span in seen.spans]


# Healthy ------------------------------------------------------------------------------------------------------


async def test_a_span_for_each_response(instrumented: Seen, listen: Listen, application: Application) -> None:
    server = listen(lambda event: CALLING if isinstance(event["input"], str) else ANSWER)
    app = application(server)
    connection = await app.open()
    await app.ask(connection, input="add a task")
    events = await app.all_events(connection)
    assert [event.type for event in events] == [event["type"] for event in CALLING]
    result = {"type": "function_call_output", "call_id": "call_1", "output": "ok"}
    await app.ask(connection, input=[result], previous_response_id=events[-1].response.id)
    await app.all_events(connection)
    await app.shut(connection)
    first, second = instrumented.spans
    attributes = dict(first.attributes or {})
    assert first.name == "chat tiny"
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ("tool_calls",),
        "gen_ai.usage.output_tokens": 4,
        "openai.api.type": "responses",
        "otel_llm.stream.outcome": "completed",
        "otel_llm.stream.chunk_count": len(CALLING),
        "otel_llm.stream.anomaly_count": 0,
        "server.port": int(server.base_url.rpartition(":")[2].partition("/")[0]),
    }
    assert {name: attributes.get(name) for name in expected} == expected
    completed = [event for event in first.events if event.name == "otel_llm.tool_call.completed"]
    assert [(event.attributes or {})["gen_ai.tool.call.arguments"] for event in completed] == ['{"title": "a"}']
    assert [link.context.span_id for link in second.links] == [first.context.span_id]
    assert outcomes(instrumented) == ["completed", "completed"]


async def test_lanes_are_told_apart(instrumented: Seen, listen: Listen, application: Application) -> None:
    waiting: list[list[Event]] = []

    def answer(event: Mapping[str, Any]) -> list[Event]:
        waiting.append(in_lane(CALLING if event["input"] == "call" else ANSWER, event.get("stream_id")))
        if len(waiting) < 2:
            return []
        one, other = waiting
        return [event for pair in zip(one, other, strict=False) for event in pair] + one[len(other) :]

    app = application(listen(answer))
    connection = await app.open()
    await app.ask(connection, input="call", stream_id="a")
    await app.ask(connection, input="answer")
    for _ in range(len(CALLING) + len(ANSWER)):
        await app.receive(connection)
    await app.shut(connection)
    counts = {(span.attributes or {})["otel_llm.stream.chunk_count"] for span in instrumented.spans}
    assert counts == {len(CALLING), len(ANSWER)}
    assert outcomes(instrumented) == ["completed", "completed"]


async def test_raw_messages_and_messages_before_the_connection(instrumented: Seen, listen: Listen) -> None:
    app = Sync(listen(lambda _event: CALLING).base_url)
    manager = app.client.responses.connect()
    manager.send({"type": "response.create", **RESPONSE_REQUEST})
    with manager as connection:
        raw = [json.loads(connection.recv_bytes()) for _ in CALLING]
        assert raw == CALLING
        if hasattr(connection, "send_raw"):
            connection.send_raw(json.dumps({"type": "response.create", **RESPONSE_REQUEST}))
            await app.all_events(connection)
    await app.close()
    assert set(outcomes(instrumented)) == {"completed"}


async def test_the_lanes_of_a_session(instrumented: Seen, listen: Listen) -> None:
    sessions = pytest.importorskip("openai.lib.responses_websocket", reason="this SDK has no sessions")
    app = Sync(listen(lambda event: in_lane(CALLING, event.get("stream_id"))).base_url)
    with (
        app.client.responses.connect() as connection,
        sessions.ResponsesWebSocketSession(
            connection,
            limits=sessions.ResponsesWebSocketLimits(
                max_lanes=2,
                max_events_per_lane=64,
                max_events=64,
                max_bytes_per_lane=1_000_000,
                max_bytes=1_000_000,
                max_response_bytes=None,
            ),
        ) as session,
    ):
        lane = session.lane("one")
        lane.send({"type": "response.create", **RESPONSE_REQUEST})
        assert lane.get_final_response(timeout=20).output[1].name == "add_task"
    await app.close()
    assert outcomes(instrumented) == ["completed"]


# What may happen to a response --------------------------------------------------------------------------------


async def test_a_refused_request(instrumented: Seen, listen: Listen, application: Application) -> None:
    app = application(listen(lambda _event: [NOT_TAKEN]))
    connection = await app.open()
    await app.ask(connection)
    await app.all_events(connection)
    await app.shut(connection)
    assert instrumented.attributes["error.type"] == "previous_response_not_found"
    assert instrumented.span.status.description == "no such id"
    assert outcomes(instrumented) == ["error"]


async def test_a_request_that_is_refused_while_another_is_answered(instrumented: Seen, listen: Listen) -> None:
    parts = [CALLING[:4], [NOT_TAKEN, *CALLING[4:]]]
    app = Sync(listen(lambda _event: parts.pop(0)).base_url)
    connection = await app.open()
    await app.ask(connection)
    for _ in range(4):
        await app.receive(connection)
    await app.ask(connection)
    await app.all_events(connection, "response.completed")
    await app.shut(connection)
    await app.close()
    assert outcomes(instrumented) == ["error", "completed"]
    assert (instrumented.spans[1].attributes or {})["otel_llm.stream.chunk_count"] == len(CALLING)


@pytest.mark.parametrize("end", ["dropped", "closed by the server"])
async def test_a_connection_that_ends(end: str, instrumented: Seen, listen: Listen, application: Application) -> None:
    app = application(listen(lambda _event: [*CALLING[:8], DROP if end == "dropped" else CLOSE]))
    connection = await app.open()
    await app.ask(connection)
    with pytest.raises(ConnectionClosedError):
        await app.all_events(connection)
    await app.shut(connection)
    assert outcomes(instrumented) == ["error"]
    assert instrumented.attributes["error.type"].endswith("ConnectionClosedError")


async def test_the_application_closes(instrumented: Seen, listen: Listen, application: Application) -> None:
    app = application(listen(lambda _event: CALLING[:8]))
    connection = await app.open()
    await app.ask(connection)
    await app.receive(connection)
    await app.shut(connection)
    assert outcomes(instrumented) == ["closed"]


async def test_a_cancelled_read_loses_nothing(instrumented: Seen, listen: Listen) -> None:
    app = Async(listen(lambda _event: CALLING).base_url)
    connection = await app.open()
    reading = asyncio.ensure_future(app.receive(connection))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await app.ask(connection)
    assert len(await app.all_events(connection)) == len(CALLING)
    await app.shut(connection)
    await app.close()
    assert outcomes(instrumented) == ["completed"]


async def test_a_connection_that_is_forgotten(instrumented: Seen, listen: Listen) -> None:
    app = Sync(listen(lambda _event: CALLING[:8]).base_url)
    connection: Any = await app.open()
    socket = connection._connection.__wrapped__
    await app.ask(connection)
    await app.receive(connection)
    del connection
    gc.collect()
    assert outcomes(instrumented) == ["abandoned"]
    socket.close()
    await app.close()


async def test_a_response_that_is_steered(instrumented: Seen, listen: Listen, application: Application) -> None:
    steered = [
        *response_events(message("Su"), status="incomplete", incomplete_details={"reason": "steered"}),
        {"type": "response.steer.accepted", "previous_response_id": "resp_scripted"},
        *CALLING,
    ]
    app = application(listen(lambda _event: steered))
    connection = await app.open()
    await app.ask(connection)
    await app.all_events(connection)
    await app.all_events(connection)
    await app.shut(connection)
    assert outcomes(instrumented) == ["completed", "completed"]
    first, second = instrumented.spans
    assert (first.attributes or {})["gen_ai.response.finish_reasons"] == ("steered",)
    assert (second.attributes or {})["otel_llm.stream.tool_call_count"] == 1
    assert (second.attributes or {})["gen_ai.request.model"] == "tiny"


async def test_a_request_that_generates_nothing(instrumented: Seen, listen: Listen) -> None:
    app = Sync(listen(lambda _event: response_events()).base_url)
    connection = await app.open()
    connection.response.create(**RESPONSE_REQUEST, generate=False)
    await app.all_events(connection)
    await app.shut(connection)
    await app.close()
    assert instrumented.anomalies == []


# Nobody can tell ----------------------------------------------------------------------------------------------

HUGE = 2**70
HOSTILE: list[Any] = [
    "no JSON",
    b"\x00\xff",
    "[1]",
    "null",
    '"text"',
    '{"type": null}',
    '{"type": 5}',
    '{"type": "response.created", "response": null}',
    '{"type": "response.created", "response": {"id": 5, "model": []}, "stream_id": {"a": 1}}',
    '{"type": "response.unheard_of", "delta": "\\ud800"}',
    {"type": "response.output_item.added", "output_index": HUGE, "item": {"type": "function_call"}},
    {"type": "response.function_call_arguments.delta", "output_index": -HUGE, "delta": {"a": [None]}},
    '{"type": "response.output_text.delta", "delta": "\\udfff", "output_index": "x"}',
    {"type": "response.output_item.done", "item": None},
    {"type": "response.completed", "response": {"output": [None, 5, {"type": "function_call", "arguments": 5}]}},
    {"type": "error"},
    {"type": "error", "error": [], "status": "x"},
    *CALLING,
]


async def taken(app: Sync, count: int) -> list[Any]:
    connection = await app.open()
    await app.ask(connection)
    taken: list[Any] = []
    for _ in range(count):
        try:
            event = await app.receive(connection)
        except Exception as error:
            taken.append((type(error), str(error)))
        else:
            taken.append((type(event), event.to_dict(warnings=False) if hasattr(event, "to_dict") else event))
    await app.shut(connection)
    return taken


async def test_hostile_messages(instrument: Callable[..., Seen], listen: Listen, application: Application) -> None:
    server = listen(lambda _event: HOSTILE)
    bare = await taken(application(server), len(HOSTILE))
    seen = instrument()
    assert await taken(application(server), len(HOSTILE)) == bare
    seen.encode()
    assert seen.spans


async def test_one_span_where_two_observe(instrumented: Seen, listen: Listen, application: Application) -> None:
    app = application(listen(lambda _event: CALLING))
    client_only = Seen()
    intercept_llm_requests(app.client, **client_only.providers)
    connection = await app.open()
    await app.ask(connection)
    await app.all_events(connection)
    await app.shut(connection)
    assert len(instrumented.spans) + len(client_only.spans) == 1


async def test_switched_off_while_it_is_connected(
    instrument: Callable[..., Seen], listen: Listen, application: Application
) -> None:
    seen = instrument()
    app = application(listen(lambda _event: CALLING))
    connection = await app.open()
    await app.ask(connection)
    OpenAIInstrumentor().uninstrument()
    await app.all_events(connection)
    await app.ask(connection)
    await app.all_events(connection)
    await app.shut(connection)
    assert outcomes(seen) == ["completed"]


async def test_the_text_stays_as_it_is(
    instrument: Callable[..., Seen], listen: Listen, application: Application
) -> None:
    seen = instrument(tool_call_tags="openai")
    text = '<tool_call>{"name": "add_task", "arguments": {"title": "a"}}</tool_call>'
    app = application(listen(lambda _event: response_events(message(text))))
    connection = await app.open()
    await app.ask(connection)
    events = await app.all_events(connection)
    await app.shut(connection)
    assert events[-1].response.output_text == text
    assert seen.anomalies == ["text_leak"]


async def test_where_the_sockets_are_elsewhere(instrumented: Seen, listen: Listen, application: Application) -> None:
    server = listen(lambda _event: CALLING)
    app = application(server)
    app.client.websocket_base_url = server.base_url.replace("http://127.0.0.1", "ws://localhost")
    connection = await app.open()
    await app.ask(connection)
    await app.all_events(connection)
    await app.shut(connection)
    assert instrumented.attributes["server.address"] == "localhost"
