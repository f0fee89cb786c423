"""The state machine of one chat completion: chunks in, facts out.  No I/O, no telemetry, no SDK.

Times are nanoseconds of one monotonic clock, given by the caller. The rules that this file enforces:

- A choice is known by its index. A call is known by its index within its choice; where the index is missing, by
  its id; where both are missing, the delta goes on with the choice's last call. Indexes need not start at 0, be
  dense or be in order; they are keys, so a huge one allocates nothing.
- Another id at an index in use begins a call of its own if it comes with a name, and that name differs or the
  arguments so far are already one whole JSON value. Without that it contradicts the call it stands on.
- A name may come in pieces: while the pieces joined begin the name of a declared tool they are one name.
- Empty strings as id, name or finish reason are absent. The same id or name again says nothing new.
- The legacy `function_call` is one call that needs neither index nor id. A custom tool's input is free text.
- Everything kept is bounded by `Limits`; what goes over is counted, never dropped silently. Deltas are kept as
  cheap tuples; when there are too many, neighbours of one call are folded into one that says how many it stands for.

`feed` runs for every chunk of every stream. Its way through a text chunk or through the middle of a call is kept
straight: attribute reads, one dict look-up, one append. Whatever is out of the ordinary leaves that way at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from otel_llm.fields import field, items_of, text_of
from otel_llm.json_values import GrowingText
from otel_llm.unicode_text import join_surrogates

if TYPE_CHECKING:
    from collections.abc import Sequence

Outcome = Literal["completed", "closed", "abandoned", "cancelled", "error"]
CallKind = Literal["function", "custom", "legacy"]


@dataclass(frozen=True)
class Limits:
    """How much of one stream is kept. Lengths are in characters."""

    calls: int = 256
    choices: int = 128
    deltas: int = 1024
    arguments: int = 1_048_576
    arguments_of_stream: int = 8 * 1_048_576
    text: int = 1_048_576
    name: int = 256
    # Some gateways carry a signature of the model's thoughts in the id.
    id: int = 8192
    notes: int = 8


class Delta(NamedTuple):
    """One or several neighbouring deltas of one call."""

    time_ns: int
    """When the first of them came."""
    count: int
    """How many they are."""
    text: str
    """The beginning of the arguments they brought, cut at the preview limit."""
    length: int
    """Length of the call's arguments, these included."""


class Notice(NamedTuple):
    """Something that a person watching the stream would want to know now."""

    kind: Literal["first_chunk", "detected", "name", "text", "finish"]
    choice: Choice | None = None
    call: ToolCall | None = None


class ToolCall:
    """One tool call as it grew. What is public is final once `Recording.end` ran."""

    __slots__ = (
        "_fresh",
        "_kept_length",
        "_name_pieces",
        "_parts",
        "_scanned",
        "_scanner",
        "announced",
        "arguments",
        "arguments_not_string",
        "choice_index",
        "completed_ns",
        "deltas",
        "first_delta_ns",
        "id",
        "index",
        "index_reused",
        "kind",
        "last_delta_ns",
        "length",
        "name",
        "named_ns",
        "other_ids",
        "other_names",
        "over_long_label",
    )

    def __init__(self, choice_index: int, index: int, kind: CallKind, time_ns: int) -> None:
        self.choice_index = choice_index
        self.index = index
        self.kind: CallKind = kind
        self.id: str | None = None
        self.name: str | None = None
        self.named_ns: int | None = None
        self.first_delta_ns = self.last_delta_ns = time_ns
        self.completed_ns: int | None = None
        """When it was known to be whole; None where the stream stopped before."""
        self.length = 0
        """Length of all its arguments, kept or not."""
        self.arguments = ""
        """Its arguments, surrogates joined, up to the limit. During the stream: see `arguments_so_far`."""
        self.deltas: list[Delta] = []
        self.arguments_not_string: str | None = None
        """The type of the value that came where a string belongs."""
        self.other_ids: list[str] = []
        self.other_names: list[str] = []
        self.index_reused = False
        self.announced = False
        self.over_long_label = False
        self._name_pieces: list[str] = []
        # A tuple a delta, not yet measured nor folded: (time, text).
        self._fresh: list[tuple[int, str]] = []
        self._parts: list[str] = []
        self._kept_length = 0
        self._scanner: GrowingText | None = None
        self._scanned = 0

    @property
    def delta_count(self) -> int:
        return len(self._fresh) + sum(delta.count for delta in self.deltas)

    @property
    def cut(self) -> bool:
        """Whether arguments were longer than what is kept."""
        return self.length > self._kept_length

    def arguments_so_far(self) -> str:
        return join_surrogates("".join(self._parts) + "".join([text for _, text in self._fresh]))

    def is_whole(self) -> bool:
        """Whether the arguments so far are one whole JSON value; reads only what is new since it was asked."""
        if self._scanner is None:
            self._scanner = GrowingText()
            for part in self._parts:
                self._scanner.feed(part)
        self._scan_fresh(self._scanner)
        return self._scanner.whole

    def _scan_fresh(self, scanner: GrowingText) -> None:
        for _, text in self._fresh[self._scanned :]:
            scanner.feed(text)
        self._scanned = len(self._fresh)

    def settle(self, preview: int, room: int) -> None:
        """Measure the fresh deltas and keep their text, at most `room` characters of it in all."""
        fresh = self._fresh
        if not fresh:
            return
        if self._scanner is not None:
            self._scan_fresh(self._scanner)
        self._scanned = 0
        self._fresh = []
        length = self.length
        for time_ns, text in fresh:
            length += len(text)
            self.deltas.append(Delta(time_ns, 1, text[:preview], length))
        self.length = length
        self.last_delta_ns = fresh[-1][0]
        if room > 0:
            part = "".join([text for _, text in fresh])[:room]
            self._parts.append(part)
            self._kept_length += len(part)

    def fold(self, preview: int) -> None:
        """Halve the number of deltas by joining neighbours."""
        self.deltas = fold_pairs(self.deltas, preview)

    def finish(self) -> None:
        self.arguments = join_surrogates("".join(self._parts))
        self._parts = [self.arguments]


def fold_pairs(deltas: Sequence[Delta], preview: int) -> list[Delta]:
    """Join every delta with the one behind it. Counts are added; nothing is lost but when the second came."""
    folded = [
        Delta(first.time_ns, first.count + second.count, (first.text + second.text)[:preview], second.length)
        for first, second in zip(deltas[::2], deltas[1::2], strict=False)
    ]
    if len(deltas) % 2:
        folded.append(deltas[-1])
    return folded


class Choice:
    """One choice of the completion and its calls, in the order in which they began."""

    __slots__ = (
        "_by_id",
        "_by_index",
        "calls",
        "deltas_after_finish",
        "finish_reason",
        "finish_reasons",
        "finished_ns",
        "index",
        "last_call",
        "missing_index",
        "reasoning_parts",
        "reasoning_started_ns",
        "text_parts",
        "text_started_ns",
    )

    def __init__(self, index: int) -> None:
        self.index = index
        self.calls: list[ToolCall] = []
        self.last_call: ToolCall | None = None
        self.text_started_ns: int | None = None
        self.reasoning_started_ns: int | None = None
        self.finish_reason: str | None = None
        """The last one that came."""
        self.finished_ns: int | None = None
        self.finish_reasons: list[tuple[int, str]] = []
        self.deltas_after_finish = 0
        self.missing_index = 0
        self.text_parts: list[str] = []
        self.reasoning_parts: list[str] = []
        self._by_index: dict[Any, ToolCall] = {}
        self._by_id: dict[str, ToolCall] = {}

    @property
    def has_text(self) -> bool:
        return self.text_started_ns is not None


class Recording:
    """One response, streamed (`feed` for each chunk) or whole (`read_response`), then `end`.

    `declared`: the names a call may have, None where any may be right. `preview`: characters kept of each delta.
    `keep_text`: keep the text and the reasoning too, up to the limit.
    """

    __slots__ = (
        "_awaiting_head",
        "_by_index",
        "_calls_kept",
        "_keep_text",
        "_news",
        "_room",
        "_text_kept",
        "choices",
        "chunk_count",
        "declared",
        "ended_ns",
        "first_chunk_ns",
        "first_tool_call_ns",
        "limits",
        "max_wait_ns",
        "outcome",
        "over_calls",
        "over_choices",
        "over_deltas",
        "over_text",
        "preview",
        "response_id",
        "response_model",
        "service_tier",
        "started_ns",
        "streamed",
        "system_fingerprint",
        "usage",
    )

    # What a kept delta costs beside its text, in characters: a stream of tiny deltas is bounded too.
    _DELTA_COST = 256
    _ROOM = 524_288

    def __init__(
        self,
        *,
        started_ns: int = 0,
        declared: frozenset[str] | None = None,
        preview: int = 200,
        keep_text: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self.started_ns = started_ns
        self.declared = declared
        self.preview = preview
        self.limits = limits or Limits()
        self.streamed = True
        self.outcome: Outcome | None = None
        self.ended_ns: int | None = None
        self.chunk_count = 0
        self.first_chunk_ns: int | None = None
        self.first_tool_call_ns: int | None = None
        self.max_wait_ns = 0
        self.choices: list[Choice] = []
        self.response_id: str | None = None
        self.response_model: str | None = None
        self.service_tier: str | None = None
        self.system_fingerprint: str | None = None
        self.usage: Any = None
        self.over_calls = 0
        self.over_choices = 0
        self.over_deltas = 0
        self.over_text = 0
        self._by_index: dict[Any, Choice] = {}
        self._news: list[Notice] = []
        self._awaiting_head = True
        self._room = self._ROOM
        self._calls_kept = 0
        self._keep_text = keep_text
        self._text_kept = 0

    # While the stream flows -------------------------------------------------------------------------------

    def feed(self, chunk: Any, asked_ns: int, came_ns: int) -> list[Notice] | None:
        """Take one chunk: the caller asked for it at `asked_ns` and got it at `came_ns`."""
        if self.chunk_count:
            if came_ns - asked_ns > self.max_wait_ns:
                self.max_wait_ns = came_ns - asked_ns
        else:
            self.first_chunk_ns = came_ns
            self._news.append(Notice("first_chunk"))
        self.chunk_count += 1

        try:
            choices = chunk.choices
            usage = chunk.usage
        except AttributeError:
            choices = field(chunk, "choices")
            usage = field(chunk, "usage")
        if usage is not None:
            self.usage = usage
        if self._awaiting_head:
            self._read_head(chunk)
        if type(choices) is not list:
            choices = items_of(choices)

        for choice in choices:
            try:
                index = choice.index
                finish_reason = choice.finish_reason
                delta = choice.delta
                content = delta.content
                tool_calls = delta.tool_calls
                function_call = delta.function_call
                extra = delta.__pydantic_extra__
                known = self._by_index[index]
            except (AttributeError, KeyError, TypeError):
                index = field(choice, "index")
                finish_reason = field(choice, "finish_reason")
                delta = field(choice, "delta")
                content = field(delta, "content")
                tool_calls = field(delta, "tool_calls")
                function_call = field(delta, "function_call")
                extra = field(delta, "__pydantic_extra__")
                found = self._choice(index)
                if found is None:
                    continue
                known = found

            if content:
                if known.text_started_ns is None or self._keep_text:
                    self._text(known, content, came_ns)
            elif not tool_calls:
                self._rest_of_delta(known, delta, came_ns)
            if extra and (known.reasoning_started_ns is None or self._keep_text):
                self._reasoning(known, extra, came_ns)

            if tool_calls:
                if type(tool_calls) is not list:
                    tool_calls = items_of(tool_calls)
                for tool_call in tool_calls:
                    try:
                        function = tool_call.function
                        text = function.arguments
                        call = known._by_index[tool_call.index]
                        plain = (
                            type(text) is str
                            and not function.name
                            and not tool_call.id
                            and known.finished_ns is None
                        )
                    except (AttributeError, KeyError, TypeError):
                        plain = False
                    if plain:
                        call._fresh.append((came_ns, text))
                        self._room -= len(text) + self._DELTA_COST
                        if self._room < 0:
                            self._settle()
                    else:
                        self._uncommon_delta(known, tool_call, came_ns)
            if function_call is not None:
                self._legacy_call(known, function_call, came_ns)
            if finish_reason:
                self._finish_reason(known, finish_reason, came_ns)

        if self._news:
            news, self._news = self._news, []
            return news
        return None

    def read_response(self, response: Any, came_ns: int) -> list[Notice]:
        """Take a whole, unstreamed response (the shape of the API's `chat.completion` object)."""
        self.streamed = False
        self.first_chunk_ns = came_ns
        self.usage = field(response, "usage")
        self._read_head(response)
        for position, choice in enumerate(items_of(field(response, "choices"))):
            index = field(choice, "index")
            known = self._choice(position if index is None else index)
            if known is None:
                continue
            message = field(choice, "message")
            content = field(message, "content")
            if content:
                self._text(known, content, came_ns)
            self._rest_of_delta(known, message, came_ns)
            for place, tool_call in enumerate(items_of(field(message, "tool_calls"))):
                self._uncommon_delta(known, tool_call, came_ns, place)
            function_call = field(message, "function_call")
            if function_call is not None:
                self._legacy_call(known, function_call, came_ns)
            finish_reason = field(choice, "finish_reason")
            if finish_reason:
                self._finish_reason(known, finish_reason, came_ns)
        news, self._news = self._news, []
        return news

    def end(self, outcome: Outcome, ended_ns: int, waited_since_ns: int | None = None) -> list[Notice]:
        """The stream is over. `waited_since_ns`: when the read that failed began, if one did."""
        if self.outcome is not None:
            return []
        self.outcome = outcome
        self.ended_ns = ended_ns
        if waited_since_ns is not None and self.chunk_count:
            self.max_wait_ns = max(self.max_wait_ns, ended_ns - waited_since_ns)
        self._settle()
        for choice in self.choices:
            for call in choice.calls:
                self._announce(choice, call)
                call.finish()
                if choice.finished_ns is not None or outcome == "completed":
                    self._settle_name(call)
                if choice.finished_ns is not None:
                    call.completed_ns = max(choice.finished_ns, call.last_delta_ns)
                elif outcome == "completed":
                    call.completed_ns = ended_ns
        news, self._news = self._news, []
        return news

    # Off the straight way ---------------------------------------------------------------------------------

    def _read_head(self, chunk: Any) -> None:
        """What says which model answered. Some servers leave it empty in the first chunks."""
        limit = self.limits.name
        for name in ("id", "model", "service_tier", "system_fingerprint"):
            attribute = f"response_{name}" if name in {"id", "model"} else name
            value = text_of(field(chunk, name))
            if value is not None and getattr(self, attribute) is None:
                setattr(self, attribute, value[:limit])
        self._awaiting_head = self.chunk_count < 8 and not (self.response_id and self.response_model)

    def _choice(self, index: Any) -> Choice | None:
        if not isinstance(index, int) or isinstance(index, bool):
            # A choice without a usable index is the only one there is.
            index = 0
        known = self._by_index.get(index)
        if known is None:
            if len(self.choices) >= self.limits.choices or abs(index) >= 2**63:
                self.over_choices += 1
                return None
            known = self._by_index[index] = Choice(index)
            self.choices.append(known)
        return known

    def _text(self, choice: Choice, content: Any, time_ns: int) -> None:
        if not isinstance(content, str):
            return
        if choice.text_started_ns is None:
            choice.text_started_ns = time_ns
            self._news.append(Notice("text", choice))
        if self._keep_text:
            self._keep(choice.text_parts, content)

    def _rest_of_delta(self, choice: Choice, delta: Any, time_ns: int) -> None:
        """A delta without text or calls: a refusal, reasoning in a field of its own, or nothing."""
        if delta is None:
            return
        refusal = field(delta, "refusal")
        if refusal:
            self._text(choice, refusal, time_ns)
        fields = getattr(delta, "__dict__", None) if not isinstance(delta, dict) else delta
        if isinstance(fields, dict):
            self._reasoning(choice, fields, time_ns)
        if not self.streamed:
            extra = getattr(delta, "__pydantic_extra__", None)
            if isinstance(extra, dict):
                self._reasoning(choice, extra, time_ns)

    def _reasoning(self, choice: Choice, extra: Any, time_ns: int) -> None:
        # `reasoning_content`: DeepSeek, SGLang, llama.cpp; `reasoning`: vLLM, Groq, Cerebras, OpenRouter.
        if not isinstance(extra, dict):
            return
        text = extra.get("reasoning_content") or extra.get("reasoning")
        if not isinstance(text, str) or not text:
            return
        if choice.reasoning_started_ns is None:
            choice.reasoning_started_ns = time_ns
        if self._keep_text:
            self._keep(choice.reasoning_parts, text)

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
        key = "function_call"
        self._delta_of(choice, key, None, name, arguments, "legacy", time_ns)

    def _uncommon_delta(self, choice: Choice, tool_call: Any, time_ns: int, place: int | None = None) -> None:
        """A delta that begins a call, names it, contradicts it or breaks the protocol.

        `place`: the call's place in an unstreamed message, whose calls carry no index.
        """
        function = field(tool_call, "function")
        body, argument_field, kind = function, "arguments", "function"
        custom = field(tool_call, "custom") if function is None else None
        if custom is not None and not callable(custom):
            body, argument_field, kind = custom, "input", "custom"
        index = field(tool_call, "index") if place is None else place
        usable = isinstance(index, int) and not isinstance(index, bool) and abs(index) < 2**63
        if not usable or index < 0:
            choice.missing_index += 1
        self._delta_of(
            choice,
            index if usable else None,
            text_of(field(tool_call, "id")),
            text_of(field(body, "name")),
            field(body, argument_field),
            "custom" if kind == "custom" else "function",
            time_ns,
        )

    def _delta_of(
        self,
        choice: Choice,
        key: int | str | None,
        call_id: str | None,
        name: str | None,
        arguments: Any,
        kind: CallKind,
        time_ns: int,
    ) -> None:
        if choice.finished_ns is not None:
            choice.deltas_after_finish += 1
        limits = self.limits
        over_long = len(name or "") > limits.name or len(call_id or "") > limits.id
        name = name[: limits.name] if name else None
        call_id = call_id[: limits.id] if call_id else None
        call = self._find_call(choice, key, call_id, name)
        if call is None:
            call = self._begin_call(choice, key, kind, time_ns)
            if call is None:
                self.over_deltas += 1
                if call_id or name:
                    self.over_calls += 1
                return
        choice.last_call = call
        call.over_long_label = call.over_long_label or over_long
        if call_id:
            if call.id is None:
                call.id = call_id
                choice._by_id.setdefault(call_id, call)
            elif call_id != call.id and len(call.other_ids) < self.limits.notes:
                call.other_ids.append(call_id)
        if self.first_tool_call_ns is None:
            self.first_tool_call_ns = time_ns
        if not call._fresh and not call.deltas:
            self._news.append(Notice("detected", choice, call))
        if name:
            self._name_piece(choice, call, name, time_ns)
        if isinstance(arguments, str):
            text = arguments
        else:
            text = self._text_of_arguments(call, arguments)
        call._fresh.append((time_ns, text))
        self._room -= len(text) + self._DELTA_COST
        if self._room < 0:
            self._settle()

    def _find_call(
        self, choice: Choice, key: int | str | None, call_id: str | None, name: str | None
    ) -> ToolCall | None:
        if key is None:
            if call_id is None:
                return choice.last_call
            known = choice._by_id.get(call_id)
            last = choice.last_call
            if known is None and last is not None and last.id is None and name is None:
                return last
            return known
        call = choice._by_index.get(key)
        if call is None or call_id is None or call.id is None or call_id == call.id or name is None:
            return call
        return None if name != call.name or call.is_whole() else call

    def _begin_call(
        self, choice: Choice, key: int | str | None, kind: CallKind, time_ns: int
    ) -> ToolCall | None:
        limit = self.limits.calls
        if self._calls_kept >= limit:
            return None
        self._calls_kept += 1
        if isinstance(key, int):
            index = key
        elif key is None:
            index = max((call.index for call in choice.calls), default=-1) + 1
        else:
            index = 0
        call = ToolCall(choice.index, index, kind, time_ns)
        call.index_reused = key in choice._by_index
        choice._by_index[index if key is None else key] = call
        choice.calls.append(call)
        return call

    def _name_piece(self, choice: Choice, call: ToolCall, name: str, time_ns: int) -> None:
        if name == call.name:
            return
        pieces = call._name_pieces
        joined = "".join([*pieces, name])[: self.limits.name]
        if not pieces:
            call.named_ns = time_ns
        if not pieces or self._begins_declared(joined):
            pieces.append(name)
            call.name = joined
        elif name not in call.other_names and len(call.other_names) < self.limits.notes:
            call.other_names.append(name)
        declared = self.declared
        if declared is None or joined in declared or not self._begins_declared(joined):
            self._announce(choice, call)

    def _begins_declared(self, name: str) -> bool:
        return self.declared is not None and any(tool.startswith(name) for tool in self.declared)

    def _announce(self, choice: Choice, call: ToolCall) -> None:
        if not call.announced and call.name is not None:
            call.announced = True
            self._news.append(Notice("name", choice, call))

    def _settle_name(self, call: ToolCall) -> None:
        """Pieces that never became a declared name were contradictions after all."""
        pieces = call._name_pieces
        if len(pieces) > 1 and self.declared is not None and call.name not in self.declared:
            call.name = pieces[0]
            call.other_names[:0] = pieces[1 : self.limits.notes]

    def _text_of_arguments(self, call: ToolCall, arguments: Any) -> str:
        if arguments is None or not isinstance(arguments, (dict, list, tuple, int, float)):
            return ""
        call.arguments_not_string = type(arguments).__name__
        try:
            return json.dumps(arguments, ensure_ascii=False, default=str)
        except (TypeError, ValueError, RecursionError):
            return ""

    def _finish_reason(self, choice: Choice, finish_reason: Any, time_ns: int) -> None:
        if not isinstance(finish_reason, str):
            return
        finish_reason = finish_reason[: self.limits.name]
        if finish_reason != choice.finish_reason:
            if len(choice.finish_reasons) < self.limits.notes:
                choice.finish_reasons.append((time_ns, finish_reason))
            choice.finish_reason = finish_reason
            for call in choice.calls:
                self._announce(choice, call)
            self._news.append(Notice("finish", choice))
        if choice.finished_ns is None:
            choice.finished_ns = time_ns

    def _settle(self) -> None:
        """Bring what was kept back under the limits."""
        limits = self.limits
        self._room = self._ROOM
        kept = 0
        stream_room = limits.arguments_of_stream - sum(
            call._kept_length for choice in self.choices for call in choice.calls
        )
        for choice in self.choices:
            for call in choice.calls:
                before = call._kept_length
                call.settle(self.preview, min(limits.arguments - before, stream_room))
                stream_room -= call._kept_length - before
                kept += len(call.deltas)
        while kept > limits.deltas:
            for choice in self.choices:
                for call in choice.calls:
                    call.fold(self.preview)
            folded = sum(len(call.deltas) for choice in self.choices for call in choice.calls)
            if folded == kept:
                break
            kept = folded

    # Facts ------------------------------------------------------------------------------------------------

    @property
    def calls(self) -> list[ToolCall]:
        """All calls, choice by choice."""
        return [call for choice in self.choices for call in choice.calls]

    @property
    def tool_call_count(self) -> int:
        return sum(len(choice.calls) for choice in self.choices) + self.over_calls

    @property
    def delta_count(self) -> int:
        """Tool-call deltas received, those of calls that were not kept included."""
        return sum(call.delta_count for call in self.calls) + self.over_deltas

    @property
    def has_text(self) -> bool:
        return any(choice.has_text for choice in self.choices)


