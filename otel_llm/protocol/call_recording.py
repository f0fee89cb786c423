"""The tool calls of a response: when they start, and what they say.  Pure.

Which call a delta belongs to is decided in `call_matching.py`. A delta that only continues a call does not come here:
`Recording.feed` appends it to the call itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from otel_llm.protocol.call_matching import LEGACY, Key, TextKey, begin_call, find_call
from otel_llm.protocol.choice import CUTTING_FINISH_REASONS, Choice, Limits, Notice, Outcome
from otel_llm.protocol.fields import field, index_of, is_empty, text_of
from otel_llm.protocol.tool_call import CallKind, ToolCall
from otel_llm.protocol.tool_names import ToolNames, note

DELTA_COST = 256
"""Each delta counts as some characters besides its text, so that a stream of tiny ones is bounded too."""


class CallRecorder:
    """Reads the tool-call deltas of all choices of a recording. Methods that take a delta return what it takes of the
    room for fresh ones, 0 if it was not appended to a call.

    `notices` gets a notice when a call starts, and when its name is known.
    """

    __slots__ = ("_limits", "_names", "_notices", "first_ns", "kept", "over_calls", "over_deltas")

    def __init__(self, names: ToolNames, notices: list[Notice], limits: Limits) -> None:
        self._names = names
        self._notices = notices
        self._limits = limits
        self.first_ns: int | None = None
        """When the first delta came."""
        self.kept = 0
        """Calls that are kept."""
        self.over_calls = 0
        """Calls beyond the limit."""
        self.over_deltas = 0
        """Deltas of calls beyond the limit."""

    def delta(self, choice: Choice, tool_call: Any, time_ns: int, place: int | None = None) -> int:
        """A delta that starts a call, names it, contradicts it or breaks the protocol.

        `place`: the position of a call in an unstreamed message, whose calls have no index.
        """
        kind: CallKind = "function"
        try:
            body = tool_call.function
            at, call_id, name, arguments = tool_call.index, tool_call.id, body.name, body.arguments
        except Exception:  # noqa: BLE001  a mapping, a mock, a call of a custom tool
            at, call_id, body = field(tool_call, "index"), field(tool_call, "id"), field(tool_call, "function")
            custom = field(tool_call, "custom") if body is None else None
            if custom is not None and not callable(custom):
                kind, name, arguments = "custom", field(custom, "name"), field(custom, "input")
            else:
                name, arguments = field(body, "name"), field(body, "arguments")
        index = index_of(at) if place is None else place
        if index is None:
            choice.missing_index += 1
        return self._add(choice, index, text_of(call_id), text_of(name), arguments, kind, time_ns)

    def legacy(self, choice: Choice, function_call: Any, time_ns: int) -> int:
        """A `function_call`."""
        name = text_of(field(function_call, "name"))
        arguments = field(function_call, "arguments")
        if name is None and is_empty(arguments):
            # Some servers send the field with nothing in it beside every answer.
            return 0
        return self._add(choice, LEGACY, None, name, arguments, "legacy", time_ns)

    def in_text(self, choice: Choice, number: int, name: str | None, arguments: str, time_ns: int) -> int:
        """A piece of a call that was found in the text of a choice. `number`: its place among these."""
        return self._add(choice, TextKey(number), None, name, arguments, "text", time_ns)

    def announce(self, choice: Choice, calls: Sequence[ToolCall]) -> None:
        """These calls of a choice have the names that they will have."""
        for call in calls:
            if not call.announced and call.name is not None:
                call.announced = True
                self._notices.append(Notice("name", choice, call))

    def end(self, choice: Choice, outcome: Outcome, ended_ns: int) -> None:
        """The response is over."""
        self.announce(choice, choice.calls)
        for call in choice.calls:
            call.finish()
            if choice.finished_ns is not None or outcome == "completed":
                self._names.settle(call, was_cut_off=choice.finish_reason in CUTTING_FINISH_REASONS)
            if choice.finished_ns is not None:
                call.completed_ns = max(choice.finished_ns, call.last_delta_ns)
            elif outcome == "completed":
                call.completed_ns = ended_ns

    def _add(
        self,
        choice: Choice,
        key: Key | None,
        call_id: str | None,
        name: str | None,
        arguments: Any,
        kind: CallKind,
        time_ns: int,
    ) -> int:
        if choice.finished_ns is not None:
            choice.deltas_after_finish += 1
        if self.first_ns is None:
            self.first_ns = time_ns
        limits = self._limits
        is_over_long = False
        if call_id is not None and len(call_id) > limits.id:
            call_id, is_over_long = call_id[: limits.id], True
        if name is not None and len(name) > limits.name and not self._names.may_become_declared(name):
            name, is_over_long = name[: limits.name], True

        call = find_call(choice, key, call_id, name, self._names)
        if call is None:
            if self.kept >= limits.calls:
                self._count_over(choice, key, call_id, name)
                return 0
            self.kept += 1
            call = begin_call(choice, key, kind, time_ns)
        if kind == "custom":
            call.kind = kind
        if kind != "legacy":
            choice.last_call = call
        if is_over_long:
            call.over_long_label = True
        if call_id is not None and call_id != call.id:
            if call.id is None:
                call.id = call_id
                choice.by_id.setdefault(call_id, call)
            else:
                note(call.other_ids, call_id, limits)
        if not call.fresh and not call.deltas:
            self._notices.append(Notice("detected", choice, call))
        if name is not None and self._names.add(call, name, time_ns):
            self.announce(choice, (call,))
        text = arguments if type(arguments) is str else _arguments_text(arguments, call)
        call.fresh.append((time_ns, text))
        return len(text) + DELTA_COST

    def _count_over(self, choice: Choice, key: Key | None, call_id: str | None, name: str | None) -> None:
        """Count a delta of a call that is not kept. Later deltas at its index, or without one, belong to that call."""
        self.over_deltas += 1
        last = choice.last_over
        begins = last is None
        if last is not None and (call_id is not None or name is not None):
            begins = key != last[0] or (call_id is not None and last[1] not in {None, call_id})
        if begins:
            self.over_calls += 1
            choice.over_calls += 1
            choice.over_text_calls += isinstance(key, TextKey)
            choice.last_over = (key, call_id)
        choice.last_call = None
        choice.by_index.pop(key, None)


def _arguments_text(arguments: Any, call: ToolCall) -> str:
    """The text of arguments that are not a plain string: their JSON, if they can be written as such."""
    try:
        if isinstance(arguments, str):
            return str(arguments)
        if not isinstance(arguments, (dict, list, tuple, int, float)):
            return ""
        call.arguments_not_string = type(arguments).__name__
        return json.dumps(arguments, ensure_ascii=False, default=str)
    except Exception:  # noqa: BLE001  a value that cannot be written as JSON, or that raises
        return ""
