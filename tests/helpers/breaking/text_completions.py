"""Scenarios: text completions."""

from __future__ import annotations

from otel_llm.demo.scripted_server import DONE, Answer
from tests.helpers.breaking.conversations import CAPTURING
from tests.helpers.breaking.world import Run, Scenario
from tests.helpers.text_completions import REQUEST, USAGE, completion, pieces, text_choice

STREAM = pieces("Once", " upon")


def text_completions(run: Run) -> None:
    run.answer(STREAM, [Answer(completion(text_choice("Once", "stop"), usage=USAGE))])
    run.see_all(run.client.completions.create(**REQUEST, stream=True))
    run.see(run.client.completions.create(**REQUEST, suffix="."))


def text_completions_async(run: Run) -> None:
    async def play() -> None:
        await run.see_all_async(await run.async_client.completions.create(**REQUEST, stream=True))

    run.answer(STREAM)
    run.wait(play())


def empty_text_completions(run: Run) -> None:
    run.answer(pieces(), [{"object": "text_completion", "choices": [None, {}]}, DONE])
    for _ in range(2):
        run.see_all(run.client.completions.create(**REQUEST, stream=True))


SCENARIOS = [
    *(Scenario.of(play) for play in (text_completions, text_completions_async, empty_text_completions)),
    Scenario("text completions of one client", text_completions, by="client"),
    Scenario("text completions whose content is captured", text_completions, environment=CAPTURING),
]
