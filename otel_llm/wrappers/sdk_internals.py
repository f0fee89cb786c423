"""The private parts of SDKs that this package relies on. Each is read here and nowhere else.

The SDKs of OpenAI, Groq, Cerebras and Anthropic are generated from one template and share names of modules and fields.
The attributes of httpx used here are public, but not meant for this use. `tests/wrappers/test_sdk_internals.py` fails,
and says what users lose, when an upgrade removes one of these.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from operator import attrgetter
from types import AsyncGeneratorType, FrameType, GeneratorType, MethodType
from typing import Any, Final, NamedTuple

# Clients, and resources such as `client.chat.completions` ----------------------------------------------------------

# A client and a resource cache these, with the methods that they call inside.
_RAW_METHODS: Final = ("with_raw_response", "with_streaming_response")
# Where `parse()` was before openai 1.92.
_BETA: Final = "openai.resources.beta"


# The method of a client of Ollama's that sends all requests, whose arguments are the request's path and body.
OLLAMA_SENDER: Final = "_request"


def client_of(resource: object) -> Any:
    """The client that sends the requests of a resource, or its address; None if it has none."""
    client = getattr(resource, "_client", None)
    if client is None and (google := getattr(resource, "_api_client", None)) is not None:
        base_url = getattr(getattr(google, "_http_options", None), "base_url", None) or ""
        return (VertexAIAddress if getattr(google, "vertexai", False) is True else GeminiAddress)(base_url)
    return client


def generating_models_of(client: Any) -> Any:
    """`client.models` of Google's SDK, None for any other client."""
    models = resource_of(client, "models")
    return models if hasattr(type(models), GENERATE) else None


class GeminiAddress(NamedTuple):
    """Where a client of Google's SDK sends its requests."""

    base_url: str


class VertexAIAddress(NamedTuple):
    """The same for a client of Vertex AI."""

    base_url: str


# The methods of Google's `Models` that make one request each. The public ones call them again and again, to execute
# functions by themselves, and to have an answer continued.
GENERATE: Final = "_generate_content"
GENERATE_STREAM: Final = "_generate_content_stream"


def configured_url(resource: Any) -> str | None:
    """The base URL that a resource of Mistral's SDK sends its requests to, None if that is not known."""
    url, variables = resource.sdk_configuration.get_server_details()
    return url.format(**variables) if isinstance(url, str) else None


def forget_raw_methods(holder: object) -> None:
    """Clear the cached raw-response methods of a client or a resource, so that new ones call its present methods."""
    for name in _RAW_METHODS:
        cached = getattr(holder, "__dict__", {}).pop(name, None)
        if cached is not None and not hasattr(type(holder), name):
            # Old SDKs set it in the client's constructor; it is no cached property.
            setattr(holder, name, type(cached)(holder))


def resource_of(client: Any, name: str) -> Any:
    """A resource of a client, such as `responses`, None if it has none of that name."""
    # Set in the client's constructor by old SDKs, a cached property in newer ones. A mock would return anything.
    if name in getattr(client, "__dict__", ()) or hasattr(type(client), name):
        return getattr(client, name, None)
    return None


def is_of_ollama(client: object) -> bool:
    """Whether a client is one of Ollama's SDK, or derived from one."""
    return any(kind.__module__ == "ollama._client" for kind in type(client).__mro__) and has_method(
        client, OLLAMA_SENDER
    )


def traces_itself(resource: Any) -> bool:
    """Whether Mistral's SDK makes spans of its own for the requests of a resource."""
    hooks = getattr(getattr(resource.sdk_configuration, "_hooks", None), "before_request_hooks", ())
    for hook in hooks:
        if type(hook).__name__ == "TracingHook":
            is_configured = getattr(hook, "tracer_provider", None) is not None
            return is_configured or getattr(hook, "_telemetry_use_global_provider", hook.tracing_enabled) is True
    return False


def has_method(resource: object, name: str) -> bool:
    """Whether the class of a resource has a method of this name. A mock has any attribute."""
    return callable(getattr(type(resource), name, None))


def beta_completions_of(client: Any) -> Any:
    """`client.beta.chat.completions`, which had `parse()` before openai 1.92; None if it is not loaded.

    It is not loaded here: newer SDKs then load all their betas, which takes most of a second.
    """
    if _BETA not in sys.modules:
        return None
    return getattr(getattr(resource_of(client, "beta"), "chat", None), "completions", None)


def replace_request(manager: Any, observed: Callable[[Any], Any]) -> None:
    """Have the manager that Anthropic's `stream()` returned make its request through `observed`.

    The manager keeps a function, or a coroutine, under a private name of its class.
    """
    for kind in type(manager).__mro__:
        name = f"_{kind.__name__.lstrip('_')}__api_request"
        if name in manager.__dict__:
            setattr(manager, name, observed(manager.__dict__[name]))
            return
    raise AttributeError(f"{type(manager).__name__} has no __api_request")


# WebSockets --------------------------------------------------------------------------------------------------------

# The method of the manager which `responses.connect()` returns that opens a socket, also when it connects again.
_OPENS_SOCKET: Final = "_connect_ws"


class _ObservedOpening:
    """Opens sockets as the manager's own method does, and passes them through `observe`."""

    def __init__(self, opening: Any, observe: Callable[[Any], Any]) -> None:
        self.opening = opening
        self._observe = observe

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        socket = self.opening(*args, **kwargs)
        return self._opened_later(socket) if hasattr(type(socket), "__await__") else self._observe(socket)

    async def _opened_later(self, pending: Awaitable[Any]) -> Any:
        return self._observe(await pending)


def observe_sockets(manager: Any, observe: Callable[[Any], Any]) -> None:
    """Have `observe` get each socket that a manager will open, and the SDK what `observe` returns.

    The last caller is the only one that observes: a client may be intercepted while its SDK is instrumented.
    """
    opening = getattr(manager, _OPENS_SOCKET)
    if isinstance(opening, _ObservedOpening):
        opening = opening.opening
    setattr(manager, _OPENS_SOCKET, _ObservedOpening(opening, observe))


def is_asynchronous_socket(socket: Any) -> bool:
    """Whether a socket of the `websockets` package is one for asyncio."""
    return iscoroutinefunction(type(socket).recv)


def says_that_socket_closed(error: BaseException) -> bool:
    """Whether an exception is that of `websockets` for a connection that is closed, properly or not."""
    return any(
        kind.__name__ == "ConnectionClosed" and kind.__module__.startswith("websockets.")
        for kind in type(error).__mro__
    )


def socket_url(client: Any) -> Any:
    """The URL that a client opens its WebSockets at, if that is not the one for its other requests."""
    return getattr(client, "websocket_base_url", None)


# Requests ----------------------------------------------------------------------------------------------------------

# Calls what an application registered for the events of an AWS client.
_HOOKS: Final = ("botocore.hooks", "aiobotocore.hooks")


def sends_requests(frame: FrameType) -> bool:
    """Whether a frame belongs to the module of an SDK that sends the requests of all resources, or calls its hooks."""
    name = str(frame.f_globals.get("__name__"))
    return name.endswith(("._base_client", "._api_client")) or name in _HOOKS


# Clients of AWS ----------------------------------------------------------------------------------------------------

AWS_CALL: Final = "_make_api_call"
"""The method through which every client of botocore makes every call: `(operation, arguments)`."""


def aws_service_of(client: Any) -> str | None:
    """The service that an AWS client calls, None for any other object."""
    if not hasattr(type(client), AWS_CALL):
        return None
    return str(client.meta.service_model.service_name)


# Streams -----------------------------------------------------------------------------------------------------------

# Anthropic's streams tell the SDK's own tracing of each event, which reading the `_iterator` would bypass.
_OBSERVER: Final = "_observer"

current_iterator = attrgetter("_iterator")
"""The iterator that an SDK's stream reads at this moment. An application may have replaced it."""


def delegates_to_iterator(stream: object, method: str, fallback: str) -> bool:
    """Whether a stream's `method`, or `fallback` if it has none, is an SDK's own and only reads the `_iterator`.

    A proxy around an SDK's stream has an `_iterator` too, but reading that would bypass the proxy.
    """
    kind = type(stream)
    if hasattr(kind, _OBSERVER):
        return False
    function = getattr(kind, method, None) or getattr(kind, fallback, None)
    module = getattr(function, "__module__", None) or ""
    return module.endswith("._streaming") and hasattr(stream, "_iterator")


def class_of_chunks(stream: object) -> Any:
    """What an SDK's stream parses its chunks into: a class or a union. `NoneType`, which has no classes, if unknown."""
    return getattr(stream, "_cast_to", None) or type(None)


def generator_of(stream: object) -> Any:
    """The generator that an SDK's stream reads at this moment, also inside a proxy; None if it reads no generator."""
    iterator = getattr(stream, "_iterator", None)
    return iterator if isinstance(iterator, (GeneratorType, AsyncGeneratorType)) else None


def own_generator(stream: object) -> Any:
    """The same, None also if a loop over the stream does more than read that generator."""
    return generator_of(stream) if delegates_to_iterator(stream, "__iter__", "__aiter__") else None


# The generators that read the streams of SDKs: the names of their functions, and how those of their modules end.
_READS: Final = {
    "__stream__": "._streaming",
    # Mistral's.
    "stream_events": ".eventstreaming",
    "stream_events_async": ".eventstreaming",
    # Of LiteLLM's responses.
    "__next__": ".streaming_iterator",
    "__anext__": ".streaming_iterator",
}


def is_called_by_stream() -> bool:
    """Whether the caller runs inside a read by an SDK's stream."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = _READS.get(frame.f_code.co_name)
        if module is not None and str(frame.f_globals.get("__name__")).endswith(module):
            return True
        frame = frame.f_back
    return False


# HTTP responses ----------------------------------------------------------------------------------------------------


def body_of(http_response: object) -> Any:
    """The byte stream that an httpx response reads and closes, None for anything else."""
    return getattr(http_response, "stream", None)


def replace_body(http_response: Any, body: object) -> None:
    """Have an httpx response read and close `body`, a proxy of its byte stream: httpx checks the class."""
    http_response.stream = body


def replace_content(http_response: Any, content: bytes) -> None:
    """Have an httpx response that was read hold other content."""
    http_response._content = content
    vars(http_response).pop("_text", None)
    if "content-length" in http_response.headers:
        http_response.headers["content-length"] = str(len(content))


def forget_length(http_response: Any) -> None:
    """Remove the length of a body that is still to come from the headers of an httpx response."""
    if getattr(http_response, "is_closed", None) is False:
        http_response.headers.pop("content-length", None)


# Raw responses -----------------------------------------------------------------------------------------------------


def has_whole_body(raw_response: Any) -> bool:
    """Whether the body of a raw response has been read."""
    return getattr(raw_response.http_response, "is_stream_consumed", False) is True


# Requests whose response a method parses ---------------------------------------------------------------------------


def before_parsing(method: Any, prepare: Callable[[Any], object]) -> Any:
    """The bound method `parse` of a resource, where `prepare` gets each response before it is parsed.

    Anything else is returned unchanged. The SDK passes its parser to the method of the resource that sends requests.
    """
    if type(method) is not MethodType or method.__name__ != "parse":
        return method
    resource: Any = copy.copy(method.__self__)
    if "create" not in dir(resource):
        _prepare_what_create_returns(resource, prepare)
    post = resource._post

    def send(*args: Any, **kwargs: Any) -> Any:
        options: Any = kwargs.get("options")
        parser: Any = options.get("post_parser") if isinstance(options, dict) else None
        if callable(parser):

            def prepared(response: Any) -> Any:
                prepare(response)
                return parser(response)

            kwargs["options"] = {**options, "post_parser": prepared}
            return post(*args, **kwargs)
        return _prepared(post(*args, **kwargs), prepare)

    resource._post = send
    return MethodType(method.__func__, resource)


def _prepare_what_create_returns(resource: Any, prepare: Callable[[Any], object]) -> None:
    """The first SDKs with a `parse()` in their beta parse what they get from `client.chat.completions.create()`."""
    resource._client = client = copy.copy(resource._client)
    client.chat = chat = copy.copy(client.chat)
    chat.completions = completions = copy.copy(chat.completions)
    create = completions.create
    completions.create = lambda *args, **kwargs: _prepared(create(*args, **kwargs), prepare)


def _prepared(result: Any, prepare: Callable[[Any], object]) -> Any:
    if hasattr(type(result), "__await__"):
        return _prepared_later(result, prepare)
    prepare(result)
    return result


async def _prepared_later(pending: Awaitable[Any], prepare: Callable[[Any], object]) -> Any:
    response = await pending
    prepare(response)
    return response


# Responses that an SDK refused -------------------------------------------------------------------------------------

# The packages and the names of the classes of responses.
_TYPES: Final = ".types."
_RESPONSES: Final = frozenset({"ChatCompletion", "Response"})


def response_held_by(frame: FrameType) -> Any:
    """The parsed response among the variables of an SDK's function, None if there is none."""
    types = str(frame.f_globals.get("__name__")).partition(".")[0] + _TYPES
    for value in frame.f_locals.values():
        kind = type(value)
        if kind.__name__ in _RESPONSES and kind.__module__.startswith(types):
            return value
    return None
