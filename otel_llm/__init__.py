"""OpenTelemetry for streaming LLM tool calls.

>>> from otel_llm import OpenAIInstrumentor
>>> OpenAIInstrumentor().instrument()
"""

from otel_llm._version import __version__
from otel_llm.instrumentor import OpenAIInstrumentor
from otel_llm.intercept import intercept_llm_requests
from otel_llm.tracker import StreamingToolCallTracker, SyncStreamingToolCallTracker

__all__ = [
    "OpenAIInstrumentor",
    "StreamingToolCallTracker",
    "SyncStreamingToolCallTracker",
    "__version__",
    "intercept_llm_requests",
]
