"""The labelled chats of Ollama's API have the anomalies of their labels, read from their files and live."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_llm import OllamaInstrumentor
from otel_llm.demo.scripted_server import Answer, ScriptedServer
from otel_llm.diagnosis.explanations import EXPLANATIONS
from tests.helpers.corpus_streams import CORPUS, inspected_as_labelled, load_request, reads_of
from tests.helpers.ollama_callers import client_at
from tests.helpers.seen import Seen

PATHS = sorted((CORPUS / "ollama").glob("*.jsonl"))
every = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
# What the SDK does not show: it drops ids, and what is behind a wait or in the bytes.
NOT_LIVE = {
    "stalled",
    "duplicate_id",
    "id_reused",
    *(one.type for one in EXPLANATIONS if one.group == "The bytes"),
}
# What the SDK refuses: arguments that are no object, or null, and calls without a name.
REFUSED = {"arguments_not_object", "empty_arguments"}
# What this API cannot have: there is no index; an id is no must; a call comes once and whole, with an object as its
# arguments; there is no choice of tools; usage is not asked for; lines of JSON need no framing.
IMPOSSIBLE = {
    "arguments_duplicated",
    "arguments_not_string",
    "id_changed",
    "index_reused",
    "invalid_framing",
    "invalid_json",
    "missing_done",
    "missing_id",
    "missing_index",
    "missing_usage",
    "name_changed",
    "parallel_violated",
    "tool_choice_violated",
    "truncated",
    "unacceptable_id",
    "unacceptable_name",
    "duplicate_result",
}


@every
def test_inspect(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspected_as_labelled(path, capsys)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A client of a server that plays the chat whose name a request has as its model."""
    bodies: dict[str, list[Any]] = {path.stem: [data for _, data in reads_of(path)] for path in PATHS}
    for path in PATHS:
        if not load_request(path).request.get("stream"):
            bodies[path.stem] = [Answer(json.loads(b"".join(bodies[path.stem])))]
    with ScriptedServer(lambda body: bodies[body["model"]]) as server:
        client = client_at(server)
        yield client
        client._client.close()


@every
def test_live(path: Path, client: Any, seen: Seen) -> None:
    labelled = load_request(path)
    request = labelled.request | {"model": path.stem}
    if not REFUSED.isdisjoint(labelled.expected):
        pytest.skip("the SDK refuses it")
    OllamaInstrumentor().instrument(**seen.providers, log=False)
    try:
        result: Any = client.chat(**request)
        if request["stream"]:
            list(result)
    finally:
        OllamaInstrumentor().uninstrument()
    # A span has less room than a file.
    assert sorted(set(seen.anomalies)) == [name for name in labelled.expected if name not in NOT_LIVE]


def test_each_anomaly_that_can_occur_does() -> None:
    count = Counter(name for path in PATHS for name in load_request(path).expected)
    assert set(count) == {one.type for one in EXPLANATIONS} - IMPOSSIBLE
    assert sum(not load_request(path).expected for path in PATHS) >= 8
