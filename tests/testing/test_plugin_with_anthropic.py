"""The pytest plugin with Anthropic's SDK."""

from __future__ import annotations

from collections.abc import Callable

import anthropic

from otel_llm.demo.scripted_messages import message, message_events, text_block, thinking, tool_use
from otel_llm.demo.scripted_server import Answer, ScriptedServer
from otel_llm.testing import Streams
from tests.helpers.anthropic_callers import REQUEST

Serve = Callable[..., ScriptedServer]


def test_messages(llm_streams: Streams, serve: Serve) -> None:
    blocks = (thinking("hm"), text_block("Sure."), tool_use("add_task", {"title": "a"}))
    server = serve(message_events(*blocks), [Answer(message(*blocks))], message_events(*blocks))
    with anthropic.Anthropic(api_key="unused", base_url=server.base_url.removesuffix("/v1"), max_retries=0) as client:
        with client.messages.create(**REQUEST, stream=True) as events:
            assert list(events)
        client.messages.create(**REQUEST)
        with client.messages.stream(**REQUEST) as stream:
            stream.until_done()
    assert [one.streamed for one in llm_streams] == [True, False, True]
    for one in llm_streams:
        (call,) = one.tool_calls
        assert (call.name, call.arguments, call.id) == ("add_task", '{"title": "a"}', "toolu_1")
        assert (one.text, one.reasoning, one.finish_reason) == ("Sure.", "hm", "tool_calls")
        assert (one.model, one.outcome, one.anomalies) == (REQUEST["model"], "completed", [])
