"""OpenTelemetry for streaming LLM tool calls.

>>> from otel_llm import OpenAIInstrumentor
>>> OpenAIInstrumentor().instrument()

PYTEST_DONT_REWRITE: where this package is imported before pytest finds its plugin, as it is under
`opentelemetry-instrument pytest`, pytest would warn, which is an error in many projects.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from otel_llm._version import __version__

if TYPE_CHECKING:
    from otel_llm.instrumentor import (
        AnthropicInstrumentor,
        BedrockInstrumentor,
        CerebrasInstrumentor,
        GoogleGenAIInstrumentor,
        GroqInstrumentor,
        HuggingFaceInstrumentor,
        LiteLLMInstrumentor,
        MistralInstrumentor,
        OllamaInstrumentor,
        OpenAIInstrumentor,
    )
    from otel_llm.intercept import intercept_llm_requests
    from otel_llm.tool_spans import tool_execution, traced_tool
    from otel_llm.wrappers.stream import StreamingToolCallTracker, SyncStreamingToolCallTracker

__all__ = [
    "AnthropicInstrumentor",
    "BedrockInstrumentor",
    "CerebrasInstrumentor",
    "GoogleGenAIInstrumentor",
    "GroqInstrumentor",
    "HuggingFaceInstrumentor",
    "LiteLLMInstrumentor",
    "MistralInstrumentor",
    "OllamaInstrumentor",
    "OpenAIInstrumentor",
    "StreamingToolCallTracker",
    "SyncStreamingToolCallTracker",
    "__version__",
    "intercept_llm_requests",
    "tool_execution",
    "traced_tool",
]

# Loaded when they are asked for: pytest imports this package in every project that has it, for its plugin.
_HOMES = {
    "AnthropicInstrumentor": "instrumentor",
    "BedrockInstrumentor": "instrumentor",
    "CerebrasInstrumentor": "instrumentor",
    "GoogleGenAIInstrumentor": "instrumentor",
    "GroqInstrumentor": "instrumentor",
    "HuggingFaceInstrumentor": "instrumentor",
    "LiteLLMInstrumentor": "instrumentor",
    "MistralInstrumentor": "instrumentor",
    "OllamaInstrumentor": "instrumentor",
    "OpenAIInstrumentor": "instrumentor",
    "StreamingToolCallTracker": "wrappers.stream",
    "SyncStreamingToolCallTracker": "wrappers.stream",
    "intercept_llm_requests": "intercept",
    "tool_execution": "tool_spans",
    "traced_tool": "tool_spans",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
