"""Processes a stream of any chunks: rewrites the tool calls in its text, or takes them out and executes them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any

from otel_llm.tags.chunk_streams import ChunkStream, ChunkWithCalls, Rewriting, SdkRewriting, SdkTakingOut, TakingOut
from otel_llm.tags.declared import declared_tools
from otel_llm.tags.detector import IncrementalToolDetector
from otel_llm.tags.reasoning import Reasoning, ThoughtReading
from otel_llm.tags.rewriter import RewriteStream, ToolCallTagRewriter
from otel_llm.tags.rewritten_text import Rewriter
from otel_llm.tags.stage import Stage
from otel_llm.tags.target import Target, read_target
from otel_llm.tags.tool_execution import ToolExecutor

_logger = logging.getLogger("otel_llm")


class UnifiedStreamProcessor:
    """Processes one stream after another.

    With `tool_call_tags` (a `ToolCallTags`, a string that names tags, or a `ToolCallTagRewriter`), calls in the text
    are rewritten and nothing is taken out. Without, calls are taken out of the text, and each arrives in `tool_calls`
    of a chunk as soon as it is complete: `{"name": …, "arguments": …, "call_id": …}`. With `execute_tools`, and
    functions passed to `process_stream` as tools, each call is then executed, and its result follows as text and in
    `tool_results`: `{"call_id": …, "name": …, "output": …, "error": …}`.

    Tags that cannot be used are logged as an error, and streams then pass unchanged.

    `reasoning`: whether texts begin inside of the model's thoughts, and whether thoughts leave the text if
    `tool_call_tags` is `openai` (see `reasoning.py`).
    """

    def __init__(
        self,
        model_name: str = "",
        execute_tools: bool = True,
        tool_call_tags: Any = None,
        reasoning: Reasoning = "auto",
    ) -> None:
        self.model_name = model_name
        self.execute_tools = execute_tools
        self.tool_call_tags = tool_call_tags
        self.detector = IncrementalToolDetector(model_name)
        """Of the stream that was begun last, if its chunks are not those of an SDK."""
        self.tag_rewriter: ToolCallTagRewriter | None = None
        self._rewriting: RewriteStream | None = None
        self._target: Target | None = None
        self._thoughts = ThoughtReading(reasoning)
        if tool_call_tags:
            self._initialize_tag_rewriter(tool_call_tags)

    @property
    def tag_rewrite_buffer(self) -> str:
        """The text that is held back of the stream that was begun last, as it came."""
        return "" if self._rewriting is None else self._rewriting.held

    def _initialize_tag_rewriter(self, tool_call_tags: Any) -> None:
        try:
            self._target = read_target(tool_call_tags)
            if isinstance(self._target, ToolCallTagRewriter):
                self.tag_rewriter = self._target
        except (TypeError, ValueError) as error:
            # The message says what is wrong, so no traceback.
            _logger.error("Failed to initialize tag rewriter: %s; tool calls stay as they are", error)  # noqa: TRY400

    def process_stream(self, stream: Iterable[Any], tools: Any = None) -> Iterator[Any]:
        """Process objects with `content` (and perhaps `tool_calls`), strings, or chunks of an SDK.

        `tools`: the tools of the request, or functions by name or in a list.
        """
        run, executor = self._begin(tools)
        for chunk in stream:
            for out in run.take(chunk):
                yield out.finish(executor.run(out.calls)) if isinstance(out, ChunkWithCalls) else out
        for out in run.finish():
            yield out.finish(executor.run(out.calls)) if isinstance(out, ChunkWithCalls) else out

    async def aprocess_stream(self, stream: AsyncIterable[Any], tools: Any = None) -> AsyncIterator[Any]:
        """The same for an asynchronous stream. Here tools may be asynchronous functions."""
        run, executor = self._begin(tools)
        async for chunk in stream:
            for out in run.take(chunk):
                yield out.finish(await executor.arun(out.calls)) if isinstance(out, ChunkWithCalls) else out
        for out in run.finish():
            yield out.finish(await executor.arun(out.calls)) if isinstance(out, ChunkWithCalls) else out

    def _begin(self, tools: Any) -> tuple[_Run, ToolExecutor]:
        declared = declared_tools(tools)
        target = self._target
        self.detector = IncrementalToolDetector(self.model_name, tools=declared)
        self._rewriting = target.with_tools(declared).stream() if isinstance(target, ToolCallTagRewriter) else None
        run = _Run()
        if target is not None:
            # Only chunks of an SDK have fields for real tool calls; for others, the target `openai` takes calls out.
            plain = TakingOut(self.detector) if self._rewriting is None else Rewriting(self._rewriting)
            run = _Run(plain, SdkRewriting(Stage(Rewriter(target, declared, thoughts=self._thoughts))))
        elif not self.tool_call_tags:
            run = _Run(TakingOut(self.detector), SdkTakingOut(self.model_name, declared))
        return run, ToolExecutor(tools if self.execute_tools else None)


class _Run:
    """One stream. Without arguments its chunks pass unchanged."""

    def __init__(self, plain: ChunkStream | None = None, of_sdk: ChunkStream | None = None) -> None:
        self._plain = plain
        self._of_sdk = of_sdk

    def take(self, chunk: Any) -> Iterator[Any]:
        stream = self._plain if getattr(chunk, "choices", None) is None else self._of_sdk
        return iter((chunk,)) if stream is None else stream.take(chunk)

    def finish(self) -> Iterator[Any]:
        for stream in (self._plain, self._of_sdk):
            if stream is not None:
                yield from stream.finish()
