"""`intercept_llm_requests`: does for one client what the instrumentor does for all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry.util.genai.completion_hook import load_completion_hook

from otel_llm import tool_spans
from otel_llm.config import read_config, reject_unknown
from otel_llm.telemetry.handler import Telemetry, reject_other_objects
from otel_llm.transparency.faults import attempt
from otel_llm.transparency.proxies import FunctionWrapper
from otel_llm.wrappers.client_kinds import ClientKind, Resource, kind_of_client
from otel_llm.wrappers.patch import wrapper_for
from otel_llm.wrappers.sdk_internals import forget_raw_methods, resource_of

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from opentelemetry.util.genai.completion_hook import CompletionHook
    from typing_extensions import Unpack

    from otel_llm.config import Options

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
    kind = kind_of_client(client)
    resources = kind.resources(client)
    if any(isinstance(value, InterceptedMethod) for value in getattr(resources[0].owner, "__dict__", {}).values()):
        return client
    telemetry = Telemetry(
        read_config(options),
        tracer_provider=tracer_provider,
        meter_provider=meter_provider,
        logger_provider=logger_provider,
        completion_hook=completion_hook or attempt("the completion hook", load_completion_hook),
    )
    tool_spans.client_telemetries[telemetry] = tracer_provider
    _intercept(client, kind, resources, telemetry)
    return client


def _intercept(client: Any, kind: ClientKind, resources: Sequence[Resource], telemetry: Telemetry) -> None:
    for resource in resources:
        _wrap_methods(resource, telemetry)
    if kind.resources(client)[0].owner is not resources[0].owner:
        _logger.warning(
            "A %s creates its resources anew at every access, so otel-llm cannot observe this one client."
            " An instrumentor, such as OpenAIInstrumentor, observes all.",
            type(client).__name__,
        )
    if not kind.has_copies:
        return
    for holder in (client, resource_of(client, "chat"), *(resource.owner for resource in resources)):
        forget_raw_methods(holder)

    def copied(wrapped: Callable[..., Any], _client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        copy = wrapped(*args, **kwargs)
        attempt("a copy of a client", _intercept_copy, copy)
        return copy

    def _intercept_copy(copy: Any) -> None:
        kind = kind_of_client(copy)
        _intercept(copy, kind, kind.resources(copy), telemetry)

    for name in ("copy", "with_options"):
        if hasattr(type(client), name):
            setattr(client, name, FunctionWrapper(getattr(client, name), copied))


def _wrap_methods(resource: Resource, telemetry: Telemetry) -> None:
    owner, api, methods = resource
    for method in methods:
        # A mock has any attribute; real methods are on the class.
        is_there = method is methods[0] or hasattr(type(owner), method.name)
        function = getattr(owner, method.name, None) if is_there else None
        if function is not None:
            wrapper = wrapper_for(telemetry, api, method)
            setattr(owner, method.name, InterceptedMethod(function, wrapper.wrapper_for(function)))


class InterceptedMethod(FunctionWrapper):
    """A method of one client, wrapped on the client itself."""
