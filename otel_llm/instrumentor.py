"""The instrumentors: each wraps one SDK's requests to models, and leaves it as found when it is taken away."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, ClassVar

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]
from opentelemetry.util.genai.completion_hook import load_completion_hook

from otel_llm import other_instrumentations, tool_spans
from otel_llm.chat_calls import ChatCalls
from otel_llm.config import read_config
from otel_llm.faults import attempt
from otel_llm.proxies import FunctionWrapper
from otel_llm.request import Api
from otel_llm.telemetry import Telemetry

# `stream()` and the raw-response variants all come through `create`; `parse()` does not.
_METHODS = ("create", "parse")


class _SDKInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """What the instrumentors share.

    `instrument()` takes `tracer_provider`, `meter_provider`, `logger_provider`, `completion_hook` (of
    opentelemetry-util-genai) and the options of `otel_llm.config.Config` by name.
    """

    _CLASSES: ClassVar[tuple[tuple[str, str, Api], ...]] = ()
    """Where the SDK makes its requests: a module, a class of it, the API that this speaks."""
    _VERSIONS: ClassVar[str] = ""
    """The SDK, and the versions of it that are supported."""

    # A singleton whose `__init__` runs again at every call, so its state starts on the class.
    _calls: Mapping[Api, ChatCalls] = MappingProxyType({})
    _telemetry: Telemetry | None = None
    _wrapped: tuple[tuple[type, str, Any, Any], ...] = ()

    def instrumentation_dependencies(self) -> Collection[str]:
        return (self._VERSIONS,)

    def _instrument(self, **kwargs: Any) -> None:
        hook = kwargs.get("completion_hook") or attempt("the completion hook", load_completion_hook)
        telemetry = Telemetry(
            read_config(kwargs),
            tracer_provider=kwargs.get("tracer_provider"),
            meter_provider=kwargs.get("meter_provider"),
            logger_provider=kwargs.get("logger_provider"),
            completion_hook=hook,
        )
        if not self._calls:
            self._calls = {api: ChatCalls(telemetry, api) for *_, api in self._CLASSES}
        for calls in self._calls.values():
            # What is still wrapped from the last time, as the SDK's cached raw responses, counts again.
            calls.switch_on(telemetry)
        tool_spans.telemetries.append(telemetry)
        self._telemetry = telemetry
        other_instrumentations.forget()
        wrapped: list[tuple[type, str, Any, Any]] = []
        for module_name, class_name, api in self._CLASSES:
            owner = _class_of(module_name, class_name)
            if owner is None or any(entry[0] is owner for entry in wrapped):
                continue
            for method_name in _METHODS:
                original = owner.__dict__.get(method_name)
                if original is not None:
                    wrapper = FunctionWrapper(original, self._calls[api].wrapper_for(original))
                    setattr(owner, method_name, wrapper)
                    wrapped.append((owner, method_name, original, wrapper))
        self._wrapped = tuple(wrapped)
        for owner in {entry[0] for entry in wrapped}:
            attempt("other instrumentations", other_instrumentations.warn_of_others, owner)

    def _uninstrument(self, **_kwargs: Any) -> None:
        for calls in self._calls.values():
            calls.switch_off()
        for owner, method_name, original, wrapper in self._wrapped:
            # Where somebody wrapped ours, taking it out would take theirs out; ours only passes through now.
            if owner.__dict__.get(method_name) is wrapper:
                setattr(owner, method_name, original)
        self._wrapped = ()
        if self._telemetry in tool_spans.telemetries:
            tool_spans.telemetries.remove(self._telemetry)
        self._telemetry = None


class OpenAIInstrumentor(_SDKInstrumentor):
    """Instruments chat completions and responses of the `openai` package, all clients, synchronous and asynchronous.

    >>> OpenAIInstrumentor().instrument(argument_limit=500)
    """

    _VERSIONS = "openai >= 1.40, < 4"
    _CLASSES = (
        ("openai.resources.chat.completions", "Completions", "chat"),
        ("openai.resources.chat.completions", "AsyncCompletions", "chat"),
        # Where `parse()` lived before it left beta.
        ("openai.resources.beta.chat.completions", "Completions", "chat"),
        ("openai.resources.beta.chat.completions", "AsyncCompletions", "chat"),
        ("openai.resources.responses", "Responses", "responses"),
        ("openai.resources.responses", "AsyncResponses", "responses"),
    )


class GroqInstrumentor(_SDKInstrumentor):
    """The same for chat completions of the `groq` package."""

    _VERSIONS = "groq >= 0.13, < 2"
    _CLASSES = (
        ("groq.resources.chat.completions", "Completions", "chat"),
        ("groq.resources.chat.completions", "AsyncCompletions", "chat"),
    )


class CerebrasInstrumentor(_SDKInstrumentor):
    """The same for chat completions of the `cerebras-cloud-sdk` package."""

    _VERSIONS = "cerebras-cloud-sdk >= 1.0, < 2"
    _CLASSES = (
        ("cerebras.cloud.sdk.resources.chat.completions", "CompletionsResource", "chat"),
        ("cerebras.cloud.sdk.resources.chat.completions", "AsyncCompletionsResource", "chat"),
        # As they were called before.
        ("cerebras.cloud.sdk.resources.chat.completions", "Completions", "chat"),
        ("cerebras.cloud.sdk.resources.chat.completions", "AsyncCompletions", "chat"),
    )


def instrumentors() -> tuple[BaseInstrumentor, ...]:
    """One of each, for whatever SDKs there are."""
    return OpenAIInstrumentor(), GroqInstrumentor(), CerebrasInstrumentor()


def _class_of(module_name: str, class_name: str) -> type | None:
    try:
        owner = getattr(import_module(module_name), class_name, None)
    except ImportError:
        return None
    return owner if isinstance(owner, type) else None
