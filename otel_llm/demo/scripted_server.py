"""A scripted, OpenAI-compatible chat-completions server on the loopback interface: it sends exactly what it is given.

A *script* is the sequence of steps by which one request is answered:

======================  ============================================================================
step                    what the client receives
======================  ============================================================================
a ``dict``              one server-sent event, ``data: <the dict as JSON>``
``bytes``               those bytes; ``b""`` sends the headers of the response and nothing else
:class:`Sleep`          nothing, for a while
:class:`Drop`           the end of the connection in the middle of the body
:class:`Answer`         a whole response, not a stream: a completion, or an HTTP error
======================  ============================================================================

The headers are sent with the first dict or bytes. The body ends properly when the script ends; nothing is added to it,
not even ``[DONE]``, so a server that forgets it can be played, too.

    >>> from otel_llm.demo.scripted_server import DONE, ScriptedServer, chunk, text
    >>> with ScriptedServer([chunk(text("Hello")), chunk(finish_reason="stop"), DONE]) as server:
    ...     client = openai.OpenAI(base_url=server.base_url, api_key="unused")
"""

# ruff: noqa: A002 - `id` and `type` are what the protocol calls them
from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from otel_llm.demo.scripted_http import STOP_TIMEOUT, Connection, ConnectionEnd, HTTPServer

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

MODEL: Final = "scripted-model"
"""The name of the server's model."""

DONE: Final = b"data: [DONE]\n\n"
"""The event that ends a stream in the protocol."""

ABSENT: Final[Any] = object()
"""For a field that the JSON does not have, while ``None`` means ``null``."""


@dataclass(frozen=True)
class Sleep:
    """Wait ``seconds``, or until the server is stopped."""

    seconds: float


@dataclass(frozen=True)
class Drop:
    """Close the connection: before the headers if nothing was sent yet, else in the middle of the body.

    With ``reset`` the client receives a TCP reset, else a premature end of file.
    """

    reset: bool = False


@dataclass(frozen=True)
class Answer:
    """A whole response. It must be the only thing that the script sends.

    ``body`` is sent as JSON, ``bytes`` as they are.
    """

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Step: TypeAlias = Mapping[str, Any] | bytes | Sleep | Drop | Answer
Script: TypeAlias = Sequence[Step] | Sequence[Sequence[Step]] | Callable[[dict[str, Any]], Iterable[Step]]


@dataclass(frozen=True)
class RecordedRequest:
    """A request. ``headers`` have lower-case names; ``body`` is the decoded JSON, or None."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


# -- what a server sends --


def chunk(
    delta: Mapping[str, Any] | None = None, finish_reason: str | None = None, index: Any = 0, **fields: Any
) -> dict[str, Any]:
    """A ``chat.completion.chunk`` with one choice. ``fields`` are added, or replace others (``choices=None``)."""
    choice = {"index": index, "delta": dict(delta or {}), "finish_reason": finish_reason}
    return {**_envelope("chat.completion.chunk"), "choices": [choice], **fields}


def text(content: Any) -> dict[str, Any]:
    """The delta of a choice with this text."""
    return {"content": content}


def tool_call_delta(*, index: Any = 0, id: Any = ABSENT, name: Any = ABSENT, arguments: Any = ABSENT) -> dict[str, Any]:
    """The delta of a choice with one tool-call delta. Fields that are :data:`ABSENT` are omitted."""
    is_first = id is not ABSENT or name is not ABSENT
    function = _present(name=name, arguments=arguments)
    call = _present(index=index, id=id, type="function" if is_first else ABSENT, function=function or ABSENT)
    return {"tool_calls": [call]}


def tool_call_chunks(
    name: str, arguments: str, *, id: str = "call_1", index: int = 0, size: int = 4
) -> list[dict[str, Any]]:
    """A whole tool call as it is streamed: the name, then ``arguments`` in pieces of ``size`` characters."""
    pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    return [
        chunk(tool_call_delta(index=index, id=id, name=name, arguments="")),
        *(chunk(tool_call_delta(index=index, arguments=piece)) for piece in pieces),
    ]


def usage_chunk(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """The chunk without choices that ends a stream with ``stream_options.include_usage``."""
    return chunk(choices=[], usage=_usage(prompt_tokens, completion_tokens))


def completion(message: Mapping[str, Any], finish_reason: str = "stop", **fields: Any) -> dict[str, Any]:
    """A ``chat.completion``, for a request with ``stream: false``: ``Answer(completion(text("Hi")))``."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    return {**_envelope("chat.completion"), "choices": [choice], "usage": _usage(1, 1), **fields}


def error_event(message: str, *, type: str = "server_error", code: Any = None) -> dict[str, Any]:
    """A server's error, as an event of a stream or as the body of an HTTP error."""
    return {"error": {"message": message, "type": type, "code": code}}


def data(value: Any) -> bytes:
    """A server-sent event with any JSON value. Lone surrogates are sent as escapes."""
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

    ``script`` is one sequence of steps, played for every request; or a sequence of those, one for each request in order
    of arrival (further requests get status 400, which SDKs do not retry); or a function that is called with a request's
    JSON body and returns the steps, which are taken one by one as they are sent.

    ``GET …/models`` lists the one model; ``GET …/responses/{id}`` is answered by the script, with None as the body. As
    a context manager the server closes itself, and raises what went wrong in the script, if anything did.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._scripts_used = 0
        self._lock = threading.Lock()
        self._requests: list[RecordedRequest] = []
        self._script_error: Exception | None = None
        self._server = HTTPServer(self._handle)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="scripted-server", daemon=True
        )
        self._thread.start()

    @property
    def base_url(self) -> str:
        """The ``base_url`` for an SDK."""
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
        self._thread.join(STOP_TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self._script_error is not None and error is None:
            raise self._script_error

    def _handle(self, connection: Connection, raw: bytes) -> None:
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            _answer(connection, Answer(error_event("the body is not JSON"), status=400))
            return
        headers = {name.lower(): value for name, value in connection.headers.items()}
        with self._lock:
            self._requests.append(RecordedRequest(connection.command, connection.path, headers, body))
        # A response that was made before is streamed once more by GET.
        if connection.command == "POST" or "/responses/" in connection.path:
            self._run(connection, body)
        elif connection.path.rstrip("/").endswith("/models"):
            model = {"id": MODEL, "object": "model", "created": 1_700_000_000, "owned_by": "otel-llm"}
            _answer(connection, Answer({"object": "list", "data": [model]}))
        else:
            _answer(connection, Answer(error_event("only models and responses can be fetched here"), status=404))

    def _run(self, connection: Connection, body: Any) -> None:
        try:
            _play(self._steps_for(body), connection)
        except (ConnectionEnd, ConnectionError):
            raise
        except Exception as error:
            # Raised by `__exit__`, for the author of the script.
            with self._lock:
                self._script_error = self._script_error or error
            if not connection.is_streaming:
                _answer(connection, Answer(error_event(f"the script failed: {error!r}"), status=400))
            raise ConnectionEnd from error

    def _steps_for(self, body: Any) -> Iterable[Step]:
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


def _as_scripts(script: Sequence[Any]) -> Sequence[Sequence[Step]] | None:
    """``script`` if it is one script for each request, None if it is one for all."""
    is_script = [isinstance(part, (list, tuple)) for part in script]
    if is_script and all(is_script):
        return script
    if any(is_script):
        raise ValueError("a script is either a sequence of steps or a sequence of scripts, not a mixture")
    return None


def _play(steps: Iterable[Step], connection: Connection) -> None:
    has_answered = False
    for step in steps:
        if has_answered:
            raise ValueError("an Answer must be the last step of a script")
        match step:
            case Sleep(seconds):
                connection.sleep(seconds)
            case Drop(reset):
                connection.drop(reset=reset)
            case Answer():
                if connection.is_streaming:
                    raise ValueError("an Answer cannot follow a stream")
                _answer(connection, step)
                has_answered = True
            case bytes():
                connection.send(step)
            case Mapping():
                connection.send(data(step))
            case _:
                raise TypeError(f"not a step of a script: {step!r}")
    if not has_answered:
        connection.end_stream()


def _answer(connection: Connection, answer: Answer) -> None:
    payload = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode("ascii")
    connection.answer(payload, answer.status, {"Content-Type": "application/json", **answer.headers})
