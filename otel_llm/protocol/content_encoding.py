"""Decodes the `Content-Encoding` of HTTP bodies while they come.  Pure.

The names of the encodings: https://www.iana.org/assignments/http-parameters
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any, Protocol

from otel_llm.protocol.errors import UnreadableError

_MOST_AT_ONCE = 1_048_576  # bytes
_LONGEST_EXPANDED = 64 * 1_048_576
# zstandard cannot limit its output; so few bytes expand to about 32 MB at most.
_SLICE = 1024
_GZIP_MAGIC = b"\x1f\x8b"


class TooLongError(UnreadableError):
    """A compressed body expands to more than the limit."""


class _Decoder(Protocol):
    def feed(self, piece: bytes) -> Iterator[bytes]: ...

    @property
    def is_complete(self) -> bool:
        """Whether the compressed data may end here."""


def expanded(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """The decoded bytes of a body. Raises UnreadableError, as Expander does."""
    expander = Expander(encoding)
    for piece in pieces:
        yield from expander.feed(piece)


class Expander:
    """Decodes one body, piece by piece.

    br and zstd need the packages that HTTP clients use for them. Raises UnreadableError: when it is made, if the
    encoding is unknown or its package is not installed; in `feed`, if the body is damaged; and TooLongError if it
    expands to more than `limit` bytes.
    """

    def __init__(self, encoding: str, limit: int = _LONGEST_EXPANDED) -> None:
        name = encoding.strip().lower()
        self._decoder: _Decoder | None = None
        if name not in {"", "identity"}:
            if name not in _DECODERS:
                raise UnreadableError(f"a body is compressed with {name[:20]!r}: record it without compression")
            self._decoder = _DECODERS[name]()
        self._limit = limit
        self._length = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        if self._decoder is None:
            yield piece
            return
        try:
            for data in self._decoder.feed(piece):
                self._length += len(data)
                if self._length > self._limit:
                    raise TooLongError(f"a compressed body is longer than {self._limit >> 20} MB")
                yield data
        except UnreadableError:
            raise
        except Exception as error:  # noqa: BLE001  each package has an error class of its own
            raise UnreadableError(f"a compressed body is damaged: {error}") from None

    def finish(self) -> None:
        """Raises UnreadableError if the compressed body ends too early."""
        if self._decoder is not None and not self._decoder.is_complete:
            raise UnreadableError("a compressed body ends too early")


class _Zlib:
    """gzip, in one or several members, or zlib, told apart by the first byte; or `bare`, without a header."""

    def __init__(self, *, bare: bool) -> None:
        self._bare = bare
        self._stream: Any = None

    def feed(self, piece: bytes) -> Iterator[bytes]:
        rest = piece
        while rest:
            if self._stream is None:
                # No zlib header begins with another nibble.
                self._stream = zlib.decompressobj(-15 if self._bare and rest[0] & 15 != 8 else 47)
            yield self._stream.decompress(rest, _MOST_AT_ONCE)
            rest = self._stream.unconsumed_tail
            if self._stream.eof and self._stream.unused_data.startswith(_GZIP_MAGIC):
                rest, self._stream = self._stream.unused_data, None

    @property
    def is_complete(self) -> bool:
        return self._stream is None or bool(self._stream.eof)


class _Brotli:
    def __init__(self) -> None:
        module = _first_of("br", "brotli", "brotli", "brotlicffi")
        self._decompressor = module.Decompressor()
        try:
            self._decompressor.process(b"", output_buffer_limit=1)
        except TypeError:
            raise UnreadableError("a body is compressed with 'br': install brotli 1.2 or newer to read it") from None

    def feed(self, piece: bytes) -> Iterator[bytes]:
        rest = piece
        while data := self._decompressor.process(rest, output_buffer_limit=_MOST_AT_ONCE):
            yield data
            rest = b""

    @property
    def is_complete(self) -> bool:
        return bool(self._decompressor.is_finished())


class _Zstd:
    """zstd, in one or several frames."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._frame: Any = None

    def feed(self, piece: bytes) -> Iterator[bytes]:
        rest = piece
        while rest or self._frame is not None:
            if self._frame is None:
                self._frame = self._module.ZstdDecompressor()
            yield self._frame.decompress(rest, _MOST_AT_ONCE)
            rest = b""
            if self._frame.eof:
                rest, self._frame = self._frame.unused_data, None
            elif self._frame.needs_input:
                return

    @property
    def is_complete(self) -> bool:
        return self._frame is None


class _ZstdOfZstandard:
    def __init__(self, module: Any) -> None:
        self._decompressor = module.ZstdDecompressor().decompressobj(read_across_frames=True)

    def feed(self, piece: bytes) -> Iterator[bytes]:
        for at in range(0, len(piece), _SLICE):
            yield self._decompressor.decompress(piece[at : at + _SLICE])

    @property
    def is_complete(self) -> bool:
        return True  # it does not tell


def _zstd() -> _Decoder:
    module = _first_of("zstd", "backports.zstd", "compression.zstd", "backports.zstd", "zstandard")
    return _ZstdOfZstandard(module) if module.__name__ == "zstandard" else _Zstd(module)


def _first_of(encoding: str, package: str, *modules: str) -> Any:
    """The first of these modules that is installed."""
    for name in modules:
        with suppress(ImportError):
            return import_module(name)
    raise UnreadableError(
        f"a body is compressed with {encoding!r}: install {package} to read it, or record it without compression"
    )


_DECODERS: Mapping[str, Callable[[], _Decoder]] = {
    "gzip": partial(_Zlib, bare=False),
    "x-gzip": partial(_Zlib, bare=False),
    "deflate": partial(_Zlib, bare=True),
    "br": _Brotli,
    "zstd": _zstd,
}
