"""Gemini's responses, streamed or whole, as chunks of a chat completion.  Pure.

Shapes: the Gemini API reference, "Generating content", and Vertex AI's. A stream is a sequence of responses, each with
what is new. The readings:

- A candidate is a choice. A call has no index; calls are numbered in the order in which they come.
- Ids of calls are optional (see `implied_ids.py`).
- A call comes whole, in one part; or in several, the first with `willContinue`, the next ones without a name. It is
  complete with the first part that does not continue, and at the latest when another call or `STOP` follows.
- `STOP` is the finish reason `tool_calls` if the candidate has calls, and else `stop`. `MAX_TOKENS` and
  `TOO_MANY_TOOL_CALLS` are `length`. What a filter stopped is `content_filter`, and so is a prompt that was blocked,
  which has no candidates. Others are passed on in lower case: `malformed_function_call`, or `continuation`, after which
  another request gets the rest.
- Code that the server ran, its own tools, and what it found in a search are no calls of the application's.
- Input tokens count the prompt and the results of the server's tools; output tokens count thoughts, which Gemini counts
  beside them.
"""

from __future__ import annotations

from typing import Any, Final

from otel_llm.protocol.choice import Notice
from otel_llm.protocol.fields import field, index_of, items_of, text_of
from otel_llm.protocol.gemini_arguments import GrowingArguments, add_pieces, arguments_text
from otel_llm.protocol.gemini_fields import MEDIA_PARTS, SERVER_PARTS, get, is_call, unwrapped, word_of
from otel_llm.protocol.made_chunks import (
    EMPTY_CHUNK,
    MadeChunk,
    MadeDelta,
    MadeToolCall,
    ReusedChunk,
    Translator,
    made_tool_call,
)
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest

_FINISH_REASONS = {
    "MAX_TOKENS": "length",
    "TOO_MANY_TOOL_CALLS": "length",
    **dict.fromkeys(
        (
            "BLOCKLIST",
            "ESCALATION",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
            "IMAGE_SAFETY",
            "LANGUAGE",
            "MODEL_ARMOR",
            "PROHIBITED_CONTENT",
            "PUP_LIMITED_DISABLED",
            "RECITATION",
            "SAFETY",
            "SPII",
        ),
        "content_filter",
    ),
}
# What a candidate says of the server's tools besides its parts.
_FINDINGS = ("grounding_metadata", "url_context_metadata")


class ReportedUsage:
    """The last `usage_metadata`, with the names of a chat completion's usage."""

    __slots__ = ("source",)

    def __init__(self) -> None:
        self.source: Any = None

    def _count(self, name: str) -> int | None:
        value = get(self.source, name)
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

    def _sum(self, *names: str) -> int | None:
        counts = [count for count in map(self._count, names) if count is not None]
        return sum(counts) if counts else None

    @property
    def prompt_tokens(self) -> int | None:
        return self._sum("prompt_token_count", "tool_use_prompt_token_count")

    @property
    def completion_tokens(self) -> int | None:
        return self._sum("candidates_token_count", "thoughts_token_count")

    @property
    def prompt_tokens_details(self) -> dict[str, int | None]:
        return {
            "cached_tokens": self._count("cached_content_token_count"),
            "audio_tokens": self._spoken("prompt_tokens_details"),
        }

    @property
    def completion_tokens_details(self) -> dict[str, int | None]:
        return {
            "reasoning_tokens": self._count("thoughts_token_count"),
            "audio_tokens": self._spoken("candidates_tokens_details"),
        }

    def _spoken(self, name: str) -> int | None:
        for entry in items_of(get(self.source, name)):
            if word_of(get(entry, "modality")) == "AUDIO":
                return index_of(get(entry, "token_count"))
        return None


class _Calls:
    """The calls of one candidate so far: how many, and the arguments of the last one if they are still growing."""

    __slots__ = ("count", "growing", "growing_id")

    def __init__(self) -> None:
        self.count = 0
        self.growing: GrowingArguments | None = None
        self.growing_id: str | None = None


class GeminiResponses(Translator):
    """Reads one answer into `recording`: `feed` for each response of a stream, or `read_response` for a whole one."""

    api: Final = "gemini"

    def __init__(self, recording: Recording, _request: ChatRequest | None = None) -> None:
        super().__init__(recording)
        recording.ids_are_optional = True
        # Its counts are those of the last response that has any; Gemini sends them with each one.
        self._usage = recording.usage = ReportedUsage()
        self._head_is_open = True
        # By the index of the candidate.
        self._calls: dict[int, _Calls] = {}
        self._server_items = 0
        self._whole: Any = MadeToolCall()
        self._whole_chunk = ReusedChunk(MadeDelta([self._whole]))

    def feed(self, response: Any, wait_started_ns: int, received_ns: int) -> list[Notice] | None:
        """Take one response of a stream, as `Recording.feed` takes a chunk."""
        try:
            (candidate,) = response.candidates
            (part,) = candidate.content.parts
            if (
                candidate.finish_reason is None
                and not candidate.index
                and candidate.grounding_metadata is None
                and not self._head_is_open
            ):
                text, call = part.text, part.function_call
                if type(text) is str and call is None:
                    usage = response.usage_metadata
                    if usage is not None:
                        self._usage.source = usage
                    if part.thought:
                        self._thought["reasoning_content"] = text
                        return self._feed(self._thought_chunk, wait_started_ns, received_ns)
                    self._text_delta.content = text
                    return self._feed(self._text_chunk, wait_started_ns, received_ns)
                if text is None and call.name and not call.will_continue and call.partial_args is None:
                    calls = self._calls_of(0)
                    if calls.growing is None:
                        usage = response.usage_metadata
                        if usage is not None:
                            self._usage.source = usage
                        return self._whole_call(call, calls, wait_started_ns, received_ns)
                if text is None and call.will_continue and call.name is None and call.id is None:
                    calls = self._calls[0]
                    growing = calls.growing
                    (piece,) = call.partial_args
                    path, text = piece.json_path, piece.string_value
                    if growing is not None and path == growing.path and type(text) is str:
                        usage = response.usage_metadata
                        if usage is not None:
                            self._usage.source = usage
                        self._tool_call.index = calls.count - 1
                        self._function.arguments = growing.add_text(path, text)
                        return self._feed(self._call_chunk, wait_started_ns, received_ns)
        except Exception:  # noqa: BLE001, S110  not a response of the SDK, or one with more, or less, in it
            pass
        completed: list[tuple[int, int]] = []
        chunk = self._chunk(response, completed)
        notices = self._feed(chunk, wait_started_ns, received_ns)
        return [*(notices or ()), *self._completed_calls(completed)] if completed else notices

    def read_response(self, response: Any, received_ns: int) -> list[Notice]:
        """Take an unstreamed response."""
        response = unwrapped(response)
        choices = []
        for place, candidate in enumerate(items_of(get(response, "candidates"))):
            index = index_of(get(candidate, "index"))
            delta = self._delta(candidate, _Calls(), [], 0)
            reason = _finish_reason(candidate, has_calls="tool_calls" in delta)
            if delta or reason is not None:
                message = {**delta, **delta.pop("__pydantic_extra__", {})}
                choices.append(
                    {"index": place if index is None else index, "message": message, "finish_reason": reason}
                )
        if _is_blocked(response) and not choices:
            choices.append({"index": 0, "message": {}, "finish_reason": "content_filter"})
        usage = get(response, "usage_metadata")
        if usage is not None:
            self._usage.source = usage
        whole: MadeChunk = {
            "id": get(response, "response_id"),
            "model": get(response, "model_version"),
            "choices": choices,
            "usage": None if usage is None else self._usage,
            "error": field(response, "error"),
        }
        notices = self._recording.read_response(whole, received_ns)
        self._recording.server_items(self._server_items)
        return notices

    # A response as a chunk --------------------------------------------------------------------------------

    def _chunk(self, response: Any, completed: list[tuple[int, int]]) -> MadeChunk:
        """`completed` gets the choice and the index of each call that may be executed now."""
        response = unwrapped(response)
        if self._head_is_open:
            head = {"id": get(response, "response_id"), "model": get(response, "model_version")}
            self._recording.read_head(head)
            self._head_is_open = None in head.values() and self._recording.chunk_count < _HEAD_CHUNKS
        usage = get(response, "usage_metadata")
        if usage is not None:
            self._usage.source = usage
        choices = []
        candidates = items_of(get(response, "candidates"))
        for candidate in candidates:
            index = index_of(get(candidate, "index")) or 0
            calls = self._calls_of(index)
            delta = self._delta(candidate, calls, completed, index)
            reason = _finish_reason(candidate, has_calls=bool(calls.count))
            if reason == "tool_calls" and calls.growing is not None:
                delta.setdefault("tool_calls", []).append(self._end_of_call(calls, completed, index))
            if delta or reason is not None:
                choices.append({"index": index, "delta": delta, "finish_reason": reason})
        if choices:
            self._recording.server_items(self._server_items)
            return {"choices": choices}
        if not candidates and _is_blocked(response):
            return {"choices": [{"index": 0, "delta": {}, "finish_reason": "content_filter"}]}
        error = None if candidates else field(response, "error")
        return EMPTY_CHUNK if error is None else {"choices": [], "error": error}

    def _calls_of(self, choice_index: int) -> _Calls:
        calls = self._calls.get(choice_index)
        if calls is None:
            calls = _Calls()
            if len(self._calls) < self._recording.limits.choices:
                self._calls[choice_index] = calls
        return calls

    def _whole_call(self, call: Any, calls: _Calls, wait_started_ns: int, received_ns: int) -> list[Notice]:
        """Take a response with nothing but a whole call, which is how most calls come."""
        index = calls.count
        whole, function = self._whole, self._whole.function
        whole.index, whole.id, function.name = index, call.id, call.name
        function.arguments = arguments_text(call.args)
        calls.count += 1
        notices = self._feed(self._whole_chunk, wait_started_ns, received_ns)
        return [*(notices or ()), *self._completed_calls([(0, index)])]

    def _delta(
        self, candidate: Any, calls: _Calls, completed: list[tuple[int, int]], choice_index: int
    ) -> dict[str, Any]:
        """What the parts of a candidate say, as a delta or a message of a chat completion."""
        texts: list[str] = []
        thoughts: list[str] = []
        made: list[MadeChunk] = []
        has_media = False
        for part in items_of(get(get(candidate, "content"), "parts")):
            text = field(part, "text")
            function_call = get(part, "function_call")
            if type(text) is str:
                (thoughts if field(part, "thought") is True else texts).append(text)
            if function_call is not None:
                made += self._call_deltas(function_call, calls, completed, choice_index)
            elif type(text) is not str:
                self._server_items += any(get(part, name) is not None for name in SERVER_PARTS)
                has_media = has_media or any(get(part, name) is not None for name in MEDIA_PARTS)
        if any(get(candidate, name) is not None for name in _FINDINGS):
            self._server_items = max(self._server_items, 1)
        delta: dict[str, Any] = {}
        if text := "".join(texts):
            delta["content"] = text
        if thoughts or has_media:
            # Where the recording looks for fields that the protocol does not have.
            extra = delta["__pydantic_extra__"] = {"reasoning_content": "".join(thoughts)}
            if has_media:
                extra["images"] = [True]
        if made:
            delta["tool_calls"] = made
        return delta

    def _call_deltas(
        self, call: Any, calls: _Calls, completed: list[tuple[int, int]], choice_index: int
    ) -> list[MadeChunk]:
        """One part of a call: a whole call, or a piece of one."""
        name, call_id = text_of(field(call, "name")), text_of(field(call, "id"))
        continues = get(call, "will_continue") is True
        deltas: list[MadeChunk] = []
        growing = calls.growing
        if growing is not None and name is None and call_id in {None, calls.growing_id}:
            text = add_pieces(growing, call)
            if text or continues:
                deltas.append(made_tool_call(calls.count - 1, None, arguments=text))
            if not continues:
                deltas.append(self._end_of_call(calls, completed, choice_index))
            return deltas
        if not continues and not is_call(call):
            return []
        if growing is not None:
            deltas.append(self._end_of_call(calls, completed, choice_index))
        index = calls.count
        calls.count += 1
        if continues or items_of(get(call, "partial_args")):
            calls.growing, calls.growing_id = GrowingArguments(), call_id
            deltas.append(made_tool_call(index, call_id, name, add_pieces(calls.growing, call)))
            if not continues:
                deltas.append(self._end_of_call(calls, completed, choice_index))
        else:
            deltas.append(made_tool_call(index, call_id, name, arguments_text(field(call, "args"))))
            completed.append((choice_index, index))
        return deltas

    def _end_of_call(self, calls: _Calls, completed: list[tuple[int, int]], choice_index: int) -> MadeChunk:
        """The delta that completes the call whose arguments are growing."""
        growing, calls.growing = calls.growing, None
        completed.append((choice_index, calls.count - 1))
        return made_tool_call(calls.count - 1, None, arguments="" if growing is None else growing.close())

    def _completed_calls(self, completed: list[tuple[int, int]]) -> list[Notice]:
        """The calls may be executed before the stream ends."""
        choices = self._recording.choices
        found = [(choice, index) for at, index in completed for choice in choices if choice.index == at]
        calls = [(choice, choice.by_index.get(index)) for choice, index in found]
        return [Notice("completed", choice, call) for choice, call in calls if call is not None]


_HEAD_CHUNKS = 8


def _is_blocked(response: Any) -> bool:
    """Whether the prompt was blocked."""
    return word_of(get(get(response, "prompt_feedback"), "block_reason")) is not None


def _finish_reason(candidate: Any, *, has_calls: bool) -> str | None:
    reason = word_of(get(candidate, "finish_reason"))
    if reason is None:
        return None
    if reason == "STOP":
        return "tool_calls" if has_calls else "stop"
    return _FINISH_REASONS.get(reason) or reason.lower()
