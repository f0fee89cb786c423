"""The target of a request line: refused unless it is a plain path of this server.  Pure.

Forms: RFC 9112, 3.2. Only the origin form is served. What follows the path never chooses a server: each connection goes
to a configured one, and a target only says what is asked for there.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_SEPARATOR = re.compile(rb"[/\\]")
_NOT_ALLOWED = re.compile(rb"[\x00-\x20\x7f-\xff#\\]")
# No name has these, not even encoded: control characters, and bytes that some decoders read as a dot or a slash.
_NOT_EVEN_ENCODED = re.compile(rb"[\x00-\x1f\x7f\xc0\xc1]")
_DOTS = frozenset({b".", b".."})


class RefusedTarget(ValueError):  # noqa: N818 - what happens to the request
    """The message says why, for the client."""


def checked_target(target: bytes) -> tuple[bytes, bytes]:
    """Path and query (with its question mark) of a target, both undecoded. Raises RefusedTarget."""
    if not target.startswith(b"/"):
        raise RefusedTarget("the request target must be a path: this is no proxy for other servers")
    if _NOT_ALLOWED.search(target) is not None:
        raise RefusedTarget("the request target has a character that no URL has")
    path, mark, query = target.partition(b"?")
    decoded = unquote_to_bytes(path)
    if _NOT_EVEN_ENCODED.search(decoded) is not None:
        raise RefusedTarget("the request target has an encoded character that no path has")
    # Some servers cut a segment at a semicolon, or spaces off it, before they look for dots.
    segments = (segment.partition(b";")[0].strip(b" ") for segment in _SEPARATOR.split(decoded))
    if not _DOTS.isdisjoint(segments):
        raise RefusedTarget("the request target has a segment of dots")
    return path, mark + query
