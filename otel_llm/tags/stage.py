"""The stage of a stream that rewrites tool calls in its text, choice by choice.  Pure.

It takes the chunks and responses of an SDK (any object of the API's shape) and changes them in place: `delta.content`,
and for the target `openai` also `delta.tool_calls` and the finish reason. Chunks keep their type, number and order;
only text that is still held back at the very end, of a stream that ended without a finish reason, makes one more.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable, Mapping
from time import perf_counter_ns
from typing import Any

from otel_llm.protocol.choice import TagRewrite
from otel_llm.protocol.fields import index_of, items_of
from otel_llm.protocol.message_text import said
from otel_llm.protocol.request import Tool
from otel_llm.tags.found import FoundCall, Piece
from otel_llm.tags.rewriter import ToolCallTagRewriter
from otel_llm.tags.scanner import Scanner
from otel_llm.tags.target import Target, described
from otel_llm.tags.writers import CallDelta, OpenAIWriter, TagWriter, Writer, Written


class Observer:
    """Is told what is found. The default does nothing with it."""

    def found(self, choice_index: int, piece: Piece) -> None:
        """A piece of a call that stays text: with custom tags the API's own fields never hold it."""

    def rewritten(self, rewrite: TagRewrite) -> None:
        """A call has come to its end."""


class Stage:
    """Rewrites one stream, or one response. `tools`: the declared tools by name, None where they are not known."""

    def __init__(
        self, target: Target, tools: Mapping[str, Tool] | None = None, observer: Observer | None = None
    ) -> None:
        self._target = target
        # A rewriter that somebody made knows its own tools.
        own = target.tools if isinstance(target, ToolCallTagRewriter) else None
        self._tools = tools if own is None else own
        self._observer = observer or Observer()
        self._choices: dict[int, _ChoiceText] = {}
        self._last: Any = None

    def take(self, chunk: Any) -> Any:
        """One chunk, rewritten; the very object that was given."""
        choices = getattr(chunk, "choices", None)
        for choice in choices if type(choices) is list else items_of(choices):
            delta = getattr(choice, "delta", None)
            if delta is None:
                ended = self._choices.get(_index_of(choice))
                if ended is not None and ended.calls:
                    _say_tool_calls(choice)
                continue
            content = getattr(delta, "content", None)
            if content is not None and type(content) is not str:
                content = _text_in(content)
            finish_reason = getattr(choice, "finish_reason", None)
            given = items_of(getattr(delta, "tool_calls", None))
            index = _index_of(choice)
            text = self._choices.get(index)
            if text is None:
                if content is None and not given:
                    continue
                text = self._choices[index] = self._begin(index)
            if given:
                text.skip_indexes(given)
            if content is not None and (finish_reason is not None or not text.scanner.is_plain(content)):
                written = text.feed(content)
                if finish_reason is not None:
                    _add(written, text.flush())
                left = text.left_of(content)
                self._put(delta, content, written, text)
                text.hand_on(content, left, chunk)
            elif finish_reason is not None:
                written = text.flush()
                left = text.left_of("")
                self._put(delta, content, written, text)
                text.hand_on("", left, chunk)
            if text.calls:
                _say_tool_calls(choice)
            self._last = chunk
        return chunk

    def finish(self) -> Any:
        """The stream is over: one more chunk with what was held back, None where nothing was."""
        written = {index: text.flush() for index, text in self._choices.items()}
        left = {index: text.left_of("") for index, text in self._choices.items()}
        chunk = self._one_more(written)
        for index, text in self._choices.items():
            text.hand_on("", left[index], chunk)
        return chunk

    def give_back_rest(self) -> Any:
        """The stage has failed, and the stream is over: one more chunk with what is still held back, as it came."""
        return self._one_more({index: Written(text.held) for index, text in self._choices.items()})

    def _one_more(self, written_of: Mapping[int, Written]) -> Any:
        rest = {index: written for index, written in written_of.items() if written.holds_anything}
        if not rest or self._last is None:
            return None
        chunk = copy.deepcopy(self._last)
        made = []
        for index, written in rest.items():
            choice = next((copy.deepcopy(one) for one in chunk.choices if _index_of(one) == index), None)
            if choice is None:
                choice = copy.deepcopy(chunk.choices[0])
                choice.index = index
            choice.finish_reason = None
            delta = choice.delta
            for name in ("role", "tool_calls", "function_call", "refusal"):
                if getattr(delta, name, None) is not None:
                    setattr(delta, name, None)
            delta.content = written.text or None
            if written.deltas:
                delta.tool_calls = [_delta_of(delta, call) for call in written.deltas]
            made.append(choice)
        chunk.choices = made
        if getattr(chunk, "usage", None) is not None:
            chunk.usage = None
        return chunk

    def rewrite_response(self, response: Any) -> None:
        """A response that came whole, in place."""
        for position, choice in enumerate(items_of(getattr(response, "choices", None))):
            message: Any = getattr(choice, "message", None)
            content = _text_in(getattr(message, "content", None))
            if content is None:
                continue
            given = items_of(getattr(message, "tool_calls", None))
            text = self._begin(_index_of(choice, position))
            text.skip_indexes(given)
            written = text.feed(content)
            _add(written, text.flush())
            # Made before anything is replaced: what fails here must leave the message as it was.
            calls = [_whole_call(response, call) for call in _joined(written.deltas)]
            if written.text != content:
                message.content = _with_text(message.content, written.text) or None
            if calls:
                message.tool_calls = [*given, *calls]
                _say_tool_calls(choice)

    def give_back(self, chunk: Any) -> Any:
        """The stage has failed, at this chunk or before: put what was held back in its place, as it came."""
        for choice in items_of(getattr(chunk, "choices", None)):
            text = self._choices.pop(_index_of(choice), None)
            if text is not None and (held := text.held):
                content = choice.delta.content
                came = _text_in(content) or ""
                # This choice was through before another one of the chunk failed.
                is_behind = text.last_chunk is chunk
                choice.delta.content = _with_text(content, came + held if is_behind else held + came)
        return chunk

    def _begin(self, index: int) -> _ChoiceText:
        writer: Writer = (
            TagWriter(self._target.target_tags) if isinstance(self._target, ToolCallTagRewriter) else OpenAIWriter()
        )
        return _ChoiceText(index, Scanner(self._tools), writer, described(self._target), self._observer)

    def _put(self, delta: Any, content: Any, written: Written, text: _ChoiceText) -> None:
        # As above: made first.
        calls = [_delta_of(delta, call) for call in written.deltas]
        if written.text != (content or ""):
            # A chunk that held only markup says nothing now, as a chunk with a call says nothing.
            left = _with_text(delta.content, written.text)
            delta.content = left or (None if calls or content is None else "")
        if calls:
            delta.tool_calls = [*items_of(getattr(delta, "tool_calls", None)), *calls]
            text.calls += sum(1 for call in written.deltas if call.name is not None)


class _ChoiceText:
    """The text of one choice on its way through."""

    def __init__(self, index: int, scanner: Scanner, writer: Writer, target: str, observer: Observer) -> None:
        self._index = index
        self.scanner = scanner
        self._writer = writer
        self._target = target
        self._observer = observer
        self.calls = 0
        self._server_indexes: dict[int, int] = {}
        self._undecided: list[str] = []
        self.last_chunk: Any = None
        self._fed = self._held = 0
        self._length = 0
        self._spent_ns = 0
        self._tell = observer.found if isinstance(writer, TagWriter) else None

    def feed(self, content: str) -> Written:
        begun_ns = perf_counter_ns()
        return self._written(self.scanner.feed(content), begun_ns)

    def flush(self) -> Written:
        begun_ns = perf_counter_ns()
        written = self._written(self.scanner.flush(), begun_ns)
        written.text += self._writer.finish()
        return written

    def left_of(self, content: str) -> int:
        """How many characters of what was fed, `content` the last of it, are not written yet."""
        scanner = self.scanner
        return self._fed + len(content) - (scanner.began_at if self._writer.owes_call else scanner.decided)

    def hand_on(self, content: str, left: int, chunk: Any) -> None:
        """`chunk` holds what became of everything fed, `content` the last of it, except the last `left` characters."""
        self.last_chunk = chunk
        self._fed += len(content)
        self._held = left
        if left <= len(content):
            self._undecided.clear()
        self._undecided.append(content)

    @property
    def held(self) -> str:
        """What was fed and no chunk holds yet, as it came."""
        return "".join(self._undecided)[-self._held :] if self._held > 0 else ""

    def skip_indexes(self, given: Iterable[Any]) -> None:
        """The server makes calls of its own: theirs and ours get different indexes."""
        writer = self._writer
        if not isinstance(writer, OpenAIWriter):
            return
        for place, call in enumerate(given):
            index = getattr(call, "index", place)
            if not isinstance(index, int):
                continue
            known = self._server_indexes.get(index)
            if known is None:
                # Those that came before our first call keep theirs.
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

    def _observe(self, piece: Piece, call: FoundCall) -> None:
        if self._tell is not None:
            self._tell(self._index, piece)
        if piece.kind == "begin":
            self._length = 0
        elif piece.kind == ("body" if call.verbatim else "arguments"):
            self._length += len(piece.text)
        elif piece.kind == "end":
            spent, self._spent_ns = self._spent_ns, 0
            self._observer.rewritten(TagRewrite(self._index, call.format, call.name, self._length, self._target, spent))


def _text_in(content: Any) -> str | None:
    """The text of a content, which may be a list of parts, as Mistral's is where a model reasons; None without one."""
    if isinstance(content, list):
        texts = [part["text"] for part in content if _is_text(part)]
        return "".join(texts) if texts else None
    return content if type(content) is str else said(content)


def _with_text(content: Any, text: str) -> Any:
    """The content with another text, of a list of parts in the first that has one."""
    if not isinstance(content, list):
        return text
    for part in content:
        if _is_text(part):
            part["text"], text = text, ""
    return [*content, {"type": "text", "text": text}] if text else content


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)


def _index_of(choice: Any, otherwise: int = 0) -> int:
    """The index of a choice. One without a usable index is the only one there is."""
    index = index_of(getattr(choice, "index", None))
    return otherwise if index is None else index


def _say_tool_calls(choice: Any) -> None:
    """The server did not see the calls, and said that the model just stopped."""
    if getattr(choice, "finish_reason", None) == "stop":
        choice.finish_reason = "tool_calls"


def _add(written: Written, more: Written) -> None:
    written.text += more.text
    written.deltas += more.deltas


def _joined(deltas: Iterable[CallDelta]) -> list[CallDelta]:
    calls: dict[int, CallDelta] = {}
    for delta in deltas:
        call = calls.setdefault(delta.index, delta)
        if call is not delta:
            call.arguments += delta.arguments
    return list(calls.values())


def _class_beside(thing: Any, name: str) -> Callable[..., Any]:
    """The SDK's class of that name that is known where the class of `thing` is."""
    for kind in type(thing).__mro__:
        found = getattr(sys.modules.get(kind.__module__), name, None)
        if found is not None:
            return found  # type: ignore[no-any-return]
    raise LookupError(f"{type(thing).__qualname__} has no {name} beside it")


def _delta_of(delta: Any, call: CallDelta) -> Any:
    # Only what a server would send is set: the SDK's helpers join what is.
    begins = {} if call.name is None else {"id": call.id, "type": "function"}
    named = {} if call.name is None else {"name": call.name}
    function = _class_beside(delta, "ChoiceDeltaToolCallFunction")(**named, arguments=call.arguments)
    return _class_beside(delta, "ChoiceDeltaToolCall")(index=call.index, function=function, **begins)


def _whole_call(response: Any, call: CallDelta) -> Any:
    package = type(response).__module__.rpartition(".")[0]
    parsed = sys.modules.get(f"{package}.parsed_function_tool_call")
    if parsed is not None and type(response).__name__.startswith("Parsed"):
        inner = parsed.ParsedFunction(name=call.name or "", arguments=call.arguments, parsed_arguments=None)
        return parsed.ParsedFunctionToolCall(id=call.id or "", type="function", function=inner)
    for module_name, prefix in (
        ("chat_completion_message_function_tool_call", "ChatCompletionMessageFunctionToolCall"),
        ("chat_completion_message_tool_call", "ChatCompletionMessageToolCall"),
    ):
        module = sys.modules.get(f"{package}.{module_name}")
        if module is not None and hasattr(module, "Function"):
            function = module.Function(name=call.name or "", arguments=call.arguments)
            return getattr(module, prefix)(id=call.id or "", type="function", function=function)
    raise LookupError(f"{package} has no class of a tool call")
