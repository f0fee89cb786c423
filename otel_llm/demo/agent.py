"""A small agent with two tools, written with the plain OpenAI SDK. It has no telemetry of its own.

usage: python -m otel_llm.demo.agent BASE_URL
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

import openai

from otel_llm.demo.llama_server import MODEL, WELL_FORMED_CALLS
from otel_llm.demo.tools import TOOLS

TASK: Final = "Note that I have to buy milk and to write code, and tell me what is on my list."

# The demo's model produces noise. These steer it: first to a few tool calls, then to one sentence.
_LEAD_TO_CALLS: Final[Any] = {"tool_choice": "required", "logit_bias": WELL_FORMED_CALLS, "seed": 135}
_LEAD_TO_ANSWER: Final[Any] = {
    "tool_choice": "none",
    "extra_body": {"grammar": 'root ::= "Done, and your list is up to date."'},
}


class Tasks:
    """The state of the tools."""

    def __init__(self) -> None:
        self._titles: list[str] = []

    def run(self, name: str, arguments: str) -> str:
        """Execute a tool call. The result is for the model, even if it is an error."""
        try:
            values = json.loads(arguments or "{}")
        except ValueError:
            return "error: the arguments are not JSON"
        if name == "add_task" and isinstance(values, dict) and "title" in values:
            self._titles.append(values["title"])
            return "added"
        if name == "list_tasks":
            return json.dumps(self._titles)
        return "error: no such tool, or an argument is missing"


def stream_turn(client: openai.OpenAI, messages: list[Any], **lead: Any) -> dict[str, Any]:
    """The assistant's message from one streamed completion."""
    stream = client.chat.completions.create(
        model=MODEL,
        messages=messages,
        tools=TOOLS,
        stream=True,
        stream_options={"include_usage": True},
        max_tokens=400,
        **lead,
    )
    text = ""
    calls: dict[int, dict[str, Any]] = {}
    for chunk in stream:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            for delta in choice.delta.tool_calls or []:
                function = {"name": "", "arguments": ""}
                call = calls.setdefault(delta.index, {"id": "", "type": "function", "function": function})
                call["id"] = delta.id or call["id"]
                if delta.function:
                    call["function"]["name"] += delta.function.name or ""
                    call["function"]["arguments"] += delta.function.arguments or ""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = list(calls.values())
    return message


def main(base_url: str) -> int:
    """Let the model call its tools once, send it the results, and print its answer."""
    print(f"you:    {TASK}")
    tasks = Tasks()
    messages: list[Any] = [{"role": "user", "content": TASK}]
    with openai.OpenAI(base_url=base_url, api_key="unused", timeout=30) as client:
        messages.append(stream_turn(client, messages, **_LEAD_TO_CALLS))
        for call in messages[-1].get("tool_calls", ()):
            function = call["function"]
            result = tasks.run(function["name"], function["arguments"])
            print(f"agent:  {function['name']}({function['arguments']}) -> {result}")
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        answer = stream_turn(client, messages, **_LEAD_TO_ANSWER)["content"]
    print(f"model:  {answer}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
