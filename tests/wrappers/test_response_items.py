"""The output items of the Responses API: calls of the application's, and what the server ran by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from otel_llm.demo.scripted_responses import custom_tool_call, function_call, message, response, response_events
from otel_llm.demo.scripted_server import Answer, ScriptedServer
from tests.helpers.callers import RESPONSE_TOOL, SyncCaller
from tests.helpers.sdk_versions import needs_responses
from tests.helpers.seen import Seen

pytestmark = needs_responses

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]
Item = dict[str, Any]

SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}}
RUN_BY_SERVER: list[Item] = [
    SEARCH,
    {"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": ["x"], "results": None},
    {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBORw0KGgo="},
    {
        "type": "code_interpreter_call",
        "id": "ci_1",
        "status": "completed",
        "code": "1+1",
        "container_id": "cntr_1",
        "outputs": [],
    },
    {
        "type": "mcp_call",
        "id": "mcp_1",
        "server_label": "wiki",
        "name": "read",
        "arguments": "{}",
        "output": "page",
    },
    {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "wiki", "name": "read", "arguments": "{}"},
    {
        "type": "tool_search_call",
        "id": "tsc_1",
        "call_id": None,
        "execution": "server",
        "status": "completed",
        "arguments": {"paths": ["crm"]},
    },
    {
        "type": "shell_call",
        "id": "sh_1",
        "call_id": "call_s",
        "status": "completed",
        "action": {"commands": ["ls"], "timeout_ms": None, "max_output_length": None},
        "environment": {"type": "container_reference", "container_id": "cntr_1"},
    },
    {"type": "openrouter:web_search", "id": "or_1", "status": "completed"},
    {"type": "openpage_call", "id": "op_1", "status": "completed"},
]
COMMANDS = {"commands": ["ls", "pwd"], "timeout_ms": 1000, "max_output_length": None}
PATCH = {"type": "update_file", "path": "a.py", "diff": "@@\n-1\n+2\n"}
CLICK = {"type": "click", "button": "left", "x": 1, "y": 2}
WAIT = {"type": "wait"}
EXEC = {"type": "exec", "command": ["ls", "-l"], "env": {}}
BY_THE_APPLICATION: list[tuple[Item, Item, str, Any]] = [
    (
        {"type": "computer_call", "id": "cu_1", "call_id": "c", "action": CLICK, "pending_safety_checks": []},
        {"type": "computer_use_preview", "display_width": 9, "display_height": 9, "environment": "browser"},
        "computer",
        CLICK,
    ),
    (
        {"type": "computer_call", "id": "cu_1", "call_id": "c", "actions": [CLICK, WAIT], "pending_safety_checks": []},
        {"type": "computer"},
        "computer",
        {"actions": [CLICK, WAIT]},
    ),
    (
        {"type": "local_shell_call", "id": "lsh_1", "call_id": "c", "action": EXEC},
        {"type": "local_shell"},
        "local_shell",
        EXEC,
    ),
    (
        {"type": "shell_call", "id": "sh_1", "call_id": "c", "action": COMMANDS, "environment": {"type": "local"}},
        {"type": "shell", "environment": {"type": "local"}},
        "shell",
        COMMANDS,
    ),
    ({"type": "shell_call", "id": "sh_1", "call_id": "c", "action": COMMANDS}, {"type": "shell"}, "shell", COMMANDS),
    (
        {"type": "apply_patch_call", "id": "ap_1", "call_id": "c", "operation": PATCH},
        {"type": "apply_patch"},
        "apply_patch",
        PATCH,
    ),
    (
        {
            "type": "tool_search_call",
            "id": "tsc_1",
            "call_id": "c",
            "execution": "client",
            "arguments": {"goal": "mail"},
        },
        {"type": "tool_search", "execution": "client", "parameters": {}},
        "tool_search",
        {"goal": "mail"},
    ),
]
RESULTS = {
    "computer_call": "computer_call_output",
    "local_shell_call": "local_shell_call_output",
    "shell_call": "shell_call_output",
    "apply_patch_call": "apply_patch_call_output",
    "tool_search_call": "tool_search_output",
}
X_SEARCH = custom_tool_call("x_keyword_search", '{"query": "otel"}', call_id="xs_call_1") | {"status": "completed"}


def kind_of(value: Any) -> Any:
    return value["type"] if isinstance(value, dict) and "type" in value else None


async def answered(connect: Connect, serve: Serve, *items: Item, streamed: bool = True, **kwargs: Any) -> None:
    caller = connect(serve(*(response_events(*items) if streamed else [Answer(response(*items))])))
    result = await caller.respond(stream=streamed, **kwargs)
    if streamed:
        await caller.read(result)


both_ways = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])


@both_ways
@pytest.mark.parametrize("item", RUN_BY_SERVER, ids=kind_of)
async def test_a_required_call_that_the_server_ran(
    instrumented: Seen, serve: Serve, connect: Connect, item: Item, streamed: bool
) -> None:
    await answered(
        connect,
        serve,
        item,
        message("Here."),
        streamed=streamed,
        tools=[{"type": "web_search"}],
        tool_choice="required",
    )
    assert instrumented.anomalies == []
    assert instrumented.attributes["otel_llm.stream.tool_call_count"] == 0
    assert instrumented.attributes["gen_ai.response.finish_reasons"] == ("stop",)


@both_ways
@pytest.mark.parametrize(
    "item", [{"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "wiki", "tools": []}], ids=kind_of
)
async def test_an_item_that_is_no_call(
    instrumented: Seen, serve: Serve, connect: Connect, item: Item, streamed: bool
) -> None:
    await answered(connect, serve, item, message("No."), streamed=streamed, tool_choice="required")
    assert instrumented.anomalies == ["tool_choice_violated"]


@both_ways
@pytest.mark.parametrize(("item", "tool", "name", "arguments"), BY_THE_APPLICATION, ids=kind_of)
async def test_a_call_that_the_application_answers(
    instrumented: Seen,
    serve: Serve,
    connect: Connect,
    item: Item,
    tool: Item,
    name: str,
    arguments: Any,
    streamed: bool,
) -> None:
    item = item | {"status": "completed"}
    kwargs = {"tools": [tool, RESPONSE_TOOL], "tool_choice": "required"}
    await answered(connect, serve, item, streamed=streamed, **kwargs)
    result = {"type": RESULTS[item["type"]], "output": "done", "call_id": "c"}
    if item["type"] == "local_shell_call":
        del result["call_id"]
        result["id"] = item["id"]
    await answered(connect, serve, message("Done."), streamed=streamed, **kwargs, input=[item, result])
    made, answering = instrumented.spans
    assert (made.attributes or {})["gen_ai.response.finish_reasons"] == ("tool_calls",)
    (completed,) = [event.attributes or {} for event in made.events if event.name == "otel_llm.tool_call.completed"]
    assert completed["gen_ai.tool.name"] == name
    assert completed["gen_ai.tool.call.id"] == "c"
    assert json.loads(str(completed["gen_ai.tool.call.arguments"])) == arguments
    assert [event for event in made.events if event.name == "otel_llm.anomaly"] == []
    (link,) = answering.links
    assert made.context is not None
    assert link.context.span_id == made.context.span_id
    assert (link.attributes or {})["gen_ai.tool.name"] == name
    ((labels, count),) = instrumented.metric("otel_llm.tool_call.count")
    assert (labels["gen_ai.tool.name"], count) == (name, 1)


async def test_a_call_that_only_the_end_tells(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    item = BY_THE_APPLICATION[5][0]
    events = [event for event in response_events(item) if "output_item" not in event["type"]]
    caller = connect(serve(*events))
    await caller.read(await caller.respond(stream=True, tools=[{"type": "apply_patch"}]))
    (completed,) = instrumented.events("otel_llm.tool_call.completed")
    assert json.loads(str((completed.attributes or {})["gen_ai.tool.call.arguments"])) == PATCH
    assert instrumented.anomalies == []


async def test_a_call_that_was_cut_off(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """The item begins with what it has so far, which is no argument yet."""
    item = BY_THE_APPLICATION[4][0]
    begun = item | {"status": "in_progress", "action": {"commands": []}}
    events = response_events(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    events.insert(2, {"type": "response.output_item.added", "output_index": 0, "sequence_number": 2, "item": begun})
    caller = connect(serve(*events))
    await caller.read(await caller.respond(stream=True, tools=[{"type": "shell"}]))
    assert instrumented.anomalies == ["truncated"]


async def test_a_call_of_a_tool_that_was_not_declared(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    await answered(connect, serve, BY_THE_APPLICATION[4][0])
    assert instrumented.anomalies == ["unknown_tool"]


@both_ways
async def test_a_custom_tool_call_that_the_server_ran(
    instrumented: Seen, serve: Serve, connect: Connect, streamed: bool
) -> None:
    kwargs = {"tools": [{"type": "x_search"}, RESPONSE_TOOL], "tool_choice": "required"}
    await answered(connect, serve, X_SEARCH, message("Posts."), streamed=streamed, **kwargs)
    assert instrumented.anomalies == []
    assert instrumented.attributes["otel_llm.stream.tool_call_count"] == 0
    assert instrumented.attributes["otel_llm.stream.text_only"] is True
    assert instrumented.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert instrumented.events("otel_llm.tool_call.detected") == []


@both_ways
async def test_a_custom_tool_beside_those_of_the_server(
    instrumented: Seen, serve: Serve, connect: Connect, streamed: bool
) -> None:
    tools = [{"type": "x_search"}, {"type": "custom", "name": "note"}]
    await answered(connect, serve, X_SEARCH, custom_tool_call("note", "milk"), streamed=streamed, tools=tools)
    assert instrumented.anomalies == []
    (completed,) = instrumented.events("otel_llm.tool_call.completed")
    assert (completed.attributes or {})["gen_ai.tool.name"] == "note"
    assert (completed.attributes or {})["gen_ai.tool.call.arguments"] == "milk"


@both_ways
async def test_a_function_call_of_which_all_is_empty(
    instrumented: Seen, serve: Serve, connect: Connect, streamed: bool
) -> None:
    await answered(connect, serve, function_call("", "", call_id=""), message("4"), streamed=streamed)
    assert instrumented.anomalies == []
    assert instrumented.attributes["otel_llm.stream.tool_call_count"] == 0


@pytest.mark.parametrize("kind", ["additional_tools", "tool_search_output"])
async def test_tools_that_an_input_item_declares(instrumented: Seen, serve: Serve, connect: Connect, kind: str) -> None:
    history = [{"role": "user", "content": "add"}, {"type": kind, "role": "developer", "tools": [RESPONSE_TOOL]}]
    call = function_call("add_task", '{"title": 5}')
    await answered(connect, serve, call, input=history, tools=[{"type": "tool_search"}])
    assert instrumented.anomalies == ["schema_violation"]
    ((labels, _),) = instrumented.metric("otel_llm.tool_call.count")
    assert labels["gen_ai.tool.name"] == "add_task"


async def test_tools_that_the_server_has_from_an_earlier_item(
    instrumented: Seen, serve: Serve, connect: Connect
) -> None:
    """The request that continues from a response does not repeat the item, nor does the one after it."""
    item = {"type": "additional_tools", "role": "developer", "tools": [RESPONSE_TOOL]}
    call, other = function_call("add_task", '{"title": "a"}'), function_call("b", "{}", call_id="call_2")
    done = {"type": "function_call_output", "call_id": "call_1", "output": "ok"}
    responses = [response(call), response(call) | {"id": "resp_2"}, response(call, other) | {"id": "resp_3"}]
    caller = connect(serve(*([Answer(body)] for body in responses)))
    kwargs: dict[str, Any] = {"tools": [{"type": "tool_search"}]}
    await caller.respond(**kwargs, input=[{"role": "user", "content": "add"}, item])
    await caller.respond(**kwargs, input=[done], previous_response_id=responses[0]["id"])
    await caller.respond(**kwargs, input=[done], previous_response_id="resp_2")
    assert types_by_span(instrumented) == [[], [], ["unknown_tool"]]


LEFT_OPEN = {"type": "tool_search"}
SEARCHED = {
    "type": "tool_search_call",
    "id": "tsc_1",
    "call_id": "call_s",
    "execution": "client",
    "status": "completed",
    "arguments": {"goal": "tasks"},
}
FOUND = {"type": "tool_search_output", "call_id": "call_s", "execution": "client", "tools": [RESPONSE_TOOL]}
DONE = {"type": "function_call_output", "call_id": "call_1", "output": "ok"}
ADD = function_call("add_task", '{"title": "a"}')


def types_by_span(seen: Seen) -> list[list[Any]]:
    """The anomalies of each request, but for the ids, which the scripted server gives again."""
    names = [
        [(event.attributes or {})["otel_llm.anomaly.type"] for event in span.events if event.name == "otel_llm.anomaly"]
        for span in seen.spans
    ]
    return [[name for name in of_span if name != "id_reused"] for of_span in names]


@both_ways
@pytest.mark.parametrize("said", [{"execution": "client"}, {}], ids=["client", "nothing"])
async def test_a_search_that_the_request_left_open_is_the_applications(
    instrumented: Seen, serve: Serve, connect: Connect, said: Item, streamed: bool
) -> None:
    item = {name: value for name, value in SEARCHED.items() if name != "execution"} | said
    await answered(connect, serve, item, streamed=streamed, tools=[LEFT_OPEN])
    assert instrumented.anomalies == []
    ((labels, count),) = instrumented.metric("otel_llm.tool_call.count")
    assert (labels["gen_ai.tool.name"], count) == ("tool_search", 1)


@pytest.mark.parametrize("tools", [[], [LEFT_OPEN | {"execution": "server"}]], ids=["none", "of the server"])
async def test_a_search_that_the_application_was_not_to_run(
    instrumented: Seen, serve: Serve, connect: Connect, tools: list[Item]
) -> None:
    await answered(connect, serve, SEARCHED, tools=tools)
    assert instrumented.anomalies == ["unknown_tool"]


async def test_tools_that_the_application_found(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    """It sends them once; the requests after that continue from there, or hold the whole conversation."""
    other = function_call("b", "{}", call_id="call_2")
    outputs = [[SEARCHED], [ADD], [ADD, other], [ADD]]
    bodies = [response(*items) | {"id": f"resp_{number}"} for number, items in enumerate(outputs)]
    caller = connect(serve(*([Answer(body)] for body in bodies)))
    await caller.respond(input="Add a", tools=[LEFT_OPEN])
    await caller.respond(input=[FOUND], previous_response_id="resp_0", tools=[LEFT_OPEN])
    await caller.respond(input=[DONE], previous_response_id="resp_1", tools=[LEFT_OPEN])
    whole = [{"role": "user", "content": "Add a"}, SEARCHED, FOUND, ADD, DONE]
    await caller.respond(input=whole, tools=[LEFT_OPEN])
    assert types_by_span(instrumented) == [[], [], ["unknown_tool"], []]


@pytest.mark.parametrize("before", [{"previous_response_id": "resp_elsewhere"}, {"conversation": "conv_1"}], ids=str)
@pytest.mark.parametrize(
    ("search", "expected"), [(LEFT_OPEN, []), (LEFT_OPEN | {"execution": "server"}, ["unknown_tool"])]
)
async def test_tools_found_in_a_conversation_that_only_the_server_has(
    instrumented: Seen, serve: Serve, connect: Connect, before: Item, search: Item, expected: list[str]
) -> None:
    bodies = [response(ADD) | {"id": f"resp_{number}"} for number in range(2)]
    caller = connect(serve(*([Answer(body)] for body in bodies)))
    await caller.respond(input="Go on", tools=[search], **before)
    # What is unknown stays so.
    before = before if "conversation" in before else {"previous_response_id": "resp_0"}
    await caller.respond(input=[DONE], tools=[search], **before)
    assert types_by_span(instrumented) == [expected, expected]


async def test_tools_that_the_server_found_earlier(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    found = {"type": "tool_search_output", "id": "tso_1", "call_id": None, "tools": [RESPONSE_TOOL]}
    bodies = [response(found, ADD), response(ADD) | {"id": "resp_2"}]
    caller = connect(serve(*([Answer(body)] for body in bodies)))
    await caller.respond(input="Add a", tools=[LEFT_OPEN])
    await caller.respond(input=[DONE], tools=[LEFT_OPEN], previous_response_id=bodies[0]["id"])
    assert types_by_span(instrumented) == [[], []]


async def test_a_function_that_is_called_like_the_search(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    tool = RESPONSE_TOOL | {"name": "tool_search"}
    await answered(connect, serve, function_call("b", "{}"), tools=[tool], previous_response_id="resp_0")
    assert instrumented.anomalies == ["unknown_tool"]


async def test_tools_that_an_output_item_declares(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    found = {
        "type": "tool_search_output",
        "id": "tso_1",
        "call_id": None,
        "execution": "server",
        "tools": [RESPONSE_TOOL],
    }
    call = function_call("add_task", '{"title": "a"}')
    await answered(connect, serve, found, call, tools=[{"type": "tool_search"}])
    assert instrumented.anomalies == []


async def test_a_search_for_tools_makes_no_other_name_possible(
    instrumented: Seen, serve: Serve, connect: Connect
) -> None:
    await answered(connect, serve, function_call("b", "{}"), tools=[{"type": "tool_search"}, RESPONSE_TOOL])
    assert instrumented.anomalies == ["unknown_tool"]


async def test_a_declared_tool_beside_those_of_the_server_has_its_name_in_metrics(
    instrumented: Seen, serve: Serve, connect: Connect
) -> None:
    call = function_call("add_task", '{"title": "a"}')
    await answered(connect, serve, call, tools=[{"type": "web_search"}, RESPONSE_TOOL])
    ((labels, _),) = instrumented.metric("otel_llm.tool_call.count")
    assert labels["gen_ai.tool.name"] == "add_task"


@both_ways
async def test_a_compaction_is_no_required_call(
    instrumented: Seen, serve: Serve, connect: Connect, streamed: bool
) -> None:
    await answered(connect, serve, COMPACTION, message("No."), streamed=streamed, tool_choice="required")
    assert instrumented.anomalies == ["tool_choice_violated"]


COMPACTION = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA"}


@both_ways
async def test_a_compaction(
    instrument: Callable[..., Seen],
    serve: Serve,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    streamed: bool,
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "span_only")
    seen = instrument()
    await answered(connect, serve, COMPACTION, message("Yes."), streamed=streamed)
    assert seen.attributes["gen_ai.conversation.compacted"] is True
    (sent,) = json.loads(seen.attributes["gen_ai.output.messages"])
    assert [part["type"] for part in sent["parts"]] == ["compaction", "text"]
    assert sent["parts"][0]["id"] == "cmp_1"


async def test_a_compaction_in_the_request(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    await answered(connect, serve, message("Yes."), input=[COMPACTION, {"role": "user", "content": "Go on."}])
    assert instrumented.attributes["gen_ai.conversation.compacted"] is True


async def test_no_compaction(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    await answered(connect, serve, message("Yes."))
    assert "gen_ai.conversation.compacted" not in instrumented.attributes


async def test_a_compaction_before_the_caller_stops(instrumented: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*response_events(COMPACTION, message("Yes."))))
    stream = await caller.respond(stream=True)
    await caller.read(stream, 3)
    await caller.close(stream)
    assert instrumented.attributes["gen_ai.conversation.compacted"] is True
