"""What the application asked for is read, and no iterator is consumed."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import openai
import pydantic
import pytest
from openai import NOT_GIVEN, NotGiven

from otel_llm.protocol.request import ChatRequest, Tool, ToolChoice, read_request
from tests.helpers.sdk_versions import OMIT
from tests.helpers.streams import REQUEST_FIELDS, custom_tool, tool

FUNCTION = tool("add_task", "title")
PARAMETERS = FUNCTION["function"]["parameters"]


NO_ARGUMENTS = ChatRequest(tools={})


class Book(pydantic.BaseModel):
    title: str


def test_a_request_without_arguments() -> None:
    assert read_request({}) == NO_ARGUMENTS
    assert read_request({}).tool_names == frozenset()


@pytest.mark.parametrize("mark", [NOT_GIVEN, NotGiven(), OMIT, None], ids=["NOT_GIVEN", "NotGiven()", "omit", "None"])
def test_an_argument_that_was_not_passed(mark: Any) -> None:
    assert read_request(dict.fromkeys(REQUEST_FIELDS, mark)) == NO_ARGUMENTS


@pytest.mark.parametrize(
    ("stream", "expected"), [(True, True), (1, True), (False, False), (0, False)], ids=["true", "1", "false", "0"]
)
def test_model_and_stream(stream: Any, expected: bool) -> None:
    request = read_request({"model": "gpt-x", "stream": stream})
    assert (request.model, request.stream) == ("gpt-x", expected)


# -- tools --


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param(FUNCTION, Tool("add_task", "function", PARAMETERS), id="function"),
        pytest.param(custom_tool("note"), Tool("note", "custom"), id="custom"),
        pytest.param({"type": "function", "function": {"name": "f"}}, Tool("f"), id="without-parameters"),
        pytest.param({"type": "function", "name": "f"}, Tool("f"), id="flat"),
        pytest.param(
            SimpleNamespace(type="function", function=SimpleNamespace(name="f", parameters={})),
            Tool("f", "function", {}),
            id="object",
        ),
    ],
)
def test_a_declared_tool_is_read(entry: Any, expected: Tool) -> None:
    request = read_request({"tools": [entry]})
    assert request.tools == {expected.name: expected}
    assert request.tool_names == frozenset({expected.name})


def test_a_tool_made_of_a_pydantic_model_is_read() -> None:
    request = read_request({"tools": [openai.pydantic_function_tool(Book, name="get_book")]})
    assert request.tools is not None
    assert request.tools["get_book"].requires_arguments


def test_a_tool_that_is_a_pydantic_model_is_read() -> None:
    class Function(pydantic.BaseModel):
        name: str
        parameters: dict[str, Any]

    class Declared(pydantic.BaseModel):
        function: Function

    request = read_request({"tools": (Declared(function=Function(name="f", parameters={"required": ["a"]})),)})
    assert request.tools is not None
    assert request.tools["f"].requires_arguments


@pytest.mark.parametrize(
    ("parameters", "requires"),
    [
        pytest.param(None, False, id="none"),
        pytest.param({}, False, id="empty"),
        pytest.param({"required": []}, False, id="requires-nothing"),
        pytest.param({"required": None}, False, id="requires-null"),
        pytest.param({"required": True}, False, id="nonsense"),
        pytest.param("text", False, id="text"),
        pytest.param({"required": ["a"]}, True, id="one"),
        pytest.param({"required": ("a", "b")}, True, id="two"),
    ],
)
def test_a_tool_requires_arguments_if_its_schema_does(parameters: Any, requires: bool) -> None:
    assert Tool("f", "function", parameters).requires_arguments is requires


def test_functions_are_declared_tools_too() -> None:
    request = read_request({"functions": [{"name": "old", "parameters": {}}], "tools": [FUNCTION]})
    assert request.tool_names == frozenset({"add_task", "old"})


@pytest.mark.parametrize(
    "entry", [{"type": "web_search"}, {"type": "mcp", "server_label": "x"}, {}, None, "text"], ids=str
)
def test_with_a_tool_of_the_server_any_name_may_be_called(entry: Any) -> None:
    request = read_request({"tools": [FUNCTION, entry]})
    assert request.tools is not None
    assert set(request.tools) == {"add_task"}
    assert request.tool_names is None


@pytest.mark.parametrize("name", ["tools", "functions"])
def test_a_generator_of_tools_is_not_consumed(name: str) -> None:
    def declare() -> Iterator[Any]:
        yield FUNCTION

    declared = declare()
    request = read_request({name: declared})
    assert request.tools is None
    assert request.tool_names is None
    assert list(declared) == [FUNCTION]


def test_nothing_else_is_consumed_or_changed() -> None:
    messages = iter([{"role": "user", "content": "Hi"}])
    kwargs = {"messages": messages, "tools": [FUNCTION], "extra_body": {"tool_choice": "none"}}
    before = dict(kwargs)
    read_request(kwargs)
    assert kwargs == before
    assert len(list(messages)) == 1


def test_an_empty_list_of_tools() -> None:
    assert read_request({"tools": []}).tool_names == frozenset()


# -- tool choice --


@pytest.mark.parametrize(
    ("choice", "expected", "text"),
    [
        pytest.param(None, ToolChoice("auto"), "", id="absent"),
        pytest.param("auto", ToolChoice("auto"), "auto", id="auto"),
        pytest.param("none", ToolChoice("none"), "none", id="none"),
        pytest.param("required", ToolChoice("required"), "required", id="required"),
        pytest.param("any", ToolChoice("required"), "any", id="any"),
        pytest.param("nonsense", ToolChoice("auto"), "nonsense", id="unknown-word"),
        pytest.param(
            {"type": "function", "function": {"name": "f"}}, ToolChoice("named", frozenset({"f"})), "f", id="function"
        ),
        pytest.param({"type": "function", "name": "f"}, ToolChoice("named", frozenset({"f"})), "f", id="flat"),
        pytest.param(
            {"type": "custom", "custom": {"name": "c"}}, ToolChoice("named", frozenset({"c"})), "c", id="custom"
        ),
        pytest.param({"type": "web_search"}, ToolChoice("auto"), "web_search", id="server-tool"),
        pytest.param(
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
            ToolChoice("auto", frozenset({"f"})),
            "f",
            id="allowed-auto",
        ),
        pytest.param(
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"name": "f"}, {"custom": {"name": "c"}}, {"name": "f"}],
                },
            },
            ToolChoice("required", frozenset({"c", "f"})),
            "c, f",
            id="allowed-required",
        ),
        pytest.param(
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"name": "f"}, {"type": "mcp"}]}},
            ToolChoice("auto"),
            "allowed_tools",
            id="allowed-with-a-server-tool",
        ),
        pytest.param(
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
            ToolChoice("auto"),
            "allowed_tools",
            id="allowed-nothing-said",
        ),
        pytest.param({}, ToolChoice("auto"), "", id="empty"),
        pytest.param(5, ToolChoice("auto"), "", id="nonsense"),
    ],
)
def test_tool_choice(choice: Any, expected: ToolChoice, text: str) -> None:
    request = read_request({"tool_choice": choice})
    assert (request.tool_choice, request.tool_choice_text) == (expected, text)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("none", ToolChoice("none")), ("auto", ToolChoice()), ({"name": "f"}, ToolChoice("named", frozenset({"f"})))],
    ids=["none", "auto", "named"],
)
def test_the_legacy_function_call_argument_is_a_tool_choice(choice: Any, expected: ToolChoice) -> None:
    assert read_request({"function_call": choice}).tool_choice == expected


def test_tool_choice_takes_precedence_over_the_legacy_argument() -> None:
    assert read_request({"tool_choice": "required", "function_call": "none"}).tool_choice == ToolChoice("required")


@pytest.mark.parametrize(("value", "expected"), [(True, True), (False, False), (None, None), (0, None), ("no", None)])
def test_parallel_tool_calls_is_a_boolean_or_unknown(value: Any, expected: bool | None) -> None:
    assert read_request({"parallel_tool_calls": value}).parallel_tool_calls is expected


# -- extra_body --


def test_extra_body_takes_precedence_as_on_the_wire() -> None:
    request = read_request(
        {
            "model": "one",
            "tools": [FUNCTION],
            "tool_choice": "auto",
            "parallel_tool_calls": True,
            "extra_body": {"model": "two", "tools": [custom_tool("note")], "tool_choice": "none", "top_k": 5},
        }
    )
    assert (request.model, request.tool_names, request.tool_choice.mode) == ("two", frozenset({"note"}), "none")
    assert request.parallel_tool_calls is True


def test_null_in_extra_body_is_sent_as_null() -> None:
    request = read_request(
        {"tools": [FUNCTION], "tool_choice": "none", "extra_body": {"tools": None, "tool_choice": None}}
    )
    assert (request.tool_names, request.tool_choice) == (frozenset(), ToolChoice())


@pytest.mark.parametrize("extra", ["text", 5, [1], object()], ids=["text", "number", "list", "object"])
def test_an_extra_body_that_is_no_mapping_is_ignored(extra: Any) -> None:
    assert read_request({"model": "m", "extra_body": extra}).model == "m"


# -- tools of the Responses API --

CONTAINER = {"type": "container_auto"}


@pytest.mark.parametrize(
    ("tool", "name"),
    [
        ({"type": "computer"}, "computer"),
        ({"type": "computer_use_preview", "environment": "browser"}, "computer"),
        ({"type": "local_shell"}, "local_shell"),
        ({"type": "shell"}, "shell"),
        ({"type": "shell", "environment": {"type": "local"}}, "shell"),
        ({"type": "apply_patch"}, "apply_patch"),
        ({"type": "tool_search", "execution": "client"}, "tool_search"),
    ],
)
def test_tools_of_the_api_that_the_application_runs(tool: Any, name: str) -> None:
    request = read_request({"tools": [tool], "tool_choice": tool}, "responses")
    assert request.tool_names == frozenset({name})
    assert request.tool_choice == ToolChoice("named", frozenset({name}))
    assert not request.leaves_to_server("anything")


def test_a_shell_in_a_container_is_the_servers() -> None:
    request = read_request({"tools": [{"type": "shell", "environment": CONTAINER}]}, "responses")
    assert request.tool_names is None
    assert request.leaves_to_server("shell")


@pytest.mark.parametrize("tool", [{"type": "tool_search"}, {"type": "tool_search", "execution": "server"}])
def test_a_search_for_tools_declares_nothing(tool: Any) -> None:
    assert read_request({"tools": [tool]}, "responses").tool_names == frozenset()


@pytest.mark.parametrize("kind", ["additional_tools", "tool_search_output"])
def test_tools_that_an_item_declares(kind: str) -> None:
    flat = {"type": "function", "name": "add_task", "parameters": {}}
    items = [{"role": "user", "content": "Hi"}, {"type": kind, "tools": [flat, {"type": "custom", "name": "note"}]}]
    assert read_request({"input": items}, "responses").tool_names == frozenset({"add_task", "note"})
    assert read_request({"input": items, "tools": iter(())}, "responses").tool_names is None
    items.append({"type": kind, "tools": [{"type": "web_search"}]})
    assert read_request({"input": items}, "responses").tool_names is None


@pytest.mark.parametrize("known", [{"previous_response_id": "resp_1"}, {"conversation": "conv_1"}])
def test_an_earlier_search_may_have_found_any_tool(known: Any) -> None:
    tools = [{"type": "tool_search", "execution": "client"}]
    assert read_request({"tools": tools, "input": "Hi"} | known, "responses").tool_names is None


def test_tools_in_a_namespace_are_declared() -> None:
    flat = {"type": "function", "name": "add_task", "parameters": {}}
    request = read_request({"tools": [{"type": "namespace", "name": "crm", "tools": [flat]}]}, "responses")
    assert request.tools is not None
    assert [*request.tools] == ["add_task"]
