"""A stream of a provider's chunks in, the same kind of chunks out, its tool calls rewritten, taken out, or executed."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

from otel_llm.tags.declared import declared_tools, name_of
from otel_llm.tags.detector import IncrementalToolDetector, ToolCall
from otel_llm.tags.rewriter import RewriteStream, ToolCallTagRewriter
from otel_llm.tags.stage import Stage
from otel_llm.tags.target import Target, read_target

_logger = logging.getLogger("otel_llm")


class TextChunk(str):  # noqa: SLOT000  a chunk has attributes of its own
    """A piece of a stream of text; `tool_calls` and `tool_results` are what came with it."""

    tool_calls: list[dict[str, Any]] | None = None
    tool_results: list[dict[str, Any]] | None = None

    @property
    def content(self) -> str:
        return str(self)


class UnifiedStreamProcessor:
    """Processes one stream after another.

    With `tool_call_tags` (a `ToolCallTags`, a text that names tags, a `ToolCallTagRewriter`) calls in the text are
    rewritten and nothing is taken out. Without, markup is taken out of the text and each call arrives in `tool_calls`
    of a chunk, as soon as it is complete: `{"name": …, "arguments": …, "call_id": …}`. With `execute_tools`, and
    functions given to `process_stream` as tools, each call is executed and its result is reported behind it, as text
    and in `tool_results`: `{"call_id": …, "name": …, "output": …, "error": …}`.

    Tags that cannot be used are logged as an error, and the stream passes as it is.
    """

    def __init__(self, model_name: str = "", execute_tools: bool = True, tool_call_tags: Any = None) -> None:
        self.model_name = model_name
        self.execute_tools = execute_tools
        self.tool_call_tags = tool_call_tags
        self.detector = IncrementalToolDetector(model_name)
        self.tag_rewriter: ToolCallTagRewriter | None = None
        self._rewriting: RewriteStream | None = None
        self._target: Target | None = None
        if tool_call_tags:
            self._initialize_tag_rewriter(tool_call_tags)

    @property
    def tag_rewrite_buffer(self) -> str:
        """What the stream that is being rewritten holds back, as it came."""
        return "" if self._rewriting is None else self._rewriting.held

    def _initialize_tag_rewriter(self, tool_call_tags: Any) -> None:
        try:
            self._target = read_target(tool_call_tags)
            if isinstance(self._target, ToolCallTagRewriter):
                self.tag_rewriter = self._target
        except (TypeError, ValueError) as error:
            # What is wrong is in the message; where we noticed is nobody's concern.
            _logger.error("Failed to initialize tag rewriter: %s; tool calls stay as they are", error)  # noqa: TRY400

    def process_stream(self, stream: Iterable[Any], tools: Any = None) -> Iterator[Any]:
        """Process objects with `content` (and perhaps `tool_calls`), texts, or chunks of an SDK.

        `tools`: the request's tools, or functions by name or in a list.
        """
        run = _Run(self, tools)
        for chunk in stream:
            for out in run.take(chunk):
                yield run.executed(out) if isinstance(out, _Called) else out
        for out in run.finish():
            yield run.executed(out) if isinstance(out, _Called) else out

    async def aprocess_stream(self, stream: AsyncIterable[Any], tools: Any = None) -> AsyncIterator[Any]:
        """The same for an asynchronous stream; tools may be coroutine functions here."""
        run = _Run(self, tools)
        async for chunk in stream:
            for out in run.take(chunk):
                yield await run.aexecuted(out) if isinstance(out, _Called) else out
        for out in run.finish():
            yield await run.aexecuted(out) if isinstance(out, _Called) else out


class _Called(NamedTuple):
    """Calls that are to be executed, and what makes the chunk that carries them, given their results."""

    calls: list[ToolCall]
    chunk: Callable[[list[dict[str, Any]]], Any]


class _Run:
    """One stream on its way through."""

    def __init__(self, processor: UnifiedStreamProcessor, tools: Any) -> None:
        declared = declared_tools(tools)
        target = processor._target
        self._processor = processor
        self._functions = _functions(tools) if processor.execute_tools else {}
        self._passes = bool(processor.tool_call_tags) and target is None
        self._rewriting = target.with_tools(declared).stream() if isinstance(target, ToolCallTagRewriter) else None
        processor._rewriting = self._rewriting
        # Objects that are no chunks of an SDK have no deltas of calls: there `openai` is to take the calls out.
        self._detector = processor.detector = IncrementalToolDetector(processor.model_name, tools=declared)
        self._stage = None if target is None else Stage(target, declared)
        self._detectors: dict[Any, IncrementalToolDetector] = {}
        self._last: Any = None
        # Of each choice the last chunk in which it said something.
        self._spoken: dict[Any, Any] = {}

    def take(self, chunk: Any) -> Iterator[Any]:
        if self._passes:
            yield chunk
            return
        if getattr(chunk, "choices", None) is not None:
            yield from self._take_sdk_chunk(chunk)
            return
        self._last = chunk
        content = chunk if isinstance(chunk, str) else getattr(chunk, "content", None)
        if not isinstance(content, str):
            yield chunk
        elif self._rewriting is not None:
            output = self._rewriting.feed(content)
            yield chunk if output == content else _with(chunk, output)
        else:
            shown, calls = self._detector.process_chunk(content)
            yield from self._shown(chunk, content, shown, calls)

    def finish(self) -> Iterator[Any]:
        if self._rewriting is not None:
            rest = self._rewriting.flush()
            if rest:
                yield _with(self._last, rest)
        elif self._last is not None:
            calls = self._detector.finalize()
            rest = self._detector.text_left
            if rest or calls:
                yield from self._shown(_without_calls(self._last), "", rest, calls)
        last = None if self._stage is None else self._stage.finish()
        if last is not None:
            yield last
        for index, detector in self._detectors.items():
            calls = detector.finalize()
            if detector.text_left or calls:
                yield from self._shown_sdk(_last_words(self._spoken[index], index, detector.text_left), calls)

    def _take_sdk_chunk(self, chunk: Any) -> Iterator[Any]:
        if self._stage is not None:
            yield self._stage.take(chunk)
            return
        calls: list[ToolCall] = []
        for choice in chunk.choices or ():
            delta = getattr(choice, "delta", None)
            content = getattr(delta, "content", None)
            detector = self._detectors.get(choice.index)
            if detector is None:
                detector = IncrementalToolDetector(self._processor.model_name, tools=self._detector.tools)
                self._detectors[choice.index] = detector
            shown: Any = content
            found: list[ToolCall] = []
            if isinstance(content, str):
                self._spoken[choice.index] = chunk
                shown, found = detector.process_chunk(content)
            if delta is not None and getattr(choice, "finish_reason", None) is not None:
                found += detector.finalize()
                shown = (shown or "") + detector.text_left if detector.text_left else shown
            if delta is not None and shown != content:
                delta.content = shown
            calls += found
        yield from self._shown_sdk(chunk, calls)

    def _shown_sdk(self, chunk: Any, calls: list[ToolCall]) -> Iterator[Any]:
        def with_results(results: list[dict[str, Any]]) -> Any:
            chunk.tool_calls = [call.as_dict() for call in calls]
            if results:
                chunk.tool_results = results
                delta = chunk.choices[0].delta
                delta.content = (delta.content or "") + _report(results)
            return chunk

        yield _Called(calls, with_results) if calls else chunk

    def _shown(self, chunk: Any, content: str, shown: str, calls: list[ToolCall]) -> Iterator[Any]:
        def with_results(results: list[dict[str, Any]]) -> Any:
            given = [*(getattr(chunk, "tool_calls", None) or ()), *(call.as_dict() for call in calls)]
            fields = {"tool_calls": given, "tool_results": results} if results else {"tool_calls": given}
            return _with(chunk, shown + _report(results), **fields)

        if calls:
            yield _Called(calls, with_results)
        else:
            yield chunk if shown == content else _with(chunk, shown)

    def executed(self, called: _Called) -> Any:
        """The chunk that carries calls, executed where there are functions for them."""
        results = []
        for call in called.calls:
            result, output = self._call(call)
            if result is None:
                continue
            if inspect.isawaitable(output):
                result["error"] = "it is asynchronous: process the stream with aprocess_stream"
                if inspect.iscoroutine(output):
                    output.close()
            else:
                result["output"] = output
            results.append(result)
        return called.chunk(results)

    async def aexecuted(self, called: _Called) -> Any:
        results = []
        for call in called.calls:
            result, output = self._call(call)
            if result is None:
                continue
            try:
                result["output"] = await output if inspect.isawaitable(output) else output
            except Exception as error:  # noqa: BLE001  as in _call
                result["error"] = _described(error)
            results.append(result)
        return called.chunk(results)

    def _call(self, call: ToolCall) -> tuple[dict[str, Any] | None, Any]:
        """A result to be filled in, and what the function returned; None where there is none of that name."""
        function = self._functions.get(call.name)
        if function is None:
            return None, None
        result: dict[str, Any] = {"call_id": call.call_id, "name": call.name, "output": None, "error": None}
        try:
            return result, function(**call.arguments)
        except Exception as error:  # noqa: BLE001  a tool may raise anything; its caller is told
            result["error"] = _described(error)
            return result, None


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _report(results: Iterable[Mapping[str, Any]]) -> str:
    return "".join(_reported(result) for result in results)


def _reported(result: Mapping[str, Any]) -> str:
    said = f"failed: {result['error']}" if result["error"] else f"result: {result['output']}"
    return f"\n[{result['name']}] {said}\n"


def _functions(tools: Any) -> dict[str, Callable[..., Any]]:
    if isinstance(tools, Mapping):
        return {str(name): tool for name, tool in tools.items() if callable(tool)}
    return {name_of(tool): tool for tool in tools or () if callable(tool) and not isinstance(tool, type)}


def _last_words(chunk: Any, index: Any, content: str) -> Any:
    """A copy of a chunk in which only this choice is left, and says only `content`."""
    made = copy.deepcopy(chunk)
    made.choices = [choice for choice in made.choices if choice.index == index][:1]
    choice = made.choices[0]
    choice.finish_reason = None
    choice.delta.content = content
    told = (choice.delta, ("role", "tool_calls", "function_call", "refusal"))
    for thing, names in (told, (made, ("usage", "tool_calls", "tool_results"))):
        for name in names:
            if getattr(thing, name, None) is not None:
                setattr(thing, name, None)
    return made


def _with(chunk: Any, content: str, **fields: Any) -> Any:
    """A chunk of the same kind with other content; where its class allows none, one with the same attributes."""
    if isinstance(chunk, str):
        text = TextChunk(content)
        for name, value in fields.items():
            setattr(text, name, value)
        return text
    fields = {"content": content, **fields}
    for way in (_replaced, _open_copy):
        # Classes are somebody else's, and so is what they raise.
        with contextlib.suppress(Exception):
            made = way(chunk, fields)
            if all(getattr(made, name) == value for name, value in fields.items()):
                return made
    return SimpleNamespace(**{**_attributes(chunk), **fields})


def _replaced(chunk: Any, fields: Mapping[str, Any]) -> Any:
    """A copy as the class itself would make it."""
    own: set[str] = set()
    if dataclasses.is_dataclass(chunk) and not isinstance(chunk, type):
        own = {entry.name for entry in dataclasses.fields(chunk) if entry.init}
        made: Any = dataclasses.replace(chunk, **{key: fields[key] for key in fields.keys() & own})
    elif isinstance(chunk, tuple) and hasattr(chunk, "_replace"):
        own = set(getattr(chunk, "_fields", ()))
        made = chunk._replace(**{key: fields[key] for key in fields.keys() & own})
    elif hasattr(chunk, "model_copy"):
        return chunk.model_copy(update=fields)
    else:
        made = copy.copy(chunk)
    rest = {key: value for key, value in fields.items() if key not in own}
    if rest and not hasattr(made, "__dict__"):
        return _open_copy(made, rest)
    for name, value in rest.items():
        # A frozen class of somebody's would refuse.
        object.__setattr__(made, name, value)
    return made


def _open_copy(chunk: Any, fields: Mapping[str, Any]) -> Any:
    """A copy that takes attributes which its class has no slot for, or only lets be read."""
    kind = type(chunk)
    # What the subclass has itself, no property of the class stands before.
    opened: Any = type(kind.__name__, (kind,), {"__module__": kind.__module__, **dict.fromkeys(fields)})
    if hasattr(chunk, "__dict__"):
        made: Any = copy.copy(chunk)
        object.__setattr__(made, "__class__", opened)
    elif isinstance(chunk, tuple):
        made = tuple.__new__(opened, chunk)
    else:
        made = object.__new__(opened)
        for base in kind.__mro__:
            slots = getattr(base, "__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if not name.startswith("__") and hasattr(chunk, name):
                    object.__setattr__(made, name, getattr(chunk, name))
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


def _attributes(chunk: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in dir(chunk):
        if not name.startswith("__"):
            with contextlib.suppress(Exception):
                found[name] = getattr(chunk, name)
    return found


def _without_calls(chunk: Any) -> Any:
    return chunk if not getattr(chunk, "tool_calls", None) else _with(chunk, "", tool_calls=None)
