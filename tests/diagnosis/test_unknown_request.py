"""Responses whose request is not known: a bare recording, and a tracker by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from otel_llm import SyncStreamingToolCallTracker
from otel_llm.cli import main
from otel_llm.demo.scripted_server import completion
from tests.helpers.streams import Chunk, call, calls, ends, legacy, says, sdk_chunk, whole_call

EXCUSED = [
    pytest.param([*whole_call(), ends("stop")], id="stop"),
    pytest.param([calls(call(0, "a", "f", "{}"), finish="stop")], id="in-one-chunk"),
    pytest.param([legacy("add", "{}"), ends("stop")], id="legacy"),
]
ACCUSED = [
    pytest.param([*whole_call(), ends("eos")], id="another-word"),
    pytest.param([says("Hi"), ends("tool_calls")], id="no-call"),
]


def file_of(chunks: list[Chunk], folder: Path) -> str:
    path = folder / "stream.txt"
    path.write_text("".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n")
    return str(path)


@pytest.mark.parametrize("chunks", EXCUSED)
def test_a_call_that_ends_with_stop_may_have_been_asked_for(chunks: list[Chunk], tmp_path: Path) -> None:
    tracker = SyncStreamingToolCallTracker(iter([sdk_chunk(chunk) for chunk in chunks]))
    assert len(list(tracker)) == len(chunks)
    assert tracker.anomalies == []
    assert main(["inspect", file_of(chunks, tmp_path)]) == 0


@pytest.mark.parametrize("chunks", ACCUSED)
def test_other_contradictions_are_named(chunks: list[Chunk], tmp_path: Path) -> None:
    tracker = SyncStreamingToolCallTracker(iter([sdk_chunk(chunk) for chunk in chunks]))
    list(tracker)
    assert [anomaly.type for anomaly in tracker.anomalies] == ["finish_reason_mismatch"]
    assert main(["inspect", file_of(chunks, tmp_path)]) == 1


def test_a_whole_response(tmp_path: Path) -> None:
    made: Any = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    path = tmp_path / "response.json"
    path.write_text(json.dumps(completion({"role": "assistant", "content": None, "tool_calls": [made]}, "stop")))
    assert main(["inspect", str(path)]) == 0


def test_with_its_request_it_is_accused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"model": "m", "tools": [{"type": "function", "function": {"name": "list_tasks"}}]}))
    stream = file_of([*whole_call(), ends("stop")], tmp_path)
    assert main(["inspect", "--request", str(request), stream]) == 1
    assert "finish_reason_mismatch" in capsys.readouterr().out
