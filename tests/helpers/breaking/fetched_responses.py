"""Scenarios: responses that were made before."""

from __future__ import annotations

from otel_llm.demo.scripted_responses import RESPONSE_ID, response
from otel_llm.demo.scripted_server import Answer
from tests.helpers.breaking.calling import EVENTS, ITEMS
from tests.helpers.breaking.conversations import CAPTURING
from tests.helpers.breaking.world import Run, Scenario
from tests.helpers.callers import RESPONSE_REQUEST, RESPONSE_TOOL
from tests.helpers.sdk_versions import HAS_RESPONSES

WHOLE = response(*ITEMS, tools=[RESPONSE_TOOL], instructions="Be brief.")
COMPACTED = {
    "id": "resp_2",
    "object": "response.compaction",
    "created_at": 1,
    "output": [{"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA"}],
    "usage": WHOLE["usage"],
}


def fetched(run: Run) -> None:
    run.answer([Answer(WHOLE)], EVENTS, EVENTS[9:], [Answer(response(status="cancelled"))])
    run.see(run.client.responses.retrieve(RESPONSE_ID))
    run.see_all(run.client.responses.retrieve(RESPONSE_ID, stream=True))
    run.see_all(run.client.responses.retrieve(RESPONSE_ID, stream=True, starting_after=8))
    run.see(run.client.responses.cancel(RESPONSE_ID))


def fetched_async(run: Run) -> None:
    async def play() -> None:
        run.see(await run.async_client.responses.retrieve(RESPONSE_ID))
        await run.see_all_async(await run.async_client.responses.retrieve(RESPONSE_ID, stream=True))

    run.answer([Answer(WHOLE)], EVENTS)
    run.wait(play())


def compacted(run: Run) -> None:
    if hasattr(type(run.client.responses), "compact"):
        run.answer([Answer(COMPACTED)])
        run.see(run.client.responses.compact(model="tiny", input=RESPONSE_REQUEST["input"]))


SCENARIOS = []
if HAS_RESPONSES:
    SCENARIOS = [
        *(Scenario.of(play) for play in (fetched, fetched_async, compacted)),
        Scenario("fetched by one client", fetched, by="client"),
        Scenario("fetched, and content captured", fetched, environment=CAPTURING),
    ]
