"""Rewrites one text of a response: text in, parts out.

It knows how much of the text is held back, and notifies an `Observer` of what it finds. The stages put the parts where
their API has them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import perf_counter_ns

from otel_llm.protocol.choice import TagRewrite
from otel_llm.protocol.request import Tool
from otel_llm.tags.ids import new_call_id
from otel_llm.tags.pieces import Piece
from otel_llm.tags.reasoning import ThoughtReading
from otel_llm.tags.rewriter import ToolCallTagRewriter
from otel_llm.tags.scanner import Scanner
from otel_llm.tags.target import Target, described
from otel_llm.tags.writers import CallDelta, OpenAIWriter, Part, TagWriter, Writer


class Observer:
    """Is notified of calls and rewrites. The default ignores them."""

    def on_text_call(self, choice_index: int, number: int, piece: Piece) -> None:
        """A piece of a call that stays in the text: with custom tags, no field of the API ever holds the call.

        `number`: the place of the call among those of the choice.
        """

    def on_rewrite(self, rewrite: TagRewrite) -> None:
        """A call has come to its end and is rewritten."""

    def on_only_thoughts(self, choice_index: int) -> None:
        """A text has come to its end. As the application said, it began inside of thoughts; no mark closed them."""


class Rewriter:
    """Begins the rewriting of each text of a response.

    `tools`: the declared tools by name, None if they are not known. `thoughts`: how thoughts are read. `new_id`: makes
    the id of a call.
    """

    def __init__(
        self,
        target: Target,
        tools: Mapping[str, Tool] | None = None,
        observer: Observer | None = None,
        thoughts: ThoughtReading | None = None,
        new_id: Callable[[], str] = new_call_id,
    ) -> None:
        self.target = target
        self.described = described(target)
        # A rewriter that the application made may have tools of its own.
        own = target.tools if isinstance(target, ToolCallTagRewriter) else None
        self.tools = tools if own is None else own
        self.observer = observer or Observer()
        self.thoughts = thoughts or ThoughtReading()
        self._new_id = new_id
        self.arguments_are_parsed = False
        """Whether the SDK parses the arguments of calls in whole texts, and raises if it cannot."""

    def may_rewrite(self, text: str, inside: Sequence[str]) -> bool:
        """Whether nothing raises because of the calls that are made of a whole text."""
        if not self.arguments_are_parsed or not self.makes_calls:
            return True
        scanner, arguments = Scanner(self.tools, inside), dict[int, str]()
        for part in OpenAIWriter().write([*scanner.feed(text), *scanner.flush()]):
            if isinstance(part, CallDelta):
                arguments[part.index] = arguments.get(part.index, "") + part.arguments
        return all(map(_is_json, arguments.values()))

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
            writer = OpenAIWriter(moves_thoughts=self.thoughts.moves, new_id=self._new_id)
        return RewrittenText(self, choice_index, calls_before, Scanner(self.tools, inside), writer)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


class RewrittenText:
    """One text. `feed` and `flush` make parts of it; `hand_on` says that the application has them."""

    __slots__ = (
        "_calls_before",
        "_choice_index",
        "_held",
        "_rewriter",
        "_spent_ns",
        "_stays_text",
        "_undecided",
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
        self._undecided: list[str] = []
        self._held = 0
        self._spent_ns = 0
        self._stays_text = isinstance(writer, TagWriter)

    def feed(self, content: str) -> list[Part]:
        begun_ns = perf_counter_ns()
        pieces = self.scanner.feed(content)
        writer = self.writer
        parts = writer.write(pieces)
        self._spent_ns += perf_counter_ns() - begun_ns
        if self._stays_text or writer.ended:
            self._observe(pieces)
        return parts

    def call_of(self, content: str) -> int | None:
        """The index of the call into whose arguments `content`, as the next chunk, goes as it is. It then counts as
        fed, and nothing is held back. None if that is not sure.
        """
        writer = self.writer
        if type(writer) is not OpenAIWriter or not self.scanner.is_argument(content):
            return None
        return writer.pass_over(len(content))

    def flush(self) -> list[Part]:
        """The text is over. Then another one can begin."""
        begun_ns = perf_counter_ns()
        pieces = self.scanner.flush()
        parts = self.writer.write(pieces)
        self._spent_ns += perf_counter_ns() - begun_ns
        self._observe(pieces)
        if self._rewriter.thoughts.is_told and self.scanner.is_all_thoughts:
            self._rewriter.observer.on_only_thoughts(self._choice_index)
        parts += self.writer.finish()
        return parts

    @property
    def left(self) -> int:
        """How many of the characters fed so far are in no part yet."""
        return self.scanner.left_since_call if self.writer.owes_call else self.scanner.left

    def hand_on(self, content: str, left: int) -> None:
        """The application has all that was fed, which ends with `content`, except its last `left` characters."""
        self._held = left
        undecided = self._undecided
        if undecided and left <= len(content):
            undecided.clear()
        if left > 0:
            undecided.append(content)

    @property
    def held(self) -> str:
        """The text that was fed and that the application has not got yet, as it came."""
        return "".join(self._undecided)[-self._held :] if self._held > 0 else ""

    def _observe(self, pieces: Iterable[Piece]) -> None:
        observer = self._rewriter.observer
        if self._stays_text:
            for piece in pieces:
                if piece.call is not None:
                    observer.on_text_call(self._choice_index, self._calls_before + piece.call.number, piece)
        ended = self.writer.ended
        for call, length in ended:
            spent, self._spent_ns = self._spent_ns, 0
            observer.on_rewrite(
                TagRewrite(self._choice_index, call.format, call.name, length, self._rewriter.described, spent)
            )
        ended.clear()
