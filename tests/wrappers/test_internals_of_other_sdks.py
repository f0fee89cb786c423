"""The private parts of the SDKs of Mistral and Ollama that this package reads, each exercised on the installed one.

A failure says what users lose with that version of the SDK; the place to adapt is `otel_llm/wrappers/sdk_internals.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ollama
import pytest

from otel_llm.demo.scripted_ollama import response, says
from otel_llm.demo.scripted_server import DONE, Answer, ScriptedServer, chunk, text
from otel_llm.transparency.proxies import ObjectProxy
from otel_llm.wrappers.sdk_internals import (
    OLLAMA_SENDER,
    body_of,
    client_of,
    configured_url,
    is_called_by_stream,
    is_of_ollama,
    replace_body,
    traces_itself,
)
from tests.helpers.chat_request import REQUEST
from tests.helpers.mistral_callers import client_at as mistral_at
from tests.helpers.ollama_callers import client_at as ollama_at

Serve = Callable[..., ScriptedServer]


def test_the_url_of_mistral(serve: Serve) -> None:
    server = serve(DONE)
    with mistral_at(server) as client:
        assert configured_url(client.chat) == server.base_url.removesuffix("/v1"), (
            "mistralai: a resource does not know its server. Spans lack the server's address."
        )


def test_whether_mistral_traces_itself(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    with mistral_at(serve(DONE)) as client:
        assert traces_itself(client.chat) is False
        hooks = client.chat.sdk_configuration._hooks.before_request_hooks
        (hook,) = [hook for hook in hooks if type(hook).__name__ == "TracingHook"] or [None]
        if hook is None:
            pytest.skip("this SDK has no tracing of its own")
        for name, value in (("tracing_enabled", True), ("_telemetry_use_global_provider", True)):
            if hasattr(hook, name):
                monkeypatch.setattr(hook, name, value)
        assert traces_itself(client.chat) is True, "mistralai: nobody is warned that each request has two spans."


def test_a_stream_of_mistral_that_ends_is_told_from_one_that_is_closed(serve: Serve) -> None:
    class Body(ObjectProxy):
        def close(self) -> None:
            closes.append(is_called_by_stream())
            self.__wrapped__.close()

    closes: list[bool] = []
    with mistral_at(serve(chunk(text("Sure."), "stop"), DONE)) as client:
        for ends in (True, False):
            stream = client.chat.stream(**REQUEST)
            replace_body(stream.response, Body(body_of(stream.response)))
            if ends:
                list(stream)
            else:
                stream.response.close()
    assert (closes[0], closes[-1]) == (True, False), (
        "mistralai: the generator of a stream is not `stream_events` of a module `eventstreaming`. A stream that was"
        " read to its end ends as `closed`."
    )


def test_what_sends_the_requests_of_ollama(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[Any, Any]] = []
    client = ollama_at(serve(Answer(response(says("Sure.")))))
    assert is_of_ollama(client)
    assert not is_of_ollama(object())
    assert str(client_of(client).base_url).startswith("http://127.0.0.1:")
    send = getattr(client, OLLAMA_SENDER)

    def noted(*args: Any, **kwargs: Any) -> Any:
        sent.append((args, kwargs))
        return send(*args, **kwargs)

    monkeypatch.setattr(client, OLLAMA_SENDER, noted)
    client.chat("tiny", [{"role": "user", "content": "hi"}])
    client._client.close()
    message = "ollama: `chat` does not call `_request` with its path and body. Nothing is observed."
    assert len(sent) == 1, message
    args, kwargs = sent[0]
    assert "/api/chat" in args, message
    assert kwargs["json"]["model"] == "tiny", message
    assert kwargs["stream"] is kwargs["json"]["stream"] is False, message
    assert hasattr(ollama.AsyncClient, OLLAMA_SENDER), message
