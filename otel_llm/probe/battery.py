"""The requests of the battery, and what is expected of their answers.  Pure.

A model that does not do what it is asked says nothing of the server: then the check is not judged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from otel_llm.probe.answers import Answer

Kind = Literal["fault", "model", "unjudged", "remark"]


class Finding(NamedTuple):
    """Something that was found. `fault`: of the server; `model`: of the model, as far as can be told; `unjudged`: why
    nothing can be said; `remark`: nothing wrong."""

    kind: Kind
    text: str


Expectation = Callable[["Answer"], Iterator[Finding]]


@dataclass(frozen=True)
class Check:
    """One request. `allowed`: anomalies that it is there to cause."""

    name: str
    title: str
    request: Mapping[str, Any]
    expects: tuple[Expectation, ...] = ()
    allowed: frozenset[str] = field(default_factory=frozenset)
    way: Literal["both", "concurrent", "cancel"] = "both"


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
"""What the requests that are made at the same time ask for, one each."""

UNICODE = "Zürich 牛乳 🥛 עברית"
ESCAPED = 'a "quoted" word, a C:\\path\\new, and a\nsecond line'


def _says(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def _named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


# Expectations -------------------------------------------------------------------------------------------------


def _calls(number: int) -> Expectation:
    def expect(answer: Answer) -> Iterator[Finding]:
        count = len(answer.calls)
        if count < number:
            yield Finding("unjudged", f"{answer.way}: the model made {count} of {number} calls that were asked for")

    return expect


def _no_call(answer: Answer) -> Iterator[Finding]:
    if answer.calls:
        yield Finding("unjudged", f"{answer.way}: the model called a tool though nobody asked for it")


def _holds(value: str) -> Expectation:
    """The arguments hold this text, as it is."""

    def expect(answer: Answer) -> Iterator[Finding]:
        written = [json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]]
        if not any(text in call.meaning for call in answer.calls for text in written):
            yield Finding("unjudged", f"{answer.way}: the model did not write the text that was asked for")

    return expect


def _in_deltas(answer: Answer) -> Iterator[Finding]:
    if not answer.streamed or answer.recording is None:
        return
    for call in answer.recording.calls:
        if call.length < 400:
            yield Finding("unjudged", f"the arguments are {call.length} characters, which is not long")
        elif call.delta_count < 4:
            seconds = answer.recording.max_wait_ns / 1e9
            yield Finding(
                "remark",
                f"the server holds arguments back: {call.length} characters came in {call.delta_count} deltas,"
                f" after a wait of {seconds:.1f} s",
            )


def _choices(number: int) -> Expectation:
    def expect(answer: Answer) -> Iterator[Finding]:
        count = len(answer.choices())
        if count != number:
            yield Finding("fault", f"{answer.way}: n={number}, and the number of choices is {count}")

    return expect


def _is_cut(answer: Answer) -> Iterator[Finding]:
    reasons = {choice.finish_reason for choice in answer.choices()}
    if reasons != {"length"}:
        if answer.verdict is not None and any(
            anomaly.type == "invalid_json" for anomaly, _ in answer.verdict.anomalies
        ):
            yield Finding("fault", f"{answer.way}: a call was cut, and the finish reason is {_list(reasons)}")
        else:
            yield Finding("unjudged", f"{answer.way}: the answer ended before max_tokens, with {_list(reasons)}")


def _usage(answer: Answer) -> Iterator[Finding]:
    if answer.recording is not None and answer.recording.usage is None:
        yield Finding("fault", f"{answer.way}: no usage came, though it was asked for")


def _list(values: set[str | None]) -> str:
    return ", ".join(sorted(str(value) for value in values))


# The battery --------------------------------------------------------------------------------------------------


_RESULT_TURN = [
    *_says("What is the weather in Paris?"),
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "get_weather", "arguments": '{"city": "Paris", "unit": "celsius"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": '{"degrees": 21, "sky": "clear"}'},
]
FOLLOWING: Mapping[str, Any] = {
    "messages": _says("List my tasks with list_tasks."),
    "tools": [TASKS],
    "tool_choice": "required",
}
"""What is asked behind a request whose caller left."""
_LONG = "Save a note whose text is a story of at least three hundred words about a lighthouse. Call save_note."

BATTERY: Sequence[Check] = (
    Check(
        "one_call",
        "one call, if the model wants",
        {"messages": _says("Call get_weather for Paris, in celsius."), "tools": _ALL, "tool_choice": "auto"},
        (_calls(1),),
    ),
    Check(
        "parallel_calls",
        "two calls in one answer",
        {"messages": _says("Call get_weather for Paris and for Rome, both in this answer."), "tools": [WEATHER]},
        (_calls(2),),
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
        (_calls(1),),
    ),
    Check("no_call", "tools, and nothing to call", {"messages": _says("Say hello."), "tools": _ALL}, (_no_call,)),
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
        (_calls(1),),
    ),
    Check(
        "unicode_arguments",
        "characters of all sizes in arguments",
        {
            "messages": _says(f"Save this note exactly as it is, with save_note: {UNICODE}"),
            "tools": [NOTE],
            "tool_choice": "required",
        },
        (_calls(1), _holds(UNICODE)),
    ),
    Check(
        "escaped_arguments",
        "quotes, backslashes and line breaks in arguments",
        {
            "messages": _says(f"Save this note exactly as it is, with save_note:\n{ESCAPED}"),
            "tools": [NOTE],
            "tool_choice": "required",
        },
        (_calls(1), _holds(ESCAPED)),
    ),
    Check(
        "empty_parameters",
        "a tool without parameters",
        {"messages": _says("List my tasks with list_tasks."), "tools": [TASKS], "tool_choice": "required"},
        (_calls(1),),
    ),
    Check(
        "long_arguments",
        "arguments of some thousand characters",
        {"messages": _says(_LONG), "tools": [NOTE], "tool_choice": "required", "max_tokens": 2048},
        (_calls(1), _in_deltas),
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
        (_calls(1),),
    ),
    Check(
        "many_tools",
        "64 tools",
        {
            "messages": _says("Call tool_37 with the word 'now'."),
            "tools": [_tool(f"tool_{number}", f"Tool {number}.", "word", word=_TEXT) for number in range(64)],
            "tool_choice": "required",
        },
        (_calls(1),),
    ),
    Check(
        "two_choices",
        "n=2",
        {"messages": _says("Call get_weather for Paris."), "tools": [WEATHER], "tool_choice": "required", "n": 2},
        (_choices(2),),
    ),
    Check(
        "cut_by_max_tokens",
        "max_tokens in the middle of a call",
        {"messages": _says(_LONG), "tools": [NOTE], "tool_choice": "required", "max_tokens": 24},
        (_is_cut,),
        frozenset({"truncated"}),
    ),
    Check(
        "usage",
        "stream_options.include_usage",
        {
            "messages": _says("Say hello."),
            "tools": _ALL,
            "tool_choice": "none",
            "max_tokens": 16,
            "stream_options": {"include_usage": True},
        },
        (_usage,),
    ),
    Check(
        "tool_result",
        "the turn behind a call, with its result",
        {"messages": _RESULT_TURN, "tools": [WEATHER]},
    ),
    Check(
        "cancel",
        "a caller who leaves in the middle, and the request behind it",
        {"messages": _says(_LONG), "tools": [NOTE], "tool_choice": "required"},
        way="cancel",
    ),
    Check(
        "concurrent",
        "four requests at the same time",
        {"messages": _says(f"Call get_weather for {CITIES[0]}."), "tools": [WEATHER], "tool_choice": "required"},
        (_calls(1),),
        way="concurrent",
    ),
)
