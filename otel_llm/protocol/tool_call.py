"""One tool call as it grows, delta by delta.  Pure.

A delta costs one tuple when it comes (`ToolCall.fresh`). It is measured and folded when enough of them have come, or at
the end (`ToolCall.settle`). Lengths are in characters; two halves of a surrogate pair in two deltas are one character.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from otel_llm.protocol.json_values import GrowingText
from otel_llm.protocol.unicode_text import ends_with_half, join_surrogates, starts_with_half

if TYPE_CHECKING:
    from collections.abc import Sequence

# Makes a named tuple in half the time of its own constructor.
_new = tuple.__new__
CallKind = Literal["function", "custom", "legacy", "text"]
"""`legacy`: the `function_call` of old. `text`: found in the text, and so without id or index."""


class Delta(NamedTuple):
    """One delta of a call, or several neighbouring ones folded into one."""

    time_ns: int
    """When the first of them came."""
    stands_for: int
    """How many they are."""
    text: str
    """The arguments in them, cut at the preview limit."""
    length: int
    """Length of the call's arguments so far, including these."""


class ToolCall:
    """One tool call. Its public attributes are final once `Recording.end` returned."""

    __slots__ = (
        "_ends_with_half",
        "_kept_length",
        "_parts",
        "_received",
        "_scanned",
        "_scanner",
        "_settled",
        "announced",
        "arguments",
        "arguments_not_string",
        "choice_index",
        "completed_ns",
        "deltas",
        "first_delta_ns",
        "fresh",
        "id",
        "index",
        "index_reused",
        "kind",
        "last_delta_ns",
        "length",
        "name",
        "name_pieces",
        "named_ns",
        "other_ids",
        "other_names",
        "over_long_label",
    )

    def __init__(self, choice_index: int, index: int, kind: CallKind, time_ns: int) -> None:
        self.choice_index = choice_index
        self.index = index
        self.kind: CallKind = kind
        self.id: str | None = None
        self.name: str | None = None
        self.name_pieces: list[str] = []
        self.named_ns: int | None = None
        self.first_delta_ns = self.last_delta_ns = time_ns
        self.completed_ns: int | None = None
        """When it was known to be complete; None if the stream stopped before."""
        self.length = 0
        """Length of all its arguments, kept or not."""
        self.arguments = ""
        """Its arguments up to the limit, surrogates joined. While the stream flows, see `arguments_so_far`."""
        self.deltas: list[Delta] = []
        self.fresh: list[tuple[int, str]] = []
        """(time, text) of each delta that is not settled yet."""
        self.arguments_not_string: str | None = None
        """The type of a value that came in place of a string."""
        self.other_ids: list[str] = []
        """The beginnings of ids that contradict the first one."""
        self.other_names: list[str] = []
        """The beginnings of names that contradict the first one."""
        self.index_reused = False
        """Whether it started at an index that another call of the choice already had."""
        self.announced = False
        """Whether a notice of its name was sent."""
        self.over_long_label = False
        """Whether its id or name was longer than what is kept."""
        self._parts: list[str] = []
        self._received = 0
        self._settled = 0
        self._kept_length = 0
        self._ends_with_half = False
        self._scanner: GrowingText | None = None
        self._scanned = 0

    @property
    def delta_count(self) -> int:
        return len(self.fresh) + self._settled

    @property
    def kept_length(self) -> int:
        return self._kept_length

    @property
    def exceeds_limit(self) -> bool:
        """Whether its arguments were longer than what is kept."""
        return self._received > self._kept_length

    def arguments_so_far(self) -> str:
        return join_surrogates("".join(self._parts) + "".join([text for _, text in self.fresh]))

    def is_whole(self) -> bool:
        """Whether the arguments so far are one whole JSON value. Reads only what came since it was last called."""
        if self.exceeds_limit:
            return False
        if self._scanner is None:
            self._scanner = GrowingText()
            for part in self._parts:
                self._scanner.feed(part)
        self._scan_fresh(self._scanner)
        return self._scanner.whole(self.arguments_so_far)

    def _scan_fresh(self, scanner: GrowingText) -> None:
        for _, text in self.fresh[self._scanned :]:
            scanner.feed(text)
        self._scanned = len(self.fresh)

    def settle(self, preview: int, room: int, groups: int) -> None:
        """Measure the fresh deltas, fold them into `groups`, and keep at most `room` characters of their text."""
        fresh = self.fresh
        if not fresh:
            return
        if self._scanner is not None:
            self._scan_fresh(self._scanner)
        self._scanned = 0
        self.fresh = []
        self.last_delta_ns = fresh[-1][0]
        texts = [text for _, text in fresh]
        part = "".join(texts)
        plain = part.isascii() and not self._ends_with_half
        length = self.length
        append = self.deltas.append
        count, start = len(fresh), 0
        self._settled += count
        if plain and groups == count:
            # Nothing is joined or folded, as in most calls.
            for time_ns, text in fresh:
                length += len(text)
                append(_new(Delta, (time_ns, 1, text[:preview], length)))
        else:
            for number in range(1, groups + 1):
                end = count * number // groups
                text = texts[start] if end - start == 1 else "".join(texts[start:end])
                if plain:
                    length += len(text)
                elif text:
                    joins = self._ends_with_half and starts_with_half(text)
                    self._ends_with_half = ends_with_half(text)
                    text = join_surrogates(text)
                    length += len(text) - joins
                append(_new(Delta, (fresh[start][0], end - start, text[:preview], length)))
                start = end
        self.length = length
        self._received += len(part)
        if room > 0 and part:
            part = part[:room]
            self._parts.append(part)
            self._kept_length += len(part)

    def fold(self, preview: int) -> None:
        """Halve the number of deltas by joining neighbours."""
        self.deltas = fold_pairs(self.deltas, preview)

    def finish(self) -> None:
        """No more deltas come: join the arguments."""
        self.arguments = join_surrogates("".join(self._parts))
        if self.exceeds_limit and ends_with_half(self.arguments):
            # The limit split a surrogate pair.
            self.arguments = self.arguments[:-1]
        self._parts = [self.arguments]


def fold_pairs(deltas: Sequence[Delta], preview: int) -> list[Delta]:
    """Join each delta with the one after it. Counts add up; only the time of the second one is lost."""
    folded = [
        Delta(
            first.time_ns,
            first.stands_for + second.stands_for,
            first.text if len(first.text) >= preview else (first.text + second.text)[:preview],
            second.length,
        )
        for first, second in zip(deltas[::2], deltas[1::2], strict=False)
    ]
    if len(deltas) % 2:
        folded.append(deltas[-1])
    return folded
