"""Many concurrent streams: asyncio, threads, trio, gevent, forked workers. Each span has its own calls and parent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan

from otel_llm.demo.scripted_server import DONE, ScriptedServer, Sleep, chunk, tool_call_chunks
from tests.helpers.callers import ADD_TASK, AsyncCaller, SyncCaller
from tests.helpers.seen import Seen

STREAMS = 500


def call_of_requester(body: dict[str, Any]) -> list[Any]:
    """A call whose arguments name its requester."""
    requester = body["messages"][0]["content"]
    arguments = json.dumps({"title": requester})
    return [*tool_call_chunks("add_task", arguments, id=f"call_{requester}"), chunk(finish_reason="tool_calls"), DONE]


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(call_of_requester) as server:
        yield server


def request_of(requester: Any) -> dict[str, Any]:
    return {
        "model": "tiny",
        "messages": [{"role": "user", "content": str(requester)}],
        "tools": [ADD_TASK],
        "stream": True,
    }


def assert_each_has_its_own(spans: list[ReadableSpan], count: int) -> None:
    """There are `count` turns, each with its own request inside."""
    turns = {span.context.span_id: span.name for span in spans if span.context and span.name.startswith("turn")}
    requests = [span for span in spans if span.name == "chat tiny"]
    assert len(turns) == len(requests) == count
    for span in requests:
        assert span.parent is not None
        (completed,) = (event for event in span.events if event.name == "otel_llm.tool_call.completed")
        title = json.loads(str((completed.attributes or {})["gen_ai.tool.call.arguments"]))["title"]
        assert turns[span.parent.span_id] == f"turn {title}"
        assert (span.attributes or {})["otel_llm.stream.outcome"] == "completed"
        assert (span.attributes or {})["otel_llm.stream.anomaly_count"] == 0


async def test_asyncio(instrumented: Seen, server: ScriptedServer) -> None:
    caller = AsyncCaller(server.base_url, timeout=120, max_retries=2)
    tracer = instrumented.tracer_provider.get_tracer("agents")

    async def turn(number: int) -> None:
        with tracer.start_as_current_span(f"turn {number}") as span:
            stream = await caller.client.chat.completions.create(**request_of(number))
            async for _ in stream:
                # Between two chunks, the caller's own span is current.
                assert trace.get_current_span() is span

    await asyncio.gather(*map(turn, range(STREAMS)))
    await caller.close_client()
    assert_each_has_its_own(instrumented.spans, STREAMS)


def test_threads(instrumented: Seen, server: ScriptedServer) -> None:
    caller = SyncCaller(server.base_url, timeout=120)
    tracer = instrumented.tracer_provider.get_tracer("agents")
    failures: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            for number in range(10):
                with tracer.start_as_current_span(f"turn {worker}-{number}") as span:
                    for _ in caller.client.chat.completions.create(**request_of(f"{worker}-{number}")):
                        assert trace.get_current_span() is span
        except BaseException as failure:
            failures.append(failure)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    caller.client.close()
    assert failures == []
    assert_each_has_its_own(instrumented.spans, 200)


# The OpenAI SDK leaves generators of httpx2 to the garbage collector, and trio warns.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_trio(instrumented: Seen, server: ScriptedServer) -> None:
    import trio

    tracer = instrumented.tracer_provider.get_tracer("agents")

    async def main() -> None:
        async with (
            openai.AsyncOpenAI(api_key="unused", base_url=server.base_url) as client,
            trio.open_nursery() as all_of,
        ):

            async def turn(number: int) -> None:
                with tracer.start_as_current_span(f"turn {number}"):
                    async for _ in await client.chat.completions.create(**request_of(number)):
                        pass

            for number in range(20):
                all_of.start_soon(turn, number)

    trio.run(main)
    assert_each_has_its_own(instrumented.spans, 20)


# As above.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_stream_that_trio_cancels(instrumented: Seen, serve: Callable[..., ScriptedServer]) -> None:
    import trio

    server = serve(*tool_call_chunks("add_task", "{}")[:1], Sleep(5))

    async def main() -> None:
        async with openai.AsyncOpenAI(api_key="unused", base_url=server.base_url) as client:
            stream = await client.chat.completions.create(**request_of(1))
            with trio.CancelScope() as scope:
                async for _ in stream:
                    scope.cancel()
            await stream.close()

    trio.run(main)
    assert instrumented.outcome == "cancelled"
    assert instrumented.anomalies == []


# In separate processes ---------------------------------------------------------------------------------------

BEGINNING = """
import json, os, sys
{first}
import openai
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from otel_llm import OpenAIInstrumentor

class Printed(SpanExporter):
    def export(self, spans):
        for span in spans:
            calls = [e.attributes["gen_ai.tool.call.arguments"] for e in span.events if e.name.endswith("completed")]
            parent = span.parent and span.parent.span_id
            spans = [os.getpid(), span.name, span.context.span_id, parent, calls]
            os.write(1, (json.dumps(spans) + "\\n").encode())
        return SpanExportResult.SUCCESS

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(Printed()))
OpenAIInstrumentor().instrument(tracer_provider=provider)
tracer = provider.get_tracer("agents")

def turn(client, requester):
    messages = [{{"role": "user", "content": str(requester)}}]
    with tracer.start_as_current_span(f"turn {{requester}}"):
        for _ in client.chat.completions.create(model="tiny", messages=messages, stream=True):
            pass
"""

# In its first request, the OpenAI SDK determines the platform, which starts programs. If many greenlets do so at once,
# the process hangs, without otel-llm too.
GEVENT = (
    BEGINNING.format(first="from gevent import monkey; monkey.patch_all(); import gevent")
    + """
client = openai.OpenAI(api_key="unused", base_url=sys.argv[1])
turn(client, "first")
gevent.joinall([gevent.spawn(turn, client, number) for number in range(20)], raise_error=True)
"""
)

# As gunicorn does with preload_app: everything is imported and instrumented, and a request is made, before the workers
# are forked. Each worker then makes requests. A thread holds the package's locks during the fork.
FORKED = (
    BEGINNING.format(first="import threading")
    + """
from otel_llm.transparency import forks
turn(openai.OpenAI(api_key="unused", base_url=sys.argv[1]), "parent")
held = [owner._lock for owner in forks._owners]
assert held
holder = threading.Thread(target=lambda: [lock.acquire() for lock in held])
holder.start()
holder.join()
workers = []
for number in range(4):
    worker = os.fork()
    if not worker:
        client = openai.OpenAI(api_key="unused", base_url=sys.argv[1])
        for step in range(3):
            turn(client, f"{number}-{step}")
        os._exit(0)
    workers.append(worker)
assert [os.waitpid(worker, 0)[1] for worker in workers] == [0] * 4
for lock in held:
    lock.release()
"""
)


def run(program: str, server: ScriptedServer, folder: Path) -> list[list[Any]]:
    """What the program prints. To files, since its children inherit the output and would keep a pipe open."""
    said, complained = folder / "said", folder / "complained"
    command = [sys.executable, "-W", "ignore", "-c", program, server.base_url]
    with said.open("wb") as output, complained.open("wb") as errors:
        process = subprocess.Popen(command, stdout=output, stderr=errors, start_new_session=True)
        try:
            code = process.wait(timeout=90)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    complaints = complained.read_text(encoding="utf-8")
    assert code == 0, complaints
    assert "otel-llm failed" not in complaints
    return [json.loads(line) for line in said.read_text(encoding="utf-8").splitlines()]


def assert_turns(spans: list[list[Any]], count: int) -> None:
    turns = {span_id: name for _, name, span_id, _, _ in spans if name.startswith("turn")}
    requests = [entry for entry in spans if entry[1] == "chat tiny"]
    assert len(turns) == len(requests) == count
    for _, _, _, parent, calls in requests:
        assert [f"turn {json.loads(call)['title']}" for call in calls] == [turns[parent]]


def test_gevent(server: ScriptedServer, tmp_path: Path) -> None:
    assert_turns(run(GEVENT, server, tmp_path), 21)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_workers(server: ScriptedServer, tmp_path: Path) -> None:
    spans = run(FORKED, server, tmp_path)
    assert_turns(spans, 13)
    assert len({entry[0] for entry in spans}) == 5
