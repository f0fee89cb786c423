"""A body with its secrets covered, also those in pieces: over reads, and over the deltas of a stream.  Pure.

The body is taken apart into units: a JSON document with its line ends, or a line of anything else. Every text in a
document goes on with the text that stood at the same place of an earlier document. A unit is held back while one of its
texts ends with what may be the beginning of a secret.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Hashable, Iterable

from otel_llm.exchanges.json_texts import Documents, Text, characters

# Held back at most: a stream that goes on elsewhere is not held for ever.
_MOST_HELD = 262_144
# A unit that is longer is searched as bytes.
_LONGEST_UNIT = 1_048_576
# A text that ends with as much of a secret is no accident.
_TELLING = 8
_LINE_END = re.compile(rb"[\r\n]+")


def pattern_of(secrets: Iterable[bytes]) -> re.Pattern[bytes] | None:
    """What finds each of the secrets, the longest first."""
    alternatives = b"|".join(map(re.escape, sorted((one for one in secrets if one), key=len, reverse=True)))
    return re.compile(alternatives) if alternatives else None


class _Unit:
    """A part of the body. `holds`: how many open texts end in it. `echoes`: what tells its texts once more."""

    __slots__ = ("data", "echoes", "holds", "is_covered")

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self.holds = 0
        self.is_covered = False
        self.echoes: list[tuple[int, int]] = []

    def cover(self, start: int, end: int) -> None:
        self.data[start:end] = b"*" * (end - start)
        self.is_covered = True

    def written(self) -> bytes:
        if self.is_covered:
            for start, end in self.echoes:
                echo = self.data[start:end]
                # A number must stay one.
                self.data[start:end] = (b"1" if echo.isdigit() else b"*") * (end - start)
        return bytes(self.data)


_Place = tuple[_Unit, int, int]


class _OpenText:
    """The end of a text that may be the beginning of a secret. `places`: of its characters, None if written already."""

    __slots__ = ("places", "text", "units")

    def __init__(self, text: str, places: list[_Place | None]) -> None:
        self.text = text
        self.places = places
        self.units = {id(place[0]): place[0] for place in places if place is not None}
        for unit in self.units.values():
            unit.holds += 1

    def release(self) -> None:
        for unit in self.units.values():
            unit.holds -= 1
        self.units = {}


class CoveredStream:
    """A body that arrives in pieces: what can be written of it so far."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._secrets = [one for one in secrets if one]
        self._pattern = pattern_of(self._secrets)
        self._longest = max(map(len, self._secrets), default=0)
        self._texts = sorted({one.decode("utf-8", "replace") for one in self._secrets}, key=len, reverse=True)
        self._text_pattern = re.compile("|".join(map(re.escape, self._texts)))
        self._documents = Documents()
        self._rest = b""
        """The beginning of a line."""
        self._lines: list[bytes] = []
        """The lines of a document that goes on."""
        self._lines_length = 0
        self._is_too_long = False
        """Whether the line goes on that became too long."""
        self._units: deque[_Unit] = deque()
        self._held = 0
        self._open: dict[Hashable, _OpenText] = {}

    def feed(self, data: bytes) -> bytes:
        if self._pattern is None:
            return data
        data = self._rest + data
        at = 0
        for end in _LINE_END.finditer(data):
            self._line(data[at : end.end()])
            at = end.end()
        self._rest = data[at:]
        if self._is_too_long or len(self._rest) + self._lines_length > _LONGEST_UNIT:
            self._give_up()
        return self._released()

    def finish(self) -> bytes:
        if self._pattern is None:
            return b""
        if self._rest:
            self._line(self._rest)
            self._rest = b""
        if self._lines:
            self._unit()
        if self._units:
            last = self._units[-1]
            length, is_telling = self._begun_in_bytes(last.data)
            if is_telling:
                last.cover(len(last.data) - length, len(last.data))
        self._forget()
        return self._released()

    # -- units --

    def _line(self, line: bytes) -> None:
        if self._is_too_long:
            self._is_too_long = False
            self._queue(_Unit(line))
            return
        self._lines.append(line)
        self._lines_length += len(line)
        # An empty line ends an event whatever is open.
        if self._documents.feed(line) or not line.strip() or line.count(b"\n") > 1 or b"\r\r" in line:
            self._unit()

    def _unit(self) -> None:
        data = b"".join(self._lines)
        self._lines, self._lines_length = [], 0
        unit = _Unit(data)
        texts, unit.echoes = self._documents.finish()
        self._queue(unit)
        for text in texts:
            self._go_on(unit, data, text)

    def _queue(self, unit: _Unit) -> None:
        if self._pattern is not None:
            for match in self._pattern.finditer(bytes(unit.data)):
                unit.cover(*match.span())
        self._units.append(unit)
        self._held += len(unit.data)

    def _give_up(self) -> None:
        """Write what is too long to be held, but for its end."""
        data = b"".join((*self._lines, self._rest))
        self._lines, self._lines_length = [], 0
        self._documents.finish()
        self._is_too_long = True
        unit = _Unit(data)
        for match in self._pattern.finditer(data) if self._pattern is not None else ():
            unit.cover(*match.span())
        length, _ = self._begun_in_bytes(unit.data)
        self._rest = bytes(unit.data[len(unit.data) - length :])
        del unit.data[len(unit.data) - length :]
        self._units.append(unit)
        self._held += len(unit.data)

    def _released(self) -> bytes:
        if self._held > _MOST_HELD:
            self._forget()
        written = []
        while self._units and not self._units[0].holds:
            unit = self._units.popleft()
            self._held -= len(unit.data)
            written.append(unit.written())
        return b"".join(written)

    def _forget(self) -> None:
        """Let go of what is held. The beginnings of secrets stay known, so that what follows is covered."""
        for text in self._open.values():
            text.release()
            text.places = [None] * len(text.text)

    def _begun_in_bytes(self, data: bytearray) -> tuple[int, bool]:
        end = data[-self._longest :].decode("latin-1")
        return _begun((one.decode("latin-1") for one in self._secrets), end, 0)

    # -- texts --

    def _go_on(self, unit: _Unit, data: bytes, text: Text) -> None:
        written = data[text.start : text.end]
        if b"\\" not in written and written.isascii():
            value = written.decode("ascii")
            places = None
        else:
            value, places = characters(written, text.start)
        if not value:
            return
        for key in text.keys:
            self._join(key, unit, value, text.start, places)

    def _join(self, key: Hashable, unit: _Unit, value: str, start: int, spans: list[tuple[int, int]] | None) -> None:
        before = self._open.pop(key, None)
        joined = value if before is None else before.text + value
        known = len(joined) - len(value)

        def place(at: int) -> _Place | None:
            if at < known:
                return None if before is None else before.places[at]
            return (unit, *(spans[at - known] if spans is not None else (start + at - known, start + at - known + 1)))

        end = 0
        for match in self._text_pattern.finditer(joined):
            end = match.end()
            _cover(map(place, range(*match.span())))
        length, is_telling = _begun(self._texts, joined, end)
        if length:
            places = [place(at) for at in range(len(joined) - length, len(joined))]
            if is_telling:
                _cover(places)
                places = [None] * length
            self._open[key] = _OpenText(joined[len(joined) - length :], places)
        if before is not None:
            before.release()


def _begun(secrets: Iterable[str], text: str, start: int) -> tuple[int, bool]:
    """How many of the last characters are the beginning of a secret, and whether they tell much of it."""
    longest, is_telling = 0, False
    for secret in secrets:
        at = text.find(secret[0], max(start, len(text) - len(secret) + 1))
        while at >= 0:
            if secret.startswith(text[at:]):
                length = len(text) - at
                tells = length >= max(_TELLING, len(secret) // 2)
                if length >= longest:
                    is_telling = tells or (is_telling and length == longest)
                    longest = length
                break
            at = text.find(secret[0], at + 1)
    return longest, is_telling


def _cover(places: Iterable[_Place | None]) -> None:
    for place in places:
        if place is not None:
            unit, start, end = place
            unit.cover(start, end)
