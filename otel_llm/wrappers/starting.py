"""Starts the observation of a request: reads its arguments, and starts its span. Each step that fails is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter_ns
from typing import Any

from otel_llm.config import Config
from otel_llm.observation import Observation, Span
from otel_llm.protocol.dialects import arguments_of
from otel_llm.protocol.fetched_response import read_fetch
from otel_llm.protocol.request import Api, ChatRequest, read_request
from otel_llm.telemetry.fetch_span import start_fetch_span
from otel_llm.telemetry.handler import Telemetry
from otel_llm.telemetry.log_lines import are_wanted, log_request
from otel_llm.telemetry.provider import Server, known_provider
from otel_llm.telemetry.request_span import start_request_span
from otel_llm.transparency.faults import attempt, swallow


def start_observation(
    telemetry: Telemetry,
    config: Config,
    api: Api,
    kwargs: Mapping[str, Any],
    find_server: Callable[[], Server],
    start_span: Callable[[ChatRequest, Mapping[str, Any], Server], Span],
    *,
    fetches: bool = False,
    make: type[Observation] = Observation,
) -> Observation:
    """The observation of a request with these keyword arguments. Its span is current until `Observation.release`.

    `start_span`: starts the span. `fetches`: the request asks for a response that was made before.
    """
    # Each step has its own `try`: calling `attempt` costs as much as some of them.
    request = span = None
    try:
        kwargs = arguments_of(api, kwargs)
        request = read_fetch(kwargs) if fetches else read_request(kwargs, api)
    except Exception as fault:  # noqa: BLE001
        swallow("the request's arguments", fault)
    if request is not None and request.conversation.previous is not None:
        request = attempt("the calls before", _continued, request, telemetry) or request
    described = request or ChatRequest(stream=bool(kwargs.get("stream")), api=api)
    logs = attempt("log lines", are_wanted, telemetry.config) or False
    if logs and not fetches:
        attempt("log lines", log_request, described)
    try:
        server = find_server()
    except Exception as fault:  # noqa: BLE001
        swallow("the server's address", fault)
        server = Server("openai")
    started_ns = perf_counter_ns()
    try:
        span = start_span(described, kwargs, server)
    except Exception as fault:  # noqa: BLE001
        swallow("the start of a span", fault)
    try:
        observation = make(
            config,
            request,
            span,
            logs=logs,
            provider=known_provider(server),
            server=(server.address, server.port),
            started_ns=started_ns,
        )
    except Exception:
        if span is not None:
            span.release()
        raise
    observation.recording.streamed = described.stream
    return observation


def start_span(
    telemetry: Telemetry, request: ChatRequest, kwargs: Mapping[str, Any], server: Server, within_another: bool
) -> Span:
    """Start the span of a request. `within_another`: as in `start_request_span`."""
    if request.fetch is not None:
        return start_fetch_span(telemetry, request, request.fetch, server, within_another)
    return start_request_span(telemetry, request, kwargs, server, within_another)


def _continued(request: ChatRequest, telemetry: Telemetry) -> ChatRequest:
    """The request, with what is known of the part of its conversation that the server has."""
    turn, known = request.turn, telemetry.recent_calls
    if turn is not None and turn.previous_response is not None:
        request = known.with_earlier_tools(request)
        request = request._replace(turn=known.complete_turn(turn))
    return request._replace(conversation=telemetry.past_turns.complete(request.conversation))
