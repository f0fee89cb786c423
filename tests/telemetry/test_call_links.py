"""From a call to the request that carries its result: links, turnaround, and results that match no call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import NoOpTracerProvider, set_span_in_context

from otel_llm import OpenAIInstrumentor, tool_execution
from otel_llm.demo.scripted_responses import function_call, message, response, response_events
from otel_llm.demo.scripted_server import (
    DONE,
    Answer,
    ScriptedServer,
    chunk,
    completion,
    error_event,
    text,
    tool_call_chunks,
)
from otel_llm.protocol.conversation import Turn, read_turn
from otel_llm.telemetry import call_links
from otel_llm.telemetry.call_links import RecentCalls
from tests.helpers.callers import ADD_TASK, MESSAGES, SyncCaller
from tests.helpers.sdk_versions import needs_responses
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]

ARGUMENTS = '{"title": "a"}'
FINAL = [chunk(text("Done.")), chunk(finish_reason="stop"), DONE]


def calling(*ids: str) -> list[Any]:
    """A stream with one tool call for each of these ids."""
    called = [
        tool_call_chunks("add_task", f'{{"title": "{one}"}}', id=one, index=index) for index, one in enumerate(ids)
    ]
    return [*(part for call in called for part in call), chunk(finish_reason="tool_calls"), DONE]


def calls(*ids: str) -> dict[str, Any]:
    """The assistant message with these calls."""
    function = {"name": "add_task", "arguments": ARGUMENTS}
    return {"role": "assistant", "tool_calls": [{"id": one, "type": "function", "function": function} for one in ids]}


def result(call_id: Any, content: str = "ok") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def says(content: str) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


USER = MESSAGES[0]
MANY = [f"c{number}" for number in range(300)]


def links(span: ReadableSpan) -> list[tuple[int, Any]]:
    """(span id, call id) of each link."""
    return [(link.context.span_id, (link.attributes or {})["gen_ai.tool.call.id"]) for link in span.links]


def span_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


# What the answers of these conversations are, is no matter of links.
_OF_ANSWERS = {"empty_response", "id_reused", "repeated_call"}


def anomalies(span: ReadableSpan) -> list[Any]:
    found = [(event.attributes or {}).get("otel_llm.anomaly.type") for event in span.events if "anomaly" in event.name]
    return [name for name in found if name not in _OF_ANSWERS]


async def turns(caller: SyncCaller, *conversations: list[Any], **kwargs: Any) -> None:
    for messages in conversations:
        await caller.read(await caller.stream(messages=messages, **kwargs))


# Links --------------------------------------------------------------------------------------------------------


async def test_an_agents_loop(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(calling("c1", "c2"), calling("c3"), FINAL))
    first = [USER]
    second = [*first, calls("c1", "c2"), result("c1"), result("c2")]
    third = [*second, calls("c3"), result("c3")]
    await turns(caller, first, second, third)
    one, two, three = instrumented.spans
    assert links(one) == []
    assert links(two) == [(span_id(one), "c1"), (span_id(one), "c2")]
    assert links(three) == [(span_id(two), "c3")]
    assert [anomalies(span) for span in instrumented.spans] == [[], [], []]
    ((attributes, (count, total)),) = instrumented.metric("otel_llm.tool_call.turnaround")
    assert attributes == {
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "tiny",
        "gen_ai.tool.name": "add_task",
    }
    assert count == 3
    assert total > 0
    instrumented.encode()


async def test_messages_of_the_sdks_own_classes(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    body = calls("c1") | {"content": None}
    caller = connect(serve([Answer(completion(body, "tool_calls"))], [Answer(completion(text("Done.")))]))
    answer = await caller.create()
    await caller.create(messages=[USER, answer.choices[0].message, result("c1")])
    one, two = instrumented.spans
    assert links(two) == [(span_id(one), "c1")]
    assert anomalies(two) == []


async def test_results_sent_before_the_stream_is_exhausted(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """The agent continues at the finish reason, before the stream is exhausted."""
    caller = connect(serve([*calling("c1")[:-1], chunk(text("")), DONE], FINAL))
    stream = await caller.stream()
    await caller.read(stream, len(calling("c1")) - 1)
    await turns(caller, [USER, calls("c1"), result("c1")])
    await caller.close(stream)
    two, one = instrumented.spans
    assert links(two) == [(span_id(one), "c1")]


async def test_results_sent_before_the_finish_reason(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """The agent executes a call when the next one begins."""
    caller = connect(serve(calling("c1", "c2"), FINAL, FINAL))
    stream = await caller.stream()
    await caller.read(stream, len(calling("c1")) - 1)
    await turns(caller, [USER, calls("c1"), result("c1")])
    with tool_execution("add_task", call_id="c1"), tool_execution("add_task", call_id="c2"):
        pass
    await caller.read(stream)
    await turns(caller, [USER, calls("c1", "c2"), result("c1"), result("c2")])
    two, open_call, whole_call, one, three = instrumented.spans
    assert links(two) == links(whole_call) == [(span_id(one), "c1")]
    assert links(open_call) == []
    assert links(three) == [(span_id(one), "c1"), (span_id(one), "c2")]
    ((_, (count, _)),) = instrumented.metric("otel_llm.tool_call.turnaround")
    assert count == 2


@needs_responses
async def test_results_sent_before_the_response_is_completed(
    instrumented: Seen, serve: Serve, connect: Connect
) -> None:
    """The agent executes a call when its item is done."""
    events = response_events(function_call("add_task", ARGUMENTS), message("Sure."))
    done = [event["type"] for event in events].index("response.output_item.done")
    caller = connect(serve(events))
    stream = await caller.respond(stream=True)
    await caller.read(stream, done)
    with tool_execution("add_task", call_id="call_1"):
        pass
    await caller.read(stream, 1)
    with tool_execution("add_task", call_id="call_1"):
        pass
    await caller.read(stream)
    open_call, whole_call, one = instrumented.spans
    assert links(open_call) == []
    assert links(whole_call) == [(span_id(one), "call_1")]


async def test_an_answer_that_the_caller_began(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(calling("c1"), FINAL))
    await turns(caller, [USER], [USER, calls("c1"), result("c1"), says("The tasks are")])
    one, two = instrumented.spans
    assert links(two) == [(span_id(one), "c1")]


async def test_a_conversation_that_is_sent_again(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """For example after an error: the links are repeated, the turnaround is measured once."""
    caller = connect(serve(calling("c1"), [Answer(error_event("busy"), status=400)], FINAL))
    conversation = [USER, calls("c1"), result("c1")]
    await turns(caller, [USER])
    with pytest.raises(openai.BadRequestError):
        await turns(caller, conversation)
    await turns(caller, conversation)
    one, two, three = instrumented.spans
    assert links(two) == links(three) == [(span_id(one), "c1")]
    ((_, (count, _)),) = instrumented.metric("otel_llm.tool_call.turnaround")
    assert count == 1
    assert [anomalies(span) for span in (two, three)] == [[], []]


async def test_calls_sent_back_in_one_message_each(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(calling("c1", "c2", "c3"), calling("c4"), FINAL))
    second = [USER, *(part for one in ("c1", "c2", "c3") for part in (calls(one), result(one)))]
    await turns(caller, [USER], second, [*second, calls("c4"), result("c4")])
    one, two, three = instrumented.spans
    assert sorted(links(two)) == [(span_id(one), "c1"), (span_id(one), "c2"), (span_id(one), "c3")]
    assert links(three) == [(span_id(two), "c4")]
    assert anomalies(two) == anomalies(three) == []


async def test_ids_used_in_every_conversation(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """A missing link is better than one into somebody else's conversation."""
    caller = connect(serve(calling("call_0"), calling("call_0"), FINAL, FINAL))
    answered = [USER, calls("call_0"), result("call_0")]
    tracer = instrumented.tracer_provider.get_tracer("agents")
    with tracer.start_as_current_span("second agent") as second:
        await turns(caller, [USER])
    await turns(caller, [USER])
    with tracer.start_as_current_span("first agent"):
        await turns(caller, answered)
    assert all(not span.links for span in instrumented.spans)
    assert second.get_span_context().is_valid


async def ask(caller: SyncCaller, who: str, *messages: Any) -> None:
    await caller.read(await caller.stream(model=who, messages=[USER, *messages]))


def linked(seen: Seen) -> dict[Any, Any]:
    """By the model of a request that carries results: the models of the requests that it is linked to."""
    names = {span_id(span): (span.attributes or {}).get("gen_ai.request.model") for span in seen.spans}
    spans = [span for span in seen.spans if span.links]
    return {names[span_id(span)]: [names[link.context.span_id] for link in span.links] for span in spans}


def turnarounds(seen: Seen) -> dict[Any, int]:
    points = seen.metric("otel_llm.tool_call.turnaround")
    return {attributes["gen_ai.request.model"]: count for attributes, (count, _) in points}


async def test_ids_shared_by_agents_of_one_trace(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """Whose call it is cannot be inferred: no link, and no turnaround of another agent's tool."""
    caller = connect(serve(calling("call_1"), calling("call_1"), FINAL, FINAL))
    with instrumented.tracer_provider.get_tracer("agents").start_as_current_span("both"):
        await ask(caller, "a")
        await ask(caller, "b")
        await ask(caller, "a", calls("call_1"), result("call_1"))
        await ask(caller, "b", calls("call_1"), result("call_1"))
    assert linked(instrumented) == {}
    assert turnarounds(instrumented) == {}


async def test_shared_ids_next_to_a_unique_one(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """One request made all calls of a message."""
    caller = connect(serve(calling("call_1"), calling("call_1", "call_2"), FINAL, FINAL))
    with instrumented.tracer_provider.get_tracer("agents").start_as_current_span("both"):
        await ask(caller, "a")
        await ask(caller, "b")
        await ask(caller, "b", calls("call_1", "call_2"), result("call_1"), result("call_2"))
        # Only one candidate remains.
        await ask(caller, "a", calls("call_1"), result("call_1"))
    assert linked(instrumented) == {"b": ["b", "b"], "a": ["a"]}
    assert turnarounds(instrumented) == {"b": 2, "a": 1}


async def test_shared_ids_of_other_tools(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """For example the call that ends an agent's run and never gets a result."""
    ends = [*tool_call_chunks("final_result", "{}", id="call_1"), chunk(finish_reason="tool_calls"), DONE]
    caller = connect(serve(ends, calling("call_1"), FINAL))
    tools = [ADD_TASK, {"type": "function", "function": {"name": "final_result", "parameters": {"type": "object"}}}]
    with instrumented.tracer_provider.get_tracer("agents").start_as_current_span("both"):
        for who, messages in (("a", []), ("b", []), ("b", [calls("call_1"), result("call_1")])):
            await caller.read(await caller.stream(model=who, messages=[USER, *messages], tools=tools))
    assert linked(instrumented) == {"b": ["b"]}
    assert turnarounds(instrumented) == {"b": 1}


async def test_shared_ids_of_earlier_turns(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """A result that one agent sent long ago does not answer the call of another."""
    caller = connect(serve(calling("call_1"), calling("call_2"), calling("call_1"), FINAL))
    first = [calls("call_1"), result("call_1")]
    with instrumented.tracer_provider.get_tracer("agents").start_as_current_span("both"):
        await ask(caller, "a")
        await ask(caller, "a, again", *first)
        await ask(caller, "b")
        await ask(caller, "a, at last", *first, calls("call_2"), result("call_2"))
    assert linked(instrumented) == {"a, again": ["a"], "a, at last": ["a, again"]}


async def test_shared_ids_in_traces_of_their_own(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(calling("call_1"), calling("call_1"), FINAL, FINAL, FINAL))
    tracer = instrumented.tracer_provider.get_tracer("agents")
    traces = {who: set_span_in_context(tracer.start_span(who)) for who in "ab"}
    answered = (calls("call_1"), result("call_1"))
    for who, messages in (("a", ()), ("b", ()), ("a", answered), ("a", answered), ("b", answered)):
        token = attach(traces[who])
        await ask(caller, who, *messages)
        detach(token)
    assert linked(instrumented) == {"a": ["a"], "b": ["b"]}
    # A repeated result is linked again, but not measured.
    assert [len(span.links) for span in instrumented.spans] == [0, 0, 1, 1, 1]
    assert turnarounds(instrumented) == {"a": 1, "b": 1}


@needs_responses
async def test_shared_ids_of_responses(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """The response that a request continues from decides which call is meant."""
    called = [
        Answer(response(function_call("add_task", ARGUMENTS, call_id="call_1"), id=f"resp_{who}")) for who in "ab"
    ]
    caller = connect(serve([called[0]], [called[1]], *[[Answer(response(message("Done.")))]] * 2))
    with instrumented.tracer_provider.get_tracer("agents").start_as_current_span("both"):
        for who in "ab":
            await caller.respond(model=who)
        for who in "ab":
            await caller.respond(model=who, input=[output("call_1")], previous_response_id=f"resp_{who}")
    assert linked(instrumented) == {"a": ["a"], "b": ["b"]}
    assert turnarounds(instrumented) == {"a": 1, "b": 1}


def test_calls_with_the_same_id_are_bounded() -> None:
    """And a forgotten call of a trace is not mistaken for another call with its id."""
    tracer = Seen().tracer_provider.get_tracer("t")
    forgotten: list[None] = []
    recent = RecentCalls(lambda: forgotten.append(None))
    with tracer.start_as_current_span("all") as root:
        spans = [tracer.start_span("s").get_span_context() for _ in range(1000)]
    for number, span in enumerate(spans):
        recent.remember([("call_1", str(number))], span, 0)
    assert len(forgotten) == 1000 - 8
    for tools in ((), (("call_1", "999"),), (("call_1", "0"),)):
        turn = Turn(results=("call_1",), tools=tools)
        assert recent.match_results(turn, root.get_span_context().trace_id, 1) == []
    assert recent.span_of("call_1", root.get_span_context().trace_id) is None


async def test_a_reused_id_after_its_result(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(calling("call_0"), calling("call_0"), FINAL))
    answered = [USER, calls("call_0"), result("call_0")]
    again = [*answered, calls("call_0"), result("call_0")]
    await turns(caller, [USER], answered, again)
    one, two, three = instrumented.spans
    assert links(two) == [(span_id(one), "call_0")]
    assert links(three) == [(span_id(two), "call_0")]
    assert anomalies(three) == []


async def test_a_generator_of_messages_is_not_read(instrumented: Seen, serve: Serve) -> None:
    server = serve(*FINAL)
    caller = SyncCaller(server.base_url)

    def conversation() -> Iterator[Any]:
        yield USER
        yield result("c0")

    await turns(caller, conversation())  # type: ignore[arg-type]
    assert len(server.requests[0].body["messages"]) == 2
    assert instrumented.anomalies == []
    await caller.close_client()


# The Responses API --------------------------------------------------------------------------------------------


def output(call_id: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": "ok"}


@needs_responses
async def test_responses_with_the_whole_conversation(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    items = [function_call("add_task", ARGUMENTS, call_id=one) for one in ("c1", "c2")]
    caller = connect(serve(response_events(*items), response_events(message("Done."))))
    await caller.read(await caller.respond(stream=True))
    await caller.read(await caller.respond(stream=True, input=[USER, *items, output("c1"), output("c2")]))
    one, two = instrumented.spans
    assert links(two) == [(span_id(one), "c1"), (span_id(one), "c2")]
    assert anomalies(two) == []


@needs_responses
@pytest.mark.parametrize(
    ("results", "named"),
    [
        (["c1", "c2"], []),
        (["c1"], ["unanswered_call"]),
        (["c1", "c2", "c9"], ["result_without_call"]),
        (["c1", "c2", "c2"], ["duplicate_result"]),
    ],
)
async def test_responses_that_continue_another(
    instrumented: Seen, serve: Serve, connect: Connect, results: list[str], named: list[str]
) -> None:
    """Only the server has the calls, but calls of this process are remembered."""
    items = [function_call("add_task", ARGUMENTS, call_id=one) for one in ("c1", "c2")]
    caller = connect(serve([Answer(response(*items))], [Answer(response(message("Done.")))]))
    before = await caller.respond()
    await caller.respond(input=[output(one) for one in results], previous_response_id=before.id)
    one, two = instrumented.spans
    assert {made_by for made_by, _ in links(two)} == {span_id(one)}
    assert anomalies(two) == named


def answered_with(*items: dict[str, Any], id_: str, **fields: Any) -> list[Any]:
    return [Answer(response(*items, id=id_, **fields))]


@needs_responses
async def test_a_result_that_was_sent_before(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """Sent again right after the response to it, and once more later."""
    called = function_call("add_task", ARGUMENTS, call_id="c1")
    answers = [answered_with(called, id_="r1"), *(answered_with(message("Hm."), id_=f"r{n}") for n in (2, 3, 4, 5))]
    caller = connect(serve(*answers))
    await caller.respond()
    await caller.respond(input=[output("c1")], previous_response_id="r1")
    await caller.respond(input=[output("c1")], previous_response_id="r2")
    await caller.respond(input="And now?", previous_response_id="r3")
    await caller.respond(input=[output("c1")], previous_response_id="r4")
    assert [anomalies(span) for span in instrumented.spans] == [[], [], ["duplicate_result"], [], ["duplicate_result"]]
    assert turnarounds(instrumented) == {"tiny": 1}


@needs_responses
async def test_one_fault_has_one_name(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    called = [function_call("add_task", ARGUMENTS, call_id=one) for one in ("c1", "c2")]
    caller = connect(serve(*(answered_with(one, id_=one["call_id"]) for one in called), answered_with(id_="r3")))
    await caller.respond()
    await caller.respond(input=[output("c1")], previous_response_id="c1")
    await caller.respond(input=[output("c1"), output("c1"), output("c2")], previous_response_id="c2")
    assert [anomalies(span) for span in instrumented.spans] == [[], [], ["duplicate_result"]]


@needs_responses
async def test_a_result_that_must_be_sent_again(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """The server refused it, or failed, or the caller continues from the same response in another way."""
    called = function_call("add_task", ARGUMENTS, call_id="c1")
    failed = response_events(status="failed", error={"code": "server_error", "message": "sorry"}, id="r2")
    answers = [answered_with(called, id_="r1"), [Answer(error_event("busy"), status=400)], failed]
    caller = connect(serve(*answers, *(answered_with(message("Hm."), id_=f"r{n}") for n in (3, 4))))
    await caller.respond()
    again = {"input": [output("c1")], "previous_response_id": "r1"}
    with pytest.raises(openai.BadRequestError):
        await caller.respond(**again)
    await caller.read(await caller.respond(**again, stream=True))
    await caller.respond(**again)
    await caller.respond(**again)
    assert [anomalies(span) for span in instrumented.spans if "error.type" not in (span.attributes or {})] == [[]] * 3


@needs_responses
async def test_a_result_in_a_failed_request(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """The failed request is not part of the conversation that the caller continues."""
    called = function_call("add_task", ARGUMENTS, call_id="c1")
    answers = [answered_with(called, id_="r1"), [Answer(error_event("busy"), status=400)]]
    caller = connect(serve(*answers, *(answered_with(message("Hm."), id_=f"r{n}") for n in (2, 3))))
    await caller.respond()
    with pytest.raises(openai.BadRequestError):
        await caller.respond(input=[output("c1")], previous_response_id="r1")
    await caller.respond(input="Never mind.", previous_response_id="r1")
    await caller.respond(input=[output("c1")], previous_response_id="r2")
    assert "duplicate_result" not in [name for span in instrumented.spans for name in anomalies(span)]


@needs_responses
@pytest.mark.parametrize("ids", [["r1", "r2", "r3"], ["r", "r", "r"], ["r1", "r2", "r2"]])
async def test_a_result_with_a_reused_id(instrumented: Seen, serve: Serve, connect: Connect, ids: list[str]) -> None:
    called = function_call("add_task", ARGUMENTS, call_id="c1")
    caller = connect(serve(*(answered_with(called, id_=one) for one in ids), answered_with(message("Hm."), id_="r9")))
    await caller.respond()
    for one in ids:
        await caller.respond(input=[output("c1")], previous_response_id=one)
    assert [anomalies(span) for span in instrumented.spans] == [[]] * 4


@needs_responses
async def test_the_result_of_a_local_shell_may_name_an_item(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """Only the server has the item, so which call this answers is unknown."""
    shells = [{"type": "local_shell_call", "id": f"i{n}", "call_id": f"c{n}", "action": {"env": n}} for n in (1, 2)]
    caller = connect(serve(answered_with(*shells, id_="r1"), answered_with(message("Hm."), id_="r2")))
    tools = [{"type": "local_shell"}]
    await caller.respond(tools=tools)
    results = [{"type": "local_shell_call_output", "id": one, "output": "done"} for one in ("i1", "c2")]
    await caller.respond(tools=tools, input=[*results, output("c9")], previous_response_id="r1")
    assert [anomalies(span) for span in instrumented.spans] == [[], ["result_without_call"]]


def test_remembered_results_are_bounded() -> None:
    span = Seen().tracer_provider.get_tracer("t").start_span("s").get_span_context()
    recent = RecentCalls(lambda: None, most=2)
    previous = None
    for number in range(200):
        recent.remember_results(Turn(results=(f"c{number}",), previous_response=previous), span, f"r{number}")
        previous = f"r{number}"
    results = tuple(f"c{number}" for number in range(200))
    assert len(recent.complete_turn(Turn(results=results, previous_response="r199")).repeated) == 64
    assert recent.complete_turn(Turn(results=results, previous_response="r197")).repeated == ()


@needs_responses
async def test_responses_of_unknown_conversations(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(Answer(response(message("Done.")))))
    await caller.respond(input=[output("c1")], previous_response_id="resp_of_another_process")
    await caller.respond(input=[output("c1")], conversation="conv_1")
    for item in ({"type": "item_reference", "id": "fc_1"}, {"id": "fc_1"}, {"type": "compaction", "id": "cmp_1"}):
        await caller.respond(input=[item, output("c1")])
    assert [anomalies(span) for span in instrumented.spans] == [[]] * 5


@needs_responses
async def test_responses_that_continue_another_with_calls_of_their_own(
    instrumented: Seen, serve: Serve, connect: Connect
) -> None:
    """For example a framework that hands over a conversation and made the second call itself."""
    first, second = (function_call("add_task", ARGUMENTS, call_id=one) for one in ("c1", "c2"))
    caller = connect(serve([Answer(response(first))], [Answer(response(message("Done.")))]))
    before = await caller.respond()
    await caller.respond(input=[output("c1"), second, output("c2")], previous_response_id=before.id)
    one, two = instrumented.spans
    assert links(two) == [(span_id(one), "c1")]
    assert anomalies(two) == []


# Results without a call ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([USER], []),
        ([USER, says("hello"), USER], []),
        ([USER, calls("c1"), result("c1"), says("done"), USER], []),
        ([USER, calls("c1"), result("c2")], ["result_without_call", "unanswered_call"]),
        ([result("c1")], ["result_without_call"]),
        ([USER, calls("c1"), result("c1"), result(None)], ["result_without_call"]),
        ([USER, calls("c1", "c2"), result("c2")], ["unanswered_call"]),
        ([USER, calls("c1"), USER], ["unanswered_call"]),
        ([USER, calls("c1")], ["unanswered_call"]),
        ([USER, calls("c1"), result("c1"), result("c1")], ["duplicate_result"]),
        ([USER, calls("c1"), result("c1"), calls("c2"), result("c2"), result("c1")], ["duplicate_result"]),
        # Late, but only once.
        ([USER, calls("c1"), USER, calls("c2"), result("c2"), result("c1")], []),
        # Faults of an earlier turn are reported by that turn's request only.
        ([USER, calls("c1"), USER, says("well"), USER], []),
        ([USER, calls("c1"), result("c1"), calls("c1"), result("c1")], []),
        # The beginning of an answer for the model to continue.
        ([USER, calls("c1"), result("c1"), says("It is")], []),
        ([USER, calls("c1"), says("It is")], ["unanswered_call"]),
        # The model's fault, which was reported when it made the calls.
        ([USER, calls("c1", "c1"), result("c1"), result("c1")], []),
        ([USER, calls("c1", "c1"), *[result("c1")] * 3], ["duplicate_result"]),
        ([USER, calls(*MANY), *map(result, MANY)], []),
        ([USER, calls(*MANY), USER, says("well"), *map(result, MANY)], []),
        ([USER, {"role": "assistant", "function_call": {}}, {"role": "function", "name": "f", "content": ""}], []),
    ],
)
async def test_results(
    instrumented: Seen, serve: Serve, connect: Connect, messages: list[Any], named: list[str]
) -> None:
    await turns(connect(serve(*FINAL)), messages)
    assert instrumented.anomalies == named
    assert [points[0]["otel_llm.anomaly.type"] for points in instrumented.metric("otel_llm.anomaly.count")] == named


def details(span: ReadableSpan) -> list[Any]:
    return [(event.attributes or {}).get("otel_llm.anomaly.detail") for event in span.events if "anomaly" in event.name]


async def test_a_history_that_lost_its_calls(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """The call was made, so the span is linked to it; the request lacks it, and the detail says only that."""
    caller = connect(serve(calling("c1"), FINAL))
    await turns(caller, [USER], [USER, result("c1")])
    one, two = instrumented.spans
    assert links(two) == [(span_id(one), "c1")]
    assert details(two) == ["a result for c1, which is no call in the conversation that was sent"]


@needs_responses
async def test_a_result_without_a_call_in_the_previous_response(
    instrumented: Seen, serve: Serve, connect: Connect
) -> None:
    called = function_call("add_task", ARGUMENTS, call_id="c1")
    caller = connect(serve(answered_with(called, id_="r1"), answered_with(message("Hm."), id_="r2")))
    await caller.respond()
    await caller.respond(input=[output("c1"), output("c2")], previous_response_id="r1")
    assert details(instrumented.spans[1]) == ["a result for c2, which is no call in the previous response"]


async def test_anomalies_are_reported_if_the_server_refuses_the_request(
    instrumented: Seen, serve: Serve, connect: Connect
) -> None:
    """That is when the anomalies are needed."""
    caller = connect(serve(Answer(error_event("no tool call c1"), status=400)))
    with pytest.raises(openai.BadRequestError):
        await caller.create(messages=[USER, result("c1")])
    assert instrumented.anomalies == ["result_without_call"]


@pytest.mark.parametrize("value", [None, 3, "x", [], {}, {"role": "tool", "tool_call_id": {}}, {"role": []}, object()])
def test_nonsense(value: Any) -> None:
    for messages in (value, [value], [USER, value, calls("c1"), value, result("c1"), value]):
        read_turn({"messages": messages})
        read_turn({"input": messages})
    assert read_turn({"messages": [calls("c1"), value, result("c1")]}) is not None


def test_an_endless_conversation_is_read_at_its_end() -> None:
    class Counted(dict[str, Any]):
        reads = 0

        def get(self, key: Any, default: Any = None) -> Any:
            Counted.reads += 1
            return super().get(key, default)

    step = [Counted(calls("c1")), Counted(result("c1"))]
    turn = read_turn({"messages": [Counted(USER), *step * 5000]})
    assert turn is not None
    assert turn.results == ("c1",)
    assert Counted.reads < 200


# Bounded memory -----------------------------------------------------------------------------------------------


async def test_forgotten_calls_are_counted(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_links.RecentCalls.__init__, "__defaults__", (2,))
    seen = instrument()
    caller = connect(serve(calling("c1", "c2"), FINAL, calling("c3"), calling("c4", "c5"), FINAL))
    answered = [USER, calls("c1", "c2"), result("c1")]
    await turns(caller, [USER], answered, [USER], [USER], answered)
    # c1 had a result; c4 and c5 are kept.
    assert seen.metric("otel_llm.tool_call.forgotten") == [({}, 2)]
    assert links(seen.spans[-1]) == []


def test_many_threads() -> None:
    """Each thread answers its own calls: no call is lost or counted twice."""
    seen = Seen()
    tracer = seen.tracer_provider.get_tracer("t")
    forgotten: list[None] = []
    recent = RecentCalls(lambda: forgotten.append(None), most=1000)
    found: list[int] = []

    def work(number: int) -> None:
        count = 0
        for step in range(200):
            span = tracer.start_span("s").get_span_context()
            recent.remember([(f"{number}-{step}", "t")], span, 0)
            count += len(recent.match_results(Turn(results=(f"{number}-{step}",)), span.trace_id, 1))
        found.append(count)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [200] * 8
    assert forgotten == []


async def test_turnarounds_without_tracing(instrument: Callable[..., Seen], serve: Serve) -> None:
    """All requests then have the same, invalid span."""
    seen = Seen()
    OpenAIInstrumentor().instrument(**seen.providers | {"tracer_provider": NoOpTracerProvider()})
    caller = SyncCaller(serve(calling("call_0"), calling("call_0"), FINAL).base_url)
    answered = [USER, calls("call_0"), result("call_0")]
    await turns(caller, [USER], answered, [*answered, calls("call_0"), result("call_0")])
    ((_, (count, _)),) = seen.metric("otel_llm.tool_call.turnaround")
    assert count == 2
    await caller.close_client()


def test_an_undeclared_tool_has_no_name_in_metrics(instrumented: Seen, serve: Serve) -> None:
    caller = SyncCaller(serve(calling("c1"), FINAL).base_url)
    for messages in ([USER], [USER, calls("c1"), result("c1")]):
        tools = [{"type": "function", "function": {**ADD_TASK["function"], "name": "other"}}]
        for _ in caller.client.chat.completions.create(model="m", messages=messages, tools=tools, stream=True):
            pass
    ((attributes, _),) = instrumented.metric("otel_llm.tool_call.turnaround")
    assert attributes["gen_ai.tool.name"] == "_OTHER"
    caller.client.close()
