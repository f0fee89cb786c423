"""Scenarios: texts and arguments with marks, which the judges of markup read closely."""

from __future__ import annotations

import json
from collections.abc import Callable

from otel_llm.demo.scripted_server import DONE, chunk, text, tool_call_chunks
from tests.helpers.breaking.calling import streamed
from tests.helpers.breaking.world import Run, Scenario
from tests.helpers.streams import tool

DECLARATION = {"name": "add_task", "parameters": {"title": {"type": "string"}}}
LINES = '{"id": 1, "tool": "add_task"}\n' * 3
CALL = '{"name": "add_task", "arguments": {"title": "x"}}'
TEXTS = {
    "an example": f"The model writes:\n\n    <tool_call>{CALL}</tool_call>\n\nThe server reads it.",
    "a template": "A chat in its template:\n<|im_start|>system\nHi<|im_end|>\n<|im_start|>user\nHi<|im_end|>",
    "an answer": "Q: Which token?\nA: <|im_end|>",
    "told below": "<|eot_id|>\nIt is the stop token of Llama 3.",
    "a call of Kimi's": 'functions.add_task:0{"title": "x"}<|tool_call_end|>',
    "an action": 'I do.\n{"action": "add_task", "action_input": "x"}\nDone.',
    "a use": "<tool_use><name>add_task</name><parameters><title>x</title></parameters></tool_use>",
    "a call in a fence": 'I do.\n```tool_call\nadd_task\n{"title": "x"}\n```\nDone.',
    "a dict of Python's": "[Called function add_task with {'title': 'x'}]",
    "two texts joined": "Yes<|im_end|>No",
    "a table of tokens": "151645 <|im_end|>\nterm: <|im_start|>\nmeaning: start of a turn\nMissing: </tool_call>",
    "a declaration": json.dumps(DECLARATION),
    "a declaration, marked": f"<tool_call>{json.dumps(DECLARATION)}</tool_call>",
    "lines of data": f"The tasks:\n{LINES}",
    "a long text": "word " * 4_000 + "<|im_end|>",
}


def saying(said: str) -> Callable[[Run], None]:
    def play(run: Run) -> None:
        run.answer([chunk(text(said)), chunk(finish_reason="stop"), DONE])
        run.see_all(streamed(run, tools=[tool("add_task", "title"), tool("list_tasks")]))

    return play


def token_in_arguments(run: Run) -> None:
    calling = tool_call_chunks("add_task", '{"title": "a<|im_end|>"}')
    run.answer([*calling, chunk(finish_reason="tool_calls"), DONE])
    run.see_all(streamed(run))


SCENARIOS = [
    *(Scenario(f"marked text, {name}", saying(said)) for name, said in TEXTS.items()),
    Scenario.of(token_in_arguments),
]
