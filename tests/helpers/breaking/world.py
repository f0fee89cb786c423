"""One server, one client of each kind and one event loop for all scenarios, and what the application sees of a run."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import anthropic
import openai
import pytest

from otel_llm import (
    AnthropicInstrumentor,
    BedrockInstrumentor,
    GoogleGenAIInstrumentor,
    HuggingFaceInstrumentor,
    MistralInstrumentor,
    OllamaInstrumentor,
    OpenAIInstrumentor,
    intercept_llm_requests,
    observation,
)
from otel_llm.demo.scripted_server import ScriptedServer
from otel_llm.intercept import InterceptedMethod
from otel_llm.tags.reasoning import KnownBeginnings
from otel_llm.telemetry import provider
from otel_llm.testing.unobserved import listening
from otel_llm.wrappers import other_instrumentations, rewritten_stream
from tests.helpers import huggingface_callers, mistral_callers, ollama_callers
from tests.helpers.bedrock_callers import client_of as bedrock_client_of
from tests.helpers.gemini_callers import client_of, copied
from tests.helpers.seen import Seen

if TYPE_CHECKING:
    from typing_extensions import Self

By = Literal["instrumentor", "listener", "client", "itself"]


class Scenario(NamedTuple):
    """What an application does, and what observes it.

    `by`: an instrumentor, the listener of `otel_llm.testing`, an intercepted client, or what `play` itself begins where
    `run.observed` is set. `rewrites`: the text may be rewritten, so the application may see other chunks than without.
    """

    name: str
    play: Callable[[Run], None]
    by: By = "instrumentor"
    options: Mapping[str, Any] = {}
    environment: Mapping[str, str] = {}
    rewrites: bool = False

    @classmethod
    def of(cls, play: Callable[[Run], None], by: By = "instrumentor") -> Scenario:
        """One that is called as its function is."""
        return cls(play.__name__.replace("_", " "), play, by)


class Run:
    """One run of a scenario. `saw` is everything that the application got to see."""

    def __init__(self, world: World, *, observed: bool) -> None:
        self._world = world
        self.observed = observed
        self.saw: list[Any] = []
        # The SDK caches methods on a client's resources, so every run has its own; the connections are shared.
        self.client: Any = world.client.copy()
        self.async_client: Any = world.async_client.copy()
        self.anthropic: Any = world.anthropic.copy()
        self.async_anthropic: Any = world.async_anthropic.copy()
        # An intercepted one has its method in its own dictionary, which is emptied again after the run.
        self.bedrock: Any = world.bedrock
        self.google: Any = copied(world.google)
        # These have no copies, and nothing that they cache.
        self.mistral = world.mistral.client
        self.ollama = world.ollama.client
        self.async_ollama = world.async_ollama.client
        self.hugging_face = world.hugging_face.client

    @property
    def seen(self) -> Seen:
        """Providers for a scenario that instruments itself."""
        return self._world.seen

    def answer(self, *scripts: Any) -> None:
        """Have the server answer the next requests with these scripts, one each."""
        self._world.scripts[:] = scripts

    def see(self, value: Any) -> None:
        to_dict = getattr(value, "to_dict", None)
        self.saw.append((type(value).__name__, to_dict(warnings=False)) if callable(to_dict) else value)

    def see_all(self, stream: Any) -> None:
        for chunk in stream:
            self.see(chunk)

    async def see_all_async(self, stream: Any) -> None:
        async for chunk in stream:
            self.see(chunk)

    @contextmanager
    def see_error(self) -> Iterator[None]:
        """See what is raised in this block, if anything is."""
        try:
            yield
        except Exception as error:
            self.saw.append((type(error).__name__, str(error)))
        else:
            self.saw.append("no error")

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._world.loop.run_until_complete(coroutine)


class World:
    """`caches`: what empties the caches of the package, which each observed run begins without."""

    def __init__(self, caches: Iterable[Callable[[], None]]) -> None:
        self._caches = list(caches)
        self.scripts: list[Any] = []
        self._server = ScriptedServer(lambda _body: self.scripts.pop(0))
        options: dict[str, Any] = {"base_url": self._server.base_url, "max_retries": 0, "timeout": 20}
        self.client = openai.OpenAI(api_key="unused", **options)
        self.async_client = openai.AsyncOpenAI(api_key="unused", **options)
        options["base_url"] = self._server.base_url.removesuffix("/v1")
        self.anthropic = anthropic.Anthropic(api_key="unused", **options)
        self.async_anthropic = anthropic.AsyncAnthropic(api_key="unused", **options)
        self.bedrock = bedrock_client_of(self._server)
        self.google = client_of(self._server)
        self.mistral = mistral_callers.Caller(self._server)
        self.ollama = ollama_callers.Caller(self._server)
        self.async_ollama = ollama_callers.AsyncCaller(self._server)
        self.hugging_face = huggingface_callers.Caller(self._server)
        self.loop = asyncio.new_event_loop()
        self.seen = Seen()

    def close(self) -> None:
        self.client.close()
        self.anthropic.close()
        self.bedrock.close()
        self.google.close()
        self.loop.run_until_complete(self.google.aio.aclose())
        self.loop.run_until_complete(self.async_client.close())
        self.loop.run_until_complete(self.async_anthropic.close())
        for caller in (self.mistral, self.ollama, self.async_ollama, self.hugging_face):
            self.loop.run_until_complete(caller.close())
        self.loop.run_until_complete(self.mistral.client.sdk_configuration.async_client.aclose())
        self.loop.close()
        self._server.close()

    def play_bare(self, scenario: Scenario) -> list[Any]:
        """What the application sees where nothing of this package is in use."""
        run = Run(self, observed=False)
        scenario.play(run)
        return run.saw

    def play(self, scenario: Scenario, during: AbstractContextManager[object] | None = None) -> list[Any]:
        """What it sees where it is observed, in the context `during`."""
        run = Run(self, observed=True)
        with ExitStack() as stack:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            # What is known of servers lasts for the process.
            patch.setattr(provider, "_inferred", {})
            patch.setattr(rewritten_stream, "_beginnings", KnownBeginnings())
            patch.setattr(provider, "_last", (None, object, provider.Server("openai")))
            for name, value in scenario.environment.items():
                patch.setenv(name, value)
            for forget in (*self._caches, other_instrumentations.forget):
                forget()
            stack.enter_context(self._observing(scenario, run))
            stack.enter_context(during or nullcontext())
            # A broken function may leave its span the current one.
            contextvars.copy_context().run(scenario.play, run)
        # Or observations that never end.
        observation._open.clear()
        observation._deferred.clear()
        return run.saw

    @contextmanager
    def _observing(self, scenario: Scenario, run: Run) -> Iterator[None]:
        match scenario.by:
            case "instrumentor":
                instrumentors = (
                    OpenAIInstrumentor(),
                    AnthropicInstrumentor(),
                    BedrockInstrumentor(),
                    GoogleGenAIInstrumentor(),
                    MistralInstrumentor(),
                    OllamaInstrumentor(),
                    HuggingFaceInstrumentor(),
                )
                for instrumentor in instrumentors:
                    instrumentor.instrument(**self.seen.providers, **scenario.options, skip_dep_check=True)
                try:
                    yield
                finally:
                    for instrumentor in instrumentors:
                        instrumentor.uninstrument()
            case "listener":
                with listening(lambda _observation: None):
                    yield
            case "client":
                clients = (run.client, run.async_client, run.anthropic, run.async_anthropic, run.google)
                others = (run.bedrock, run.mistral, run.ollama, run.async_ollama, run.hugging_face)
                for client in (*clients, *others):
                    intercept_llm_requests(client, **self.seen.providers, **scenario.options)
                try:
                    yield
                finally:
                    for owner in (run.mistral.chat, *others):
                        for name in [
                            name for name, value in vars(owner).items() if isinstance(value, InterceptedMethod)
                        ]:
                            delattr(owner, name)
            case "itself":
                yield


class Calls(AbstractContextManager["Calls"]):
    """Records which functions are called in its block, by this thread, by their code."""

    def __init__(self) -> None:
        self.called: set[CodeType] = set()

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        # Finalizers of what earlier runs left behind are no calls of this one.
        gc.disable()
        sys.settrace(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)
        gc.enable()

    def _note(self, frame: FrameType, _event: str, _argument: object) -> None:
        # It returns no function to trace lines with, so it runs once a call.
        self.called.add(frame.f_code)
