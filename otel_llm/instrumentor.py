"""The instrumentors: each observes the requests of one SDK, and restores the SDK when it is uninstrumented."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]
from opentelemetry.util.genai.completion_hook import load_completion_hook

from otel_llm import tool_spans
from otel_llm.config import read_config
from otel_llm.telemetry.handler import Telemetry, reject_other_objects
from otel_llm.transparency.faults import attempt
from otel_llm.wrappers import other_instrumentations
from otel_llm.wrappers.patch import MANAGED_METHODS, Place, RequestMethods

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from opentelemetry.util.genai.completion_hook import CompletionHook
    from typing_extensions import Unpack

    from otel_llm.config import Options

_COMPLETIONS = ("Completions", "AsyncCompletions")
_RESPONSES = ("Responses", "AsyncResponses")
_MESSAGES = ("Messages", "AsyncMessages")


class _SDKInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """What the instrumentors share."""

    PLACES: ClassVar[tuple[Place, ...]] = ()
    _VERSIONS: ClassVar[str] = ""
    """The SDK and its supported versions."""

    # BaseInstrumentor is a singleton whose `__init__` runs again at every call, so its state starts on the class.
    _methods: RequestMethods | None = None
    _telemetry: Telemetry | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        return (self._VERSIONS,)

    def instrument(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        logger_provider: LoggerProvider | None = None,
        completion_hook: CompletionHook | None = None,
        skip_dep_check: bool = False,
        raise_exception_on_conflict: bool = False,
        **options: Unpack[Options],
    ) -> None:
        """Observe all clients of the SDK, existing ones included.

        `options` are those of `otel_llm.config.Config`. Each provider defaults to the global one, `completion_hook` to
        the one that opentelemetry-util-genai finds. `skip_dep_check` skips the check of the SDK's version; if it
        fails, `raise_exception_on_conflict` raises DependencyConflictError instead of logging an error.

        An unknown keyword is ignored at run time, since applications often pass the same ones to several instrumentors;
        type checkers reject it. Raises TypeError for a provider or a hook that is none.
        """
        reject_other_objects(
            "instrument",
            tracer_provider=tracer_provider,
            meter_provider=meter_provider,
            logger_provider=logger_provider,
            completion_hook=completion_hook,
        )
        super().instrument(
            tracer_provider=tracer_provider,
            meter_provider=meter_provider,
            logger_provider=logger_provider,
            completion_hook=completion_hook,
            skip_dep_check=skip_dep_check,
            raise_exception_on_conflict=raise_exception_on_conflict,
            **options,
        )

    def _instrument(self, **kwargs: Any) -> None:
        hook = kwargs.get("completion_hook") or attempt("the completion hook", load_completion_hook)
        telemetry = Telemetry(
            read_config(kwargs),
            tracer_provider=kwargs.get("tracer_provider"),
            meter_provider=kwargs.get("meter_provider"),
            logger_provider=kwargs.get("logger_provider"),
            completion_hook=hook,
        )
        if self._methods is None:
            self._methods = RequestMethods(self.PLACES, on_wrapped=_warn_of_others)
        tool_spans.telemetries.append(telemetry)
        self._telemetry = telemetry
        self._methods.wrap(telemetry)

    def _uninstrument(self, **_kwargs: Any) -> None:
        if self._methods is not None:
            self._methods.unwrap()
        telemetry, self._telemetry = self._telemetry, None
        other_instrumentations.forget()
        if telemetry in tool_spans.telemetries:
            tool_spans.telemetries.remove(telemetry)


def _warn_of_others(resource_class: type) -> None:
    attempt("other instrumentations", other_instrumentations.warn_of_others, resource_class)


class OpenAIInstrumentor(_SDKInstrumentor):
    """Instruments chat completions and responses of the `openai` package, for sync and async clients.

    >>> OpenAIInstrumentor().instrument(argument_limit=500)
    """

    _VERSIONS = "openai >= 1.40, < 4"
    PLACES = (
        # A module in old versions, a package in later ones.
        Place("openai.resources.chat.completions", _COMPLETIONS),
        Place("openai.resources.chat.completions.completions", _COMPLETIONS),
        # Where `parse()` lived before it left beta.
        Place("openai.resources.beta.chat.completions", _COMPLETIONS),
        Place("openai.resources.responses.responses", _RESPONSES, "responses"),
        Place("openai.resources.beta.responses.responses", _RESPONSES, "responses"),
    )


class GroqInstrumentor(_SDKInstrumentor):
    """Instruments chat completions of the `groq` package."""

    _VERSIONS = "groq >= 0.13, < 2"
    PLACES = (Place("groq.resources.chat.completions", _COMPLETIONS),)


class AnthropicInstrumentor(_SDKInstrumentor):
    """Instruments messages of the `anthropic` package, also through Bedrock, Vertex AI and Foundry."""

    _VERSIONS = "anthropic >= 0.60, < 3"
    PLACES = (
        Place("anthropic.resources.messages.messages", _MESSAGES, "messages", MANAGED_METHODS),
        Place("anthropic.resources.beta.messages.messages", _MESSAGES, "messages", MANAGED_METHODS),
        # Copies of the methods above.
        Place("anthropic.lib.bedrock._beta_messages", _MESSAGES, "messages"),
        Place("anthropic.lib.vertex._beta_messages", _MESSAGES, "messages"),
    )


class CerebrasInstrumentor(_SDKInstrumentor):
    """Instruments chat completions of the `cerebras-cloud-sdk` package."""

    _VERSIONS = "cerebras-cloud-sdk >= 1.0, < 2"
    PLACES = (
        Place(
            "cerebras.cloud.sdk.resources.chat.completions",
            # The last two are their former names.
            ("CompletionsResource", "AsyncCompletionsResource", *_COMPLETIONS),
        ),
    )


def instrumentors() -> tuple[BaseInstrumentor, ...]:
    """One instrumentor for each supported SDK, installed or not."""
    return OpenAIInstrumentor(), GroqInstrumentor(), CerebrasInstrumentor(), AnthropicInstrumentor()
