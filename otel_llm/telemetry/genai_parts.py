"""The content of a message as parts of the GenAI conventions: text, reasoning, files, and a limited amount of bytes.

Content of unknown types is omitted.
"""

from __future__ import annotations

from collections.abc import Iterator
from mimetypes import types_map
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote_to_bytes

from opentelemetry.util.genai.types import (
    BlobPart,
    ContentCapturingMode,
    FilePart,
    MessagePart,
    Modality,
    ReasoningPart,
    TextPart,
    UriPart,
)
from opentelemetry.util.genai.utils import decode_base64, gen_ai_json_dumps, get_content_capturing_mode

from otel_llm.protocol.fields import field, is_a, items_of, text_of
from otel_llm.protocol.gemini_fields import get
from otel_llm.protocol.message_text import part_reasoning
from otel_llm.protocol.unicode_text import exportable
from otel_llm.telemetry.plain_values import plain_value

# All bytes of one request together, on a span or a log record. These travel in batches of hundreds, through receivers
# that commonly accept 4 MB at a time and brokers that accept 1 MB.
_ROOM = 65_536
_LONGEST_ADDRESS = 8_192
_LONGEST_MIME_TYPE = 255

# Parts with a URL, which may be a data URL. The field has the name of the part, or is `image_url`.
_ADDRESSED = {
    "image_url": Modality.IMAGE,
    "input_image": Modality.IMAGE,
    "computer_screenshot": Modality.IMAGE,
    "video_url": Modality.VIDEO,
    "audio_url": Modality.AUDIO,
}
# Blocks of Anthropic's and Bedrock's, whose content is behind a field `source`.
_OF_SOURCE = {
    "image": Modality.IMAGE,
    "document": Modality.DOCUMENT,
    "video": Modality.VIDEO,
    "audio": Modality.AUDIO,
}
_MODALITIES = {"image": Modality.IMAGE, "audio": Modality.AUDIO, "video": Modality.VIDEO}
_AUDIO_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg"}


class Blobs:
    """Parts for the bytes that one request carries. Bytes beyond the limit, or with invalid base64, become a part
    without content, which still shows that there was something.
    """

    def __init__(self) -> None:
        self._room: int | None = None

    def at(self, address: str, modality: Modality, mime_type: str | None = None) -> MessagePart:
        """A part for the content at an address, which may be a data URL. `mime_type`: if something else tells it."""
        address = address.strip()
        if address[:5].lower() != "data:":
            if len(address) > _LONGEST_ADDRESS:
                # Some servers accept the bytes themselves in the field of the address.
                return BlobPart(None, modality, b"")
            return UriPart(None if mime_type is None else exportable(mime_type), modality, exportable(address))
        header, _, payload = address[5:].partition(",")
        mime_type = header.partition(";")[0]
        known = mime_type if 0 < len(mime_type) <= _LONGEST_MIME_TYPE else None
        if ";base64" in header[-16:].lower():
            return self.encoded(payload, known, modality)
        fits = self._may_fit(payload)
        return self._blob(unquote_to_bytes(exportable(payload)) if fits else None, known, modality)

    def encoded(self, data: str, mime_type: str | None, modality: Modality) -> MessagePart:
        """A part for base64 data."""
        return self._blob(decode_base64(data) if self._may_fit(data) else None, mime_type, modality)

    def bytes_of(self, data: Any, mime_type: str | None, modality: Modality) -> MessagePart:
        """A part for bytes as they are."""
        is_kept = is_a(data, (bytes, bytearray)) and len(data) <= self._find_room()
        return self._blob(bytes(data) if is_kept else None, mime_type, modality)

    def _find_room(self) -> int:
        if self._room is None:
            # If content is not sent, only a completion hook receives it, whose purpose is to store large content.
            sent = get_content_capturing_mode() is not ContentCapturingMode.NO_CONTENT
            self._room = _ROOM if sent else 2**63
        return self._room

    def _may_fit(self, payload: str) -> bool:
        """Whether it is worth decoding: both encodings take at most three characters per byte."""
        return len(payload) // 3 <= self._find_room()

    def _blob(self, content: bytes | None, mime_type: str | None, modality: Modality) -> BlobPart:
        if content is None or self._room is None or len(content) > self._room:
            content = b""
        else:
            self._room -= len(content)
        return BlobPart(None if mime_type is None else exportable(mime_type), modality, content)


def content_parts(content: Any, blobs: Blobs) -> Iterator[MessagePart]:
    """The parts of a message's content: text, or a list of parts of chat completions or the Responses API."""
    text = text_of(content)
    if text is not None:
        yield TextPart(exportable(text))
        return
    for item in items_of(content):
        part = _part(item, blobs)
        if part is not None:
            yield part


def _part(item: Any, blobs: Blobs) -> MessagePart | None:
    kind = text_of(field(item, "type"))
    if kind is None and (part := _of_gemini(item, blobs)) is not None:
        return part
    modality = None if kind is None else _ADDRESSED.get(kind)
    if kind is not None and modality is not None:
        there = field(item, kind if kind.endswith("_url") else "image_url")
        address = text_of(there) or text_of(field(there, "url"))
        return _file(item, None, modality) if address is None else blobs.at(address, modality)
    if kind == "input_audio":
        audio = field(item, "input_audio")
        data = text_of(field(audio, "data"))
        mime_type = _AUDIO_TYPES.get(text_of(field(audio, "format")) or "")
        return None if data is None else blobs.encoded(data, mime_type, Modality.AUDIO)
    if kind in {"file", "input_file"}:
        # The Responses API has the fields of a file on the part itself.
        file = field(item, "file")
        return _document(item if file is None else file, blobs)
    if kind in _OF_SOURCE and (source := field(item, "source")) is not None:
        return _from_source(source, _OF_SOURCE[kind], blobs)
    if kind in {"thinking", "reasoning"}:
        text = part_reasoning(item)
        return ReasoningPart(exportable(text)) if text else None
    if kind == "json":
        # A tool's result in Bedrock's Converse API.
        return TextPart(exportable(gen_ai_json_dumps(plain_value(field(item, "json")))))
    text = text_of(item) or text_of(field(item, "text")) or text_of(field(item, "refusal")) or ""
    return TextPart(exportable(text)) if text else None


def _of_gemini(part: Any, blobs: Blobs) -> MessagePart | None:
    """Gemini's bytes, which Google's SDK has as such and the wire in base64, and its files at an address."""
    there = get(part, "inline_data")
    inline = there is not None
    if there is None:
        there = get(part, "file_data")
    if there is None:
        return None
    mime_type = text_of(get(there, "mime_type"))
    modality = _MODALITIES.get((mime_type or "").partition("/")[0], Modality.DOCUMENT)
    if inline:
        data = field(there, "data")
        return (
            blobs.encoded(data, mime_type, modality) if is_a(data, str) else blobs.bytes_of(data, mime_type, modality)
        )
    address = text_of(get(there, "file_uri"))
    return None if address is None else blobs.at(address, modality, mime_type)


def _from_source(source: Any, modality: Modality, blobs: Blobs) -> MessagePart | None:
    """The content of a block: base64 data, bytes, a URL, text, or the id of a file."""
    data, mime_type = text_of(field(source, "data")), text_of(field(source, "media_type"))
    kind = text_of(field(source, "type"))
    if kind == "bytes" and is_a(raw := field(source, "data"), (bytes, bytearray)):
        return blobs.bytes_of(raw, mime_type, modality)
    if kind == "base64" and data is not None:
        return blobs.encoded(data, mime_type, modality)
    if kind == "text" and data is not None:
        return TextPart(exportable(data))
    address = text_of(field(source, "url"))
    return _file(source, mime_type, modality) if address is None else blobs.at(address, modality)


def _document(file: Any, blobs: Blobs) -> MessagePart | None:
    name = text_of(field(file, "filename")) or ""
    mime_type = types_map.get(PurePosixPath(name).suffix.lower())
    known = _file(file, mime_type, Modality.DOCUMENT)
    if known is not None:
        return known
    address = text_of(field(file, "file_url"))
    data = text_of(field(file, "file_data"))
    if address is None and data is not None:
        if data[:5].lower() != "data:":
            return blobs.encoded(data, mime_type, Modality.DOCUMENT)
        address = data
    return None if address is None else blobs.at(address, Modality.DOCUMENT)


def _file(item: Any, mime_type: str | None, modality: Modality) -> FilePart | None:
    file_id = text_of(field(item, "file_id"))
    return None if file_id is None else FilePart(mime_type, modality, exportable(file_id))
