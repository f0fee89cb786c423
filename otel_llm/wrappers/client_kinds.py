"""The kinds of clients that can be observed one by one, and the resources by which each makes requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_llm.wrappers.bedrock_calls import CONVERSE, SERVICE
from otel_llm.wrappers.huggingface import HUGGING_FACE_METHODS
from otel_llm.wrappers.mistral import MISTRAL_METHODS
from otel_llm.wrappers.ollama import OLLAMA_METHODS
from otel_llm.wrappers.patch import CREATE, GENERATING_METHODS, MANAGED_METHODS, METHODS, RESPONSE_METHODS
from otel_llm.wrappers.sdk_internals import (
    aws_service_of,
    beta_completions_of,
    generating_models_of,
    has_method,
    is_of_ollama,
    resource_of,
)

if TYPE_CHECKING:
    from otel_llm.protocol.request import Api
    from otel_llm.wrappers.method import Method


class Resource(NamedTuple):
    """What holds methods that make requests of one API: the client itself, or a part of it."""

    owner: Any
    api: Api = "chat"
    methods: tuple[Method, ...] = METHODS


class ClientKind(NamedTuple):
    """A kind of client.

    `is_one` tells its clients from those of the kinds before it. `resources` raises AttributeError where a client lacks
    the first of them. `has_copies`: it has methods that make another client like it, and caches raw-response methods.
    """

    is_one: Callable[[Any], bool]
    resources: Callable[[Any], Sequence[Resource]]
    has_copies: bool = False


def kind_of_client(client: Any) -> ClientKind:
    """The kind of a client. Raises AttributeError if it has none of the methods that are observed."""
    return next(kind for kind in _KINDS if kind.is_one(client))


def _of_aws(client: Any) -> list[Resource]:
    service = aws_service_of(client)
    if service != SERVICE:
        raise AttributeError(f"a client of {service} makes no requests to a model; one of {SERVICE} does")
    return [Resource(client, "converse", CONVERSE)]


def _of_google(client: Any) -> list[Resource]:
    """Also those of the asynchronous client. Chats use the same resources."""
    models = [generating_models_of(one) for one in (client, resource_of(client, "aio")) if one is not None]
    return [Resource(one, "gemini", GENERATING_METHODS) for one in models if one is not None]


def _of_anthropic(client: Any) -> list[Resource]:
    client.messages.create  # noqa: B018
    beta = resource_of(client, "beta")
    messages = [client.messages, None if beta is None else resource_of(beta, "messages")]
    return [Resource(one, "messages", MANAGED_METHODS) for one in messages if one is not None]


def _of_openai(client: Any) -> list[Resource]:
    client.chat.completions.create  # noqa: B018
    resources = [
        Resource(client.chat.completions),
        Resource(resource_of(client, "responses"), "responses", RESPONSE_METHODS),
        Resource(resource_of(client, "completions"), "completions", CREATE),
        Resource(resource_of(client, "embeddings"), "embeddings", CREATE),
        Resource(beta_completions_of(client)),
    ]
    return [one for one in resources if one.owner is not None]


# What makes requests is looked for in this order, as clients of one SDK have methods of another's names.
_KINDS = (
    ClientKind(lambda client: aws_service_of(client) is not None, _of_aws),
    ClientKind(lambda client: generating_models_of(client) is not None, _of_google),
    ClientKind(lambda client: resource_of(client, "messages") is not None, _of_anthropic, has_copies=True),
    ClientKind(is_of_ollama, lambda client: [Resource(client, "ollama", OLLAMA_METHODS)]),
    ClientKind(
        lambda client: has_method(client, "chat_completion"),
        lambda client: [Resource(client, "huggingface", HUGGING_FACE_METHODS)],
    ),
    ClientKind(
        lambda client: has_method(client.chat, "complete"),
        lambda client: [Resource(client.chat, "mistral", MISTRAL_METHODS)],
    ),
    ClientKind(lambda _client: True, _of_openai, has_copies=True),
)
