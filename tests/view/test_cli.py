"""`otel-llm view --run`, its options, and `otel-llm show`, as a user runs them."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from otel_llm.demo.scripted_server import DONE, ScriptedServer, Step, chunk, tool_call_chunks
from otel_llm.demo.scripts import HEALTHY_CONVERSATION
from tests.helpers.commands import run_command
from tests.helpers.corpus_streams import CORPUS
from tests.helpers.viewing import OTEL_LLM, call, id_of, lines_of, otlp, span, viewing

FREE = ("--no-open", "--port", "0", "--otlp-http", "0", "--otlp-grpc", "0")
BROKEN: list[Step] = [*tool_call_chunks("add_task", '{"title": "buy mi'), chunk(finish_reason="tool_calls"), DONE]


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [OTEL_LLM, *command],
        # Another instrumentation of the same calls is also installed.
        env=os.environ | {"PYTHONUTF8": "1", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "openai"} | environment,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def test_a_program_is_run_and_its_request_is_stored(tmp_path: Path) -> None:
    db = str(tmp_path / "v.db")
    with ScriptedServer(BROKEN) as server:
        command = [sys.executable, "-m", "otel_llm.demo.broken_stream", server.base_url]
        done = run("view", *FREE, "--db", db, "--run", *command)
    assert done.returncode == 0, done.stderr
    assert "the application saw" in done.stdout
    shown = run("show", "--db", db)
    assert shown.returncode == 0, shown.stderr
    assert "━━ chat scripted-model" in shown.stdout
    assert "invalid_json" in shown.stdout
    (detail,) = lines_of(run_command("show", "--db", db, "--json").stdout)
    assert detail["anomalies"] == ["invalid_json"]
    assert detail["lanes"][0]["arguments_error"]
    one = run_command("show", "--db", db, "--request", detail["id"])
    assert one.stdout == shown.stdout


def test_show_prints_the_same_timeline_as_the_exporter(tmp_path: Path) -> None:
    db = str(tmp_path / "v.db")
    with ScriptedServer(BROKEN) as server:
        command = [sys.executable, "-m", "otel_llm.demo.broken_stream", server.base_url]
        both = {"OTEL_TRACES_EXPORTER": "otel_llm_timeline,otlp", "COLUMNS": "200"}
        # --run sets where traces go; an exporter that the program adds is kept.
        code = (
            "import runpy, sys; from opentelemetry import trace; from opentelemetry.sdk.trace.export import"
            " SimpleSpanProcessor; from otel_llm.terminal import TimelineSpanExporter;"
            " trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(TimelineSpanExporter()));"
            f" sys.argv = {command[2:]!r}; runpy.run_module('otel_llm.demo.broken_stream', run_name='__main__')"
        )
        done = run("view", *FREE, "--db", db, "--run", sys.executable, "-c", code, **both)
    assert done.returncode == 0, done.stderr
    timeline = done.stderr[done.stderr.index("━━") :].strip()
    assert run_command("show", "--db", db, COLUMNS="200").stdout.strip() == timeline


@pytest.mark.parametrize(("code", "status"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_the_exit_status_is_the_programs(tmp_path: Path, code: str, status: int) -> None:
    db = str(tmp_path / "v.db")
    done = run("view", *FREE, "--db", db, "--run", sys.executable, "-c", code)
    assert done.returncode == status, done.stderr


def test_keep_serves_after_the_program(tmp_path: Path) -> None:
    command = [OTEL_LLM, "view", *FREE, "--keep", "--db", str(tmp_path / "v.db")]
    process = subprocess.Popen(
        [*command, "--run", sys.executable, "-c", "raise SystemExit(3)"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    with process:
        for line in process.stderr:
            if "the page stays" in line:
                break
        else:
            pytest.fail("it ended")
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        assert process.wait(30) == 3


def test_the_program_is_terminated_and_its_last_spans_are_stored(tmp_path: Path) -> None:
    code = (
        "import signal, sys, threading; from opentelemetry import trace; ended = threading.Event();"
        " signal.signal(signal.SIGTERM, lambda *_: ended.set()); print('ready', flush=True); ended.wait(60);"
        " trace.get_tracer('t').start_span('last', attributes={'gen_ai.operation.name': 'chat'}).end(); sys.exit(5)"
    )
    db = str(tmp_path / "v.db")
    command = [OTEL_LLM, "view", *FREE, "--db", db, "--run", sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(60) == 5
    assert [one["name"] for one in lines_of(run_command("show", "--db", db, "--json").stdout)] == ["last"]


def test_a_taken_port_that_was_named_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("view", *FREE, "--port", str(port), "--db", str(tmp_path / "v.db"))
        # A named port is not silently replaced.
        assert done.returncode == 2
        assert f"port {port}" in done.stderr
        assert "in use" in done.stderr


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    for name in ("broken.json", "missing.json"):
        done = run("view", *FREE, "--db", str(tmp_path / "v.db"), str(tmp_path / name))
        assert done.returncode == 2
        assert name in done.stderr
        shown = run_command("show", str(tmp_path / name))
        assert shown.returncode == 2
        assert name in shown.stderr
    assert run_command("show", "--db", str(tmp_path / "missing.db")).returncode == 2


RECORDED = [CORPUS / "broken-leak-hermes.jsonl", CORPUS / "healthy-openai-call.jsonl"]


def test_recorded_responses(tmp_path: Path) -> None:
    compressed = tmp_path / "call.jsonl.gz"
    compressed.write_bytes(gzip.compress(RECORDED[1].read_bytes()))
    other = tmp_path / "other"
    other.write_text('{"generation_id": "x"}')
    db = str(tmp_path / "v.db")
    files = [str(RECORDED[0]), str(compressed), str(compressed), str(other)]
    done = run("view", *FREE, "--db", db, *files, "--run", sys.executable, "-c", "pass")
    assert done.returncode == 0, done.stderr
    assert f"{RECORDED[0]}: 1 request\n" in done.stderr
    assert f"{other}: response: a Cohere chat; not read\n" in done.stderr
    first, second = sorted(
        lines_of(run_command("show", "--db", db, "--json").stdout), key=lambda one: str(one["service"])
    )
    assert (first["service"], second["service"]) == ("broken-leak-hermes.jsonl", "call.jsonl.gz")
    assert first["anomalies"] == ["text_leak"]
    assert [lane["name"] for lane in second["lanes"] if lane["kind"] == "tool_call"] == ["add_task"]
    shown = run_command("show", str(RECORDED[0]))
    assert "text_leak" in shown.stdout, shown.stderr


def test_show(tmp_path: Path) -> None:
    db = tmp_path / "v.db"
    made = [span(*call(0, f"tool_{number}", "{}"), started_ms=number) for number in range(4)]
    with viewing(db) as view:
        view.send(*made)
        exported = view.client.get(f"/api/requests/{id_of(made[0])}/export").text
        # Also while it serves.
        last = lines_of(run_command("show", "--db", str(db), "--last", "2", "--json").stdout)
        assert [one["id"] for one in last] == [id_of(made[2]), id_of(made[3])]
    file = tmp_path / "one.json"
    file.write_text(exported, encoding="utf-8")
    assert "tool_0" in run_command("show", str(file)).stdout
    assert run_command("show", "--db", str(db), "--request", "0-0").returncode == 1


@pytest.mark.parametrize(
    ("missing", "command", "extra"),
    [
        ("hypercorn", ["view"], "otel-llm[view]"),
        ("opentelemetry.proto", ["view"], "otel-llm[view]"),
        ("opentelemetry.proto", ["show"], "otel-llm[view]"),
        ("rich", ["show"], "otel-llm[timeline]"),
    ],
)
def test_a_missing_package_is_named(missing: str, command: list[str], extra: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from otel_llm.cli import main; sys.exit(main({command!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert extra in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_damaged_store_is_reported_in_one_line(tmp_path: Path) -> None:
    db = tmp_path / "v.db"
    with viewing(db) as view:
        view.send(*[span() for _ in range(100)])
    body = bytearray(db.read_bytes())
    body[4096:] = b"\xa5" * (len(body) - 4096)
    db.write_bytes(body)
    for command in (["show"], ["show", "--json"], ["view", *FREE]):
        done = run(*command, "--db", str(db))
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert "malformed" in done.stderr


@pytest.mark.parametrize("option", ["--port", "--otlp-http", "--max-size", "--max-age"])
@pytest.mark.parametrize("value", ["inf", "nan", "1e300", "-1", "much", "70000000"])
def test_invalid_numbers(tmp_path: Path, option: str, value: str) -> None:
    done = run_command("view", *FREE, "--db", str(tmp_path / "v.db"), f"{option}={value}")
    assert done.returncode == 2
    assert f"argument {option}: a " in done.stderr


def test_the_largest_bounds(tmp_path: Path) -> None:
    with viewing(tmp_path / "v.db", "--max-size", "10000000", "--max-age", "10000000") as view:
        view.send(span())
        assert len(view.requests()) == 1


def test_json_lines_of_a_collector(tmp_path: Path) -> None:
    file = tmp_path / "traces.jsonl"
    file.write_text("".join(json.dumps(otlp(span(name=f"chat {n}"))) + "\n" for n in range(3)), encoding="utf-8")
    assert [one["name"] for one in lines_of(run_command("show", str(file), "--json").stdout)] == [
        "chat 0",
        "chat 1",
        "chat 2",
    ]
    done = run("view", *FREE, "--db", str(tmp_path / "v.db"), str(file), "--run", sys.executable, "-c", "")
    assert done.returncode == 0
    assert "traces.jsonl: 3 requests" in done.stderr


def test_spans_do_not_go_through_a_proxy(tmp_path: Path) -> None:
    db = str(tmp_path / "v.db")
    code = (
        "from opentelemetry import trace;"
        " trace.get_tracer('t').start_span('sent', attributes={'gen_ai.operation.name': 'chat'}).end()"
    )
    nowhere = {"http_proxy": "http://127.0.0.1:9", "no_proxy": "example.org"}
    done = run("view", *FREE, "--db", db, "--run", sys.executable, "-c", code, **nowhere)
    assert done.returncode == 0, done.stderr
    assert [one["name"] for one in lines_of(run_command("show", "--db", db, "--json").stdout)] == ["sent"]


AGENT = """
import json, sys, openai, otel_llm
from otel_llm.demo.agent import Tasks, stream_turn
from opentelemetry import trace

with openai.OpenAI(base_url=sys.argv[1], api_key="unused") as client:
    with trace.get_tracer("agent").start_as_current_span("agent"):
        messages = [{"role": "user", "content": "go"}]
        messages.append(stream_turn(client, messages))
        for call in messages[-1]["tool_calls"]:
            name = call["function"]["name"]
            with otel_llm.tool_execution(name, call_id=call["id"]):
                result = Tasks().run(name, call["function"]["arguments"])
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        stream_turn(client, messages)
"""


def test_the_turns_of_an_agent_are_linked(tmp_path: Path) -> None:
    db = tmp_path / "v.db"
    with ScriptedServer(HEALTHY_CONVERSATION) as server:
        done = run("view", *FREE, "--db", str(db), "--run", sys.executable, "-c", AGENT, server.base_url)
    assert done.returncode == 0, done.stderr
    with viewing(db) as view:
        second, first = view.requests()
        assert second["caused_by"] == [first["id"]]
        assert first["tools"] == ["add_task", "list_tasks"]
        assert view.detail(first["id"])["leads_to"] == [second["id"]]
        told = view.get(f"/api/traces/{first['trace_id']}")
    # The execution of a tool is in the trace, but is not a request.
    names = [one["name"] for one in told["spans"]]
    assert {"agent", "execute_tool add_task", "execute_tool list_tasks"} < set(names)
    assert len(told["requests"]) == 2
