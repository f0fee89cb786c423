"""Files of every known kind as entries. The beginning of a file says which kind it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

from otel_llm.exchanges import httprr
from otel_llm.exchanges.bodies import BodyReader, is_response, is_whole, whole_entries
from otel_llm.exchanges.cassettes import CASSETTE_KEYS
from otel_llm.exchanges.documents import UNKNOWN_KIND, document_entries
from otel_llm.exchanges.entries import Chunk, Entry, ResponseEnd, ResponseStart
from otel_llm.exchanges.opening import CutFile, opened, title_of
from otel_llm.exchanges.recorded import LONGEST_LINE, MARK, lines_of, open_recording, recorded_entries
from otel_llm.exchanges.traces import trace_entries
from otel_llm.exchanges.yaml_documents import read_yaml
from otel_llm.protocol.errors import UnreadableError, error_in, message_of
from otel_llm.protocol.event_stream import begins_message
from otel_llm.protocol.fields import field, items_of
from otel_llm.protocol.json_values import parse_json

_HEAD = 65_536
_BLOCK = 65_536
_LONGEST_DOCUMENT = 32 * 1_048_576
# PyYAML needs some hundred bytes of memory for each.
_LONGEST_YAML = 16 * 1_048_576

# Some servers tell an error in a field of its own.
_EVENT_FIELD = re.compile(rb"(?:data|error|event|id|retry)?:")
_LAST_EVENTS = frozenset({"response.completed", "response.failed", "response.incomplete"})
_STATUS_LINE = re.compile(rb"HTTP/[\d.]+ (\d{3})")
_HEADERS = re.compile(rb"(?:[^\r\n]+\r?\n)+\r?\n")
_YAML_CASSETTE = re.compile(
    r"(?:%YAML [\d.]+\s+)?(?:---\s*)?(?:#[^\n]*\n\s*)*(?:interactions|http_interactions|version|recorded_with|log)\s*:"
)


def read_exchanges(path: Path) -> Iterator[Entry]:
    """The entries of a file, of standard input for `-`.

    Raises UnreadableError, also after entries that could be read, and OSError.
    """
    with opened(path) as file:
        yield from entries_of(file, title_of(path))


def entries_of(file: IO[bytes], title: str) -> Iterator[Entry]:
    """The entries of a file that `opened` opened. Raises as `read_exchanges` does."""
    damage = file.damage if isinstance(file, CutFile) else None
    try:
        yield from _entries_of(file, title)
    except UnreadableError:
        if damage is None:
            raise
        # What else is wrong follows from it.
    if damage is not None:
        raise damage


def _entries_of(file: IO[bytes], title: str) -> Iterator[Entry]:
    head = file.read(_HEAD)
    if not head.strip():
        raise UnreadableError("it is empty")
    if head.startswith(httprr.MARK):
        file.seek(0)
        yield from httprr.httprr_entries(file)
        return
    if begins_message(head):
        yield from _body(chain([head], _blocks(file)), title)
        return
    if b"\0" in head and saved_head(head) is None:
        raise UnreadableError("it is not text")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    text = start.decode("utf-8", "replace")
    saved = saved_head(start)
    if saved is not None:
        yield from _body(chain([start[saved.length :]], _blocks(file)), title, saved)
    elif is_stream(start):
        yield from _body(chain([head], _blocks(file)), title)
    elif text.startswith(("{", "[")):
        file.seek(0)
        yield from _json(file, title)
    elif _YAML_CASSETTE.match(text):
        file.seek(0)
        yield from document_entries(_yaml(file))
    else:
        raise UnreadableError(UNKNOWN_KIND)


class SavedHead(NamedTuple):
    """What `curl -i` wrote before a body: the last status with its headers, and the length of everything."""

    status: int
    headers: bytes
    length: int

    @property
    def fields(self) -> dict[str, str]:
        """The headers, with names in lower case."""
        lines = (line.partition(":") for line in self.headers.decode("latin-1").splitlines() if ":" in line)
        return {name.strip().lower(): value.strip() for name, _, value in lines}


def saved_head(start: bytes) -> SavedHead | None:
    """The head that a file begins with, or None. Raises UnreadableError if the head does not end."""
    saved = None
    # The heads of a proxy and of `100 Continue` come first.
    while line := _STATUS_LINE.match(start, saved.length if saved else 0):
        headers = _HEADERS.match(start, line.start())
        if headers is None:
            raise UnreadableError("its headers do not end")
        saved = SavedHead(int(line.group(1)), headers.group().partition(b"\n")[2], headers.end())
    return saved


def is_stream(start: bytes) -> bool:
    """Whether a file that begins like this holds server-sent events."""
    return _EVENT_FIELD.match(start) is not None


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def _body(blocks: Iterator[bytes], title: str, saved: SavedHead | None = None) -> Iterator[Entry]:
    status, content_type = (200, "") if saved is None else (saved.status, saved.fields.get("content-type", ""))
    body = BodyReader(title, None, status, content_type, may_lack_body=True, may_be_several=saved is None)
    damage = ""
    for entry in chain(body.all_of((data, None) for data in blocks), body.finish()):
        if isinstance(entry, ResponseEnd) and entry.is_damaged:
            damage = entry.note
        yield entry
    if damage:
        raise UnreadableError(damage)


def _json(file: IO[bytes], title: str) -> Iterator[Entry]:
    """One JSON document, or JSON Lines."""
    first = file.readline(LONGEST_LINE).decode("utf-8-sig", "surrogateescape")
    while not first.strip():
        first = file.readline(LONGEST_LINE).decode("utf-8", "surrogateescape")
    try:
        value = parse_json(first)
    except UnreadableError:
        # The document continues after its first line, or is not JSON.
        file.seek(0)
        yield from document_entries(_document(file))
        return
    lines = lines_of(file)
    if isinstance(value, dict) and MARK in value:
        yield from recorded_entries(title, open_recording(first, lines))
        return
    try:
        second = next((line for line in lines if line.strip()), None)
    except UnreadableError:
        if not isinstance(file, CutFile):
            raise
        second, lines = None, lines_of(file)
    if second is None and not (isinstance(value, dict) and _is_chunk(value)):
        yield from document_entries(value)
        return
    lines = chain([first], [second] if second is not None else [], lines)
    if isinstance(value, dict) and "resourceSpans" in value:
        for number, line in enumerate(lines, 1):
            yield from trace_entries(_line(line, number)) if line.strip() else ()
        return
    if not is_response(value):
        raise UnreadableError("its lines are not chunks of a chat completion")
    yield from _chunk_lines(lines, title)


def _is_chunk(value: dict[str, Any]) -> bool:
    choices = value.get("choices")
    is_chunk = isinstance(choices, list) and (not choices or (isinstance(choices[0], dict) and "delta" in choices[0]))
    return is_chunk or str(value.get("type", "")).startswith("response.")


def _finishes(value: dict[str, Any]) -> bool:
    """Whether a chunk or an event is one of the last of its response."""
    if value.get("type") in _LAST_EVENTS:
        return True
    return any(isinstance(choice, dict) and choice.get("finish_reason") for choice in items_of(value.get("choices")))


def _chunk_lines(lines: Iterator[str], title: str) -> Iterator[Entry]:
    """A chunk, or a whole response, in each line. A new id after a finish reason starts a new response."""
    current: Any = None
    started = finished = False
    offset = count = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            offset += len(line)
            continue
        value = _line(line, number)
        if is_whole(value):
            if started:
                yield ResponseEnd("completed")
            started = finished = False
            count += 1
            yield ResponseStart(title if count == 1 else f"{title} ({count})")
            yield from whole_entries(value, line.strip())
            offset += len(line.encode("utf-8", "surrogateescape"))
            continue
        response_id = value.get("id") or field(value.get("response"), "id")
        if started and finished and response_id and current and response_id != current:
            yield ResponseEnd("completed")
            started = finished = False
        if not started:
            count += 1
            yield ResponseStart(title if count == 1 else f"{title} ({count})")
            started = True
        current = response_id or current
        error = error_in(value)
        if error is not None:
            yield ResponseEnd("error", f"an error: {message_of(error)}")
            started = finished = False
        else:
            yield Chunk(value, line.strip(), offset)
        offset += len(line.encode("utf-8", "surrogateescape"))
        finished = finished or _finishes(value)
    if started:
        yield ResponseEnd("completed")


def _line(line: str, number: int) -> dict[str, Any]:
    try:
        value = parse_json(line)
    except UnreadableError as error:
        raise UnreadableError(f"line {number}: {error}") from None
    if not isinstance(value, dict):
        raise UnreadableError(f"line {number} is not an object")
    return value


def _document(file: IO[bytes]) -> Any:
    data = file.read(_LONGEST_DOCUMENT + 1)
    if len(data) > _LONGEST_DOCUMENT:
        raise UnreadableError(f"it is one document of more than {_LONGEST_DOCUMENT >> 20} MB")
    return parse_json(data.decode("utf-8-sig", "surrogateescape"))


def _yaml(file: IO[bytes]) -> Any:
    data = file.read(_LONGEST_YAML + 1)
    if len(data) > _LONGEST_YAML:
        raise UnreadableError(f"it is a YAML document of more than {_LONGEST_YAML >> 20} MB")
    document = read_yaml(data)
    if not isinstance(document, dict) or not document.keys() & {*CASSETTE_KEYS, "log"}:
        raise UnreadableError("it is YAML, but not a VCR cassette")
    return document
