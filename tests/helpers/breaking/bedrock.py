"""Scenarios: Bedrock's Converse API."""

from __future__ import annotations

import base64
import json
from contextlib import closing
from typing import Any

import anthropic

from otel_llm.demo.scripted_converse import converse_events, event, reasoning, response, text_block, tool_use
from otel_llm.demo.scripted_messages import event_values
from otel_llm.demo.scripted_messages import text_block as message_text
from otel_llm.demo.scripted_server import Answer
from tests.helpers.anthropic_callers import REQUEST as MESSAGES_REQUEST
from tests.helpers.bedrock_callers import ADD_TASK, MESSAGES, REQUEST
from tests.helpers.breaking.conversations import CAPTURING
from tests.helpers.breaking.world import Run, Scenario

SEARCH = tool_use("nova_grounding", {"query": "x"}, call_id="s", type="server_tool_use")
BLOCKS = (reasoning("hm"), text_block("Sure."), SEARCH, tool_use("add_task", {"title": "a"}), tool_use("now", {}))
# A piece of a call that is none.
ODD = event({"contentBlockDelta": {"delta": {"toolUse": {"input": None}}, "contentBlockIndex": 3}})
EVENTS = [*converse_events(*BLOCKS)[:-2], ODD, *converse_events(*BLOCKS)[-2:]]
IMAGE = {"image": {"format": "png", "source": {"bytes": b"\x89PNG"}}}
STORED = {"document": {"name": "d", "format": "pdf", "source": {"s3Location": {"uri": "s3://b/k"}}}}
RESULT = {"toolResult": {"toolUseId": "tooluse_1", "content": [{"json": {"ok": True}}, {"text": "ok"}]}}
SCHEMA = {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{}"}}}
ASKING: dict[str, Any] = {
    **REQUEST,
    "system": [{"text": "Be brief."}],
    "toolConfig": {"tools": [ADD_TASK], "toolChoice": {"auto": {}}},
    "outputConfig": {"textFormat": SCHEMA},
    "additionalModelRequestFields": {"top_k": 3},
    "guardrailConfig": {"guardrailIdentifier": "g1", "guardrailVersion": "1"},
    "messages": [
        *MESSAGES,
        {"role": "assistant", "content": [reasoning("hm"), tool_use("add_task", {"title": "b"})]},
        {"role": "user", "content": [RESULT, IMAGE, STORED]},
        {"role": "system", "content": [{"toolAddition": {"tool": {"name": "now", "type": "tool"}}}]},
    ],
}


def converse(run: Run) -> None:
    """Without the headers, which have the time."""
    run.answer(EVENTS, [Answer(response(*BLOCKS))])
    run.see_all(run.bedrock.converse_stream(**ASKING)["stream"])
    answer = run.bedrock.converse(**ASKING)
    run.see({name: value for name, value in answer.items() if name != "ResponseMetadata"})


def exception_in_converse(run: Run) -> None:
    run.answer([*EVENTS[:4], event({"throttlingException": {"message": "no"}})])
    with closing(run.bedrock.converse_stream(**ASKING)["stream"]) as stream, run.see_error():
        run.see_all(stream)


def bytes_of_bedrock(run: Run) -> None:
    """Of Anthropic's client."""
    values = event_values(message_text("Sure."))
    chunks = [{"chunk": {"bytes": base64.b64encode(json.dumps(value).encode()).decode()}} for value in values]
    run.answer([*map(event, chunks)], [event(chunks[0]), event({"throttlingException": {"message": "no"}})])
    keys: dict[str, Any] = {"aws_access_key": "unused", "aws_secret_key": "unused", "aws_region": "us-east-1"}
    client = anthropic.AnthropicBedrock(**keys, base_url=str(run.anthropic.base_url).rstrip("/"), max_retries=0)
    with client:
        for _ in range(2):
            with client.messages.with_streaming_response.create(**MESSAGES_REQUEST, stream=True) as raw:
                run.see(b"".join(raw.iter_bytes()))


SCENARIOS = [
    *(Scenario.of(play) for play in (converse, exception_in_converse, bytes_of_bedrock)),
    Scenario("converse whose content is captured", converse, environment=CAPTURING),
    Scenario("converse of one client", converse, by="client"),
    Scenario("converse under a listener", converse, by="listener"),
]
