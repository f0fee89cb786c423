"""Scenarios: requests, streams and responses that fail."""

from __future__ import annotations

from pydantic import BaseModel

from otel_llm.demo.scripted_server import (
    Answer,
    Drop,
    completion,
    data,
    error_event,
)
from tests.helpers.breaking.calling import ARGUMENTS, CALLING, streamed, streamed_async
from tests.helpers.breaking.world import Run, Scenario
from tests.helpers.callers import MESSAGES, REQUEST
from tests.helpers.sdk_versions import helpers


def refused(run: Run) -> None:
    run.answer([Answer(error_event("no"), status=400)])
    with run.see_error():
        streamed(run)


def refused_async(run: Run) -> None:
    run.answer([Answer(error_event("no"), status=400)])
    with run.see_error():
        run.wait(streamed_async(run))


def error_in_a_stream(run: Run) -> None:
    run.answer([*CALLING[:6], error_event("overloaded", code=503)])
    with run.see_error():
        run.see_all(streamed(run))


def error_in_a_stream_async(run: Run) -> None:
    async def play() -> None:
        with run.see_error():
            await run.see_all_async(await streamed_async(run))

    run.answer([*CALLING[:6], error_event("overloaded")])
    run.wait(play())


def dropped(run: Run) -> None:
    run.answer([*CALLING[:6], Drop()])
    with run.see_error():
        run.see_all(streamed(run))


def error_as_an_answer(run: Run) -> None:
    run.answer([Answer(error_event("overloaded"))], [data(error_event("overloaded"))])
    run.see(run.client.chat.completions.create(**REQUEST))
    with run.see_error():
        run.see_all(streamed(run))


class Task(BaseModel):
    title: str


class Refusing(BaseModel):
    title: int


def parsed(run: Run) -> None:
    run.answer([Answer(completion({"content": ARGUMENTS}))])
    run.see(helpers(run.client).parse(model="tiny", messages=MESSAGES, response_format=Task))


def refused_by_parse(run: Run) -> None:
    run.answer([Answer(completion({"content": ARGUMENTS}))], [Answer(completion({"content": "{"}, "length"))])
    for _ in range(2):
        with run.see_error():
            helpers(run.client).parse(model="tiny", messages=MESSAGES, response_format=Refusing)


SCENARIOS = [
    *(
        Scenario.of(play)
        for play in (
            refused,
            refused_async,
            error_in_a_stream,
            error_in_a_stream_async,
            dropped,
            error_as_an_answer,
            parsed,
            refused_by_parse,
        )
    ),
]
