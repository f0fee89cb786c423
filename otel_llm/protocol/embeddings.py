"""What a response of an embeddings API says besides the vectors: model, tokens, number of dimensions.  Pure.

Shape: the OpenAI API reference, "Create embeddings". A vector is a list of numbers or, with the encoding `base64`, the
base64 of 32-bit floats. Vectors are large, so none of their numbers is read: a list has a length, a text too, and of
a body only the first vector is looked through for its end.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from otel_llm.protocol.fields import field, index_of, items_of, text_of

# Shorter bodies are parsed. In longer ones, the fields besides the vectors are near the beginning or the end.
_SHORT = 8_192
_NEAR = 4_096
_LONGEST_NAME = 1_024
_MODEL = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.){1,1024}")')
_TOKENS = re.compile(rb'"prompt_tokens"\s*:\s*(\d{1,18})\b')
_VECTOR = re.compile(rb'"embedding"\s*:\s*(["\[])')
_FLOAT_SIZE = 4  # bytes


class Embeddings(NamedTuple):
    """None where the response does not say it."""

    model: str | None = None
    input_tokens: int | None = None
    dimensions: int | None = None
    """Of the first vector."""


def read_embeddings(response: Any) -> Embeddings:
    """Read a response: an SDK's object, or the decoded JSON."""
    try:
        model, tokens, data = response.model, response.usage.prompt_tokens, response.data
        vector = data[0].embedding
    except Exception:  # noqa: BLE001  a mapping, or a response that lacks a field
        model, tokens = field(response, "model"), field(field(response, "usage"), "prompt_tokens")
        data = items_of(field(response, "data"))
        vector = field(data[0], "embedding") if data else None
    model = text_of(model)
    return Embeddings(None if model is None else model[:_LONGEST_NAME], index_of(tokens), _dimensions(vector))


def read_embeddings_body(body: bytes) -> Embeddings:
    """Read a body of any length; what cannot be found in it is None."""
    if len(body) <= _SHORT:
        try:
            return read_embeddings(json.loads(body))
        except ValueError:
            return Embeddings()
    ends = body[:_NEAR] + b"\n" + body[-_NEAR:]
    model, tokens, vector = _MODEL.search(ends), _TOKENS.search(ends), _VECTOR.search(body, 0, _NEAR)
    return Embeddings(
        None if model is None else _unescaped(model.group(1)),
        None if tokens is None else int(tokens.group(1)),
        None if vector is None else _dimensions_at(body, vector.end(), is_text=vector.group(1) == b'"'),
    )


def _dimensions(vector: Any) -> int | None:
    if type(vector) is list:
        return len(vector) or None
    text = text_of(vector)
    if text is not None:
        return _dimensions_of_base64(len(text), text.count("=", -2))
    try:
        # A list, or an array of a client that makes its own.
        return len(vector) or None
    except Exception:  # noqa: BLE001  no vector
        return None


def _dimensions_at(body: bytes, start: int, *, is_text: bool) -> int | None:
    end = body.find(b'"' if is_text else b"]", start)
    if end < 0:
        return None
    if is_text:
        return _dimensions_of_base64(end - start, body.count(b"=", max(start, end - 2), end))
    return body.count(b",", start, end) + 1 if body[start:end].strip() else None


def _dimensions_of_base64(length: int, padding: int) -> int | None:
    size, rest = divmod(length * 3 // 4 - padding, _FLOAT_SIZE)
    return size if size > 0 and not rest else None


def _unescaped(name: bytes) -> str | None:
    try:
        return text_of(json.loads(name))
    except ValueError:
        return None
