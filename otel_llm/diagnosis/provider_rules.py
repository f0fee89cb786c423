"""What providers accept as the name of a tool and as the id of a call, where they document or answer it.  Pure.

Providers are known by their name in `gen_ai.provider.name`. What one document of a provider allows is not called
unacceptable, even if another is stricter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from otel_llm.protocol.request import Api


class Rule(NamedTuple):
    """A shape, in words for people, and where it is documented. `api`: the only one whose requests it is for."""

    shape: re.Pattern[str]
    words: str
    source: str
    api: Api | None = None

    def is_for(self, api: Api) -> bool:
        return self.api is None or self.api == api


_SIXTY_FOUR = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_SIXTY_FOUR_WORDS = "1 to 64 of a-z, A-Z, 0-9, _ and -"

# Of each field, with its pattern and its length.
_CONVERSE = "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_{}.html"

TOOL_NAMES: Mapping[str, Rule] = {
    "aws.bedrock": Rule(_SIXTY_FOUR, _SIXTY_FOUR_WORDS, _CONVERSE.format("ToolSpecification"), "converse"),
    "openai": Rule(
        _SIXTY_FOUR,
        _SIXTY_FOUR_WORDS,
        "https://platform.openai.com/docs/api-reference/chat/create (tools, function, name)",
    ),
    "azure.ai.openai": Rule(
        _SIXTY_FOUR,
        _SIXTY_FOUR_WORDS,
        "https://learn.microsoft.com/en-us/azure/ai-services/openai/reference (chatCompletionFunction, name)",
    ),
    "mistral_ai": Rule(
        _SIXTY_FOUR,
        _SIXTY_FOUR_WORDS,
        "https://github.com/mistralai/mistral-common (protocol/instruct/validator.py, which its API runs)",
    ),
    "anthropic": Rule(
        re.compile(r"[a-zA-Z0-9_-]{1,128}"),
        "1 to 128 of a-z, A-Z, 0-9, _ and -",
        "the pattern in its API's answer 400: https://github.com/home-assistant/core/issues/147760",
    ),
    "gcp.gemini": Rule(
        re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}"),
        "a letter or _, then up to 127 of a-z, A-Z, 0-9, _, ., : and -",
        "https://ai.google.dev/api/caching#FunctionDeclaration, and the SDK google-genai (types.FunctionDeclaration)",
    ),
}

CALL_IDS: Mapping[str, Rule] = {
    "aws.bedrock": Rule(
        re.compile(r"[a-zA-Z0-9_.:-]{1,64}"),
        "1 to 64 of a-z, A-Z, 0-9, _, ., : and -",
        _CONVERSE.format("ToolUseBlock"),
        "converse",
    ),
    "anthropic": Rule(
        re.compile(r"[a-zA-Z0-9_-]+"),
        "a-z, A-Z, 0-9, _ and -",
        "the pattern in its API's answer 400: https://github.com/maximhq/bifrost/issues/5097",
    ),
    "mistral_ai": Rule(
        re.compile(r"[a-zA-Z0-9]{9}"),
        "9 of a-z, A-Z and 0-9",
        "https://github.com/mistralai/mistral-common (protocol/instruct/validator.py, which its API runs)",
    ),
}
