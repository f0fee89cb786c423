"""What this package knows of the private parts of SDKs. Each is read here and nowhere else.

The SDKs of OpenAI, Groq and Cerebras are generated from one template and share names of modules and fields. What is
read of httpx here is public there, but not meant for this use. `tests/wrappers/test_sdk_internals.py` fails, and says
what users lose, when an upgrade takes one of these away.
"""

from __future__ import annotations

import sys
from operator import attrgetter
from types import AsyncGeneratorType, FrameType, GeneratorType
from typing import Any, Final

from otel_llm.protocol.fields import field

# Clients, and resources such as `client.chat.completions` ----------------------------------------------------------

# A resource and a client cache these, together with the methods that they call.
_RAW_METHODS: Final = ("with_raw_response", "with_streaming_response")
# Where `parse()` was before openai 1.92.
_BETA: Final = "openai.resources.beta"


def client_of(resource: object) -> Any:
    """The client that a resource sends its requests with, None where it has none."""
    return getattr(resource, "_client", None)


def forget_raw_methods(holder: object) -> None:
    """Have a client or a resource make its raw-response methods anew, from the methods that it has now."""
    for name in _RAW_METHODS:
        cached = getattr(holder, "__dict__", {}).pop(name, None)
        if cached is not None and not hasattr(type(holder), name):
            # Clients of old SDKs have it from their constructor, not as a cached property.
            setattr(holder, name, type(cached)(holder))


def beta_completions_of(client: Any) -> Any:
    """`client.beta.chat.completions`, where `parse()` was before openai 1.92; None where it is not loaded.

    Newer SDKs load every beta there is when a client is asked for `beta`, which takes most of a second.
    """
    # Old SDKs keep it on the client. A mock has whatever it is asked for, so it is not asked.
    if _BETA not in sys.modules or not ("beta" in getattr(client, "__dict__", ()) or hasattr(type(client), "beta")):
        return None
    return getattr(getattr(client.beta, "chat", None), "completions", None)


# Requests ----------------------------------------------------------------------------------------------------------


def sends_requests(frame: FrameType) -> bool:
    """Whether a frame belongs to the part of an SDK that sends requests, below all resources."""
    return str(frame.f_globals.get("__name__")).endswith("._base_client")


# Streams -----------------------------------------------------------------------------------------------------------

current_iterator = attrgetter("_iterator")
"""The iterator that an SDK's stream reads at this moment. Anyone may have replaced it since the stream was made."""


def delegates_to_iterator(stream: object, method: str, fallback: str) -> bool:
    """Whether a method of a stream, or `fallback` where it has no such method, is an SDK's and only reads `_iterator`.

    A proxy around such a stream has an `_iterator` too, but to read from that would be to read past the proxy.
    """
    kind = type(stream)
    function = getattr(kind, method, None) or getattr(kind, fallback, None)
    module = getattr(function, "__module__", None) or ""
    return module.endswith("._streaming") and hasattr(stream, "_iterator")


def generator_of(stream: object) -> Any:
    """The generator that an SDK's stream, or one under a proxy, reads at this moment; None where it reads none."""
    iterator = getattr(stream, "_iterator", None)
    return iterator if isinstance(iterator, (GeneratorType, AsyncGeneratorType)) else None


def own_generator(stream: object) -> Any:
    """The same, None also where the stream's class does more in a loop than read that generator."""
    return generator_of(stream) if delegates_to_iterator(stream, "__iter__", "__aiter__") else None


def is_called_by_stream() -> bool:
    """Whether an SDK's stream is reading, and what it reads called the function that asks."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "__stream__" and str(frame.f_globals.get("__name__")).endswith("._streaming"):
            return True
        frame = frame.f_back
    return False


# HTTP responses ----------------------------------------------------------------------------------------------------


def body_of(http_response: object) -> Any:
    """What an httpx response reads its bytes from, and closes; None for anything else."""
    return getattr(http_response, "stream", None)


def replace_body(http_response: Any, body: object) -> None:
    """Have an httpx response read and close `body`. It checks the class of what it reads, which a proxy passes."""
    http_response.stream = body


# Raw responses -----------------------------------------------------------------------------------------------------


def has_whole_body(raw_response: Any) -> bool:
    """Whether the body of a raw response was read already."""
    return getattr(raw_response.http_response, "is_stream_consumed", False) is True


def has_post_parser(raw_response: object) -> bool:
    """Whether `parse()` of a raw response runs more than the SDK's own parser: pydantic models of the caller's."""
    return callable(field(field(raw_response, "_options"), "post_parser"))


# Responses that an SDK got and refused -----------------------------------------------------------------------------

# Where the classes of responses are, and what they are called.
_TYPES: Final = ".types."
_RESPONSES: Final = frozenset({"ChatCompletion", "Response"})


def response_held_by(frame: FrameType) -> Any:
    """The parsed response among the variables of an SDK's function, None where there is none."""
    types = str(frame.f_globals.get("__name__")).partition(".")[0] + _TYPES
    for value in frame.f_locals.values():
        kind = type(value)
        if kind.__name__ in _RESPONSES and kind.__module__.startswith(types):
            return value
    return None
