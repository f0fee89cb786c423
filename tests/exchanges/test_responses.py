"""`otel-llm inspect` judges responses of the Responses API, in every kind of file, as they are judged live."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from otel_llm.cli import main
from otel_llm.demo.scripted_responses import function_call, message, response, response_events
from otel_llm.demo.scripted_server import Answer, ScriptedServer
from otel_llm.diagnosis.explanations.model import TOOLS
from tests.helpers.sdk_versions import HAS_RESPONSES
from tests.helpers.seen import Seen

TOOL = {"type": "function", **TOOLS[0]["function"]}
REQUEST = {"model": "m", "input": "add a task", "tools": [TOOL]}
STREAMED = {**REQUEST, "stream": True}
ITEMS = (function_call("add_task", '{"title": 7}'), function_call("made_up", "{", call_id="call_2"))
EXPECTED = ["invalid_json", "schema_violation", "unknown_tool"]
EVENTS = response_events(*ITEMS)
WHOLE = response(*ITEMS)
URL = "https://api.openai.com/v1/responses"


def as_stream(events: list[dict[str, Any]], *, named: bool = True) -> str:
    lines = [f"event: {event['type']}\n" if named else "" for event in events]
    return "".join(f"{line}data: {json.dumps(event)}\n\n" for line, event in zip(lines, events, strict=True))


def recording(body: str, content_type: str, request: Any) -> str:
    head = {
        "otel_llm_recording": 1,
        "request": {"method": "POST", "path": "/v1/responses", "body": request},
        "response": {"status": 200, "headers": {"content-type": content_type}},
    }
    lines = [head, {"t": 0.1, "text": body}, {"t": 0.2, "end": "completed"}]
    return "\n".join(map(json.dumps, lines))


def cassette(body: str, content_type: str, request: Any) -> str:
    exchange = {
        "request": {"method": "POST", "uri": URL, "body": json.dumps(request)},
        "response": {"status": {"code": 200}, "headers": {"Content-Type": [content_type]}, "body": {"string": body}},
    }
    return str(yaml.safe_dump({"interactions": [exchange], "version": 1}))


STREAM_TYPE = "text/event-stream; charset=utf-8"
FILES = {
    "recording": recording(as_stream(EVENTS), STREAM_TYPE, STREAMED),
    "recording of unnamed events": recording(as_stream(EVENTS, named=False), STREAM_TYPE, STREAMED),
    "recording, whole": recording(json.dumps(WHOLE), "application/json", REQUEST),
    "cassette": cassette(as_stream(EVENTS), STREAM_TYPE, STREAMED),
    "cassette, whole": cassette(json.dumps(WHOLE), "application/json", REQUEST),
}
ALONE = {
    "stream": as_stream(EVENTS),
    "stream with [DONE]": as_stream(EVENTS) + "data: [DONE]\n\n",
    "events.jsonl": "\n".join(map(json.dumps, EVENTS)),
    "events.json": json.dumps(EVENTS),
    "whole.json": json.dumps(WHOLE),
    "whole-indented.json": json.dumps(WHOLE, indent=2),
}


def written(folder: Path, content: str) -> str:
    path = folder / "file"
    path.write_text(content, encoding="utf-8")
    return str(path)


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def types(one: dict[str, Any]) -> list[str]:
    return sorted(anomaly["type"] for anomaly in one["anomalies"])


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_the_request(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--json", written(tmp_path, FILES[name])]) == 1
    (one,) = told(capsys)
    assert types(one) == EXPECTED
    assert one["attributes"]["otel_llm.stream.tool_call_count"] == 2
    assert one["attributes"]["gen_ai.request.model"] == "m"


@pytest.mark.parametrize("name", ALONE)
def test_a_file_without_the_request(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, ALONE[name])
    assert main(["inspect", "--json", path]) == 1
    (one,) = told(capsys)
    assert types(one) == ["invalid_json"]
    request = tmp_path / "request"
    request.write_text(json.dumps(REQUEST))
    assert main(["inspect", "--json", "--request", str(request), path]) == 1
    (one,) = told(capsys)
    assert types(one) == EXPECTED


HEALTHY = {
    "text": response_events(message("Hello")),
    "a call": response_events(function_call("add_task", '{"title": "x"}')),
    "both": response_events(message("Hello"), function_call("add_task", '{"title": "x"}')),
    "cut": response_events(message("He"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
}


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("end", ["", "data: [DONE]\n\n"], ids=["", "done"])
def test_a_healthy_stream(name: str, end: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = recording(as_stream(HEALTHY[name]) + end, STREAM_TYPE, STREAMED)
    assert main(["inspect", "--json", written(tmp_path, content)]) == 0
    (one,) = told(capsys)
    assert (one["outcome"], one["anomalies"]) == ("completed", [])


FAILED = {
    "a failed response": as_stream(
        response_events(message("He"), status="failed", error={"code": "server_error", "message": "no luck"})
    ),
    "an error event": 'event: error\ndata: {"type": "error", "code": "rate_limit", "message": "no luck"}\n\n',
    "a failed response, whole": json.dumps(response(status="failed", error={"message": "no luck", "code": "x"})),
}


@pytest.mark.parametrize("name", FAILED)
def test_a_failed_response(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--json", written(tmp_path, FAILED[name])]) == 1
    (one,) = told(capsys)
    assert (one["outcome"], one["anomalies"]) == ("error", [])
    assert "no luck" in one["note"]


def test_the_events_that_show_an_anomaly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = as_stream(EVENTS)
    assert main(["inspect", "--json", written(tmp_path, content)]) == 1
    ((anomaly),) = told(capsys)[0]["anomalies"]
    assert anomaly["chunks"]
    for chunk in anomaly["chunks"]:
        assert content[chunk["offset"] :].startswith(f"data: {chunk['text'][:100]}")
        assert json.loads(chunk["text"])["output_index"] == 1


def test_several_responses_in_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = response_events(message("Hi"))
    for event in again:
        if "response" in event:
            event["response"] = {**event["response"], "id": "resp_other"}
    content = "\n".join(map(json.dumps, [*EVENTS, *again, WHOLE]))
    assert main(["inspect", "--json", written(tmp_path, content)]) == 1
    assert [types(one) for one in told(capsys)] == [["invalid_json"], [], ["invalid_json"]]


def test_tools_that_an_earlier_exchange_declared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The request that continues from a response does not repeat the item with the tools."""
    call = function_call("add_task", '{"title": "a"}')
    declared = {"type": "additional_tools", "role": "developer", "tools": [TOOL]}
    done = {"type": "function_call_output", "call_id": "call_1", "output": "ok"}
    requests = [
        {"input": [{"role": "user", "content": "add"}, declared]},
        {"input": [done], "previous_response_id": "resp_0"},
        {"input": [done], "previous_response_id": "resp_elsewhere"},
    ]
    exchanges = [
        yaml.safe_load(cassette(json.dumps(response(call) | {"id": f"resp_{number}"}), "application/json", request))
        for number, request in enumerate(requests)
    ]
    document = exchanges[0] | {"interactions": [one["interactions"][0] for one in exchanges]}
    assert main(["inspect", "--json", written(tmp_path, yaml.safe_dump(document))]) == 1
    assert [types(one) for one in told(capsys)] == [[], [], ["unknown_tool"]]


@pytest.mark.skipif(not HAS_RESPONSES, reason="this SDK has no Responses API")
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_it_agrees_with_live_observation(
    stream: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], instrument: Callable[..., Seen]
) -> None:
    import openai

    seen = instrument(log=False)
    steps: Any = EVENTS if stream else [Answer(WHOLE)]
    with (
        ScriptedServer(steps) as server,
        openai.OpenAI(base_url=server.base_url, api_key="unused", max_retries=0) as client,
    ):
        given: Any = {**REQUEST, "stream": stream}
        answer: Any = client.responses.create(**given)
        if stream:
            list(answer)
    name = "recording" if stream else "recording, whole"
    assert main(["inspect", "--json", written(tmp_path, FILES[name])]) == 1
    (one,) = told(capsys)
    assert sorted(seen.anomalies) == types(one) == EXPECTED
