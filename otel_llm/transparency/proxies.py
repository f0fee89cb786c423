"""wrapt's proxies, typed for wrapt 1 and 2, with the copying and pickling that wrapt leaves to its users.

wrapt 2 types its proxies as generics, wrapt 1 does not type them.
"""

from __future__ import annotations

from copy import copy, deepcopy
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    _ObjectProxy = wrapt.ObjectProxy[Any]
    _FunctionWrapper = wrapt.FunctionWrapper[..., Any]
    _BoundFunctionWrapper = wrapt.BoundFunctionWrapper[..., Any]
else:
    _ObjectProxy = wrapt.ObjectProxy
    _FunctionWrapper = wrapt.FunctionWrapper
    _BoundFunctionWrapper = wrapt.BoundFunctionWrapper

__all__ = ["FunctionWrapper", "ObjectProxy", "object_of", "wrapper_of"]


def wrapper_of(function: Any) -> Any:
    """The wrapper of a function that wrapt wrapped, None for other functions. wrapt has no public name for it."""
    return getattr(function, "_self_wrapper", None)


def object_of(method: Any) -> Any:
    """The object whose method a wrapper is given, also where the function was called with its object as an argument."""
    bound = getattr(method, "__self__", None)
    if bound is None:
        # wrapt's own way to bind a function, which has no public name either.
        bound = next(iter(getattr(method, "_self_args", ())), None)
    return bound


class ObjectProxy(_ObjectProxy):
    """A proxy that copies and pickles as the wrapped object."""

    def __copy__(self) -> Any:
        return copy(self.__wrapped__)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return deepcopy(self.__wrapped__, memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__wrapped__.__reduce_ex__(protocol)


class _Method:
    """Copies and pickles a wrapped function like a function: a copy is the function itself, a pickle its name."""

    __slots__ = ()

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        owner = getattr(self, "__self__", None)
        return self if owner is None else getattr(deepcopy(owner, memo), _name(self))

    def __reduce_ex__(self, _protocol: Any) -> Any:
        owner = getattr(self, "__self__", None)
        if owner is not None:
            return getattr, (owner, _name(self))
        function: Any = self
        return resolve_name, (f"{function.__module__}:{function.__qualname__}",)


def _name(function: Any) -> str:
    return str(function.__name__)


class _BoundMethod(_Method, _BoundFunctionWrapper):
    pass


class FunctionWrapper(_Method, _FunctionWrapper):
    """A wrapped function or method."""

    __bound_function_wrapper__ = _BoundMethod
