"""The requests of the battery, as chat completions; `apis` says them in the words of other APIs.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from otel_llm.probe.check import Check
from otel_llm.probe.expectations import (
    calls,
    choices,
    holds,
    in_deltas,
    is_cut,
    named_once,
    no_call,
    no_markup,
    some_arguments,
    thoughts,
    usage,
)


def _tool(name: str, description: str, *required: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


_TEXT: Mapping[str, Any] = {"type": "string"}
_UNITS = ["celsius", "fahrenheit"]
WEATHER = _tool("get_weather", "The weather of a city.", "city", city=_TEXT, unit={"type": "string", "enum": _UNITS})
TIME = _tool("get_time", "The time in a city.", "city", city=_TEXT)
NOTE = _tool("save_note", "Save a text, exactly as it is.", "text", text=_TEXT)
TASKS = _tool("list_tasks", "All tasks. It takes no arguments.")
EVENT = _tool(
    "create_event",
    "Put an event into the calendar.",
    "event",
    event={
        "type": "object",
        "properties": {
            "title": _TEXT,
            "place": {
                "type": "object",
                "properties": {"city": _TEXT, "room": {"type": "integer"}},
                "required": ["city"],
            },
            "guests": {
                "type": "array",
                "items": {"type": "object", "properties": {"name": _TEXT}, "required": ["name"]},
            },
        },
        "required": ["title", "place", "guests"],
    },
)
_ALL = [WEATHER, TIME, NOTE, TASKS]

CITIES = ("Paris", "Oslo", "Lima", "Cairo")
"""What the concurrent requests ask for, one each."""

UNICODE = "Zürich 牛乳 🥛 עברית"
ESCAPED = 'a "quoted" word, a C:\\path\\new, and a\nsecond line'


def _says(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def _named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


_RESULT_TURN = [
    *_says("What is the weather in Paris?"),
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call00001",
                "type": "function",
                "function": {"name": "get_weather", "arguments": '{"city": "Paris", "unit": "celsius"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call00001", "content": '{"degrees": 21, "sky": "clear"}'},
]
FOLLOWING: Mapping[str, Any] = {
    "messages": _says("List my tasks with list_tasks."),
    "tools": [TASKS],
    "tool_choice": "required",
}
"""The request after one whose client disconnected."""
NEXT: Mapping[str, Any] = {"role": "user", "content": "Now call get_weather for Lima."}
"""What the user says after the calls of the first turn."""
_FEW = 24  # tokens
_LONG = "Save a note whose text is a story of at least three hundred words about a lighthouse. Call save_note."

BATTERY: Sequence[Check] = (
    Check(
        "one_call",
        "one call, if the model decides so",
        {"messages": _says("Call get_weather for Paris, in celsius."), "tools": _ALL, "tool_choice": "auto"},
        (calls(1), named_once),
    ),
    Check(
        "parallel_calls",
        "two calls in one response",
        {"messages": _says("Call get_weather for Paris and for Rome, both in this answer."), "tools": [WEATHER]},
        (calls(2),),
    ),
    Check(
        "one_at_a_time",
        "parallel_tool_calls=false",
        {
            "messages": _says("Call get_weather for Paris and for Rome."),
            "tools": [WEATHER],
            "tool_choice": "required",
            "parallel_tool_calls": False,
        },
        (calls(1),),
    ),
    Check(
        "no_call", "tools, but nothing to call", {"messages": _says("Say hello."), "tools": _ALL}, (no_call, no_markup)
    ),
    Check(
        "required",
        "tool_choice=required",
        {"messages": _says("Say hello."), "tools": _ALL, "tool_choice": "required"},
    ),
    Check(
        "named",
        "a named tool",
        {"messages": _says("What time is it in Rome?"), "tools": _ALL, "tool_choice": _named("get_time")},
    ),
    Check(
        "none",
        "tool_choice=none",
        {"messages": _says("Call get_weather for Paris."), "tools": _ALL, "tool_choice": "none"},
    ),
    Check(
        "nested_arguments",
        "objects and arrays in arguments",
        {
            "messages": _says("Create the event 'Review' in Zurich, room 4, with the guests Ann and Bob."),
            "tools": [EVENT],
            "tool_choice": "required",
        },
        (calls(1),),
    ),
    Check(
        "unicode_arguments",
        "characters of one to four bytes in arguments",
        {
            "messages": _says(f"Save this note exactly as it is, with save_note: {UNICODE}"),
            "tools": [NOTE],
            "tool_choice": "required",
        },
        (calls(1), holds(UNICODE)),
    ),
    Check(
        "escaped_arguments",
        "quotes, backslashes and line breaks in arguments",
        {
            "messages": _says(f"Save this note exactly as it is, with save_note:\n{ESCAPED}"),
            "tools": [NOTE],
            "tool_choice": "required",
        },
        (calls(1), holds(ESCAPED)),
    ),
    Check(
        "empty_parameters",
        "a tool without parameters",
        {"messages": _says("List my tasks with list_tasks."), "tools": [TASKS], "tool_choice": "required"},
        (calls(1), some_arguments),
    ),
    Check(
        "long_arguments",
        "arguments of a thousand characters or more",
        {"messages": _says(_LONG), "tools": [NOTE], "tool_choice": "required", "max_tokens": 2048},
        (calls(1), in_deltas),
        frozenset({"truncated"}),
    ),
    Check(
        "enum",
        "a value of an enumeration",
        {
            "messages": _says("Call get_weather for Oslo, in fahrenheit."),
            "tools": [
                _tool("get_weather", "The weather of a city.", "city", "unit", city=_TEXT, unit={"enum": _UNITS})
            ],
            "tool_choice": "required",
        },
        (calls(1),),
    ),
    Check(
        "many_tools",
        "64 tools",
        {
            "messages": _says("Call tool_37 with the word 'now'."),
            "tools": [_tool(f"tool_{number}", f"Tool {number}.", "word", word=_TEXT) for number in range(64)],
            "tool_choice": "required",
        },
        (calls(1),),
    ),
    Check(
        "two_choices",
        "n=2",
        {"messages": _says("Call get_weather for Paris."), "tools": [WEATHER], "tool_choice": "required", "n": 2},
        (choices(2),),
    ),
    Check(
        "cut_by_max_tokens",
        "max_tokens in the middle of a call",
        {"messages": _says(_LONG), "tools": [NOTE], "tool_choice": "required", "max_tokens": _FEW},
        (is_cut(_FEW),),
        frozenset({"truncated"}),
    ),
    Check(
        "usage",
        "the usage, also of a stream",
        {
            "messages": _says("Say hello."),
            "tools": _ALL,
            "tool_choice": "none",
            "max_tokens": 16,
            "stream_options": {"include_usage": True},
        },
        (usage,),
    ),
    Check(
        "tool_result",
        "the turn after a call, with its result",
        {"messages": _RESULT_TURN, "tools": [WEATHER]},
        (no_markup,),
    ),
    Check(
        "ids",
        "unique ids, of parallel calls and of the next turn's",
        {"messages": _says("Call get_weather for Paris and for Rome, both in this answer."), "tools": [WEATHER]},
        (calls(2),),
        way="turns",
    ),
    Check(
        "markup",
        "text beside tools: no tags and control tokens are left",
        {"messages": _says("Say hello, and in the same answer call list_tasks."), "tools": [TASKS]},
        (no_markup,),
    ),
    Check(
        "thoughts",
        "thoughts, if the model has any, apart from the answer",
        {
            "messages": _says("Think about what is the shortest greeting, then say hello."),
            "reasoning_effort": "low",
            "max_tokens": 2048,
        },
        (thoughts, no_markup),
        compares_thoughts=True,
    ),
    Check(
        "thoughts_and_call",
        "a call after thoughts",
        {
            "messages": _says("Think step by step which season it is in Lima in July, then call get_weather for Lima."),
            "tools": [WEATHER],
            "max_tokens": 2048,
        },
        (calls(1), thoughts, no_markup),
        compares_thoughts=True,
    ),
    Check(
        "cancel",
        "a client that disconnects midway, and the request after it",
        {"messages": _says(_LONG), "tools": [NOTE], "tool_choice": "required"},
        way="cancel",
    ),
    Check(
        "concurrent",
        "four requests at the same time",
        {"messages": _says(f"Call get_weather for {CITIES[0]}."), "tools": [WEATHER], "tool_choice": "required"},
        (calls(1),),
        way="concurrent",
    ),
)
