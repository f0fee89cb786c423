"""Makes tool calls of an SDK's own classes, which are found by the object that the calls are added to.

The classes are looked up in modules that are loaded already, so that no SDK is imported here. Raises LookupError if the
SDK has no such class.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from otel_llm.tags.writers import CallDelta


def tool_call_delta(delta: Any, call: CallDelta) -> Any:
    """A tool-call delta for the `tool_calls` of `delta`."""
    # Only what a server would send is set, because the SDK's helpers join all fields that are.
    begins = {} if call.name is None else {"id": call.id, "type": "function"}
    named = {} if call.name is None else {"name": call.name}
    function = _class_beside(delta, "ChoiceDeltaToolCallFunction")(**named, arguments=call.arguments)
    return _class_beside(delta, "ChoiceDeltaToolCall")(index=call.index, function=function, **begins)


def whole_tool_call(response: Any, call: CallDelta) -> Any:
    """A tool call for a message of `response`."""
    package = type(response).__module__.rpartition(".")[0]
    parsed = sys.modules.get(f"{package}.parsed_function_tool_call")
    if parsed is not None and type(response).__name__.startswith("Parsed"):
        inner = parsed.ParsedFunction(name=call.name or "", arguments=call.arguments, parsed_arguments=None)
        return parsed.ParsedFunctionToolCall(id=call.id or "", type="function", function=inner)
    for module_name, prefix in (
        ("chat_completion_message_function_tool_call", "ChatCompletionMessageFunctionToolCall"),
        ("chat_completion_message_tool_call", "ChatCompletionMessageToolCall"),
    ):
        module = sys.modules.get(f"{package}.{module_name}")
        if module is not None and hasattr(module, "Function"):
            function = module.Function(name=call.name or "", arguments=call.arguments)
            return getattr(module, prefix)(id=call.id or "", type="function", function=function)
    raise LookupError(f"{package} has no class for a tool call")


def _class_beside(thing: Any, name: str) -> Callable[..., Any]:
    """The class of that name in a module that a class of `thing` is in."""
    for kind in type(thing).__mro__:
        found = getattr(sys.modules.get(kind.__module__), name, None)
        if found is not None:
            return found  # type: ignore[no-any-return]
    raise LookupError(f"{type(thing).__qualname__} has no {name} beside it")
