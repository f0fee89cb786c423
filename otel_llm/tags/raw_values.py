"""Turns the raw text between two tags into a JSON value.  Pure.

The type comes from the tool's schema, or from an attribute of the tag. Without either, a text that reads as a JSON
number, `true`, `false`, `null`, an object or an array is that, and any other text is a string.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from otel_llm.protocol.fields import field, items_of
from otel_llm.protocol.json_values import parse_strictly
from otel_llm.protocol.request import Tool
from otel_llm.tags.python_syntax import NotACall, read_literal

Types = frozenset[str]
STRING: Types = frozenset({"string"})
# Whoever names a type as Python does may get its values in quotes.
_PYTHON_STRING: Types = frozenset({"str"})
NO_STRING: Types = frozenset({"integer", "number", "boolean", "null", "object", "array"})
# Names of types in programming languages, by how they begin (`int64`, `uint8`, `list[str]`, `Dict[str, int]`).
_OTHER_NAMES = {
    "integer": re.compile(r"u?int(?:eger|\d+)?|long|short|unsigned.*"),
    "number": re.compile(r"num(?:ber)?|float(?:32|64)?|double|decimal"),
    "boolean": re.compile(r"bool(?:ean)?"),
    "array": re.compile(r"(?:list|tuple|set|arr(?:ay)?|sequence)\b.*|.*\[\]"),
    "object": re.compile(r"(?:dict(?:ionary)?|map(?:ping)?|object|struct)\b.*"),
    "string": re.compile(r"string|text|varchar|char|enum"),
    "null": re.compile(r"none(?:type)?|null"),
}
_WORDS = {"true": "true", "false": "false", "null": "null", "none": "null"}
# Words for nothing that a string may hold as well.
_NO_NULL = {"none", "NONE"}
# Longer than any character reference of HTML.
_LONGEST_REFERENCE = 40
# Most white space that is held back at the end of a value.
_MOST_WHITE = 1024
# A longer text is neither a number nor a word of JSON.
_LONGEST_SCALAR = 512
_MAY_BE_SCALAR = re.compile(r"\s*(?:[-+.\dEe]*|[A-Za-z]{0,5})\s*")


def has_parameter(tools: Mapping[str, Tool] | None, tool: str, parameter: str) -> bool:
    """Whether a tool's schema declares a parameter of that name."""
    declared = None if tools is None else tools.get(tool)
    return declared is not None and field(field(declared.parameters, "properties"), parameter) is not None


def parameter_types(tools: Mapping[str, Tool] | None, tool: str, parameter: str) -> Types | None:
    """The JSON types that a tool's schema allows for a parameter, or None if it does not say."""
    declared = None if tools is None else tools.get(tool)
    if declared is None:
        return None
    schema = declared.parameters
    return schema_types(schema, field(field(schema, "properties"), parameter))


def schema_types(root: Any, schema: Any, depth: int = 0) -> Types | None:
    """The JSON types that `schema` allows, or None if it does not say. References are looked up in `root`."""
    if schema is None or depth > 8:
        return None
    named = field(schema, "type")
    if isinstance(named, str) and named:
        return _named(named)
    if items_of(named):
        return frozenset().union(*(_named(str(name)) for name in named))
    referred = referred_to(root, schema)
    if referred is not None:
        return schema_types(root, referred, depth + 1)
    for key in ("anyOf", "oneOf", "allOf"):
        found = [schema_types(root, part, depth + 1) for part in items_of(field(schema, key))]
        known = [types for types in found if types is not None]
        if known:
            return frozenset().union(*known)
    values = [*items_of(field(schema, "enum"))]
    if values:
        return frozenset(_type_of(value) for value in values)
    return None


def referred_to(root: Any, schema: Any) -> Any:
    """The schema in `root` that `schema` refers to, or None."""
    reference = field(schema, "$ref")
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    target = root
    for step in reference[2:].split("/"):
        target = field(target, step)
    return target


@lru_cache(maxsize=256)
def _named(name: str) -> Types:
    """The JSON type of this name. A name that is not known stands for itself."""
    lowered = name.strip().lower()
    return frozenset({next((known for known, names in _OTHER_NAMES.items() if names.fullmatch(lowered)), name)})


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return names.get(type(value), "string")


def as_json(text: str, types: Types | None) -> str:
    """The JSON of a raw text's value."""
    if types == STRING:
        return quoted(text)
    bare = text.strip()
    if types is not None and "string" in types and bare in _NO_NULL:
        return quoted(text)
    value = _json_value(bare)
    if value is not None:
        kind, written = value
        fits = types is None or kind in types or (kind in {"integer", "number"} and types & {"integer", "number"})
        if fits and kind != "string":
            return written
        if kind == "string" and types == _PYTHON_STRING:
            return written
    return quoted(text)


def _json_value(text: str) -> tuple[str, str] | None:
    """The type and the JSON of a text that is JSON, or almost; None for other text."""
    if text.lower() in _WORDS:
        word = _WORDS[text.lower()]
        return ("null" if word == "null" else "boolean"), word
    try:
        value = parse_strictly(text)
    except (ValueError, RecursionError):
        pass
    else:
        return _type_of(value), text
    if text[:1] in {"[", "{"}:
        try:
            value = read_literal(text)
            return _type_of(value), json.dumps(value, ensure_ascii=False)
        except (NotACall, RecursionError):
            return None
    return None


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


class RawValue:
    """One value as it comes. Emits its JSON as soon as it is decided: a string while it comes, other types at the end.

    `own_lines`: a line break before and after the value is markup. `trimmed`: all white space there is. `html_escaped`:
    whether it is escaped as in HTML.
    """

    def __init__(
        self,
        types: Types | None,
        emit: Callable[[str], None],
        *,
        own_lines: bool = False,
        trimmed: bool = False,
        html_escaped: bool = False,
    ) -> None:
        self._types = types
        self._emit = emit
        self._own_lines = own_lines
        self._trimmed = trimmed
        self._html_escaped = html_escaped
        self._held = ""
        self._pieces: list[str] = []
        self._begun = False
        self._on_its_line = False
        # None while it depends on text still to come.
        self._is_string = True if types == STRING else None if types is None or "string" in types else False
        self._quoted = False

    @property
    def held(self) -> str:
        """What was fed and has not been emitted."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return (self._pieces[0] if self._pieces else "") + self._held

    def has_own_lines(self) -> bool:
        """Whether the value, as far as it came, is on lines of its own."""
        return self._on_its_line

    def at_line_start(self) -> bool:
        """Whether the next character begins a line."""
        return self._held.endswith("\n") or self.is_empty()

    def is_empty(self) -> bool:
        """Whether no text has come."""
        return not (self._held or self._quoted or self._pieces)

    def feed(self, text: str, *, last: bool = False, is_cdata: bool = False) -> None:
        """`is_cdata`: this text is not escaped, even if the rest is."""
        if self._html_escaped and is_cdata and self._held:
            waiting, self._held = self._held, ""
            self._text(html.unescape(waiting))
        text = self._held + text
        self._held = ""
        if not self._begun:
            if self._own_lines and text in {"", "\r"} and not last:
                self._held = text
                return
            if self._trimmed:
                text = text.lstrip()
            self._begun = bool(text) or last
            if self._own_lines:
                for line_break in ("\r\n", "\n"):
                    if text.startswith(line_break):
                        text, self._on_its_line = text[len(line_break) :], True
                        break
        if not last:
            keep = self._undecided(text, is_cdata=is_cdata)
            self._held = text[len(text) - keep :]
            text = text[: len(text) - keep]
        elif self._trimmed:
            text = text.rstrip()
        elif self._own_lines:
            text = text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")
        self._text(html.unescape(text) if self._html_escaped and not is_cdata else text)

    def _undecided(self, text: str, *, is_cdata: bool) -> int:
        """Length of the end of `text` that more text may change: white space, or part of a character reference."""
        keep = 0
        if text.endswith(("\n", "\r")):
            keep = 2 if text.endswith("\r\n") else 1
        if self._trimmed:
            keep = min(len(text) - len(text.rstrip()), _MOST_WHITE)
        if self._html_escaped and not is_cdata:
            amp = text.rfind("&", max(0, len(text) - _LONGEST_REFERENCE))
            if amp >= 0 and ";" not in text[amp:]:
                keep = max(keep, len(text) - amp)
        return keep

    def _text(self, text: str) -> None:
        if not text:
            return
        if self._is_string is None:
            self._pieces.append(text)
            text = "".join(self._pieces)
            self._is_string = _is_string(text)
            if self._is_string is None:
                self._pieces = [text]
                return
            self._pieces.clear()
        if self._is_string:
            self._emit(("" if self._quoted else '"') + quoted(text)[1:-1])
            self._quoted = True
        else:
            self._pieces.append(text)

    def close(self, *, has_tag: bool = True) -> None:
        """The value has come to its end. Without a closing tag, a line break before the next tag is markup."""
        self._own_lines |= not has_tag
        self.feed("", last=True)
        if self._is_string:
            self._emit('"' if self._quoted else '""')
        else:
            self._emit(as_json("".join(self._pieces), self._types))

    def cut(self) -> None:
        """The text ended within the value: emit what was held back."""
        held, self._held = self._held, ""
        self._text(held)
        if not self._is_string and self._pieces:
            self._emit(quoted("".join(self._pieces))[:-1])


def _is_string(text: str) -> bool | None:
    """Whether a value that begins like this is a string. None if more text may decide it.

    False for what may be an object or an array, since only the end shows. A text longer than any number or word is a
    string.
    """
    if text.lstrip()[:1] in {"{", "["} and len(text) - len(text.lstrip()) < _LONGEST_SCALAR:
        return False
    return True if len(text) > _LONGEST_SCALAR or not _MAY_BE_SCALAR.fullmatch(text) else None
