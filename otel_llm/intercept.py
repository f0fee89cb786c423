"""`intercept_llm_requests`: what the instrumentor does for every client, for one."""

from __future__ import annotations

from typing import Any, TypeVar

from otel_llm import tool_spans
from otel_llm.chat_calls import ChatCalls
from otel_llm.config import read_config
from otel_llm.proxies import FunctionWrapper
from otel_llm.telemetry import Telemetry

_Client = TypeVar("_Client")

# The SDK caches these together with the methods they wrap.
_CACHES = ("with_raw_response", "with_streaming_response")


def intercept_llm_requests(
    client: _Client,
    *,
    tracer_provider: Any = None,
    meter_provider: Any = None,
    logger_provider: Any = None,
    completion_hook: Any = None,
    **options: Any,
) -> _Client:
    """Watch the chat completions and responses of one client, synchronous or asynchronous, and return the client.

    `options` are those of `otel_llm.config.Config`. Under `OpenAIInstrumentor` a request still has one span; a client
    that is intercepted already is returned as it is. `client.beta.responses` is not watched. Raises AttributeError
    where the client has no `chat.completions.create`.
    """
    chat = client.chat  # type: ignore[attr-defined]
    completions = chat.completions
    if isinstance(getattr(completions, "__dict__", {}).get("create"), InterceptedMethod):
        return client
    telemetry = Telemetry(
        read_config(options),
        tracer_provider=tracer_provider,
        meter_provider=meter_provider,
        logger_provider=logger_provider,
        completion_hook=completion_hook,
    )
    tool_spans.of_clients[telemetry] = tracer_provider
    _intercept(completions, ChatCalls(telemetry))
    # The SDK has had it since 1.66, other clients have not. A mock has everything, even what nobody gave it.
    responses = getattr(client, "responses", None) if hasattr(type(client), "responses") else None
    if responses is not None:
        _intercept(responses, ChatCalls(telemetry, "responses"))
    for holder in (client, chat, completions, responses):
        for cache in _CACHES:
            getattr(holder, "__dict__", {}).pop(cache, None)
    return client


def _intercept(resource: Any, calls: ChatCalls) -> None:
    for name in ("create", "parse"):
        if name == "create" or hasattr(type(resource), name):
            method = getattr(resource, name)
            setattr(resource, name, InterceptedMethod(method, calls.wrapper_for(method)))


class InterceptedMethod(FunctionWrapper):
    """A method of one client, wrapped on the client itself."""
