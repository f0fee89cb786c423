"""The OTLP receiver: endpoints over HTTP, protobuf and JSON, and as gRPC.

A gRPC package would add 19 MB for one method. Over the HTTP/2 of the ASGI server that method is one message in and one
out, each after five bytes, and a status in the trailers
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).

Metrics and log records are accepted and dropped, so an application with the default exporters needs no settings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_llm.exchanges import otlp
from otel_llm.view.http import Headers, RefusedError, Request, Room, decompress
from otel_llm.view.intake import Intake
from otel_llm.view.safety import RETRY_AFTER

_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_TRACES: Final = "/v1/traces"
_HTTP_PATHS: Final = frozenset({_TRACES, "/v1/metrics", "/v1/logs"})
_GRPC_TRACES: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_GRPC_PATHS: Final = frozenset(
    {
        _GRPC_TRACES,
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    }
)
_HEAD: Final = 5  # bytes before a gRPC message: whether it is compressed, and its length

# Values of google.rpc.Code. Exporters retry only after 14.
_INVALID, _TIMEOUT, _DENIED, _EXHAUSTED, _UNIMPLEMENTED, _INTERNAL, _UNAVAILABLE, _UNAUTHENTICATED = (
    3,
    4,
    7,
    8,
    12,
    13,
    14,
    16,
)
_CODES: Final = {
    400: _INVALID,
    401: _UNAUTHENTICATED,
    403: _DENIED,
    404: _UNIMPLEMENTED,
    405: _UNIMPLEMENTED,
    408: _TIMEOUT,
    413: _EXHAUSTED,
    415: _UNIMPLEMENTED,
    503: _UNAVAILABLE,
}


def is_otlp(request: Request) -> bool:
    """Whether a request is for an OTLP endpoint."""
    return request.path in _HTTP_PATHS or is_grpc(request)


def is_grpc(request: Request) -> bool:
    """Whether a request is a gRPC call."""
    return request.content_type.partition("+")[0] == "application/grpc"


class Receiver:
    """Answers exporters."""

    def __init__(self, intake: Intake, room: Room) -> None:
        self._intake = intake
        self._room = room

    async def answer(self, request: Request) -> None:
        """Store the request and acknowledge it. Raises RefusedError, for `refuse`."""
        if is_grpc(request):
            await self._answer_grpc(request)
            return
        if request.method != "POST":
            raise RefusedError(405, "Send telemetry with POST.")
        kind = request.content_type
        if kind not in {_PROTOBUF, _JSON}:
            raise RefusedError(415, f"Supported content types are {_PROTOBUF} and {_JSON}.")
        with self._room.share() as take:
            body = await request.body(take)
            encoding = request.headers.get(b"content-encoding", b"").decode("latin-1")
            parse = otlp.parse_json if kind == _JSON else otlp.parse_protobuf
            await self._take(body, encoding, parse, request.path == _TRACES)
        await request.answer(200, b"{}" if kind == _JSON else b"", kind)

    async def _take(
        self, body: bytes, encoding: str, parse: Callable[[bytes], ExportTraceServiceRequest], is_traces: bool
    ) -> None:
        if is_traces:
            await self._intake.take(lambda: parse(decompress(body, encoding)))

    async def _answer_grpc(self, request: Request) -> None:
        if request.path not in _GRPC_PATHS or request.method != "POST":
            raise RefusedError(404, "There is no such method.")
        with self._room.share() as take:
            body = await request.body(take)
            if len(body) < _HEAD or len(body) != _HEAD + int.from_bytes(body[1:_HEAD], "big") or body[0] > 1:
                raise RefusedError(400, "The body is not one gRPC message.")
            encoding = request.headers.get(b"grpc-encoding", b"").decode("latin-1") if body[0] else ""
            if body[0] and encoding in {"", "identity"}:
                raise RefusedError(400, "The message is compressed, but has no grpc-encoding.")
            await self._take(body[_HEAD:], encoding, otlp.parse_protobuf, request.path == _GRPC_TRACES)
        await _send_grpc(request, bytes(_HEAD), [(b"grpc-status", b"0")])


async def refuse(request: Request, error: RefusedError) -> None:
    """Answer with an error as OTLP defines it: a google.rpc.Status in the encoding of the request, or trailers."""
    may_retry = error.status in {429, 503}
    status = Status(code=_CODES.get(error.status, _INTERNAL), message=error.sentence)
    if is_grpc(request):
        trailers = [
            (b"grpc-status", str(status.code).encode()),
            (b"grpc-message", quote(error.sentence, safe=" !#$&'()*+,/:;=?@[]").encode()),
        ]
        if may_retry:
            status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=RETRY_AFTER)))
            trailers.append((b"grpc-status-details-bin", _base64(status.SerializeToString())))
        await _send_grpc(request, b"", trailers)
        return
    headers: list[tuple[bytes, bytes]] = [(b"retry-after", str(RETRY_AFTER).encode())] if may_retry else []
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if request.content_type == _PROTOBUF:
        await request.answer(error.status, status.SerializeToString(), _PROTOBUF, headers)
    else:
        document: dict[str, Any] = json_format.MessageToDict(status)
        await request.answer_json(document, error.status, headers)


async def _send_grpc(request: Request, body: bytes, trailers: Headers) -> None:
    await request.start(
        200,
        [(b"content-type", b"application/grpc"), (b"grpc-accept-encoding", b"identity,gzip,deflate")],
        trailers=True,
    )
    await request.write(body)
    await request.end_with(trailers)


def _base64(data: bytes) -> bytes:
    import base64

    return base64.b64encode(data).rstrip(b"=")
