"""The labelled responses of the Responses API have the anomalies of their labels, read from their files and live."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from otel_llm.demo.scripted_server import Answer, ScriptedServer
from tests.helpers.corpus_streams import CORPUS, inspected_as_labelled, load_request, reads_of
from tests.helpers.sdk_versions import needs_responses
from tests.helpers.seen import Seen

PATHS = sorted((CORPUS / "responses").glob("*.jsonl"))
every = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


@every
def test_inspect(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspected_as_labelled(path, capsys)


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    """A client of a server that plays the response whose name a request has as its model."""
    bodies: dict[str, list[Any]] = {path.stem: [data for _, data in reads_of(path)] for path in PATHS}
    for path in PATHS:
        if not load_request(path).request["stream"]:
            bodies[path.stem] = [Answer(json.loads(b"".join(bodies[path.stem])))]
    with (
        ScriptedServer(lambda body: bodies[body["model"]]) as server,
        openai.OpenAI(base_url=server.base_url, api_key="unused", max_retries=0, timeout=10) as client,
    ):
        yield client


@needs_responses
@every
def test_live(path: Path, client: openai.OpenAI, instrument: Callable[..., Seen]) -> None:
    seen = instrument(log=False, stall_seconds=600)
    labelled = load_request(path)
    result: Any = client.responses.create(**labelled.request | {"model": path.stem})
    if labelled.request["stream"]:
        list(result)
    assert sorted(seen.anomalies) == labelled.expected


def test_there_are_look_alikes() -> None:
    count = Counter(bool(load_request(path).expected) for path in PATHS)
    assert count[False] > 20
    assert count[True] > 5
