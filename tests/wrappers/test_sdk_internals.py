"""The private parts of SDKs that this package reads, each exercised on every SDK that is installed.

A failure says what users lose with that version of the SDK; the place to adapt is `otel_llm/wrappers/sdk_internals.py`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from inspect import isawaitable
from types import FrameType
from typing import Any
from unittest.mock import MagicMock

import openai
import pytest
from pydantic import BaseModel

from otel_llm.demo.scripted_responses import message, response
from otel_llm.demo.scripted_server import DONE, Answer, ScriptedServer, chunk, completion, text
from otel_llm.protocol.fields import field
from otel_llm.transparency.proxies import ObjectProxy
from otel_llm.wrappers.sdk_internals import (
    before_parsing,
    beta_completions_of,
    body_of,
    class_of_chunks,
    client_of,
    current_iterator,
    delegates_to_iterator,
    forget_length,
    forget_raw_methods,
    generator_of,
    has_whole_body,
    is_asynchronous_socket,
    is_called_by_stream,
    observe_sockets,
    own_generator,
    replace_body,
    replace_content,
    resource_of,
    response_held_by,
    says_that_socket_closed,
    sends_requests,
)
from tests.helpers.callers import MESSAGES, REQUEST
from tests.helpers.sdk_versions import helpers, needs_response_sockets, needs_responses
from tests.helpers.sdks import SDK

Serve = Callable[..., ScriptedServer]

STEPS = [chunk(text("Sure. ")), chunk(text("Done.")), chunk(finish_reason="stop"), DONE]
WHOLE = Answer(completion(text('{"title": 5}')))


@pytest.fixture(params=["openai", "groq", "cerebras"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
async def sdk(name: str, request: pytest.FixtureRequest) -> AsyncIterator[SDK]:
    made = SDK(name, asynchronous=request.param)
    yield made
    await made.close()


async def stream_of(sdk: SDK, server: ScriptedServer) -> Any:
    return await sdk.result(sdk.client(server).chat.completions.create(**REQUEST, stream=True))


def frames_above(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def responses_held_by(error: BaseException) -> list[Any]:
    """The responses among the variables of the functions that `error` came through."""
    held = []
    traceback = error.__traceback__
    while traceback is not None:
        held.append(response_held_by(traceback.tb_frame))
        traceback = traceback.tb_next
    return [one for one in held if one is not None]


# Clients and resources ---------------------------------------------------------------------------------------------


def test_a_resource_has_its_client(sdk: SDK, serve: Serve) -> None:
    client = sdk.client(serve(*STEPS))
    assert client_of(client.chat.completions) is client, (
        f"{sdk}: a resource has no `_client`. Spans lose `server.address`; `gen_ai.provider.name` is always `openai`."
    )


@pytest.mark.parametrize("kind", ["with_raw_response", "with_streaming_response"])
def test_raw_methods_are_cached_and_can_be_made_anew(sdk: SDK, serve: Serve, kind: str) -> None:
    client = sdk.client(serve(*STEPS))
    for holder in (client, client.chat, client.chat.completions):
        before = getattr(holder, kind)
        forget_raw_methods(holder)
        assert getattr(holder, kind) is not before, (
            f"{sdk}: `{kind}` of a {type(holder).__name__} stays cached. `intercept_llm_requests` misses the raw"
            " requests of a client that made one before."
        )


@needs_responses
def test_the_resources_of_a_client() -> None:
    client = openai.OpenAI(api_key="unused")
    assert resource_of(client, "responses") is client.responses, (
        "the Responses API is no resource of a client: `intercept_llm_requests` misses its requests"
    )
    assert resource_of(client, "made_up") is None
    assert resource_of(MagicMock(), "responses") is None, "a mock seems to have a resource that nothing gave it"
    client.close()


def test_the_beta_of_chat_completions() -> None:
    client = openai.OpenAI(api_key="unused")
    assert beta_completions_of(object()) is None
    if hasattr(client.chat.completions, "parse"):
        assert beta_completions_of(client) is None or beta_completions_of(client).create, (
            "`client.beta.chat.completions` is there and has no `create`: `intercept_llm_requests` fails."
        )
    else:
        assert hasattr(beta_completions_of(client), "parse"), (
            "`parse()` is neither in chat nor in beta: `intercept_llm_requests` misses its requests."
        )
    client.close()


# Requests ----------------------------------------------------------------------------------------------------------


async def test_the_sdk_sends_requests_in_its_base_client(sdk: SDK, serve: Serve) -> None:
    seen: list[bool] = []

    def hook(_request: Any) -> None:
        seen.append(any(map(sends_requests, frames_above(sys._getframe()))))

    async def hook_async(request: Any) -> None:
        hook(request)

    http_client = sdk.http_client(event_hooks={"request": [hook_async if sdk.asynchronous else hook]})
    client = sdk.client(serve(*STEPS), http_client=http_client)
    await sdk.read(await sdk.result(client.chat.completions.create(**REQUEST, stream=True)))
    assert seen[-1:] == [True], (
        f"{sdk}: no module `_base_client` sends requests. A request that an event hook makes has no span of its own."
    )
    assert not any(map(sends_requests, frames_above(sys._getframe()))), f"{sdk}: frames outside of a request match"


def content_of(chunk: Any) -> Any:
    # Where a chunk fits none of its types, Cerebras's SDK hands on dictionaries.
    return field(chunk.choices[0].delta, "content")


# Streams -----------------------------------------------------------------------------------------------------------


async def test_a_stream_reads_a_generator(sdk: SDK, serve: Serve) -> None:
    stream = await stream_of(sdk, serve(*STEPS))
    generator = own_generator(stream)
    assert generator is not None, (
        f"{sdk}: a stream does not read a generator in `_iterator`. A stream that is closed by its response, or from"
        " another thread, ends with the wrong outcome."
    )
    assert generator is current_iterator(stream) is generator_of(stream)
    for method in ("__aiter__", "__anext__") if sdk.asynchronous else ("__iter__", "__next__"):
        assert delegates_to_iterator(stream, method, method), (
            f"{sdk}: `{method}` of a stream is not of a module `_streaming`. Trackers read through one generator more."
        )
    first = await anext(generator) if sdk.asynchronous else next(generator)
    rest = await sdk.read(stream)
    assert [content_of(one) for one in (first, *rest)] == ["Sure. ", "Done.", None], (
        f"{sdk}: a stream does more with a chunk than hand on what `_iterator` gives. Trackers hand on other chunks."
    )


async def test_a_stream_reads_what_was_put_in_place_of_its_generator(sdk: SDK, serve: Serve) -> None:
    stream = await stream_of(sdk, serve(*STEPS))
    inner = stream._iterator

    async def others_async() -> Any:
        async for one in inner:
            yield [one]

    stream._iterator = others_async() if sdk.asynchronous else ([one] for one in inner)
    chunks = await sdk.read(stream)
    assert [type(one) for one in chunks] == [list] * 3, (
        f"{sdk}: a stream does not look at `_iterator` when it is read. Trackers hand on what another library replaced."
    )


async def test_a_proxy_of_a_stream_is_not_read_past(sdk: SDK, serve: Serve) -> None:
    class Proxy(ObjectProxy):
        def __iter__(self) -> Any:
            return iter(())

        def __aiter__(self) -> Any:
            return self

        __next__ = __anext__ = __iter__

    stream = await stream_of(sdk, serve(*STEPS))
    proxy = Proxy(stream)
    assert own_generator(proxy) is None
    assert generator_of(proxy) is generator_of(stream)
    await sdk.result(stream.close())


async def test_a_stream_that_reads_is_told_from_one_that_is_closed(sdk: SDK, serve: Serve) -> None:
    class Body(ObjectProxy):
        def __iter__(self) -> Any:
            reads.append(is_called_by_stream())
            return iter(self.__wrapped__)

        def __aiter__(self) -> Any:
            reads.append(is_called_by_stream())
            return self.__wrapped__.__aiter__()

        def close(self) -> None:
            closes.append(is_called_by_stream())
            self.__wrapped__.close()

        async def aclose(self) -> None:
            closes.append(is_called_by_stream())
            await self.__wrapped__.aclose()

    reads: list[bool] = []
    closes: list[bool] = []
    message = (
        f"{sdk}: the generator of a stream is not `__stream__` of a module `_streaming`. A stream under another"
        " library's proxy ends as `closed` where it was read to its end."
    )
    for ends in (True, False):
        stream = await stream_of(sdk, serve(*STEPS))
        replace_body(stream.response, Body(body_of(stream.response)))
        if ends:
            await sdk.read(stream)
        await sdk.result(stream.close())
        assert reads[:1] == [True], message
        assert set(closes) == {ends}, message
        closes.clear()


# HTTP responses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [True, False])
async def test_a_response_reads_and_closes_the_body_that_it_is_given(sdk: SDK, serve: Serve, read: bool) -> None:
    class Body(ObjectProxy):
        def __iter__(self) -> Any:
            happened.append("read")
            return iter(self.__wrapped__)

        def __aiter__(self) -> Any:
            happened.append("read")
            return self.__wrapped__.__aiter__()

        def close(self) -> None:
            happened.append("closed")
            self.__wrapped__.close()

        async def aclose(self) -> None:
            happened.append("closed")
            await self.__wrapped__.aclose()

    happened: list[str] = []
    stream = await stream_of(sdk, serve(*STEPS))
    response = stream.response
    replace_body(response, Body(body_of(response)))
    assert response.is_closed is False
    if read:
        await sdk.result(response.aread() if sdk.asynchronous else response.read())
    else:
        await sdk.result(response.aclose() if sdk.asynchronous else response.close())
    expected = ["read", "closed"] if read else ["closed"]
    assert list(dict.fromkeys(happened)) == expected, (
        f"{sdk}: {type(response).__module__} does not read and close `Response.stream`. Bodies that are forwarded as"
        " bytes are not read, and streams that are closed by their response end as `abandoned`."
    )


# Raw responses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_raw_response_tells_whether_its_body_is_read(sdk: SDK, serve: Serve, streamed: bool) -> None:
    completions = sdk.client(serve(*STEPS) if streamed else serve(WHOLE)).chat.completions
    raw = await sdk.result(completions.with_raw_response.create(**REQUEST, stream=streamed))
    assert has_whole_body(raw) is not streamed, (
        f"{sdk}: `http_response.is_stream_consumed` does not say whether the body was read. Raw responses are judged"
        " without it, or read before the caller wants them."
    )
    if streamed:
        parsed = raw.parse()
        stream = await parsed if isawaitable(parsed) else parsed
        await sdk.result(stream.close())


class Task(BaseModel):
    title: str


async def test_a_response_is_prepared_before_it_is_parsed(serve: Serve) -> None:
    client = openai.OpenAI(api_key="unused", base_url=serve(WHOLE).base_url)
    seen: list[Any] = []

    def prepare(response: Any) -> None:
        seen.append(response.choices[0].message.content)
        response.choices[0].message.content = '{"title": "other"}'

    resource = helpers(client)
    parsed = before_parsing(resource.parse, prepare)(model="tiny", messages=MESSAGES, response_format=Task)
    assert (seen, parsed.choices[0].message.parsed) == (['{"title": 5}'], Task(title="other")), (
        "`parse()` does not send its request by `_post` with an option `post_parser`: with tool_call_tags, calls in the"
        " text are parsed as text"
    )
    assert "_post" not in vars(type(resource))
    create = client.chat.completions.create
    assert before_parsing(create, prepare) == create
    client.close()


async def test_the_content_of_a_response_is_replaced(sdk: SDK, serve: Serve) -> None:
    completions = sdk.client(serve(WHOLE)).chat.completions
    raw = await sdk.result(completions.with_raw_response.create(**REQUEST))
    content = raw.http_response.content.replace(b"title", b"other title")
    assert "other" not in raw.http_response.text
    replace_content(raw.http_response, content)
    parsed = raw.parse()
    response = await parsed if isawaitable(parsed) else parsed
    assert "other" in response.choices[0].message.content, (
        f"{sdk}: an httpx response does not keep its body in `_content`: with tool_call_tags, raw responses are not"
        " rewritten"
    )
    assert "other" in raw.http_response.text
    assert int(raw.headers["content-length"]) == len(content)


async def test_the_length_of_a_body_is_forgotten(sdk: SDK, serve: Serve) -> None:
    completions = sdk.client(serve(WHOLE)).chat.completions
    async with _entered(sdk, completions.with_streaming_response.create(**REQUEST)) as raw:
        assert "content-length" in raw.headers
        forget_length(raw.http_response)
        assert "content-length" not in raw.headers, (
            f"{sdk}: the headers of a response cannot be changed: with tool_call_tags, gateways forward a wrong length"
        )


async def test_a_stream_knows_the_class_of_its_chunks(sdk: SDK, serve: Serve) -> None:
    stream = await stream_of(sdk, serve(*STEPS))
    assert class_of_chunks(stream) is not type(None), (
        f"{sdk}: a stream does not say in `_cast_to` what its chunks are: with tool_call_tags, the events of the"
        " Responses API are not rewritten"
    )
    assert class_of_chunks(object()) is type(None)
    await sdk.result(stream.close())


@asynccontextmanager
async def _entered(sdk: SDK, manager: Any) -> AsyncIterator[Any]:
    if sdk.asynchronous:
        async with manager as entered:
            yield entered
    else:
        with manager as entered:
            yield entered


# Responses that the SDK refused ------------------------------------------------------------------------------------


def test_a_refused_completion_is_in_a_frame_of_the_sdk(serve: Serve) -> None:
    client = openai.OpenAI(api_key="unused", base_url=serve(WHOLE).base_url)
    with pytest.raises(ValueError, match="title") as raised:
        helpers(client).parse(model="tiny", messages=MESSAGES, response_format=Task)
    assert [held.id for held in responses_held_by(raised.value)][:1] == ["chatcmpl-scripted"], (
        "no function of the SDK that refuses a completion holds it in a variable: spans of refused completions lose the"
        " response's id, its usage and its anomalies"
    )
    client.close()


@needs_responses
def test_a_refused_response_is_in_a_frame_of_the_sdk(serve: Serve) -> None:
    client = openai.OpenAI(api_key="unused", base_url=serve(Answer(response(message('{"title": 5}')))).base_url)
    if not hasattr(client.responses, "parse"):
        pytest.skip("this SDK has no parse() of responses")
    with pytest.raises(ValueError, match="title") as raised:
        client.responses.parse(model="tiny", input="add a task", text_format=Task)
    assert [held.object for held in responses_held_by(raised.value)][:1] == ["response"], (
        "no function of the SDK that refuses a response holds it in a variable: spans of refused responses lose the"
        " response's id, its usage and its anomalies"
    )
    client.close()


def test_a_completion_cut_short_is_in_a_frame_or_in_the_error(serve: Serve) -> None:
    cut = completion({"content": '{"tit'}, "length")
    client = openai.OpenAI(api_key="unused", base_url=serve(Answer(cut)).base_url)
    with pytest.raises(openai.LengthFinishReasonError) as raised:
        helpers(client).parse(model="tiny", messages=MESSAGES, response_format=Task)
    held = [*responses_held_by(raised.value), getattr(raised.value, "completion", None)][0]
    assert held is not None, "a completion cut short is nowhere to be found: its span loses the anomaly `truncated`"
    assert held.id == "chatcmpl-scripted"
    client.close()


# WebSockets --------------------------------------------------------------------------------------------------------


@needs_response_sockets
def test_each_socket_is_opened_by_a_method_of_the_manager() -> None:
    client = openai.OpenAI(api_key="unused")
    manager: Any = client.responses.connect()
    assert "_connect_ws" in inspect.getsource(type(manager).__enter__), (
        "a manager of `responses.connect()` opens its sockets elsewhere: responses over a WebSocket have no spans"
    )
    opened: list[Any] = []
    manager._connect_ws = lambda *_args: "a socket"
    # The last one observes: a client may be intercepted while its SDK is instrumented.
    observe_sockets(manager, lambda _socket: pytest.fail("two observe one socket"))
    observe_sockets(manager, opened.append)
    manager._connect_ws({}, {})
    assert opened == ["a socket"]
    client.close()


@needs_response_sockets
def test_what_is_known_of_sockets() -> None:
    from websockets.asyncio.client import ClientConnection
    from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidURI
    from websockets.sync.client import ClientConnection as SyncConnection

    kinds = [is_asynchronous_socket(kind.__new__(kind)) for kind in (ClientConnection, SyncConnection)]
    assert kinds == [True, False], "sockets for asyncio are not told apart: responses over a WebSocket have no spans"
    closed = [says_that_socket_closed(kind(None, None)) for kind in (ConnectionClosedError, ConnectionClosedOK)]
    assert closed == [True, True], "the exceptions of a closed socket are unknown: spans stay open when it breaks"
    assert not says_that_socket_closed(InvalidURI("x", "y"))
