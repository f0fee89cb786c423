"""OpenTelemetry for streaming LLM tool calls.

>>> from otel_llm import OpenAIInstrumentor
>>> OpenAIInstrumentor().instrument()
"""

from otel_llm._version import __version__
from otel_llm.instrumentor import CerebrasInstrumentor, GroqInstrumentor, OpenAIInstrumentor
from otel_llm.intercept import intercept_llm_requests
from otel_llm.tool_spans import tool_execution, traced_tool
from otel_llm.tracker import StreamingToolCallTracker, SyncStreamingToolCallTracker

__all__ = [
    "CerebrasInstrumentor",
    "GroqInstrumentor",
    "OpenAIInstrumentor",
    "StreamingToolCallTracker",
    "SyncStreamingToolCallTracker",
    "__version__",
    "intercept_llm_requests",
    "tool_execution",
    "traced_tool",
]
