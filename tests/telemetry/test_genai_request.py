"""The request and what served it, as attributes of the span and of the metrics of the conventions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from otel_llm.demo.scripted_responses import message, response, response_events
from otel_llm.demo.scripted_server import DONE, Answer, ScriptedServer, chunk, completion, text, usage_chunk
from tests.helpers.callers import SyncCaller
from tests.helpers.sdk_versions import needs_responses
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]

HELLO = [chunk(text("Hello."))]
STOP = chunk(finish_reason="stop")


async def test_extra_body_replaces_arguments_as_on_the_wire(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    extra = {
        "temperature": 0.1,
        "max_completion_tokens": 9,
        "seed": 3,
        "service_tier": "flex",
        "reasoning_effort": "high",
        "top_k": 40,
        "top_p": None,
    }
    server = serve(*HELLO, STOP, DONE)
    caller = connect(server)
    await caller.read(await caller.stream(temperature=1.0, top_p=0.5, max_tokens=100, seed=1, extra_body=extra))
    assert extra.items() <= server.requests[-1].body.items()
    attributes = instrumented.attributes
    assert "gen_ai.request.top_p" not in attributes
    expected = {
        "gen_ai.request.temperature": 0.1,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.seed": 3,
        "gen_ai.request.top_k": 40,
        "gen_ai.request.reasoning.level": "high",
        "openai.request.service_tier": "flex",
    }
    assert {name: attributes.get(name) for name in expected} == expected


async def test_an_automatic_tier_in_extra_body(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*HELLO, STOP, DONE))
    await caller.read(await caller.stream(service_tier="flex", extra_body={"service_tier": "auto"}))
    assert "openai.request.service_tier" not in instrumented.attributes


def tiers(*values: Any) -> list[Any]:
    """A stream whose chunks have these service tiers, one after the other."""
    chunks = [chunk(text("a")) for _ in values[:-2]] + [STOP, usage_chunk(1, 2)]
    return [one | ({} if tier is None else {"service_tier": tier}) for one, tier in zip(chunks, values, strict=True)]


@pytest.mark.parametrize(
    ("values", "tier"),
    [
        (["auto", "default", "default", "default"], "default"),
        (["auto", "auto", "auto", "default"], "default"),
        (["auto", "auto", "default", None], "default"),
        (["auto", "default", None, None], "default"),
        (["default", "default", "priority", None], "priority"),
        (["default", None, None, None], "default"),
        ([*["auto"] * 20, "flex", "flex"], "flex"),
    ],
)
async def test_the_last_service_tier_counts(
    instrumented: Seen, serve: Serve, connect: Connect, values: list[Any], tier: str
) -> None:
    caller = connect(serve(*tiers(*values), DONE))
    await caller.read(await caller.stream())
    assert instrumented.attributes["openai.response.service_tier"] == tier


async def test_the_tier_of_a_stream_that_was_closed_early(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*tiers("auto", "default", "default", "default"), DONE))
    stream = await caller.stream()
    await caller.read(stream, 2)
    await caller.close(stream)
    assert instrumented.attributes["openai.response.service_tier"] == "default"


@needs_responses
async def test_the_last_service_tier_of_a_response(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    events = response_events(message("Hello."), service_tier="default")
    for event in events[:2]:
        event["response"]["service_tier"] = "auto"
    caller = connect(serve(*events))
    await caller.read(await caller.respond(stream=True))
    assert instrumented.attributes["openai.response.service_tier"] == "default"


SERVED = {"service_tier": "default", "system_fingerprint": "fp_1"}
LABELS = {"openai.response.service_tier": "default", "openai.response.system_fingerprint": "fp_1"}


@pytest.mark.parametrize("streamed", [True, False])
async def test_metrics_say_what_served(instrumented: Seen, serve: Serve, connect: Connect, streamed: bool) -> None:
    steps = [one | SERVED for one in (*HELLO, STOP, usage_chunk(1, 2))]
    caller = connect(serve(*steps, DONE) if streamed else serve(Answer(completion(text("Hello.")) | SERVED)))
    result = await caller.create(stream=streamed)
    if streamed:
        await caller.read(result)
    for metric in ("gen_ai.client.operation.duration", "gen_ai.client.token.usage"):
        points = instrumented.metric(metric)
        assert points
        assert all(LABELS.items() <= labels.items() for labels, _ in points)
    assert all(LABELS.keys().isdisjoint(labels) for labels, _ in instrumented.metric("otel_llm.stream.count"))


@needs_responses
async def test_the_duration_of_a_response(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    await connect(serve(Answer(response(message("Hello."), service_tier="flex")))).respond()
    ((labels, _),) = instrumented.metric("gen_ai.client.operation.duration")
    assert labels["openai.response.service_tier"] == "flex"
    assert "openai.response.system_fingerprint" not in labels
