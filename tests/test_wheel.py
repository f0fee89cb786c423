"""The wheel, alone in a clean environment: `opentelemetry-instrument` finds it there and uses it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from otel_llm.demo.scripted_server import DONE, ScriptedServer, Step, chunk, tool_call_chunks

ROOT = Path(__file__).parent.parent
STEPS: list[Step] = [*tool_call_chunks("add_task", '{"title": "a"}'), chunk(finish_reason="tool_calls"), DONE]
APPLICATION = """
import sys, openai
client = openai.OpenAI(api_key="unused", base_url=sys.argv[1])
tools = [{"type": "function", "function": {"name": "add_task"}}]
for chunk in client.chat.completions.create(model="m", messages=[], tools=tools, stream=True):
    pass
print(type(chunk).__name__)
"""


def run(*command: str | Path, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON", "VIRTUAL_"))}
    done = subprocess.run(
        [str(part) for part in command],
        env={**kept, **environment},
        cwd=ROOT.parent,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel, what it depends on, and nothing else."""
    folder = tmp_path_factory.mktemp("clean")
    requirement = f"otel-llm[instruments,otlp] @ {wheel.as_uri()}"
    constraints = ROOT / "constraints.txt"
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if uv := shutil.which("uv"):
        run(uv, "venv", "--python", sys.executable, folder)
        run(uv, "pip", "install", "--python", python, "-c", constraints, requirement)
    else:
        venv.create(folder, with_pip=True)
        run(python, "-m", "pip", "install", "--quiet", "-c", constraints, requirement)
    return python


def test_what_is_in_the_wheel(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "otel_llm/py.typed" in names
    assert "otel_llm/demo/chat_template.jinja" in names
    assert all(name.startswith(("otel_llm/", "otel_llm-")) for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def run_application(python: Path, folder: Path, **environ: str) -> str:
    application = folder / "application.py"
    application.write_text(APPLICATION)
    exporters = {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    with ScriptedServer(STEPS) as server:
        command = (python.parent / "opentelemetry-instrument", python, application, server.base_url)
        return run(*command, **exporters, **environ)


def test_opentelemetry_instrument(clean_python: Path, tmp_path: Path) -> None:
    printed = run_application(clean_python, tmp_path)
    first, _, exported = printed.partition("\n")
    assert first == "ChatCompletionChunk"
    span = json.loads(exported)
    assert span["name"] == "chat m"
    assert span["attributes"]["otel_llm.stream.outcome"] == "completed"
    assert "otel_llm.tool_call.completed" in [event["name"] for event in span["events"]]


def test_turned_off_like_any_instrumentation(clean_python: Path, tmp_path: Path) -> None:
    printed = run_application(clean_python, tmp_path, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="otel_llm")
    assert printed == "ChatCompletionChunk\n"


def test_the_core_needs_neither_rich_nor_llama(clean_python: Path) -> None:
    program = "import sys, otel_llm; print(sorted({'rich', 'xllamacpp', 'numpy'} & set(sys.modules)))"
    assert run(clean_python, "-c", program) == "[]\n"
