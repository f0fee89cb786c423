"""Parsers of the text that models write: otel-llm's stage, SGLang's parsers and agent-tool-parser, behind one face.

SGLang's parsers come from llm-router-utils (PyPI), which has them without the engine. They are told the model, as the
engine's command line is; the others are not.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, Protocol

from canitoolcall.adapters.sglang import resolve_parsers
from canitoolcall.results import ParsedToolCall, ParseResult, StreamAccumulator
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from benchmarks.model_outputs import ModelOutput
from otel_llm.tags.declared import declared_tools
from otel_llm.tags.reasoning import ThoughtReading
from otel_llm.tags.rewritten_text import Rewriter
from otel_llm.tags.stage import Stage

Parse = Callable[[], Any]
"""Parses a text, once. What it needs is made before."""


class Parser(Protocol):
    """`separates`: whether it separates content and thoughts, or finds calls only."""

    name: str
    separates: bool

    def supports(self, output: ModelOutput, /) -> bool: ...

    def whole(self, output: ModelOutput, /) -> ParseResult: ...

    def streamed(self, output: ModelOutput, pieces: Sequence[str], /) -> ParseResult | None:
        """None if it cannot parse a stream."""

    def prepared(self, output: ModelOutput, pieces: Sequence[str] | None, /) -> Parse | None:
        """What is timed: a stream of `pieces`, or the whole text without. None if it cannot do that."""


class OurStage:
    """The stage with the target `openai`, on the OpenAI SDK's own chunks and responses.

    Whether a prompt opened the thoughts is said by the option `reasoning`, as it is to SGLang's parsers.
    """

    separates = True

    def __init__(self) -> None:
        self.name = f"otel-llm {version('otel-llm')}"

    def supports(self, _output: ModelOutput) -> bool:
        return True

    def whole(self, output: ModelOutput) -> ParseResult:
        response = _response(output)
        _stage(output).rewrite_response(response)
        message = response.choices[0].message
        seen = StreamAccumulator()
        seen.add_content(message.content)
        seen.add_reasoning(getattr(message, "reasoning_content", None))
        for call in message.tool_calls or ():
            seen.append_tool_call(call.function.name, call.function.arguments)  # type: ignore[union-attr]
        return seen.result()

    def streamed(self, output: ModelOutput, pieces: Sequence[str]) -> ParseResult:
        stage = _stage(output)
        seen = StreamAccumulator()
        chunks = [stage.take(chunk) for chunk in _chunks(output, pieces)]
        for chunk in [*chunks, *stage.finish()]:
            delta = chunk.choices[0].delta
            seen.add_content(delta.content)
            seen.add_reasoning(getattr(delta, "reasoning_content", None))
            for call in delta.tool_calls or ():
                seen.add_tool_call(call.index, call.function.name, call.function.arguments)
        return seen.result()

    def prepared(self, output: ModelOutput, pieces: Sequence[str] | None) -> Parse:
        stage = _stage(output)
        if pieces is None:
            response = _response(output)
            return lambda: stage.rewrite_response(response)
        chunks = [*_chunks(output, pieces)]

        def parse() -> None:
            for chunk in chunks:
                stage.take(chunk)
            stage.finish()

        return parse


def _stage(output: ModelOutput) -> Stage:
    thoughts = ThoughtReading("opened" if output.opened else "auto")
    return Stage(Rewriter("openai", declared_tools(output.tools), thoughts=thoughts))


def _finish_reason(output: ModelOutput) -> str:
    return "length" if output.cut_off else "stop"


def _response(output: ModelOutput) -> ChatCompletion:
    message = {"role": "assistant", "content": output.text}
    choice = {"index": 0, "message": message, "finish_reason": _finish_reason(output)}
    return ChatCompletion.model_validate(_base("chat.completion", choice))


def _chunks(output: ModelOutput, pieces: Iterable[str]) -> Iterable[ChatCompletionChunk]:
    for piece in pieces:
        yield _chunk({"content": piece})
    yield _chunk({}, _finish_reason(output))


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> ChatCompletionChunk:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return ChatCompletionChunk.model_validate(_base("chat.completion.chunk", choice))


def _base(kind: str, choice: dict[str, Any]) -> dict[str, Any]:
    return {"id": "c", "object": kind, "created": 1, "model": "m", "choices": [choice]}


class SGLang:
    """Its reasoning parser, then its tool-call parser, as its server for chat completions runs them."""

    separates = True

    def __init__(self) -> None:
        if "transformers" not in sys.modules and importlib.util.find_spec("transformers") is None:
            # The reasoning parser imports it for the name of a type only, and it is large.
            stand_in = ModuleType("transformers")
            stand_in.PreTrainedTokenizerBase = object  # type: ignore[attr-defined]
            sys.modules["transformers"] = stand_in
        # They log each call that they cannot read.
        logging.getLogger("llm_router_utils").setLevel(logging.CRITICAL)
        base = "llm_router_utils.sglang"
        self._tool = importlib.import_module(f"{base}.srt.entrypoints.openai.protocol").Tool
        self._calls = importlib.import_module(f"{base}.srt.function_call.function_call_parser").FunctionCallParser
        self._thoughts = importlib.import_module(f"{base}.srt.parser.reasoning_parser").ReasoningParser
        self.name = f"SGLang's parsers (llm-router-utils {version('llm-router-utils')})"

    def _names(self, output: ModelOutput) -> tuple[str, str | None] | None:
        rule = resolve_parsers(output.family.slug, output.fixture.reference_model)
        if rule is None:
            return None
        if rule.tool_call_parser is not None:
            return rule.tool_call_parser, rule.reasoning_parser
        # canitoolcall knows 0.5.20, which has none for this model.
        later = "deepseekv41" in self._calls.ToolCallParserEnum and "V4.1" in output.fixture.reference_model
        return ("deepseekv41", "deepseek-v41") if later else None

    def supports(self, output: ModelOutput) -> bool:
        return self._names(output) is not None

    def _parsers(self, output: ModelOutput, *, streaming: bool) -> tuple[Any, Any]:
        names = self._names(output)
        if names is None:
            raise ValueError(f"SGLang has no parser for {output.fixture.reference_model}")
        tools = [self._tool.model_validate(tool) for tool in output.tools]
        thoughts = names[1] and self._thoughts(
            names[1],
            stream_reasoning=streaming,
            force_reasoning=output.opened or output.fixture.thinking is True,
            tool_call_parser_active=bool(tools),
        )
        return thoughts or None, self._calls(tools, names[0])

    def whole(self, output: ModelOutput) -> ParseResult:
        return self._whole(output, *self._parsers(output, streaming=False))

    @staticmethod
    def _whole(output: ModelOutput, thoughts: Any, calls: Any) -> ParseResult:
        seen = StreamAccumulator()
        text = output.text
        try:
            if thoughts is not None:
                reasoning, text = thoughts.parse_non_stream(text)
                seen.add_reasoning(reasoning)
            found: list[Any] = []
            if calls.has_tool_call(text or ""):
                text, found = calls.parse_non_stream(text)
            seen.add_content(text)
        except Exception as error:  # noqa: BLE001  an outcome, which the checks judge
            return seen.result(f"{type(error).__name__}: {error}")
        for call in found:
            seen.append_tool_call(call.name, call.parameters)
        return seen.result()

    def streamed(self, output: ModelOutput, pieces: Sequence[str]) -> ParseResult:
        return self._streamed(pieces, *self._parsers(output, streaming=True))

    @staticmethod
    def _streamed(pieces: Sequence[str], thoughts: Any, calls: Any) -> ParseResult:
        seen = StreamAccumulator()

        def take(text: str | None, found: Iterable[Any]) -> None:
            seen.add_content(text)
            for call in found:
                seen.add_tool_call(call.tool_index, call.name, call.parameters)

        try:
            for piece in pieces:
                text: str | None = piece
                if thoughts is not None:
                    reasoning, text = thoughts.parse_stream_chunk(piece)
                    seen.add_reasoning(reasoning)
                if text:
                    take(*calls.parse_stream_chunk(text))
            if thoughts is not None:
                reasoning, text = thoughts.parse_stream_end()
                seen.add_reasoning(reasoning)
                if text:
                    take(*calls.parse_stream_chunk(text))
            take(*calls.parse_stream_end())
            _send_rest(calls.detector, seen)
        except Exception as error:  # noqa: BLE001  an outcome, which the checks judge
            return seen.result(f"{type(error).__name__}: {error}")
        return seen.result()

    def prepared(self, output: ModelOutput, pieces: Sequence[str] | None) -> Parse:
        if pieces is None:
            parsers = self._parsers(output, streaming=False)
            return lambda: self._whole(output, *parsers)
        parsers = self._parsers(output, streaming=True)
        return lambda: self._streamed(pieces, *parsers)


def _send_rest(detector: Any, seen: StreamAccumulator) -> None:
    """At the end of a stream, SGLang's server sends what its parser holds of the last call and has not streamed."""
    calls, streamed = detector.prev_tool_call_arr, detector.streamed_args_for_tool
    last = len(calls) - 1
    if not 0 <= last < len(streamed):
        return
    arguments = calls[last].get("arguments", {})
    whole = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    if streamed[last] in whole:
        seen.add_tool_call(last, None, whole.replace(streamed[last], "", 1))


class AgentToolParser:
    """It parses whole texts, and returns calls only."""

    separates = False

    def __init__(self) -> None:
        self._module = importlib.import_module("agent_tool_parser")
        engine = "Rust" if self._module.ACCELERATED else "Python"
        self.name = f"agent-tool-parser {version('agent-tool-parser')} ({engine})"

    def supports(self, _output: ModelOutput) -> bool:
        return True

    def _parser(self, output: ModelOutput) -> Any:
        functions = [tool.get("function", tool) for tool in output.tools]
        names = {function["name"] for function in functions}
        keys = {key for function in functions for key in (function.get("parameters") or {}).get("properties") or {}}
        # It renames tools and parameters to those of a coding agent, unless they are declared like this.
        return self._module.ToolParser(
            allowed_tools={name.lower() for name in names},
            tool_aliases={name: name for name in names},
            param_aliases={key.lower(): key for key in keys},
        )

    def whole(self, output: ModelOutput) -> ParseResult:
        try:
            with _silent():
                calls = self._parser(output).try_parse_all(output.text)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  its engine panics on some texts, which is no Exception
            return ParseResult(exception=f"{type(error).__name__}: {error}")
        named = {
            tool.get("function", tool)["name"].lower(): tool.get("function", tool)["name"] for tool in output.tools
        }
        return ParseResult(
            tool_calls=tuple(ParsedToolCall(named.get(call.name, call.name), json.dumps(call.args)) for call in calls)
        )

    def streamed(self, _output: ModelOutput, _pieces: Sequence[str]) -> None:
        return None

    def prepared(self, output: ModelOutput, pieces: Sequence[str] | None) -> Parse | None:
        if pieces is not None:
            return None
        parser = self._parser(output)
        return lambda: parser.try_parse_all(output.text)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without what an engine that is no Python writes to standard error."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


_PEERS: tuple[tuple[str, Callable[[], Parser]], ...] = (
    ("llm-router-utils", SGLang),
    ("agent-tool-parser", AgentToolParser),
)


def peers() -> tuple[list[Parser], list[str]]:
    """The peers that are installed, and for each other one why it is left out."""
    found: list[Parser] = []
    left_out: list[str] = []
    for distribution, make in _PEERS:
        made = _made(distribution, make)
        if isinstance(made, str):
            left_out.append(made)
        else:
            found.append(made)
    return found, left_out


def _made(distribution: str, make: Callable[[], Parser]) -> Parser | str:
    """The parser, or why it is left out."""
    try:
        version(distribution)
        return make()
    except PackageNotFoundError:
        return f"{distribution} is not installed, so it is left out (pip install --no-deps {distribution})"
    except Exception as error:  # noqa: BLE001  what fails here is a package that is not ours
        return f"{distribution} cannot be loaded, so it is left out ({type(error).__name__}: {error})"
