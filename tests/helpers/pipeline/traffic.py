"""An application that makes many requests, and the server that answers them. Neither knows about telemetry.

usage: python traffic.py BASE_URL KIND[+KIND...][=COUNT] ...      (under opentelemetry-instrument)

``calls+invalid_json=20`` is twenty agent runs, each a span of the application's own around two requests. With
TIMED in the environment it prints the seconds that each request took.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from typing import Any, Final

import openai
from opentelemetry import trace

from otel_llm.demo.scripted_server import (
    DONE,
    Answer,
    Drop,
    Sleep,
    Step,
    chunk,
    text,
    tool_call_chunks,
    tool_call_delta,
    usage_chunk,
)

TOOLS: Final[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {field: {"type": "string"} for field in required},
                "required": list(required),
            },
        },
    }
    for name, required in (("add_task", ["title"]), ("list_tasks", []), ("charge", ["card", "email"]))
]

SECRETS: Final = {
    "card": "4111 1111 1111 1111",
    "email": "alice.secret@example.com",
    "key": "sk-proj-AbCdEf0123456789xyz",
    "bearer": "Bearer mF_9.B5f-4.1JqM8secret",
}
# The last one lies beyond the 200 characters that are kept of the whole, so only the deltas hold it.
SECRET_ARGUMENTS: Final = (
    f'{{"card": "{SECRETS["card"]}", "email": "{SECRETS["email"]}", "note": "{"so be it " * 20}", '
    f'"key": "{SECRETS["key"]}", "header": "{SECRETS["bearer"]}"}}'
)

CALLS: Final[list[Step]] = [
    *tool_call_chunks("add_task", '{"title": "buy milk"}', id="call_1", index=0),
    *tool_call_chunks("list_tasks", "{}", id="call_2", index=1),
    chunk(finish_reason="tool_calls"),
    usage_chunk(140, 31),
    DONE,
]
KINDS: Final[dict[str, list[Step]]] = {
    "calls": CALLS,
    "text": [*(chunk(text(word)) for word in ("all ", "is ", "done")), chunk(finish_reason="stop"), usage_chunk(90, 3)],
    "slow": [chunk(text("wait")), Sleep(0.4), *CALLS],
    "invalid_json": [
        *tool_call_chunks("add_task", '{"title": "buy mi'),
        chunk(finish_reason="tool_calls"),
        usage_chunk(90, 9),
        DONE,
    ],
    "unknown_tool": [
        *tool_call_chunks("no_such", "{}"),
        chunk(finish_reason="tool_calls"),
        usage_chunk(90, 9),
        DONE,
    ],
    "index_reused": [
        chunk(tool_call_delta(id="call_1", name="add_task", arguments='{"title": "a"}')),
        chunk(tool_call_delta(id="call_2", name="list_tasks", arguments="{}")),
        chunk(finish_reason="tool_calls"),
        usage_chunk(90, 9),
        DONE,
    ],
    "dropped": [*tool_call_chunks("add_task", '{"title": "buy'), Drop()],
    "refused": [Answer({"error": {"message": "overloaded"}}, status=503)],
    "secrets": [
        *tool_call_chunks("charge", SECRET_ARGUMENTS, size=3),
        chunk(finish_reason="tool_calls"),
        usage_chunk(90, 99),
        DONE,
    ],
    "tags": [
        chunk(text("<tool_call>\n")),
        chunk(text('{"name": "add_task", "arguments": {"title": "buy milk"}}')),
        chunk(text("\n</tool_call>")),
        chunk(finish_reason="stop"),
        usage_chunk(90, 20),
        DONE,
    ],
}


def answer(body: dict[str, Any]) -> Iterable[Step]:
    """The script for the kind named in the request's last message."""
    return KINDS[body["messages"][-1]["content"]]


def ask(client: openai.OpenAI, kind: str, model: str = "scripted-model") -> str:
    """Make one streamed request; returns how it ended for the application."""
    try:
        stream = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": kind}],
            tools=TOOLS,
            stream=True,
            stream_options={"include_usage": True},
        )
        for _ in stream:
            pass
    except openai.APIError as error:
        return type(error).__name__
    return "ok"


def run(client: openai.OpenAI, kinds: str) -> str:
    """Make one request, or one agent run of several; returns how they ended."""
    names = kinds.split("+")
    if len(names) == 1:
        return ask(client, kinds)
    with trace.get_tracer("traffic").start_as_current_span("agent run"):
        return ", ".join(ask(client, name) for name in names)


def main(base_url: str, *wanted: str) -> int:
    """Make the requests; returns 0 even if some of them failed, as an application would."""
    with openai.OpenAI(base_url=base_url, api_key="unused", timeout=30, max_retries=0) as client:
        for one in wanted:
            kinds, _, count = one.partition("=")
            endings = set()
            for _ in range(int(count or 1)):
                began = time.perf_counter()
                endings.add(run(client, kinds))
                if "TIMED" in os.environ:
                    print(f"took: {time.perf_counter() - began}")
            print(f"{kinds}: {', '.join(sorted(endings))}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
