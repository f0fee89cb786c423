"""Files that are one document with many exchanges in it: VCR cassettes, HTTP archives (HAR), OTLP JSON.  Pure."""

from __future__ import annotations

import base64
import binascii
import codecs
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from otel_llm.exchanges.bodies import BodyReader, is_chat_completion, whole_entries
from otel_llm.exchanges.entries import Entry, ReportedSpan, ResponseStart
from otel_llm.protocol.content_encoding import expanded
from otel_llm.protocol.errors import UnreadableError
from otel_llm.protocol.json_values import parse_json
from otel_llm.telemetry import semconv

# vcrpy's; those of betamax and of Ruby's VCR.
CASSETTE_KEYS = ("interactions", "http_interactions")
_MOST_VALUES = 200_000


def document_entries(document: Any) -> Iterator[Entry]:
    """The entries of what the document holds. Raises UnreadableError where it is none of the known ones."""
    if isinstance(document, Mapping):
        for key in CASSETTE_KEYS:
            if isinstance(document.get(key), list):
                yield from _cassette(document[key])
                return
        if isinstance(_map(document.get("log")).get("entries"), list):
            yield from _archive(document["log"]["entries"])
            return
        if isinstance(document.get("resourceSpans"), list):
            yield from otlp_entries(document)
            return
        if is_chat_completion(document):
            yield ResponseStart("response")
            yield from whole_entries(document, json.dumps(document)[:1000])
            return
    if isinstance(document, list) and document and all(is_chat_completion(one) for one in document):
        yield ResponseStart("list of chunks")
        yield from whole_entries(document, "")
        return
    raise UnreadableError(
        "it is neither a stream, nor chunks, a recording, a VCR cassette, an HTTP archive nor OTLP JSON"
    )


def _cassette(interactions: Sequence[Any]) -> Iterator[Entry]:
    for number, entry in enumerate(interactions, 1):
        request, response = _map(_map(entry).get("request")), _map(_map(entry).get("response"))
        # vcrpy had `content` and `status_code` for what httpx sent.
        body = response.get("body", response.get("content"))
        data = _bytes(_map(body).get("string") if isinstance(body, Mapping) else body)
        if isinstance(body, Mapping) and "base64_string" in body:
            data = _base64(body["base64_string"], number)
        encoding = _header(response.get("headers"), "content-encoding")
        asked = request.get("body")
        asked = asked.get("string") if isinstance(asked, Mapping) else asked
        # Some recorders keep JSON as what it is.
        asked = request.get("parsed_body") if asked is None else asked
        if not data and response.get("parsed_body") is not None:
            data = _bounded_json(response["parsed_body"])
        told = response.get("status", response.get("status_code"))
        status = _status(told.get("code") if isinstance(told, Mapping) else told)
        yield from _exchange(number, str(request.get("uri", "")), request, _request(asked), data, encoding, status)


def _archive(entries: Sequence[Any]) -> Iterator[Entry]:
    for number, entry in enumerate(entries, 1):
        request, response = _map(_map(entry).get("request")), _map(_map(entry).get("response"))
        content = _map(response.get("content"))
        data = _bytes(content.get("text"))
        if content.get("encoding") == "base64":
            data = _base64(data, number)
        status = _status(response.get("status"))
        if content.get("text") is None and status == 200:
            # What saved the archive left the body out.
            continue
        asked = _request(_map(request.get("postData")).get("text"))
        # An archive holds bodies as they are behind their compression.
        yield from _exchange(number, str(request.get("url", "")), request, asked, data, "", status)


def _exchange(
    number: int,
    url: str,
    sent: Mapping[str, Any],
    request: Mapping[str, Any] | None,
    data: bytes,
    encoding: str,
    status: int,
) -> Iterator[Entry]:
    """The entries of one exchange; none where it is no chat completion."""
    if str(sent.get("method", "POST")).upper() != "POST":
        # Another site's question whether it may ask, or a stored completion.
        return
    path = url.partition("?")[0].partition("://")[2]
    if "/completions" not in path and not isinstance(_map(request).get("messages"), list):
        return
    # Some recorders decompress and keep the header, others lose it.
    if data[:2] == b"\x1f\x8b" or (encoding and not _is_text(data)):
        data = b"".join(expanded([data], encoding or "gzip"))
    if "/completions" not in path and b'"choices"' not in data:
        # Messages are sent to other APIs too.
        return
    body = BodyReader(f"exchange {number} {path[path.find('/') :]}", request, status)
    yield from body.feed(data)
    yield from body.finish()


def _status(value: Any) -> int:
    """The status of HTTP, 200 where nothing tells. An archive has 0 where no answer came."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 200


def _base64(data: Any, number: int) -> bytes:
    try:
        return base64.b64decode(data, validate=False)
    except (binascii.Error, ValueError, TypeError):
        raise UnreadableError(f"the body of exchange {number} is no base64") from None


def _is_text(data: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(data[:1024])
    except UnicodeDecodeError:
        return False
    return "\0" not in text


def _request(body: Any) -> Mapping[str, Any] | None:
    data = _bounded_json(body) if isinstance(body, Mapping) else _bytes(body)
    if not data:
        return None
    try:
        value = parse_json(data.decode("utf-8", "surrogateescape"))
    except UnreadableError:
        return None
    return value if isinstance(value, Mapping) else None


def _bounded_json(value: Any) -> bytes:
    """A value as JSON. In YAML a few lines can stand for any number of values. Raises UnreadableError."""
    pending, count = [value], 0
    while pending:
        one = pending.pop()
        count += 1
        if count > _MOST_VALUES:
            raise UnreadableError(f"a body has more than {_MOST_VALUES} values")
        if isinstance(one, Mapping):
            pending.extend(one.values())
        elif isinstance(one, list):
            pending.extend(one)
    return json.dumps(value, default=str).encode("ascii")


def _bytes(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    return body.encode("utf-8", "surrogatepass") if isinstance(body, str) else b""


def _header(headers: Any, name: str) -> str:
    for key, value in _map(headers).items():
        if str(key).lower() == name:
            return str(value[0] if isinstance(value, list) and value else value)
    return ""


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


# OTLP ---------------------------------------------------------------------------------------------------------


def otlp_entries(document: Mapping[str, Any]) -> Iterator[Entry]:
    """The spans of chat completions: ours as they were told, others by their messages."""
    for resource in _list(document.get("resourceSpans")):
        for scope in _list(_map(resource).get("scopeSpans")):
            for span in _list(_map(scope).get("spans")):
                yield from _span(_map(span))


def _span(span: Mapping[str, Any]) -> Iterator[Entry]:
    attributes = _attributes(span.get("attributes"))
    events = [
        (
            str(_map(event).get("name", "")),
            _nanoseconds(_map(event).get("timeUnixNano")),
            _attributes(event.get("attributes")),
        )
        for event in _list(span.get("events"))
        if isinstance(event, Mapping)
    ]
    name = str(span.get("name", "span"))
    if any(key.startswith(semconv.NAMESPACE) for key in attributes) or any(
        name.startswith(semconv.NAMESPACE) for name, *_ in events
    ):
        started = _nanoseconds(span.get("startTimeUnixNano"))
        ended = _nanoseconds(span.get("endTimeUnixNano")) or started
        status = _map(span.get("status"))
        error = str(status.get("message", "")) if status.get("code") in {2, "STATUS_CODE_ERROR"} else ""
        yield ReportedSpan(name, attributes, events, started, ended, error)
        return
    messages = _json(attributes.get(semconv.GEN_AI_OUTPUT_MESSAGES))
    if isinstance(messages, list) and messages:
        tools = _json(attributes.get(semconv.GEN_AI_TOOL_DEFINITIONS))
        request = {"tools": [_tool(one) for one in tools]} if isinstance(tools, list) else None
        yield ResponseStart(f"span {name}", request)
        choices = [_choice(index, _map(message)) for index, message in enumerate(messages)]
        response = {"model": attributes.get(semconv.GEN_AI_RESPONSE_MODEL), "choices": choices}
        yield from whole_entries(response, json.dumps(response)[:1000])


def _choice(index: int, message: Mapping[str, Any]) -> dict[str, Any]:
    """A choice of the API from a message of the GenAI conventions, whose arguments are parsed already."""
    calls = []
    texts = []
    for part in map(_map, _list(message.get("parts"))):
        if part.get("type") == "tool_call":
            arguments = part.get("arguments")
            text = arguments if isinstance(arguments, str) else "" if arguments is None else json.dumps(arguments)
            function = {"name": part.get("name"), "arguments": text}
            calls.append({"id": part.get("id"), "type": "function", "function": function})
        elif part.get("type") == "text":
            texts.append(str(part.get("content", "")))
    reason = message.get("finish_reason")
    return {
        "index": index,
        "message": {"role": "assistant", "content": "".join(texts) or None, "tool_calls": calls or None},
        "finish_reason": "tool_calls" if reason == "tool_call" else reason,
    }


def _tool(definition: Any) -> Any:
    return definition if "function" in _map(definition) else {"type": "function", "function": definition}


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value)
    except UnreadableError:
        return None


def _attributes(entries: Any) -> dict[str, Any]:
    return {str(_map(entry).get("key", "")): _any_value(_map(entry).get("value"), 0) for entry in _list(entries)}


def _any_value(value: Any, depth: int) -> Any:
    value = _map(value)
    for kind in ("stringValue", "boolValue", "doubleValue"):
        if kind in value:
            return value[kind]
    if "intValue" in value:
        return _nanoseconds(value["intValue"])
    if depth > 50:
        return None
    if "arrayValue" in value:
        return [_any_value(one, depth + 1) for one in _list(_map(value["arrayValue"]).get("values"))]
    if "kvlistValue" in value:
        entries = _list(_map(value["kvlistValue"]).get("values"))
        return {str(_map(one).get("key", "")): _any_value(_map(one).get("value"), depth + 1) for one in entries}
    return None


def _nanoseconds(value: Any) -> int:
    # 64-bit integers are strings in OTLP JSON.
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
