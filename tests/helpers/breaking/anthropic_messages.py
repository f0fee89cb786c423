"""Scenarios: Anthropic's messages."""

from __future__ import annotations

from typing import Any

from otel_llm.demo.scripted_messages import event, message, message_events, text_block, thinking, tool_use
from otel_llm.demo.scripted_server import Answer
from tests.helpers.anthropic_callers import MESSAGES, REQUEST
from tests.helpers.breaking.conversations import CAPTURING
from tests.helpers.breaking.world import Run, Scenario

SEARCH = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
BLOCKS = (thinking("hm"), text_block("Sure."), SEARCH, FOUND, tool_use("add_task", {"title": "a"}), tool_use("now", {}))
EVENTS = message_events(*BLOCKS)
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}
ASKING: dict[str, Any] = {
    **REQUEST,
    "system": [{"type": "text", "text": "Be brief."}],
    "tool_choice": {"type": "auto"},
    "messages": [
        *MESSAGES,
        {"role": "assistant", "content": [thinking("hm"), tool_use("add_task", {"title": "b"})]},
        {"role": "user", "content": [RESULT, IMAGE]},
    ],
}


def messages(run: Run) -> None:
    run.answer(EVENTS, [Answer(message(*BLOCKS))])
    run.see_all(run.anthropic.messages.create(**ASKING, stream=True))
    run.see(run.anthropic.messages.create(**ASKING))


def messages_async(run: Run) -> None:
    async def play() -> None:
        await run.see_all_async(await run.async_anthropic.messages.create(**ASKING, stream=True))
        async with run.async_anthropic.messages.stream(**ASKING) as stream:
            await run.see_all_async(stream)

    run.answer(EVENTS, EVENTS)
    run.wait(play())


def helper_of_messages(run: Run) -> None:
    run.answer(EVENTS)
    with run.anthropic.messages.stream(**ASKING) as stream:
        run.see_all(stream)
        run.see(stream.get_final_message())


def bytes_of_messages(run: Run) -> None:
    error = event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    run.answer(EVENTS, [*EVENTS[:4], error])
    for _ in range(2):
        with run.anthropic.messages.with_streaming_response.create(**ASKING, stream=True) as raw:
            run.see(b"".join(raw.iter_bytes()))


SCENARIOS = [
    *(Scenario.of(play) for play in (messages, messages_async, helper_of_messages, bytes_of_messages)),
    Scenario("messages whose content is captured", messages, environment=CAPTURING),
    Scenario("messages of one client", messages, by="client"),
    Scenario("the helper of one client", helper_of_messages, by="client"),
    Scenario("messages under a listener", helper_of_messages, by="listener"),
]
