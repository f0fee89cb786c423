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
from otel_llm.wrappers.bedrock_calls import CONVERSE
from otel_llm.wrappers.huggingface import HUGGING_FACE_METHODS
from otel_llm.wrappers.litellm import LITELLM_CHAT, LITELLM_RESPONSES
from otel_llm.wrappers.mistral import MISTRAL_METHODS
from otel_llm.wrappers.ollama import OLLAMA_METHODS
from otel_llm.wrappers.patch import (
    CREATE,
    GENERATING_METHODS,
    MANAGED_METHODS,
    RESPONSE_METHODS,
    Place,
    RequestMethods,
)

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
_EMBEDDINGS = ("Embeddings", "AsyncEmbeddings")


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
    """Instruments chat completions, responses, text completions and embeddings of the `openai` package.

    >>> OpenAIInstrumentor().instrument(argument_limit=500)
    """

    _VERSIONS = "openai >= 1.40, < 4"
    PLACES = (
        # A module in old versions, a package in later ones.
        Place("openai.resources.chat.completions", _COMPLETIONS),
        Place("openai.resources.chat.completions.completions", _COMPLETIONS),
        # Where `parse()` lived before it left beta.
        Place("openai.resources.beta.chat.completions", _COMPLETIONS),
        Place("openai.resources.responses.responses", _RESPONSES, "responses", RESPONSE_METHODS),
        Place("openai.resources.beta.responses.responses", _RESPONSES, "responses", RESPONSE_METHODS),
        Place("openai.resources.completions", _COMPLETIONS, "completions", CREATE),
        Place("openai.resources.embeddings", _EMBEDDINGS, "embeddings", CREATE),
    )


class GroqInstrumentor(_SDKInstrumentor):
    """Instruments chat completions and embeddings of the `groq` package."""

    _VERSIONS = "groq >= 0.13, < 2"
    PLACES = (
        Place("groq.resources.chat.completions", _COMPLETIONS),
        Place("groq.resources.embeddings", _EMBEDDINGS, "embeddings", CREATE),
    )


class AnthropicInstrumentor(_SDKInstrumentor):
    """Instruments messages of the `anthropic` package, also through Bedrock, Vertex AI and Foundry."""

    _VERSIONS = "anthropic >= 0.60, < 3"
    PLACES = (
        Place("anthropic.resources.messages.messages", _MESSAGES, "messages", MANAGED_METHODS),
        Place("anthropic.resources.beta.messages.messages", _MESSAGES, "messages", MANAGED_METHODS),
        # Copies of the methods above.
        Place("anthropic.lib.bedrock._beta_messages", _MESSAGES, "messages", MANAGED_METHODS),
        Place("anthropic.lib.vertex._beta_messages", _MESSAGES, "messages", MANAGED_METHODS),
    )


class BedrockInstrumentor(_SDKInstrumentor):
    """Instruments `converse` and `converse_stream` of Bedrock's clients, of `boto3`, `botocore` and `aiobotocore`."""

    _VERSIONS = "botocore >= 1.35, < 2"
    PLACES = (
        Place("botocore.client", ("BaseClient",), "converse", CONVERSE),
        Place("aiobotocore.client", ("AioBaseClient",), "converse", CONVERSE),
    )


class GoogleGenAIInstrumentor(_SDKInstrumentor):
    """Instruments generated content of the `google-genai` package: Gemini's API and Vertex AI, chats included."""

    _VERSIONS = "google-genai >= 1.56, < 4"
    PLACES = (Place("google.genai.models", ("Models", "AsyncModels"), "gemini", GENERATING_METHODS),)


class MistralInstrumentor(_SDKInstrumentor):
    """Instruments chat completions of the `mistralai` package, also through Azure and Google Cloud."""

    _VERSIONS = "mistralai >= 1.9.3, < 4"
    PLACES = tuple(
        Place(module, ("Chat",), "mistral", MISTRAL_METHODS)
        for module in (
            "mistralai.client.chat",
            "mistralai.azure.client.chat",
            "mistralai.gcp.client.chat",
            # Before 2.0.
            "mistralai.chat",
            "mistralai_azure.chat",
            "mistralai_gcp.chat",
        )
    )


class OllamaInstrumentor(_SDKInstrumentor):
    """Instruments `chat` of the `ollama` package, of its clients and of the module."""

    _VERSIONS = "ollama >= 0.5, < 1"
    PLACES = (Place("ollama._client", ("Client", "AsyncClient"), "ollama", OLLAMA_METHODS),)


class HuggingFaceInstrumentor(_SDKInstrumentor):
    """Instruments chat completions of the `InferenceClient` of the `huggingface_hub` package."""

    _VERSIONS = "huggingface_hub >= 1.0, < 3"
    PLACES = (
        Place("huggingface_hub.inference._client", ("InferenceClient",), "huggingface", HUGGING_FACE_METHODS),
        Place(
            "huggingface_hub.inference._generated._async_client",
            ("AsyncInferenceClient",),
            "huggingface",
            HUGGING_FACE_METHODS,
        ),
    )


class LiteLLMInstrumentor(_SDKInstrumentor):
    """Instruments completions and responses of the `litellm` package, also those of its Router."""

    _VERSIONS = "litellm >= 1.80, < 2"
    PLACES = (
        Place("litellm.main", (), "chat", LITELLM_CHAT),
        Place("litellm.responses.main", (), "responses", LITELLM_RESPONSES),
        # Which has its functions from these modules.
        Place("litellm", (), "chat", LITELLM_CHAT),
        Place("litellm", (), "responses", LITELLM_RESPONSES),
    )


class CerebrasInstrumentor(_SDKInstrumentor):
    """Instruments chat completions and text completions of the `cerebras-cloud-sdk` package."""

    _VERSIONS = "cerebras-cloud-sdk >= 1.0, < 2"
    PLACES = (
        Place(
            "cerebras.cloud.sdk.resources.chat.completions",
            # The last two are their former names.
            ("CompletionsResource", "AsyncCompletionsResource", *_COMPLETIONS),
        ),
        Place(
            "cerebras.cloud.sdk.resources.completions",
            ("CompletionsResource", "AsyncCompletionsResource", *_COMPLETIONS),
            "completions",
            CREATE,
        ),
    )


def instrumentors() -> tuple[BaseInstrumentor, ...]:
    """One instrumentor for each supported SDK, installed or not."""
    return (
        OpenAIInstrumentor(),
        GroqInstrumentor(),
        CerebrasInstrumentor(),
        AnthropicInstrumentor(),
        BedrockInstrumentor(),
        GoogleGenAIInstrumentor(),
        MistralInstrumentor(),
        OllamaInstrumentor(),
        HuggingFaceInstrumentor(),
        LiteLLMInstrumentor(),
    )
