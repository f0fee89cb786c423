"""Scenarios: the Responses API."""

from __future__ import annotations

from typing import Any

from otel_llm.demo.scripted_responses import (
    message,
    response,
    response_events,
)
from otel_llm.demo.scripted_server import (
    Answer,
)
from tests.helpers.breaking.calling import EVENTS, ITEMS
from tests.helpers.breaking.world import Run, Scenario
from tests.helpers.callers import RESPONSE_REQUEST
from tests.helpers.sdk_versions import HAS_RESPONSES


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


SCENARIOS = []
if HAS_RESPONSES:
    SCENARIOS = [
        *(Scenario.of(play) for play in (responses, responses_async, raw_responses, responses_in_other_words)),
        Scenario("responses, listened to", responses, by="listener"),
    ]
