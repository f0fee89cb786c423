"""Rewrites one text of a response: text in, parts out.

It knows how much of the text is held back, and notifies an `Observer` of what it finds. The stages put the parts where
their API has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter_ns

from otel_llm.protocol.choice import TagRewrite
from otel_llm.protocol.request import Tool
from otel_llm.tags.pieces import Piece
from otel_llm.tags.reasoning import ThoughtReading
from otel_llm.tags.rewriter import ToolCallTagRewriter
from otel_llm.tags.scanner import Scanner
from otel_llm.tags.target import Target, described
from otel_llm.tags.writers import OpenAIWriter, Part, TagWriter, Writer


class Observer:
    """Is notified of calls and rewrites. The default ignores them."""

    def on_text_call(self, choice_index: int, number: int, piece: Piece) -> None:
        """A piece of a call that stays in the text: with custom tags, no field of the API ever holds the call.

        `number`: the place of the call among those of the choice.
        """

    def on_rewrite(self, rewrite: TagRewrite) -> None:
        """A call has come to its end and is rewritten."""


class Rewriter:
    """Begins the rewriting of each text of a response.

    `tools`: the declared tools by name, None if they are not known. `thoughts`: how thoughts are read.
    """

    def __init__(
        self,
        target: Target,
        tools: Mapping[str, Tool] | None = None,
        observer: Observer | None = None,
        thoughts: ThoughtReading | None = None,
    ) -> None:
        self.target = target
        self.described = described(target)
        # A rewriter that the application made may have tools of its own.
        own = target.tools if isinstance(target, ToolCallTagRewriter) else None
        self.tools = tools if own is None else own
        self.observer = observer or Observer()
        self.thoughts = thoughts or ThoughtReading()

    @property
    def makes_calls(self) -> bool:
        """Whether calls leave the text, for the fields that the API has for them."""
        return not isinstance(self.target, ToolCallTagRewriter)

    def begin(self, choice_index: int, calls_before: int = 0, inside: Sequence[str] = ()) -> RewrittenText:
        """`calls_before`: the calls in the other texts of the choice. `inside`: see `Scanner`."""
        target = self.target
        writer: Writer
        if isinstance(target, ToolCallTagRewriter):
            writer = TagWriter(target.target_tags)
        else:
            writer = OpenAIWriter(moves_thoughts=self.thoughts.moves)
        return RewrittenText(self, choice_index, calls_before, Scanner(self.tools, inside), writer)


class RewrittenText:
    """One text. `feed` and `flush` make parts of it; `hand_on` says that the application has them."""

    __slots__ = (
        "_calls_before",
        "_choice_index",
        "_fed",
        "_held",
        "_length",
        "_rewriter",
        "_spent_ns",
        "_stays_text",
        "_undecided",
        "calls",
        "scanner",
        "writer",
    )

    def __init__(
        self, rewriter: Rewriter, choice_index: int, calls_before: int, scanner: Scanner, writer: Writer
    ) -> None:
        self._rewriter = rewriter
        self._choice_index = choice_index
        self._calls_before = calls_before
        self.scanner = scanner
        self.writer = writer
        self.calls = 0
        """How many real tool calls the application got."""
        self._undecided: list[str] = []
        self._fed = self._held = 0
        self._length = 0
        self._spent_ns = 0
        self._stays_text = isinstance(writer, TagWriter)

    def feed(self, content: str) -> list[Part]:
        begun_ns = perf_counter_ns()
        pieces = self.scanner.feed(content)
        parts = self.writer.write(pieces)
        self._spent_ns += perf_counter_ns() - begun_ns
        self._observe(pieces)
        return parts

    def flush(self) -> list[Part]:
        """The text is over. Then another one can begin."""
        begun_ns = perf_counter_ns()
        pieces = self.scanner.flush()
        parts = self.writer.write(pieces)
        self._spent_ns += perf_counter_ns() - begun_ns
        self._observe(pieces)
        parts += self.writer.finish()
        return parts

    def left_of(self, content: str) -> int:
        """How many of the characters fed so far, which end with `content`, are not written yet."""
        scanner = self.scanner
        return self._fed + len(content) - (scanner.began_at if self.writer.owes_call else scanner.decided)

    def hand_on(self, content: str, left: int) -> None:
        """The application has all that was fed, which ends with `content`, except its last `left` characters."""
        self._fed += len(content)
        self._held = left
        if left <= len(content):
            self._undecided.clear()
            if left <= 0:
                return
        self._undecided.append(content)

    @property
    def held(self) -> str:
        """The text that was fed and that the application has not got yet, as it came."""
        return "".join(self._undecided)[-self._held :] if self._held > 0 else ""

    def _observe(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            kind, text, call = piece
            if call is None:
                continue
            if self._stays_text:
                self._rewriter.observer.on_text_call(self._choice_index, self._calls_before + call.number, piece)
            if kind in {"arguments", "body"}:
                if call.verbatim is (kind == "body"):
                    self._length += len(text)
            elif kind == "begin":
                self._length = 0
            elif kind == "end":
                spent, self._spent_ns = self._spent_ns, 0
                rewrite = TagRewrite(
                    self._choice_index, call.format, call.name, self._length, self._rewriter.described, spent
                )
                self._rewriter.observer.on_rewrite(rewrite)
