"""Reads Gemini's values: fields are `snake_case` in Google's SDK, `camelCase` on the wire.  Pure; never raises.

Source: the Gemini API reference, "Generating content" (`Content`, `Part`, `FunctionCall`).
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from otel_llm.protocol.fields import field, is_empty, is_mapping, text_of

SERVER_PARTS = ("executable_code", "code_execution_result", "tool_call", "tool_response")
"""Parts about what the server runs by itself. `tool_call` is a call of Google's own tools."""
MEDIA_PARTS = ("inline_data", "file_data")


@lru_cache(maxsize=256)
def camel(name: str) -> str:
    """The spelling on the wire of a field."""
    first, *rest = name.split("_")
    return first + "".join([word.capitalize() for word in rest])


def get(thing: Any, name: str) -> Any:
    """The field `name`, in either spelling; None if there is none."""
    value = field(thing, name)
    if value is None and thing is not None and "_" in name:
        kind: type = type(thing)
        if is_mapping(kind):
            return field(thing, camel(name))
    return value


def word_of(value: Any) -> str | None:
    """A word of an enumeration, None if it is unspecified."""
    # The SDK's enumerations are strings, whose hash is not that of the string.
    word = text_of(field(value, "value")) if value is not None and type(value) is not str else text_of(value)
    return None if word is None or word.endswith("UNSPECIFIED") else str(word)


def is_call(function_call: Any) -> bool:
    """Whether a `function_call` says anything."""
    return function_call is not None and not all(
        is_empty(get(function_call, name)) for name in ("name", "id", "args", "partial_args")
    )


def unwrapped(response: Any) -> Any:
    """The response itself, if it came inside another object or as text."""
    if get(response, "candidates") is None:
        # Gemini Code Assist.
        inner = field(response, "response")
        if get(inner, "candidates") is not None:
            return inner
        # What the SDK returns for `should_return_http_response`.
        body = text_of(field(get(response, "sdk_http_response"), "body"))
        if body is not None:
            try:
                return json.loads(body)
            except (ValueError, RecursionError):
                pass
    return response
