"""Reading a field of something that may be a mapping, an SDK model, a mock or nonsense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# The SDK's marks for "argument not passed". They are told by name, because the pure core imports no SDK.
_NOT_PASSED = frozenset({"NotGiven", "Omit"})


def field(thing: Any, name: str) -> Any:
    """The field `name` of `thing`, or None where there is none or it was not passed."""
    if isinstance(thing, Mapping):
        return given(thing.get(name))
    try:
        return given(getattr(thing, name, None))
    except Exception:  # noqa: BLE001  a property of somebody else's object may raise anything
        return None


def given(value: Any) -> Any:
    """`value`, or None where it is the SDK's mark for an argument that was not passed."""
    return None if type(value).__name__ in _NOT_PASSED else value


def text_of(value: Any) -> str | None:
    """`value` where it is a string that is not empty, else None."""
    return value if isinstance(value, str) and value else None


def items_of(value: Any) -> Sequence[Any]:
    """`value` where it is a list or tuple, else nothing: an iterator is the caller's to consume."""
    return value if isinstance(value, (list, tuple)) else ()
