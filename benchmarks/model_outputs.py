"""The model outputs of canitoolcall (PyPI), and the ways in which they are cut into chunks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from canitoolcall.fixtures import Family, Fixture, fixtures_digest, load_families, load_fixtures

_OPEN_THOUGHTS = ("<think>", "[THINK]", "<|open|>think<|sep|>")
_RANDOM_CUTS = 3
_LONGEST_PIECE = 25


@dataclass(frozen=True, eq=False)
class ModelOutput:
    """What one model wrote, and what was asked of it.

    `opened`: whether the prompt ended within the model's thoughts, so that only their end is in the text. `cut_off`:
    whether `max_tokens` cut the text off.
    """

    fixture: Fixture
    family: Family
    opened: bool

    @property
    def text(self) -> str:
        return str(self.fixture.raw_output)

    @property
    def tools(self) -> list[Any]:
        return [dict(tool) for tool in self.fixture.tools]

    @property
    def cut_off(self) -> bool:
        return bool(self.fixture.truncated)

    def cuts(self) -> Iterator[Cut]:
        """Ways to cut the text. canitoolcall cuts between tokens, which its tokenizers make; these need none."""
        text = self.text
        markers = "|".join(map(re.escape, sorted(self.family.markers, key=len, reverse=True)))
        at_markers = [piece for piece in re.split(f"({markers})", text) if piece]
        units = re.findall(f"{markers}|.", text, re.DOTALL)
        yield Cut("one chunk", [text], keeps_markers=True)
        yield Cut("at markers", at_markers, keeps_markers=True)
        yield Cut("characters and markers", units, keeps_markers=True)
        yield Cut("characters", [*text], keeps_markers=False)
        for seed in range(_RANDOM_CUTS):
            yield Cut(f"random {seed}, markers whole", [*_at_random(units, seed)], keeps_markers=True)
            yield Cut(f"random {seed}", [*_at_random(text, seed)], keeps_markers=False)


@dataclass(frozen=True, eq=False)
class Cut:
    """`keeps_markers`: whether the markers of the family are never cut; servers send those as one token."""

    name: str
    pieces: Sequence[str]
    keeps_markers: bool


def _at_random(units: Sequence[str], seed: int) -> Iterator[str]:
    random = Random(seed)
    start = 0
    while start < len(units):
        length = random.choice((1, 1, 2, 3, 4, 6, 9, _LONGEST_PIECE))
        yield "".join(units[start : start + length])
        start += length


def load() -> list[ModelOutput]:
    """All outputs of the installed canitoolcall, by family."""
    families = load_families()
    outputs = [_of(fixture, families) for fixture in load_fixtures()]
    return sorted(outputs, key=lambda output: output.family.slug)


def digest(outputs: Sequence[ModelOutput]) -> str:
    return str(fixtures_digest(output.fixture for output in outputs))


def _of(fixture: Fixture, families: Mapping[str, Family]) -> ModelOutput:
    family = families[fixture.family]
    prompt = fixture.generation_prompt
    if prompt is None:
        reference = family.reference_for(fixture.reference_model)
        prompt = reference.default_generation_prompt if reference is not None else None
    return ModelOutput(fixture, family, (prompt or "").rstrip().endswith(_OPEN_THOUGHTS))
