"""Scenarios: embeddings."""

from __future__ import annotations

from otel_llm.demo.scripted_server import Answer, error_event
from tests.helpers.breaking.world import Run, Scenario

VECTOR = {"object": "embedding", "index": 0, "embedding": "AACAPgAAgD4AAIA+"}
ANSWER = {"object": "list", "data": [VECTOR], "model": "embed", "usage": {"prompt_tokens": 5, "total_tokens": 5}}
LONG = {**ANSWER, "data": [{**VECTOR, "embedding": [0.25] * 4096}]}
REQUEST = {"model": "embed", "input": "buy milk"}


def embeddings(run: Run) -> None:
    run.answer([Answer(ANSWER)], [Answer(error_event("no"), status=400)])
    run.see(run.client.embeddings.create(**REQUEST, dimensions=3))
    with run.see_error():
        run.client.embeddings.create(**REQUEST, extra_body={"encoding_format": "base64"})


def embeddings_async(run: Run) -> None:
    async def play() -> None:
        run.see(await run.async_client.embeddings.create(**REQUEST))

    run.answer([Answer(ANSWER)])
    run.wait(play())


def raw_embeddings(run: Run) -> None:
    run.answer([Answer(ANSWER)], [Answer(LONG)], [Answer(ANSWER)], [Answer(ANSWER)])
    for _ in range(2):
        run.see(run.client.embeddings.with_raw_response.create(**REQUEST).http_response.content)
    with run.client.embeddings.with_streaming_response.create(**REQUEST) as raw:
        run.see(raw.parse())
    with run.client.embeddings.with_streaming_response.create(**REQUEST) as raw:
        run.see(b"".join(raw.iter_bytes()))


SCENARIOS = [
    *(Scenario.of(play) for play in (embeddings, embeddings_async, raw_embeddings)),
    Scenario("embeddings of one client", embeddings, by="client"),
]
