"""Scenarios: what happens when an application begins to instrument its SDK, or one client."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from otel_llm import (
    OpenAIInstrumentor,
    intercept_llm_requests,
)
from otel_llm.instrumentor import instrumentors
from otel_llm.telemetry import proxy_meters
from otel_llm.testing import unobserved
from otel_llm.wrappers.patch import RequestMethods
from tests.helpers.breaking.calling import CALLING, streamed
from tests.helpers.breaking.world import Run, Scenario
from tests.helpers.callers import REQUEST
from tests.helpers.seen import Seen


def start(run: Run) -> None:
    """The application instruments its SDK, with providers of its own and without."""

    class FirstInstrumentor(OpenAIInstrumentor):
        """Instrumentors are singletons, and keep what they wrapped."""

        _instance = None

    for providers in ({}, Seen().providers):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(proxy_meters, "_current", None)
            if run.observed:
                FirstInstrumentor().instrument(**providers)
            run.answer(CALLING)
            run.see_all(streamed(run))
            if run.observed:
                FirstInstrumentor().uninstrument()


def start_listening(run: Run) -> None:
    places = [place for one in instrumentors() for place in one.PLACES]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unobserved, "_methods", RequestMethods(places, unobserved._UnobservedMethodWrapper))
        run.answer(CALLING)
        with unobserved.listening(lambda _observation: None) if run.observed else nullcontext():
            run.see_all(streamed(run))


def copies_of_a_client(run: Run) -> None:
    client = run.client
    if run.observed:
        client = intercept_llm_requests(client, **run.seen.providers)
    run.answer(CALLING)
    run.see_all(client.with_options(timeout=30).chat.completions.create(**REQUEST, stream=True))


SCENARIOS = [
    *(Scenario.of(play, by="itself") for play in (start, start_listening, copies_of_a_client)),
]
