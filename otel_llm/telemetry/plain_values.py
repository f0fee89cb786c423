"""Values inside a message - arguments, results, schemas - as plain ones that can be exported.

A model and a tool choose how deep these go. OTLP is read and written by protobuf, which stops at 100 messages inside
one another, and whoever hits that loses all that goes out with it. What is deeper than `_DEEPEST` is told as its text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry.util.genai.utils import gen_ai_json_dumps, object_to_any_value

from otel_llm.protocol.choice import Limits
from otel_llm.protocol.fields import is_a
from otel_llm.protocol.unicode_text import exportable
from otel_llm.transparency.faults import attempt

# In a log record the value itself is the 16th message; each object in it is three more, each list two. A value of this
# depth ends at the 88th: there is room for a few that others put around it.
_DEEPEST = 24
_LONGEST_TEXT = Limits().text


def plain_arguments(text: Any) -> Any:
    """Arguments as the value they are; as they were written where they are none that can be exported."""
    if not is_a(text, str):
        return plain_value(text)
    text = exportable(text)
    try:
        value = json.loads(text, parse_int=_whole_number, parse_constant=_no_number)
        if not _fits(value):
            return text
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return text
    return value


def plain_value(thing: Any) -> Any:
    """Any object as plain values, or as JSON text where they are too deep."""
    value = _exportable_value(object_to_any_value(thing))
    if _fits(value):
        return value
    # util-genai drops what is deepest, so the text is made of the thing itself, if that lets itself be read.
    return attempt("a deep value", _json_text, thing) or gen_ai_json_dumps(value)[:_LONGEST_TEXT]


def _fits(value: Any, levels: int = _DEEPEST) -> bool:
    inner = value.values() if isinstance(value, dict) else value
    if inner is value and not isinstance(value, list):
        return True
    return levels > 0 and all(_fits(each, levels - 1) for each in inner)


def _json_text(thing: Any) -> str:
    """JSON of any depth, without recursion, as far as there is room. A value inside itself is null."""
    written: list[str] = []
    length = 0
    # What is open, from the outside in: what is left of it, how it closes, and which object it is.
    opened: list[tuple[Iterator[tuple[str, Any]], str, int]] = [(iter([("", thing)]), "", 0)]
    above: set[int] = set()
    while opened and length <= _LONGEST_TEXT:
        left, closing, known_as = opened[-1]
        before, value = next(left, ("", left))
        if value is left:
            opened.pop()
            above.discard(known_as)
            piece = closing
        elif id(value) in above:
            piece = f"{before}null"
        elif isinstance(value, (dict, list, tuple)):
            is_object = isinstance(value, dict)
            above.add(id(value))
            opened.append((_inside(value), "}" if is_object else "]", id(value)))
            piece = before + ("{" if is_object else "[")
        else:
            piece = before + gen_ai_json_dumps(_exportable_value(object_to_any_value(value)))
        written.append(piece)
        length += len(piece)
    return "".join(written)[:_LONGEST_TEXT]


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    """The values in an object or a list, each with what is written before it."""
    comma = ""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{comma}{json.dumps(exportable(str(name)))}:", inner
            comma = ","
    else:
        for inner in value:
            yield comma, inner
            comma = ","


def _whole_number(digits: str) -> int:
    value = int(digits)
    if not _is_exportable(value):
        raise ValueError("more than a log record can hold")
    return value


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _is_exportable(value: int) -> bool:
    return -(2**63) <= value < 2**63


def _exportable_value(value: Any) -> Any:
    # util-genai sees to it that values are trees, and not deep ones.
    if isinstance(value, str):
        return exportable(value)
    if isinstance(value, Mapping):
        return {exportable(name): _exportable_value(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_exportable_value(inner) for inner in value]
    if isinstance(value, int) and not _is_exportable(value):
        # Python itself refuses to write out the longest.
        return str(value) if value.bit_length() <= 1024 else None
    return value
