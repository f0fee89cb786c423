"""A server for agents of any language with one tool, and what comes of their runs.

The model calls `add_task`, with arguments in pieces; once it has the tool's result, it says so. It answers in the API
that a request speaks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from otel_llm.demo.scripted_messages import message_events, text_block, tool_use
from otel_llm.demo.scripted_responses import function_call, message, response_events
from otel_llm.demo.scripted_server import DONE, ScriptedServer, Step, chunk, text, tool_call_chunks

QUESTION = "Buy milk"
NAME = "add_task"
SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
ARGUMENTS = {"title": "buy milk, ½ l of “fresh”"}
RESULT = f"added {ARGUMENTS['title']}"
OUTCOME = {"texts": ["Sure. ", f"Done: {RESULT}"], "calls": [ARGUMENTS], "results": [RESULT]}
"""What each agent reports: the text of each turn, the arguments of each call, and the tool's results."""


def execute(arguments: dict[str, Any]) -> str:
    """The tool."""
    return f"added {arguments['title']}"


def answer(body: Any) -> Iterable[Step]:
    """The script of the server."""
    arguments = json.dumps(ARGUMENTS)
    if "input" in body:
        outputs = [item["output"] for item in body["input"] if item.get("type") == "function_call_output"]
        if outputs:
            return response_events(message(f"Done: {outputs[0]}"))
        return response_events(message("Sure. "), function_call(NAME, arguments))
    last = body["messages"][-1]
    content = last["content"]
    if body["tools"][0].get("input_schema"):
        if isinstance(content, list) and content[0]["type"] == "tool_result":
            return message_events(text_block(f"Done: {_plain(content[0]['content'])}"))
        return message_events(text_block("Sure. "), tool_use(NAME, ARGUMENTS))
    if last["role"] == "tool":
        return [chunk(text(piece)) for piece in ("Done: ", content)] + [chunk(finish_reason="stop"), DONE]
    return [
        chunk({"role": "assistant", **text("Sure. ")}),
        *tool_call_chunks(NAME, arguments),
        chunk(finish_reason="tool_calls"),
        DONE,
    ]


def answer_in_text(body: Any) -> Iterable[Step]:
    """The script of a server whose parser of calls is missing: they come as text. Chat completions only."""
    last = body["messages"][-1]
    if last["role"] == "tool":
        return answer(body)
    call = json.dumps({"name": NAME, "arguments": ARGUMENTS}, ensure_ascii=False)
    written = f"Sure. <tool_call>\n{call}\n</tool_call>"
    pieces = [written[at : at + 7] for at in range(0, len(written), 7)]
    begun = chunk({"role": "assistant", **text("")})
    return [begun, *(chunk(text(piece)) for piece in pieces), chunk(finish_reason="stop"), DONE]


def asked(server: ScriptedServer, since: int) -> list[Any]:
    """The requests that a server got, from one on: path, headers and body, without what a proxy changes of them."""
    ours = {"host", "traceparent", "tracestate", "connection"}
    return [
        (one.method, one.path, {name: value for name, value in one.headers.items() if name not in ours}, one.body)
        for one in server.requests[since:]
    ]


def _plain(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
