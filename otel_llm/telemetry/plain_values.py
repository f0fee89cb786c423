"""Values inside a message (arguments, results, schemas) as plain values that can be exported.

Models and tools decide how deeply these are nested. Protobuf, and so OTLP, refuses more than 100 nested messages, and
the whole export is lost with them. Values nested deeper than `_DEEPEST` are exported as their JSON text.
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

# In a log record the value itself is the 16th nested message; each object in it adds three, each list two. A value of
# this depth ends at the 88th, which leaves room for a few levels that a backend may add.
_DEEPEST = 24
_LONGEST_TEXT = Limits().text


def plain_arguments(text: Any) -> Any:
    """Arguments as the value that their JSON holds; as text if it cannot be parsed or exported."""
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
    """Any object as plain values, or as JSON text if it is nested too deeply."""
    value = _exportable_value(object_to_any_value(thing))
    if _fits(value):
        return value
    # util-genai drops the deepest levels, so the text is made from the original, if that can be read.
    return attempt("a deep value", _json_text, thing) or gen_ai_json_dumps(value)[:_LONGEST_TEXT]


def _fits(value: Any, levels: int = _DEEPEST) -> bool:
    inner = value.values() if isinstance(value, dict) else value
    if inner is value and not isinstance(value, list):
        return True
    return levels > 0 and all(_fits(each, levels - 1) for each in inner)


def _json_text(thing: Any) -> str:
    """JSON of any depth, without recursion, cut at the limit. A value that contains itself is null there."""
    written: list[str] = []
    length = 0
    # The open containers, from the outside in: their remaining values, their closing bracket, and their identity.
    opened: list[tuple[Iterator[tuple[str, Any]], str, int]] = [(iter([("", thing)]), "", 0)]
    above: set[int] = set()
    while opened and length <= _LONGEST_TEXT:
        remaining, closing, identity = opened[-1]
        before, value = next(remaining, ("", remaining))
        if value is remaining:
            opened.pop()
            above.discard(identity)
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
    """The values in an object or a list, each with the text that precedes it."""
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
        raise ValueError("more than 64 bits")
    return value


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _is_exportable(value: int) -> bool:
    return -(2**63) <= value < 2**63


def _exportable_value(value: Any) -> Any:
    # Recursion is safe: util-genai has made it a tree of bounded depth.
    if isinstance(value, str):
        return exportable(value)
    if isinstance(value, Mapping):
        return {exportable(name): _exportable_value(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_exportable_value(inner) for inner in value]
    if isinstance(value, int) and not _is_exportable(value):
        # Python refuses to convert the longest ones to text.
        return str(value) if value.bit_length() <= 1024 else None
    return value
