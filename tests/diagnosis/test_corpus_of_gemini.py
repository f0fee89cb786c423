"""The labelled responses of Gemini have the anomalies of their labels, read from their files and live."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google import genai
from google.genai import types

from otel_llm import GoogleGenAIInstrumentor
from otel_llm.demo.scripted_server import Answer, ScriptedServer
from otel_llm.diagnosis.explanations import EXPLANATIONS
from tests.helpers.corpus_streams import CORPUS, inspected_as_labelled, load_request, reads_of
from tests.helpers.gemini_callers import client_of
from tests.helpers.seen import Seen

PATHS = sorted((CORPUS / "gemini").glob("*.jsonl"))
every = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
# What the SDK does not show, or shows only after a wait.
NOT_LIVE = {"stalled", *(one.type for one in EXPLANATIONS if one.group == "The bytes")}
# At which it raises an error.
REFUSED = {"arguments_not_object", "invalid_framing"}
# What this API cannot have: arguments are objects by its protocol, names and ids come once, ids are optional, calls
# have no index, a request cannot forbid several calls, and nothing asks for usage.
IMPOSSIBLE = {
    "arguments_duplicated",
    "arguments_not_string",
    "id_changed",
    "index_reused",
    "limit_exceeded",
    "missing_done",
    "missing_id",
    "missing_index",
    "missing_usage",
    "name_changed",
    "parallel_violated",
    "unacceptable_id",
}
CONTINUES = "automatic_continuation" in types.GenerateContentConfig.model_fields
# What depends on who serves the request; the live one is on the loopback interface.
OF_PROVIDERS = {"unacceptable_name"}


@every
def test_inspect(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspected_as_labelled(path, capsys)


def is_whole(path: Path) -> bool:
    return ":generateContent" in path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def client() -> Iterator[genai.Client]:
    """A client of a server that plays the responses whose name a request has as its stop sequence."""
    bodies: dict[str, list[Any]] = {path.stem: [data for _, data in reads_of(path)] for path in PATHS}
    for path in filter(is_whole, PATHS):
        bodies[path.stem] = [Answer(json.loads(b"".join(bodies[path.stem])))]
    with ScriptedServer(lambda body: bodies[body["generationConfig"]["stopSequences"][0]]) as server:
        yield client_of(server)


@every
@pytest.mark.filterwarnings("ignore:.*is not a valid:UserWarning")
def test_live(path: Path, client: genai.Client, seen: Seen) -> None:
    labelled = load_request(path)
    if REFUSED & set(labelled.expected):
        pytest.skip("the SDK refuses it")
    body = dict(labelled.request)
    config = types.GenerateContentConfig.model_validate(
        {
            "tools": body["tools"],
            "toolConfig": body.get("toolConfig"),
            **body.get("generationConfig", {}),
            "stopSequences": [path.stem],
            "automaticFunctionCalling": {"disable": True},
            **({"automaticContinuation": False} if CONTINUES else {}),
        }
    )
    request: dict[str, Any] = {"model": "tiny", "contents": body["contents"], "config": config}
    GoogleGenAIInstrumentor().instrument(**seen.providers, log=False)
    try:
        if is_whole(path):
            client.models.generate_content(**request)
        else:
            list(client.models.generate_content_stream(**request))
    finally:
        GoogleGenAIInstrumentor().uninstrument()
    assert sorted(seen.anomalies) == [name for name in labelled.expected if name not in NOT_LIVE | OF_PROVIDERS]


def test_each_anomaly_that_can_occur_does() -> None:
    count = Counter(name for path in PATHS for name in load_request(path).expected)
    known = {one.type for one in EXPLANATIONS}
    assert set(count) == known - IMPOSSIBLE
    assert sum(not load_request(path).expected for path in PATHS) >= 8
