"""Tool calls that models write as text: found in any of the known syntaxes, rewritten, or taken out."""

from otel_llm.tags.custom_tags import ToolCallTags
from otel_llm.tags.detector import IncrementalToolDetector, ToolCall
from otel_llm.tags.processor import UnifiedStreamProcessor
from otel_llm.tags.rewriter import ToolCallTagRewriter

__all__ = ["IncrementalToolDetector", "ToolCall", "ToolCallTagRewriter", "ToolCallTags", "UnifiedStreamProcessor"]
