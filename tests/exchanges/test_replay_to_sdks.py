"""`otel-llm replay` to each SDK: a recording of its API comes out of the SDK as it came in, with the same diagnosis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anthropic
import ollama
import openai
import pytest

from otel_llm.demo.scripted_ollama import answer_lines, call, says
from otel_llm.testing import Streams
from tests.helpers import (
    anthropic_callers,
    bedrock_callers,
    callers,
    gemini_callers,
    huggingface_callers,
    mistral_callers,
    ollama_callers,
)
from tests.helpers.chat_request import REQUEST
from tests.helpers.commands import replaying
from tests.helpers.corpus_streams import CORPUS

Ask = Callable[[Any], list[Any]]


def ask_openai(server: Any) -> list[Any]:
    with openai.OpenAI(base_url=server.base_url, api_key="unused", max_retries=0) as client:
        return list(client.chat.completions.create(**callers.REQUEST, stream=True))


def ask_anthropic(server: Any) -> list[Any]:
    url = server.base_url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0) as client:
        return list(client.messages.create(**anthropic_callers.REQUEST, stream=True))


def ask_google(server: Any) -> list[Any]:
    client = gemini_callers.client_of(server)
    try:
        return list(client.models.generate_content_stream(**gemini_callers.REQUEST))
    finally:
        getattr(client, "close", lambda: None)()


def ask_bedrock(server: Any) -> list[Any]:
    with closing(bedrock_callers.client_of(server)) as client:
        return list(client.converse_stream(**bedrock_callers.REQUEST)["stream"])


def ask_mistral(server: Any) -> list[Any]:
    with mistral_callers.client_at(server) as client:
        return list(client.chat.stream(**REQUEST))


def ask_ollama(server: Any) -> list[Any]:
    client = ollama_callers.client_at(server)
    try:
        return list(client.chat(**REQUEST, stream=True))
    finally:
        client._client.close()


def ask_hugging_face(server: Any) -> list[Any]:
    caller = huggingface_callers.Caller(server)
    parts = list(caller.client.chat_completion(**REQUEST, stream=True))
    asyncio.run(caller.close())
    return parts


# An SDK, its recording, and the call in that.
REPLAYED: list[tuple[Ask, str]] = [
    (ask_openai, "healthy-openai-call"),
    (ask_anthropic, "messages/healthy-call"),
    (ask_google, "gemini/healthy-call"),
    (ask_bedrock, "converse/healthy-call"),
    (ask_mistral, "healthy-mistral-call"),
    (ask_ollama, "ollama/healthy-call"),
    (ask_hugging_face, "healthy-tgi-call"),
]


@pytest.fixture(scope="module")
def replayed() -> Iterator[Any]:
    """A server that answers the requests of the SDKs above, in their order."""
    with replaying(*(CORPUS / f"{name}.jsonl" for _, name in REPLAYED)) as url:
        yield SimpleNamespace(base_url=url)


def test_each_sdk_reads_a_recording_of_its_api(replayed: Any, llm_streams: Streams) -> None:
    for ask, name in REPLAYED:
        assert ask(replayed), name
        stream = llm_streams[-1]
        assert (stream.outcome, stream.streamed, stream.finish_reason) == ("completed", True, "tool_calls"), name
        assert [one.parsed for one in stream.tool_calls], name
        # The request is not the recorded one, whose tools have other names.
        assert set(stream.anomalies) <= {"unknown_tool"}, (name, stream.anomaly_details)
    assert len(llm_streams) == len(REPLAYED)


def test_lines_that_were_saved_of_ollama(tmp_path: Path, llm_streams: Streams) -> None:
    path = tmp_path / "saved.txt"
    path.write_bytes(b"".join(answer_lines(says("Sure."), says(calls=[call("add_task", {"title": "a"})]))))
    with replaying(path) as url:
        client = ollama.Client(host=url.removesuffix("/v1"))
        list(client.chat(**REQUEST, stream=True))
        client._client.close()
    assert [one.name for one in llm_streams.tool_calls] == ["add_task"]
    assert llm_streams.anomalies == []
