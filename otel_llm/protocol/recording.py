"""The state machine of one chat completion: chunks in, facts out.  Pure.

Times are nanoseconds of one monotonic clock, passed in by the caller. The rules that this file enforces:

- A choice is known by its index, a call by the rules of `call_matching.py`. Anything but a whole number from 0 on is
  not an index.
- An empty string as id, name or finish reason is absent. The same id or name again adds nothing.
- The input of a custom tool is free text.
- Everything that is kept is bounded by `Limits`. What exceeds a limit is counted, never dropped silently. Deltas are
  kept as cheap tuples; if there are too many, neighbours of one call are folded into one that says how many it stands
  for.

`feed` runs for every chunk of every stream. Its path for a text chunk, and for a delta in the middle of a call, is kept
straight: attribute reads, one dict look-up, one append. Anything unusual leaves that path at once, and is read by
`fields.py`, which never raises.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from otel_llm.protocol.call_recording import DELTA_COST, CallRecorder
from otel_llm.protocol.choice import Choice, Failure, Limits, Notice, Outcome, TagRewrite
from otel_llm.protocol.errors import error_in
from otel_llm.protocol.executed_tools import EXECUTED_TOOLS, count_executed_tools, executed_in_usage
from otel_llm.protocol.fields import field, index_of, items_of, text_of, undeclared_field
from otel_llm.protocol.folding import settle_calls
from otel_llm.protocol.text_recording import TextRecorder
from otel_llm.protocol.tool_call import ToolCall
from otel_llm.protocol.tool_names import ToolNames
from otel_llm.protocol.usage import misplaced_usage, says_something

# Text is measured and cut every 64 chunks.
_TEXT_INTERVAL = 63
# Deltas are settled when so many characters are fresh.
_FRESH_ROOM = 524_288
# Fields that identify the response and the model.
_HEAD = ("id", "model", "service_tier", "system_fingerprint")
_HEAD_CHUNKS = 8
# A service tier that a server chooses from.
_REQUESTED_TIER = "auto"


def _may_call_functions(delta: Any) -> bool:
    """Whether the class of a delta has the legacy `function_call`. In some SDKs it has not, and reading it raises."""
    fields = getattr(type(delta), "model_fields", None)
    return not isinstance(fields, dict) or "function_call" in fields


def _extra_fields(delta: Any) -> Any:
    """The fields of a delta or message besides those of the protocol. In a plain mapping they are among the others."""
    extra = field(delta, "__pydantic_extra__")
    return delta if extra is None and type(delta) is dict else extra


class Recording:
    """Records one response: `feed` for each chunk of a stream, or `read_response` for a whole one; then `end`.

    `started_ns`: when the request was made. `declared`: the names of the tools that may be called, None if any name may
    be right. `preview`: characters kept of each delta.

    Facts can be read at any time; they are final once `end` returned. No method raises, whatever a server sends.
    """

    api: Final = "chat"

    __slots__ = (
        "_by_index",
        "_calls",
        "_finishing_chunk",
        "_fresh_room",
        "_has_function_calls",
        "_head_is_open",
        "_last_usage_chunk",
        "_names",
        "_notices",
        "_texts",
        "choices",
        "chunk_count",
        "compacted",
        "compaction_id",
        "declared",
        "echo",
        "ended_ns",
        "failure",
        "first_chunk_ns",
        "ids_are_optional",
        "is_unfinished",
        "last_chunk_ns",
        "limits",
        "max_wait_ns",
        "outcome",
        "over_choices",
        "over_rewrites",
        "preview",
        "response_id",
        "response_model",
        "response_status",
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
        self.last_chunk_ns = 0
        self.max_wait_ns = 0
        self.choices: list[Choice] = []
        self.response_id: str | None = None
        self.response_model: str | None = None
        self.service_tier: str | None = None
        self.system_fingerprint: str | None = None
        self.usage: Any = None
        self.response_status: str | None = None
        """The status of a response of the Responses API, as the server last told it."""
        self.echo: Any = None
        """A fetched response, which repeats the tools and instructions of the request that made it."""
        self.is_unfinished = False
        """Whether it is the state of a response that is still being made, or was cancelled: it need not be whole."""
        self.compacted = False
        """Whether the server put the conversation so far into a shorter form."""
        self.compaction_id: str | None = None
        self.ids_are_optional = False
        """Whether the API may leave out the ids of calls."""
        self.over_choices = 0
        """Deltas of choices beyond the limit."""
        self.rewrites: list[tuple[int, TagRewrite]] = []
        """Calls in the text that were rewritten, and when."""
        self.over_rewrites = 0
        """Rewritten calls beyond the limit."""
        self._by_index: dict[Any, Choice] = {}
        self._notices: list[Notice] = []
        self._head_is_open = True
        self._fresh_room = _FRESH_ROOM
        self._finishing_chunk: Any = None
        self._last_usage_chunk: Any = None
        self._has_function_calls = True
        self._calls = CallRecorder(self._names, self._notices, self.limits)
        self._texts = TextRecorder(self.choices, self._notices, self.limits.text)

    # While the stream flows -------------------------------------------------------------------------------

    def feed(self, chunk: Any, wait_started_ns: int, received_ns: int) -> list[Notice] | None:
        """Take one chunk, received at `received_ns` after a wait from `wait_started_ns`. Returns notices, if any."""
        count = self.chunk_count
        self.chunk_count = count + 1
        self.last_chunk_ns = received_ns
        if count:
            waited_ns = received_ns - wait_started_ns
            if waited_ns > self.max_wait_ns:
                self.max_wait_ns = waited_ns
            if not count & _TEXT_INTERVAL:
                self._texts.settle()
        else:
            self.first_chunk_ns = received_ns

        try:
            choices = chunk.choices
            usage = chunk.usage
        except Exception:  # noqa: BLE001  not a chunk of an SDK
            choices = field(chunk, "choices")
            usage = field(chunk, "usage")
        if usage is not None:
            # Some servers send zeros or nulls again after the usage.
            if self.usage is None or says_something(usage):
                self.usage = usage
            self._last_usage_chunk = chunk
        if self._head_is_open:
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
                # `or` may raise, too.
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
                extra = _extra_fields(delta)
                self._has_function_calls = self._has_function_calls and _may_call_functions(delta)
            if known is None:
                known = self._choice(index)
                if known is None:
                    continue

            if content is None:
                if tool_calls is None:
                    self._texts.other_fields(known, delta, received_ns)
            elif (keep_text := known.keep_text) is not None:
                keep_text(content)
            elif known.text_started_ns is None:
                self._texts.content(known, content, received_ns)
                if known.text_started_ns is None:
                    # The content is empty.
                    self._texts.other_fields(known, delta, received_ns)
            if extra is not None:
                thought = extra.get(known.reasoning_field) if type(extra) is dict else None
                if type(thought) is str:
                    known.reasoning.fresh.append(thought)
                    if EXECUTED_TOOLS in extra:
                        count_executed_tools(known, extra[EXECUTED_TOOLS])
                elif (
                    known.reasoning_field is None or type(content) is not str or not content or EXECUTED_TOOLS in extra
                ):
                    self._texts.extra_fields(known, extra, received_ns)
                if not self._has_function_calls:
                    function_call = field(extra, "function_call")

            if tool_calls is not None:
                if type(tool_calls) is not list:
                    tool_calls = items_of(tool_calls)
                if not tool_calls:
                    self._texts.other_fields(known, delta, received_ns)
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
                        call.fresh.append((received_ns, text))
                        room = self._fresh_room - len(text) - DELTA_COST
                        self._fresh_room = room
                        if room < 0:
                            self._settle()
                    else:
                        self._spend(self._calls.delta(known, tool_call, received_ns))
            if function_call is not None:
                self._spend(self._calls.legacy(known, function_call, received_ns))
            if finish_reason is not None:
                self._finish_reason(known, choice, delta, finish_reason, received_ns)
                self._finishing_chunk = chunk

        return self._take_notices() if self._notices else None

    def call_in_text(self, choice_index: int, number: int, name: str | None, arguments: str, time_ns: int) -> None:
        """A piece of a call that was found in the text of a choice, and stays text. `number`: its place among these."""
        choice = self._choice(choice_index)
        if choice is not None:
            self._spend(self._calls.in_text(choice, number, name, arguments, time_ns))

    def server_items(self, count: int) -> None:
        """So many items of the only choice are the server's own, as far as is known."""
        choice = self._choice(0)
        if choice is not None:
            choice.server_items = max(choice.server_items, count)

    def was_compacted(self, item: Any) -> None:
        """`item` stands for the conversation so far."""
        self.compacted = True
        self.compaction_id = (text_of(field(item, "id")) or "")[: self.limits.name] or self.compaction_id

    def declare(self, names: Iterable[str]) -> None:
        """The response itself makes these tools known: the server found them for the model."""
        if self.declared is not None:
            self.declared = self._names.declared = self.declared.union(names)

    def text_is_thoughts(self, choice_index: int) -> None:
        """All of the text of a choice is thoughts that the prompt opened, and that no mark closed."""
        choice = self._choice(choice_index)
        if choice is not None:
            choice.text_is_thoughts = True

    def call_rewritten(self, rewrite: TagRewrite, time_ns: int) -> None:
        """A call in the text was rewritten."""
        if len(self.rewrites) < self.limits.calls:
            self.rewrites.append((time_ns, rewrite))
        else:
            self.over_rewrites += 1

    def read_response(self, response: Any, received_ns: int) -> list[Notice]:
        """Take an unstreamed response (a `chat.completion` object). Returns notices."""
        self.streamed = False
        self.first_chunk_ns = received_ns
        self.usage = field(response, "usage")
        self.read_head(response)
        for position, choice in enumerate(items_of(field(response, "choices"))):
            index = field(choice, "index")
            known = self._choice(position if index is None else index)
            if known is None:
                continue
            message = field(choice, "message")
            self._texts.content(known, field(message, "content"), received_ns)
            self._texts.other_fields(known, message, received_ns)
            self._texts.extra_fields(known, _extra_fields(message), received_ns)
            for place, tool_call in enumerate(items_of(field(message, "tool_calls"))):
                self._spend(self._calls.delta(known, tool_call, received_ns, place))
            function_call = field(message, "function_call")
            if function_call is not None:
                self._spend(self._calls.legacy(known, function_call, received_ns))
            self._finish_reason(known, choice, None, field(choice, "finish_reason"), received_ns)
        if not self.choices:
            self._read_failure(response)
        return self._take_notices()

    def end(
        self,
        outcome: Outcome,
        ended_ns: int,
        wait_started_ns: int | None = None,
        most_deltas: int | None = None,
    ) -> list[Notice]:
        """The response is over. Returns notices; only the first call does anything.

        `wait_started_ns`: when the last read began, if it failed. `most_deltas`: how many deltas will be sent at most.
        """
        if self.outcome is not None:
            return []
        if self.failure is not None:
            outcome = "error"
        elif self.is_unfinished and outcome == "completed":
            outcome = "closed"
        self.outcome = outcome
        self.ended_ns = ended_ns
        if self._finishing_chunk is not None and (self.usage is None or not says_something(self.usage)):
            misplaced = misplaced_usage(self._finishing_chunk)
            self.usage = self.usage if misplaced is None else misplaced
        self._read_last_tier()
        if self.choices and self.usage is not None and (executed := executed_in_usage(self.usage)):
            self.server_items(executed)
        if wait_started_ns is not None and self.chunk_count:
            self.max_wait_ns = max(self.max_wait_ns, ended_ns - wait_started_ns)
        self._settle(at_end=True, most_deltas=most_deltas)
        self._texts.settle()
        for choice in self.choices:
            self._calls.end(choice, outcome, ended_ns)
        return self._take_notices()

    def fail(self, error: Any, kind: str) -> None:
        """The server reports an error in its response. `kind`: the type of the error, if `error` has none."""
        code = field(error, "code")
        number = index_of(code)
        word = text_of(code) or text_of(field(error, "type")) or (kind if number is None else str(number))
        message = text_of(field(error, "message")) or text_of(error) or word
        self.failure = Failure(word[: self.limits.name], message[: self.limits.failure])

    # Off the straight path --------------------------------------------------------------------------------

    def read_head(self, chunk: Any) -> None:
        """Take the id, the model and the like from a chunk or response. Some servers send them empty at first."""
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
        if service_tier is not None and (text := text_of(service_tier)):
            self.service_tier = text[:limit]
        if fingerprint is not None and self.system_fingerprint is None and (text := text_of(fingerprint)):
            self.system_fingerprint = text[:limit]
        is_known = self.response_id and self.response_model and self.service_tier != _REQUESTED_TIER
        self._head_is_open = self.chunk_count < _HEAD_CHUNKS and not is_known

    def _read_last_tier(self) -> None:
        """The last chunks say which tier the response was given; the first ones may repeat what the request asked."""
        finishing, last = self._finishing_chunk, self._last_usage_chunk
        self._finishing_chunk = self._last_usage_chunk = None
        for chunk in (finishing, None if last is finishing else last):
            if chunk is None:
                continue
            try:
                tier = chunk.service_tier
            except Exception:  # noqa: BLE001  a mapping, or a chunk of another SDK
                tier = undeclared_field(chunk, "service_tier")
            if tier is not None and (text := text_of(tier)) is not None:
                self.service_tier = text[: self.limits.name]

    def _choice(self, index: Any) -> Choice | None:
        # A choice without a usable index counts as the only one.
        key = index_of(index) or 0
        known = self._by_index.get(key)
        if known is None:
            if len(self.choices) >= self.limits.choices:
                self.over_choices += 1
                return None
            known = self._by_index[key] = Choice(key)
            self.choices.append(known)
        return known

    def _finish_reason(self, choice: Choice, source: Any, delta: Any, finish_reason: Any, time_ns: int) -> None:
        """`source`: the choice, which may carry an error. `delta`: its delta, None if it is not streamed."""
        reason = text_of(finish_reason)
        if reason is None:
            return
        if reason == "error":
            self._read_failure(source)
        # A delta with text is searched for these only here.
        executed = None if delta is None else undeclared_field(delta, EXECUTED_TOOLS)
        if executed is not None:
            count_executed_tools(choice, executed)
        reason = reason[: self.limits.name]
        if reason != choice.finish_reason:
            if len(choice.finish_reasons) < self.limits.notes:
                choice.finish_reasons.append((time_ns, reason))
            choice.finish_reason = reason
            self._calls.announce(choice, choice.calls)
            self._notices.append(Notice("finish", choice))
        if choice.finished_ns is None:
            choice.finished_ns = time_ns
            choice.open_calls = {}

    def _read_failure(self, source: Any) -> None:
        """Take the error in a chunk, a response or a choice, if there is one (see `errors.py`)."""
        error = error_in(source)
        if error is not None:
            self.fail(error, "error")

    def _spend(self, room: int) -> None:
        """A delta was appended to a call, and takes so much room."""
        self._fresh_room -= room
        if self._fresh_room < 0:
            self._settle()

    def _settle(self, *, at_end: bool = False, most_deltas: int | None = None) -> None:
        if self._calls.kept:
            self._fresh_room = _FRESH_ROOM
            settle_calls(self.calls, self.limits, self.preview, at_end=at_end, most_deltas=most_deltas)

    def _take_notices(self) -> list[Notice]:
        notices = self._notices
        if not notices:
            return []
        taken = notices.copy()
        notices.clear()
        return taken

    # Facts ------------------------------------------------------------------------------------------------

    @property
    def calls(self) -> list[ToolCall]:
        """The calls that are kept, choice by choice."""
        return [call for choice in self.choices for call in choice.calls]

    @property
    def tool_call_count(self) -> int:
        """Calls in all choices, including those that are not kept."""
        return self._calls.kept + self._calls.over_calls

    @property
    def delta_count(self) -> int:
        """Tool-call deltas, including those of calls that are not kept."""
        return sum(call.delta_count for call in self.calls) + self._calls.over_deltas

    @property
    def first_tool_call_ns(self) -> int | None:
        """When the first tool-call delta came."""
        return self._calls.first_ns

    @property
    def over_calls(self) -> int:
        """Calls beyond the limit."""
        return self._calls.over_calls

    @property
    def over_deltas(self) -> int:
        """Deltas of calls beyond the limit."""
        return self._calls.over_deltas

    @property
    def has_text(self) -> bool:
        """Whether any choice has text."""
        return self._texts.has_text

    @property
    def over_text(self) -> int:
        """Characters of text and reasoning beyond the limit."""
        return self._texts.over_limit
