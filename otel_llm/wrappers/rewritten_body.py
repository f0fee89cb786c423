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
from collections.abc import Callable, Iterator
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
        if not self._recodes:
            _warn_once(name)
            return
        self._expander = Expander(encoding)
        self._compress: Any = zlib.compressobj(wbits=_WINDOWS[name]) if is_compressed else None
        self._rewriting: Rewriting | None = Rewriting(observation)
        self._waiting = b""
        self._searched = 0
        self._is_document: bool | None = None
        self._is_over = False
        observation.is_rewritten = True

    def feed(self, data: bytes) -> bytes:
        """What comes out for some bytes of the body, which may be nothing."""
        if not self._recodes:
            return data
        try:
            pieces = list(self._expander.feed(data))
        except Exception:  # noqa: BLE001  the caller finds out when decoding it
            self._recodes = False
            return data
        return self._written(pieces, lambda: b"".join(map(self._expanded, pieces)))

    def finish(self) -> bytes:
        """The body has ended: what was held back."""
        if not self._recodes:
            return b""
        rest = self._written([], self._rest)
        return rest if self._compress is None else rest + self._compress.flush()

    def _written(self, pieces: list[bytes], make: Callable[[], bytes]) -> bytes:
        """What `make` returns; after a fault, what was held back and the pieces as they came."""
        if self._rewriting is None:
            made = b"".join(pieces)
        else:
            before = self._waiting
            try:
                made = make()
            except Exception as fault:  # noqa: BLE001
                swallow("tag rewriting", fault)
                made, self._waiting = b"".join((before, *pieces)), b""
                if not self._is_document:
                    # What earlier events said, and was held back.
                    held = self._rewriting.give_back_rest()
                    made = b"".join(_encoded(one, b"\n", [], is_named="type" in one) for one in held) + made
                self._rewriting = None
        if self._compress is None or not made:
            return made
        compressed: bytes = self._compress.compress(made) + self._compress.flush(zlib.Z_SYNC_FLUSH)
        return compressed

    def _expanded(self, piece: bytes) -> bytes:
        self._waiting += piece
        if self._is_document is None:
            begun = self._waiting.lstrip()
            if not begun:
                return b""
            self._is_document = begun[:1] in b"{["
        if self._is_document:
            if len(self._waiting) > _LONGEST_DOCUMENT:
                raise ValueError("a document is too long to be rewritten")
            return b""
        return b"".join(self._blocks())

    def _blocks(self) -> Iterator[bytes]:
        """The events that are complete, rewritten."""
        while (end := _BLANK_LINE.search(self._waiting, self._searched)) is not None:
            block, rest = self._waiting[: end.end()], self._waiting[end.end() :]
            made = self._event(block)
            self._waiting, self._searched = rest, 0
            yield made
        # A blank line may be cut.
        self._searched = max(0, len(self._waiting) - 3)

    def _rest(self) -> bytes:
        waiting = self._waiting
        if self._is_document:
            made = self._document(waiting)
        else:
            made = self._event(waiting) if waiting.strip() else waiting
            made += self._last_events(b"\n")
        self._waiting = b""
        return made

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
        made = self._rewriting.take(value)
        if made is value and value == json.loads(payload):
            return block
        if isinstance(made, list) and len(made) == 1 and made[0] is value and value == json.loads(payload):
            return block
        others = [line for line in lines if line and not line.startswith((b"data:", b"event:"))]
        is_named = any(line.startswith(b"event:") for line in lines)
        return b"".join(
            _encoded(one, newline, others if place == 0 else [], is_named=is_named)
            for place, one in enumerate(made if isinstance(made, list) else [made])
        )

    def _last_events(self, newline: bytes) -> bytes:
        """The events with what was held back, at the end of the stream. Only once."""
        if self._is_over or self._rewriting is None:
            return b""
        self._is_over = True
        return b"".join(_encoded(one, newline, [], is_named="type" in one) for one in self._rewriting.finish())


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
