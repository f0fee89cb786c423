"""Scenarios: the Responses API."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from otel_llm.demo.scripted_responses import (
    RESPONSE_ID,
    custom_tool_call,
    function_call,
    message,
    response,
    response_events,
)
from otel_llm.demo.scripted_server import (
    Answer,
)
from tests.helpers.breaking.calling import EVENTS, ITEMS
from tests.helpers.breaking.conversations import CAPTURING
from tests.helpers.breaking.world import Run, Scenario
from tests.helpers.callers import RESPONSE_REQUEST, RESPONSE_TOOL
from tests.helpers.sdk_versions import HAS_RESPONSES, HAS_SOCKETS


def responses(run: Run) -> None:
    run.answer(EVENTS, [Answer(response(*ITEMS))])
    run.see_all(run.client.responses.create(**RESPONSE_REQUEST, stream=True))
    run.see(run.client.responses.create(**RESPONSE_REQUEST))


def responses_async(run: Run) -> None:
    async def play() -> None:
        await run.see_all_async(await run.async_client.responses.create(**RESPONSE_REQUEST, stream=True))
        run.see(await run.async_client.responses.create(**RESPONSE_REQUEST))

    run.answer(EVENTS, [Answer(response(*ITEMS))])
    run.wait(play())


def raw_responses(run: Run) -> None:
    run.answer(EVENTS, EVENTS)
    run.see_all(run.client.responses.with_raw_response.create(**RESPONSE_REQUEST, stream=True).parse())
    with run.client.responses.with_streaming_response.create(**RESPONSE_REQUEST, stream=True) as raw:
        run.see(b"".join(raw.iter_bytes()))


def item_without_its_call(event: dict[str, Any]) -> dict[str, Any]:
    """The event that adds a call, where the call's id and name come later."""
    if event["type"] != "response.output_item.added" or "call_id" not in event["item"]:
        return event
    return {**event, "item": {**event["item"], "call_id": "", "name": ""}}


def responses_in_other_words(run: Run) -> None:
    """Events without indexes, arguments only at the end, and the ways a response may end."""
    bare = [{name: value for name, value in event.items() if name != "output_index"} for event in EVENTS]
    late = [event for event in EVENTS if "delta" not in event["type"] and "item.added" not in event["type"]]
    unnamed = [item_without_its_call(event) for event in EVENTS]
    run.answer(
        bare,
        late,
        unnamed,
        [event for event in EVENTS if event["type"] == "response.completed"],
        response_events(message("Su"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        response_events(status="failed", error={"code": "server_error", "message": "no"}),
        [*EVENTS[:3], {"type": "error", "sequence_number": 3, "code": "server_error", "message": "no", "param": None}],
        [Answer(response(*ITEMS, status="incomplete", incomplete_details={"reason": "content_filter"}))],
    )
    for _ in range(6):
        run.see_all(run.client.responses.create(**RESPONSE_REQUEST, stream=True))
    with run.see_error():
        run.see_all(run.client.responses.create(**RESPONSE_REQUEST, stream=True))
    run.see(run.client.responses.create(**RESPONSE_REQUEST))


CLICKS = [{"type": "click", "button": "left", "x": 1, "y": 2}, {"type": "wait"}]
FOUND: dict[str, Any] = {"type": "tool_search_output", "id": "tso_1", "call_id": None, "tools": [RESPONSE_TOOL]}
# Calls of all kinds, items of the server, and tools that items declare.
ALL_KINDS: tuple[dict[str, Any], ...] = (
    {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA"},
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}},
    custom_tool_call("x_search", "otel", call_id="xs_1"),
    FOUND,
    {"type": "computer_call", "id": "cu_1", "call_id": "call_c", "actions": CLICKS, "pending_safety_checks": []},
    {"type": "shell_call", "id": "sh_1", "call_id": "call_s", "action": {"commands": ["ls"]}},
    {"type": "tool_search_call", "id": "ts_1", "call_id": "call_t", "execution": "client", "arguments": {"goal": "x"}},
    function_call("add_task", '{"title": "a"}'),
)
HISTORY: list[dict[str, Any]] = [
    {"role": "user", "content": "Hi"},
    {"type": "additional_tools", "role": "developer", "tools": [RESPONSE_TOOL, {"type": "tool_search"}]},
    *ALL_KINDS,
    {"type": "computer_call_output", "call_id": "call_c", "output": {"type": "computer_screenshot"}},
    {"type": "shell_call_output", "call_id": "call_s", "output": []},
    {"type": "tool_search_output", "call_id": "call_t", "execution": "client", "tools": []},
]


def responses_of_all_kinds(run: Run) -> None:
    tools = [
        {"type": "x_search"},
        {"type": "computer"},
        {"type": "shell"},
        {"type": "tool_search", "execution": "client"},
        {"type": "namespace", "name": "crm", "description": "d", "tools": [RESPONSE_TOOL]},
    ]
    request = RESPONSE_REQUEST | {"tools": tools, "tool_choice": "required", "instructions": "Be brief."}
    run.answer(response_events(*ALL_KINDS), [Answer(response(*ALL_KINDS))], response_events(FOUND, ALL_KINDS[-1]))
    run.see_all(run.client.responses.create(**request, stream=True))
    run.see(run.client.responses.create(**request | {"input": HISTORY}, previous_response_id="resp_0"))
    request |= {"tools": [{"type": "tool_search", "execution": "client"}], "tool_choice": "auto"}
    run.see_all(run.client.responses.create(**request, stream=True))


def responses_with_tools_of_before(run: Run) -> None:
    """The server has the item that declares the tool."""
    request = RESPONSE_REQUEST | {"tools": []}
    run.answer(EVENTS, EVENTS)
    run.see_all(run.client.responses.create(**request | {"input": HISTORY[:2]}, stream=True))
    run.see_all(run.client.responses.create(**request, previous_response_id=RESPONSE_ID, stream=True))


def _answers(event: Mapping[str, Any]) -> list[Any]:
    """What a server sends over a WebSocket: `input` says which of these."""
    refused = {"type": "error", "status": 400, "error": {"code": "bad", "message": "no"}}
    lane = {} if event.get("stream_id") is None else {"stream_id": event["stream_id"]}
    answers: dict[str, list[Any]] = {
        "all": [{**step, **lane} for step in EVENTS],
        "refuse": [refused, "no JSON"],
        "steer": [*response_events(message("Su"), status="incomplete"), {"type": "response.steer.accepted"}, *EVENTS],
        "part": EVENTS[:3],
        "break": [*EVENTS[:3], DROP],
    }
    return answers[event["input"]]


@contextmanager
def _server() -> Iterator[SocketServer]:
    with SocketServer(_answers) as server, warnings.catch_warnings():
        # Newer versions of `websockets` than the SDK asks for say so.
        warnings.filterwarnings("ignore", "connect.. must be used", DeprecationWarning)
        yield server


def sockets(run: Run) -> None:
    with _server() as server:
        client = run.client.copy(base_url=server.base_url)
        for asked in (["all", "refuse", "part"], ["steer", "break"]):
            with client.responses.connect() as connection, run.see_error():
                for number, what in enumerate(asked):
                    connection.response.create(**RESPONSE_REQUEST | {"input": what}, stream_id=str(number))
                    for _ in _answers({"input": what}):
                        try:
                            run.see(connection.recv())
                        except ValueError as error:
                            run.see(str(error))
            with run.see_error():
                connection.response.create(**RESPONSE_REQUEST | {"input": "all"})


def sockets_async(run: Run) -> None:
    async def play(client: Any) -> None:
        async with client.responses.connect() as connection:
            await connection.response.create(**RESPONSE_REQUEST | {"input": "all"})
            for _ in EVENTS:
                run.see(await connection.recv())
            await connection.response.create(**RESPONSE_REQUEST | {"input": "break"})
            with run.see_error():
                while True:
                    run.see(await connection.recv())
        with run.see_error():
            await connection.response.create(**RESPONSE_REQUEST | {"input": "all"})

    with _server() as server:
        run.wait(play(run.async_client.copy(base_url=server.base_url)))


SCENARIOS = []
if HAS_RESPONSES:
    SCENARIOS = [
        *(Scenario.of(play) for play in (responses, responses_async, raw_responses, responses_in_other_words)),
        Scenario("responses, listened to", responses, by="listener"),
        Scenario.of(responses_of_all_kinds),
        Scenario.of(responses_with_tools_of_before),
        Scenario("responses of all kinds, captured", responses_of_all_kinds, environment=CAPTURING),
    ]
if HAS_SOCKETS:
    from tests.helpers.web_sockets import DROP, SocketServer

    SCENARIOS += [
        Scenario.of(sockets),
        Scenario.of(sockets_async),
        Scenario("sockets, listened to", sockets, by="listener"),
    ]
