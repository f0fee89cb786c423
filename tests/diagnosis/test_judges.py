"""Which anomalies a response has: each type of the contract, and for each rule a harmless stream like it.

The whole list of anomalies is compared each time, so that one too many fails like one too few.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pytest

from otel_llm.demo.scripted_server import ABSENT, chunk, usage_chunk
from otel_llm.diagnosis import judges
from otel_llm.diagnosis.case import Anomaly, Case, Finding
from otel_llm.diagnosis.judges import diagnose
from otel_llm.protocol.choice import Limits
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import read_request
from tests.helpers.ids import stable_id
from tests.helpers.streams import (
    STEP_NS,
    Chunk,
    anomalies_of,
    call,
    calls,
    custom_call,
    custom_tool,
    ends,
    feed,
    legacy,
    record,
    says,
    sdk_completion,
    tool,
    types_of,
    whole_call,
)

ADD = tool("add_task", "title")
LIST = tool("list_tasks")
FIND = tool("find", page={"type": "integer"})
TOOLS = [ADD, LIST, FIND, tool("add"), tool("add_task_list"), custom_tool("note")]
ASKED: dict[str, Any] = {"tools": TOOLS}
UNKNOWN_REQUEST = None
STOPPED = ("closed", "abandoned", "cancelled", "error")
TITLE = '{"title":"buy milk"}'


def asked(**kwargs: Any) -> dict[str, Any]:
    return ASKED | kwargs


def named(name: str) -> dict[str, Any]:
    return asked(tool_choice={"type": "function", "function": {"name": name}})


def allowed(mode: str, *names: str) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return asked(tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}})


def parallel(*deltas: Any) -> list[Chunk]:
    """All deltas in one chunk, then the finish reason."""
    return [calls(*deltas), ends()]


def arguments(text: Any, name: str = "list_tasks", reason: str | None = "tool_calls") -> list[Chunk]:
    """One call in one delta."""
    return [calls(call(0, "call_1", name, text)), *([ends(reason)] if reason else [])]


def row(
    title: str,
    chunks: Iterable[Any],
    *expected: str,
    request: Mapping[str, Any] | None = ASKED,
    outcome: str = "completed",
) -> Any:
    return pytest.param(list(chunks), request, outcome, sorted(expected), id=title)


def check(chunks: list[Any], request: Mapping[str, Any] | None, outcome: Any, expected: list[str]) -> None:
    found = anomalies_of(chunks, request, outcome)
    assert types_of(found) == expected, found


def table(*rows: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("chunks", "asked_for", "outcome", "expected"), rows)


# -- healthy streams --


@table(
    row("text", [says("Hel"), says("lo"), ends("stop")]),
    row("text-cut-by-length", [says("Hel"), ends("length")]),
    row("text-cut-by-content-filter", [says("Hel"), ends("content_filter")]),
    row("refusal", [chunk({"refusal": "No."}), ends("stop")]),
    row("one-call", [*whole_call("add_task", TITLE), ends()]),
    row("one-call-one-delta", arguments(TITLE, "add_task")),
    row("text-then-call", [says("Sure."), *whole_call("add_task", TITLE), ends()]),
    row("finish-with-the-last-delta", [calls(call(0, "call_1", "list_tasks", "{}"), finish="tool_calls")]),
    row("usage-after-the-finish", [*whole_call(), ends(), usage_chunk(1, 2)]),
    row("empty-tool-calls-after-the-finish", [*whole_call(), ends(), chunk({"tool_calls": []})]),
    row("choices-null", [chunk(choices=None), *whole_call(), ends()]),
    row("choices-empty", [chunk(choices=[]), *whole_call(), ends()]),
    row("delta-null", [chunk(choices=[{"index": 0, "delta": None}]), *whole_call(), ends()]),
    row("tool-calls-null", [chunk({"tool_calls": None, "content": None}), *whole_call(), ends()]),
    row("function-call-null", [chunk({"function_call": None}), *whole_call(), ends()]),
    row("function-call-without-anything", [legacy(), *whole_call(), ends()]),
    row("function-call-all-empty", [legacy("", ""), says("4"), legacy(None, None), ends("stop")]),
    row("function-call-all-empty-beside-a-call", [legacy("", ""), *whole_call(), legacy("", ""), ends()]),
    row("function-call-empty-at-first", [legacy("", ""), legacy("add_task", TITLE), ends("function_call")]),
    row("function-call-empty-after-the-finish", [legacy("add_task", TITLE), ends("function_call"), legacy("", "")]),
    row("function-null-in-a-later-delta", [*whole_call(), calls({"index": 0, "function": None}), ends()]),
    row("choice-without-an-index", [chunk({"content": "Hi"}, None, None), ends("stop", choice=None)]),
    row(
        "two-calls",
        [*whole_call("add_task", TITLE), *whole_call(id="call_2", index=1), ends()],
    ),
    row(
        "two-calls-interleaved",
        [
            calls(call(0, "a", "add_task", "")),
            calls(call(1, "b", "list_tasks", "")),
            calls(call(0, arguments='{"title":')),
            calls(call(1, arguments='{"all"')),
            calls(call(0, arguments='"x"}'), call(1, arguments=":1}")),
            ends(),
        ],
    ),
    row(
        "two-calls-in-one-chunk",
        parallel(call(0, "a", "add_task", TITLE), call(1, "b", "list_tasks", "{}")),
    ),
    row(
        "two-choices-interleaved",
        [
            calls(call(0, "a", "add_task", ""), choice=0),
            calls(call(0, "b", "list_tasks", ""), choice=1),
            calls(call(0, arguments=TITLE), choice=0),
            calls(call(0, arguments="{}"), choice=1),
            ends(choice=1),
            ends(choice=0),
        ],
    ),
    row("two-choices-same-call", [*whole_call(choice=0), *whole_call(choice=1), ends(choice=0), ends(choice=1)]),
    row("two-choices-call-and-text", [*whole_call(), says("Hi", choice=1), ends(), ends("stop", choice=1)]),
    row("legacy-function-call", [legacy("add_task", ""), legacy(arguments=TITLE), ends("function_call")]),
    row("legacy-name-only", [legacy("list_tasks"), ends("function_call")]),
    row(
        "custom-tool",
        [
            calls(custom_call(0, "call_1", "note", "")),
            calls(custom_call(0, input="milk, {")),
            calls(custom_call(0, input="eggs")),
            ends(),
        ],
    ),
    row(
        "custom-tool-body-late",
        [
            calls({"index": 0, "id": "call_1", "type": "custom"}),
            calls(custom_call(0, name="note", input="milk")),
            ends(),
        ],
    ),
    row("custom-tool-input-as-arguments", arguments("milk, eggs", "note")),
    row("custom-tool-without-input", [calls(custom_call(0, "call_1", "note")), ends()]),
    row("declared-in-functions", arguments("{}", "old"), request={"functions": [{"name": "old"}]}),
    row("server-tools-have-any-name", arguments("{}", "search"), request={"tools": [LIST, {"type": "web_search"}]}),
    row("declared-by-an-iterator", arguments("{}", "anything"), request={"tools": iter([LIST])}),
    row("nobody-knows-the-request", arguments("{}", "anything"), request=UNKNOWN_REQUEST),
    row("name-longer-than-what-is-kept", arguments("{}", "n" * 300), request={"tools": [tool("n" * 300)]}),
)
def test_a_healthy_stream_has_no_anomalies(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    assert expected == []
    check(chunks, asked_for, outcome, expected)


# -- arguments --


@table(
    row("cut", arguments('{"title":"x"'), "invalid_json"),
    row("cut-in-a-string", arguments('{"title":"x'), "invalid_json"),
    row("text-around", arguments("Sure: {}"), "invalid_json"),
    row("one-value-then-text", arguments("{} thanks"), "invalid_json"),
    row("comma-between-two", arguments("{},{}"), "invalid_json"),
    row("single-quotes", arguments("{'a':1}"), "invalid_json"),
    row("trailing-comma", arguments('{"a":1,}'), "invalid_json"),
    row("comment", arguments('{"a":1} // done'), "invalid_json"),
    row("raw-newline-in-a-string", arguments('{"a":"\n"}'), "invalid_json"),
    row("bad-escape", arguments('{"a":"\\x"}'), "invalid_json"),
    row("nan", arguments('{"a":NaN}'), "invalid_json"),
    row("infinity", arguments('{"a":Infinity}'), "invalid_json"),
    row("minus-infinity", arguments('{"a":-Infinity}'), "invalid_json"),
    row("bare-nan", arguments("NaN"), "invalid_json"),
    row("python-literal", arguments("None"), "invalid_json"),
    row("leading-zero", arguments("01"), "invalid_json"),
    row("words-run-together", arguments("truefalse"), "invalid_json"),
    row("byte-order-mark", arguments("\ufeff{}"), "invalid_json"),
    row("other-white-space", arguments("\u00a0"), "invalid_json"),
    row("not-json-of-a-tool-that-needs-nothing", arguments("{", "add"), "invalid_json"),
    row("legacy", [legacy("list_tasks", "{"), ends("function_call")], "invalid_json"),
    row("without-finish-reason", arguments("{", reason=None), "invalid_json", "missing_finish_reason"),
    row(
        "in-one-choice-of-two",
        [*whole_call(arguments="{", choice=0), *whole_call(choice=1), ends(choice=0), ends(choice=1)],
        "invalid_json",
    ),
    row(
        "in-one-call-of-two",
        parallel(call(0, "a", "list_tasks", "{"), call(1, "b", "list_tasks", "{}")),
        "invalid_json",
    ),
)
def test_invalid_json(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    check(chunks, asked_for, outcome, expected)


@table(
    row("null", arguments("null"), "arguments_not_object"),
    row("number", arguments("5"), "arguments_not_object"),
    row("exponent", arguments("-1.5e3"), "arguments_not_object"),
    row("huge-number", arguments("9" * 5000), "arguments_not_object"),
    row("array", arguments("[{}]"), "arguments_not_object"),
    row("true", arguments(" true "), "arguments_not_object"),
    row("encoded-twice", arguments(json.dumps(TITLE)), "arguments_not_object"),
    row("of-a-tool-that-requires", arguments("null", "add_task"), "arguments_not_object"),
    row("legacy", [legacy("list_tasks", "[]"), ends("function_call")], "arguments_not_object"),
    row("object", arguments("{}")),
    row("object-in-white-space", arguments("\n { } \t\r\n")),
    row("object-with-a-huge-integer", arguments('{"a":' + "9" * 5000 + "}")),
    row("object-with-a-huge-float", arguments('{"a":1e999}')),
    row("object-with-equal-keys", arguments('{"a":1,"a":2}')),
)
def test_arguments_not_object(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    check(chunks, asked_for, outcome, expected)


@table(
    row("twice", arguments("{}{}"), "arguments_duplicated"),
    row("twice-the-same", arguments(TITLE * 2, "add_task"), "arguments_duplicated"),
    row("three-times", arguments("{}{}{}"), "arguments_duplicated"),
    row("space-between", arguments("{} \n {}"), "arguments_duplicated"),
    row("different-values", arguments('{"a":1}{"a":2}'), "arguments_duplicated"),
    row("scalars", arguments("1 2"), "arguments_duplicated"),
    row("null-then-object", arguments("null{}"), "arguments_duplicated"),
    row("strings", arguments('"a""b"'), "arguments_duplicated"),
    row("whole-again-in-the-last-delta", [*whole_call("add_task", TITLE), calls(call(0, arguments=TITLE)), ends()],
        "arguments_duplicated"),
    row("same-call-again", [*whole_call(), *whole_call(), ends()], "arguments_duplicated"),
    row("no-ids-one-index", parallel(call(0, name="add", arguments="{}"), call(0, name="add", arguments="{}")),
        "arguments_duplicated", "missing_id"),
)  # fmt: skip
def test_arguments_duplicated(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    check(chunks, asked_for, outcome, expected)


@table(
    row("object", arguments({"title": "x"}, "add_task"), "arguments_not_string"),
    row("empty-object", arguments({}), "arguments_not_string"),
    row("array", arguments([1]), "arguments_not_string", "arguments_not_object"),
    row("number", arguments(5), "arguments_not_string", "arguments_not_object"),
    row("object-again", [*arguments({}, reason=None), *arguments({})], "arguments_not_string", "arguments_duplicated"),
    row("in-a-later-delta", [calls(call(0, "a", "list_tasks")), calls(call(0, arguments={"a": 1})), ends()],
        "arguments_not_string"),
    row("stopped-early", arguments({"title": "x"}, "add_task", None), "arguments_not_string", outcome="closed"),
    row("legacy", [legacy("list_tasks", {}), ends("function_call")], "arguments_not_string"),
    row("custom", [calls(custom_call(0, "a", "note", {"a": 1})), ends()], "arguments_not_string"),
    row("null-is-absent", arguments(None)),
    row("null-in-every-delta-but-one",
        [calls(call(0, "a", "list_tasks", None)), calls(call(0, arguments="{}")), calls(call(0, arguments=None)),
         ends()]),
)  # fmt: skip
def test_arguments_not_string(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    check(chunks, asked_for, outcome, expected)


@table(
    row("empty", arguments("", "add_task"), "empty_arguments"),
    row("white-space", arguments(" \n\t", "add_task"), "empty_arguments"),
    row("null", arguments(None, "add_task"), "empty_arguments"),
    row("absent", [calls(call(0, "a", "add_task")), ends()], "empty_arguments"),
    row("legacy", [legacy("add_task"), ends("function_call")], "empty_arguments"),
    row("without-finish-reason", arguments("", "add_task", None), "empty_arguments", "missing_finish_reason"),
    row("empty-object-is-something", arguments("{}", "add_task"), "schema_violation"),
    row("tool-requires-nothing", arguments("")),
    row("tool-has-no-parameters", arguments("", "f"), request={"tools": [{"type": "function",
        "function": {"name": "f"}}]}),
    row("tool-not-declared", arguments("", "nope"), "unknown_tool"),
    row("tools-not-known", arguments("", "add_task"), request=UNKNOWN_REQUEST),
    row("stopped-early", arguments("", "add_task", None), outcome="closed"),
    row("cut-by-length", arguments("", "add_task", "length"), "truncated"),
)  # fmt: skip
def test_empty_arguments(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    check(chunks, asked_for, outcome, expected)


@table(
    row("length", arguments('{"title":', "add_task", "length"), "truncated"),
    row("content-filter", arguments('{"title":', "add_task", "content_filter"), "truncated"),
    row("the-server-failed", arguments('{"title":', "add_task", "error"), "truncated"),
    row("before-any-argument", arguments("", "list_tasks", "length"), "truncated"),
    row("before-name-and-id", [calls(call(0)), ends("length")], "truncated"),
    row("two-values", arguments("{}{}", reason="length"), "truncated"),
    row("open-call-among-whole-ones",
        [*whole_call(), *whole_call("add_task", '{"ti', id="b", index=1), ends("length")], "truncated"),
    row("two-open-calls",
        [*whole_call(arguments="{"), *whole_call("add_task", '{"ti', id="b", index=1), ends("length")],
        "truncated", "truncated"),
    row("in-one-choice-of-two",
        [*whole_call(arguments="{"), *whole_call(choice=1), ends("length"), ends(choice=1)], "truncated"),
    row("name-cut", [calls(call(0, "a", "add_ta", "")), ends("length")], "truncated"),
    row("name-in-pieces-cut",
        [calls(call(0, "a", "add_task_", "")), calls(call(0, name="li")), ends("length")], "truncated"),
    row("half-a-pair-at-the-end", arguments('{"a":"\ud83d', reason="length"), "truncated"),
    row("half-an-escaped-pair-at-the-end", arguments('{"a":"\\ud83d', reason="length"), "truncated"),
    row("legacy", [legacy("list_tasks", "{"), ends("length")], "truncated"),
    row("custom", [calls(custom_call(0, "a", "note", "milk")), ends("length")], "truncated"),
    row("custom-but-only-the-last",
        [calls(custom_call(0, "a", "note", "milk")), calls(custom_call(1, "b", "note", "eggs")), ends("length")],
        "truncated"),
    row("the-last-reason-counts", [*arguments("{", reason="tool_calls"), ends("length")], "truncated"),
    row("too-deep-to-read", arguments("[" * 200_000, reason="length"), "truncated"),
    row("undeclared-name-contradicts-all-the-same", arguments("{", "nope", "length"), "truncated", "unknown_tool"),
    row("whole", arguments("{}", reason="length")),
    row("whole-content-filter", arguments("{}", reason="content_filter")),
    row("whole-and-then-the-server-failed", arguments("{}", reason="error")),
    row("other-value-is-whole", arguments("5", reason="length"), "arguments_not_object"),
    row("not-truncated-by-another-last-reason", [*arguments("{", reason="length"), ends()], "invalid_json"),
    row("stopped-after-length", arguments("{", reason="length"), "truncated", outcome="closed"),
)  # fmt: skip
def test_truncated(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    check(chunks, asked_for, outcome, expected)


# -- identity --


@table(
    row("no-name", parallel(call(0, "a", arguments="{}")), "missing_name"),
    row("empty-name", parallel(call(0, "a", "", "{}")), "missing_name"),
    row("null-name", parallel(call(0, "a", None, "{}")), "missing_name"),
    row("name-is-no-text", parallel(call(0, "a", 5, "{}")), "missing_name"),
    row("legacy", [legacy(arguments="{}"), ends("function_call")], "missing_name"),
    row("no-function", parallel({"index": 0, "id": "a"}), "missing_name"),
    row("no-id", parallel(call(0, name="add", arguments="{}")), "missing_id"),
    row("empty-id", parallel(call(0, "", "add", "{}")), "missing_id"),
    row("null-id", parallel(call(0, None, "add", "{}")), "missing_id"),
    row("id-inside-function",
        parallel({"index": 0, "function": {"id": "a", "name": "add", "arguments": "{}"}}), "missing_id"),
    row("no-id-in-the-second",
        parallel(call(0, "a", "add", "{}"), call(1, name="list_tasks", arguments="{}")), "missing_id"),
    row("neither", parallel(call(0, arguments="{}")), "missing_id", "missing_name"),
    row("nothing-but-null", [calls(None), ends()], "missing_id", "missing_index", "missing_name"),
    row("nothing-but-nonsense", [calls("call", 5), ends()], "missing_id", "missing_index", "missing_name"),
    row("id-late", [calls(call(0, name="add", arguments="{}")), calls(call(0, "a")), ends()]),
    row("id-late-with-the-name-again",
        [calls(call(0, name="add", arguments="{")), calls(call(0, "a", "add", "}")), ends()]),
    row("name-late", [calls(call(0, "a", arguments="{}")), calls(call(0, name="add")), ends()]),
    row("name-first-empty", [calls(call(0, "a", "", "")), calls(call(0, "a", "add", "{}")), ends()]),
    row("stopped-before-both", [calls(call(0))], outcome="cancelled"),
    row("cut-before-both", [calls(call(0)), ends("length")], "truncated"),
    row("custom", [calls(custom_call(0, input="milk")), ends()], "missing_id", "missing_name"),
)  # fmt: skip
def test_missing_name_and_id(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    check(chunks, asked_for, outcome, expected)


@pytest.mark.parametrize("index", [ABSENT, None, -1, "", "first", 1.5, 2**70, {}], ids=stable_id)
def test_missing_index_is_reported_once_for_a_choice(index: Any) -> None:
    found = anomalies_of(
        [
            calls(call(index, "a", "add_task", "")),
            calls(call(index, arguments='{"title":')),
            calls(call(index, arguments='"x"}')),
            ends(),
        ],
        ASKED,
    )
    assert [(anomaly.type, anomaly.detail) for anomaly in found] == [
        ("missing_index", "3 deltas without a usable index")
    ]


@table(
    row("different-ids-are-different-calls",
        parallel(call(None, "a", "add", "{}"), call(None, "b", "list_tasks", "{}")), "missing_index"),
    row("same-tool-different-ids",
        parallel(call(None, "a", "add_task", TITLE), call(None, "b", "add_task", '{"title":"y"}')), "missing_index"),
    row("interleaved-by-id",
        [calls(call(None, "a", "add", "{"), call(None, "b", "list_tasks", "{")),
         calls(call(None, "a", arguments="}")), calls(call(None, "b", arguments="}")), ends()], "missing_index"),
    row("neither-goes-on-with-the-call-before",
        [calls(call(None, "a", "add", "{}")), calls(call(None, "b", "list_tasks", "{")),
         calls(call(None, arguments="}")), ends()], "missing_index"),
    row("neither-goes-on-with-the-call-before-though-it-has-an-index",
        [calls(call(0, "a", "add", "{"), call(1, "b", "list_tasks", "{}")),
         calls(call(0, arguments='"x":')), calls(call(None, arguments="1}")), ends()], "missing_index"),
    row("id-late", [calls(call(None, name="add", arguments="{")), calls(call(None, "a", arguments="}")), ends()],
        "missing_index"),
    row("only-in-the-first-delta", [calls(call(None, "a", "add", "{")), calls(call(0, arguments="}")), ends()],
        "missing_index"),
    row("only-in-the-first-delta-of-the-second-call",
        [*whole_call(index=0), calls(call(None, "b", "add", "{")), calls(call(1, arguments="}")), ends()],
        "missing_index"),
    row("index-comes-with-the-id-again",
        [calls(call(None, "a", "add", "{")), calls(call(7, "a", arguments="}")), ends()], "missing_index"),
    row("no-index-was-in-use-so-none-is-reused",
        parallel(call(None, "a", "add", "{}"), call(0, "b", "list_tasks", "{}")), "missing_index"),
    row("once-a-choice",
        [*whole_call(index=None, choice=0), *whole_call(index=None, choice=1), ends(choice=0), ends(choice=1)],
        "missing_index", "missing_index"),
    row("stopped-early", [calls(call(None, "a", "add"))], "missing_index", outcome="closed"),
    row("no-name-with-the-second-id",
        parallel(call(None, "a", "add", "{}"), call(None, "b", arguments="{}")), "missing_index", "missing_name"),
    row("neither-index-nor-id-is-one-call",
        parallel(call(None, None, "add", "{}"), call(None, None, "list_tasks", "{}")),
        "missing_index", "missing_id", "name_changed", "arguments_duplicated"),
    row("not-after-a-legacy-call",
        [legacy("add", "{}"), calls(call(None, None, "list_tasks", "{}")), ends()], "missing_index", "missing_id"),
    row("starting-at-1", parallel(call(1, "a", "add", "{}"))),
    row("sparse-and-out-of-order",
        parallel(call(7, "a", "add", "{}"), call(3, "b", "list_tasks", "{}"), call(10**9, "c", "add_task", TITLE))),
    row("largest", parallel(call(2**63 - 1, "a", "add", "{}"))),
    row("digits", parallel(call("0", "a", "add", "{}"), call("1", "b", "list_tasks", "{}"))),
    row("digits-where-the-sdk-leaves-them",
        parallel(call("0", "a", "add", {}), call("0", None, None, None), call(0)), "arguments_not_string"),
    row("legacy-needs-none", [legacy("add", "{}"), ends("function_call")]),
)  # fmt: skip
def test_missing_index(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    check(chunks, asked_for, outcome, expected)


@table(
    row("another-name", [calls(call(0, "a", "add", "{")), calls(call(0, name="list_tasks", arguments="}")), ends()],
        "name_changed"),
    row("another-name-same-id",
        [calls(call(0, "a", "add", "{}")), calls(call(0, "a", "list_tasks", "")), ends()], "name_changed"),
    row("with-an-id-that-comes-late",
        [calls(call(0, None, "add", "{")), calls(call(0, "b", "list_tasks", "}")), ends()], "name_changed"),
    row("there-and-back",
        [calls(call(0, "a", "add", "{}")), calls(call(0, name="list_tasks")), calls(call(0, name="add")), ends()],
        "name_changed"),
    row("pieces-that-join-to-nothing-declared",
        [calls(call(0, "a", "add_", "{}")), calls(call(0, name="nothing")), ends()], "name_changed", "unknown_tool"),
    row("pieces-that-only-begin-a-declared-name",
        [calls(call(0, "a", "add_", "{}")), calls(call(0, name="ta")), ends()], "name_changed", "unknown_tool"),
    row("pieces-of-what-is-not-known", [calls(call(0, "a", "add_", "{}")), calls(call(0, name="task")), ends()],
        "name_changed", request=UNKNOWN_REQUEST),
    row("pieces-where-none-are-declared",
        [calls(call(0, "a", "li", "{}")), calls(call(0, name="st")), ends()], "name_changed", "unknown_tool",
        request={}),
    row("legacy", [legacy("add", "{}"), legacy("list_tasks"), ends("function_call")], "name_changed"),
    row("custom", [calls(custom_call(0, "a", "note")), calls(custom_call(0, name="add")), ends()], "name_changed"),
    row("stopped-early", [calls(call(0, "a", "add")), calls(call(0, name="list_tasks"))], "name_changed",
        outcome="closed"),
    row("same-name-in-every-delta",
        [calls(call(0, "a", "add", "{")), calls(call(0, "a", "add", "}")), calls(call(0, "a", "add", "")), ends()]),
    row("same-undeclared-name-again",
        [calls(call(0, "a", "nope", "{")), calls(call(0, name="nope", arguments="}")), ends()], "unknown_tool"),
    row("pieces", [calls(call(0, "a", "list", "")), calls(call(0, name="_tasks", arguments="{}")), ends()]),
    row("many-pieces", [calls(call(0, "a")), *[calls(call(0, name=one)) for one in "list_tasks"], ends()]),
    row("pieces-that-are-names-themselves",
        [calls(call(0, "a", "add", "")), calls(call(0, name="_task", arguments=TITLE)),
         calls(call(0, name="_list")), ends()]),
    row("pieces-that-are-alike",
        [calls(call(0, "a", "ta", "{}")), calls(call(0, name="ta")), ends()], request={"tools": [tool("tata")]}),
    row("name-again-that-begins-a-longer-one",
        [calls(call(0, "a", "a", "{}")), calls(call(0, name="a")), ends()], "unknown_tool",
        request={"tools": [tool("aardvark")]}),
    row("pieces-then-the-whole-name-again",
        [calls(call(0, "a", "list_", "{}")), calls(call(0, name="tasks")), calls(call(0, name="list_tasks")), ends()]),
    row("pieces-and-another-id",
        [calls(call(0, "a", "list_", "")), calls(call(0, "b", "tasks", "{}")), ends()], "id_changed"),
    row("pieces-of-a-pair",
        [calls(call(0, "a", "d\ud83d", "{}")), calls(call(0, name="\ude00")), ends()],
        request={"tools": [tool("d\U0001f600")]}),
)  # fmt: skip
def test_name_changed(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    check(chunks, asked_for, outcome, expected)


@table(
    row("another-id", [calls(call(0, "a", "add", "{")), calls(call(0, "b", arguments="}")), ends()], "id_changed"),
    row("another-id-in-every-delta",
        [calls(call(0, "a", "add", "{"))] + [calls(call(0, f"b{n}", arguments=" ")) for n in range(20)]
        + [calls(call(0, arguments="}")), ends()], "id_changed"),
    row("another-id-after-a-whole-value-without-a-name",
        [calls(call(0, "a", "add", "{}")), calls(call(0, "b", arguments="")), ends()], "id_changed"),
    row("another-id-same-name-while-open",
        [calls(call(0, "a", "add", "{")), calls(call(0, "b", "add", "}")), ends()], "id_changed"),
    row("another-id-same-name-before-any-argument",
        [calls(call(0, "a", "add", "")), calls(call(0, "b", "add", "{}")), ends()], "id_changed"),
    row("another-id-with-the-first-name",
        [calls(call(0, "a")), calls(call(0, "b", "add", "{}")), ends()], "id_changed"),
    row("in-pieces", [calls(call(0, "call_", "add", "")), calls(call(0, "1", arguments="{}")), ends()], "id_changed"),
    row("custom", [calls(custom_call(0, "a", "note")), calls(custom_call(0, "b", input="x")), ends()], "id_changed"),
    row("stopped-early", [calls(call(0, "a", "add")), calls(call(0, "b"))], "id_changed", outcome="abandoned"),
    row("same-id-in-every-delta", [calls(call(0, "a", "add", "{")), calls(call(0, "a", arguments="}")), ends()]),
    row("empty-id-later", [calls(call(0, "a", "add", "{")), calls(call(0, "", arguments="}")), ends()]),
    row("id-inside-function-later",
        [calls(call(0, "a", "add", "{")), calls({"index": 0, "function": {"id": "b", "arguments": "}"}}), ends()]),
)  # fmt: skip
def test_id_changed(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    check(chunks, asked_for, outcome, expected)


@table(
    row("another-name", parallel(call(0, "a", "add", "{}"), call(0, "b", "list_tasks", "{}")), "index_reused"),
    row("another-name-while-open",
        [calls(call(0, "a", "add", "")), calls(call(0, "b", "list_tasks", "{}")), ends()], "index_reused"),
    row("same-name-after-an-object",
        parallel(call(0, "a", "add_task", TITLE), call(0, "b", "add_task", '{"title":"y"}')), "index_reused"),
    row("same-name-after-an-object-in-pieces",
        [*whole_call("add_task", TITLE, id="a"), *whole_call("add_task", '{"title":"y"}', id="b"), ends()],
        "index_reused"),
    row("same-name-after-an-array",
        parallel(call(0, "a", "add", "[]"), call(0, "b", "add", "{}")), "index_reused", "arguments_not_object"),
    row("same-name-after-a-string",
        parallel(call(0, "a", "add", '"x"'), call(0, "b", "add", "{}")), "index_reused", "arguments_not_object"),
    row("same-name-after-a-word",
        parallel(call(0, "a", "add", "null"), call(0, "b", "add", "{}")), "index_reused", "arguments_not_object"),
    row("same-name-after-a-number",
        parallel(call(0, "a", "add", "12"), call(0, "b", "add", "{}")), "index_reused", "arguments_not_object"),
    row("same-name-after-an-object-and-white-space",
        [calls(call(0, "a", "add", "{}")), calls(call(0, arguments=" \n")), calls(call(0, "b", "add", '{"x":1}')),
         ends()], "index_reused"),
    row("three-at-one-index",
        parallel(call(0, "a", "add", "{}"), call(0, "b", "list_tasks", "{}"), call(0, "c", "add_task", TITLE)),
        "index_reused", "index_reused"),
    row("later-deltas-without-id-are-the-new-calls",
        [calls(call(0, "a", "add", "{}")), calls(call(0, "b", "list_tasks", "{")), calls(call(0, arguments="}")),
         ends()], "index_reused"),
    row("later-deltas-with-the-earlier-id-are-the-earlier-calls",
        [calls(call(0, "a", "add", '{"x"')), calls(call(0, "b", "list_tasks", '{"y"')),
         calls(call(0, "a", arguments=":1")), calls(call(0, arguments="}")), calls(call(0, "b", arguments=":1}")),
         ends()], "index_reused"),
    row("the-earlier-id-with-its-name-while-it-is-open",
        [calls(call(0, "a", "add", '{"x"')), calls(call(0, "b", "list_tasks", "{}")),
         calls(call(0, "a", "add", ":1}")), ends()], "index_reused"),
    row("first-call-without-an-id",
        parallel(call(0, None, "add", "{}"), call(0, "b", "list_tasks", "{}")), "index_reused", "missing_id"),
    row("in-one-choice",
        [*whole_call(id="a"), *whole_call("add", id="b"), *whole_call(id="c", choice=1), ends(), ends(choice=1)],
        "index_reused"),
    row("stopped-early", [calls(call(0, "a", "add", "{}")), calls(call(0, "b", "list_tasks"))], "index_reused",
        outcome="closed"),
    row("not-by-a-name-in-a-string-that-looks-closed",
        [calls(call(0, "a", "add", '{"x":"}')), calls(call(0, "b", "add", '"}')), ends()], "id_changed"),
    row("not-by-an-escaped-quote",
        [calls(call(0, "a", "add", '{"x":"\\')), calls(call(0, "b", "add", '"}"}')), ends()], "id_changed"),
    row("same-index-in-two-choices", [*whole_call(id="a"), *whole_call("add", id="b", choice=1), ends(),
        ends(choice=1)]),
    row("legacy-beside-index-0",
        [legacy("add", "{}"), calls(call(0, "a", "list_tasks", "{}")), ends()]),
)  # fmt: skip
def test_index_reused(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    check(chunks, asked_for, outcome, expected)


def test_a_call_at_an_index_in_use_is_a_new_call() -> None:
    recording = record([*whole_call("add", '{"a":1}', id="a"), *whole_call("add", '{"b":2}', id="b"), ends()])
    assert [(one.id, one.name, one.arguments, one.index) for one in recording.calls] == [
        ("a", "add", '{"a":1}', 0),
        ("b", "add", '{"b":2}', 0),
    ]


@table(
    row("two-indexes", parallel(call(0, "a", "add", "{}"), call(1, "a", "list_tasks", "{}")), "duplicate_id"),
    row("three", parallel(*[call(n, "a", "add_task", f'{{"title":"{n}"}}') for n in range(3)]), "duplicate_id"),
    row("two-pairs",
        parallel(*[call(n, "ab"[n % 2], "add_task", f'{{"title":"{n}"}}') for n in range(4)]),
        "duplicate_id", "duplicate_id"),
    row("late", [calls(call(0, "a", "add", "{}"), call(1, None, "list_tasks", "{}")), calls(call(1, "a")), ends()],
        "duplicate_id"),
    row("stopped-early", [calls(call(0, "a", "add"), call(1, "a", "list_tasks"))], "duplicate_id", outcome="closed"),
    row("in-two-choices", [*whole_call(), *whole_call(choice=1), ends(), ends(choice=1)]),
    row("absent-twice", parallel(call(0, "", "add", "{}"), call(1, None, "list_tasks", "{}")),
        "missing_id", "missing_id"),
    row("without-index-it-is-one-call", parallel(call(None, "a", "add", "{"), call(None, "a", "add", "}")),
        "missing_index"),
)  # fmt: skip
def test_duplicate_id(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    check(chunks, asked_for, outcome, expected)


def says_the_user(text: str) -> dict[str, Any]:
    return asked(messages=[{"role": "user", "content": "Hi"}, {"role": "user", "content": text}])


def twice(one: Any, other: Any, name: str = "add", reason: str = "tool_calls") -> list[Chunk]:
    return [calls(call(0, "a", name, one), call(1, "b", name, other)), ends(reason)]


@table(
    row("same-text", twice(TITLE, TITLE, "add_task"), "duplicate_call"),
    row("other-order-of-keys", twice('{"a":1,"b":2}', '{"b":2,"a":1}'), "duplicate_call"),
    row("other-white-space", twice('{"a":1}', '{ "a" : 1 }'), "duplicate_call"),
    row("other-spelling-of-a-character", twice('{"a":"é"}', '{"a":"\\u00e9"}'), "duplicate_call"),
    row("other-spelling-of-a-number", twice('{"a":1}', '{"a":1.0}'), "duplicate_call"),
    row("no-parameters", twice("", "{}")),
    row("no-parameters-but-arguments", twice('{"a":1}', '{"a":1}'), "duplicate_call"),
    row("unknown-tool", twice("{}", "{}", "other"), "duplicate_call", "unknown_tool", "unknown_tool"),
    row("nothing-and-an-empty-object", twice("", "{}", "find"), "duplicate_call"),
    row("unknown-request", twice("{}", "{}"), "duplicate_call", request=UNKNOWN_REQUEST),
    row("asked-for-twice", twice(TITLE, TITLE, "add_task"), request=says_the_user("Add milk twice.")),
    row("asked-for-once", twice(TITLE, TITLE, "add_task"), "duplicate_call", request=says_the_user("Add 2 and 3.")),
    row("as-object-and-as-text", twice({"a": 1}, '{"a":1}'), "duplicate_call", "arguments_not_string"),
    row("three", parallel(*[call(n, f"{n}", "find", "{}") for n in range(3)]), "duplicate_call", "duplicate_call"),
    row("several-values-twice", twice("{}{}", "{} {}"), "duplicate_call", "arguments_duplicated",
        "arguments_duplicated"),
    row("not-json-twice", twice("{", "{"), "duplicate_call", "invalid_json", "invalid_json"),
    row("custom", [calls(custom_call(0, "a", "note", "x"), custom_call(1, "b", "note", "x")), ends()],
        "duplicate_call"),
    row("whole-at-length", twice("{}", "{}", "find", reason="length"), "duplicate_call"),
    row("huge-number", twice("[" + "9" * 5000 + "]", "[" + "9" * 5000 + "]"), "duplicate_call",
        "arguments_not_object", "arguments_not_object"),
    row("other-arguments", twice('{"a":1}', '{"a":2}')),
    row("number-and-text", twice('{"a":1}', '{"a":"1"}')),
    row("huge-number-and-text", twice('{"a":' + "9" * 5000 + "}", '{"a":"' + "9" * 5000 + '"}')),
    row("huge-float-and-text", twice('{"a":1e999}', '{"a":"1e999"}')),
    row("true-and-1", twice('{"a":true}', '{"a":1}')),
    row("other-tool", parallel(call(0, "a", "add", "{}"), call(1, "b", "list_tasks", "{}"))),
    row("in-two-choices",
        [*whole_call(), *whole_call(choice=1), ends(), ends(choice=1)]),
    row("without-names", parallel(call(0, "a", arguments="{}"), call(1, "b", arguments="{}")),
        "missing_name", "missing_name"),
    row("open-at-length", twice('{"a', '{"a', reason="length"), "truncated", "truncated"),
    row("stopped-early", [calls(call(0, "a", "add", "{}"), call(1, "b", "add", "{}"))], outcome="closed"),
    row("custom-white-space-matters",
        [calls(custom_call(0, "a", "note", "x"), custom_call(1, "b", "note", " x")), ends()]),
)  # fmt: skip
def test_duplicate_call(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    check(chunks, asked_for, outcome, expected)


# -- what the request asked for --


@table(
    row("undeclared", arguments("{}", "nope"), "unknown_tool"),
    row("none-declared", arguments("{}"), "unknown_tool", request={}),
    row("none-declared-explicitly", arguments("{}"), "unknown_tool", request={"tools": []}),
    row("other-case", arguments("{}", "List_Tasks"), "unknown_tool"),
    row("with-a-prefix", arguments("{}", "functions.list_tasks"), "unknown_tool"),
    row("with-white-space", arguments("{}", "list_tasks "), "unknown_tool"),
    row("begins-a-declared-name", arguments("{}", "list_"), "unknown_tool"),
    row("legacy", [legacy("nope", "{}"), ends("function_call")], "unknown_tool"),
    row("custom", [calls(custom_call(0, "a", "nope", "x")), ends()], "unknown_tool"),
    row("stopped-early-after-what-begins-no-name", [calls(call(0, "a", "nope"))], "unknown_tool", outcome="closed"),
    row("longer-than-what-is-kept", arguments("{}", "n" * 300), "unknown_tool", "limit_exceeded"),
    row("stopped-early-in-a-name", [calls(call(0, "a", "list_"))], outcome="closed"),
    row("declared-by-extra-body", arguments("{}", "f"), request={"extra_body": {"tools": [tool("f")]}}),
)  # fmt: skip
def test_unknown_tool(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    check(chunks, asked_for, outcome, expected)


TEXT: list[Chunk] = [says("Hi"), ends("stop")]
ADD_AND_LIST = parallel(call(0, "a", "add", "{}"), call(1, "b", "list_tasks", "{}"))
CUSTOM_CHOICE = asked(tool_choice={"type": "custom", "custom": {"name": "note"}})


@table(
    row("none-yet-a-call", arguments("{}"), "tool_choice_violated", request=asked(tool_choice="none")),
    row("none-yet-an-open-call", [calls(call(0))], "tool_choice_violated", request=asked(tool_choice="none"),
        outcome="closed"),
    row("none-legacy", [legacy("add", "{}"), ends("function_call")], "tool_choice_violated",
        request=asked(function_call="none")),
    row("none-in-one-choice-of-two", [*whole_call(), says("Hi", choice=1), ends(), ends("stop", choice=1)],
        "tool_choice_violated", request=asked(tool_choice="none")),
    row("required-yet-text", TEXT, "tool_choice_violated", request=asked(tool_choice="required")),
    row("any-yet-text", TEXT, "tool_choice_violated", request=asked(tool_choice="any")),
    row("required-yet-text-in-one-choice-of-two",
        [*whole_call(), says("Hi", choice=1), ends(), ends("stop", choice=1)], "tool_choice_violated",
        request=asked(tool_choice="required")),
    row("required-yet-none-and-no-finish-reason", [says("Hi")], "tool_choice_violated", "missing_finish_reason",
        request=asked(tool_choice="required")),
    row("named-yet-text", TEXT, "tool_choice_violated", request=named("add")),
    row("named-yet-another", arguments("{}"), "tool_choice_violated", request=named("add")),
    row("named-and-another-beside-it", ADD_AND_LIST, "tool_choice_violated", request=named("add")),
    row("named-yet-another-stopped-early", [calls(call(0, "a", "list_tasks"))], "tool_choice_violated",
        request=named("add"), outcome="closed"),
    row("named-custom-yet-another", arguments("{}"), "tool_choice_violated", request=CUSTOM_CHOICE),
    row("named-legacy-yet-another", [legacy("list_tasks", "{}"), ends("function_call")], "tool_choice_violated",
        request=asked(function_call={"name": "add"})),
    row("allowed-yet-another", arguments("{}"), "tool_choice_violated", request=allowed("auto", "add", "add_task")),
    row("allowed-required-yet-text", TEXT, "tool_choice_violated", request=allowed("required", "add")),
    row("none-and-text", TEXT, request=asked(tool_choice="none")),
    row("auto-and-text", TEXT, request=asked(tool_choice="auto")),
    row("auto-and-call", arguments("{}"), request=asked(tool_choice="auto")),
    row("required-and-call", arguments("{}"), request=asked(tool_choice="required")),
    row("required-cut-before-any-call", [says("Hi"), ends("length")], request=asked(tool_choice="required")),
    row("required-filtered-before-any-call", [ends("content_filter")], request=asked(tool_choice="required")),
    row("required-failed-before-any-call", [ends("error")], request=asked(tool_choice="required")),
    row("named-cut-before-any-call", [ends("length")], request=named("add")),
    row("required-stopped-early", [says("Hi")], request=asked(tool_choice="required"), outcome="closed"),
    row("named-and-called", arguments("{}", "add"), request=named("add")),
    row("named-and-called-twice", parallel(call(0, "a", "add", "{}"), call(1, "b", "add", '{"a":1}')),
        request=named("add")),
    row("named-name-in-pieces-stopped-early", [calls(call(0, "a", "list_"))], request=named("list_tasks"),
        outcome="closed"),
    row("named-custom-and-called", [calls(custom_call(0, "a", "note", "x")), ends()], request=CUSTOM_CHOICE),
    row("named-legacy-and-called", [legacy("add", "{}"), ends("function_call")],
        request=asked(function_call={"name": "add"})),
    row("allowed-and-called", ADD_AND_LIST, request=allowed("required", "add", "list_tasks")),
    row("allowed-auto-and-text", TEXT, request=allowed("auto", "add")),
    row("allowed-with-a-server-tool", arguments("{}"),
        request=asked(tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [
            {"type": "function", "function": {"name": "add"}}, {"type": "mcp", "server_label": "x"}]}})),
    row("not-known", arguments("{}"), request=UNKNOWN_REQUEST),
)  # fmt: skip
def test_tool_choice_violated(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    check(chunks, asked_for, outcome, expected)


ONE_AT_A_TIME = asked(parallel_tool_calls=False)


@table(
    row("two", ADD_AND_LIST, "parallel_violated", request=ONE_AT_A_TIME),
    row("two-at-one-index", parallel(call(0, "a", "add", "{}"), call(0, "b", "list_tasks", "{}")),
        "parallel_violated", "index_reused", request=ONE_AT_A_TIME),
    row("two-stopped-early", [calls(call(0, "a", "add"), call(1, "b", "add"))], "parallel_violated",
        request=ONE_AT_A_TIME, outcome="cancelled"),
    row("one", arguments("{}"), request=ONE_AT_A_TIME),
    row("one-in-each-of-two-choices", [*whole_call(), *whole_call(choice=1), ends(), ends(choice=1)],
        request=ONE_AT_A_TIME),
    row("two-where-it-is-true", ADD_AND_LIST, request=asked(parallel_tool_calls=True)),
    row("two-where-it-is-not-said", ADD_AND_LIST),
    row("two-where-it-is-null", ADD_AND_LIST, request=asked(parallel_tool_calls=None)),
)  # fmt: skip
def test_parallel_violated(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    check(chunks, asked_for, outcome, expected)


# -- finish reasons --


@table(
    row("stop-after-a-call", arguments("{}", reason="stop"), "finish_reason_mismatch"),
    row("other-word-after-a-call", arguments("{}", reason="eos"), "finish_reason_mismatch"),
    row("stop-after-a-legacy-call", [legacy("add", "{}"), ends("stop")], "finish_reason_mismatch"),
    row("tool-calls-without-a-call", [says("Hi"), ends()], "finish_reason_mismatch"),
    row("function-call-without-a-call", [says("Hi"), ends("function_call")], "finish_reason_mismatch"),
    row("tool-calls-and-nothing-at-all", [ends()], "finish_reason_mismatch", "empty_response"),
    row("a-call-that-the-server-threw-away", [ends("function_call_filter: MALFORMED_FUNCTION_CALL")],
        "finish_reason_mismatch", "empty_response"),
    row("unexpected-tool-call", [says("Hi"), ends("UNEXPECTED_TOOL_CALL")], "finish_reason_mismatch"),
    row("another-word-without-a-call", [says("Hi"), ends("content_filter: RECITATION")]),
    row("required-does-not-excuse-stop", arguments("{}", reason="stop"), "finish_reason_mismatch",
        request=asked(tool_choice="required")),
    row("allowed-does-not-excuse-stop", arguments("{}", reason="stop"), "finish_reason_mismatch",
        request=allowed("required", "list_tasks")),
    row("no-request-excuses-another-word", arguments("{}", reason="eos"), "finish_reason_mismatch",
        request=UNKNOWN_REQUEST),
    row("no-request-and-no-call", [says("Hi"), ends()], "finish_reason_mismatch", request=UNKNOWN_REQUEST),
    row("function-call-of-which-all-is-empty", [legacy("", ""), ends("function_call")], "finish_reason_mismatch",
        "empty_response"),
    row("named-excuses-nothing-but-stop", arguments("{}", reason="eos"), "finish_reason_mismatch",
        request=named("list_tasks")),
    row("the-last-of-two-counts", [*arguments("{}"), ends("stop")], "finish_reason_mismatch"),
    row("stopped-after-the-reason", arguments("{}", reason="stop"), "finish_reason_mismatch", outcome="closed"),
    row("in-one-choice-of-two",
        [*whole_call(), *whole_call(choice=1), ends("stop"), ends(choice=1)], "finish_reason_mismatch"),
    row("stop-then-tool-calls", [*arguments("{}", reason="stop"), ends()]),
    row("tool-calls-then-stop-without-a-call", [ends(), says("Hi"), ends("stop")]),
    row("the-same-twice", [*arguments("{}"), ends()]),
    row("empty-after-the-reason", [*arguments("{}"), ends("")]),
    row("null-after-the-reason", [*arguments("{}"), ends(None)]),
    row("named-excuses-stop", arguments("{}", reason="stop"), request=named("list_tasks")),
    row("named-custom-excuses-stop", [calls(custom_call(0, "a", "note", "x")), ends("stop")], request=CUSTOM_CHOICE),
    row("nobody-knows-whether-a-tool-was-named", arguments("{}", reason="stop"), request=UNKNOWN_REQUEST),
    row("nobody-knows-legacy", [legacy("add", "{}"), ends("stop")], request=UNKNOWN_REQUEST),
    row("named-legacy-excuses-stop", [legacy("add", "{}"), ends("stop")], request=asked(function_call={"name": "add"})),
    row("legacy-and-tool-calls", [legacy("add", "{}"), ends("tool_calls")]),
    row("call-and-function-call", arguments("{}", reason="function_call")),
    row("stopped-before-the-reason", arguments("{}", reason=None), outcome="closed"),
)  # fmt: skip
def test_finish_reason_mismatch(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    check(chunks, asked_for, outcome, expected)


@table(
    row("no-chunk", [], "missing_finish_reason"),
    row("no-choice", [chunk(choices=[]), usage_chunk(1, 0)], "missing_finish_reason"),
    row("choices-null", [chunk(choices=None)], "missing_finish_reason"),
    row("text", [says("Hi")], "missing_finish_reason"),
    row("call", arguments("{}", reason=None), "missing_finish_reason"),
    row("empty-reason", [*arguments("{}", reason=None), ends("")], "missing_finish_reason"),
    row("reason-is-no-text", [*arguments("{}", reason=None), ends(5)], "missing_finish_reason"),
    row("in-one-choice-of-two", [says("Hi"), says("Hi", choice=1), ends("stop", choice=1)], "missing_finish_reason"),
    row("in-both-choices", [says("Hi"), says("Hi", choice=1)], "missing_finish_reason", "missing_finish_reason"),
    *(row(f"{outcome}-without-any-chunk", [], outcome=outcome) for outcome in STOPPED),
    *(row(f"{outcome}-in-the-text", [says("Hi")], outcome=outcome) for outcome in STOPPED),
)  # fmt: skip
def test_missing_finish_reason(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    check(chunks, asked_for, outcome, expected)


@table(
    row("arguments", [*arguments("{}"), calls(call(0, arguments=" "))], "delta_after_finish"),
    row("several", [*arguments("{}"), *[calls(call(0, arguments=" "))] * 3], "delta_after_finish"),
    row("nothing-in-it", [*arguments("{}"), calls(call(0))], "delta_after_finish"),
    row("a-whole-call", [says("Hi"), ends("stop"), *whole_call()], "delta_after_finish", "finish_reason_mismatch"),
    row("before-a-second-reason", [*arguments("{", reason="stop"), calls(call(0, arguments="}")), ends()],
        "delta_after_finish"),
    row("legacy", [legacy("add", "{"), ends("function_call"), legacy(arguments="}")], "delta_after_finish"),
    row("in-one-choice-of-two",
        [*whole_call(), *whole_call(choice=1), ends(), ends(choice=1), calls(call(0, arguments=" "), choice=1)],
        "delta_after_finish"),
    row("stopped-early", [*arguments("{}"), calls(call(0, arguments=" "))], "delta_after_finish", outcome="closed"),
    row("in-the-same-chunk", [calls(call(0, "a", "add", "{}"), finish="tool_calls")]),
    row("of-another-choice", [*whole_call(), ends(), *whole_call(choice=1), ends(choice=1)]),
    row("text-after-the-reason", [*arguments("{}"), says("Hi")]),
)  # fmt: skip
def test_delta_after_finish(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    check(chunks, asked_for, outcome, expected)


# -- unicode --

HALF, OTHER_HALF = "\ud83d", "\ude00"


@table(
    row("in-arguments", arguments(f'{{"a":"{HALF}"}}'), "invalid_unicode"),
    row("second-half-alone", arguments(f'{{"a":"{OTHER_HALF}"}}'), "invalid_unicode"),
    row("wrong-order", arguments(f'{{"a":"{OTHER_HALF}{HALF}"}}'), "invalid_unicode"),
    row("in-a-key", arguments(f'{{"{HALF}":1}}'), "invalid_unicode"),
    row("escaped", arguments('{"a":"\\ud83d"}'), "invalid_unicode"),
    row("escaped-deep-inside", arguments('{"a":[{"b":"\\ude00"}]}'), "invalid_unicode"),
    row("escaped-in-a-key", arguments('{"\\ud83d":1}'), "invalid_unicode"),
    row("escaped-in-another-value", arguments('"\\ud83d"'), "invalid_unicode", "arguments_not_object"),
    row("escaped-in-one-of-several-values", arguments('{}{"a":"\\ud83d"}'), "invalid_unicode", "arguments_duplicated"),
    row("escaped-in-an-object-that-is-no-text", arguments({"a": HALF}), "invalid_unicode", "arguments_not_string"),
    row("in-invalid-json", arguments(f'{{"a":"{HALF}'), "invalid_unicode", "invalid_json"),
    row("in-the-id", parallel(call(0, f"a{HALF}", "add", "{}")), "invalid_unicode"),
    row("in-the-name", arguments("{}", f"add{HALF}"), "invalid_unicode", "unknown_tool"),
    row("in-all-three-named-once", parallel(call(0, HALF, HALF, HALF)), "invalid_unicode", "invalid_json",
        "unknown_tool"),
    row("in-custom-input", [calls(custom_call(0, "a", "note", OTHER_HALF)), ends()], "invalid_unicode"),
    row("in-the-middle-stopped-early", arguments(f'{{"a":"{HALF}!', reason=None), "invalid_unicode", outcome="closed"),
    row("two-deltas", [*arguments(f'{{"a":"{HALF}', reason=None), calls(call(0, arguments=f'{OTHER_HALF}"}}')),
        ends()]),
    row("two-deltas-with-an-empty-one-between",
        [*arguments(f'{{"a":"{HALF}', reason=None), calls(call(0, arguments="")),
         calls(call(0, arguments=f'{OTHER_HALF}"}}')), ends()]),
    row("one-delta", arguments(f'{{"a":"{HALF}{OTHER_HALF}"}}')),
    row("character", arguments('{"a":"\U0001f600"}')),
    row("escaped-pair", arguments('{"a":"\\ud83d\\ude00"}')),
    row("escaped-pair-in-two-deltas", [*arguments('{"a":"\\ud83d\\u', reason=None), calls(call(0, arguments='de00"}')),
        ends()]),
    row("escaped-backslash", arguments('{"a":"\\\\ud83d"}')),
    row("custom-input-has-no-escapes", [calls(custom_call(0, "a", "note", "\\ud83d")), ends()]),
    row("replacement-character", arguments('{"a":"\ufffd"}')),
    row("escaped-replacement-character", arguments('{"a":"\\ufffd"}')),
    row("first-half-stopped-early", arguments(f'{{"a":"{HALF}', reason=None), outcome="closed"),
    row("escaped-first-half-stopped-early", arguments('{"a":"\\ud83d', reason=None), outcome="closed"),
)  # fmt: skip
def test_invalid_unicode(chunks: Any, asked_for: Any, outcome: Any, expected: Any) -> None:
    check(chunks, asked_for, outcome, expected)


# -- streams that did not come to their end --

UNFINISHED = {
    "nothing": [],
    "role": [chunk({"role": "assistant", "content": ""})],
    "text": [says("Hi")],
    "call-begun": [calls(call(0))],
    "id-only": [calls(call(0, "a"))],
    "name-only": [calls(call(0, name="add"))],
    "name-in-pieces": [calls(call(0, "a", "add_")), calls(call(0, name="ta"))],
    "no-arguments-yet": [calls(call(0, "a", "add_task", ""))],
    "arguments-open": [calls(call(0, "a", "add_task", '{"ti'))],
    "arguments-other-value-yet": [calls(call(0, "a", "add_task", "1"))],
    "arguments-not-json": [calls(call(0, "a", "add_task", "nope"))],
    "half-a-pair": [calls(call(0, "a", "add_task", f'{{"{HALF}'))],
    "two-calls-open": [calls(call(0, "a", "add_task", "{"), call(1, "b", "add_task", "{"))],
    "one-choice-of-two-finished": [*whole_call(), ends(), *whole_call(choice=1, arguments="{")],
    "legacy": [legacy("add_task", "{")],
    "custom": [calls(custom_call(0, "a", "note", "mi"))],
}


@pytest.mark.parametrize("outcome", STOPPED)
@pytest.mark.parametrize("wanted", ["auto", "required"])
@pytest.mark.parametrize("chunks", UNFINISHED.values(), ids=UNFINISHED.keys())
def test_what_more_chunks_could_have_fixed_is_no_anomaly(chunks: list[Chunk], wanted: str, outcome: Any) -> None:
    check(chunks, asked(tool_choice=wanted), outcome, [])


def test_a_finished_choice_is_judged_although_the_stream_was_stopped() -> None:
    chunks = [*whole_call(arguments="{"), ends(), *whole_call(choice=1, arguments="{")]
    found = anomalies_of(chunks, ASKED, "closed")
    assert [(anomaly.type, anomaly.choice_index) for anomaly in found] == [("invalid_json", 0)]


# -- the stream --


@pytest.mark.parametrize(
    ("wait", "stall_seconds", "expected"),
    [
        pytest.param(10.001, 10.0, ["stalled"], id="above"),
        pytest.param(10.0, 10.0, [], id="exactly"),
        pytest.param(9.999, 10.0, [], id="below"),
        pytest.param(0.2, 0.1, ["stalled"], id="above-another-limit"),
        pytest.param(1e6, float("inf"), [], id="no-limit"),
    ],
)
def test_a_long_wait_between_two_chunks_is_stalled(wait: float, stall_seconds: float, expected: list[str]) -> None:
    recording = record([says("Hi"), ends("stop")], waits_ns={1: int(wait * 1e9)})
    assert types_of(diagnose(Case(recording, None, stall_seconds))) == expected


def test_the_wait_for_the_first_chunk_does_not_count() -> None:
    recording = record([says("Hi"), ends("stop")], waits_ns={0: 60 * 10**9})
    assert diagnose(Case(recording)) == []


def test_time_spent_by_the_application_does_not_count() -> None:
    recording = Recording()
    feed(recording, [says("Hi")])
    late = 60 * 10**9
    recording.feed(ends("stop"), late, late + STEP_NS)
    recording.end("completed", late + 2 * STEP_NS)
    assert diagnose(Case(recording)) == []


def test_a_read_that_failed_after_a_long_wait_is_stalled() -> None:
    recording = feed(Recording(), [says("Hi")])
    recording.end("error", 60 * 10**9, STEP_NS)
    assert types_of(diagnose(Case(recording))) == ["stalled"]


def test_a_request_that_failed_before_the_first_chunk_is_not_stalled() -> None:
    recording = Recording()
    recording.end("error", 60 * 10**9, 0)
    assert diagnose(Case(recording)) == []


# -- limits --


@pytest.mark.parametrize(
    ("chunks", "limits", "details"),
    [
        pytest.param(
            [calls(*[call(n, f"call_{n}", "add", f'{{"n":{n}}}') for n in range(300)]), ends()],
            Limits(),
            ["44 calls beyond 256 (44 deltas) were only counted"],
            id="calls",
        ),
        pytest.param(
            [says("Hi", choice=n) for n in range(130)] + [ends("stop", choice=n) for n in range(130)],
            Limits(),
            ["4 deltas of choices beyond 128 were only counted"],
            id="choices",
        ),
        pytest.param(
            arguments('{"a":"' + "x" * 100 + '"}', "add"),
            Limits(arguments=50),
            ["108 characters of arguments, of which 50 were kept"],
            id="arguments-of-a-call",
        ),
        pytest.param(
            [*whole_call("add", '{"a":' + " " * 40 + "1}"), *whole_call("list_tasks", "{}" + " " * 40, index=1, id="b"),
             ends()],
            Limits(arguments_of_stream=60),
            ["42 characters of arguments, of which 13 were kept"],
            id="arguments-of-all-calls",
        ),
        pytest.param(
            arguments("[" * 200_000 + "]" * 200_000),
            Limits(),
            ["arguments are nested too deeply to be read"],
            id="depth",
        ),
        pytest.param(
            arguments("[" * 200_000 + "]" * 200_000, reason="length"),
            Limits(),
            ["arguments are nested too deeply to be read"],
            id="depth-but-not-truncated",
        ),
        pytest.param(
            parallel(call(0, "i" * 10_000, "add", "{}")), Limits(), ["a name or id longer than what is kept"], id="id"
        ),
    ],
)  # fmt: skip
def test_a_limit_that_was_reached_is_the_only_anomaly(chunks: list[Chunk], limits: Limits, details: list[str]) -> None:
    found = anomalies_of(chunks, ASKED, limits=limits)
    assert [(anomaly.type, anomaly.detail) for anomaly in found] == [("limit_exceeded", detail) for detail in details]


def test_text_beyond_the_limit_is_counted() -> None:
    kept = record([says("abc"), says("defg"), ends("stop")], limits=Limits(text=5))
    assert [anomaly.detail for anomaly in diagnose(Case(kept, read_request(ASKED)))] == [
        "2 characters of text were not kept"
    ]
    # Nothing is sent of a recording without its request.
    assert diagnose(Case(kept)) == []


def test_an_id_cut_by_our_limit_is_not_invalid_unicode() -> None:
    chunks = parallel(call(0, f"abc{HALF}{OTHER_HALF}", "add", "{}"))
    assert types_of(anomalies_of(chunks, ASKED, limits=Limits(id=4))) == ["limit_exceeded"]


def test_arguments_cut_by_our_limit_are_not_invalid_unicode() -> None:
    chunks = [*arguments(f'{{"a":"{HALF}', reason=None), calls(call(0, arguments=f'{OTHER_HALF}"}}')), ends()]
    assert types_of(anomalies_of(chunks, ASKED, limits=Limits(arguments=7))) == ["limit_exceeded"]


@pytest.mark.parametrize(
    "asked_for", [asked(tool_choice="required"), named("add"), asked()], ids=["required", "named", "auto"]
)
def test_calls_that_are_not_kept_count_as_calls(asked_for: dict[str, Any]) -> None:
    chunks = [*whole_call("add"), *whole_call("add", choice=1), ends(), ends(choice=1)]
    assert types_of(anomalies_of(chunks, asked_for, limits=Limits(calls=1))) == ["limit_exceeded"]


@pytest.mark.parametrize(
    "beyond",
    [
        pytest.param(
            [call(0, "b", "list_tasks", "{"), call(0, arguments='"x"'), call(0, arguments=":1}")], id="one-index"
        ),
        pytest.param([call(1, "b", "list_tasks", "{"), call(1, arguments='"x":1}')], id="another-index"),
        pytest.param([call(1, "b", "list_tasks", "{"), call(1, "b", arguments='"x":1}')], id="id-in-every-delta"),
        pytest.param([call(1, None, "list_tasks", "{"), call(1, arguments='"x":1}')], id="no-id"),
        pytest.param(
            [call(1), call(1, "b"), call(1, None, "list_tasks"), call(1, arguments="{}")], id="in-small-steps"
        ),
    ],
)
def test_later_deltas_of_a_call_that_is_not_kept_are_counted(beyond: list[Any]) -> None:
    chunks = [*whole_call("add", id="a"), *[calls(delta) for delta in beyond], ends()]
    request = read_request(ASKED)
    recording = record(chunks, request, limits=Limits(calls=1))
    assert [anomaly.detail for anomaly in diagnose(Case(recording, request))] == [
        f"1 call beyond 1 ({len(beyond)} deltas) were only counted"
    ]
    assert recording.calls[0].arguments == "{}"
    assert recording.tool_call_count == 2
    assert recording.delta_count == len(chunks) - 1


def test_later_deltas_without_an_index_are_counted_too() -> None:
    chunks = [
        calls(call(None, "a", "add", "{}")),
        calls(call(None, "b", "list_tasks", "{")),
        calls(call(None, arguments="}")),
        ends(),
    ]
    recording = record(chunks, limits=Limits(calls=1))
    assert (recording.over_calls, recording.over_deltas) == (1, 2)
    assert recording.calls[0].arguments == "{}"


# -- unstreamed responses --


def anomalies_of_response(message: dict[str, Any], reason: Any, asked_for: Any = ASKED, **fields: Any) -> list[str]:
    request = read_request(asked_for)
    recording = Recording(declared=request.tool_names)
    recording.read_response(sdk_completion(message, reason, **fields), STEP_NS)
    recording.end("completed", 2 * STEP_NS)
    return types_of(diagnose(Case(recording, request)))


def tool_calls(*pairs: tuple[Any, Any]) -> dict[str, Any]:
    return {
        "content": None,
        "tool_calls": [
            {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": text}}
            for n, (name, text) in enumerate(pairs)
        ],
    }


@pytest.mark.parametrize(
    ("message", "reason", "expected"),
    [
        pytest.param({"content": "Hi"}, "stop", [], id="text"),
        pytest.param(tool_calls(("add_task", TITLE)), "tool_calls", [], id="call-without-an-index"),
        pytest.param(tool_calls(("add", "{}"), ("list_tasks", "{}")), "tool_calls", [], id="two-calls"),
        pytest.param({"function_call": {"name": "add", "arguments": "{}"}}, "function_call", [], id="legacy"),
        pytest.param({"content": "4", "function_call": {"name": "", "arguments": ""}}, "stop", [], id="legacy-empty"),
        pytest.param({"tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "note", "input": "x"}}]},
                     "tool_calls", [], id="custom"),
        pytest.param(tool_calls(("add", "{")), "tool_calls", ["invalid_json"], id="not-json"),
        pytest.param(tool_calls(("add", {})), "tool_calls", ["arguments_not_string"], id="object"),
        pytest.param(tool_calls(("add", "{}")), "stop", ["finish_reason_mismatch"], id="stop"),
        pytest.param(tool_calls(("add", "{")), "length", ["truncated"], id="truncated"),
        pytest.param(tool_calls(("find", "{}"), ("find", "{ }")), "tool_calls", ["duplicate_call"], id="same-call"),
        pytest.param({"content": "Hi"}, None, ["missing_finish_reason"], id="no-finish-reason"),
    ],
)  # fmt: skip
def test_an_unstreamed_response_is_judged_like_a_stream(message: Any, reason: Any, expected: list[str]) -> None:
    assert anomalies_of_response(message, reason) == expected


def test_an_unstreamed_response_without_choices_has_no_finish_reason() -> None:
    assert anomalies_of_response({}, "stop", choices=[]) == ["missing_finish_reason"]


# -- details --


def test_an_anomaly_has_the_indexes_of_its_choice_and_call() -> None:
    chunks = [*whole_call(choice=0), *whole_call(index=3, choice=2, arguments="{"), ends(choice=0), ends(choice=2)]
    (found,) = anomalies_of(chunks, ASKED)
    assert (found.type, found.choice_index, found.tool_call_index) == ("invalid_json", 2, 3)


@pytest.mark.parametrize(
    "chunks",
    [
        arguments('{"key":"SECRET"'),
        arguments('"SECRET"'),
        arguments('{"a":"SECRET"}{"a":"SECRET"}'),
        arguments({"a": "SECRET"}),
        arguments('{"a":"SECRET\\ud83d"}'),
        arguments('{"a":"SECRET', reason="length"),
        twice('{"a":"SECRET"}', '{"a":"SECRET"}'),
    ],
    ids=["invalid", "string", "duplicated", "object", "unicode", "truncated", "duplicate-call"],
)
def test_a_detail_never_repeats_arguments(chunks: list[Chunk]) -> None:
    found = anomalies_of(chunks, ASKED)
    assert found
    assert "SECRET" not in " ".join(anomaly.detail for anomaly in found)


def test_a_detail_is_one_short_line_whatever_a_server_sends() -> None:
    hostile = "\n[LLM STREAM] Anomaly: forged\x1b[2J\u2028" + "x" * 5000
    chunks = [calls(call(0, hostile, hostile, "{}")), calls(call(0, "b" + hostile, name="c" + hostile)), ends(hostile)]
    found = anomalies_of(chunks, named(hostile + "!"))
    assert len(found) >= 5
    for anomaly in found:
        assert len(anomaly.detail) < 1000
        assert not set(anomaly.detail) & set("\n\r\x1b\u2028")


# -- judges that raise --

TUPLES_OF_JUDGES = (
    "STREAM_JUDGES",
    "CHOICE_JUDGES",
    "TEXT_JUDGES",
    "ANSWER_JUDGES",
    "OUTPUT_JUDGES",
    "CALLING_CHOICE_JUDGES",
    "CALL_JUDGES",
)
JUDGES = [judge for name in TUPLES_OF_JUDGES for judge in getattr(judges, name)]
MUCH_IS_WRONG = [
    says('<tool_call>{"name": "list_tasks", "arguments": {}}</tool_call>'),
    *arguments("{", "add_task", reason=None),
    calls(call(0, "call_2", "nope", {"title": HALF}), call(None, None, None, "[1]")),
    ends("stop"),
    calls(call(1, "call_1", "add_task", "{}")),
    calls(call(2, "call_1", "add_task", "{}")),
    # A choice without calls.
    says("", choice=1),
    ends("stop", choice=1),
]


def much_is_wrong(**options: Any) -> Case:
    request = read_request(asked(tool_choice="none", parallel_tool_calls=False))
    return Case(record(MUCH_IS_WRONG, request, waits_ns={1: 11 * 10**9}), request, **options)


def replace(monkeypatch: pytest.MonkeyPatch, judge: Any, other: Callable[..., Iterator[Any]]) -> None:
    other.__name__ = judge.__name__
    for name in TUPLES_OF_JUDGES:
        monkeypatch.setattr(judges, name, tuple(other if one is judge else one for one in getattr(judges, name)))


def finds_nothing(*_: Any) -> Iterator[Any]:
    yield from ()


def raises(*_: Any) -> Iterator[Any]:
    yield from ()
    raise RuntimeError("broken")


@pytest.mark.parametrize("judge", JUDGES, ids=lambda judge: judge.__name__)
def test_a_judge_that_raises_silences_no_other(judge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = diagnose(much_is_wrong())
    with monkeypatch.context() as patched:
        replace(patched, judge, finds_nothing)
        others = diagnose(much_is_wrong())
    assert 0 < len(others) <= len(everything)
    replace(monkeypatch, judge, raises)
    faults: list[tuple[str, str]] = []
    found = diagnose(much_is_wrong(on_fault=lambda name, fault: faults.append((name, str(fault)))))
    assert found == others
    assert set(faults) == {(f"the {judge.__name__} judge", "broken")}


@pytest.mark.parametrize("judge", JUDGES, ids=lambda judge: judge.__name__)
def test_without_on_fault_the_exception_is_raised(judge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(monkeypatch, judge, raises)
    with pytest.raises(RuntimeError, match="broken"):
        diagnose(much_is_wrong())


def test_what_a_judge_found_before_it_raised_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def finds_and_raises(_case: Case) -> Iterator[Finding]:
        yield Finding("stalled", "found before")
        raise RuntimeError("broken")

    replace(monkeypatch, judges.stalled, finds_and_raises)
    found = diagnose(much_is_wrong(on_fault=lambda *_: None))
    assert Anomaly("stalled", "found before") in found


# -- wording --


def test_details_read_well_for_one_and_for_none() -> None:
    opened = [calls(call(0, "a", "add_task", "{")), ends("length")]
    assert [one.detail for one in anomalies_of(opened)] == ["length after 1 character of arguments"]
    one_tool = {"tools": [{"type": "function", "function": {"name": "other"}}]}
    whole = [calls(call(0, "a", "add_task", "{}")), ends("tool_calls")]
    assert [one.detail for one in anomalies_of(whole, one_tool)] == ["add_task is not the declared tool"]
    assert [one.detail for one in anomalies_of(whole, {"tools": []})] == ["add_task is called, but no tool is declared"]
    cut = [calls(call(0, "a", "add_task", '{"title": "buy')), ends("tool_calls")]
    assert [one.detail for one in anomalies_of(cut)] == ["Unterminated string starting at character 10 of 14"]
