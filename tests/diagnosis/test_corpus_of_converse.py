"""The labelled answers of Bedrock's Converse API have the anomalies of their labels, read from their files and live."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_llm import BedrockInstrumentor
from otel_llm.demo.scripted_server import Answer, ScriptedServer
from otel_llm.diagnosis.explanations import EXPLANATIONS
from tests.helpers.bedrock_callers import MODEL_ID, client_of, knows
from tests.helpers.corpus_streams import CORPUS, inspected_as_labelled, load_request, reads_of
from tests.helpers.seen import Seen

if not knows("SystemTool"):
    pytest.skip("this SDK does not know all that the answers have", allow_module_level=True)

PATHS = sorted((CORPUS / "converse").glob("*.jsonl"))
every = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
# What the SDK does not show, or shows only after a wait.
NOT_LIVE = {"stalled", *(one.type for one in EXPLANATIONS if one.group == "The bytes")}
# What this API cannot have: arguments are text by its protocol, names and ids come once, and a stream has no lines.
IMPOSSIBLE = {
    "arguments_not_string",
    "name_changed",
    "id_changed",
    "missing_usage",
    "missing_done",
    "invalid_framing",
    "limit_exceeded",
}


@every
def test_inspect(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspected_as_labelled(path, capsys)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A client of a server that plays the answer whose name a request has among its metadata."""
    bodies: dict[str, list[Any]] = {path.stem: [data for _, data in reads_of(path)] for path in PATHS}
    with ScriptedServer(lambda body: bodies[body["requestMetadata"]["story"]]) as server:
        for name, reads in bodies.items():
            if reads[0].startswith(b"{"):
                bodies[name] = [Answer(json.loads(b"".join(reads)))]
        client = client_of(server)
        yield client
        client.close()


def model_of(path: Path) -> str:
    return "arn:aws:bedrock:us-east-1:123456789012:prompt/ABCDEFGHIJ:1" if "prompt" in path.stem else MODEL_ID


@every
def test_live(path: Path, client: Any, seen: Seen) -> None:
    labelled = load_request(path)
    asked = {**labelled.request, "modelId": model_of(path), "requestMetadata": {"story": path.stem}}
    BedrockInstrumentor().instrument(**seen.providers, log=False)
    try:
        if "whole" in path.stem:
            client.converse(**asked)
        else:
            list(client.converse_stream(**asked)["stream"])
    finally:
        BedrockInstrumentor().uninstrument()
    assert sorted(seen.anomalies) == [name for name in labelled.expected if name not in NOT_LIVE]


def test_each_anomaly_that_can_occur_does() -> None:
    count = Counter(name for path in PATHS for name in load_request(path).expected)
    known = {one.type for one in EXPLANATIONS}
    assert set(count) == known - IMPOSSIBLE
    assert sum(not load_request(path).expected for path in PATHS) >= 8
