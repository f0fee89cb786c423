"""`otel-llm probe --api`: servers of Anthropic's messages and of the Responses API, correct and with one fault each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import count, pairwise
from typing import Any

import pytest

from otel_llm.cli import main
from otel_llm.demo import scripted_messages, scripted_responses
from otel_llm.demo.scripted_server import Answer, Drop, RecordedRequest, ScriptedServer, error_event
from otel_llm.probe.apis import APIS
from otel_llm.probe.battery import BATTERY
from tests.helpers.obedient_model import wanted_calls

Server = Callable[[dict[str, Any]], Iterable[Any]]
_MODES = {"any": "required", "auto": "auto", "none": "none"}
_ids = count()


def _is_cut(limit: int, calls: list[Any]) -> bool:
    return limit <= 24 and bool(calls)


# -- Anthropic's messages --


def chat_of_message(body: dict[str, Any]) -> dict[str, Any]:
    """The body of the chat completion that asks the same, as far as the model reads it."""
    roles = [message["role"] for message in body["messages"]]
    assert all(one != other for one, other in pairwise(roles)), "roles alternate"
    assert "system" not in roles
    assert "tool" not in roles
    made: dict[str, Any] = {"tools": [{"function": {"name": tool["name"]}} for tool in body.get("tools", ())]}
    assert all(tool["input_schema"]["type"] == "object" for tool in body.get("tools", ()))
    last = body["messages"][-1]["content"][-1]
    is_result = last["type"] == "tool_result"
    made["messages"] = [{"role": "tool", "content": ""} if is_result else {"role": "user", "content": last["text"]}]
    choice = body.get("tool_choice") or {}
    if choice.get("type") == "tool":
        made["tool_choice"] = {"function": {"name": choice["name"]}}
    elif choice:
        made["tool_choice"] = _MODES[choice["type"]]
    if choice.get("disable_parallel_tool_use"):
        made["parallel_tool_calls"] = False
    return made


def blocks_of(body: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The content of a correct answer, and why it stops. A call that is cut has its input as text."""
    calls = wanted_calls(chat_of_message(body))
    is_cut = _is_cut(body["max_tokens"], calls)
    blocks = [scripted_messages.thinking("Hm.")] if "thinking" in body else []
    for name, arguments in calls:
        written = json.dumps(arguments, ensure_ascii=False)[: 20 if is_cut else None]
        blocks.append(scripted_messages.tool_use(name, written if is_cut else arguments, call_id=f"toolu_{next(_ids)}"))
    if not calls:
        blocks.append(scripted_messages.text_block("Hello."))
    return blocks, "max_tokens" if is_cut else "tool_use" if calls else "end_turn"


def _whole_message(blocks: list[dict[str, Any]], reason: str) -> Answer:
    # An object cannot be cut.
    shown = [{**block, "input": {}} if isinstance(block.get("input"), str) else block for block in blocks]
    return Answer(scripted_messages.message(*shown, stop_reason=reason))


def message(body: dict[str, Any]) -> Iterator[Any]:
    blocks, reason = blocks_of(body)
    if body["stream"]:
        yield from scripted_messages.message_events(*blocks, stop_reason=reason, size=50)
    else:
        yield _whole_message(blocks, reason)


def message_stream(change: Callable[[dict[str, Any]], Iterable[dict[str, Any]]]) -> Server:
    """A server whose streams are changed event by event."""

    def wrong(body: dict[str, Any]) -> Iterator[Any]:
        if not body["stream"]:
            yield from message(body)
            return
        blocks, reason = blocks_of(body)
        for value in scripted_messages.event_values(*blocks, stop_reason=reason, size=50):
            yield from map(scripted_messages.event, change(value))

    return wrong


@message_stream
def one_index(event: dict[str, Any]) -> Iterable[dict[str, Any]]:
    return [{**event, "index": 0} if "index" in event else event]


@message_stream
def ends_turn(event: dict[str, Any]) -> Iterable[dict[str, Any]]:
    return [{**event, "delta": {"stop_reason": "end_turn"}} if event["type"] == "message_delta" else event]


@message_stream
def says_no_usage(event: dict[str, Any]) -> Iterable[dict[str, Any]]:
    made = {name: value for name, value in event.items() if name != "usage"}
    if "message" in made:
        made["message"] = {name: value for name, value in made["message"].items() if name != "usage"}
    return [made]


@message_stream
def no_last_piece(event: dict[str, Any]) -> Iterable[dict[str, Any]]:
    return [] if event.get("delta", {}).get("partial_json", "").endswith("}") else [event]


@message_stream
def no_end(event: dict[str, Any]) -> Iterable[dict[str, Any]]:
    return [] if event["type"] in {"message_delta", "message_stop"} else [event]


def as_text(name: str, arguments: Any) -> str:
    """A call as a server without a parser leaves it in the text."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def leaks(body: dict[str, Any]) -> Iterator[Any]:
    calls = wanted_calls(chat_of_message(body))
    if not body["stream"] or not calls:
        return message(body)
    return iter(scripted_messages.message_events(scripted_messages.text_block(as_text(*calls[0])), size=50))


def fails_midway(kind: str) -> Server:
    def wrong(body: dict[str, Any]) -> Iterator[Any]:
        steps = list(message(body))
        error = {"type": "error", "error": {"type": kind, "message": "lost the engine"}}
        return iter([*steps[:3], scripted_messages.event(error)] if body["stream"] else steps)

    return wrong


def drops(body: dict[str, Any]) -> Iterator[Any]:
    steps = list(message(body))
    return iter([*steps[:4], Drop()] if body["stream"] else steps)


def ignores_the_limit(body: dict[str, Any]) -> Iterator[Any]:
    return message({**body, "max_tokens": 10_000})


def calls_in_parallel(body: dict[str, Any]) -> Iterator[Any]:
    choice = {name: value for name, value in body.get("tool_choice", {}).items() if name == "type"}
    return message({**body, "tool_choice": choice} if choice.get("type") == "any" else body)


def same_ids(body: dict[str, Any]) -> Iterator[Any]:
    blocks, reason = blocks_of(body)
    blocks = [{**block, "id": f"toolu_{at}"} if "id" in block else block for at, block in enumerate(blocks)]
    if body["stream"]:
        return iter(scripted_messages.message_events(*blocks, stop_reason=reason))
    return iter([_whole_message(blocks, reason)])


def refuses_thoughts(body: dict[str, Any]) -> Iterator[Any]:
    error = Answer({"type": "error", "error": {"type": "invalid_request_error", "message": "no thinking"}}, 400)
    return iter([error]) if "thinking" in body else message(body)


def hides_thoughts(body: dict[str, Any]) -> Iterator[Any]:
    return message(body if body["stream"] else {name: value for name, value in body.items() if name != "thinking"})


# -- the Responses API --


def chat_of_response(body: dict[str, Any]) -> dict[str, Any]:
    """The same for the Responses API."""
    assert body["store"] is False
    assert body["max_output_tokens"] >= 16
    assert all(tool["type"] == "function" and "parameters" in tool for tool in body.get("tools", ()))
    last = body["input"][-1]
    is_result = last.get("type") == "function_call_output"
    made: dict[str, Any] = {"tools": [{"function": {"name": tool["name"]}} for tool in body.get("tools", ())]}
    made["messages"] = [{"role": "tool", "content": ""} if is_result else last]
    choice = body.get("tool_choice")
    made["tool_choice"] = {"function": {"name": choice["name"]}} if isinstance(choice, dict) else choice
    made["parallel_tool_calls"] = body.get("parallel_tool_calls")
    return made


def items_for(body: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The output of a correct response, and the fields that say how it ends."""
    calls = wanted_calls(chat_of_response(body))
    is_cut = _is_cut(body["max_output_tokens"], calls)
    items = [scripted_responses.reasoning("Hm.")] if "reasoning" in body else []
    for name, arguments in calls:
        written = json.dumps(arguments, ensure_ascii=False)[: 20 if is_cut else None]
        items.append(scripted_responses.function_call(name, written, call_id=f"call_{next(_ids)}"))
    if not calls:
        items.append(scripted_responses.message("Hello."))
    end: dict[str, Any] = {"usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}}
    if is_cut:
        items[-1]["status"] = "incomplete"
        return items, {**end, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    return items, end


def response(body: dict[str, Any]) -> Iterator[Any]:
    items, end = items_for(body)
    if body["stream"]:
        yield from scripted_responses.response_events(*items, size=50, **end)
    else:
        yield Answer(scripted_responses.response(*items, **end))


def response_stream(change: Callable[[dict[str, Any]], Iterable[dict[str, Any]]]) -> Server:
    def wrong(body: dict[str, Any]) -> Iterator[Any]:
        for step in response(body):
            yield from change(step) if isinstance(step, dict) else [step]

    return wrong


@response_stream
def never_completes(event: dict[str, Any]) -> Iterable[dict[str, Any]]:
    return [] if event["type"] == "response.completed" else [event]


@response_stream
def no_arguments_left(event: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """The last piece of the arguments is lost, also where they are said as a whole."""
    return [json.loads(json.dumps(event).replace('}"', '"'))] if "arguments" in json.dumps(event) else [event]


@response_stream
def counts_nothing(event: dict[str, Any]) -> Iterable[dict[str, Any]]:
    if "response" not in event:
        return [event]
    return [{**event, "response": {**event["response"], "usage": None}}]


def leaks_in_responses(body: dict[str, Any]) -> Iterator[Any]:
    calls = wanted_calls(chat_of_response(body))
    if not body["stream"] or not calls:
        return response(body)
    return iter(scripted_responses.response_events(scripted_responses.message(as_text(*calls[0])), size=50))


def fails_as_a_response(body: dict[str, Any]) -> Iterator[Any]:
    if not body["stream"]:
        return response(body)
    error = {"code": "server_error", "message": "lost the engine"}
    return iter(scripted_responses.response_events(status="failed", error=error))


def ids_again(body: dict[str, Any]) -> Iterator[Any]:
    items, end = items_for(body)
    items = [{**item, "call_id": f"call_{at}"} if "call_id" in item else item for at, item in enumerate(items)]
    if body["stream"]:
        return iter(scripted_responses.response_events(*items, **end))
    return iter([Answer(scripted_responses.response(*items, **end))])


def probed(
    api: str, server: Server, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, dict[str, Any], list[RecordedRequest]]:
    """The exit status, the findings of each check that is not ok, and the requests."""
    with ScriptedServer(server) as running:
        command = ["probe", "--base-url", running.base_url, "--model", "m", "--json", "--api", api, *options]
        status = main(command)
    told = json.loads(capsys.readouterr().out)
    assert told["api"] == api
    found = {
        check["name"]: (check["status"], [finding["text"] for finding in check["findings"]])
        for check in told["checks"]
        if check["status"] != "ok" or check["findings"]
    }
    return status, found, running.requests


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_llm.probe.patience._WAITS", (0.0, 0.01))
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("api", "server", "path"), [("messages", message, "/v1/messages"), ("responses", response, "/v1/responses")]
)
def test_a_correct_server_has_no_fault(api: str, server: Server, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, found, requests = probed(api, server, capsys)
    assert (status, found) == (0, {})
    assert {request.path for request in requests} == {path}
    assert len(requests) > len(BATTERY)


@pytest.mark.parametrize(
    ("api", "server", "name", "status", "text"),
    [
        ("messages", one_index, "parallel_calls", "fault", "streamed: index_reused"),
        ("messages", ends_turn, "one_call", "fault", "streamed: finish_reason_mismatch"),
        ("messages", leaks, "one_call", "fault", "streamed: text_leak, 1 call of get_weather"),
        ("messages", leaks, "required", "fault", "streamed: tool_choice_violated"),
        ("messages", no_last_piece, "nested_arguments", "fault", "streamed: invalid_json"),
        ("messages", no_end, "none", "fault", "streamed: missing_finish_reason"),
        ("messages", says_no_usage, "usage", "fault", "streamed: usage is missing"),
        ("messages", fails_midway("api_error"), "enum", "fault", "streamed: an error event: lost the engine"),
        ("messages", fails_midway("overloaded_error"), "enum", "not judged", "streamed: the server is busy"),
        ("messages", drops, "named", "fault", "streamed: RemoteProtocolError"),
        ("messages", ignores_the_limit, "cut_by_max_tokens", "fault", "max_tokens=24, but "),
        (
            "messages",
            calls_in_parallel,
            "one_at_a_time",
            "fault",
            "streamed: parallel_violated, 2 calls",
        ),
        ("messages", same_ids, "ids", "fault", "the next turn, streamed: the id toolu_0 was given before"),
        ("messages", refuses_thoughts, "thoughts", "not judged", "the server rejects it: 400 no thinking"),
        ("messages", hides_thoughts, "thoughts", "fault", "streamed: thoughts, text, then stop; not streamed: text"),
        ("responses", never_completes, "one_call", "fault", "streamed: missing_finish_reason"),
        ("responses", no_arguments_left, "nested_arguments", "fault", "streamed: invalid_json"),
        ("responses", counts_nothing, "usage", "fault", "streamed: usage is missing"),
        ("responses", leaks_in_responses, "one_call", "fault", "streamed: text_leak, 1 call of get_weather"),
        ("responses", leaks_in_responses, "required", "fault", "streamed: tool_choice_violated"),
        ("responses", fails_as_a_response, "none", "fault", "streamed: an error: lost the engine"),
        ("responses", ids_again, "ids", "fault", "the next turn, streamed: the id call_0 was given before"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_each_fault_is_found(
    api: str, server: Server, name: str, status: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_status, found, _ = probed(api, server, capsys, "--only", name)
    assert found[name][0] == status, found
    assert any(text in finding for finding in found[name][1]), found
    assert exit_status == {"fault": 1, "not judged": 3}[status]


@pytest.mark.parametrize(
    ("options", "variables", "sent"),
    [
        (["--api-key", "key-4711"], {}, {"x-api-key": "key-4711"}),
        ([], {"ANTHROPIC_API_KEY": "key-4711"}, {"x-api-key": "key-4711"}),
        ([], {"ANTHROPIC_AUTH_TOKEN": "key-4711"}, {"authorization": "Bearer key-4711"}),
    ],
)
def test_credentials_are_those_of_the_sdk(
    options: list[str],
    variables: dict[str, str],
    sent: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def tells(body: dict[str, Any]) -> Iterable[Any]:
        return [Answer(error_event("wrong key: key-4711"), 400)] if "tools" in body else message(body)

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    _, found, requests = probed("messages", tells, capsys, "--only", "none", *options)
    for request in requests:
        names = ("x-api-key", "authorization")
        assert {name: request.headers[name] for name in names if name in request.headers} == sent
        assert request.headers["anthropic-version"] == "2023-06-01"
    assert "4711" not in str(found)


def test_a_server_that_checks_no_key_still_gets_one(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, requests = probed("messages", message, capsys, "--only", "none")
    assert {request.headers["x-api-key"] for request in requests} == {"none"}


def test_a_base_url_may_lack_the_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(message) as running:
        # As Anthropic's SDK has it.
        monkeypatch.setenv("ANTHROPIC_BASE_URL", running.base_url.removesuffix("/v1") + "/")
        assert main(["probe", "--model", "m", "--api", "messages", "--only", "none"]) == 0
    assert {request.path for request in running.requests} == {"/v1/messages"}
    assert capsys.readouterr().out.endswith("1 ok\n")


def test_null_leaves_a_field_out(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--only", "none", "--extra-body", '{"temperature": null, "top_k": 3}']
    status, _, requests = probed("messages", message, capsys, *options)
    assert status == 0
    for request in requests:
        assert "temperature" not in request.body
        assert request.body["top_k"] == 3


@pytest.mark.parametrize("api", ["messages", "responses"])
def test_a_check_that_an_api_cannot_ask(api: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "--model", "m", "--api", api, "--only", "two_choices"]) == 2
    assert f"unknown check two_choices of {api}; there are one_call, " in capsys.readouterr().err


def test_a_server_without_the_api(capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedServer([Answer({"detail": "Not Found"}, 404)]) as running:
        assert main(["probe", "--base-url", running.base_url, "--model", "m", "--api", "messages"]) == 2
    assert "status 404, " in capsys.readouterr().err


@pytest.mark.parametrize("api", ["messages", "responses"])
def test_requests_have_the_shape_that_the_sdk_declares(api: str) -> None:
    """Each body of the battery, and that of a turn after calls, against the types of the API's own SDK."""
    pydantic = pytest.importorskip("pydantic", reason="pydantic is not installed")
    if api == "messages":
        types = pytest.importorskip("anthropic", reason="the anthropic SDK is not installed").types
        declared = types.message_create_params.MessageCreateParamsNonStreaming
    else:
        types = pytest.importorskip("openai", reason="the openai SDK is not installed").types
        declared = types.responses.response_create_params.ResponseCreateParamsNonStreaming
    shape = pydantic.TypeAdapter(declared)
    for check in APIS[api].checks(BATTERY):
        body = APIS[api].body({"model": "m", "max_tokens": 512, "seed": 7, **check.request, "stream": False})
        shape.validate_python(body)
        assert set(body) <= declared.__required_keys__ | declared.__optional_keys__
