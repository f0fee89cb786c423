"""Rewrites the tool calls in the text of a stream of an SDK's chunks, choice by choice.

The stage takes chunks and responses of chat completions (any object of the API's shape) and changes them in place:
`delta.content`, and for the target `openai` also `delta.tool_calls` and the finish reason. Chunks keep their type,
their number and their order. Only if a stream ends without a finish reason and text is still held back is one chunk
added. Whatever is put into a chunk is made before anything in it is replaced, so that a fault leaves its text as it
was.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from otel_llm.protocol.fields import index_of, items_of
from otel_llm.protocol.message_text import REASONING_FIELDS
from otel_llm.tags.call_deltas import PutArguments, arguments_putter
from otel_llm.tags.content_parts import text_of_parts, with_text
from otel_llm.tags.rewritten_text import Rewriter, RewrittenText
from otel_llm.tags.sdk_classes import tool_call_delta, whole_tool_call
from otel_llm.tags.writers import CallDelta, OpenAIWriter, Part, ThoughtDelta, text_in

# What a delta may say besides its text.
_BESIDE_CONTENT = ("role", "tool_calls", "function_call", "refusal", "reasoning_content", "reasoning")


class Stage:
    """Rewrites one stream, or one response."""

    def __init__(self, rewriter: Rewriter) -> None:
        self._rewriter = rewriter
        self._choices: dict[int, _ChoiceText] = {}
        self._last: Any = None
        self._inside = rewriter.thoughts.of_stream()

    def take(self, chunk: Any) -> Any:
        """Rewrite one chunk. Returns the same object."""
        choices = getattr(chunk, "choices", None)
        for choice in choices if type(choices) is list else items_of(choices):
            delta = getattr(choice, "delta", None)
            if delta is None:
                known = self._choices.get(_index_of(choice))
                if known is not None and known.has_calls:
                    _correct_finish_reason(choice)
                continue
            content = getattr(delta, "content", None)
            if content is not None and type(content) is not str:
                content = text_of_parts(content)
            finish_reason = getattr(choice, "finish_reason", None)
            server_calls = getattr(delta, "tool_calls", None)
            index = getattr(choice, "index", None)
            if type(index) is not int or index < 0:
                index = _index_of(choice)
            text = self._choices.get(index)
            if text is None:
                if self._inside and _has_thoughts(delta):
                    # A server that parses thoughts leaves none in the text.
                    self._inside = ()
                if not content and not items_of(server_calls):
                    continue
                text = self._choices[index] = _ChoiceText(self._rewriter.begin(index, inside=self._inside))
            if server_calls is not None:
                text.renumber(items_of(server_calls))
            if finish_reason:
                parts = text.feed(content or "")
                # Some servers name a reason in each chunk. One that did stop does so after a call.
                if not (content and finish_reason == "stop" and text.rewritten.scanner.is_in_call):
                    parts += text.rewritten.flush()
                    text.is_over = True
                    self._rewriter.thoughts.learn(text.rewritten.scanner, finish_reason)
                text.put(chunk, delta, content, server_calls, parts)
                if text.has_calls:
                    _correct_finish_reason(choice)
            elif content and not text.is_plain(content):
                call_index = text.call_of(content)
                if call_index is not None:
                    text.put_arguments(chunk, delta, content, server_calls, call_index, content, 0)
                else:
                    parts = text.feed(content)
                    if len(parts) == 1 and type(part := parts[0]) is CallDelta and part.name is None and part.arguments:
                        left = text.rewritten.left
                        text.put_arguments(chunk, delta, content, server_calls, part.index, part.arguments, left)
                    else:
                        text.put(chunk, delta, content, server_calls, parts)
            self._last = chunk
        return chunk

    def finish(self) -> list[Any]:
        """The stream is over: one more chunk with the text that was held back, if any was."""
        parts = {index: text.rewritten.flush() for index, text in self._choices.items()}
        for text in self._choices.values():
            self._rewriter.thoughts.learn(text.rewritten.scanner, None)
        left = {index: text.rewritten.left for index, text in self._choices.items()}
        chunk = self._one_more(parts)
        for index, text in self._choices.items():
            text.hand_on("", left[index], chunk)
        return [] if chunk is None else [chunk]

    def give_back_rest(self) -> list[Any]:
        """After a failure, at the end of the stream: one more chunk with the text that is still held back, if any."""
        chunk = self._one_more({index: [text.rewritten.held] for index, text in self._choices.items()})
        return [] if chunk is None else [chunk]

    def give_back_plainly(self) -> list[Any]:
        """The same if that fails, in the simplest form: the last chunk once more for each text, with nothing else."""
        held = {index: text.rewritten.held for index, text in self._choices.items()}
        return [self._plain_chunk(index, text) for index, text in held.items() if text]

    def _plain_chunk(self, index: int, text: str) -> Any:
        chunk = copy.deepcopy(self._last)
        choice = next(one for one in chunk.choices if getattr(one, "delta", None) is not None)
        choice.index, choice.finish_reason = index, None
        for name in _BESIDE_CONTENT:
            if getattr(choice.delta, name, None) is not None:
                setattr(choice.delta, name, None)
        choice.delta.content = text
        chunk.choices = [choice]
        if getattr(chunk, "usage", None) is not None:
            chunk.usage = None
        return chunk

    def _copied(self, thing: Any) -> Any:
        """A copy of a chunk or a choice."""
        return copy.deepcopy(thing)

    def _one_more(self, parts_of: Mapping[int, Sequence[Part]]) -> Any:
        rest = {
            index: parts
            for index, parts in parts_of.items()
            if text_in(parts) or any(type(part) is not str and _says_something(part) for part in parts)
        }
        if not rest or self._last is None:
            return None
        chunk = self._copied(self._last)
        choices = [one for one in chunk.choices if getattr(one, "delta", None) is not None]
        made = []
        for index, parts in rest.items():
            choice = next((self._copied(one) for one in choices if getattr(one, "index", None) == index), None)
            if choice is None:
                choice = self._copied(choices[0])
                choice.index = index
            choice.finish_reason = None
            delta = choice.delta
            for name in _BESIDE_CONTENT:
                if getattr(delta, name, None) is not None:
                    setattr(delta, name, None)
            calls = _tool_calls(delta, parts)
            delta.content = text_in(parts) or None
            if calls:
                delta.tool_calls = calls
            if thoughts := _thoughts_in(parts):
                setattr(delta, _field_of_thoughts(delta), thoughts)
            made.append(choice)
        chunk.choices = made
        if getattr(chunk, "usage", None) is not None:
            chunk.usage = None
        return chunk

    def rewrite_response(self, response: Any) -> None:
        """Rewrite an unstreamed response, in place."""
        for position, choice in enumerate(items_of(getattr(response, "choices", None))):
            message: Any = getattr(choice, "message", None)
            content = text_of_parts(getattr(message, "content", None))
            if content is None:
                continue
            server_calls = items_of(getattr(message, "tool_calls", None))
            inside: Sequence[str] = ()
            if not _has_thoughts(message):
                reason = getattr(choice, "finish_reason", None)
                inside = self._rewriter.thoughts.of_whole(content, self._rewriter.tools, reason)
            if not self._rewriter.may_rewrite(content, inside):
                continue
            text = _ChoiceText(self._rewriter.begin(_index_of(choice, position), inside=inside))
            text.renumber(server_calls)
            parts = text.rewritten.feed(content)
            parts += text.rewritten.flush()
            calls = [whole_tool_call(message, call) for call in _joined(parts)]
            new: dict[str, Any] = {}
            if calls:
                new["tool_calls"] = [*server_calls, *calls]
            if thoughts := _thoughts_in(parts):
                name = _field_of_thoughts(message)
                new[name] = (getattr(message, name, None) or "") + thoughts
            left = text_in(parts)
            if left != content:
                new["content"] = with_text(message.content, left) or None
            _replace(message, new)
            if calls:
                _correct_finish_reason(choice)

    def give_back(self, chunk: Any) -> Any:
        """The stage failed at this chunk or an earlier one: put the text it holds back where it belongs, as it came."""
        for choice in items_of(getattr(chunk, "choices", None)):
            text = self._choices.pop(_index_of(choice), None)
            if text is not None and (held := text.rewritten.held):
                content = choice.delta.content
                came = text_of_parts(content) or ""
                # If another choice of the chunk failed, this one's text is in the chunk already.
                is_behind = text.last_chunk is chunk
                choice.delta.content = with_text(content, came + held if is_behind else held + came)
        return chunk


class _ChoiceText:
    """The text of one choice, and its calls."""

    __slots__ = (
        "_delta_class",
        "_put_into",
        "_server_indexes",
        "call_of",
        "has_calls",
        "is_over",
        "is_plain",
        "last_chunk",
        "rewritten",
    )

    def __init__(self, rewritten: RewrittenText) -> None:
        self.rewritten = rewritten
        self.call_of = rewritten.call_of
        self.is_plain = rewritten.scanner.is_plain
        self.is_over = False
        """Whether a finish reason came."""
        self.has_calls = False
        """Whether real tool calls were made of it."""
        self._server_indexes: dict[int, int] = {}
        self._delta_class: type | None = None
        self._put_into: PutArguments
        self.last_chunk: Any = None
        """The last chunk that this choice's text was written to."""

    def feed(self, content: str) -> list[Part]:
        if self.is_over and content:
            self.is_over = False
            self.rewritten.scanner.resume()
        return self.rewritten.feed(content)

    def put(self, chunk: Any, delta: Any, content: str | None, server_calls: Any, parts: Sequence[Part]) -> None:
        """Put what a content was rewritten to in its place."""
        left = self.rewritten.left
        self._put_parts(delta, content, server_calls, parts)
        self.last_chunk = chunk
        self.rewritten.hand_on(content or "", left)

    def put_arguments(
        self, chunk: Any, delta: Any, content: str, server_calls: Any, index: int, arguments: str, left: int
    ) -> None:
        """The same in the middle of a call, where most chunks of a call are. `left`: see `hand_on`."""
        kind: Any = type(delta)
        if kind is not self._delta_class:
            self._delta_class, self._put_into = kind, arguments_putter(kind)
        self._put_into(delta, server_calls, index, arguments)
        self.has_calls = True
        self.last_chunk = chunk
        self.rewritten.hand_on(content, left)

    def _put_parts(self, delta: Any, content: str | None, server_calls: Any, parts: Sequence[Part]) -> None:
        written, thoughts = text_in(parts), _thoughts_in(parts)
        calls = _tool_calls(delta, parts)
        new: dict[str, Any] = {}
        if calls:
            new["tool_calls"] = [*items_of(server_calls), *calls]
        if thoughts:
            name = _field_of_thoughts(delta)
            new[name] = (getattr(delta, name, None) or "") + thoughts
        if written != (content or ""):
            # A chunk that held only markup now has empty content; one with a call has none, as servers send it.
            new["content"] = with_text(delta.content, written) or (None if calls or content is None else "")
        _replace(delta, new)
        self.has_calls = self.has_calls or bool(calls)

    def hand_on(self, content: str, left: int, chunk: Any) -> None:
        """`chunk` now holds all that was fed, which ends with `content`, except its last `left` characters."""
        self.last_chunk = chunk
        self.rewritten.hand_on(content, left)

    def renumber(self, server_calls: Iterable[Any]) -> None:
        """Keep the indexes of calls that the server made itself apart from those found in the text."""
        writer = self.rewritten.writer
        if not isinstance(writer, OpenAIWriter):
            return
        for place, call in enumerate(server_calls):
            # The calls of a message have no index; anything else without one is no call.
            otherwise = place if hasattr(call, "function") or hasattr(call, "custom") else None
            index = getattr(call, "index", otherwise)
            if not isinstance(index, int):
                continue
            known = self._server_indexes.get(index)
            if known is None:
                # Those that came before the first call in the text keep their index.
                known = self._server_indexes[index] = max(index, writer.next_index) if writer.calls else index
                writer.next_index = max(writer.next_index, known + 1)
            if known != index:
                call.index = known


def _replace(thing: Any, new: Mapping[str, Any]) -> None:
    """Set these fields of an object, all of them or none."""
    old = [(name, getattr(thing, name, None)) for name in new]
    done = 0
    try:
        for name, value in new.items():
            setattr(thing, name, value)
            done += 1
    except Exception:
        for name, value in old[:done]:
            setattr(thing, name, value)
        raise


def _tool_calls(delta: Any, parts: Iterable[Part]) -> list[Any]:
    return [tool_call_delta(delta, part) for part in parts if type(part) is CallDelta and _says_something(part)]


def _says_something(part: Part) -> bool:
    if type(part) is CallDelta:
        return part.name is not None or bool(part.arguments)
    return bool(part.text if isinstance(part, ThoughtDelta) else part)


def _has_thoughts(thing: Any) -> bool:
    """Whether the server put thoughts into a field of a delta or a message."""
    return any(getattr(thing, name, None) for name in REASONING_FIELDS)


def _field_of_thoughts(thing: Any) -> str:
    """Hugging Face's classes have a field of their own for them."""
    return "reasoning" if "reasoning" in getattr(type(thing), "__dataclass_fields__", ()) else "reasoning_content"


def _thoughts_in(parts: Iterable[Part]) -> str:
    return "".join([part.text for part in parts if type(part) is ThoughtDelta])


def _index_of(choice: Any, otherwise: int = 0) -> int:
    """The index of a choice. A choice without a usable index is the only one there is."""
    index = index_of(getattr(choice, "index", None))
    return otherwise if index is None else index


def _correct_finish_reason(choice: Any) -> None:
    """The server did not see the calls, so it says that the model stopped."""
    if getattr(choice, "finish_reason", None) == "stop":
        choice.finish_reason = "tool_calls"


def _joined(parts: Iterable[Part]) -> list[CallDelta]:
    """The calls among parts, whole."""
    calls: dict[int, CallDelta] = {}
    for part in parts:
        if type(part) is CallDelta:
            call = calls.setdefault(part.index, part)
            if call is not part:
                call.arguments += part.arguments
    return list(calls.values())
