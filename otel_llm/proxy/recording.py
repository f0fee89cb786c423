"""Recordings of the exchanges with models that pass the proxy: a file each, with the exact bytes and their timing."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from otel_llm.exchanges.recorder import RecordedExchange
from otel_llm.exchanges.redaction import Redactor, secrets_in_request
from otel_llm.proxy.background import Background
from otel_llm.proxy.headers import Fields

if TYPE_CHECKING:
    from otel_llm.proxy.exchange import Request
    from otel_llm.proxy.upstreams import Upstream

_RECORDED_PATHS = (
    b"/completions",
    b"/responses",
    b"/v1/messages",
    b"/converse",
    b"/converse-stream",
    b":generateContent",
    b":streamGenerateContent",
)
_SHOWN_OF_A_PATH = 100
_SHOWN_OTHERS = 8
_SECONDS_TO_END = 10.0


class Recorder:
    """Writes to `folder`, in a thread of its own. `tell` is called with a line about each recording."""

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._tell = tell
        self._numbers = itertools.count(1)
        self._files = Background("otel-llm-proxy-recordings")
        self.unkept = Unkept()

    def takes(self, request: Request) -> bool:
        """Whether a request is recorded. All are counted."""
        self.unkept.requests += 1
        path = request.path
        if request.method == b"POST" and path.endswith(_RECORDED_PATHS):
            return True
        query = request.query[1:].decode("latin-1")
        hidden = Redactor(secrets_in_request(_text(request.fields), query, None, "")).hide(path.decode("latin-1"))
        self.unkept.others[f"{request.method.decode('latin-1')} {hidden[:_SHOWN_OF_A_PATH]}"] += 1
        return False

    def begin(self, request: Request, upstream: Upstream, path: bytes, body: bytes) -> Recorded:
        """The recording of one exchange. `path`: the one at the server."""
        target = f"{'https' if upstream.is_tls else 'http'}://{urlsplit(upstream.url).netloc}"
        exchange = RecordedExchange(
            unquote(path.decode("latin-1")),
            _text(request.fields),
            request.query[1:].decode("latin-1"),
            body,
            target + path.decode("latin-1"),
        )
        return Recorded(self, exchange)

    def post(self, function: Callable[[], object], size: int = 0) -> bool:
        return self._files.post(function, size)

    def begin_file(self, exchange: RecordedExchange, status: int, fields: Fields) -> None:
        exchange.begin(self._folder, self._numbers, status, _text(fields))

    def ended(self, exchange: RecordedExchange, end: str) -> None:
        """Write the last line of a file, and tell of it."""
        if exchange.path is None or not exchange.end(end):
            return
        self.unkept.compressed += not exchange.is_readable
        self._tell(f"{exchange.path}: {end}")
        if exchange.failure and exchange.failure != end:
            self._tell(f"{exchange.path}: {exchange.failure}")
        if exchange.anomalies:
            self._tell(f"{exchange.path}: {', '.join(exchange.anomalies)}")

    def close(self) -> None:
        """Write what is still to be written."""
        self._files.close(_SECONDS_TO_END)


class Recorded:
    """One exchange that is recorded. Its methods return at once."""

    def __init__(self, recorder: Recorder, exchange: RecordedExchange) -> None:
        self._recorder = recorder
        self._exchange = exchange
        self._is_complete = True

    def head(self, status: int, fields: Fields) -> None:
        self._recorder.post(partial(self._recorder.begin_file, self._exchange, status, fields))

    def data(self, data: bytes) -> None:
        if self._is_complete:
            seconds = self._exchange.seconds()
            self._is_complete = self._recorder.post(partial(self._exchange.data, data, seconds), len(data))

    def end(self, end: str, *, unreached: bool = False) -> None:
        if unreached:
            self._recorder.unkept.unreached += 1
        if not self._is_complete:
            end = "error: more came than could be written"
        self._recorder.post(partial(self._recorder.ended, self._exchange, end))


class Unkept:
    """What came and was not recorded."""

    def __init__(self) -> None:
        self.requests = 0
        """All that came, recorded or not."""
        self.others: Counter[str] = Counter()
        """Requests that are none for a model, by method and path."""
        self.unreached = self.compressed = 0

    def told(self) -> Iterator[str]:
        """Sentences for the end."""
        if not self.requests:
            yield "no request came"
            return
        if self.others:
            shown = ", ".join(f"{one} ({count})" for one, count in self.others.most_common(_SHOWN_OTHERS))
            more = sum(self.others.values()) - sum(count for _, count in self.others.most_common(_SHOWN_OTHERS))
            yield (f"not recorded, as only requests to models are: {shown}" + (f" and {more} more" if more else ""))
        if self.unreached:
            requests = f"{self.unreached} request{'' if self.unreached == 1 else 's'}"
            yield f"not recorded: {requests}, as the server could not be reached"
        if self.compressed:
            yield f"recorded without the body, which the server compressed: {self.compressed}"


def _text(fields: Fields) -> list[tuple[str, str]]:
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in fields]
