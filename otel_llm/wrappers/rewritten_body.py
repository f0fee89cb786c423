"""Rewrites the tool calls in the bytes of a response, for callers that take bytes or parse them in their own way.

Server-sent events pass as they came, except those that the rewriting changes. A JSON document is held back to its end.
Bodies that are compressed with gzip or deflate are compressed again; anything else that is compressed passes unchanged,
with a warning.
"""

from __future__ import annotations

import json
import logging
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from otel_llm.observation import Observation
from otel_llm.protocol.content_encoding import Expander
from otel_llm.tags.json_objects import parse_objects
from otel_llm.transparency.faults import swallow
from otel_llm.wrappers.rewritten_stream import Rewriting

_logger = logging.getLogger("otel_llm")
_LONGEST_DOCUMENT = 64 * 1_048_576
_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE = re.compile(rb"\r\n|\n|\r")
# Window bits of zlib for the encodings that can be written again.
_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_warned: set[str] = set()


class RewrittenBody:
    """The bytes of one response: `feed`, then `finish`. Neither raises; after a fault, bytes pass as they come.

    `encoding`: the response's `Content-Encoding`.
    """

    def __init__(self, observation: Observation, encoding: str = "") -> None:
        name = encoding.strip().lower()
        is_compressed = name not in {"", "identity"}
        self._recodes = not is_compressed or name in _WINDOWS
        self._has_failed = False
        if not self._recodes:
            _warn_once(name)
            return
        self._expander = Expander(encoding)
        self._compress: Any = zlib.compressobj(wbits=_WINDOWS[name]) if is_compressed else None
        self._rewriting: Rewriting | None = Rewriting(observation)
        self._waiting = b""
        self._searched = 0
        # The event at hand as it came, then what the stage made of it, until that is written.
        self._at_hand = b""
        self._made: list[Any] = []
        self._is_document: bool | None = None
        self._is_over = False
        observation.is_rewritten = True

    @property
    def is_at_work(self) -> bool:
        """Whether the body may be changed: its encoding can be written again."""
        return self._recodes

    @property
    def has_failed(self) -> bool:
        """Whether the rewriting failed, and the bytes passed as they came from there on."""
        return self._has_failed or (self._recodes and self._rewriting is not None and not self._rewriting.works)

    def feed(self, data: bytes) -> bytes:
        """What comes out for some bytes of the body, which may be nothing."""
        if not self._recodes:
            return data
        try:
            pieces = list(self._expander.feed(data))
        except Exception:  # noqa: BLE001  the caller finds out when decoding it
            self._recodes = False
            return data
        return self._written(pieces, self._ready)

    def finish(self) -> bytes:
        """The body has ended: what was held back."""
        if not self._recodes:
            return b""
        rest = self._written([b""], self._rest)
        return rest if self._compress is None else rest + self._compress.flush()

    def _written(self, pieces: list[bytes], make: Callable[[], Iterable[bytes]]) -> bytes:
        """What `make` makes of the bytes that wait, behind each piece; after a fault, the rest as it came."""
        if self._rewriting is None:
            written = b"".join(pieces)
        else:
            ready: list[bytes] = []
            left = iter(pieces)
            try:
                for piece in left:
                    self._waiting += piece
                    for one in make():
                        ready.append(one)  # noqa: PERF402  a fault must not take what is ready
            except Exception as fault:  # noqa: BLE001
                swallow("tag rewriting", fault)
                self._has_failed = True
                ready += [self._as_it_came(self._rewriting), *left]
                self._rewriting = None
            written = b"".join(ready)
        if self._compress is None or not written:
            return written
        compressed: bytes = self._compress.compress(written) + self._compress.flush(zlib.Z_SYNC_FLUSH)
        return compressed

    def _as_it_came(self, rewriting: Rewriting) -> bytes:
        """After a fault: what is made and not written, what earlier events said and was held back, the bytes behind."""
        events = [] if self._is_document else [*self._made, *rewriting.give_back_rest()]
        names = [f"event: {event['type']}\n" if "type" in event else "" for event in events]
        said = "".join(f"{name}data: {json.dumps(event)}\n\n" for name, event in zip(names, events, strict=True))
        return said.encode() + self._at_hand + self._waiting

    def _ready(self) -> Iterator[bytes]:
        """What can be written before more bytes come."""
        if self._is_document is None:
            begun = self._waiting.lstrip()
            if not begun:
                return iter(())
            self._is_document = begun[:1] in b"{["
        if not self._is_document:
            return self._blocks()
        if len(self._waiting) > _LONGEST_DOCUMENT:
            raise ValueError("a document is too long to be rewritten")
        return iter(())

    def _blocks(self) -> Iterator[bytes]:
        """The events that are complete, rewritten."""
        while (end := _BLANK_LINE.search(self._waiting, self._searched)) is not None:
            self._at_hand, self._waiting = self._waiting[: end.end()], self._waiting[end.end() :]
            self._searched = 0
            made = self._event(self._at_hand)
            self._at_hand, self._made = b"", []
            yield made
        # A blank line may be cut.
        self._searched = max(0, len(self._waiting) - 3)

    def _rest(self) -> Iterator[bytes]:
        if self._is_document:
            made = self._document(self._waiting)
            self._waiting = b""
            yield made
            return
        self._at_hand, self._waiting = self._waiting, b""
        made = self._event(self._at_hand) if self._at_hand.strip() else self._at_hand
        self._at_hand, self._made = b"", []
        yield made
        yield self._last_events(b"\n")

    def _document(self, body: bytes) -> bytes:
        return rewritten_document(body, self._rewriting)

    def _event(self, block: bytes) -> bytes:
        """One event of a stream, or the events that it becomes."""
        lines = _LINE.split(block)
        data = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
        if not data:
            return block
        payload = b"\n".join(data)
        newline = b"\r\n" if b"\r\n" in block else b"\n"
        if payload.startswith(b"[DONE]"):
            return self._last_events(newline) + block
        try:
            value = parse_objects(payload)
        except ValueError:
            # The caller finds out when parsing it.
            return block
        if not isinstance(value, dict) or self._rewriting is None or value.get("error"):
            return block
        taken = self._rewriting.take(value)
        made = self._made = taken if isinstance(taken, list) else [taken]
        self._at_hand = b""
        if len(made) == 1 and made[0] is value and value == json.loads(payload):
            return block
        others = [line for line in lines if line and not line.startswith((b"data:", b"event:"))]
        is_named = any(line.startswith(b"event:") for line in lines)
        return b"".join(
            _encoded(one, newline, others if place == 0 else [], is_named=is_named) for place, one in enumerate(made)
        )

    def _last_events(self, newline: bytes) -> bytes:
        """The events with what was held back, at the end of the stream. Only once."""
        if self._is_over or self._rewriting is None:
            return b""
        self._is_over = True
        self._made = self._rewriting.finish()
        return b"".join(_encoded(one, newline, [], is_named="type" in one) for one in self._made)


def rewritten_document(body: bytes, rewriting: Rewriting | None) -> bytes:
    """A whole response, rewritten. The same bytes if there is nothing to rewrite."""
    try:
        value = parse_objects(body)
    except ValueError:
        return body
    if not isinstance(value, dict) or rewriting is None:
        return body
    rewriting.rewrite_response(value)
    return body if value == json.loads(body) else _json(value)


def _encoded(event: Any, newline: bytes, others: list[bytes], *, is_named: bool) -> bytes:
    named = [b"event: " + str(event.get("type")).encode()] if is_named and "type" in event else []
    return newline.join([*named, *others, b"data: " + _json(event), b"", b""])


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _warn_once(encoding: str) -> None:
    if encoding not in _warned:
        _warned.add(encoding)
        _logger.warning(
            "tool_call_tags: bytes compressed with %s are not rewritten; gzip, deflate and uncompressed bytes are.",
            encoding[:20],
        )
