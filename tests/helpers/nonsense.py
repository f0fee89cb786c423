"""Nonsense for property tests: values that no server should send, and objects that raise."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st


class Raises:
    """Raises for everything but a look at its class."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __bool__(self) -> bool:
        raise RuntimeError("bool")

    def __iter__(self) -> Any:
        raise RuntimeError("iter")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    def __hash__(self) -> int:
        raise RuntimeError("hash")

    def __repr__(self) -> str:
        return "Raises()"


class RaisesForAll(Raises):
    """Raises for `isinstance`, too."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class NotAPlainList(list[Any]):
    def __repr__(self) -> str:
        return f"NotAPlainList({list(self)})"


class NotAPlainText(str):
    __slots__ = ()


leaves = st.one_of(
    st.sampled_from(
        [None, True, False, 0, 1, -1, 2**70, 1.5, float("nan"), float("inf"), "", "a", "tool_calls", "length", "{}"]
    ),
    st.sampled_from([b"bytes", "\ud83d", NotAPlainText("a"), object(), int]),
    st.builds(Raises),
    st.builds(RaisesForAll),
    st.text(max_size=3),
)


def with_fields(values: dict[str, Any]) -> Any:
    thing = SimpleNamespace()
    for name, value in values.items():
        if name != "__dict__":
            setattr(thing, name, value)
    return thing


def nonsense_of(fields: Sequence[str]) -> st.SearchStrategy[Any]:
    """Any values, nested, some of them with these fields."""

    def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        mappings = st.dictionaries(st.sampled_from(fields), inner, max_size=6)
        lists = st.lists(inner, max_size=3)
        return st.one_of(mappings, mappings.map(with_fields), lists, lists.map(tuple), lists.map(NotAPlainList))

    return st.recursive(leaves, containers, max_leaves=25)


def misplaced(shape: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Chunks or events of a valid shape, with nonsense somewhere in them."""
    if isinstance(shape, dict):
        parts = {name: misplaced(part, values) for name, part in shape.items()}
        whole = st.fixed_dictionaries(parts)
        made: st.SearchStrategy[Any] = st.one_of(whole.map(with_fields), whole)
    elif isinstance(shape, list):
        made = st.tuples(*(misplaced(part, values) for part in shape)).map(list)
    else:
        made = st.just(shape)
    # One time in five, so that the rest of the chunk is reached.
    return st.one_of(made, made, made, made, values)
