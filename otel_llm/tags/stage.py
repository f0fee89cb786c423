"""Rewrites the tool calls in the text of a stream of an SDK's chunks, choice by choice.

The stage takes chunks and responses of an SDK (any object of the API's shape) and changes them in place:
`delta.content`, and for the target `openai` also `delta.tool_calls` and the finish reason. Chunks keep their type,
their number and their order. Only if a stream ends without a finish reason and text is still held back is one chunk
added.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from time import perf_counter_ns
from typing import Any

from otel_llm.protocol.choice import TagRewrite
from otel_llm.protocol.fields import index_of, items_of
from otel_llm.protocol.message_text import content_text
from otel_llm.protocol.request import Tool
from otel_llm.tags.pieces import ParsedCall, Piece
from otel_llm.tags.rewriter import ToolCallTagRewriter
from otel_llm.tags.scanner import Scanner
from otel_llm.tags.sdk_tool_calls import tool_call_delta, whole_tool_call
from otel_llm.tags.target import Target, described
from otel_llm.tags.writers import CallDelta, OpenAIWriter, TagWriter, Writer, Written


class Observer:
    """Is notified of calls and rewrites. The default ignores them."""

    def on_text_call(self, choice_index: int, piece: Piece) -> None:
        """A piece of a call that stays in the text: with custom tags, no field of the API ever holds the call."""

    def on_rewrite(self, rewrite: TagRewrite) -> None:
        """A call has come to its end and is rewritten."""


class Stage:
    """Rewrites one stream, or one response. `tools`: the declared tools by name, None if they are not known."""

    def __init__(
        self, target: Target, tools: Mapping[str, Tool] | None = None, observer: Observer | None = None
    ) -> None:
        self._target = target
        # A rewriter that the application made may have tools of its own.
        own = target.tools if isinstance(target, ToolCallTagRewriter) else None
        self._tools = tools if own is None else own
        self._observer = observer or Observer()
        self._choices: dict[int, _ChoiceText] = {}
        self._last: Any = None

    def take(self, chunk: Any) -> Any:
        """Rewrite one chunk. Returns the same object."""
        choices = getattr(chunk, "choices", None)
        for choice in choices if type(choices) is list else items_of(choices):
            delta = getattr(choice, "delta", None)
            if delta is None:
                known = self._choices.get(_index_of(choice))
                if known is not None and known.calls:
                    _correct_finish_reason(choice)
                continue
            content = getattr(delta, "content", None)
            if content is not None and type(content) is not str:
                content = _text_in(content)
            finish_reason = getattr(choice, "finish_reason", None)
            server_calls = items_of(getattr(delta, "tool_calls", None))
            index = _index_of(choice)
            text = self._choices.get(index)
            if text is None:
                if content is None and not server_calls:
                    continue
                text = self._choices[index] = self._begin(index)
            if server_calls:
                text.renumber(server_calls)
            if content is not None and (finish_reason is not None or not text.scanner.is_plain(content)):
                written = text.feed(content)
                if finish_reason is not None:
                    written.add(text.flush())
                left = text.left_of(content)
                self._put(delta, content, written, text)
                text.hand_on(content, left, chunk)
            elif finish_reason is not None:
                written = text.flush()
                left = text.left_of("")
                self._put(delta, content, written, text)
                text.hand_on("", left, chunk)
            if text.calls:
                _correct_finish_reason(choice)
            self._last = chunk
        return chunk

    def finish(self) -> Any:
        """The stream is over. Returns one more chunk with the text that was held back, or None."""
        written = {index: text.flush() for index, text in self._choices.items()}
        left = {index: text.left_of("") for index, text in self._choices.items()}
        chunk = self._one_more(written)
        for index, text in self._choices.items():
            text.hand_on("", left[index], chunk)
        return chunk

    def give_back_rest(self) -> Any:
        """After a failure, at the end of the stream: one more chunk with the text that is still held back, or None."""
        return self._one_more({index: Written(text.held) for index, text in self._choices.items()})

    def _one_more(self, written_of: Mapping[int, Written]) -> Any:
        rest = {index: written for index, written in written_of.items() if written}
        if not rest or self._last is None:
            return None
        chunk = copy.deepcopy(self._last)
        choices = [one for one in chunk.choices if getattr(one, "delta", None) is not None]
        made = []
        for index, written in rest.items():
            choice = next((copy.deepcopy(one) for one in choices if _index_of(one) == index), None)
            if choice is None:
                choice = copy.deepcopy(choices[0])
                choice.index = index
            choice.finish_reason = None
            delta = choice.delta
            for name in ("role", "tool_calls", "function_call", "refusal"):
                if getattr(delta, name, None) is not None:
                    setattr(delta, name, None)
            delta.content = written.text or None
            if written.deltas:
                delta.tool_calls = [tool_call_delta(delta, call) for call in written.deltas]
            made.append(choice)
        chunk.choices = made
        if getattr(chunk, "usage", None) is not None:
            chunk.usage = None
        return chunk

    def rewrite_response(self, response: Any) -> None:
        """Rewrite an unstreamed response, in place."""
        for position, choice in enumerate(items_of(getattr(response, "choices", None))):
            message: Any = getattr(choice, "message", None)
            content = _text_in(getattr(message, "content", None))
            if content is None:
                continue
            server_calls = items_of(getattr(message, "tool_calls", None))
            text = self._begin(_index_of(choice, position))
            text.renumber(server_calls)
            written = text.feed(content)
            written.add(text.flush())
            # Made before anything is replaced: a failure here must leave the message as it was.
            calls = [whole_tool_call(response, call) for call in _joined(written.deltas)]
            if written.text != content:
                message.content = _with_text(message.content, written.text) or None
            if calls:
                message.tool_calls = [*server_calls, *calls]
                _correct_finish_reason(choice)

    def give_back(self, chunk: Any) -> Any:
        """The stage failed at this chunk or an earlier one: put the text it holds back where it belongs, as it came."""
        for choice in items_of(getattr(chunk, "choices", None)):
            text = self._choices.pop(_index_of(choice), None)
            if text is not None and (held := text.held):
                content = choice.delta.content
                came = _text_in(content) or ""
                # If another choice of the chunk failed, this one's text is in the chunk already.
                is_behind = text.last_chunk is chunk
                choice.delta.content = _with_text(content, came + held if is_behind else held + came)
        return chunk

    def _begin(self, index: int) -> _ChoiceText:
        writer: Writer = (
            TagWriter(self._target.target_tags) if isinstance(self._target, ToolCallTagRewriter) else OpenAIWriter()
        )
        return _ChoiceText(index, Scanner(self._tools), writer, described(self._target), self._observer)

    def _put(self, delta: Any, content: Any, written: Written, text: _ChoiceText) -> None:
        # Made first, as in `rewrite_response`.
        calls = [tool_call_delta(delta, call) for call in written.deltas]
        if written.text != (content or ""):
            # A chunk that held only markup now has empty content; one with a call has none, as servers send it.
            left = _with_text(delta.content, written.text)
            delta.content = left or (None if calls or content is None else "")
        if calls:
            delta.tool_calls = [*items_of(getattr(delta, "tool_calls", None)), *calls]
            text.calls += sum(1 for call in written.deltas if call.name is not None)


class _ChoiceText:
    """Rewrites the text of one choice."""

    def __init__(self, index: int, scanner: Scanner, writer: Writer, target: str, observer: Observer) -> None:
        self._index = index
        self.scanner = scanner
        self._writer = writer
        self._target = target
        self._observer = observer
        self.calls = 0
        """How many real tool calls were made of it."""
        self._server_indexes: dict[int, int] = {}
        self._undecided: list[str] = []
        self.last_chunk: Any = None
        """The last chunk that this choice's text was written to."""
        self._fed = self._held = 0
        self._length = 0
        self._spent_ns = 0
        self._calls_stay_text = isinstance(writer, TagWriter)

    def feed(self, content: str) -> Written:
        begun_ns = perf_counter_ns()
        return self._written(self.scanner.feed(content), begun_ns)

    def flush(self) -> Written:
        begun_ns = perf_counter_ns()
        written = self._written(self.scanner.flush(), begun_ns)
        written.text += self._writer.finish()
        return written

    def left_of(self, content: str) -> int:
        """How many of the characters fed so far, which end with `content`, are not written yet."""
        scanner = self.scanner
        return self._fed + len(content) - (scanner.began_at if self._writer.owes_call else scanner.decided)

    def hand_on(self, content: str, left: int, chunk: Any) -> None:
        """`chunk` now holds all that was fed, which ends with `content`, except its last `left` characters."""
        self.last_chunk = chunk
        self._fed += len(content)
        self._held = left
        if left <= len(content):
            self._undecided.clear()
        self._undecided.append(content)

    @property
    def held(self) -> str:
        """The text that was fed and that no chunk holds yet, as it came."""
        return "".join(self._undecided)[-self._held :] if self._held > 0 else ""

    def renumber(self, server_calls: Iterable[Any]) -> None:
        """Keep the indexes of calls that the server made itself apart from those found in the text."""
        writer = self._writer
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

    def _written(self, pieces: list[Piece], begun_ns: int) -> Written:
        written = self._writer.write(pieces)
        self._spent_ns += perf_counter_ns() - begun_ns
        for piece in pieces:
            if piece.call is not None:
                self._observe(piece, piece.call)
        return written

    def _observe(self, piece: Piece, call: ParsedCall) -> None:
        if self._calls_stay_text:
            self._observer.on_text_call(self._index, piece)
        if piece.kind == "begin":
            self._length = 0
        elif piece.kind == ("body" if call.verbatim else "arguments"):
            self._length += len(piece.text)
        elif piece.kind == "end":
            spent, self._spent_ns = self._spent_ns, 0
            self._observer.on_rewrite(
                TagRewrite(self._index, call.format, call.name, self._length, self._target, spent)
            )


def _text_in(content: Any) -> str | None:
    """The text of a content, or None if it has none. It may be a list of parts (see `message_text.py`)."""
    if isinstance(content, list):
        texts = [part["text"] for part in content if _is_text(part)]
        return "".join(texts) if texts else None
    return content if type(content) is str else content_text(content)


def _with_text(content: Any, text: str) -> Any:
    """A content with another text. In a list of parts, the first one that has a text gets all of it."""
    if not isinstance(content, list):
        return text
    for part in content:
        if _is_text(part):
            part["text"], text = text, ""
    return [*content, {"type": "text", "text": text}] if text else content


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)


def _index_of(choice: Any, otherwise: int = 0) -> int:
    """The index of a choice. A choice without a usable index is the only one there is."""
    index = index_of(getattr(choice, "index", None))
    return otherwise if index is None else index


def _correct_finish_reason(choice: Any) -> None:
    """The server did not see the calls, so it says that the model stopped."""
    if getattr(choice, "finish_reason", None) == "stop":
        choice.finish_reason = "tool_calls"


def _joined(deltas: Iterable[CallDelta]) -> list[CallDelta]:
    calls: dict[int, CallDelta] = {}
    for delta in deltas:
        call = calls.setdefault(delta.index, delta)
        if call is not delta:
            call.arguments += delta.arguments
    return list(calls.values())
