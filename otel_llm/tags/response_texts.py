"""The texts of a response, each of which is rewritten by itself.  Pure.

They share what the first one shows of thoughts, and the count of calls that stay text.
"""

from __future__ import annotations

from collections.abc import Sequence

from otel_llm.tags.rewritten_text import Rewriter, RewrittenText
from otel_llm.tags.scanner import Scanner
from otel_llm.tags.writers import Part, ThoughtDelta


class ResponseTexts:
    """Begins and ends the rewriting of each text."""

    __slots__ = ("_calls", "_first", "_rewriter", "makes_calls")

    def __init__(self, rewriter: Rewriter) -> None:
        self._rewriter = rewriter
        self.makes_calls = rewriter.makes_calls
        """Whether calls leave the texts."""
        self._calls = 0
        # The first text, which may begin inside of thoughts, once it has begun.
        self._first: Scanner | None = None

    def begin(self, index: int | None) -> RewrittenText:
        """`index`: that of the message."""
        # A server that parses thoughts has an item for them before the message.
        is_first = self._first is None and not index
        return self._begin(self._rewriter.thoughts.of_stream() if is_first else ())

    def end(self, text: RewrittenText) -> list[Part]:
        """A text is over: the parts that were held back."""
        parts = text.flush()
        if text.scanner is self._first:
            self._rewriter.thoughts.learn(text.scanner, None)
        self._count(text)
        return parts

    def end_all(self) -> None:
        """The response is complete."""
        if self._first is not None:
            self._rewriter.thoughts.learn(self._first, "stop")

    def rewrite(self, text: str, reason: str | None) -> list[Part]:
        """The parts of a text that came as a whole. No two texts, and no two thoughts, adjoin.

        `reason`: why the response ended, if the message is its first item, so that it may begin inside of thoughts.
        """
        inside: Sequence[str] = ()
        if self._first is None and reason is not None:
            inside = self._rewriter.thoughts.of_whole(text, self._rewriter.tools, reason)
        if not self._rewriter.may_rewrite(text, inside):
            return [text]
        rewritten = self._begin(inside)
        parts = _merged([*rewritten.feed(text), *rewritten.flush()])
        self._count(rewritten)
        return parts

    def _begin(self, inside: Sequence[str]) -> RewrittenText:
        text = self._rewriter.begin(0, self._calls, inside)
        if self._first is None:
            self._first = text.scanner
        return text

    def _count(self, text: RewrittenText) -> None:
        if not self.makes_calls:
            self._calls += text.scanner.count


def _merged(parts: list[Part]) -> list[Part]:
    merged: list[Part] = []
    for part in parts:
        last = merged[-1] if merged else None
        if isinstance(part, str) and isinstance(last, str):
            merged[-1] = last + part
        elif isinstance(part, ThoughtDelta) and isinstance(last, ThoughtDelta):
            last.text += part.text
        else:
            merged.append(part)
    return merged
