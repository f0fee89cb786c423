"""What canitoolcall found for the parsers of inference engines: its snapshot of 2026-09-25, by family of models.

Source: `results/2026-09-25/README.md` of github.com/redd34/canitoolcall (the totals) and `triage.jsonl` beside it (each
failing output, by engine). Only outputs that an engine supports are counted, and those that pass but for
white space count as passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SOURCE = "https://github.com/redd34/canitoolcall/tree/main/results/2026-09-25"
DIGEST = "a1e7b55367e195e8aa6e2ef746b2cc141b44f37caad0887ff8f30b104616f836"
"""Of the outputs that the snapshot was made of, as `canitoolcall.fixtures.fixtures_digest` makes it."""


@dataclass(frozen=True)
class Engine:
    """`supported` and `failed`: outputs by family. A family that is missing is not supported, or does not fail."""

    name: str
    supported: Mapping[str, int]
    failed: Mapping[str, int]

    def passed(self, family: str) -> int:
        return self.supported.get(family, 0) - self.failed.get(family, 0)


_ALL = {
    "deepseek": 85,
    "gemma4": 48,
    "glm": 51,
    "gpt-oss": 51,
    "kimi": 49,
    "llama": 34,
    "mistral": 47,
    "qwen3-hermes": 50,
    "qwen3-xml": 54,
}

ENGINES = (
    Engine(
        "vLLM 0.30.0",
        _ALL,
        {
            "deepseek": 33,
            "gemma4": 16,
            "glm": 7,
            "gpt-oss": 5,
            "kimi": 8,
            "llama": 25,
            "mistral": 7,
            "qwen3-hermes": 9,
            "qwen3-xml": 5,
        },
    ),
    Engine(
        "SGLang 0.5.20",
        # Without DeepSeek V4.1.
        {**_ALL, "deepseek": 64},
        {
            "deepseek": 28,
            "gemma4": 13,
            "glm": 24,
            "gpt-oss": 32,
            "kimi": 5,
            "llama": 25,
            "mistral": 23,
            "qwen3-hermes": 39,
            "qwen3-xml": 8,
        },
    ),
    Engine(
        "llama.cpp a25c9865",
        # Without DeepSeek V4.1 and Llama 4.
        {**_ALL, "deepseek": 64, "llama": 24},
        {
            "deepseek": 29,
            "gemma4": 8,
            "glm": 8,
            "gpt-oss": 8,
            "kimi": 14,
            "llama": 10,
            "mistral": 19,
            "qwen3-hermes": 11,
            "qwen3-xml": 7,
        },
    ),
    Engine(
        "Ollama 7af39318",
        {
            "deepseek": 12,
            "gemma4": 48,
            "glm": 32,
            "gpt-oss": 51,
            "mistral": 14,
            "qwen3-hermes": 50,
            "qwen3-xml": 54,
        },
        {"gemma4": 7, "glm": 3, "gpt-oss": 6, "qwen3-hermes": 2, "qwen3-xml": 9},
    ),
)
