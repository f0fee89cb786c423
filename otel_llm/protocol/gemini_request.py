"""The arguments of a Gemini request as those of a chat completion.  Pure.

Everything behind this (requests, conversations, content, parameters) then reads one API. Both forms of a request are
read: the SDK's `model`, `contents` and `config`, and a JSON body. Shapes: the Gemini API reference, "Generating
content", and OpenAI's, "Create chat completion".

- A function's result names its call by id if the call has one, and else by the function's name: see `implied_ids.py`.
- Parts that are neither text, calls nor results stay as they are; `telemetry.genai_parts` knows them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from otel_llm.protocol.fields import field, is_a, items_of, text_of
from otel_llm.protocol.gemini_fields import SERVER_PARTS, camel, get, word_of
from otel_llm.protocol.implied_ids import implied_id

# Settings of the SDK's `config`, or of the `generationConfig` of a body.
_SETTINGS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "max_output_tokens": "max_tokens",
    "stop_sequences": "stop",
    "candidate_count": "n",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
_FORMATS = {"application/json": "json_object", "text/x.enum": "json_object", "text/plain": "text"}
_MODES = {"NONE": "none", "ANY": "required"}
_DECLARATIONS = "function_declarations"
_DECLARING = frozenset({_DECLARATIONS, "functionDeclarations"})


def gemini_arguments(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of `generate_content` as those of `chat.completions.create`.

    Settings that have no counterpart are left out. An iterator is passed on unread.
    """
    config = kwargs.get("config")
    if config is None:
        config = kwargs
    settings = get(kwargs, "generation_config")
    if settings is None:
        settings = config
    made = {name: kwargs[name] for name in ("model", "stream") if name in kwargs}
    for name, renamed in _SETTINGS.items():
        if (value := get(settings, name)) is not None:
            made[renamed] = value
    if (format_ := _response_format(settings)) is not None:
        made["response_format"] = format_
    if (level := word_of(get(get(settings, "thinking_config"), "thinking_level"))) is not None:
        made["reasoning_effort"] = level.lower()
    instructions = get(config, "system_instruction")
    if instructions is not None:
        made["instructions"] = _instructions(instructions)
    tools = get(config, "tools")
    if tools is not None:
        made["tools"] = list(_tools(tools)) if is_a(tools, (list, tuple)) else tools
    calling = get(get(config, "tool_config"), "function_calling_config")
    if calling is not None and (choice := _tool_choice(calling)) is not None:
        made["tool_choice"] = choice
    contents = kwargs.get("contents")
    if contents is not None:
        made["messages"] = list(_messages(contents))
    return made


def _response_format(settings: Any) -> dict[str, str] | None:
    if any(get(settings, name) is not None for name in ("response_schema", "response_json_schema")):
        return {"type": "json_schema"}
    kind = _FORMATS.get(text_of(get(settings, "response_mime_type")) or "")
    return None if kind is None else {"type": kind}


def _instructions(instructions: Any) -> Any:
    return [_plain_part(part) for content in _contents(instructions) for part in items_of(field(content, "parts"))]


# Tools ------------------------------------------------------------------------------------------------------


def _tools(entries: Iterable[Any]) -> Iterator[Any]:
    for entry in entries:
        if inspect.isroutine(entry):
            yield _of_function(entry)
            continue
        declarations = items_of(get(entry, _DECLARATIONS))
        for declaration in declarations:
            schema = get(declaration, "parameters_json_schema")
            if schema is None:
                schema = json_schema(field(declaration, "parameters"))
            yield _function(field(declaration, "name"), field(declaration, "description"), schema)
        kinds = [*_server_tools(entry)]
        for kind in kinds:
            yield {"type": kind}
        if not declarations and not kinds:
            # A tool or a session of the Model Context Protocol, or something else that the SDK turns into functions.
            name, schema = text_of(field(entry, "name")), get(entry, "input_schema")
            if schema is None:
                schema = field(entry, "inputSchema")
            known = name is not None and schema is not None
            yield _function(name, field(entry, "description"), schema) if known else {"type": "mcp"}


def _function(name: Any, description: Any, parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def _server_tools(entry: Any) -> list[str]:
    """The tools of Google's that an entry has."""
    kind: type = type(entry)
    if is_a(entry, Mapping):
        fields = entry
    elif _DECLARATIONS in _fields(kind):
        fields = entry.__dict__
    else:
        return []
    return [name for name in fields if name not in _DECLARING and fields[name] is not None]


@lru_cache(maxsize=64)
def _fields(kind: type) -> frozenset[str]:
    return frozenset(getattr(kind, "model_fields", ()))


_of_functions: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()
_TYPES: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
_TYPES |= {kind.__name__: name for kind, name in _TYPES.items()}


def _of_function(function: Any) -> dict[str, Any]:
    """What the SDK declares for a Python function, as far as its signature says it."""
    try:
        known = _of_functions.get(function)
        if known is None:
            known = _declared(function)
            _of_functions[function] = known
    except TypeError:
        # One that is written in C.
        return _declared(function)
    return known


def _declared(function: Any) -> dict[str, Any]:
    name, description = field(function, "__name__"), text_of(field(function, "__doc__"))
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return _function(name, description, None)
    named = [one for one in parameters if one.kind in {one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY}]
    properties = {one.name: {"type": _TYPES[one.annotation]} if _has_type(one) else {} for one in named}
    required = [one.name for one in named if one.default is one.empty]
    schema = {"type": "object", "properties": properties, "required": required}
    return _function(name, None if description is None else description.strip(), schema)


def _has_type(parameter: inspect.Parameter) -> bool:
    try:
        return parameter.annotation in _TYPES
    except TypeError:
        return False


# The keywords of a JSON schema that a `Schema` has, by both spellings of its own fields.
_SAME = ("description", "title", "enum", "pattern", "minimum", "maximum", "required", "default", "format")
_NESTED = ("items", "additional_properties", "additionalProperties")
_NESTED_LISTS = ("any_of", "anyOf", "prefix_items", "prefixItems")
_BOUNDS = ("min_items", "max_items", "min_length", "max_length", "min_properties", "max_properties")
_KEYWORDS: dict[str, Callable[[Any, int], Any]] = {
    "type": lambda kind, _: (word_of(kind) or "").lower() or None,
    "properties": lambda inner, depth: {name: json_schema(one, depth) or {} for name, one in inner.items()},
    **dict.fromkeys(_SAME, lambda value, _: value),
    **dict.fromkeys(_NESTED, lambda inner, depth: inner if is_a(inner, bool) else json_schema(inner, depth) or {}),
    **dict.fromkeys(_NESTED_LISTS, lambda inner, depth: [json_schema(one, depth) or {} for one in inner]),
    # On the wire these are strings, since they have 64 bits.
    **dict.fromkeys((*_BOUNDS, *map(camel, _BOUNDS)), lambda bound, _: int(bound)),
}
_DEEPEST = 32


def json_schema(schema: Any, depth: int = 0) -> Any:
    """Google's `Schema`, whose types are in capitals, as a JSON schema. None if it is none, or nested too deeply."""
    if schema is None or depth > _DEEPEST:
        return None
    fields = schema if is_a(schema, Mapping) else getattr(schema, "__dict__", {})
    made: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None or (read := _KEYWORDS.get(name)) is None:
            continue
        try:
            keyword = read(value, depth + 1)
        except Exception:  # noqa: BLE001, S112  a value of another type
            continue
        if keyword is not None:
            made[camel(name)] = keyword
    if fields.get("nullable") is True:
        if "type" in made:
            made["type"] = [made["type"], "null"]
        if "enum" in made:
            made["enum"] = [*items_of(made["enum"]), None]
    return made


def _tool_choice(calling: Any) -> Any:
    mode = word_of(get(calling, "mode"))
    names = [name for name in items_of(get(calling, "allowed_function_names")) if text_of(name) is not None]
    if names and mode != "NONE":
        allowed = [{"type": "function", "function": {"name": name}} for name in names]
        return {"type": "allowed_tools", "mode": "required" if mode == "ANY" else "auto", "tools": allowed}
    return None if mode is None else _MODES.get(mode, "auto")


# The conversation -------------------------------------------------------------------------------------------


def _contents(contents: Any) -> Iterator[Any]:
    """The contents of a conversation. Texts and parts without a role stand for messages of the user's."""
    entries = contents if is_a(contents, (list, tuple)) else [contents]
    loose: list[Any] = []
    for entry in entries:
        parts = None if is_a(entry, str) else field(entry, "parts")
        if parts is None and field(entry, "role") is None:
            loose += entry if is_a(entry, (list, tuple)) else [entry]
            continue
        if loose:
            yield from _of_parts(loose)
            loose = []
        yield entry
    if loose:
        yield from _of_parts(loose)


def _of_parts(parts: list[Any]) -> Iterator[Any]:
    """Parts without a content around them: calls are the model's, all others the user's."""
    run: list[Any] = []
    role = None
    for part in parts:
        of_part = "user" if is_a(part, str) or get(part, "function_call") is None else "model"
        if run and of_part != role:
            yield {"role": role, "parts": run}
            run = []
        role = of_part
        run.append(part)
    if run:
        yield {"role": role, "parts": run}


class _Turn:
    """The calls of the model's last turn, by name: the ids that results may name, in order."""

    def __init__(self) -> None:
        self._of_name: dict[str, list[str]] = {}
        self._ids: set[str] = set()
        self._implied: dict[str, int] = {}
        self._answered: dict[str, int] = {}

    def add(self, call: Any) -> str | None:
        """Add a call; returns its id, or the one that is implied."""
        call_id, name = text_of(field(call, "id")), text_of(field(call, "name"))
        if call_id is None and name is not None:
            place = self._implied.get(name, 0)
            self._implied[name] = place + 1
            call_id = implied_id(name, place)
        elif call_id is not None:
            self._ids.add(call_id)
        if name is not None and call_id is not None:
            self._of_name.setdefault(name, []).append(call_id)
        return call_id

    def answer(self, result: Any) -> str | None:
        """The id of the call that a result is for."""
        call_id, name = text_of(field(result, "id")), text_of(field(result, "name"))
        if call_id is not None and (call_id in self._ids or name not in self._implied):
            return call_id
        if name is None:
            return None
        calls = self._of_name.get(name)
        if not calls:
            return implied_id(name, 0)
        # Any result more than there are calls repeats the last one's.
        place = min(self._answered.get(name, 0), len(calls) - 1)
        self._answered[name] = place + 1
        return calls[place]


def _messages(contents: Any) -> Iterator[Any]:
    turn, in_turn = _Turn(), False
    for content in _contents(contents):
        parts = items_of(field(content, "parts"))
        if text_of(field(content, "role")) == "model":
            if not in_turn:
                turn, in_turn = _Turn(), True
            yield _of_model(parts, turn)
            continue
        in_turn = False
        rest = []
        for part in parts:
            result = None if is_a(part, str) else get(part, "function_response")
            if result is None:
                rest.append(_plain_part(part))
            else:
                yield {"role": "tool", "tool_call_id": turn.answer(result), "content": _result(result)}
        if rest or not parts:
            yield {"role": "user", "content": rest}


def _of_model(parts: Iterable[Any], turn: _Turn) -> dict[str, Any]:
    content, calls = [], []
    for part in parts:
        call = None if is_a(part, str) else get(part, "function_call")
        if call is not None:
            function = {"name": field(call, "name"), "arguments": field(call, "args")}
            calls.append({"id": turn.add(call), "type": "function", "function": function})
        elif is_a(part, str) or all(get(part, name) is None for name in SERVER_PARTS):
            content.append(_plain_part(part))
    made: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        made["tool_calls"] = calls
    return made


def _result(result: Any) -> Any:
    """What a function returned. Google's SDK puts it into an object with the one field `result`, or `error`."""
    return field(result, "response")


def _plain_part(part: Any) -> Any:
    if is_a(part, str):
        return {"type": "text", "text": part}
    text = field(part, "text")
    if type(text) is str:
        is_thought = field(part, "thought") is True
        return {"type": "thinking", "thinking": text} if is_thought else {"type": "text", "text": text}
    return part
