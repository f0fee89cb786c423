"""Files to show: OTLP JSON as it is, and recorded responses as the spans that their observation would have made."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from otel_llm._version import __version__
from otel_llm.exchanges import otlp
from otel_llm.exchanges.opening import CutFile, opened, title_of
from otel_llm.exchanges.reading import entries_of
from otel_llm.exchanges.verdicts import UNREAD, Verdict, judge
from otel_llm.protocol.errors import UnreadableError
from otel_llm.protocol.unicode_text import exportable
from otel_llm.telemetry import semconv

_HEAD = 65_536


class File(NamedTuple):
    """What a file holds, and sentences about what of it is not shown."""

    request: ExportTraceServiceRequest
    unshown: list[str]


def read_file(path: Path) -> File:
    """The spans of a file; `-` is standard input. Raises UnreadableError and OSError."""
    with opened(path) as file:
        head = file.read(_HEAD)
        file.seek(0)
        if b"resourceSpans" in head and head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
            return File(otlp.parse_file(file.read()), [str(file.damage)] if isinstance(file, CutFile) else [])
        request = ExportTraceServiceRequest()
        resource_spans = request.resource_spans.add()
        resource_spans.resource.attributes.append(_attribute(semconv.SERVICE_NAME, title_of(path)))
        scope_spans = resource_spans.scope_spans.add()
        scope_spans.scope.name, scope_spans.scope.version = "otel_llm", __version__
        unshown: list[str] = []
        started_ns = path.stat().st_mtime_ns if path.exists() else time.time_ns()
        # The same file again replaces its spans.
        ids = hashlib.sha256(f"{path.absolute()} {started_ns}".encode("utf-8", "surrogateescape")).digest()
        try:
            for number, verdict in enumerate(judge(entries_of(file, title_of(path)))):
                if verdict.outcome == UNREAD:
                    unshown.append(f"{verdict.title}: {verdict.note}")
                    continue
                span_id = hashlib.sha256(ids + number.to_bytes(8, "big")).digest()[: otlp.ID_LENGTHS["spanId"]]
                scope_spans.spans.append(_span(verdict, ids[: otlp.ID_LENGTHS["traceId"]], span_id, started_ns))
                started_ns = scope_spans.spans[-1].end_time_unix_nano
        except UnreadableError as error:
            if not scope_spans.spans:
                raise
            unshown.append(str(error))
    if not scope_spans.spans and not unshown:
        raise UnreadableError("it holds no chat completion and no response of the Responses API")
    return File(request, unshown)


def _span(verdict: Verdict, trace_id: bytes, span_id: bytes, started_ns: int) -> Span:
    model = verdict.attributes.get(semconv.GEN_AI_REQUEST_MODEL) or ""
    attributes = {semconv.GEN_AI_OPERATION_NAME: semconv.OPERATION_CHAT, **verdict.attributes}
    span = Span(
        trace_id=trace_id,
        span_id=span_id,
        name=exportable(f"{semconv.OPERATION_CHAT} {model}".rstrip()),
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=started_ns,
        end_time_unix_nano=started_ns + verdict.ended_ns - verdict.started_ns,
        attributes=_attributes(attributes),
    )
    for name, time_ns, of_event in verdict.events:
        span.events.add(
            name=name,
            time_unix_nano=started_ns + time_ns - verdict.started_ns,
            attributes=_attributes(of_event),
        )
    if verdict.outcome == "error":
        span.status.code = Status.STATUS_CODE_ERROR
        span.status.message = exportable(verdict.note)
    return span


def _attributes(attributes: Mapping[str, Any]) -> Iterable[KeyValue]:
    return [_attribute(name, value) for name, value in attributes.items() if value not in (None, "")]


def _attribute(name: str, value: Any) -> KeyValue:
    made = KeyValue(key=name)
    if isinstance(value, bool):
        made.value.bool_value = value
    elif isinstance(value, int):
        made.value.int_value = value
    elif isinstance(value, float):
        made.value.double_value = value
    else:
        made.value.string_value = exportable(str(value))
    return made
