"""What differs between versions of the OpenAI SDK, and of Python, as far as tests see it. All else is the same."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai import _base_client, _streaming

if TYPE_CHECKING:
    import httpx2

    httpx = httpx2
else:
    # The library of this SDK: before 3.0 httpx, even if another SDK brought httpx2. The classes are the same.
    httpx = getattr(_base_client, "httpx2", None) or _base_client.httpx

OMIT: Any = getattr(openai, "omit", openai.NOT_GIVEN)
"""What leaves an argument out: `omit` since 1.110."""

_TRANSLATES = "APIConnectionError" in inspect.getsource(_streaming)
TIMED_OUT: Any = openai.APITimeoutError if _TRANSLATES else httpx.TimeoutException
"""What a stream raises when the server says nothing for too long."""
DISCONNECTED: Any = openai.APIConnectionError if _TRANSLATES else httpx.TransportError
"""What a stream raises when the connection breaks in the middle."""
DISCONNECTION = "Connection error. (" if _TRANSLATES else ""
"""How the description of the span begins then."""

HAS_RESPONSES = importlib.util.find_spec("openai.resources.responses") is not None
needs_responses = pytest.mark.skipif(not HAS_RESPONSES, reason="this SDK has no Responses API")
# Importing it would load the whole Responses API.
HAS_SOCKETS = (Path(openai.__file__).parent / "types/responses/responses_client_event.py").exists() and (
    importlib.util.find_spec("websockets") is not None
)
needs_response_sockets = pytest.mark.skipif(
    not HAS_SOCKETS, reason="this SDK has no `responses.connect()`, or there is no `websockets`"
)
needs_beta_responses = pytest.mark.skipif(
    importlib.util.find_spec("openai.resources.beta.responses") is None,
    reason="this SDK has no beta of the Responses API",
)
takes_key_functions = pytest.mark.skipif(
    "Callable" not in str(inspect.signature(openai.OpenAI).parameters["api_key"].annotation),
    reason="this SDK takes no function for the key",
)
survives_open_streams = pytest.mark.skipif(
    sys.version_info[:3] == (3, 13, 0),
    reason="Python 3.13.0 crashes at exit while a stream is open, with the SDK alone too",
)
READS_NAMED_EVENTS = "thread." in inspect.getsource(_streaming)
"""Whether a chunk in an event with a name is a chunk; to others it is the field `data` of an empty one."""
_ARGUMENTS = inspect.signature(openai.resources.chat.Completions.create).parameters
TAKES_REASONING_EFFORT = "reasoning_effort" in _ARGUMENTS


def helpers(client: Any) -> Any:
    """Where a client has `stream()` and `parse()` of chat completions: outside of beta since 1.92."""
    completions = client.chat.completions
    return completions if hasattr(completions, "parse") else client.beta.chat.completions


def known(request: dict[str, Any]) -> dict[str, Any]:
    """The same request to `create`; what this version has no argument for is in `extra_body`."""
    extra = {name: value for name, value in request.items() if name not in _ARGUMENTS}
    return {name: value for name, value in request.items() if name in _ARGUMENTS} | {"extra_body": extra or None}


def strict(tool: dict[str, Any]) -> dict[str, Any]:
    """The tool as the helpers of some versions want it."""
    return {**tool, "function": {**tool["function"], "strict": True}}


def full_name(error: BaseException) -> str:
    """An exception's type as `error.type` has it."""
    return f"{type(error).__module__}.{type(error).__qualname__}"
