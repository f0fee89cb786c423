"""The real llama.cpp server: it starts, streams well-formed tool calls and steered text, and leaves nothing running."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from otel_llm.demo import llama_server as module
from otel_llm.demo.llama_server import MODEL, WELL_FORMED_CALLS, LlamaServerUnavailable, llama_server
from otel_llm.demo.tiny_model import write_tiny_model
from otel_llm.demo.tools import TOOLS
from tests.helpers.sdk_versions import DISCONNECTED


def ask(base_url: str, **kwargs: Any) -> list[Any]:
    with openai.OpenAI(base_url=base_url, api_key="unused", max_retries=0, timeout=30) as client:
        question: Any = [{"role": "user", "content": "add"}]
        return list(
            client.chat.completions.create(model=MODEL, messages=question, stream=True, max_tokens=400, **kwargs)
        )


@pytest.mark.parametrize("seed", range(5))
def test_the_bias_makes_well_formed_calls(llama: str, seed: int) -> None:
    chunks = ask(llama, tools=TOOLS, tool_choice="required", logit_bias=WELL_FORMED_CALLS, seed=seed)
    deltas = [delta for chunk in chunks for delta in chunk.choices[0].delta.tool_calls or ()]
    names = [delta.function.name for delta in deltas if delta.id]
    assert names
    assert set(names) <= {"add_task", "list_tasks"}
    assert len(deltas) > len(names), "the arguments arrived in one piece"
    arguments = ["".join(delta.function.arguments for delta in deltas if delta.index == at) for at in range(len(names))]
    if chunks[-1].choices[0].finish_reason == "tool_calls":
        for name, text in zip(names, arguments, strict=True):
            assert set(json.loads(text)) == ({"title"} if name == "add_task" else set())
    else:
        assert chunks[-1].choices[0].finish_reason == "length"


def test_a_grammar_determines_the_text(llama: str) -> None:
    chunks = ask(llama, extra_body={"grammar": 'root ::= "Sure. <|tool_call|>{}</|tool_call|>"'})
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == "Sure. <|tool_call|>{}</|tool_call|>"
    assert len(chunks) > len(text) // 2, "the text arrived in few pieces"


def test_it_is_quiet_and_leaves_nothing_running(capfd: pytest.CaptureFixture[str]) -> None:
    this = psutil.Process()
    before = set(this.children())
    with llama_server() as base_url:
        (server,) = set(this.children()) - before
        folder = Path(server.cmdline()[-1]).parent
        assert folder.is_dir()
        ask(base_url, extra_body={"grammar": 'root ::= "ok"'})
    assert not server.is_running()
    assert not folder.exists()
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("llama")
def test_it_ends_with_its_parent_in_the_middle_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess.Popen, "kill", lambda process: pytest.fail("it had to be killed"))
    with openai.OpenAI(base_url="set below", api_key="unused", max_retries=0, timeout=30) as client:
        with llama_server() as base_url:
            client.base_url = base_url
            question: Any = [{"role": "user", "content": "go on"}]
            grammar = {"grammar": "root ::= [a-z]*", "ignore_eos": True}
            stream: Any = client.chat.completions.create(
                model=MODEL, messages=question, stream=True, extra_body=grammar
            )
            next(stream)
        with pytest.raises(DISCONNECTED):
            list(stream)


def test_the_model_is_the_same_every_time(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the tiny model is written with gguf")
    for name in ("a", "b"):
        write_tiny_model(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").stat().st_size < 500_000


@pytest.mark.parametrize("package", ["xllamacpp", "gguf", "numpy"])
def test_a_missing_package_is_named_in_a_sentence(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(LlamaServerUnavailable, match=rf"{package}.*pip install 'otel-llm\[demo\]'"), llama_server():
        pass


def test_a_server_that_does_not_start_reports_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xllamacpp", reason="there is no llama.cpp server here")
    monkeypatch.setattr(module, "write_tiny_model", lambda path: path.write_bytes(b"no model"))
    with pytest.raises(LlamaServerUnavailable, match=r"did not start: .*[a-z]"), llama_server():
        pass
