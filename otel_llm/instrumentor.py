"""The instrumentors: each wraps one SDK's requests to models, and leaves it as found when it is taken away.

An SDK loads what makes its requests when somebody first asks for it, and many processes never do. So a class is
wrapped when its module is imported, by whoever imports it and before they have it, and nothing is imported here.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from functools import partial
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar, NamedTuple

import wrapt
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]
from opentelemetry.util.genai.completion_hook import load_completion_hook

from otel_llm import other_instrumentations, tool_spans
from otel_llm.chat_calls import ChatCalls
from otel_llm.config import read_config
from otel_llm.faults import attempt
from otel_llm.forks import renew_lock_in_children
from otel_llm.proxies import FunctionWrapper
from otel_llm.request import Api
from otel_llm.telemetry import Telemetry

# `stream()` and the raw-response variants all come through `create`; `parse()` does not.
METHODS = ("create", "parse")
_COMPLETIONS = ("Completions", "AsyncCompletions")
_RESPONSES = ("Responses", "AsyncResponses")


class Place(NamedTuple):
    """Where an SDK makes requests: classes of one module, as `vars` has them, and the API that these speak."""

    module: str
    classes: tuple[str, ...]
    api: Api = "chat"


class _SDKInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """What the instrumentors share.

    `instrument()` takes `tracer_provider`, `meter_provider`, `logger_provider`, `completion_hook` (of
    opentelemetry-util-genai) and the options of `otel_llm.config.Config` by name.
    """

    PLACES: ClassVar[tuple[Place, ...]] = ()
    _VERSIONS: ClassVar[str] = ""
    """The SDK, and the versions of it that are supported."""

    # A singleton whose `__init__` runs again at every call, so its state starts on the class.
    _calls: Mapping[Api, ChatCalls] = MappingProxyType({})
    _telemetry: Telemetry | None = None
    _wrapped: tuple[tuple[type, str, Any, Any], ...] = ()
    # A hook cannot be taken back; it stays until its module is imported, whether we are switched on or not.
    _awaited: frozenset[str] = frozenset()
    # Held while classes are wrapped and unwrapped, never while something is imported: who imports calls us.
    _lock = threading.Lock()

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
            self._calls = {place.api: ChatCalls(telemetry, place.api) for place in self.PLACES}
            renew_lock_in_children(self)
        for calls in self._calls.values():
            # What is still wrapped from the last time, as the SDK's cached raw responses, counts again.
            calls.switch_on(telemetry)
        tool_spans.telemetries.append(telemetry)
        self._telemetry = telemetry
        with self._lock:
            places = [place for place in self.PLACES if place.module not in self._awaited]
            self._awaited |= {place.module for place in places}
        for place in places:
            # Called at once where it is imported already.
            wrapt.register_post_import_hook(partial(self._imported, place), place.module)

    def _imported(self, place: Place, _module: ModuleType) -> None:
        # Whoever imports it would get what we raise.
        attempt("an import", self._wrap_and_warn, place)

    def _wrap_and_warn(self, place: Place) -> None:
        with self._lock:
            self._awaited -= {place.module}
        # Another thread may be at it still, and will call no hook that came this late: this waits for it.
        module = import_module(place.module)
        for owner in self._wrap(module, place):
            attempt("other instrumentations", other_instrumentations.warn_of_others, owner)

    def _wrap(self, module: ModuleType, place: Place) -> list[type]:
        """Wrap the classes of a module; gives those that were not wrapped before."""
        owners: list[type] = []
        with self._lock:
            if self._telemetry is None:
                return owners
            for name in place.classes:
                # Of a package that loads its names when they are asked for, none is.
                owner = vars(module).get(name)
                if not isinstance(owner, type) or any(entry[0] is owner for entry in self._wrapped):
                    continue
                owners.append(owner)
                for method_name in METHODS:
                    original = owner.__dict__.get(method_name)
                    if original is not None:
                        wrapper = FunctionWrapper(original, self._calls[place.api].wrapper_for(original))
                        setattr(owner, method_name, wrapper)
                        self._wrapped += ((owner, method_name, original, wrapper),)
        return owners

    def _uninstrument(self, **_kwargs: Any) -> None:
        for calls in self._calls.values():
            calls.switch_off()
        with self._lock:
            telemetry, self._telemetry = self._telemetry, None
            for owner, method_name, original, wrapper in self._wrapped:
                # Where somebody wrapped ours, taking it out would take theirs out; ours only passes through now.
                if owner.__dict__.get(method_name) is wrapper:
                    setattr(owner, method_name, original)
            self._wrapped = ()
        other_instrumentations.forget()
        if telemetry in tool_spans.telemetries:
            tool_spans.telemetries.remove(telemetry)


class OpenAIInstrumentor(_SDKInstrumentor):
    """Instruments chat completions and responses of the `openai` package, all clients, synchronous and asynchronous.

    >>> OpenAIInstrumentor().instrument(argument_limit=500)
    """

    _VERSIONS = "openai >= 1.40, < 4"
    PLACES = (
        # A module of its own in old versions, a package in later ones.
        Place("openai.resources.chat.completions", _COMPLETIONS),
        Place("openai.resources.chat.completions.completions", _COMPLETIONS),
        # Where `parse()` lived before it left beta.
        Place("openai.resources.beta.chat.completions", _COMPLETIONS),
        Place("openai.resources.responses.responses", _RESPONSES, "responses"),
        Place("openai.resources.beta.responses.responses", _RESPONSES, "responses"),
    )


class GroqInstrumentor(_SDKInstrumentor):
    """The same for chat completions of the `groq` package."""

    _VERSIONS = "groq >= 0.13, < 2"
    PLACES = (Place("groq.resources.chat.completions", _COMPLETIONS),)


class CerebrasInstrumentor(_SDKInstrumentor):
    """The same for chat completions of the `cerebras-cloud-sdk` package."""

    _VERSIONS = "cerebras-cloud-sdk >= 1.0, < 2"
    PLACES = (
        Place(
            "cerebras.cloud.sdk.resources.chat.completions",
            # The last two are what they were called before.
            ("CompletionsResource", "AsyncCompletionsResource", *_COMPLETIONS),
        ),
    )


def instrumentors() -> tuple[BaseInstrumentor, ...]:
    """One of each, for whatever SDKs there are."""
    return OpenAIInstrumentor(), GroqInstrumentor(), CerebrasInstrumentor()
