"""The pytest plugin, used as its users use it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace

import otel_llm
from otel_llm import OpenAIInstrumentor, intercept_llm_requests
from otel_llm.demo.scripted_responses import RESPONSE_ID, function_call, response_events
from otel_llm.demo.scripted_server import DONE, Answer, ScriptedServer, chunk, completion, text, tool_call_chunks
from otel_llm.testing import Streams, ToolCall, watch_streams
from tests.helpers.callers import REQUEST, AsyncCaller, SyncCaller
from tests.helpers.sdk_versions import needs_responses
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]

STEPS = [
    chunk({"reasoning_content": "hm"}),
    chunk(text("Sure.")),
    *tool_call_chunks("add_task", '{"title": "a"}'),
    *tool_call_chunks("list_tasks", '{"limit', id="call_2", index=1),
    chunk(finish_reason="tool_calls"),
    DONE,
]


async def test_streams(llm_streams: Streams, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*STEPS))
    await caller.read(await caller.stream())
    (stream,) = llm_streams
    assert stream.tool_calls == [
        ToolCall("add_task", '{"title": "a"}', "call_1"),
        ToolCall("list_tasks", '{"limit', "call_2", 1),
    ]
    assert stream.tool_calls[0].parsed == {"title": "a"}
    with pytest.raises(ValueError, match="Unterminated"):
        _ = stream.tool_calls[1].parsed
    assert sorted(stream.anomalies) == ["invalid_json", "unknown_tool"]
    assert stream.anomaly_details[0].startswith(stream.anomalies[0])
    assert (stream.model, stream.outcome, stream.finish_reason) == ("tiny", "completed", "tool_calls")
    assert (stream.text, stream.reasoning, stream.streamed) == ("Sure.", "hm", True)
    assert stream.chunk_count == len(STEPS) - 1
    assert llm_streams.tool_calls == stream.tool_calls
    assert llm_streams.anomalies == stream.anomalies
    assert "add_task" in repr(llm_streams)


def test_a_process_that_imported_the_package_before(pytester: pytest.Pytester) -> None:
    """As `opentelemetry-instrument pytest` does. A project may turn warnings into errors."""
    # The metadata of an installed wheel; the tests' own environment has no list of the package's files.
    installed = pytester.mkdir("otel_llm_again-1.dist-info")
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: otel-llm-again\nVersion: 1\n")
    (installed / "RECORD").write_text("otel_llm/__init__.py,,\notel_llm/testing.py,,\n")
    (installed / "entry_points.txt").write_text("[pytest11]\nother = other_plugin\n")
    pytester.makepyfile(other_plugin="", test_it="def test_it():\n    pass\n")
    options = ["-W", "error::pytest.PytestAssertRewriteWarning"]
    program = f"import otel_llm, pytest; raise SystemExit(pytest.main({options}))"
    pytester.run(sys.executable, "-c", program).assert_outcomes(passed=1)


async def test_a_stream_that_is_still_open(llm_streams: Streams, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*STEPS))
    stream = await caller.stream()
    await caller.read(stream, 5)
    assert llm_streams[0].outcome is None
    assert llm_streams[0].tool_calls[0].arguments == '{"title"'
    assert llm_streams[0].anomalies == []
    await caller.close(stream)
    assert llm_streams[0].outcome == "closed"


@needs_responses
async def test_other_requests(llm_streams: Streams, serve: Serve, connect: Connect) -> None:
    whole = completion(text("Hi"))
    server = serve([Answer(whole)], response_events(function_call("add_task", "{}")))
    caller = connect(server)
    await caller.create()
    await caller.read(await caller.respond(stream=True))
    assert [stream.streamed for stream in llm_streams] == [False, True]
    assert llm_streams[0].text == "Hi"
    assert [call.name for call in llm_streams[1:][0].tool_calls] == ["add_task"]


async def test_beside_an_instrumentor(instrumented: Seen, llm_streams: Streams, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*STEPS))
    await caller.read(await caller.stream())
    assert len(instrumented.spans) == len(llm_streams) == 1


# An application that is instrumented, before or during the test, behaves under the fixture as it does without it.


def methods() -> list[Any]:
    from openai.resources.chat.completions import AsyncCompletions, Completions

    return [owner.__dict__.get(name) for owner in (Completions, AsyncCompletions) for name in ("create", "parse")]


async def test_an_application_that_instruments_itself_meanwhile(
    instrument: Callable[..., Seen], llm_streams: Streams, serve: Serve, connect: Connect
) -> None:
    caller = connect(serve(*STEPS))
    seen = instrument()
    await caller.read(await caller.stream())
    assert (len(seen.spans), len(llm_streams)) == (1, 1)
    OpenAIInstrumentor().uninstrument()
    await caller.read(await caller.stream())
    assert (len(seen.spans), len(llm_streams)) == (1, 2)
    again = instrument()
    await caller.read(await caller.stream())
    assert (len(seen.spans), len(again.spans), len(llm_streams)) == (1, 1, 3)
    assert [len(stream.tool_calls) for stream in llm_streams] == [2, 2, 2]
    assert seen.outcome == again.outcome == "completed"


async def test_an_application_that_was_instrumented_before(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    bare = methods()
    caller = connect(serve(*STEPS))
    seen = instrument()
    with watch_streams() as streams:
        await caller.read(await caller.stream())
        assert (len(seen.spans), len(streams)) == (1, 1)
        OpenAIInstrumentor().uninstrument()
        await caller.read(await caller.stream())
        assert (len(seen.spans), len(streams)) == (1, 2)
    assert methods() == bare
    again = instrument()
    await caller.read(await caller.stream())
    assert (len(seen.spans), len(again.spans), len(streams)) == (1, 1, 2)
    OpenAIInstrumentor().uninstrument()
    assert methods() == bare


async def test_an_instrumentation_that_outlasts_the_fixture(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    bare = methods()
    caller = connect(serve(*STEPS))
    with watch_streams():
        seen = instrument()
    await caller.read(await caller.stream())
    with watch_streams() as streams:
        await caller.read(await caller.stream())
        assert (len(seen.spans), len(streams)) == (2, 1)
    OpenAIInstrumentor().uninstrument()
    with watch_streams() as streams:
        await caller.read(await caller.stream())
    assert (len(seen.spans), len(streams)) == (2, 1)
    assert methods() == bare


async def test_one_client_of_the_application(seen: Seen, llm_streams: Streams, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*STEPS))
    intercept_llm_requests(caller.client, **seen.providers)
    await caller.read(await caller.stream())
    assert (len(seen.spans), len(llm_streams)) == (1, 1)


async def test_nothing_is_sent_logged_or_rewritten(
    seen: Seen,
    serve: Serve,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("OTEL_LLM_TOOL_CALL_TAGS", "openai")
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: seen.tracer_provider)
    caplog.set_level("INFO", "otel_llm")
    said = '<tool_call>{"name": "add_task", "arguments": {"title": "a"}}</tool_call>'
    current: list[Any] = []
    caller = connect(serve(chunk(text(said)), chunk(finish_reason="stop"), DONE))
    tracer = seen.tracer_provider.get_tracer("application")
    with watch_streams() as streams, tracer.start_as_current_span("mine") as mine:
        create = caller.client._prepare_options

        def prepare(options: Any) -> Any:
            current.append(trace.get_current_span())
            return create(options)

        monkeypatch.setattr(caller.client, "_prepare_options", prepare)
        chunks = await caller.read(await caller.stream())
    assert "".join(entry.choices[0].delta.content or "" for entry in chunks) == said
    assert streams[0].anomalies == ["text_leak"]
    assert current == [mine]
    assert [span.name for span in seen.spans] == ["mine"]
    assert caplog.records == []


async def test_nested_watching(serve: Serve, connect: Connect) -> None:
    bare = methods()
    caller = connect(serve(*STEPS))
    with watch_streams() as outer:
        with watch_streams() as inner:
            await caller.read(await caller.stream())
        await caller.read(await caller.stream())
    assert (len(outer), len(inner)) == (2, 1)
    assert methods() == bare


async def test_a_client_that_outlives_the_fixture(serve: Serve, connect: Connect) -> None:
    """The SDK's raw responses keep references to the methods that existed when they were made."""
    caller = connect(serve(Answer(completion(text("Hi")))))
    for _ in range(2):
        with watch_streams() as streams:
            await caller.result(caller.client.chat.completions.with_raw_response.create(**REQUEST))
        assert [stream.text for stream in streams] == ["Hi"]


@needs_responses
async def test_a_response_that_continues_another(llm_streams: Streams, serve: Serve, connect: Connect) -> None:
    events = response_events(function_call("add_task", "{}"))
    caller = connect(serve(events, events))
    await caller.read(await caller.respond(stream=True, tools=[]))
    await caller.read(await caller.respond(stream=True, tools=[], previous_response_id=RESPONSE_ID))
    assert "unanswered_call" not in llm_streams[0].anomalies
    assert "unanswered_call" in llm_streams[1].anomalies


PLUGIN_USER = """
import openai
import pytest

def ask(url):
    client = openai.OpenAI(api_key="x", base_url=url)
    with client.chat.completions.create(model="m", messages=[], stream=True) as stream:
        for _ in stream:
            pass

def test_agent(llm_streams):
    ask({url!r})
    assert llm_streams[0].tool_calls[0].name == "add_task"
    assert llm_streams[0].anomalies == []

def test_agent_again(llm_streams):
    assert len(llm_streams) == 0
"""


def test_pytest_finds_the_plugin(pytester: pytest.Pytester, serve: Serve) -> None:
    server = serve(*tool_call_chunks("add_task", '{"title": "a"}'), chunk(finish_reason="tool_calls"), DONE)
    pytester.makepyfile(PLUGIN_USER.format(url=server.base_url))
    result: Any = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*add_task({*unknown_tool*"])


def test_the_plugin_loads_nothing_else() -> None:
    """pytest loads it in every project of an environment, including those that have nothing to do with models."""
    program = "import otel_llm.testing, sys; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout == "[]\n"


def test_the_public_face() -> None:
    assert set(otel_llm.__all__) <= set(dir(otel_llm))
    assert all(getattr(otel_llm, name) is not None for name in otel_llm.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Anything'"):
        _ = otel_llm.Anything


@pytest.mark.parametrize("caller_class", [SyncCaller, AsyncCaller])
async def test_nothing_is_left_behind(caller_class: type[SyncCaller]) -> None:
    assert not OpenAIInstrumentor().is_instrumented_by_opentelemetry
