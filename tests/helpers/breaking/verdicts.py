"""Scenarios: the broken streams of the corpus, so that every judge has something to find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otel_llm.demo.scripted_server import DONE, data
from tests.helpers.breaking.calling import streamed
from tests.helpers.breaking.world import Run, Scenario
from tests.helpers.corpus_streams import Labelled, load, paths
from tests.helpers.sdk_versions import known


def playing(labelled: Labelled) -> Callable[[Run], None]:
    steps: list[Any] = [*map(data, labelled.chunks), DONE]

    def play(run: Run) -> None:
        run.answer(steps)
        request = {"model": "tiny", "messages": [], **labelled.request}
        run.see_all(streamed(run, **known(request)))

    return play


SCENARIOS = [
    Scenario(f"corpus, {labelled.name}", playing(labelled))
    for labelled in map(load, paths())
    if not labelled.is_healthy
]
