"""Decodes the `Content-Encoding` of HTTP bodies while they come.  Pure.

The names of the encodings: https://www.iana.org/assignments/http-parameters
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

from otel_llm.protocol.errors import UnreadableError

_MOST_AT_ONCE = 1_048_576  # bytes
_LONGEST_EXPANDED = 64 * 1_048_576
# zstandard cannot limit its output; so few bytes expand to about 32 MB at most.
_SLICE = 1024

_Feed = Callable[[bytes], Iterator[bytes]]


def expanded(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """The decoded bytes of a body. Raises UnreadableError, as Expander does."""
    expander = Expander(encoding)
    for piece in pieces:
        yield from expander.feed(piece)


class Expander:
    """Decodes one body, piece by piece.

    br and zstd need the packages that HTTP clients use for them. Raises UnreadableError: when it is made, if the
    encoding is unknown or its package is not installed; and in `feed`, if the body is damaged or expands to more than
    64 MB.
    """

    def __init__(self, encoding: str) -> None:
        name = encoding.strip().lower()
        self._feed: _Feed | None = None
        if name not in {"", "identity"}:
            if name not in _FEEDS:
                raise UnreadableError(f"a body is compressed with {name[:20]!r}: record it without compression")
            self._feed = _FEEDS[name]()
        self._length = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        if self._feed is None:
            yield piece
            return
        try:
            for data in self._feed(piece):
                self._length += len(data)
                if self._length > _LONGEST_EXPANDED:
                    raise UnreadableError(f"a compressed body is longer than {_LONGEST_EXPANDED >> 20} MB")
                yield data
        except UnreadableError:
            raise
        except Exception as error:  # noqa: BLE001  each package has an error class of its own
            raise UnreadableError(f"a compressed body is damaged: {error}") from None


def _zlib(*, bare: bool) -> _Feed:
    """gzip or zlib, by the header. `bare`: perhaps without a header, as some servers send `deflate`."""
    inflating: Any = None

    def feed(piece: bytes) -> Iterator[bytes]:
        nonlocal inflating
        if inflating is None and piece:
            # The low four bits of every zlib header are 8.
            inflating = zlib.decompressobj(-15 if bare and piece[0] & 15 != 8 else 47)
        rest = piece
        while rest:
            yield inflating.decompress(rest, _MOST_AT_ONCE)
            rest = inflating.unconsumed_tail

    return feed


def _brotli() -> _Feed:
    module = _first_of("br", "brotli", "brotli", "brotlicffi")
    process = module.Decompressor().process
    try:
        process(b"", output_buffer_limit=1)
    except TypeError:
        raise UnreadableError("a body is compressed with 'br': install brotli 1.2 or newer to read it") from None

    def feed(piece: bytes) -> Iterator[bytes]:
        rest = piece
        while data := process(rest, output_buffer_limit=_MOST_AT_ONCE):
            yield data
            rest = b""

    return feed


def _zstd() -> _Feed:
    module = _first_of("zstd", "backports.zstd", "compression.zstd", "backports.zstd", "zstandard")
    if module.__name__ == "zstandard":
        return _zstd_of_zstandard(module)
    frame: Any = None

    def feed(piece: bytes) -> Iterator[bytes]:
        nonlocal frame
        rest = piece
        while rest or frame is not None:
            if frame is None:
                frame = module.ZstdDecompressor()
            yield frame.decompress(rest, _MOST_AT_ONCE)
            rest = b""
            if frame.eof:
                rest, frame = frame.unused_data, None
            elif frame.needs_input:
                return

    return feed


def _zstd_of_zstandard(module: Any) -> _Feed:
    decompressor = module.ZstdDecompressor().decompressobj(read_across_frames=True)

    def feed(piece: bytes) -> Iterator[bytes]:
        for at in range(0, len(piece), _SLICE):
            yield decompressor.decompress(piece[at : at + _SLICE])

    return feed


def _first_of(encoding: str, package: str, *modules: str) -> Any:
    """The first of these modules that is installed."""
    for name in modules:
        with suppress(ImportError):
            return import_module(name)
    raise UnreadableError(
        f"a body is compressed with {encoding!r}: install {package} to read it, or record it without compression"
    )


_FEEDS: Mapping[str, Callable[[], _Feed]] = {
    "gzip": partial(_zlib, bare=False),
    "x-gzip": partial(_zlib, bare=False),
    "deflate": partial(_zlib, bare=True),
    "br": _brotli,
    "zstd": _zstd,
}
