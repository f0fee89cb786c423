"""The value of a parameter that stands as raw text between two tags, as JSON.  Pure.

Its type comes from the tool's schema, or from an attribute of its tag. Where neither says: what reads as a JSON number,
`true`, `false`, `null`, an object or an array is that, and all else is a string.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from otel_llm.protocol.fields import field, items_of
from otel_llm.protocol.request import Tool
from otel_llm.tags.python_calls import NotACall, read_literal

Types = frozenset[str]
STRING: Types = frozenset({"string"})
NO_STRING: Types = frozenset({"integer", "number", "boolean", "null", "object", "array"})
_WORDS = {"true": "true", "false": "false", "null": "null", "none": "null"}
# The longest character reference of HTML is shorter.
_LONGEST_REFERENCE = 40
# Beyond it a text is no number and no word of JSON.
_LONGEST_SCALAR = 512
_MAY_BE_SCALAR = re.compile(r"\s*(?:[-+.\dEe]*|[A-Za-z]{0,5})\s*")


def parameter_types(tools: Mapping[str, Tool] | None, tool: str, parameter: str) -> Types | None:
    """The JSON types that a tool's schema allows for a parameter, None where it does not say."""
    declared = None if tools is None else tools.get(tool)
    if declared is None:
        return None
    schema = declared.parameters
    return schema_types(schema, field(field(schema, "properties"), parameter))


def schema_types(root: Any, schema: Any, depth: int = 0) -> Types | None:
    """The JSON types that `schema` allows; its references are looked up in `root`."""
    if schema is None or depth > 8:
        return None
    named = field(schema, "type")
    if isinstance(named, str):
        return frozenset({named})
    if items_of(named):
        return frozenset(str(name) for name in named)
    reference = field(schema, "$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        target = root
        for step in reference[2:].split("/"):
            target = field(target, step)
        return schema_types(root, target, depth + 1)
    for key in ("anyOf", "oneOf", "allOf"):
        found = [schema_types(root, part, depth + 1) for part in items_of(field(schema, key))]
        known = [types for types in found if types is not None]
        if known:
            return frozenset().union(*known)
    values = [*items_of(field(schema, "enum"))]
    if values:
        return frozenset(_type_of(value) for value in values)
    return None


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return names.get(type(value), "string")


def as_json(text: str, types: Types | None) -> str:
    """Raw text as the JSON of its value."""
    if types == STRING:
        return quoted(text)
    bare = text.strip()
    value = _json_value(bare)
    if value is not None:
        kind, written = value
        fits = types is None or kind in types or (kind in {"integer", "number"} and types & {"integer", "number"})
        if fits and kind != "string":
            return written
    return quoted(text)


def _json_value(text: str) -> tuple[str, str] | None:
    """The type of a text that is JSON, or nearly, and its JSON."""
    if text.lower() in _WORDS:
        word = _WORDS[text.lower()]
        return ("null" if word == "null" else "boolean"), word
    try:
        value = json.loads(text, parse_constant=_refuse)
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


def _refuse(name: str) -> Any:
    raise ValueError(name)


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


class RawValue:
    """One value as it comes; its JSON is passed on as soon as it is decided: what is surely a string as it comes, all
    else at its end.

    `own_lines`: a line break before and behind it is no part of it. `references`: it is escaped as in HTML; None: it is
    where it does not stand on lines of its own.
    """

    def __init__(
        self, types: Types | None, pass_on: Callable[[str], None], *, own_lines: bool, references: bool | None = False
    ) -> None:
        self._types = types
        self._pass_on = pass_on
        self._own_lines = own_lines
        self._references = references
        self._held = ""
        self._pieces: list[str] = []
        self._begun = False
        # Whether it surely is a string, or not; None while its text decides.
        self._is_string = True if types == STRING else None if types is None or "string" in types else False
        self._quoted = False

    @property
    def held(self) -> str:
        """What was fed and not passed on."""
        return "".join(self._pieces) + self._held

    def feed(self, text: str, *, last: bool = False, plain: bool = False) -> None:
        """`plain`: this text is not escaped, whatever the rest is."""
        if self._references and plain and self._held:
            waiting, self._held = self._held, ""
            self._text(html.unescape(waiting))
        text = self._held + text
        self._held = ""
        if not self._begun:
            if self._own_lines and text in {"", "\r"} and not last:
                self._held = text
                return
            self._begun = bool(text) or last
            on_its_line = False
            if self._own_lines:
                for line_break in ("\r\n", "\n"):
                    if text.startswith(line_break):
                        text, on_its_line = text[len(line_break) :], True
                        break
            if self._references is None:
                self._references = not on_its_line
        if not last:
            keep = self._undecided(text, plain=plain)
            self._held = text[len(text) - keep :]
            text = text[: len(text) - keep]
        elif self._own_lines:
            text = text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")
        self._text(html.unescape(text) if self._references and not plain else text)

    def _undecided(self, text: str, *, plain: bool) -> int:
        keep = 0
        if self._own_lines:
            keep = 2 if text.endswith("\r\n") else int(text.endswith(("\n", "\r")))
        if self._references and not plain:
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
            self._is_string = _looks_like_string(text)
            if self._is_string is None:
                self._pieces = [text]
                return
            self._pieces.clear()
        if self._is_string:
            self._pass_on(("" if self._quoted else '"') + quoted(text)[1:-1])
            self._quoted = True
        else:
            self._pieces.append(text)

    def close(self) -> None:
        """Its end came."""
        self.feed("", last=True)
        if self._is_string:
            self._pass_on('"' if self._quoted else '""')
        else:
            self._pass_on(as_json("".join(self._pieces), self._types))

    def cut(self) -> None:
        """The text ended within it: pass on what was held back."""
        held, self._held = self._held, ""
        self._text(held)
        if not self._is_string and self._pieces:
            self._pass_on(quoted("".join(self._pieces))[:-1])


def _looks_like_string(text: str) -> bool | None:
    """Whether a value that begins so is a string, False where it is none or only its end decides, None not yet.

    What may be an object or an array is known at its end. What is longer than any number or word is a string.
    """
    if text.lstrip()[:1] in {"{", "["} and len(text) - len(text.lstrip()) < _LONGEST_SCALAR:
        return False
    return True if len(text) > _LONGEST_SCALAR or not _MAY_BE_SCALAR.fullmatch(text) else None
