"""A scripted, OpenAI-compatible chat-completions server on loopback: it says exactly what it is told to.

A *script* is the sequence of steps with which one request is answered:

======================  ============================================================================
step                    what the client gets
======================  ============================================================================
a ``dict``              one server-sent event, ``data: <the dict as JSON>``
``bytes``               those bytes, as they are; ``b""`` sends the response's headers and nothing else
:class:`Sleep`          nothing, for a while
:class:`Drop`           a connection that ends in the middle of the body
:class:`Answer`         a whole response that is no stream: a completion, or an HTTP error
======================  ============================================================================

The response's headers go out with the first dict or bytes. The body ends properly when the script does;
nothing is added to it, not even ``[DONE]``, so that a server which forgets things can be played too.

    >>> from otel_llm.demo.scripted_server import DONE, ScriptedServer, chunk, text
    >>> with ScriptedServer([chunk(text("Hello")), chunk(finish_reason="stop"), DONE]) as server:
    ...     client = openai.OpenAI(base_url=server.base_url, api_key="unused")
"""

# ruff: noqa: A002 - `id`, `type` and `format` are what the protocol and the standard library call them
from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

MODEL: Final = "scripted-model"
"""The model that this server says it runs."""

DONE: Final = b"data: [DONE]\n\n"
"""The event with which the protocol ends a stream."""

ABSENT: Final[Any] = object()
"""For a field that the JSON shall not have at all, where ``None`` means ``null``."""

_STOP_TIMEOUT: Final = 5.0  # seconds; every wait below is on something that has been told to end


@dataclass(frozen=True)
class Sleep:
    """Wait ``seconds``, or until the server is stopped."""

    seconds: float


@dataclass(frozen=True)
class Drop:
    """Close the connection here: before the headers if nothing was sent yet, else in the middle of the body.

    With ``reset`` the client meets a TCP reset, else an end of file that comes too early.
    """

    reset: bool = False


@dataclass(frozen=True)
class Answer:
    """A response that is no stream. It must be the only thing the script sends.

    ``body`` is sent as JSON, or as it is when it is ``bytes``.
    """

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Step: TypeAlias = Mapping[str, Any] | bytes | Sleep | Drop | Answer
Script: TypeAlias = Sequence[Step] | Sequence[Sequence[Step]] | Callable[[dict[str, Any]], Iterable[Step]]


@dataclass(frozen=True)
class RecordedRequest:
    """One request as it arrived. ``headers`` have lower-case names; ``body`` is the JSON or None."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


# -- what a server says --


def chunk(
    delta: Mapping[str, Any] | None = None, finish_reason: str | None = None, index: Any = 0, **fields: Any
) -> dict[str, Any]:
    """A ``chat.completion.chunk`` with one choice. ``fields`` add to it or replace (``choices=None``)."""
    choice = {"index": index, "delta": dict(delta or {}), "finish_reason": finish_reason}
    return {**_envelope("chat.completion.chunk"), "choices": [choice], **fields}


def text(content: Any) -> dict[str, Any]:
    """The delta of a choice that says ``content``."""
    return {"content": content}


def tool_call_delta(*, index: Any = 0, id: Any = ABSENT, name: Any = ABSENT, arguments: Any = ABSENT) -> dict[str, Any]:
    """The delta of a choice with one tool-call delta. A field is left out where it is :data:`ABSENT`."""
    is_first = id is not ABSENT or name is not ABSENT
    function = _present(name=name, arguments=arguments)
    call = _present(index=index, id=id, type="function" if is_first else ABSENT, function=function or ABSENT)
    return {"tool_calls": [call]}


def tool_call_chunks(
    name: str, arguments: str, *, id: str = "call_1", index: int = 0, size: int = 4
) -> list[dict[str, Any]]:
    """A whole call as a model streams it: its name, then ``arguments`` in pieces of ``size`` characters."""
    pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    return [
        chunk(tool_call_delta(index=index, id=id, name=name, arguments="")),
        *(chunk(tool_call_delta(index=index, arguments=piece)) for piece in pieces),
    ]


def usage_chunk(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """The chunk without choices that ends a stream for which ``stream_options.include_usage`` was asked."""
    return chunk(choices=[], usage=_usage(prompt_tokens, completion_tokens))


def completion(message: Mapping[str, Any], finish_reason: str = "stop", **fields: Any) -> dict[str, Any]:
    """A ``chat.completion``, for a request with ``stream: false``: ``Answer(completion(text("Hi")))``."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    return {**_envelope("chat.completion"), "choices": [choice], "usage": _usage(1, 1), **fields}


def error_event(message: str, *, type: str = "server_error", code: Any = None) -> dict[str, Any]:
    """What a server puts into the stream, or into the body of a 4xx or 5xx, when it fails."""
    return {"error": {"message": message, "type": type, "code": code}}


def data(value: Any) -> bytes:
    """A server-sent event with any JSON in it, not only objects. Lone surrogates are sent as escapes."""
    return b"data: " + json.dumps(value).encode("ascii") + b"\n\n"


def comment(words: str = "keep-alive") -> bytes:
    """A server-sent comment, which clients skip."""
    return f": {words}\n\n".encode()


def _envelope(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-scripted", "object": kind, "created": 1_700_000_000, "model": MODEL}


def _usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    total = prompt_tokens + completion_tokens
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": total}


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not ABSENT}


# -- the server --


class ScriptedServer:
    """Answers ``POST`` requests by a script, on a free port of 127.0.0.1, until :meth:`close`.

    ``script`` is one sequence of steps, used for every request; or a sequence of those, one for each request
    in the order of arrival (a request beyond the last gets status 400, which SDKs do not retry); or a
    function that is given a request's JSON body and returns the steps, taken one by one as they are sent.

    ``GET …/models`` lists the one model; ``GET …/responses/{id}`` is answered by the script, the body None. As a
    context manager the server closes itself, and raises what went wrong in the script, if anything did.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._scripts_used = 0
        self._lock = threading.Lock()
        self._requests: list[RecordedRequest] = []
        self._script_error: Exception | None = None
        self._server = _HTTPServer(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="scripted-server", daemon=True
        )
        self._thread.start()

    @property
    def base_url(self) -> str:
        """What an SDK takes as its ``base_url``."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests so far, in order of arrival (a copy)."""
        with self._lock:
            return list(self._requests)

    def close(self) -> None:
        """Stop listening, end every connection and wait until all threads are gone, a few seconds at most."""
        self._server.stopping.set()
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join(_STOP_TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self._script_error is not None and error is None:
            raise self._script_error

    def record(self, request: RecordedRequest) -> None:
        with self._lock:
            self._requests.append(request)

    def steps_for(self, body: Any) -> Iterable[Step]:
        if callable(self._script):
            return self._script(body)
        scripts = _as_scripts(self._script)
        if scripts is None:
            return self._script  # type: ignore[return-value]
        with self._lock:
            position = self._scripts_used
            self._scripts_used += 1
        if position >= len(scripts):
            too_many = f"the script answers {len(scripts)} requests, this is one more"
            return [Answer(error_event(too_many), status=400)]
        return scripts[position]

    def script_failed(self, error: Exception) -> None:
        with self._lock:
            self._script_error = self._script_error or error


def _as_scripts(script: Sequence[Any]) -> Sequence[Sequence[Step]] | None:
    """``script`` if it is one script for each request, None if it is one for all."""
    is_script = [isinstance(part, (list, tuple)) for part in script]
    if is_script and all(is_script):
        return script
    if any(is_script):
        raise ValueError("a script is either a sequence of steps or a sequence of scripts, not a mixture")
    return None


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, owner: ScriptedServer) -> None:
        self.owner = owner
        self.stopping = threading.Event()
        self._open: dict[threading.Thread, socket.socket] = {}
        self._open_lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own looks up the host's name, which can take seconds where there is no name service.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name="scripted-server-connection",
            daemon=True,
        )
        with self._open_lock:
            self._open[thread] = request
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._open_lock:
                del self._open[threading.current_thread()]

    def close_connections(self) -> None:
        with self._open_lock:
            still_open = dict(self._open)
        for connection in still_open.values():
            with contextlib.suppress(OSError):  # it had gone already
                connection.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + _STOP_TIMEOUT
        for thread in still_open:
            thread.join(max(0.0, deadline - time.monotonic()))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that leaves is no news, and what a script does wrong is kept by its owner."""


class _ScriptEnd(Exception):  # noqa: N818 - no error, a way out
    """The script ends here, whatever comes after in it."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # each chunk leaves when it is written
    server: _HTTPServer

    def do_GET(self) -> None:
        self._record(None)
        if "/responses/" in self.path:
            # A response that was made before, streamed once more.
            self._run(None)
        elif self.path.rstrip("/").endswith("/models"):
            model = {"id": MODEL, "object": "model", "created": 1_700_000_000, "owned_by": "otel-llm"}
            self._answer(Answer({"object": "list", "data": [model]}))
        else:
            self._answer(Answer(error_event("only models are listed here, and responses fetched"), status=404))

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            self._answer(Answer(error_event("the body is not JSON"), status=400))
            return
        self._record(body)
        self._run(body)

    def _run(self, body: Any) -> None:
        self._streaming = False
        try:
            self._play(body)
        except _ScriptEnd:
            self.close_connection = True
        except ConnectionError:
            self.close_connection = True  # the client left: nothing to tell anyone
        except Exception as error:  # noqa: BLE001 - a mistake in the script belongs to whoever wrote it, not to a thread
            self.close_connection = True
            self.server.owner.script_failed(error)
            if not self._streaming:
                self._answer(Answer(error_event(f"the script failed: {error!r}"), status=400))

    def _play(self, body: Any) -> None:
        answered = False
        for step in self.server.owner.steps_for(body):
            if answered:
                raise ValueError("an Answer is the last thing that a script sends")
            match step:
                case Sleep(seconds):
                    if self.server.stopping.wait(seconds):
                        raise _ScriptEnd
                case Drop(reset):
                    self._drop(reset=reset)
                case Answer():
                    if self._streaming:
                        raise ValueError("an Answer cannot follow what has been streamed already")
                    self._answer(step)
                    answered = True
                case bytes():
                    self._send(step)
                case Mapping():
                    self._send(data(step))
                case _:
                    raise TypeError(f"not a step of a script: {step!r}")
        if not answered:
            self._send(b"")
            self.wfile.write(b"0\r\n\r\n")

    def _send(self, payload: bytes) -> None:
        if not self._streaming:
            self._streaming = True
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            self.send_header("Cache-Control", "no-cache")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
        if payload:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(payload), payload))

    def _answer(self, answer: Answer) -> None:
        payload = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode("ascii")
        headers = {"Content-Type": "application/json", **answer.headers, "Content-Length": str(len(payload))}
        self.send_response(answer.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def _drop(self, *, reset: bool) -> None:
        if reset:
            # With a linger of zero, closing throws away what is unsent and resets the connection.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        raise _ScriptEnd

    def _record(self, body: Any) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.owner.record(RecordedRequest(self.command, self.path, headers, body))

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on the terminal of the application that is being tested."""
