"""OTLP: bodies and files in, protobuf messages and plain attributes out.

OTLP JSON is protobuf's JSON with three differences: ids are hex, enums are numbers, unknown fields are ignored
(specification: "JSON Protobuf Encoding"). Ids in base64, as protobuf's own JSON has them, are read too.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from otel_llm.protocol.errors import UnreadableError

Attributes = dict[str, Any]

ID_LENGTHS = {"traceId": 16, "spanId": 8, "parentSpanId": 8}
"""Bytes, by the name of the field."""
_DEEPEST = 64
_LARGEST_EXACT = 2**53  # what a browser's numbers hold


def parse_protobuf(body: bytes) -> ExportTraceServiceRequest:
    """The request in `body`. Raises UnreadableError."""
    request = ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
    except (DecodeError, ValueError) as error:
        raise UnreadableError(f"it is not an ExportTraceServiceRequest: {error}") from None
    return request


def parse_json(body: bytes | str) -> ExportTraceServiceRequest:
    """The request in OTLP JSON. Raises UnreadableError."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"it is not JSON: {str(error)[:500]}") from None
    return parse_document(document)


def parse_document(document: Any) -> ExportTraceServiceRequest:
    """The request in decoded OTLP JSON, which is changed. Raises UnreadableError."""
    request = ExportTraceServiceRequest()
    if not isinstance(document, dict):
        raise UnreadableError("it is not OTLP JSON: an object is expected")
    try:
        _ids_to_base64(document, 0)
        json_format.ParseDict(document, request, ignore_unknown_fields=True)
    except (ValueError, TypeError, AttributeError, RecursionError, json_format.ParseError) as error:
        raise UnreadableError(f"it is not OTLP JSON: {str(error)[:500]}") from None
    return request


def parse_file(body: bytes) -> ExportTraceServiceRequest:
    """What a file of OTLP JSON holds: one request, or one a line, as the collector's file exporter writes.

    Raises UnreadableError.
    """
    first, *others = (line for line in body.splitlines() if line.strip()) if body.strip() else (b"",)
    try:
        request = parse_json(first)
    except UnreadableError:
        return parse_json(body)
    number = 1
    try:
        for number, line in enumerate(others, 2):  # noqa: B007 - used below
            request.MergeFrom(parse_json(line))
    except UnreadableError as error:
        raise UnreadableError(f"line {number}: {error}") from None
    return request


def to_json(message: ResourceSpans) -> dict[str, Any]:
    """A message as OTLP JSON, which `parse_document` and every OTLP receiver read."""
    document: dict[str, Any] = {
        "resourceSpans": [json_format.MessageToDict(message, use_integers_for_enums=True)],
    }
    for scope in document["resourceSpans"][0].get("scopeSpans", ()):
        for span in scope.get("spans", ()):
            for holder in (span, *span.get("links", ())):
                for name in ID_LENGTHS:
                    if name in holder:
                        holder[name] = base64.b64decode(holder[name]).hex()
    return document


def _ids_to_base64(value: Any, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError("nested too deep")
    if isinstance(value, list):
        for one in value:
            _ids_to_base64(one, depth + 1)
    elif isinstance(value, dict):
        for name, one in value.items():
            if isinstance(one, (dict, list)):
                # An attribute may have any name.
                if name not in {"attributes", "value", "body"}:
                    _ids_to_base64(one, depth + 1)
            elif name in ID_LENGTHS and isinstance(one, str):
                value[name] = _id_in_base64(name, one)


def _id_in_base64(name: str, text: str) -> str:
    try:
        return base64.b64encode(binascii.unhexlify(text)).decode()
    except (binascii.Error, ValueError):
        # Base64 of these lengths ends in a character that is no hexadecimal digit.
        if len(text) != len(base64.b64encode(bytes(ID_LENGTHS[name]))):
            raise ValueError(f"{name} is not hex") from None
        return text


def attributes_of(entries: Any) -> Attributes:
    """A list of `KeyValue` as plain data, which JSON can hold."""
    found: Attributes = {}
    for entry in entries:
        value = entry.value
        kind = value.WhichOneof("value")
        # Nearly all are one of these two.
        if kind == "string_value":
            found[entry.key] = value.string_value
        elif kind == "int_value":
            found[entry.key] = _integer(value.int_value)
        else:
            found[entry.key] = _any_value(value, kind, 0)
    return found


def _integer(number: int) -> int | str:
    return number if -_LARGEST_EXACT <= number <= _LARGEST_EXACT else str(number)


def _any_value(value: AnyValue, kind: str | None, depth: int) -> Any:
    match kind:
        case "string_value":
            return value.string_value
        case "int_value":
            return _integer(value.int_value)
        case "bool_value":
            return value.bool_value
        case "double_value":
            # JSON has no NaN and no infinity.
            return value.double_value if math.isfinite(value.double_value) else str(value.double_value)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case _ if depth > _DEEPEST:
            return None
        case "array_value":
            return [_any_value(one, one.WhichOneof("value"), depth + 1) for one in value.array_value.values]
        case "kvlist_value":
            return {
                entry.key: _any_value(entry.value, entry.value.WhichOneof("value"), depth + 1)
                for entry in value.kvlist_value.values
            }
    return None
