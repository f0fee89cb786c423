"""Makes tool-call deltas in the deltas of one class, fast: most chunks of a call need one.

pydantic takes longer to make a model of a few fields than the scanner takes to read a chunk. So a delta with only a
piece of arguments is made like a copy, with the state that models have when they are pickled. Whether that gives the
same objects is tried once for each class; otherwise the SDK's class makes each.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from otel_llm.tags.content_parts import with_text
from otel_llm.tags.sdk_classes import tool_call_delta
from otel_llm.tags.writers import CallDelta

_STATE = {"__dict__", "__pydantic_extra__", "__pydantic_fields_set__", "__pydantic_private__"}

PutArguments = Callable[[Any, Any, int, str], None]
"""Puts a piece of arguments into a delta, whose text is all markup: the delta, its server's calls, index, arguments."""


@lru_cache(maxsize=256)
def arguments_putter(delta_class: Any) -> PutArguments:
    """How to put a piece of arguments into a delta of this class."""
    return _fast_putter(delta_class) or _put_arguments


def _put_arguments(delta: Any, server_calls: Any, index: int, arguments: str) -> None:
    call = tool_call_delta(delta, CallDelta(index, None, None, arguments))
    content = delta.content
    delta.content = None if type(content) is str else with_text(content, "") or None
    try:
        delta.tool_calls = [*server_calls, call] if server_calls else [call]
    except Exception:
        delta.content = content
        raise


def _fast_putter(delta_class: Any) -> PutArguments | None:
    try:
        sample = delta_class(content="x")
        call = tool_call_delta(sample, CallDelta(1, None, None, "{"))
        if not (call.__getstate__().keys() == call.function.__getstate__().keys() == _STATE):
            return None
        put = _copying_putter(call)
        one, other = copy.deepcopy(sample), copy.deepcopy(sample)
        put(one, None, 2, "}")
        _put_arguments(other, None, 2, "}")
        made, expected = one.__getstate__(), other.__getstate__()
        inner, inner_expected = one.tool_calls[0], other.tool_calls[0]
        is_same = made == expected and inner.__getstate__() == inner_expected.__getstate__()
        is_same = is_same and inner.function.__getstate__() == inner_expected.function.__getstate__()
    except Exception:  # noqa: BLE001  a foreign class may do anything
        return None
    return put if is_same else None


def _copying_putter(call: Any) -> PutArguments:
    """`call` is a tool-call delta with arguments only."""
    call_class, function_class = type(call), type(call.function)
    call_state, function_state = call.__getstate__(), call.function.__getstate__()
    call_fields, function_fields = call_state["__dict__"], function_state["__dict__"]
    call_set, function_set = call_state["__pydantic_fields_set__"], function_state["__pydantic_fields_set__"]
    if any(call_state[name] or function_state[name] for name in ("__pydantic_extra__", "__pydantic_private__")):
        raise ValueError("the state of such models is no copy of another's")
    private = call_state["__pydantic_private__"]
    has_extra = call_state["__pydantic_extra__"] is not None
    new = object.__new__
    set_fields, set_names, set_extra, set_private = (
        _setter(call_class, name)
        for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
    )

    def put(delta: Any, server_calls: Any, index: int, arguments: str) -> None:
        fields = function_fields.copy()
        fields["arguments"] = arguments
        function = new(function_class)
        set_fields(function, fields)
        set_names(function, function_set.copy())
        set_extra(function, {} if has_extra else None)
        set_private(function, private)
        fields = call_fields.copy()
        fields["index"] = index
        fields["function"] = function
        call = new(call_class)
        set_fields(call, fields)
        set_names(call, call_set.copy())
        set_extra(call, {} if has_extra else None)
        set_private(call, private)
        delta.__pydantic_fields_set__.add("tool_calls")
        fields = delta.__dict__
        content = fields["content"]
        fields["content"] = None if type(content) is str else with_text(content, "") or None
        fields["tool_calls"] = [*server_calls, call] if server_calls else [call]

    return put


def _setter(model: type, name: str) -> Callable[[Any, Any], None]:
    """Sets a slot of a model, past `__setattr__`."""
    for kind in model.__mro__:
        if name in vars(kind):
            setter: Callable[[Any, Any], None] = vars(kind)[name].__set__
            return setter
    raise LookupError(f"{model.__qualname__} has no slot {name}")
