"""The test streams in each SDK's API, and how they are read through it.

Nothing is imported of an SDK before its streams are read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from otel_llm.demo import scripted_converse, scripted_gemini, scripted_messages, scripted_ollama
from otel_llm.demo.scripted_server import DONE, MODEL, Step, chunk, tool_call_delta, usage_chunk
from otel_llm.demo.scripts import BROKEN_STREAMS, HEALTHY_CONVERSATION
from otel_llm.demo.tools import TOOLS

_QUESTION: Final = "Note that I have to buy milk, and read me my list."
_MESSAGES: Final[Any] = [{"role": "user", "content": _QUESTION}]
_CHAT: Final[dict[str, Any]] = {"model": MODEL, "messages": _MESSAGES, "tools": TOOLS}
_FUNCTIONS: Final[list[dict[str, Any]]] = [tool["function"] for tool in TOOLS]
_TIMEOUT: Final = 20  # seconds

_WHOLE: Final = {"title": "buy milk"}
# No value of its enumeration, where arguments are objects, which cannot be cut.
_WRONG: Final = {"title": "buy mi"}
_CUT: Final = '{"title": "buy mi'


class TestStreams(NamedTuple):
    """A healthy stream with calls of `add_task` and `list_tasks`, and a broken one with one of `add_task`.

    `module`: the SDK's. `scripts`: what the server sends. `anomaly`: what is wrong with the broken one. `read`: sends
    a request to a server, by its URL with `/v1` at the end, and reads the stream to its end. It raises what the SDK
    raises.
    """

    module: str
    scripts: Callable[[], Sequence[Sequence[Step]]]
    anomaly: str
    read: Callable[[str], None]


# -- what the servers send --


def _chunks() -> Sequence[Sequence[Step]]:
    return [HEALTHY_CONVERSATION[0], BROKEN_STREAMS[0].script]


def _whole_calls() -> Sequence[Sequence[Step]]:
    """Chunks with a whole call each, as Mistral sends them."""
    ends: list[Step] = [chunk(finish_reason="tool_calls"), usage_chunk(140, 31), DONE]
    calls = [("add_task", json.dumps(_WHOLE)), ("list_tasks", "{}")]
    healthy: list[Step] = [
        chunk(tool_call_delta(index=index, id=f"call0000{index}", name=name, arguments=arguments))
        for index, (name, arguments) in enumerate(calls)
    ]
    broken = chunk(tool_call_delta(index=0, id="call00000", name="add_task", arguments=_CUT))
    return [[*healthy, *ends], [broken, *ends]]


def _message_events() -> Sequence[Sequence[Step]]:
    tool_use = scripted_messages.tool_use
    healthy = [tool_use("add_task", _WHOLE), tool_use("list_tasks", "{}", call_id="toolu_2")]
    return [scripted_messages.message_events(*healthy), scripted_messages.message_events(tool_use("add_task", _CUT))]


def _converse_events() -> Sequence[Sequence[Step]]:
    tool_use = scripted_converse.tool_use
    healthy = [tool_use("add_task", _WHOLE), tool_use("list_tasks", "{}", call_id="tooluse_2")]
    return [scripted_converse.converse_events(*healthy), scripted_converse.converse_events(tool_use("add_task", _CUT))]


def _gemini_responses() -> Sequence[Sequence[Step]]:
    part = scripted_gemini.call_part
    return [
        scripted_gemini.responses([part("add_task", _WHOLE), part("list_tasks", {})]),
        scripted_gemini.responses([part("add_task", _WRONG)]),
    ]


def _ollama_lines() -> Sequence[Sequence[Step]]:
    call, says = scripted_ollama.call, scripted_ollama.says
    return [
        scripted_ollama.answer_lines(says(calls=[call("add_task", _WHOLE), call("list_tasks", {})])),
        scripted_ollama.answer_lines(says(calls=[call("add_task", _WRONG)])),
    ]


# -- how the SDKs read it --


def _root(base_url: str) -> str:
    return base_url.removesuffix("/v1")


def _exhaust(stream: Iterable[Any]) -> None:
    for _ in stream:
        pass


def _openai(base_url: str) -> None:
    import openai

    with openai.OpenAI(base_url=base_url, api_key="unused", timeout=_TIMEOUT, max_retries=0) as client:
        _exhaust(client.chat.completions.create(**_CHAT, stream=True))


def _groq(base_url: str) -> None:
    import groq

    with groq.Groq(base_url=_root(base_url), api_key="unused", timeout=_TIMEOUT, max_retries=0) as client:
        _exhaust(client.chat.completions.create(**_CHAT, stream=True))


def _cerebras(base_url: str) -> None:
    from cerebras.cloud.sdk import Cerebras

    options: dict[str, Any] = {"timeout": _TIMEOUT, "max_retries": 0, "warm_tcp_connection": False}
    with Cerebras(base_url=_root(base_url), api_key="unused", **options) as client:
        stream: Any = client.chat.completions.create(**_CHAT, stream=True)
        _exhaust(stream)


def _anthropic(base_url: str) -> None:
    import anthropic

    tools: Any = [
        {"name": one["name"], "description": one["description"], "input_schema": one["parameters"]}
        for one in _FUNCTIONS
    ]
    with anthropic.Anthropic(base_url=_root(base_url), api_key="unused", timeout=_TIMEOUT, max_retries=0) as client:
        request: Any = {"model": MODEL, "max_tokens": 100, "messages": _MESSAGES, "tools": tools}
        _exhaust(client.messages.create(**request, stream=True))


def _google(base_url: str) -> None:
    from google import genai

    options: Any = {"base_url": _root(base_url), "timeout": _TIMEOUT * 1000}
    client = genai.Client(api_key="unused", vertexai=False, http_options=options)
    config: Any = {"tools": [{"function_declarations": _FUNCTIONS}]}
    _exhaust(client.models.generate_content_stream(model=MODEL, contents=_QUESTION, config=config))


def _bedrock(base_url: str) -> None:
    import boto3
    from botocore.config import Config

    tools = [
        {
            "toolSpec": {
                "name": one["name"],
                "description": one["description"],
                "inputSchema": {"json": one["parameters"]},
            }
        }
        for one in _FUNCTIONS
    ]
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=_root(base_url),
        region_name="us-east-1",
        aws_access_key_id="unused",
        aws_secret_access_key="unused",  # noqa: S106 - no secret
        config=Config(retries={"total_max_attempts": 1, "mode": "standard"}, read_timeout=_TIMEOUT),
    )
    messages = [{"role": "user", "content": [{"text": _QUESTION}]}]
    _exhaust(client.converse_stream(modelId=MODEL, messages=messages, toolConfig={"tools": tools})["stream"])


def _mistral(base_url: str) -> None:
    try:
        from mistralai.client import Mistral
    except ImportError:
        # Before 2.0.
        from mistralai import Mistral  # type: ignore[attr-defined, no-redef]

    with Mistral(api_key="unused", server_url=_root(base_url), timeout_ms=_TIMEOUT * 1000) as client:
        _exhaust(client.chat.stream(**_CHAT))


def _ollama(base_url: str) -> None:
    import ollama

    client = ollama.Client(host=_root(base_url), timeout=_TIMEOUT)
    _exhaust(client.chat(**_CHAT, stream=True))
    close = getattr(client, "close", None)  # since 0.6
    if close is not None:
        close()


def _hugging_face(base_url: str) -> None:
    from huggingface_hub import InferenceClient

    made: Any = InferenceClient(base_url=_root(base_url), token="unused", timeout=_TIMEOUT)  # noqa: S106 - no secret
    with made as client:
        _exhaust(client.chat_completion(**_CHAT, stream=True))


def _litellm(base_url: str) -> None:
    import litellm

    request: Any = {**_CHAT, "model": f"openai/{MODEL}", "api_base": base_url, "api_key": "unused"}
    _exhaust(litellm.completion(**request, stream=True, num_retries=0, timeout=_TIMEOUT))


STREAMS_OF: Final[Mapping[str, TestStreams]] = {
    "openai": TestStreams("openai", _chunks, "invalid_json", _openai),
    "anthropic": TestStreams("anthropic", _message_events, "invalid_json", _anthropic),
    "google-genai": TestStreams("google.genai", _gemini_responses, "schema_violation", _google),
    "botocore": TestStreams("boto3", _converse_events, "invalid_json", _bedrock),
    "mistralai": TestStreams("mistralai", _whole_calls, "invalid_json", _mistral),
    "ollama": TestStreams("ollama", _ollama_lines, "schema_violation", _ollama),
    "huggingface-hub": TestStreams("huggingface_hub", _chunks, "invalid_json", _hugging_face),
    "groq": TestStreams("groq", _chunks, "invalid_json", _groq),
    "cerebras-cloud-sdk": TestStreams("cerebras.cloud.sdk", _chunks, "invalid_json", _cerebras),
    "litellm": TestStreams("litellm", _chunks, "invalid_json", _litellm),
}
"""By the packages of the SDKs. The first one that is observed makes the test's requests."""
