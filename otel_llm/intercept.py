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
from otel_llm.wrappers.bedrock_calls import CONVERSE, SERVICE
from otel_llm.wrappers.huggingface import HUGGING_FACE_METHODS
from otel_llm.wrappers.method import Method
from otel_llm.wrappers.mistral import MISTRAL_METHODS
from otel_llm.wrappers.ollama import OLLAMA_METHODS
from otel_llm.wrappers.patch import (
    CREATE,
    GENERATING_METHODS,
    MANAGED_METHODS,
    METHODS,
    RESPONSE_METHODS,
    wrapper_for,
)
from otel_llm.wrappers.sdk_internals import (
    aws_service_of,
    beta_completions_of,
    forget_raw_methods,
    generating_models_of,
    has_method,
    is_of_ollama,
    resource_of,
)

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

# Resources that only have `create`.
_CREATING: dict[str, Api] = {"completions": "completions", "embeddings": "embeddings"}
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

    Also its text completions and embeddings, if it has them. Of Google's SDK, it is the content that `models` and chats
    generate, also those of `client.aio`; of an AWS client, `converse` and `converse_stream`. Clients made by
    `with_options` and `copy` are observed too; `client.beta` is not, except `parse()` of SDKs before 1.92. `options`
    are those of `otel_llm.config.Config`. Under an instrumentor a request still has one span; a client that is
    intercepted already is returned unchanged. Raises AttributeError if the client has none of the methods that are
    observed, such as `chat.completions.create`, TypeError for an unknown keyword, or for a provider or a hook that is
    none.
    """
    reject_unknown("intercept_llm_requests", options, _PROVIDERS)
    reject_other_objects(
        "intercept_llm_requests",
        tracer_provider=tracer_provider,
        meter_provider=meter_provider,
        logger_provider=logger_provider,
        completion_hook=completion_hook,
    )
    if any(isinstance(value, InterceptedMethod) for value in getattr(_first_resource(client), "__dict__", {}).values()):
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


def _first_resource(client: Any) -> Any:
    """The resource of a client whose methods make requests, the first of them if it has several.

    Raises AttributeError if it has none.
    """
    service = aws_service_of(client)
    if service is not None:
        if service != SERVICE:
            raise AttributeError(f"a client of {service} makes no requests to a model; one of {SERVICE} does")
        return client
    if (models := generating_models_of(client)) is not None:
        return models
    if (messages := resource_of(client, "messages")) is not None:
        messages.create  # noqa: B018
        return messages
    if is_of_ollama(client) or has_method(client, "chat_completion"):
        return client
    chat = client.chat
    if has_method(chat, "complete"):
        return chat
    chat.completions.create  # noqa: B018
    return chat.completions


def _intercept_client(client: Any, telemetry: Telemetry) -> None:
    if aws_service_of(client) is not None:
        _intercept(client, telemetry, "converse", CONVERSE)
        return
    if generating_models_of(client) is not None:
        _intercept_models(client, telemetry)
        return
    if resource_of(client, "messages") is not None:
        holders = _intercept_messages(client, telemetry)
    elif is_of_ollama(client):
        _intercept(client, telemetry, "ollama", OLLAMA_METHODS)
        return
    elif has_method(client, "chat_completion"):
        _intercept(client, telemetry, "huggingface", HUGGING_FACE_METHODS)
        return
    elif has_method(client.chat, "complete"):
        _intercept(client.chat, telemetry, "mistral", MISTRAL_METHODS)
        return
    else:
        holders = _intercept_chat(client, telemetry)
    for holder in holders:
        forget_raw_methods(holder)

    def copied(wrapped: Callable[..., Any], _client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        copy = wrapped(*args, **kwargs)
        attempt("a copy of a client", _intercept_client, copy, telemetry)
        return copy

    for name in ("copy", "with_options"):
        if hasattr(type(client), name):
            setattr(client, name, FunctionWrapper(getattr(client, name), copied))


def _intercept_models(client: Any, telemetry: Telemetry) -> None:
    """Observe a client of Google's SDK, and its asynchronous one. Chats use the same resources."""
    for one in (client, resource_of(client, "aio")):
        if one is not None and (models := generating_models_of(one)) is not None:
            _intercept(models, telemetry, "gemini", GENERATING_METHODS)


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
        _intercept(responses, telemetry, "responses", RESPONSE_METHODS)
        holders.append(responses)
    for name, api in _CREATING.items():
        resource = resource_of(client, name)
        if resource is not None:
            _intercept(resource, telemetry, api, CREATE)
            holders.append(resource)
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
            wrapper = wrapper_for(telemetry, api, method)
            setattr(resource, method.name, InterceptedMethod(function, wrapper.wrapper_for(function)))


class InterceptedMethod(FunctionWrapper):
    """A method of one client, wrapped on the client itself."""
