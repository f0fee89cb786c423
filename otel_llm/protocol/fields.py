"""Reads fields of anything: a mapping, an SDK's model, a mock or nonsense.  Pure; never raises."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

# The classes of SDKs' marks for "not passed", by name, because the pure core imports no SDK: OpenAI's and Mistral's.
_NOT_PASSED = frozenset({"NotGiven", "Omit", "Unset"})
_PLAIN = frozenset({str, int, float, bool, list, dict, type(None)})


def is_a(value: Any, kinds: type | tuple[type, ...]) -> bool:
    """`isinstance`, which may run code of the object, and so may raise."""
    try:
        return isinstance(value, kinds)
    except Exception:  # noqa: BLE001
        return False


@lru_cache(maxsize=256)
def is_mapping(kind: type) -> bool:
    """Whether objects of a class are mappings."""
    # Cached, because `issubclass` with an abstract class takes longer than reading all fields of a request.
    return issubclass(kind, Mapping)


def field(thing: Any, name: str) -> Any:
    """The field `name` of `thing`, or None if there is none or it was not passed."""
    if thing is None:
        return None
    kind: type = type(thing)
    try:
        value = thing.get(name) if kind is dict or is_mapping(kind) else getattr(thing, name, None)
        return value if type(value) in _PLAIN else given(value)
    except Exception:  # noqa: BLE001  a property of a foreign object may raise anything
        return None


def undeclared_field(thing: Any, name: str) -> Any:
    """The same for a field that the SDKs' models rarely have: pydantic is slow to report a missing field."""
    try:
        declared, extra = thing.__dict__, thing.__pydantic_extra__
        value = declared.get(name)
        if value is None and extra is not None:
            value = extra.get(name)
        return None if value is None else given(value)
    except Exception:  # noqa: BLE001  not a pydantic model
        return field(thing, name)


def given(value: Any) -> Any:
    """`value`, or None if it is an SDK's mark for what was not passed."""
    kind = type(value)
    return None if kind not in _PLAIN and kind.__name__ in _NOT_PASSED else value


def arguments_given(kwargs: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The keyword arguments in `names` that were passed, and are not None."""
    return {
        name: value
        for name, value in kwargs.items()
        if name in names and value is not None and (type(value) in _PLAIN or given(value) is not None)
    }


def text_of(value: Any) -> str | None:
    """`value` if it is a string that is not empty, else None."""
    if type(value) is not str and (value is None or not is_a(value, str)):
        return None
    return value if len(value) else None


def is_empty(value: Any) -> bool:
    """Whether `value` is None, an empty string, or an empty list or mapping."""
    if value is None:
        return True
    try:
        return is_a(value, (str, list, tuple, Mapping)) and not len(value)
    except Exception:  # noqa: BLE001  an object that raises
        return False


def items_of(value: Any) -> Sequence[Any]:
    """`value` if it is a list or tuple, else an empty tuple: an iterator must not be consumed here."""
    return value if is_a(value, (list, tuple)) else ()


def index_of(value: Any) -> int | None:
    """`value` as an index, a whole number from 0 to 2**63 - 1; None if it is no such number.

    A string of digits and 1.0 are accepted, as the OpenAI SDK converts them if the rest of the chunk is valid.
    """
    if value is None:
        return None
    if type(value) is not int:
        try:
            if isinstance(value, str):
                value = int(value) if value.isascii() and value.isdigit() else None
            elif isinstance(value, (int, float)) and int(value) == value:
                value = int(value)
            else:
                return None
        except Exception:  # noqa: BLE001  NaN, Infinity, or an object that raises
            return None
    return value if value is not None and 0 <= value < 2**63 else None
