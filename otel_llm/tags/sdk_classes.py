"""Finds the classes of an SDK by the annotations of its models, and makes objects of them.

The names of the classes differ between SDKs, the names of the fields do not. So the class of a tool call is whatever
the field `tool_calls` of a delta or a message holds. No SDK is imported here. The models are pydantic's, of version 1
or 2, or Hugging Face's data classes. Raises LookupError if a model has no such field.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, get_args

from otel_llm.tags.json_objects import JsonObject, as_objects
from otel_llm.tags.writers import CallDelta

# LiteLLM's models take most of their fields in their constructors only. The classes are in the same module.
_BESIDE = {"Delta": "ChatCompletionDeltaToolCall", "Message": "ChatCompletionMessageToolCall"}


def tool_call_delta(delta: Any, call: CallDelta) -> Any:
    """A tool-call delta for the `tool_calls` of `delta`."""
    kind: Any = type(delta)
    if kind is JsonObject:
        return _json_delta(call)
    make, needs_type, needs_name = _delta_class(kind)
    # Only what a server would send is set, because the SDK's helpers join all fields that are.
    if call.name is not None:
        function = {"name": call.name, "arguments": call.arguments}
        return make(index=call.index, id=call.id, type="function", function=function)
    function = {"name": "", "arguments": call.arguments} if needs_name else {"arguments": call.arguments}
    if needs_type:
        return make(index=call.index, type="function", function=function)
    return make(index=call.index, function=function)


def whole_tool_call(message: Any, call: CallDelta) -> Any:
    """A tool call for the `tool_calls` of `message`."""
    fields: dict[str, Any] = {
        "id": call.id or "",
        "type": "function",
        "function": {"name": call.name or "", "arguments": call.arguments},
    }
    if type(message) is JsonObject:
        return as_objects(fields)
    kind: Any = type(message)
    found = class_in_field(kind, "tool_calls", "function")
    return (found if _is_of_pydantic(found) else _made_by_parsing(found))(**fields)


@lru_cache(maxsize=256)
def class_of_type(annotation: Any, kind: str) -> Any:
    """The class in an annotation, mostly a union, whose field `type` is `kind` alone."""
    for found in _classes_in(annotation):
        if "type" in _fields(found) and get_args(_annotation(found, "type")) == (kind,):
            return found
    raise LookupError(f"there is no class for a {kind}")


def class_of_item(model: Any, name: str, kind: str) -> Any:
    """The class with `kind` as its `type` among those that the field `name` of a model holds."""
    return class_of_type(_annotation(model, name), kind)


def _json_delta(call: CallDelta) -> JsonObject:
    function = JsonObject(arguments=call.arguments)
    if call.name is None:
        return JsonObject(index=call.index, function=function)
    function["name"] = call.name
    return JsonObject(index=call.index, id=call.id, type="function", function=function)


@lru_cache(maxsize=256)
def _delta_class(delta_class: Any) -> tuple[Callable[..., Any], bool, bool]:
    """What makes the tool-call deltas in a delta, and whether each of them needs a `type`, and its function a name."""
    found = class_in_field(delta_class, "tool_calls", "function")
    if not _is_of_pydantic(found):
        return _made_by_parsing(found), True, False
    return found, _is_required(found, "type"), _is_required(class_in_field(found, "function", "name"), "name")


def _is_required(model: type, name: str) -> bool:
    field = _fields(model).get(name)
    is_required = getattr(field, "is_required", None)
    return bool(is_required() if callable(is_required) else getattr(field, "required", False))


@lru_cache(maxsize=256)
def class_in_field(model: Any, name: str, field: str) -> Any:
    """The class that the field `name` of a model holds, and that has a field `field` itself."""
    beside = _class_beside(model)
    if beside is not None:
        return beside
    for found in _classes_in(_annotation(model, name)):
        if field in _fields(found):
            return found
    raise LookupError(f"{name} of {model.__qualname__} has no class with a {field}")


def _class_beside(model: Any) -> Any:
    """The class of calls for a delta or a message of LiteLLM's, whose fields do not name it; None for other models."""
    name = _BESIDE.get(model.__name__)
    if name is None or not model.__module__.startswith("litellm."):
        return None
    return vars(sys.modules[model.__module__]).get(name)


def _fields(model: type) -> dict[str, Any]:
    """The fields of a pydantic model by name."""
    names = ("model_fields", "__fields__", "__dataclass_fields__")
    return next((found for name in names if (found := getattr(model, name, None))), {})


def _is_of_pydantic(model: Any) -> bool:
    return not hasattr(model, "__dataclass_fields__")


def _made_by_parsing(model: Any) -> Callable[..., Any]:
    """Makes an object of a data class that reads mappings by itself."""
    return lambda **fields: model.parse_obj_as_instance(fields)


def _annotation(model: type, name: str) -> Any:
    """What the field `name` of a model is annotated with."""
    field = _fields(model).get(name)
    if field is None:
        raise LookupError(f"{model.__qualname__} has no field {name}")
    # pydantic 1 keeps the annotation, without what it made of it, in `outer_type_`; a data class in `type`.
    names = ("annotation", "outer_type_", "type")
    return next((found for name in names if (found := getattr(field, name, None)) is not None), None)


def _classes_in(annotation: Any) -> Iterator[type]:
    """The models that an annotation names, in unions, lists and other generics."""
    if isinstance(annotation, type) and _fields(annotation):
        yield annotation
    for inner in get_args(annotation):
        yield from _classes_in(inner)
