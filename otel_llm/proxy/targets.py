"""The target of a request line: refused unless it is a plain path of this server.  Pure.

Forms: RFC 9112, 3.2. Only the origin form is served. What follows the path never chooses a server: each connection goes
to a configured one, and a target only says what is asked for there.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_SEPARATOR = re.compile(rb"[/\\]")
_NOT_ALLOWED = re.compile(rb"[\x00-\x20\x7f-\xff#\\]")
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
    # Some servers cut a segment at a semicolon before they look for dots.
    segments = (segment.partition(b";")[0] for segment in _SEPARATOR.split(unquote_to_bytes(path)))
    if not _DOTS.isdisjoint(segments):
        raise RefusedTarget("the request target has a segment of dots")
    return path, mark + query
