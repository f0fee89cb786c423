"""The arguments of a Gemini call that come in pieces, as the JSON text of one object that only grows.  Pure.

Each piece is a value at a JSON path (RFC 9535), such as `$.items[0].title`; a string may come in several pieces, which
have the same path. A model writes its arguments in order, so containers that a piece leaves are closed for good.

Source: https://docs.cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling, "Streaming arguments of
function calls".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any

from otel_llm.protocol.fields import field, items_of, text_of
from otel_llm.protocol.gemini_fields import get

# Making an encoder takes longer than using one.
_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode
_LONGEST_PATH = 2_000
_DEEPEST = 64
_STEP = re.compile(
    r"""
    \.(?P<name>[^.\[\]]+)
    | \[(?P<index>\d{1,9})\]
    | \[(?P<quote>['"])(?P<quoted>(?:\\.|(?!(?P=quote)).)*)(?P=quote)\]
    """,
    re.VERBOSE | re.DOTALL,
)
_Step = str | int


class GrowingArguments:
    """`add` returns the text that a piece adds, `close` the text that completes the object."""

    __slots__ = ("_at", "_is_string", "path")

    def __init__(self) -> None:
        self.path: str | None = None
        """Of the last piece."""
        self._at: tuple[_Step, ...] = ()
        """The same path in steps: the place of the last value, inside the containers that are open."""
        self._is_string = False
        """Whether the last value is a string, whose end has not come."""

    def add(self, piece: Any) -> str:
        path = text_of(get(piece, "json_path"))
        if path is None or len(path) > _LONGEST_PATH:
            return ""
        text = field(piece, "string_value")
        if text is None:
            text = get(piece, "string_value")
        if type(text) is str:
            return self.add_text(path, text)
        written = _written(piece)
        if written is None or path == self.path:
            return ""
        before = self._go_to(path)
        return "" if before is None else before + written

    def add_text(self, path: str, text: str) -> str:
        """Add a piece of the string at `path`."""
        escaped = encode_basestring(text)[1:-1]
        if path == self.path:
            return escaped if self._is_string else ""
        before = self._go_to(path)
        if before is None:
            return ""
        self._is_string = True
        return f'{before}"{escaped}'

    def add_values(self, values: Any) -> str:
        """Add whole arguments."""
        if not isinstance(values, Mapping):
            return ""
        added = []
        for name, value in values.items():
            before = self._go_to(f"$[{json.dumps(str(name))}]", (str(name),))
            added.append((before or "") + (arguments_text(value, quoted=True) or "null"))
        return "".join(added)

    def close(self) -> str:
        if not self._at:
            return "{}"
        return self._leave(0)

    def _go_to(self, path: str, steps: tuple[_Step, ...] | None = None) -> str | None:
        """The text between the last value and the one at `path`; None if that is no place for a value."""
        steps = _steps(path) if steps is None else steps
        at = self._at
        common = 0
        while common < min(len(at), len(steps)) and at[common] == steps[common]:
            common += 1
        # A container where a value was, or the reverse, or another kind of container.
        if not steps or common in {len(at), len(steps)} - {0}:
            return None
        if common < len(at) and type(at[common]) is not type(steps[common]):
            return None
        written = [self._leave(common, closes=False), ","] if at else ["{"]
        for level in range(common, len(steps)):
            step = steps[level]
            if level > common:
                written.append("[" if isinstance(step, int) else "{")
            if isinstance(step, str):
                written.append(json.dumps(step, ensure_ascii=False) + ":")
        self.path, self._at, self._is_string = path, steps, False
        return "".join(written)

    def _leave(self, level: int, *, closes: bool = True) -> str:
        """The text that ends the last value, and the containers below `level`; with `closes`, also the one there."""
        left = reversed(self._at[level + (not closes) :])
        return ('"' if self._is_string else "") + "".join(["]" if isinstance(step, int) else "}" for step in left])


def _steps(path: str) -> tuple[_Step, ...]:
    """The steps of a path that begins with the name of an argument; empty if it is no such path."""
    steps: list[_Step] = []
    place = 1 if path.startswith("$") else 0
    if not place:
        # Without the root.
        path = f".{path}"
    while place < len(path):
        found = _STEP.match(path, place)
        if found is None or len(steps) == _DEEPEST:
            return ()
        place = found.end()
        if (index := found["index"]) is not None:
            steps.append(int(index))
        else:
            steps.append(found["name"] or _unquoted(found["quoted"] or "", found["quote"]))
    return tuple(steps) if steps and isinstance(steps[0], str) else ()


def _unquoted(name: str, quote: str) -> str:
    """A quoted name. Its escapes are those of JSON, and one of its own quotes."""
    if quote == "'":
        name = name.replace("\\'", "'").replace('"', '\\"')
    try:
        return str(json.loads(f'"{name}"', strict=False))
    except ValueError:
        return name


def _written(piece: Any) -> str | None:
    """The JSON of a value that is no string, None if the piece has none."""
    number = get(piece, "number_value")
    if isinstance(number, (int, float)) and not isinstance(number, bool):
        whole = isinstance(number, float) and number.is_integer() and abs(number) < 2**53
        return json.dumps(int(number) if whole else number)
    flag = get(piece, "bool_value")
    if flag is True or flag is False:
        return "true" if flag else "false"
    is_null = get(piece, "null_value") is not None or (isinstance(piece, Mapping) and "nullValue" in piece)
    return "null" if is_null else None


def arguments_text(arguments: Any, *, quoted: bool = False) -> str:
    """Whole arguments as JSON text. A text is passed on as it is, unless it is to be `quoted`."""
    if arguments is None:
        return ""
    if not quoted and (text := text_of(arguments)) is not None:
        return text
    try:
        return _encode(arguments)
    except Exception:  # noqa: BLE001  a value that cannot be written as JSON
        return ""


def add_pieces(arguments: GrowingArguments, call: Any) -> str:
    """What one part of a call adds to its arguments."""
    pieces = items_of(get(call, "partial_args"))
    return arguments.add_values(get(call, "args")) + "".join([arguments.add(piece) for piece in pieces])
