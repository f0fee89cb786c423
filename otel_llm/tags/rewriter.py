"""Rewrites the calls in a text to custom tags, in a stream or in a whole text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from otel_llm.protocol.request import Tool
from otel_llm.tags.custom_tags import ToolCallTags, read_tags
from otel_llm.tags.declared import declared_tools
from otel_llm.tags.openings import find_other
from otel_llm.tags.pieces import Piece
from otel_llm.tags.scanner import Scanner
from otel_llm.tags.writers import TagWriter

# The buffer of `rewrite_streaming_chunk` is copied with each chunk, so it must not get long.
_LONGEST_BUFFER = 131_072


class RewriteStream:
    """Rewrites one text: `feed` it piece by piece, then `flush`."""

    def __init__(self, tags: ToolCallTags, tools: Mapping[str, Tool] | None = None) -> None:
        self._tags = tags
        self._tools = tools
        self._longest_buffer = _LONGEST_BUFFER
        self._begin()

    def _begin(self) -> None:
        self._scanner = Scanner(self._tools)
        self._writer = TagWriter(self._tags)

    def feed(self, text: str | None) -> str:
        """The rewritten text so far. What is not decided yet is held back. None counts as no text."""
        if not text:
            return ""
        scanner = self._scanner
        # Most chunks are plain. This is `is_plain` without a call.
        if scanner.passes and find_other(text) is None:
            scanner.passed.append(text)
            return text
        return self._written(scanner.feed(text))

    def flush(self) -> str:
        """The text is over: returns what was held back. The stream can then be fed another text."""
        return self._written(self._scanner.flush())

    @property
    def held(self) -> str:
        """What is held back, as it came."""
        return self._writer.held + self._scanner.held

    def release(self, held: str) -> bool:
        """If `held`, which is held back, is too long to be copied again and again, it is text, whatever follows.

        Returns whether it is. Each time half as much is too long, so that all of this takes linear time.
        """
        if len(held) <= self._longest_buffer:
            return False
        self._longest_buffer //= 2
        self._begin()
        self._scanner.resume()
        return True

    def _written(self, pieces: Iterable[Piece]) -> str:
        text = self._writer.write_text(pieces)
        if self._writer.ended:
            self._writer.ended.clear()
        return text


class RewriteBuffer(str):
    """The text that `rewrite_streaming_chunk` held back. It carries the state of the stream along."""

    __slots__ = ("stream",)
    stream: RewriteStream


class ToolCallTagRewriter:
    """Rewrites tool calls in any of the known syntaxes to one pair of tags.

    `tags`: a `ToolCallTags`, or a string: `"start,end"`, one tag, or the name of a format. `tools`: the tools of the
    request (dicts of the API, or names). XML parameters take their types from them, and calls without a marker count
    only if they name one of them.

    Raises ValueError for tags that cannot be used, and TypeError for tags of another type.

    >>> ToolCallTagRewriter("ojlk,dfsd").rewrite_text('<tool_call>{"name": "f", "arguments": {}}</tool_call>')
    '<ojlk>{"name": "f", "arguments": {}}</dfsd>'
    """

    def __init__(self, tags: ToolCallTags | str, *, tools: Any = None) -> None:
        self.target_tags = read_tags(tags) if isinstance(tags, str) else tags
        if not isinstance(self.target_tags, ToolCallTags):
            raise TypeError(f"tags must be ToolCallTags or a string, not {type(tags).__name__}")
        self.tools = declared_tools(tools)

    def with_tools(self, tools: Any) -> ToolCallTagRewriter:
        """A rewriter for a request with these tools. Returns itself if it knows its tools, or if `tools` is None."""
        if self.tools is not None or tools is None:
            return self
        return ToolCallTagRewriter(self.target_tags, tools=tools)

    def stream(self) -> RewriteStream:
        """A stream for one text. Streams are independent of each other."""
        return RewriteStream(self.target_tags, self.tools)

    def rewrite_text(self, text: str) -> str:
        """Rewrite a whole text. A stream gives the same result, however the text is cut into chunks."""
        stream = self.stream()
        return stream.feed(text) + stream.flush()

    def rewrite_streaming_chunk(self, chunk: str | None, buffer: str = "") -> tuple[str, str]:
        """Rewrite one chunk. Returns the text to show now, and the buffer to pass with the next chunk.

        Begin with an empty buffer. It is a string: the text held back, as it came, which is to be shown when the stream
        is over. Since this method cannot know when that is, a call that only the end of the text decides is not
        rewritten; `stream` with its `flush` does that, and costs less for long calls. More than 128 Ki characters are
        not held back: they are text.
        """
        stream = getattr(buffer, "stream", None)
        begun = ""
        if stream is None:
            stream = self.stream()
            begun = stream.feed(str(buffer))
        output = begun + stream.feed(chunk)
        held = RewriteBuffer(stream.held)
        if stream.release(held):
            output, held = output + held, RewriteBuffer()
        held.stream = stream
        return output, held
