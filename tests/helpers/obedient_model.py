"""A model that does what the battery of `otel-llm probe` asks, for servers of any API."""

from __future__ import annotations

from typing import Any

from otel_llm.probe.battery import ESCAPED, UNICODE

Calls = list[tuple[str, dict[str, Any]]]
LONG = "The lighthouse. " * 120


def wanted_calls(body: dict[str, Any]) -> Calls:
    """The calls that answer the body of a chat completion."""
    choice, tools = body.get("tool_choice"), [tool["function"]["name"] for tool in body.get("tools") or ()]
    last = body["messages"][-1]
    prompt = last["content"]
    if choice == "none" or last["role"] == "tool" or not tools:
        return []
    if isinstance(choice, dict):
        return [(choice["function"]["name"], {"city": "Rome"})]
    if "Rome" in prompt:
        cities = ["Paris"] if body.get("parallel_tool_calls") is False else ["Paris", "Rome"]
        return [("get_weather", {"city": city}) for city in cities]
    if "hello" in prompt:
        return [("list_tasks", {})] if choice == "required" else []
    answers: dict[str, tuple[str, dict[str, Any]]] = {
        "Paris": ("get_weather", {"city": "Paris", "unit": "celsius"}),
        "Oslo": ("get_weather", {"city": "Oslo", "unit": "fahrenheit"}),
        "Lima": ("get_weather", {"city": "Lima"}),
        "Cairo": ("get_weather", {"city": "Cairo"}),
        "story": ("save_note", {"text": LONG}),
        UNICODE: ("save_note", {"text": UNICODE}),
        ESCAPED: ("save_note", {"text": ESCAPED}),
        "tool_37": ("tool_37", {"word": "now"}),
        "list_tasks": ("list_tasks", {}),
        "Review": (
            "create_event",
            {"event": {"title": "Review", "place": {"city": "Zurich", "room": 4}, "guests": [{"name": "Ann"}]}},
        ),
    }
    for words, call in answers.items():
        if words in prompt:
            return [call]
    raise AssertionError(prompt)
