"""GET over HTTP, bounded in time and size, with failures in words."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from typing import Any, Final

from otel_llm.serving.loopback import is_loopback

_TIMEOUT: Final = 5.0  # seconds
_MOST: Final = 16_000_000  # bytes

# This machine is never reached through a proxy, whatever the environment says.
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_BY_ENVIRONMENT: Final = urllib.request.build_opener()


class NoAnswer(Exception):  # noqa: N818 - a way out, with the reason in its text
    """There is no usable answer; the text says why, without the URL. `refused`: nothing listens there."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused


def get(url: str, **query: object) -> str:
    """The body of a successful response. Raises NoAnswer."""
    if query:
        url += "?" + urllib.parse.urlencode(query)
    host = urllib.parse.urlsplit(url).hostname or ""
    opener = _DIRECT if is_loopback(host) else _BY_ENVIRONMENT
    try:
        with opener.open(url, timeout=_TIMEOUT) as response:
            body: bytes = response.read(_MOST)
    except urllib.error.HTTPError as error:
        with error:
            raise NoAnswer(f"HTTP status {error.code}") from error
    except urllib.error.URLError as error:
        refused = isinstance(error.reason, ConnectionRefusedError)
        raise NoAnswer("nothing listens there" if refused else str(error.reason), refused=refused) from error
    except (OSError, HTTPException, ValueError) as error:
        raise NoAnswer(f"it is not an HTTP server ({type(error).__name__})") from error
    return body.decode("utf-8", "replace")


def get_json(url: str, **query: object) -> Any:
    """The same, read as JSON. Raises NoAnswer."""
    body = get(url, **query)
    try:
        return json.loads(body)
    except ValueError as error:
        raise NoAnswer("the answer is not JSON: something else listens there") from error
