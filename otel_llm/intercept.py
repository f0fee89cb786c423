"""`intercept_llm_requests`: does for one client what the instrumentor does for all."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry.util.genai.completion_hook import load_completion_hook

from otel_llm import tool_spans
from otel_llm.config import read_config, reject_unknown
from otel_llm.telemetry.handler import Telemetry, reject_other_objects
from otel_llm.transparency.faults import attempt
from otel_llm.transparency.proxies import FunctionWrapper
from otel_llm.wrappers.method import Method, MethodWrapper
from otel_llm.wrappers.patch import MANAGED_METHODS, METHODS
from otel_llm.wrappers.sdk_internals import beta_completions_of, forget_raw_methods, resource_of

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from opentelemetry.util.genai.completion_hook import CompletionHook
    from typing_extensions import Unpack

    from otel_llm.config import Options
    from otel_llm.protocol.request import Api

_Client = TypeVar("_Client")

_logger = logging.getLogger("otel_llm")

_PROVIDERS = ("tracer_provider", "meter_provider", "logger_provider", "completion_hook")


def intercept_llm_requests(
    client: _Client,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    logger_provider: LoggerProvider | None = None,
    completion_hook: CompletionHook | None = None,
    **options: Unpack[Options],
) -> _Client:
    """Observe the chat completions, responses or messages of one client, sync or async, and return the client.

    Clients made by its `with_options` and `copy` are observed too; `client.beta` is not, except `parse()` of SDKs
    before 1.92. `options` are those of `otel_llm.config.Config`. Under `OpenAIInstrumentor` a request still has one
    span; a client that is intercepted already is returned unchanged. Raises AttributeError if the client has neither
    `chat.completions.create` nor `messages.create`, TypeError for an unknown keyword, or for a provider or a hook that
    is none.
    """
    reject_unknown("intercept_llm_requests", options, _PROVIDERS)
    reject_other_objects(
        "intercept_llm_requests",
        tracer_provider=tracer_provider,
        meter_provider=meter_provider,
        logger_provider=logger_provider,
        completion_hook=completion_hook,
    )
    messages = resource_of(client, "messages")
    first = client.chat.completions if messages is None else messages  # type: ignore[attr-defined]
    if first.create and isinstance(getattr(first, "__dict__", {}).get("create"), InterceptedMethod):
        return client
    telemetry = Telemetry(
        read_config(options),
        tracer_provider=tracer_provider,
        meter_provider=meter_provider,
        logger_provider=logger_provider,
        completion_hook=completion_hook or attempt("the completion hook", load_completion_hook),
    )
    tool_spans.client_telemetries[telemetry] = tracer_provider
    _intercept_client(client, telemetry)
    return client


def _intercept_client(client: Any, telemetry: Telemetry) -> None:
    messages = resource_of(client, "messages")
    holders = _intercept_chat(client, telemetry) if messages is None else _intercept_messages(client, telemetry)
    for holder in holders:
        forget_raw_methods(holder)

    def copied(wrapped: Callable[..., Any], _client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        copy = wrapped(*args, **kwargs)
        attempt("a copy of a client", _intercept_client, copy, telemetry)
        return copy

    for name in ("copy", "with_options"):
        if hasattr(type(client), name):
            setattr(client, name, FunctionWrapper(getattr(client, name), copied))


def _intercept_messages(client: Any, telemetry: Telemetry) -> list[Any]:
    """Observe an Anthropic client; returns the client and its resources."""
    resources = [client.messages]
    beta = resource_of(client, "beta")
    if beta is not None and (messages := resource_of(beta, "messages")) is not None:
        resources.append(messages)
    for resource in resources:
        _intercept(resource, telemetry, "messages", MANAGED_METHODS)
    return [client, *resources]


def _intercept_chat(client: Any, telemetry: Telemetry) -> list[Any]:
    """Observe a client of OpenAI's APIs; returns the client and its resources."""
    completions = client.chat.completions
    _intercept(completions, telemetry)
    if client.chat.completions is not completions:
        _logger.warning(
            "A %s creates its resources anew at every access, so otel-llm cannot observe this one client."
            " OpenAIInstrumentor observes all.",
            type(client).__name__,
        )
    holders = [client, client.chat, completions]
    responses = resource_of(client, "responses")
    if responses is not None:
        _intercept(responses, telemetry, "responses")
        holders.append(responses)
    beta = beta_completions_of(client)
    if beta is not None:
        _intercept(beta, telemetry)
    return holders


def _intercept(resource: Any, telemetry: Telemetry, api: Api = "chat", methods: tuple[Method, ...] = METHODS) -> None:
    for method in methods:
        # A mock has any attribute; real methods are on the class.
        is_there = method is methods[0] or hasattr(type(resource), method.name)
        function = getattr(resource, method.name, None) if is_there else None
        if function is not None:
            wrapper = MethodWrapper(telemetry, api, method)
            setattr(resource, method.name, InterceptedMethod(function, wrapper.wrapper_for(function)))


class InterceptedMethod(FunctionWrapper):
    """A method of one client, wrapped on the client itself."""
