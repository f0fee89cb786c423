"""The state machine of one chat completion: chunks in, facts out.  No I/O, no telemetry, no SDK.

Times are nanoseconds of one monotonic clock, given by the caller. The rules that this file enforces:

- A choice is known by its index, a call as `call_matching.py` has it. What is no whole number from 0 is no index.
- Empty strings as id, name or finish reason are absent. The same id or name again says nothing new.
- A custom tool's input is free text.
- Everything kept is bounded by `Limits`; what goes over is counted, never dropped silently. Deltas are kept as
  cheap tuples; when there are too many, neighbours of one call are folded into one that says how many it stands for.

`feed` runs for every chunk of every stream. Its way through a text chunk or through the middle of a call is kept
straight: attribute reads, one dict look-up, one append. Whatever is out of the ordinary leaves that way at once,
and is read by `fields`, which raises nothing whatever it is given.
"""

from __future__ import annotations

import json
from typing import Any

from otel_llm.protocol.call_matching import LEGACY, Key, TextKey, begin_call, find_call
from otel_llm.protocol.choice import CUTTING_FINISH_REASONS, Choice, Failure, Limits, Notice, Outcome, TagRewrite
from otel_llm.protocol.errors import error_in
from otel_llm.protocol.fields import field, index_of, items_of, text_of, undeclared_field
from otel_llm.protocol.message_text import REASONING_FIELDS, said, texts_of, thought_of, thoughts_in
from otel_llm.protocol.tool_call import CallKind, ToolCall
from otel_llm.protocol.tool_names import ToolNames, note

# Text is measured and cut every 64 chunks.
_TEXT_WAITS = 63
# Deltas are settled when so many characters wait, each delta counted as so many beside its text: a stream of tiny
# ones is bounded too.
_ROOM = 524_288
_DELTA_COST = 256


# What says which model answered.
_HEAD = ("id", "model", "service_tier", "system_fingerprint")


def _may_call_functions(delta: Any) -> bool:
    """Whether the class of a delta has the legacy `function_call`: in some SDKs it has not, and asking raises."""
    fields = getattr(type(delta), "model_fields", None)
    return not isinstance(fields, dict) or "function_call" in fields


class Recording:
    """One response, streamed (`feed` for each chunk) or whole (`read_response`), then `end`.

    `declared`: the names a call may have, None where any may be right. `preview`: characters kept of each delta.
    `keep_text`: keep the text and the reasoning too, up to the limit. `watch_text`: keep the text, to be judged.
    """

    __slots__ = (
        "_awaiting_head",
        "_by_index",
        "_calls_kept",
        "_finishing",
        "_has_function_calls",
        "_keep_text",
        "_keeps_content",
        "_names",
        "_news",
        "_room",
        "_text_kept",
        "choices",
        "chunk_count",
        "declared",
        "ended_ns",
        "failure",
        "first_chunk_ns",
        "first_tool_call_ns",
        "has_text",
        "limits",
        "max_wait_ns",
        "outcome",
        "over_calls",
        "over_choices",
        "over_deltas",
        "over_rewrites",
        "over_text",
        "preview",
        "response_id",
        "response_model",
        "rewrites",
        "service_tier",
        "started_ns",
        "streamed",
        "system_fingerprint",
        "usage",
    )

    def __init__(
        self,
        *,
        started_ns: int = 0,
        declared: frozenset[str] | None = None,
        preview: int = 200,
        keep_text: bool = False,
        watch_text: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self.started_ns = started_ns
        self.declared = declared
        self.limits = limits or Limits()
        self._names = ToolNames(declared, self.limits)
        self.preview = preview
        self.streamed = True
        self.outcome: Outcome | None = None
        self.failure: Failure | None = None
        self.ended_ns: int | None = None
        self.chunk_count = 0
        self.first_chunk_ns: int | None = None
        self.first_tool_call_ns: int | None = None
        self.has_text = False
        self.max_wait_ns = 0
        self.choices: list[Choice] = []
        self.response_id: str | None = None
        self.response_model: str | None = None
        self.service_tier: str | None = None
        self.system_fingerprint: str | None = None
        self.usage: Any = None
        self.over_calls = 0
        """Calls beyond the limit."""
        self.over_deltas = 0
        """Deltas of calls beyond the limit."""
        self.over_choices = 0
        """Deltas of choices beyond the limit."""
        self.over_text = 0
        """Characters of text beyond the limit."""
        self.rewrites: list[tuple[int, TagRewrite]] = []
        """Calls in the text that were rewritten, and when."""
        self.over_rewrites = 0
        """Rewritten calls beyond the limit."""
        self._by_index: dict[Any, Choice] = {}
        self._news: list[Notice] = []
        self._awaiting_head = True
        self._room = _ROOM
        self._calls_kept = 0
        self._finishing: Any = None
        self._has_function_calls = True
        self._keep_text = keep_text
        self._keeps_content = keep_text or watch_text
        self._text_kept = 0

    # While the stream flows -------------------------------------------------------------------------------

    def feed(self, chunk: Any, asked_ns: int, came_ns: int) -> list[Notice] | None:
        """Take one chunk: the caller asked for it at `asked_ns` and got it at `came_ns`."""
        count = self.chunk_count
        self.chunk_count = count + 1
        if count:
            waited_ns = came_ns - asked_ns
            if waited_ns > self.max_wait_ns:
                self.max_wait_ns = waited_ns
            if not count & _TEXT_WAITS:
                self._settle_text()
        else:
            self.first_chunk_ns = came_ns

        try:
            choices = chunk.choices
            usage = chunk.usage
        except Exception:  # noqa: BLE001  whatever it is, it is no chunk of an SDK
            choices = field(chunk, "choices")
            usage = field(chunk, "usage")
        if usage is not None:
            self.usage = usage
        if self._awaiting_head:
            self.read_head(chunk)
        if type(choices) is not list:
            choices = items_of(choices)
            if not choices:
                self._read_failure(chunk)

        for choice in choices:
            try:
                finish_reason = choice.finish_reason
                delta = choice.delta
                content = delta.content
                tool_calls = delta.tool_calls
                function_call = delta.function_call if self._has_function_calls else None
                # What this asks may raise, so it is asked here.
                extra = delta.__pydantic_extra__ or None
                index = choice.index
                known = self._by_index.get(index)
            except Exception:  # noqa: BLE001  a delta that is null, a mapping, a mock
                index = field(choice, "index")
                known = None
                finish_reason = field(choice, "finish_reason")
                delta = field(choice, "delta")
                content = field(delta, "content")
                tool_calls = field(delta, "tool_calls")
                function_call = field(delta, "function_call")
                extra = field(delta, "__pydantic_extra__")
                self._has_function_calls = self._has_function_calls and _may_call_functions(delta)
            if known is None:
                known = self._choice(index)
                if known is None:
                    continue

            if content is None:
                if tool_calls is None:
                    self._rest_of_delta(known, delta, came_ns)
            elif known.keep_text is not None:
                known.keep_text(content)
            elif known.text_started_ns is None:
                self._text(known, content, came_ns)
                if known.text_started_ns is None:
                    # The text is empty.
                    self._rest_of_delta(known, delta, came_ns)
            if extra is not None:
                if known.reasoning_started_ns is None or self._keep_text:
                    self._beside_text(known, extra, came_ns)
                if not self._has_function_calls:
                    function_call = field(extra, "function_call")

            if tool_calls is not None:
                if type(tool_calls) is not list:
                    tool_calls = items_of(tool_calls)
                if not tool_calls:
                    self._rest_of_delta(known, delta, came_ns)
                for tool_call in tool_calls:
                    try:
                        function = tool_call.function
                        text = function.arguments
                        call = known.open_calls[tool_call.index]
                        plain = type(text) is str and not function.name and not tool_call.id
                    except Exception:  # noqa: BLE001  a new call, or one without an index, a mapping, a mock
                        plain = False
                    if plain:
                        known.last_call = call
                        call.fresh.append((came_ns, text))
                        room = self._room - len(text) - _DELTA_COST
                        self._room = room
                        if room < 0:
                            self._settle()
                    else:
                        self._uncommon_delta(known, tool_call, came_ns)
            if function_call is not None:
                self._legacy_call(known, function_call, came_ns)
            if finish_reason is not None:
                self._finish_reason(known, choice, finish_reason, came_ns)
                self._finishing = chunk

        if self._news:
            news, self._news = self._news, []
            return news
        return None

    def call_in_text(self, choice_index: int, number: int, name: str | None, arguments: str, time_ns: int) -> None:
        """A piece of the `number`th call that was found in a choice's text, and stays text."""
        choice = self._choice(choice_index)
        if choice is not None:
            self._delta_of(choice, TextKey(number), None, name, arguments, "text", time_ns)

    def call_rewritten(self, rewrite: TagRewrite, time_ns: int) -> None:
        """A call in the text was rewritten."""
        if len(self.rewrites) < self.limits.calls:
            self.rewrites.append((time_ns, rewrite))
        else:
            self.over_rewrites += 1

    def read_response(self, response: Any, came_ns: int) -> list[Notice]:
        """Take a whole, unstreamed response (the shape of the API's `chat.completion` object)."""
        self.streamed = False
        self.first_chunk_ns = came_ns
        self.usage = field(response, "usage")
        self.read_head(response)
        for position, choice in enumerate(items_of(field(response, "choices"))):
            index = field(choice, "index")
            known = self._choice(position if index is None else index)
            if known is None:
                continue
            message = field(choice, "message")
            self._text(known, field(message, "content"), came_ns)
            self._rest_of_delta(known, message, came_ns)
            self._beside_text(known, field(message, "__pydantic_extra__"), came_ns)
            for place, tool_call in enumerate(items_of(field(message, "tool_calls"))):
                self._uncommon_delta(known, tool_call, came_ns, place)
            function_call = field(message, "function_call")
            if function_call is not None:
                self._legacy_call(known, function_call, came_ns)
            self._finish_reason(known, choice, field(choice, "finish_reason"), came_ns)
        if not self.choices:
            self._read_failure(response)
        news, self._news = self._news, []
        return news

    def end(
        self,
        outcome: Outcome,
        ended_ns: int,
        waited_since_ns: int | None = None,
        most_deltas: int | None = None,
    ) -> list[Notice]:
        """The stream is over.

        `waited_since_ns`: when the read that failed began, if one did. `most_deltas`: how many somebody has room for.
        """
        if self.outcome is not None:
            return []
        if self.failure is not None:
            outcome = "error"
        self.outcome = outcome
        self.ended_ns = ended_ns
        if self.usage is None and self._finishing is not None:
            self.usage = self._usage_beside(self._finishing)
        self._finishing = None
        if waited_since_ns is not None and self.chunk_count:
            self.max_wait_ns = max(self.max_wait_ns, ended_ns - waited_since_ns)
        self._settle(at_end=True, most_deltas=most_deltas)
        self._settle_text()
        for choice in self.choices:
            for call in choice.calls:
                self._announce(choice, call)
                call.finish()
                if choice.finished_ns is not None or outcome == "completed":
                    self._names.settle(call, was_cut_off=choice.finish_reason in CUTTING_FINISH_REASONS)
                if choice.finished_ns is not None:
                    call.completed_ns = max(choice.finished_ns, call.last_delta_ns)
                elif outcome == "completed":
                    call.completed_ns = ended_ns
        news, self._news = self._news, []
        return news

    def fail(self, error: Any, kind: str) -> None:
        """The server says within its response that it failed. `kind`: what to call it where `error` does not say."""
        code = field(error, "code")
        number = index_of(code)
        word = text_of(code) or text_of(field(error, "type")) or (kind if number is None else str(number))
        message = text_of(field(error, "message")) or text_of(error) or word
        self.failure = Failure(word[: self.limits.name], message[: self.limits.failure])

    # Off the straight way ---------------------------------------------------------------------------------

    def read_head(self, chunk: Any) -> None:
        """Take from a chunk or response what says which model answered. Some servers leave it empty at first."""
        try:
            response_id, model = chunk.id, chunk.model
            service_tier, fingerprint = chunk.service_tier, chunk.system_fingerprint
        except Exception:  # noqa: BLE001  a mapping, or a chunk of another SDK
            response_id, model, service_tier, fingerprint = (field(chunk, name) for name in _HEAD)
        limit = self.limits.name
        if response_id is not None and self.response_id is None and (text := text_of(response_id)):
            self.response_id = text[:limit]
        if model is not None and self.response_model is None and (text := text_of(model)):
            self.response_model = text[:limit]
        if service_tier is not None and self.service_tier is None and (text := text_of(service_tier)):
            self.service_tier = text[:limit]
        if fingerprint is not None and self.system_fingerprint is None and (text := text_of(fingerprint)):
            self.system_fingerprint = text[:limit]
        self._awaiting_head = self.chunk_count < 8 and not (self.response_id and self.response_model)

    def _choice(self, index: Any) -> Choice | None:
        # A choice without a usable index is the only one there is.
        key = index_of(index) or 0
        known = self._by_index.get(key)
        if known is None:
            if len(self.choices) >= self.limits.choices:
                self.over_choices += 1
                return None
            known = self._by_index[key] = Choice(key)
            self.choices.append(known)
        return known

    def _text(self, choice: Choice, content: Any, time_ns: int) -> None:
        text = content if type(content) is str else said(content)
        if not text:
            self._parts(choice, content, time_ns)
            return
        if choice.text_started_ns is None:
            self.has_text = True
            choice.text_started_ns = time_ns
            self._news.append(Notice("text", choice))
            if self._keeps_content:
                choice.keep_text = choice.fresh_text.append
        if choice.keep_text is not None:
            choice.keep_text(text)

    def _parts(self, choice: Choice, parts: Any, time_ns: int) -> None:
        """A content that is a list, of texts and thoughts."""
        for part in items_of(parts):
            text = text_of(field(part, "text"))
            if text is not None:
                self._text(choice, text, time_ns)
            elif thought := thought_of(part):
                self._thought(choice, thought, time_ns)

    def _rest_of_delta(self, choice: Choice, delta: Any, time_ns: int) -> None:
        """A delta without text or calls: a refusal, something in a field of its own, or nothing."""
        try:
            fields = delta.__dict__
        except Exception:  # noqa: BLE001  null, a plain mapping, or an object that raises
            fields = delta
        if type(fields) is not dict:
            return
        refusal = fields.get("refusal")
        if refusal is not None:
            self._text(choice, refusal, time_ns)
        if choice.reasoning_started_ns is None or self._keep_text:
            self._beside_text(choice, fields, time_ns)

    def _beside_text(self, choice: Choice, extra: Any, time_ns: int) -> None:
        """Fields beside the content: thoughts, or an answer that is spoken."""
        if type(extra) is not dict:
            return
        for name, value in extra.items():
            if value is None:
                # As in every chunk of some servers.
                continue
            if name in REASONING_FIELDS:
                text = value if type(value) is str else thoughts_in(value)
                if text:
                    self._thought(choice, text, time_ns)
                    return
            elif name == "audio":
                self._text(choice, field(value, "transcript"), time_ns)

    def _thought(self, choice: Choice, text: str, time_ns: int) -> None:
        if choice.reasoning_started_ns is None:
            choice.reasoning_started_ns = time_ns
        if self._keep_text:
            # What came before it has the first claim to what room there is.
            self._settle_text()
            self._keep(choice.reasoning_parts, text)

    def _settle_text(self) -> None:
        for choice in self.choices:
            if choice.fresh_text:
                try:
                    text = "".join(choice.fresh_text)
                except TypeError:
                    text = self._mixed(choice)
                choice.fresh_text.clear()
                self._keep(choice.text_parts, text)

    def _mixed(self, choice: Choice) -> str:
        """The fresh text where not all of it came as strings; what parts think is kept apart."""
        texts: list[str] = []
        for content in choice.fresh_text:
            if (text := said(content)) is not None:
                texts.append(text)
                continue
            texts += texts_of(content)
            if self._keep_text:
                self._keep(choice.reasoning_parts, "".join(thought_of(part) for part in items_of(content)))
        return "".join(texts)

    def _keep(self, parts: list[str], text: str) -> None:
        room = self.limits.text - self._text_kept
        if len(text) > room:
            self.over_text += len(text) - max(room, 0)
            text = text[: max(room, 0)]
        if text:
            parts.append(text)
            self._text_kept += len(text)

    def _legacy_call(self, choice: Choice, function_call: Any, time_ns: int) -> None:
        name = text_of(field(function_call, "name"))
        arguments = field(function_call, "arguments")
        if name is None and arguments is None:
            return
        self._delta_of(choice, LEGACY, None, name, arguments, "legacy", time_ns)

    def _uncommon_delta(self, choice: Choice, tool_call: Any, time_ns: int, place: int | None = None) -> None:
        """A delta that begins a call, names it, contradicts it or breaks the protocol.

        `place`: the call's place in an unstreamed message, whose calls carry no index.
        """
        body, arguments, kind = field(tool_call, "function"), "arguments", "function"
        if body is None:
            custom = field(tool_call, "custom")
            if custom is not None and not callable(custom):
                body, arguments, kind = custom, "input", "custom"
        index = index_of(field(tool_call, "index")) if place is None else place
        if index is None:
            choice.missing_index += 1
        self._delta_of(
            choice,
            index,
            text_of(field(tool_call, "id")),
            text_of(field(body, "name")),
            field(body, arguments),
            "custom" if kind == "custom" else "function",
            time_ns,
        )

    def _delta_of(
        self,
        choice: Choice,
        key: Key | None,
        call_id: str | None,
        name: str | None,
        arguments: Any,
        kind: CallKind,
        time_ns: int,
    ) -> None:
        if choice.finished_ns is not None:
            choice.deltas_after_finish += 1
        if self.first_tool_call_ns is None:
            self.first_tool_call_ns = time_ns
        limits = self.limits
        over_long = False
        if call_id is not None and len(call_id) > limits.id:
            call_id, over_long = call_id[: limits.id], True
        if name is not None and len(name) > limits.name and not self._names.may_become_declared(name):
            name, over_long = name[: limits.name], True

        call = find_call(choice, key, call_id, name, self._names)
        if call is None:
            if self._calls_kept >= limits.calls:
                self._count_over(choice, key, call_id, name)
                return
            self._calls_kept += 1
            call = begin_call(choice, key, kind, time_ns)
        if kind == "custom":
            call.kind = kind
        if kind != "legacy":
            choice.last_call = call
        if over_long:
            call.over_long_label = True
        if call_id is not None and call_id != call.id:
            if call.id is None:
                call.id = call_id
                choice.by_id.setdefault(call_id, call)
            else:
                note(call.other_ids, call_id, limits)
        if not call.fresh and not call.deltas:
            self._news.append(Notice("detected", choice, call))
        if name is not None and self._names.add(call, name, time_ns):
            self._announce(choice, call)
        text = arguments if type(arguments) is str else self._text_of_arguments(call, arguments)
        call.fresh.append((time_ns, text))
        self._room -= len(text) + _DELTA_COST
        if self._room < 0:
            self._settle()

    def _count_over(self, choice: Choice, key: Key | None, call_id: str | None, name: str | None) -> None:
        """A delta of a call that is not kept. What follows it at its index, or without one, is of that call too."""
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

    def _announce(self, choice: Choice, call: ToolCall) -> None:
        if not call.announced and call.name is not None:
            call.announced = True
            self._news.append(Notice("name", choice, call))

    def _text_of_arguments(self, call: ToolCall, arguments: Any) -> str:
        """The text of arguments that are not a plain string, as JSON where they can be written so."""
        try:
            if isinstance(arguments, str):
                return str(arguments)
            if not isinstance(arguments, (dict, list, tuple, int, float)):
                return ""
            call.arguments_not_string = type(arguments).__name__
            return json.dumps(arguments, ensure_ascii=False, default=str)
        except Exception:  # noqa: BLE001  a value that cannot be written, or that raises when it is asked
            return ""

    def _finish_reason(self, choice: Choice, source: Any, finish_reason: Any, time_ns: int) -> None:
        """`source`: what the SDK made of the choice."""
        reason = text_of(finish_reason)
        if reason is None:
            return
        if reason == "error":
            self._read_failure(source)
        reason = reason[: self.limits.name]
        if reason != choice.finish_reason:
            if len(choice.finish_reasons) < self.limits.notes:
                choice.finish_reasons.append((time_ns, reason))
            choice.finish_reason = reason
            for call in choice.calls:
                self._announce(choice, call)
            self._news.append(Notice("finish", choice))
        if choice.finished_ns is None:
            choice.finished_ns = time_ns
            choice.open_calls = {}

    def _read_failure(self, source: Any) -> None:
        """Gateways answer with status 200 before they ask the model; a failure is then in the body, or in a choice.

        Where vLLM fails in the middle of a stream, a chunk may be nothing but the error.
        """
        error = error_in(source)
        if error is not None:
            self.fail(error, "error")

    def _settle(self, *, at_end: bool = False, most_deltas: int | None = None) -> None:
        """Bring what was kept back under the limits."""
        if not self._calls_kept:
            return
        limits = self.limits
        self._room = _ROOM
        calls = self.calls
        fresh = sum(len(call.fresh) for call in calls)
        # A long stream is folded coarser than it need be, so that it is not folded anew each time.
        most = limits.deltas if at_end else max(1, limits.deltas // 2)
        if most_deltas is not None and not any(call.deltas for call in calls):
            # Nothing is folded yet: what nobody has room for need not be made.
            most = max(1, min(most, most_deltas))
        stream_room = limits.arguments_of_stream - sum(call.kept_length for call in calls)
        kept = 0
        for call in calls:
            before = call.kept_length
            groups = -(-len(call.fresh) * most // fresh) if fresh > most else len(call.fresh)
            call.settle(self.preview, min(limits.arguments - before, stream_room), groups)
            stream_room -= call.kept_length - before
            kept += len(call.deltas)
        while kept > limits.deltas:
            for call in calls:
                call.fold(self.preview)
            folded = sum(len(call.deltas) for call in calls)
            if folded == kept:
                break
            kept = folded

    def _usage_beside(self, chunk: Any) -> Any:
        """The usage where Groq and Moonshot have it."""
        usage = field(undeclared_field(chunk, "x_groq"), "usage")
        choices = items_of(field(chunk, "choices"))
        return undeclared_field(choices[-1], "usage") if usage is None and choices else usage

    # Facts ------------------------------------------------------------------------------------------------

    @property
    def calls(self) -> list[ToolCall]:
        """All calls, choice by choice."""
        return [call for choice in self.choices for call in choice.calls]

    @property
    def tool_call_count(self) -> int:
        """Calls begun in all choices, those that were not kept included."""
        return self._calls_kept + self.over_calls

    @property
    def delta_count(self) -> int:
        """Tool-call deltas received, those of calls that were not kept included."""
        return sum(call.delta_count for call in self.calls) + self.over_deltas
