"""Rewrites the calls in a text to custom tags, while it streams or whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from otel_llm.protocol.request import Tool
from otel_llm.tags.custom_tags import ToolCallTags, read_tags
from otel_llm.tags.declared import declared_tools
from otel_llm.tags.found import Piece
from otel_llm.tags.scanner import Scanner
from otel_llm.tags.writers import TagWriter


class RewriteStream:
    """One text on its way through a rewriter: `feed` it piece by piece, then `flush`."""

    def __init__(self, tags: ToolCallTags, tools: Mapping[str, Tool] | None = None) -> None:
        self._scanner = Scanner(tools)
        self._writer = TagWriter(tags)

    def feed(self, text: str | None) -> str:
        """What can be said of the text so far; what is undecided is held back. None is no text."""
        if not text:
            return ""
        if self._scanner.is_plain(text):
            return text
        return self._written(self._scanner.feed(text))

    def flush(self) -> str:
        """The text is over: what was held back. The stream may then be fed another text."""
        return self._written(self._scanner.flush())

    @property
    def held(self) -> str:
        """What was held back, as it came."""
        return self._writer.held + self._scanner.held

    def _written(self, pieces: Iterable[Piece]) -> str:
        return self._writer.write(pieces).text


class RewriteBuffer(str):
    """What `rewrite_streaming_chunk` held back, as text; it knows how far the stream came."""

    __slots__ = ("stream",)
    stream: RewriteStream


class ToolCallTagRewriter:
    """Rewrites tool calls in any of the known syntaxes to one pair of tags.

    `tags`: a `ToolCallTags`, or a text that says them: `"start,end"`, one tag, or a named format's name. `tools`: the
    request's tools (dictionaries of the API, or names): values of XML parameters take their types from them, and calls
    without a marker count only where they name one of them.

    Raises ValueError for tags that cannot be used.

    >>> ToolCallTagRewriter("ojlk,dfsd").rewrite_text('<tool_call>{"name": "f", "arguments": {}}</tool_call>')
    '<ojlk>{"name": "f", "arguments": {}}</dfsd>'
    """

    def __init__(self, tags: ToolCallTags | str, *, tools: Any = None) -> None:
        self.target_tags = read_tags(tags) if isinstance(tags, str) else tags
        if not isinstance(self.target_tags, ToolCallTags):
            raise TypeError(f"tags are ToolCallTags or text, not {type(tags).__name__}")
        self.tools = declared_tools(tools)

    def with_tools(self, tools: Any) -> ToolCallTagRewriter:
        """The same for a request with other tools; this one where it knows its tools or `tools` is None."""
        if self.tools is not None or tools is None:
            return self
        return ToolCallTagRewriter(self.target_tags, tools=tools)

    def stream(self) -> RewriteStream:
        """A stream of its own for one text."""
        return RewriteStream(self.target_tags, self.tools)

    def rewrite_text(self, text: str) -> str:
        """A whole text; what comes out is what comes out of a stream, however that is cut."""
        stream = self.stream()
        return stream.feed(text) + stream.flush()

    def rewrite_streaming_chunk(self, chunk: str | None, buffer: str = "") -> tuple[str, str]:
        """What can be said with this chunk, and a buffer to pass with the next one; begin with an empty one.

        The buffer is text: what was held back, as it came. At the end of the stream it is what is left to be said. It
        cannot know that no more text comes: a call that only the end of the text decides is rewritten by `flush` of a
        `stream` alone. (It is made anew for each chunk: where long calls are held, a `stream` is cheaper, too.)
        """
        stream = getattr(buffer, "stream", None)
        begun = ""
        if stream is None:
            stream = self.stream()
            begun = stream.feed(str(buffer))
        output = begun + stream.feed(chunk)
        held = RewriteBuffer(stream.held)
        held.stream = stream
        return output, held
