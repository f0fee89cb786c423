"""Bedrock's Converse API over HTTP: one span a request, and the same results, types and exceptions as without us."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from unittest.mock import patch

import botocore.client
import pytest
from botocore.eventstream import ChecksumMismatch, EventStream
from botocore.exceptions import ClientError, EventStreamError

from otel_llm import BedrockInstrumentor, SyncStreamingToolCallTracker, intercept_llm_requests
from otel_llm.demo.scripted_converse import converse_events, event, frame, reasoning, response, text_block, tool_use
from otel_llm.demo.scripted_server import Answer, Drop, ScriptedServer, Sleep
from otel_llm.testing import Streams
from otel_llm.wrappers import other_instrumentations
from tests.helpers.bedrock_callers import ADD_TASK, MESSAGES, MODEL_ID, REQUEST, client_of, knows
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]

BLOCKS = (reasoning("hm"), text_block("Sure."), tool_use("add_task", {"title": "a"}))
HEALTHY = converse_events(*BLOCKS)
THROTTLED = {"throttlingException": {"message": "Too many tokens"}}


@pytest.fixture
def instrument(seen: Seen) -> Iterator[Callable[..., Seen]]:
    instrumentor = BedrockInstrumentor()

    def start(**options: Any) -> Seen:
        instrumentor.instrument(**seen.providers, **options)
        return seen

    yield start
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


def tells_the_healthy_story(seen: Seen) -> None:
    names = [one.name.removeprefix("otel_llm.") for one in seen.events()]
    thoughts = ["reasoning.started"] if knows("ReasoningContentBlock") else []
    begun = [*thoughts, "text.started", "tool_call.detected", "tool_call.name"]
    assert names[: len(begun)] == begun
    assert names[-2:] == ["tool_call.completed", "finish_reason"]
    (completed,) = seen.events("otel_llm.tool_call.completed")
    attributes = dict(completed.attributes or {})
    assert attributes["gen_ai.tool.call.arguments"] == '{"title": "a"}'
    assert attributes["gen_ai.tool.call.id"] == "tooluse_1"
    assert seen.anomalies == []
    assert seen.attributes["gen_ai.provider.name"] == "aws.bedrock"
    assert seen.attributes["gen_ai.request.model"] == MODEL_ID
    assert seen.attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert (seen.attributes["gen_ai.usage.input_tokens"], seen.attributes["gen_ai.usage.output_tokens"]) == (3, 4)
    assert seen.attributes["server.address"] == "127.0.0.1"
    assert seen.attributes["otel_llm.api"] == "converse"
    seen.encode()


def without_times(result: Any) -> Any:
    metadata = dict(result["ResponseMetadata"])
    metadata["HTTPHeaders"] = {name: value for name, value in metadata["HTTPHeaders"].items() if name != "date"}
    return {**result, "ResponseMetadata": metadata, "stream": None}


def test_a_stream(serve: Serve, instrument: Callable[..., Seen]) -> None:
    client = client_of(serve(*HEALTHY))
    bare = client.converse_stream(**REQUEST)
    bare_events = list(bare["stream"])
    seen = instrument()
    result = client.converse_stream(**REQUEST)
    assert type(result) is dict
    assert without_times(result) == without_times(bare)
    assert isinstance(result["stream"], EventStream)
    events = list(result["stream"])
    assert events == bare_events
    assert [type(one) for one in events] == [dict] * len(events)
    assert seen.outcome == "completed"
    tells_the_healthy_story(seen)
    BedrockInstrumentor().uninstrument()
    with closing(client.converse_stream(**REQUEST)["stream"]) as stream:
        assert type(stream) is EventStream
    assert "_make_api_call" in vars(botocore.client.BaseClient)


def test_a_whole_response(serve: Serve, instrument: Callable[..., Seen]) -> None:
    client = client_of(serve(Answer(response(*BLOCKS))))
    bare = client.converse(**REQUEST)
    seen = instrument()
    result = client.converse(**REQUEST)
    assert without_times(result) == without_times(bare)
    tells_the_healthy_story(seen)
    assert "otel_llm.stream.outcome" not in seen.attributes


def test_one_span_for_all_attempts(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    throttled = Answer({"message": "slow down"}, status=429, headers={"x-amzn-ErrorType": "ThrottlingException"})
    client = client_of(serve([throttled], [Answer(response(*BLOCKS))]), attempts=2)
    with patch("time.sleep"):
        assert client.converse(**REQUEST)["ResponseMetadata"]["RetryAttempts"] == 1
    tells_the_healthy_story(seen)


def test_a_refused_request(serve: Serve, instrument: Callable[..., Seen]) -> None:
    refused = Answer({"message": "no"}, status=400, headers={"x-amzn-ErrorType": "ValidationException"})
    client = client_of(serve(refused))
    seen = instrument()
    with pytest.raises(client.exceptions.ValidationException) as raised:
        client.converse_stream(**REQUEST)
    assert isinstance(raised.value, ClientError)
    assert seen.attributes["error.type"] == "botocore.errorfactory.ValidationException"
    assert seen.span.status.description == str(raised.value)


def test_arguments_that_the_sdk_refuses(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    with pytest.raises(Exception, match="modelId"):
        client_of(serve(*HEALTHY)).converse(messages="x")
    assert not seen.span.status.is_ok


def test_an_exception_in_the_stream(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    stream = client_of(serve(*HEALTHY[:8], event(THROTTLED))).converse_stream(**REQUEST)["stream"]
    with closing(stream), pytest.raises(EventStreamError, match="Too many tokens"):
        list(stream)
    assert seen.outcome == "error"
    assert seen.attributes["error.type"] == "botocore.exceptions.EventStreamError"
    assert "throttlingException" in (seen.span.status.description or "")
    assert seen.anomalies == []


def test_a_broken_frame(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    broken = bytearray(HEALTHY[6])
    broken[-1] ^= 1
    stream = client_of(serve(*HEALTHY[:6], bytes(broken))).converse_stream(**REQUEST)["stream"]
    with closing(stream), pytest.raises(ChecksumMismatch):
        list(stream)
    assert seen.outcome == "error"


def test_a_dropped_connection(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    with pytest.raises(Exception, match=r"(?i)broken|prematurely|closed"):
        list(client_of(serve(*HEALTHY[:8], Drop())).converse_stream(**REQUEST)["stream"])
    assert seen.outcome == "error"


def test_a_stream_that_is_closed(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    with closing(client_of(serve(*HEALTHY, Sleep(5))).converse_stream(**REQUEST)["stream"]) as stream:
        next(iter(stream))
    assert seen.outcome == "closed"
    assert seen.anomalies == []


def test_a_stream_that_is_dropped(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    result = client_of(serve(*HEALTHY, Sleep(5))).converse_stream(**REQUEST)
    raw = result["stream"]._raw_stream
    for _ in result["stream"]:
        break
    assert seen.spans == []
    del result
    gc.collect()
    assert seen.outcome == "abandoned"
    raw.close()


def test_reading_goes_on_where_it_stopped(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    stream = client_of(serve(*HEALTHY)).converse_stream(**REQUEST)["stream"]
    first = next(iter(stream))
    assert [first, *stream] == list(client_of(serve(*HEALTHY)).converse_stream(**REQUEST)["stream"])
    assert len(seen.spans) == 2


def test_a_result_is_linked_to_its_call(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    client = client_of(serve(HEALTHY, converse_events(text_block("Done."))))
    list(client.converse_stream(**REQUEST)["stream"])
    result = {"toolResult": {"toolUseId": "tooluse_1", "content": [{"json": {"ok": True}}], "status": "success"}}
    turns = [{"role": "assistant", "content": list(BLOCKS[1:])}, {"role": "user", "content": [result]}]
    list(client.converse_stream(**{**REQUEST, "messages": [*MESSAGES, *turns]})["stream"])
    first, second = seen.spans
    (link,) = second.links
    assert link.context == first.context
    assert dict(link.attributes or {}) == {"gen_ai.tool.call.id": "tooluse_1", "gen_ai.tool.name": "add_task"}


def test_one_client(serve: Serve, seen: Seen) -> None:
    server = serve(*HEALTHY)
    client = client_of(server)
    assert intercept_llm_requests(client, **seen.providers) is client
    assert intercept_llm_requests(client) is client
    list(client.converse_stream(**REQUEST)["stream"])
    tells_the_healthy_story(seen)
    list(client_of(server).converse_stream(**REQUEST)["stream"])
    assert len(seen.spans) == 1


def test_one_client_and_all(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    client = intercept_llm_requests(client_of(serve(*HEALTHY)), **seen.providers)
    list(client.converse_stream(**REQUEST)["stream"])
    tells_the_healthy_story(seen)


def test_a_client_of_another_service(serve: Serve) -> None:
    with pytest.raises(AttributeError, match="sts"):
        intercept_llm_requests(client_of(serve(), "sts"))


def test_other_calls_have_no_span(serve: Serve, instrument: Callable[..., Seen]) -> None:
    """Those of other services, and those of Bedrock that are no conversation."""
    server = serve(Answer({"inputTokens": 3, "body": {}}))
    seen = instrument()
    if knows("CountTokensRequest"):
        asked = {"converse": {"messages": MESSAGES}}
        assert client_of(server).count_tokens(modelId=MODEL_ID, input=asked)["inputTokens"] == 3
    body = client_of(server).invoke_model(modelId=MODEL_ID, body=b"{}")["body"]
    assert b"inputTokens" in body.read()
    assert client_of(serve(Answer({"TableNames": ["t"]})), "dynamodb").list_tables()["TableNames"] == ["t"]
    url = client_of(server, "s3").generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
    assert url.startswith("http://127.0.0.1")
    assert seen.spans == []


def test_tests_that_replace_the_call(instrument: Callable[..., Seen], serve: Serve) -> None:
    """The usual way to mock botocore: a function in place of the method, which calls the method itself for the rest."""
    seen = instrument()
    client = client_of(serve(*HEALTHY))
    original = botocore.client.BaseClient._make_api_call

    def instead(self: Any, operation_name: str, kwargs: Any) -> Any:
        return original(self, operation_name, kwargs)

    with patch("botocore.client.BaseClient._make_api_call", new=instead):
        list(client.converse_stream(**REQUEST)["stream"])
    tells_the_healthy_story(seen)


def test_a_stream_of_a_test(instrument: Callable[..., Seen], serve: Serve) -> None:
    """What stands for the answer may be a list of events, or have no stream at all."""
    seen = instrument()
    client = client_of(serve())
    events = [{"messageStart": {"role": "assistant"}}, {"messageStop": {"stopReason": "end_turn"}}]
    for answer in ({"stream": events}, {"stream": None}, {}):
        client.meta.events.register_first(
            "before-call.bedrock-runtime.ConverseStream",
            lambda answer=answer, **_: (type("Answered", (), {"status_code": 200}), dict(answer)),
            unique_id="answer",
        )
        result = client.converse_stream(**REQUEST)
        assert list(result.get("stream") or []) == list(answer.get("stream") or [])
        client.meta.events.unregister("before-call.bedrock-runtime.ConverseStream", unique_id="answer")
    assert len(seen.spans) == 3


def test_a_hook_that_asks_a_model(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    server = serve(Answer(response(*BLOCKS)))
    client, other = client_of(server), client_of(server)
    client.meta.events.register("before-call.bedrock-runtime.Converse", lambda **_: other.converse(**REQUEST) and None)
    client.converse(**REQUEST)
    assert len(seen.spans) == 2


def test_threads(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    client = client_of(serve(*HEALTHY))
    read: list[int] = []
    threads = [
        threading.Thread(target=lambda: read.append(len(list(client.converse_stream(**REQUEST)["stream"]))))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [len(HEALTHY)] * 6
    assert [dict(span.attributes or {})["otel_llm.stream.anomaly_count"] for span in seen.spans] == [0] * 6


HOSTILE = [
    {"contentBlockDelta": None},
    {"contentBlockDelta": {}},
    {"contentBlockDelta": {"delta": None, "contentBlockIndex": 0}},
    {"contentBlockDelta": {"delta": {"toolUse": None}, "contentBlockIndex": 0}},
    {"contentBlockDelta": {"delta": {"toolUse": {"input": "\ud83d"}}, "contentBlockIndex": 10**30}},
    {"contentBlockDelta": {"delta": {"text": "\ud800"}, "contentBlockIndex": -1}},
    {"contentBlockDelta": {"delta": {"somethingNew": 1}, "contentBlockIndex": 0}},
    {"contentBlockStart": {"start": {"toolUse": {"toolUseId": None, "name": None}}, "contentBlockIndex": None}},
    {"contentBlockStart": {}},
    {"contentBlockStop": {}},
    {"messageStop": {"stopReason": None}},
    {"metadata": {"usage": {"inputTokens": -1, "outputTokens": None}}},
    {"anEventOfTheFuture": {"x": 1}},
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda one: str(one)[:50])
def test_hostile_events(serve: Serve, instrument: Callable[..., Seen], hostile: Any) -> None:
    client = client_of(serve(*HEALTHY[:2], event(hostile), *HEALTHY[2:]))
    outcomes: list[Any] = []
    for observed in (False, True):
        seen = instrument() if observed else None
        with closing(client.converse_stream(**REQUEST)["stream"]) as stream:
            try:
                outcomes.append(list(stream))
            except Exception as error:
                outcomes.append(repr(error))
    assert outcomes[0] == outcomes[1]
    assert seen is not None
    seen.encode()


def test_an_initial_response(serve: Serve, instrument: Callable[..., Seen]) -> None:
    """Some event streams begin with a message that the caller may read apart."""
    seen = instrument()
    initial = frame({":event-type": "initial-response", ":message-type": "event"}, b"{}")
    stream = client_of(serve(initial, *HEALTHY)).converse_stream(**REQUEST)["stream"]
    assert stream.get_initial_response().payload == b"{}"
    list(stream)
    tells_the_healthy_story(seen)


def test_the_request(serve: Serve, instrument: Callable[..., Seen]) -> None:
    seen = instrument()
    client_of(serve(Answer(response(text_block("ok"))))).converse(
        **{**REQUEST, "toolConfig": {"tools": [ADD_TASK], "toolChoice": {"auto": {}}}},
        system=[{"text": "Be brief."}],
        inferenceConfig={"temperature": 0.5, "topP": 0.9, "maxTokens": 7, "stopSequences": ["END"]},
        additionalModelRequestFields={"top_k": 3},
        guardrailConfig={"guardrailIdentifier": "g1", "guardrailVersion": "1"},
    )
    assert seen.attributes["aws.bedrock.guardrail.id"] == "g1"
    asked = {name.removeprefix("gen_ai.request."): value for name, value in seen.attributes.items()}
    assert (asked["temperature"], asked["top_k"], asked["top_p"], asked["max_tokens"]) == (0.5, 3, 0.9, 7)
    assert asked["stop_sequences"] == ("END",)


@pytest.mark.parametrize(
    ("choice", "blocks", "anomalies"),
    [
        ({"any": {}}, (text_block("no"),), ["tool_choice_violated"]),
        ({"tool": {"name": "add_task"}}, BLOCKS, []),
        ({"tool": {"name": "other"}}, BLOCKS, ["tool_choice_violated"]),
        ({"auto": {}}, (text_block("no"),), []),
    ],
)
def test_the_tool_choice(
    serve: Serve, instrument: Callable[..., Seen], choice: Any, blocks: Any, anomalies: list[str]
) -> None:
    seen = instrument()
    asked = {**REQUEST, "toolConfig": {"tools": [ADD_TASK], "toolChoice": choice}}
    list(client_of(serve(*converse_events(*blocks))).converse_stream(**asked)["stream"])
    assert seen.anomalies == anomalies


def test_the_fixture(serve: Serve, llm_streams: Streams) -> None:
    """Of an application that does not instrument anything."""
    list(client_of(serve(*HEALTHY)).converse_stream(**REQUEST)["stream"])
    (stream,) = llm_streams
    assert (stream.model, stream.text, stream.finish_reason) == (MODEL_ID, "Sure.", "tool_calls")
    assert [(call.name, call.parsed) for call in stream.tool_calls] == [("add_task", {"title": "a"})]
    assert stream.anomalies == []


def test_a_tracker_of_the_application(serve: Serve) -> None:
    tracker = SyncStreamingToolCallTracker(client_of(serve(*HEALTHY)).converse_stream(**REQUEST)["stream"])
    list(tracker)
    assert [(call.name, call.arguments) for call in tracker.tool_calls] == [("add_task", '{"title": "a"}')]


def test_nothing_is_imported() -> None:
    """In a process of its own, where nobody else imports the SDK."""
    program = (
        "import sys; from otel_llm import BedrockInstrumentor as I; I().instrument(); "
        "assert 'botocore' not in sys.modules; from botocore.client import BaseClient; "
        "assert hasattr(BaseClient._make_api_call, '__wrapped__')"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_classes_of_clients_are_not_kept(serve: Serve, instrument: Callable[..., Seen]) -> None:
    """botocore makes a class for each client."""
    instrument()
    server = serve(Answer(response(*BLOCKS)))
    client_of(server).converse(**REQUEST)
    gc.collect()
    before = len(botocore.client.BaseClient.__subclasses__())
    for _ in range(3):
        client_of(server).converse(**REQUEST)
    gc.collect()
    assert len(botocore.client.BaseClient.__subclasses__()) <= before + 1


def test_another_instrumentation_is_named(
    serve: Serve, instrument: Callable[..., Seen], caplog: pytest.LogCaptureFixture
) -> None:
    import wrapt

    def around(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(*args, **kwargs)

    around.__module__ = "another.instrumentation"
    instrument()
    original = botocore.client.BaseClient._make_api_call
    other_instrumentations.forget()
    wrapt.wrap_function_wrapper("botocore.client", "BaseClient._make_api_call", around)
    try:
        for _ in range(2):
            client_of(serve(Answer(response(*BLOCKS)))).converse(**REQUEST)
    finally:
        botocore.client.BaseClient._make_api_call = original
    assert [
        record.getMessage().split(" also")[0] for record in caplog.records if "also instruments" in record.getMessage()
    ] == ["another.instrumentation"]
