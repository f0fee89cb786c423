"""The scenarios, played once each, and which of them a function is broken in."""

from __future__ import annotations

from functools import partial
from types import CodeType
from typing import Any, NamedTuple

import pytest

from otel_llm.transparency import faults
from tests.helpers.breaking import (
    anthropic_messages,
    bedrock,
    chat,
    conversations,
    embeddings,
    fetched_responses,
    google_genai,
    marked_texts,
    other_sdks,
    other_streams,
    raw_responses,
    refusals,
    responses_api,
    rewriting,
    starting,
    text_completions,
    verdicts,
)
from tests.helpers.breaking.functions import Function, functions
from tests.helpers.breaking.world import Calls, Scenario, World

SCENARIOS: list[Scenario] = [
    *anthropic_messages.SCENARIOS,
    *bedrock.SCENARIOS,
    *google_genai.SCENARIOS,
    *chat.SCENARIOS,
    *refusals.SCENARIOS,
    *raw_responses.SCENARIOS,
    *responses_api.SCENARIOS,
    *other_streams.SCENARIOS,
    *other_sdks.SCENARIOS,
    *starting.SCENARIOS,
    *text_completions.SCENARIOS,
    *rewriting.SCENARIOS,
    *conversations.SCENARIOS,
    *embeddings.SCENARIOS,
    *fetched_responses.SCENARIOS,
    *marked_texts.SCENARIOS,
    *verdicts.SCENARIOS,
]


class Part(NamedTuple):
    """A scenario, what the application sees of it bare and observed, and the functions of the package that it calls."""

    scenario: Scenario
    bare: list[Any]
    observed: list[Any]
    called: frozenset[CodeType]
    faults: list[str]


class Cast:
    """All parts, and who plays which."""

    def __init__(self) -> None:
        known = functions()
        codes = {function.code for function in known}
        self.world = World(function.forget for function in known if function.forget is not None)
        self.parts: list[Part] = []
        for scenario in SCENARIOS:
            bare = self.world.play_bare(scenario)
            calls = Calls()
            swallowed: list[str] = []
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(faults, "observers", [partial(_note, swallowed)])
                observed = self.world.play(scenario, calls)
            self.parts.append(Part(scenario, bare, observed, frozenset(calls.called & codes), swallowed))

    def close(self) -> None:
        self.world.close()

    def part_for(self, function: Function) -> Part | None:
        """The part that calls the fewest other functions, None where none calls this one.

        What reads text is broken where its text is rewritten, and other functions where the application is not at work
        on the package itself, if there is such a part.
        """
        parts = [part for part in self.parts if function.code in part.called]
        if function.name.startswith("tags."):
            parts = [part for part in parts if part.scenario.rewrites] or parts
        parts = [part for part in parts if part.scenario.by != "itself"] or parts
        return min(parts, key=lambda part: len(part.called), default=None)


def _note(swallowed: list[str], where: str, fault: BaseException) -> None:
    swallowed.append(f"{where}: {fault!r}")
