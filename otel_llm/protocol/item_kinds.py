"""The items of the Responses API: which of them are calls, who answers them, and what they pass to the tool.  Pure.

The application answers the calls of functions and custom tools, and of those tools of the API that act where the
application runs: the computer, the shells, the patches, and a search for tools with `execution` = `client`. The others
are run by the server: web and file search, images, code, MCP, and a shell in a container of the server's.

A search that the request declares without `execution` is the server's by OpenAI's default, but a server may leave it to
the application all the same: the `tool_search_call` says so, by `execution` or by a call id.

xAI's own tools for X are `custom_tool_call` items too. Nothing in such an item says that the server ran it; the request
does, because it declares no custom tool of that name.
Sources: the OpenAI API reference, "Responses: input items" and "output items";
https://developers.openai.com/api/docs/guides/tools-tool-search; https://docs.x.ai/docs/guides/tools;
https://openrouter.ai/docs/guides/features/server-tools
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from otel_llm.protocol.fields import field, items_of, text_of

# Calls, and the field with what they pass to the tool.
_ARGUMENTS_OF = {
    "function_call": "arguments",
    "custom_tool_call": "input",
    "computer_call": "action",
    "local_shell_call": "action",
    "shell_call": "action",
    "apply_patch_call": "operation",
    "tool_search_call": "arguments",
}
# The result of a local shell has no `call_id` by the reference, but an `id`.
_SHELL_CALL, _SHELL_OUTPUT = "local_shell_call", "local_shell_call_output"
NAMED_CALLS = frozenset({"function_call", "custom_tool_call"})
"""Calls of tools that the application names, whose arguments are text and come in pieces."""
# Tools of the API that the application runs, and the name that their calls have here.
_TOOL_NAMES = {
    "computer": "computer",
    "computer_use": "computer",
    "computer_use_preview": "computer",
    "local_shell": "local_shell",
    "shell": "shell",
    "apply_patch": "apply_patch",
}
TOOL_SEARCH = "tool_search"
"""A tool that finds others, among those that are declared or, if the application runs it, any."""
# Items of the server besides those named `..._call`: a tool that waits for approval, code that calls tools, the
# conversation so far in short.
_SERVER_ITEMS = frozenset({"mcp_approval_request", "program", "compaction"})
# In the types of a gateway's own tools, as in `openrouter:web_search`.
_OF_GATEWAY = ":"
_RESULTS = frozenset(f"{kind}_output" for kind in _ARGUMENTS_OF if kind != "tool_search_call")
# Parts of a response that are neither calls nor messages.
_MODEL_ITEMS = frozenset({"reasoning", "program", "program_output", "mcp_list_tools", "mcp_approval_request"})


def is_call(kind: str) -> bool:
    """Whether items of this type may be calls for the application to answer."""
    return kind in _ARGUMENTS_OF


def runs_on_server(item: Any, kind: str) -> bool:
    """Whether the server runs this call by itself, though calls of its kind are the application's otherwise."""
    if kind == "shell_call":
        return _is_container(field(item, "environment"))
    if kind == "tool_search_call":
        execution = text_of(field(item, "execution"))
        return execution == "server" or (execution is None and text_of(field(item, "call_id")) is None)
    return False


def is_of_server(item: Any) -> bool:
    """Whether an item is something that the server did by itself: a tool that it ran, or one of `_SERVER_ITEMS`."""
    kind = text_of(field(item, "type")) or ""
    if kind in _ARGUMENTS_OF:
        return runs_on_server(item, kind)
    return kind in _SERVER_ITEMS or kind.endswith("_call") or _OF_GATEWAY in kind


def is_part_of_answer(item: Any, kind: str) -> bool:
    """Whether an item in a conversation is of the model, or of the server while it answered."""
    if kind == "tool_search_output":
        return text_of(field(item, "call_id")) is None
    if kind in _MODEL_ITEMS or kind.endswith("_call") or _OF_GATEWAY in kind:
        return True
    return text_of(field(item, "role")) == "assistant"


def result_of(item: Any, kind: str) -> str | None:
    """The id of the call whose result an item is, empty if it has none, None if it is no result."""
    if kind in _RESULTS:
        call_id = text_of(field(item, "call_id"))
        if call_id is None and kind == _SHELL_OUTPUT:
            call_id = text_of(field(item, "id"))
        return call_id or ""
    return text_of(field(item, "call_id")) if kind == "tool_search_output" else None


def named_by_item(items: Sequence[Any]) -> list[str]:
    """The ids in results of local shells that have no call id: each is the id of a call, or that of its item."""
    outputs = [
        item
        for item in items
        if text_of(field(item, "type")) == _SHELL_OUTPUT and text_of(field(item, "call_id")) is None
    ]
    return [item_id for output in outputs if (item_id := text_of(field(output, "id"))) is not None]


def calls_by_item(items: Sequence[Any]) -> dict[str, str]:
    """The ids of the calls of local shells, by the ids of their items."""
    ids = [(text_of(field(item, "id")), text_of(field(item, "call_id"))) for item in items if is_shell_call(item)]
    return {item_id: call_id for item_id, call_id in ids if item_id is not None and call_id is not None}


def is_shell_call(item: Any) -> bool:
    """Whether an item is a call whose result may name the item instead."""
    return text_of(field(item, "type")) == _SHELL_CALL


def name_of(item: Any, kind: str) -> str | None:
    """The name of the tool that an item calls."""
    return text_of(field(item, "name")) if kind in NAMED_CALLS else kind.removesuffix("_call")


def arguments_of(item: Any, kind: str) -> Any:
    """What an item passes to the tool: as it is for `NAMED_CALLS`, else a value, or None."""
    value = field(item, _ARGUMENTS_OF[kind])
    if value is None and kind == "computer_call":
        actions = field(item, "actions")
        # Several at once; arguments are an object.
        return None if actions is None else {"actions": actions}
    return value


def arguments_text(item: Any, kind: str) -> str | None:
    """The arguments of a call that is none of `NAMED_CALLS` as JSON text, None if it has none yet."""
    value = arguments_of(item, kind)
    text = text_of(value)
    if value is None or text is not None:
        return text
    try:
        return json.dumps(value, ensure_ascii=False, default=_plain)
    except Exception:  # noqa: BLE001  a value that contains itself, or that raises
        return None


def tool_named_by(entry: Any) -> str | None:
    """The name of a tool of the API that the application runs, None for any other entry of `tools`."""
    kind = text_of(field(entry, "type")) or ""
    if kind == TOOL_SEARCH:
        return kind if text_of(field(entry, "execution")) == "client" else None
    if kind == "shell" and _is_container(field(entry, "environment")):
        return None
    return _TOOL_NAMES.get(kind)


def is_tool_search(entry: Any) -> bool:
    """Whether an entry of `tools` lets the model search for others."""
    return text_of(field(entry, "type")) == TOOL_SEARCH


def is_left_to_server(search: Any) -> bool:
    """Whether a search for tools can find none but those that are declared, because the server runs it for sure."""
    return text_of(field(search, "execution")) == "server"


def tools_in(item: Any, kind: Any) -> Sequence[Any]:
    """The tools that an item of a conversation or a response declares, as entries of `tools`."""
    return items_of(field(item, "tools")) if kind == "additional_tools" or kind == "tool_search_output" else ()  # noqa: PLR1714  may be unhashable


def _is_container(environment: Any) -> bool:
    """Whether a shell runs in a container, which the server has."""
    return (text_of(field(environment, "type")) or "").startswith("container")


def _plain(thing: Any) -> Any:
    """An SDK's model as plain values, with the fields that the server sent."""
    dump = getattr(thing, "model_dump", None)
    if dump is not None:
        return dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)
    return str(thing)
