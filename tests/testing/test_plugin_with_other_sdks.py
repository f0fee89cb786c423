"""The pytest plugin with the SDKs that speak other APIs, streamed and not. Anthropic's has a file of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from otel_llm.demo import scripted_converse, scripted_gemini, scripted_ollama
from otel_llm.demo.scripted_server import (
    DONE,
    Answer,
    ScriptedServer,
    chunk,
    completion,
    text,
    tool_call_chunks,
    tool_call_delta,
)
from otel_llm.testing import Streams
from tests.helpers import bedrock_callers, gemini_callers, huggingface_callers, mistral_callers, ollama_callers
from tests.helpers.chat_request import REQUEST

Serve = Callable[..., ScriptedServer]
TITLE = {"title": "a"}
ARGUMENTS = '{"title": "a"}'
CHUNKS = [chunk(text("Sure.")), *tool_call_chunks("add_task", ARGUMENTS), chunk(finish_reason="tool_calls"), DONE]
# Mistral's SDK takes calls in one piece only.
WHOLE_CALL = tool_call_delta(name="add_task", arguments=ARGUMENTS, id="abcdefghi")
MISTRAL = [chunk(text("Sure.")), chunk(WHOLE_CALL), chunk(finish_reason="tool_calls"), DONE]
COMPLETION = Answer(completion({**text("Sure."), **WHOLE_CALL}, "tool_calls"))


def google(serve: Serve) -> None:
    parts = [scripted_gemini.text_part("Sure."), scripted_gemini.call_part("add_task", TITLE)]
    client = gemini_callers.client_of(
        serve(scripted_gemini.responses(*([part] for part in parts)), [Answer(scripted_gemini.whole(*parts))])
    )
    list(client.models.generate_content_stream(**gemini_callers.REQUEST))
    client.models.generate_content(**gemini_callers.REQUEST)
    getattr(client, "close", lambda: None)()


def bedrock(serve: Serve) -> None:
    blocks = (scripted_converse.text_block("Sure."), scripted_converse.tool_use("add_task", TITLE))
    server = serve(scripted_converse.converse_events(*blocks), [Answer(scripted_converse.response(*blocks))])
    with closing(bedrock_callers.client_of(server)) as client:
        list(client.converse_stream(**bedrock_callers.REQUEST)["stream"])
        client.converse(**bedrock_callers.REQUEST)


def mistral(serve: Serve) -> None:
    with mistral_callers.client_at(serve(MISTRAL, [COMPLETION])) as client:
        list(client.chat.stream(**REQUEST))
        client.chat.complete(**REQUEST)


def ollama(serve: Serve) -> None:
    said = scripted_ollama.says("Sure.")
    called = scripted_ollama.says(calls=[scripted_ollama.call("add_task", TITLE)])
    whole = scripted_ollama.response({**said, **called, "content": "Sure."})
    client = ollama_callers.client_at(serve(scripted_ollama.answer_lines(said, called), [Answer(whole)]))
    list(client.chat(**REQUEST, stream=True))
    client.chat(**REQUEST)
    client._client.close()


def hugging_face(serve: Serve) -> None:
    caller = huggingface_callers.Caller(serve(CHUNKS, [COMPLETION]))
    list(caller.client.chat_completion(**REQUEST, stream=True))
    caller.client.chat_completion(**REQUEST)
    asyncio.run(caller.close())


@pytest.mark.parametrize("play", [google, bedrock, mistral, ollama, hugging_face], ids=lambda play: play.__name__)
def test_a_stream_and_a_whole_response(play: Callable[[Serve], None], serve: Serve, llm_streams: Streams) -> None:
    play(serve)
    assert [one.streamed for one in llm_streams] == [True, False]
    model: Any = bedrock_callers.MODEL_ID if play is bedrock else "tiny"
    for one in llm_streams:
        (call,) = one.tool_calls
        assert (call.name, call.parsed) == ("add_task", TITLE)
        assert (one.text, one.reasoning, one.finish_reason) == ("Sure.", "", "tool_calls")
        assert (one.model, one.outcome, one.anomalies) == (model, "completed", [])
