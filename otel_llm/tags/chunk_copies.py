"""Chunks of any class with other content.  Pure."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any


class TextChunk(str):  # noqa: SLOT000  a chunk has attributes of its own
    """A chunk of a stream of strings. `tool_calls` and `tool_results` are what came with it."""

    tool_calls: list[dict[str, Any]] | None = None
    tool_results: list[dict[str, Any]] | None = None

    @property
    def content(self) -> str:
        return str(self)


class ReplacedChunk:
    """Stands in for a chunk whose class allows no copy with other content, such as one with a read-only `content`.

    It has the new attributes, and otherwise those of the original chunk.
    """

    def __init__(self, chunk: Any, attributes: Mapping[str, Any]) -> None:
        self.__dict__.update(attributes)
        self._original = chunk

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_original":
            raise AttributeError(name)
        return getattr(self._original, name)

    def __repr__(self) -> str:
        new = {name: value for name, value in vars(self).items() if name != "_original"}
        return f"ReplacedChunk({self._original!r}, {new!r})"


def with_content(chunk: Any, content: str, **attributes: Any) -> Any:
    """A copy of a chunk with other content, and perhaps other attributes; of the same class, if that allows it."""
    if isinstance(chunk, str):
        text = TextChunk(content)
        for name, value in attributes.items():
            setattr(text, name, value)
        return text
    attributes = {"content": content, **attributes}
    for copied in (_copied_by_class, _copied):
        # The classes are foreign, and may raise anything.
        with contextlib.suppress(Exception):
            made = copied(chunk, attributes)
            if all(getattr(made, name) == value for name, value in attributes.items()):
                return made
    return ReplacedChunk(chunk, attributes)


def _copied_by_class(chunk: Any, attributes: Mapping[str, Any]) -> Any:
    """A copy made in the way of the class: a data class, a named tuple, a pydantic model."""
    if dataclasses.is_dataclass(chunk) and not isinstance(chunk, type):
        return dataclasses.replace(chunk, **attributes)
    replace: Callable[..., Any] | None = getattr(chunk, "_replace", None)
    return chunk.model_copy(update=attributes) if replace is None else replace(**attributes)


def _copied(chunk: Any, attributes: Mapping[str, Any]) -> Any:
    made = copy.copy(chunk)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made
