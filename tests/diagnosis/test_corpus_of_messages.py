"""The labelled messages of Anthropic's API have the anomalies of their labels, read from their files and live."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest

from otel_llm import AnthropicInstrumentor
from otel_llm.demo.scripted_server import Answer, ScriptedServer
from otel_llm.diagnosis.explanations import EXPLANATIONS
from tests.helpers.corpus_streams import CORPUS, inspected_as_labelled, load_request, reads_of
from tests.helpers.seen import Seen

PATHS = sorted((CORPUS / "messages").glob("*.jsonl"))
every = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
# What the SDK does not show, or shows only after a wait.
NOT_LIVE = {"stalled", *(one.type for one in EXPLANATIONS if one.group == "The bytes")}
# What this API cannot have: arguments are text by its protocol, names and ids come once, and so does the stop reason.
IMPOSSIBLE = {"arguments_not_string", "name_changed", "id_changed", "missing_usage", "missing_done", "limit_exceeded"}
# What depends on who serves the request; the live one is on the loopback interface.
OF_PROVIDERS = {"unacceptable_id", "unacceptable_name"}


@every
def test_inspect(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspected_as_labelled(path, capsys)


@pytest.fixture(scope="module")
def client() -> Iterator[anthropic.Anthropic]:
    """A client of a server that plays the message whose name a request has as its model."""
    bodies: dict[str, list[Any]] = {path.stem: [data for _, data in reads_of(path)] for path in PATHS}
    for path in PATHS:
        if not load_request(path).request.get("stream"):
            bodies[path.stem] = [Answer(json.loads(b"".join(bodies[path.stem])))]
    with (
        ScriptedServer(lambda body: bodies[body["model"]]) as server,
        anthropic.Anthropic(
            base_url=server.base_url.removesuffix("/v1"), api_key="unused", max_retries=0, timeout=10
        ) as client,
    ):
        yield client


@every
def test_live(path: Path, client: anthropic.Anthropic, seen: Seen) -> None:
    labelled = load_request(path)
    request = labelled.request | {"model": path.stem}
    servers = request.pop("mcp_servers", None)
    AnthropicInstrumentor().instrument(**seen.providers, log=False)
    try:
        result: Any = client.messages.create(**request, extra_body={"mcp_servers": servers} if servers else None)
        if request.get("stream"):
            list(result)
    finally:
        AnthropicInstrumentor().uninstrument()
    assert sorted(seen.anomalies) == [name for name in labelled.expected if name not in NOT_LIVE | OF_PROVIDERS]


def test_each_anomaly_that_can_occur_does() -> None:
    count = Counter(name for path in PATHS for name in load_request(path).expected)
    known = {one.type for one in EXPLANATIONS}
    assert set(count) == known - IMPOSSIBLE
    assert sum(not load_request(path).expected for path in PATHS) >= 8
