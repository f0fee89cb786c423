"""`OpenAIInstrumentor`: wraps the OpenAI SDK's chat completions, and leaves it as found when it is taken away."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]
from opentelemetry.util.genai.completion_hook import load_completion_hook

from otel_llm import other_instrumentations
from otel_llm.chat_calls import ChatCalls
from otel_llm.config import read_config
from otel_llm.faults import attempt
from otel_llm.proxies import FunctionWrapper
from otel_llm.telemetry import Telemetry

# Where the SDK makes its requests. `stream()` and the raw-response variants all come through `create`; `parse()` does
# not. The second module is where `parse()` lived before it left beta.
_METHODS = (
    ("openai.resources.chat.completions", "Completions", "create"),
    ("openai.resources.chat.completions", "AsyncCompletions", "create"),
    ("openai.resources.chat.completions", "Completions", "parse"),
    ("openai.resources.chat.completions", "AsyncCompletions", "parse"),
    ("openai.resources.beta.chat.completions", "Completions", "parse"),
    ("openai.resources.beta.chat.completions", "AsyncCompletions", "parse"),
)


class OpenAIInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Instruments chat completions of the `openai` package, all clients, synchronous and asynchronous.

    `instrument()` takes `tracer_provider`, `meter_provider`, `logger_provider`, `completion_hook` (of
    opentelemetry-util-genai) and the options of `otel_llm.config.Config` by name.

    >>> OpenAIInstrumentor().instrument(argument_limit=500)
    """

    # A singleton whose `__init__` runs again at every call, so its state starts on the class.
    _calls: ChatCalls | None = None
    _wrapped: tuple[tuple[type, str, Any, Any], ...] = ()

    def instrumentation_dependencies(self) -> Collection[str]:
        return ("openai >= 1.40, < 4",)

    def _instrument(self, **kwargs: Any) -> None:
        hook = kwargs.get("completion_hook") or attempt("the completion hook", load_completion_hook)
        telemetry = Telemetry(
            read_config(kwargs),
            tracer_provider=kwargs.get("tracer_provider"),
            meter_provider=kwargs.get("meter_provider"),
            logger_provider=kwargs.get("logger_provider"),
            completion_hook=hook,
        )
        if self._calls is None:
            self._calls = ChatCalls(telemetry)
        else:
            # What is still wrapped from the last time, as the SDK's cached raw responses, counts again.
            self._calls.switch_on(telemetry)
        other_instrumentations.forget()
        wrapped: list[tuple[type, str, Any, Any]] = []
        for module_name, class_name, method_name in _METHODS:
            owner = _class_of(module_name, class_name)
            original = None if owner is None else owner.__dict__.get(method_name)
            if owner is None or original is None or any(entry[:2] == (owner, method_name) for entry in wrapped):
                continue
            wrapper = FunctionWrapper(original, self._calls.wrapper_for(original))
            setattr(owner, method_name, wrapper)
            wrapped.append((owner, method_name, original, wrapper))
        self._wrapped = tuple(wrapped)
        for owner in {entry[0] for entry in wrapped}:
            attempt("other instrumentations", other_instrumentations.warn_of_others, owner)

    def _uninstrument(self, **_kwargs: Any) -> None:
        if self._calls is not None:
            self._calls.switch_off()
        for owner, method_name, original, wrapper in self._wrapped:
            # Where somebody wrapped ours, taking it out would take theirs out; ours only passes through now.
            if owner.__dict__.get(method_name) is wrapper:
                setattr(owner, method_name, original)
        self._wrapped = ()


def _class_of(module_name: str, class_name: str) -> type | None:
    try:
        owner = getattr(import_module(module_name), class_name, None)
    except ImportError:
        return None
    return owner if isinstance(owner, type) else None
