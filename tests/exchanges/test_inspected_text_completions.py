"""`otel-llm inspect` reads recordings of text completions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from otel_llm.cli import main
from tests.helpers.text_completions import USAGE, completion, pieces, text_choice

WHOLE = completion(text_choice("Once upon a time", "stop"), usage=USAGE)
URL = "https://x/v1/engines/davinci/completions"


def stream(*steps: Any) -> str:
    return "".join(one.decode() if isinstance(one, bytes) else f"data: {json.dumps(one)}\n\n" for one in steps)


def cassette(body: str, request: dict[str, Any]) -> str:
    request = {"method": "POST", "uri": URL, "body": json.dumps(request)}
    return json.dumps({"interactions": [{"request": request, "response": {"status": 200, "body": {"string": body}}}]})


HEALTHY = {
    "a stream": stream(*pieces("Once", " upon", " a time")),
    "a whole response": json.dumps(WHOLE),
    "several whole responses": json.dumps([WHOLE, WHOLE]),
    "chunks": json.dumps([one for one in pieces("Once", " upon") if isinstance(one, dict)]),
    "a stream in a cassette": cassette(stream(*pieces("Once")), {"model": "m", "prompt": "x", "stream": True}),
    "markup of the model's own": cassette(json.dumps(completion(text_choice("</s>", "stop"))), {"prompt": "x"}),
    "a prompt of tokens": cassette(json.dumps(WHOLE), {"model": "m", "prompt": [1, 2, 3]}),
    "nothing, where the request is not known": stream(*pieces()),
    "a stop at once": cassette(stream(*pieces()), {"prompt": "x", "stop": "."}),
}
BROKEN = {
    "no end": (stream(*pieces("Once", " upon")[:2], b"data: [DONE]\n\n"), ["missing_finish_reason"]),
    "no [DONE]": (stream(*pieces("Once", " upon")[:-1]), ["missing_done"]),
    "nothing": (cassette(stream(*pieces()), {"prompt": "x"}), ["empty_response"]),
}


def inspected(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[Any]]:
    path = tmp_path / "file"
    path.write_text(content)
    status = main(["inspect", "--json", str(path)])
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("content", HEALTHY.values(), ids=HEALTHY)
def test_healthy(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, told = inspected(tmp_path, content, capsys)
    assert [one["anomalies"] for one in told] == [[]] * len(told)
    assert status == 0
    assert not any("not read" in (one["note"] or "") for one in told)
    assert {one["outcome"] for one in told} == {"completed"}


@pytest.mark.parametrize(("content", "types"), BROKEN.values(), ids=BROKEN)
def test_broken(content: str, types: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, (one,) = inspected(tmp_path, content, capsys)
    assert (status, [anomaly["type"] for anomaly in one["anomalies"]]) == (1, types)
