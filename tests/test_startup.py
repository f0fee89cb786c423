"""What `instrument()` imports, and wrapping at import. Each test runs a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import openai
import pytest

from otel_llm.demo.scripted_responses import function_call, response_events
from otel_llm.demo.scripted_server import DONE, ScriptedServer, chunk, tool_call_chunks
from tests.helpers.sdk_versions import needs_responses

CHAT = [*tool_call_chunks("add_task", '{"title": "a"}'), chunk(finish_reason="tool_calls"), DONE]


def answer(body: dict[str, Any]) -> list[Any]:
    return CHAT if "messages" in body else response_events(function_call("add_task", '{"title": "a"}'))


BEGINNING = """
import json, logging, sys, threading
from importlib import import_module
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_llm import CerebrasInstrumentor, GroqInstrumentor, OpenAIInstrumentor

logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
both = threading.Barrier(2, timeout=30)

def loaded(*names):
    return [name for name in names if name in sys.modules]

def instrument():
    OpenAIInstrumentor().instrument(tracer_provider=provider)

def client(package="openai", name="OpenAI"):
    return getattr(import_module(package), name)(api_key="unused", base_url=sys.argv[1], max_retries=0)

def chat(client):
    for _ in client.chat.completions.create(model="m", messages=[], stream=True):
        pass

def respond(client):
    for _ in client.responses.create(model="m", input="a", stream=True):
        pass

def at_once(client, *requests):
    def run(request):
        both.wait()
        request(client)
    threads = [threading.Thread(target=run, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

def end(**report):
    events = [event.name for span in exporter.get_finished_spans() for event in span.events]
    calls = sum(name == "otel_llm.tool_call.completed" for name in events)
    print(json.dumps({**report, "spans": len(exporter.get_finished_spans()), "calls": calls}))
"""


def run(program: str) -> dict[str, Any]:
    """What a program reports with `end`, and its log."""
    with ScriptedServer(answer) as server:
        command = [sys.executable, "-W", "ignore", "-c", BEGINNING + program, server.base_url]
        process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert process.returncode == 0, process.stderr
    report: dict[str, Any] = json.loads(process.stdout)
    return {**report, "logged": process.stderr.splitlines()}


def test_instrument_imports_no_sdk() -> None:
    report = run("""
for instrumentor in (OpenAIInstrumentor, GroqInstrumentor, CerebrasInstrumentor):
    instrumentor().instrument(tracer_provider=provider)
before = loaded("openai", "groq", "cerebras")
for package, name in (("openai", "OpenAI"), ("groq", "Groq"), ("cerebras.cloud.sdk", "Cerebras")):
    chat(client(package, name))
end(before=before)
""")
    assert report == {"before": [], "spans": 3, "calls": 3, "logged": []}


@needs_responses
def test_first_requests_from_two_threads_at_once() -> None:
    report = run("""
instrument()
import openai
before = loaded("openai.resources.responses.responses") if openai.__version__ >= "3" else []
ours = client()
at_once(ours, respond, respond)
at_once(ours, chat, chat)
at_once(client(), respond, chat)
end(before=before)
""")
    assert report == {"before": [], "spans": 6, "calls": 6, "logged": []}


def test_uninstrumented_before_the_sdk_is_imported() -> None:
    report = run("""
for _ in range(3):
    instrument()
    OpenAIInstrumentor().uninstrument()
ours = client()
chat(ours)
from openai.resources.chat.completions import Completions
found = vars(Completions)["create"]
spans = len(exporter.get_finished_spans())
instrument()
chat(ours)
wrapped = vars(Completions)["create"] is not found
OpenAIInstrumentor().uninstrument()
end(untouched=type(found).__name__, before=spans, wrapped=wrapped, left=vars(Completions)["create"] is found)
""")
    untouched = {"untouched": "function", "before": 0, "wrapped": True, "left": True}
    assert report == {**untouched, "spans": 1, "calls": 1, "logged": []}


def test_instrumented_again_before_the_sdk_is_imported() -> None:
    report = run("""
for _ in range(3):
    instrument()
    OpenAIInstrumentor().uninstrument()
instrument()
chat(client())
from openai.resources.chat.completions import Completions
once = type(vars(Completions)["create"].__wrapped__).__name__
OpenAIInstrumentor().uninstrument()
end(once=once, left=type(vars(Completions)["create"]).__name__)
""")
    assert report == {"once": "function", "left": "function", "spans": 1, "calls": 1, "logged": []}


@pytest.mark.swallows("an import")
def test_a_fault_while_wrapping_does_not_break_the_import() -> None:
    report = run("""
from otel_llm.wrappers.method import MethodWrapper
def fail(*_):
    raise RuntimeError("ours")
MethodWrapper.wrapper_for = fail
instrument()
chat(client())
end()
""")
    assert report["spans"] == 0
    assert report["logged"][0].startswith("otel-llm failed in an import and went on without it")


@pytest.mark.skipif(openai.__version__ < "3", reason="this SDK imports the class with the package")
def test_another_thread_is_importing_the_class() -> None:
    """The module exists and has no class yet, and no hook will be called."""
    report = run("""
import openai
begun, go_on = threading.Event(), threading.Event()

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "openai.resources.chat.completions.messages":
            begun.set()
            go_on.wait(30)

for name in [name for name in sys.modules if name.startswith("openai.resources")]:
    del sys.modules[name]
sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=lambda: __import__("openai.resources.chat.completions.completions"))
thread.start()
begun.wait(30)
threading.Timer(0.2, go_on.set).start()
half = "Completions" not in vars(sys.modules["openai.resources.chat.completions.completions"])
instrument()
thread.join()
from openai.resources.chat.completions import Completions
end(half=half, wrapped=type(vars(Completions)["create"]).__name__)
""")
    assert (report["half"], report["wrapped"], report["logged"]) == (True, "FunctionWrapper", [])


@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_one_warning_beside_another_instrumentation(first: str) -> None:
    steps = ["theirs.instrument(tracer_provider=provider)", "instrument()"]
    report = run(f"""
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor as Theirs
theirs = Theirs()
{chr(10).join(steps if first == "theirs" else reversed(steps))}
ours = client()
chat(ours)
chat(ours)
end()
""")
    (warning,) = report["logged"]
    assert warning.startswith("opentelemetry.instrumentation.genai.openai also instruments")
    assert report["spans"] == 2


@pytest.mark.parametrize(
    ("own", "no_more"), [("pass", "pass"), ("instrument()", "OpenAIInstrumentor().uninstrument()")]
)
def test_the_fixture_in_a_test_that_imports_the_sdk_first(own: str, no_more: str) -> None:
    report = run(f"""
from otel_llm.testing import watch_streams
with watch_streams():
    pass
with watch_streams() as streams:
    before = loaded("openai")
    {own}
    chat(client())
calls = [call.name for call in streams.tool_calls]
{no_more}
from openai.resources.chat.completions import Completions
end(before=before, streams=len(streams), named=calls, left=type(vars(Completions)["create"]).__name__)
""")
    watched = {"before": [], "streams": 1, "named": ["add_task"], "left": "function"}
    spans = int(own == "instrument()")
    assert report == {**watched, "spans": spans, "calls": spans, "logged": []}
