"""Opens a file of any kind as one of bytes that can be read again from its beginning.

`-` is standard input. What gzip compressed is expanded, and UTF-16, which PowerShell's `>` writes, becomes UTF-8: into
temporary files, so memory stays small. Of compressed data that is cut off or damaged, the part before that is read.
"""

from __future__ import annotations

import codecs
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, cast

from otel_llm.protocol.content_encoding import Expander, TooLongError
from otel_llm.protocol.errors import UnreadableError

STANDARD_INPUT = "-"
_BLOCK = 65_536
_IN_MEMORY = 8 * 1_048_576
_LONGEST_EXPANDED = 1024 * 1_048_576
_GZIP_MAGIC = b"\x1f\x8b\x08"
_LOOKED_AT = 32
_PIECE = 256
# With gzip's check sum and length.
_END = 16


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The file, at its beginning: a `CutFile` if only a part of it could be expanded.

    Raises OSError, and UnreadableError if it cannot be expanded at all, or to too much.
    """
    damage: list[UnreadableError] = []
    with ExitStack() as stack:
        if str(path) == STANDARD_INPUT:
            if sys.stdin is None:
                raise UnreadableError("there is no standard input")
            file = stack.enter_context(_spooled(_blocks(sys.stdin.buffer)))
        else:
            file = stack.enter_context(path.open("rb"))
            if not file.seekable():
                # A pipe, as `<(command)` is.
                file = stack.enter_context(_spooled(_blocks(file)))
        start = file.read(_LOOKED_AT)
        if start.startswith(_GZIP_MAGIC):
            file.seek(0)
            file = stack.enter_context(_spooled(_expanded(_blocks(file), damage)))
            start = file.read(_LOOKED_AT)
        encoding = _utf_16(start)
        file.seek(0)
        if encoding is not None:
            file = stack.enter_context(_spooled(_as_utf_8(_blocks(file), encoding)))
        yield cast("IO[bytes]", CutFile(file, damage[0])) if damage else file


class CutFile:
    """The readable part of a file. Where a file would be at its end, this raises `damage`."""

    def __init__(self, file: IO[bytes], damage: UnreadableError) -> None:
        self._file = file
        self.damage = damage

    def read(self, size: int = -1) -> bytes:
        return self._or_raise(self._file.read(size))

    def readline(self, size: int = -1) -> bytes:
        return self._or_raise(self._file.readline(size))

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)

    def _or_raise(self, data: bytes) -> bytes:
        if not data:
            raise self.damage
        return data


def title_of(path: Path) -> str:
    """The name by which a file's responses are shown."""
    return "standard input" if str(path) == STANDARD_INPUT else path.name


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


@contextmanager
def _spooled(blocks: Iterable[bytes]) -> Iterator[IO[bytes]]:
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
        for block in blocks:
            file.write(block)
        file.seek(0)
        yield file


def _expanded(blocks: Iterable[bytes], damage: list[UnreadableError]) -> Iterator[bytes]:
    """The expanded bytes. What ends them too early is added to `damage`."""
    expander = Expander("gzip", _LONGEST_EXPANDED)
    try:
        for piece in _in_pieces(blocks):
            yield from expander.feed(piece)
        expander.finish()
    except TooLongError:
        raise
    except UnreadableError as error:
        damage.append(UnreadableError(f"the file is cut off, or damaged: {error}"))


def _in_pieces(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Small pieces, and the end byte by byte: where data is damaged, as by a wrong check sum, a whole piece is lost."""
    end = b""
    for block in blocks:
        data = end + block
        for at in range(0, len(data) - _END, _PIECE):
            yield data[at : min(at + _PIECE, len(data) - _END)]
        end = data[-_END:]
    for at in range(len(end)):
        yield end[at : at + 1]


def _utf_16(start: bytes) -> str | None:
    """The encoding, if a file that begins like this is UTF-16."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not start.startswith(codecs.BOM_UTF32_LE):
        return "utf-16"
    even, odd = start[::2], start[1::2]
    if len(start) < _LOOKED_AT:
        even, odd = even[:2], odd[:2]
    if not even or not odd:
        return None
    # Every kind of file begins with ASCII.
    if not any(odd) and all(even):
        return "utf-16-le"
    return "utf-16-be" if not any(even) and all(odd) else None


def _as_utf_8(blocks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    for block in blocks:
        yield decoder.decode(block).encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")
