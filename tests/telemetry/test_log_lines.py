"""The exact log lines of the contract: people search for them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from otel_llm.config import Config
from otel_llm.demo.scripted_server import ScriptedServer, chunk
from otel_llm.diagnosis.case import Anomaly, Case
from otel_llm.diagnosis.judges import diagnose
from otel_llm.protocol.choice import Limits
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import read_request
from otel_llm.telemetry.log_lines import log_end, log_notices, log_request
from tests.helpers.callers import REQUEST, SyncCaller
from tests.helpers.seen import Seen
from tests.helpers.streams import call, calls, ends, legacy, says, sdk_chunk, sdk_completion, tool, whole_call

TOOLS = [tool("add_task", "title"), tool("list_tasks")]
TITLE = '{"title":"Test"}'
HOSTILE = "x\n[LLM STREAM] Anomaly: forged\r\x1b[2J\u2028\u202e\x00y"


class Lines:
    """The lines logged since the last look."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def new(self) -> list[str]:
        lines = [record.getMessage() for record in self._caplog.records]
        assert {record.name for record in self._caplog.records} <= {"otel_llm"}
        assert {record.levelno for record in self._caplog.records} <= {logging.INFO}
        self._caplog.clear()
        return lines


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Lines]:
    with caplog.at_level(logging.INFO, "otel_llm"):
        yield Lines(caplog)


def play(
    lines: Lines,
    chunks: list[Any],
    config: Config | None = None,
    asked: dict[str, Any] | None = None,
    outcome: Any = "completed",
) -> list[list[str]]:
    """The lines of each chunk, and those of the end."""
    config = config or Config()
    request = read_request({"tools": TOOLS} if asked is None else asked)
    recording = Recording(declared=request.tool_names)
    logged = []
    for at, one in enumerate(chunks):
        log_notices(config, recording, recording.feed(sdk_chunk(one), at, at + 1) or [])
        logged.append(lines.new())
    log_notices(config, recording, recording.end(outcome, len(chunks) + 1))
    log_end(config, recording, diagnose(Case(recording, request)))
    logged.append(lines.new())
    return logged


def flat(logged: list[list[str]]) -> list[str]:
    return [line for some in logged for line in some]


# -- the request --


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param({"stream": True}, ["[LLM REQUEST] stream=True"], id="stream"),
        pytest.param({}, ["[LLM REQUEST] stream=False"], id="no-stream"),
        pytest.param(
            {"stream": True, "tools": TOOLS, "tool_choice": "auto"},
            ["[LLM REQUEST] stream=True", "[OK] Tools: ['add_task', 'list_tasks']", "Tool choice: auto"],
            id="tools",
        ),
        pytest.param(
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "add_task"}}},
            ["[LLM REQUEST] stream=False", "[OK] Tools: ['add_task', 'list_tasks']", "Tool choice: add_task"],
            id="named",
        ),
        pytest.param({"tools": iter(TOOLS)}, ["[LLM REQUEST] stream=False"], id="tools-not-known"),
    ],
)
def test_a_request(asked: dict[str, Any], expected: list[str], lines: Lines) -> None:
    log_request(read_request(asked))
    assert lines.new() == expected


# -- the stream, line by line as it happens --


def test_a_call(lines: Lines) -> None:
    chunks = [
        chunk({"role": "assistant", "content": None}),
        calls(call(0, "call_1", "add_task", "")),
        calls(call(0, arguments='{"title":')),
        calls(call(0, arguments='"Test"}')),
        ends("tool_calls"),
    ]
    assert play(lines, chunks) == [
        [],
        ["[LLM STREAM] New tool call detected at index 0", "[LLM STREAM] Tool call [0] name: add_task"],
        [],
        [],
        [
            "[LLM STREAM] Finish reason: tool_calls",
            "[LLM STREAM] Tool calls completed: 1",
            '  [0] add_task(id=call_1) args={"title":"Test"}',
        ],
        [],
    ]


def test_text(lines: Lines) -> None:
    assert play(lines, [says(""), says("Hel"), says("lo"), ends("stop")]) == [
        [],
        ["[LLM STREAM] Text content started"],
        [],
        ["[LLM STREAM] Finish reason: stop", "[LLM STREAM] Response was text-only (no tool calls)"],
        [],
    ]


def test_text_and_two_calls(lines: Lines) -> None:
    both = calls(call(0, "a", "add_task", TITLE), call(1, "b", "list_tasks", "{}"))
    assert flat(play(lines, [says("Sure."), both, ends()])) == [
        "[LLM STREAM] Text content started",
        "[LLM STREAM] New tool call detected at index 0",
        "[LLM STREAM] Tool call [0] name: add_task",
        "[LLM STREAM] New tool call detected at index 1",
        "[LLM STREAM] Tool call [1] name: list_tasks",
        "[LLM STREAM] Finish reason: tool_calls",
        "[LLM STREAM] Tool calls completed: 2",
        '  [0] add_task(id=a) args={"title":"Test"}',
        "  [1] list_tasks(id=b) args={}",
    ]


def test_a_second_choice_is_told_apart(lines: Lines) -> None:
    chunks = [
        *whole_call(id="a"),
        *whole_call(id="b", choice=1),
        says("Hi", choice=2),
        ends(),
        ends(choice=1),
        ends("stop", choice=2),
    ]
    assert flat(play(lines, chunks)) == [
        "[LLM STREAM] New tool call detected at index 0",
        "[LLM STREAM] Tool call [0] name: list_tasks",
        "[LLM STREAM] New tool call detected at index 0 (choice 1)",
        "[LLM STREAM] Tool call [0] name: list_tasks (choice 1)",
        "[LLM STREAM] Text content started (choice 2)",
        "[LLM STREAM] Finish reason: tool_calls",
        "[LLM STREAM] Tool calls completed: 1",
        "  [0] list_tasks(id=a) args={}",
        "[LLM STREAM] Finish reason: tool_calls (choice 1)",
        "[LLM STREAM] Tool calls completed: 1 (choice 1)",
        "  [0] list_tasks(id=b) args={}",
        "[LLM STREAM] Finish reason: stop (choice 2)",
        "[LLM STREAM] Response was text-only (no tool calls) (choice 2)",
    ]


def test_calls_beyond_the_limit_are_counted_though_they_are_not_shown(lines: Lines) -> None:
    recording = Recording(limits=Limits(calls=1))
    both = calls(call(0, "a", "add_task", TITLE), call(1, "b", "list_tasks", "{}"), finish="tool_calls")
    log_notices(Config(), recording, recording.feed(sdk_chunk(both), 0, 1) or [])
    assert lines.new()[-2:] == [
        "[LLM STREAM] Tool calls completed: 2",
        '  [0] add_task(id=a) args={"title":"Test"}',
    ]


def test_a_name_in_pieces_is_logged_once_and_whole(lines: Lines) -> None:
    chunks = [
        calls(call(0, "a", "list")),
        calls(call(0, name="_tas")),
        calls(call(0, name="ks", arguments="{}")),
        ends(),
    ]
    assert play(lines, chunks)[:3] == [
        ["[LLM STREAM] New tool call detected at index 0"],
        [],
        ["[LLM STREAM] Tool call [0] name: list_tasks"],
    ]


def test_an_incomplete_name_is_logged_at_the_end(lines: Lines) -> None:
    assert play(lines, [calls(call(0, "a", "list"))], outcome="closed")[-1] == ["[LLM STREAM] Tool call [0] name: list"]


def test_a_legacy_call(lines: Lines) -> None:
    assert flat(play(lines, [legacy("list_tasks", "{}"), ends("function_call")])) == [
        "[LLM STREAM] New tool call detected at index 0",
        "[LLM STREAM] Tool call [0] name: list_tasks",
        "[LLM STREAM] Finish reason: function_call",
        "[LLM STREAM] Tool calls completed: 1",
        "  [0] list_tasks(id=None) args={}",
    ]


def test_anomalies(lines: Lines) -> None:
    assert play(lines, [*whole_call(arguments='{"a":1'), ends()])[-1] == [
        "[LLM STREAM] Anomaly: invalid_json (Expecting ',' delimiter at character 6 of 6)"
    ]


def test_a_stream_without_a_finish_reason_is_summarized_at_its_end(lines: Lines) -> None:
    assert play(lines, whole_call())[-1] == [
        "[LLM STREAM] Tool calls completed: 1",
        "  [0] list_tasks(id=call_1) args={}",
        "[LLM STREAM] Anomaly: missing_finish_reason (the response ended without one)",
    ]


@pytest.mark.parametrize("outcome", ["closed", "abandoned", "cancelled", "error"])
def test_a_stopped_stream_is_not_summarized(outcome: str, lines: Lines) -> None:
    assert play(lines, whole_call(), outcome=outcome)[-1] == []
    assert play(lines, [says("Hi")], outcome=outcome)[-1] == []


def test_a_repeated_finish_reason_is_logged_once(lines: Lines) -> None:
    assert play(lines, [says("Hi"), ends("stop"), ends("stop")])[2:] == [[], []]


def test_a_whole_response(lines: Lines) -> None:
    message = {
        "content": None,
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "add_task", "arguments": TITLE}}],
    }
    recording = Recording()
    log_notices(Config(), recording, recording.read_response(sdk_completion(message, "stop"), 1))
    recording.end("completed", 2)
    log_end(Config(), recording, diagnose(Case(recording, read_request({"tools": TOOLS}))))
    assert lines.new() == [
        "[LLM RESPONSE] New tool call detected at index 0",
        "[LLM RESPONSE] Tool call [0] name: add_task",
        "[LLM RESPONSE] Finish reason: stop",
        "[LLM RESPONSE] Tool calls completed: 1",
        '  [0] add_task(id=a) args={"title":"Test"}',
        "[LLM RESPONSE] Anomaly: finish_reason_mismatch (stop after 1 call)",
    ]


# -- untrusted text --


def test_arguments_are_cut_at_the_limit(lines: Lines) -> None:
    chunks = [*whole_call(arguments='{"a":"' + "x" * 500 + '"}'), ends()]
    assert flat(play(lines, chunks))[-1] == '  [0] list_tasks(id=call_1) args={"a":"' + "x" * 194
    assert flat(play(lines, chunks, Config(argument_limit=3)))[-1] == '  [0] list_tasks(id=call_1) args={"a'


def test_no_arguments_if_they_are_switched_off(lines: Lines) -> None:
    chunks = [*whole_call(arguments='{"a":"SECRET"'), ends()]
    logged = flat(play(lines, chunks, Config(capture_arguments=False)))
    assert "  [0] list_tasks(id=call_1) args=(not captured)" in logged
    assert logged[-1].startswith("[LLM STREAM] Anomaly: invalid_json (")
    assert "SECRET" not in "".join(logged)


def test_untrusted_text_starts_no_line_and_moves_no_cursor(lines: Lines) -> None:
    asked = {"tools": [tool(HOSTILE)], "tool_choice": {"type": "function", "function": {"name": HOSTILE + "!"}}}
    log_request(read_request(asked))
    chunks = [
        calls(call(0, HOSTILE, HOSTILE, HOSTILE)),
        calls(call(1, HOSTILE, HOSTILE + "?", HOSTILE)),
        calls(call(1, HOSTILE + "?", HOSTILE + "??")),
        ends(HOSTILE),
    ]
    request_lines = lines.new()
    logged = request_lines + flat(play(lines, chunks, asked=asked))
    recording = Recording()
    log_end(Config(), recording, [Anomaly("invalid_json", HOSTILE)])
    logged += lines.new()
    assert len(request_lines) == 3
    assert len(logged) > 12
    for line in logged:
        assert not set(line) & set("\n\r\x1b\u2028\u202e\x00")
        assert not line.startswith("[LLM STREAM] Anomaly: forged")


def test_a_lone_surrogate_is_written_as_its_escape(lines: Lines) -> None:
    logged = flat(play(lines, [*whole_call(arguments='{"a":"\ud83d"}', size=100), ends()]))
    assert '  [0] list_tasks(id=call_1) args={"a":"\\ud83d"}' in logged
    for line in logged:
        line.encode()


def test_a_surrogate_pair_in_two_deltas_is_one_character(lines: Lines) -> None:
    chunks = [*whole_call(arguments='{"a":"\ud83d', size=100), calls(call(0, arguments='\ude00"}')), ends()]
    assert flat(play(lines, chunks))[-1] == '  [0] list_tasks(id=call_1) args={"a":"\U0001f600"}'


# -- switched off --


def test_no_lines_if_they_are_switched_off(instrument: Callable[..., Seen], lines: Lines) -> None:
    instrument(log=False)
    assert ask() == "list_tasks"
    assert lines.new() == []


def test_no_lines_are_built_if_they_are_not_logged(
    instrument: Callable[..., Seen], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    instrument()
    built = []
    for name in ("log_notices", "log_end"):
        monkeypatch.setattr(f"otel_llm.observation.{name}", lambda *_: built.append(1))
    with caplog.at_level(logging.WARNING, "otel_llm"):
        assert ask() == "list_tasks"
    assert built == []
    with caplog.at_level(logging.INFO, "otel_llm"):
        assert ask() == "list_tasks"
    assert built


def ask() -> str:
    """One request with a broken tool call in its answer; returns the name that the caller sees."""
    with ScriptedServer([*whole_call(arguments="{"), ends()]) as server:
        caller = SyncCaller(server.base_url)
        with caller.client as client:
            stream = client.chat.completions.create(**REQUEST, stream=True)
            calls = [call for part in stream for call in part.choices[0].delta.tool_calls or ()]
    return calls[0].function.name or ""
