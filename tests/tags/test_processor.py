"""`UnifiedStreamProcessor`: streams of any kind of chunk, rewritten, or with their calls taken out and executed."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import AsyncIterator, Iterable
from types import SimpleNamespace
from typing import Any, NamedTuple

import pydantic
import pytest

from otel_llm.tags import ToolCallTagRewriter, ToolCallTags, UnifiedStreamProcessor
from tests.helpers.streams import call as delta_of
from tests.helpers.streams import calls, ends, says, sdk_chunk

BODY = '{"name": "list_files", "arguments": {"path": "src"}}'
TEXT = f"Sure. <|tool_call|>\n{BODY}\n</|tool_call|> Done."
REWRITTEN = f"Sure. <ojlk>{BODY}</dfsd> Done."
CALL = {"name": "list_files", "arguments": {"path": "src"}}


@dataclasses.dataclass(frozen=True)
class FrozenChunk:
    content: str | None
    tool_calls: list[Any] | None = None
    model: str = "m"


@dataclasses.dataclass
class BareChunk:
    content: str | None


class ModelChunk(pydantic.BaseModel):
    content: str | None = None
    tool_calls: list[Any] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SlottedChunk:
    content: str | None


class TupleChunk(NamedTuple):
    content: str | None
    tool_calls: list[Any] | None = None


class BareTupleChunk(NamedTuple):
    content: str | None


class ReadOnlyChunk:
    def __init__(self, content: str) -> None:
        self._content = content
        self.model = "m"

    @property
    def content(self) -> str:
        return self._content

    @property
    def tool_calls(self) -> None:
        return None


class SlottedReadOnlyChunk:
    __slots__ = ("_content",)

    def __init__(self, content: str) -> None:
        self._content = content

    @property
    def content(self) -> str:
        return self._content


class ReadOnlyModelChunk(pydantic.BaseModel):
    text: str

    @property
    def content(self) -> str:
        return self.text


class UncopyableChunk:
    def __init__(self, content: str) -> None:
        self.content = content
        self.model = "m"

    def shout(self) -> str:
        return self.content.upper()

    def __copy__(self) -> Any:
        raise TypeError("no copies")


def read_only_model_chunk(content: str) -> Any:
    return ReadOnlyModelChunk(text=content)


def model_chunk(content: str) -> Any:
    return ModelChunk(content=content)


def namespace(content: str) -> Any:
    return SimpleNamespace(content=content)


# Classes that allow a copy with other content, and classes that do not.
OPEN_KINDS = [FrozenChunk, BareChunk, SlottedChunk, TupleChunk, BareTupleChunk, model_chunk, namespace, str]
CLOSED_KINDS = [ReadOnlyChunk, SlottedReadOnlyChunk, UncopyableChunk, read_only_model_chunk]
KINDS = [*OPEN_KINDS, *CLOSED_KINDS]


def cut(text: str, size: int, kind: Any = str) -> list[Any]:
    return [kind(text[start : start + size]) for start in range(0, len(text), size)]


def text_of(chunks: Iterable[Any]) -> str:
    return "".join((chunk if isinstance(chunk, str) else chunk.content) or "" for chunk in chunks)


def calls_in(chunks: Iterable[Any]) -> list[dict[str, Any]]:
    found = [one for chunk in chunks for one in getattr(chunk, "tool_calls", None) or ()]
    assert all(set(one) == {"name", "arguments", "call_id"} and one["call_id"] for one in found)
    return [{"name": one["name"], "arguments": one["arguments"]} for one in found]


# -- construction --


@pytest.mark.parametrize(
    ("form", "start", "end"),
    [
        ("ojlk,dfsd", "ojlk", "dfsd"),
        (" ojlk , dfsd ", "ojlk", "dfsd"),
        ("custom_tool", "<custom_tool>", "</custom_tool>"),
        ("[custom_tool]", "[custom_tool]", "[/custom_tool]"),
        (ToolCallTags("a", "b"), "a", "b"),
        (ToolCallTagRewriter("a,b"), "a", "b"),
    ],
)
def test_forms_of_tags(form: Any, start: str, end: str) -> None:
    processor = UnifiedStreamProcessor("m", tool_call_tags=form)
    assert processor.tag_rewriter is not None
    assert processor.tag_rewriter.target_tags.start_tag == start
    assert processor.tag_rewriter.target_tags.end_tag == end
    assert processor.tag_rewrite_buffer == ""
    if isinstance(form, ToolCallTagRewriter):
        assert processor.tag_rewriter is form


def test_no_tags() -> None:
    processor = UnifiedStreamProcessor("m")
    assert processor.tag_rewriter is None
    assert processor.execute_tools is True


@pytest.mark.parametrize("bad", [5, "a,b,c", "{,}", object(), ["a", "b"]])
def test_bad_tags_are_logged_and_the_stream_passes(bad: Any, caplog: pytest.LogCaptureFixture) -> None:
    processor = UnifiedStreamProcessor("m", tool_call_tags=bad)
    assert processor.tag_rewriter is None
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "".join(processor.process_stream(cut(TEXT, 4))) == TEXT


# -- with tags: rewritten, nothing taken out --


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_rewritten(kind: Any, size: int) -> None:
    processor = UnifiedStreamProcessor("m", tool_call_tags="ojlk,dfsd")
    chunks = list(processor.process_stream(cut(TEXT, size, kind)))
    assert text_of(chunks) == REWRITTEN
    assert calls_in(chunks) == []
    assert processor.tag_rewrite_buffer == ""


@pytest.mark.parametrize("kind", OPEN_KINDS)
def test_a_rewritten_chunk_is_of_the_same_class(kind: Any) -> None:
    given = cut(TEXT, 3, kind)
    for chunk in UnifiedStreamProcessor("m", tool_call_tags="ojlk,dfsd").process_stream(given):
        assert isinstance(chunk, type(given[0]))


def test_the_last_text_repeats_no_calls_of_the_chunk_before() -> None:
    own = [{"name": "own", "arguments": {}, "call_id": "1"}]
    chunks = list(UnifiedStreamProcessor("m", tool_call_tags="a,b").process_stream([FrozenChunk("so <tool_c", own)]))
    assert chunks == [FrozenChunk("so ", own), FrozenChunk("<tool_c")]


def test_the_buffer_holds_what_is_undecided() -> None:
    processor = UnifiedStreamProcessor("m", tool_call_tags="ojlk,dfsd")
    stream = processor.process_stream(iter(["so <tool", "_x"]))
    assert next(stream) == "so "
    assert processor.tag_rewrite_buffer == "<tool"
    assert "".join(stream) == "<tool_x"


def test_chunks_without_calls_pass_as_the_same_objects() -> None:
    given = [FrozenChunk("Hello"), FrozenChunk(None), FrozenChunk(" world")]
    for tags in (None, "ojlk,dfsd"):
        chunks = list(UnifiedStreamProcessor("m", tool_call_tags=tags).process_stream(given))
        assert all(one is other for one, other in zip(chunks, given, strict=True))


def test_two_streams_at_once_on_one_processor() -> None:
    processor = UnifiedStreamProcessor("m", tool_call_tags="ojlk,dfsd")
    streams = [processor.process_stream(cut(TEXT, 5)), processor.process_stream(cut(f"b {TEXT}", 5))]
    texts = ["", ""]
    for _ in range(40):
        for number, stream in enumerate(streams):
            texts[number] += next(stream, "")
    assert texts == [REWRITTEN, f"b {REWRITTEN}"]


# -- without: calls taken out --


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_taken_out(kind: Any, size: int) -> None:
    chunks = list(UnifiedStreamProcessor("m", execute_tools=False).process_stream(cut(TEXT, size, kind)))
    assert text_of(chunks) == "Sure.  Done."
    assert calls_in(chunks) == [CALL]


def test_a_call_arrives_as_soon_as_it_is_complete() -> None:
    stream = UnifiedStreamProcessor("m").process_stream(iter([f"<tool_call>{BODY}", "</tool_call>", "more", "text"]))
    assert calls_in([next(stream)]) == [CALL]


def test_a_call_that_is_cut_off_and_almost_json() -> None:
    chunks = list(UnifiedStreamProcessor("m").process_stream(["<tool_call>{'name': 'f', 'arguments': {'a': True,}"]))
    assert calls_in(chunks) == [{"name": "f", "arguments": {"a": True}}]


def test_the_beginning_of_a_marker_at_the_end_is_text() -> None:
    assert text_of(UnifiedStreamProcessor("m").process_stream(["so <tool_", "ca"])) == "so <tool_ca"


def test_calls_of_the_provider_pass() -> None:
    own = [{"name": "own", "arguments": {}, "call_id": "1"}]
    given = [FrozenChunk(None, own), FrozenChunk("", own)]
    assert list(UnifiedStreamProcessor("m").process_stream(given)) == given


@pytest.mark.parametrize("kind", [ReadOnlyChunk, UncopyableChunk])
def test_a_chunk_that_cannot_be_copied_keeps_its_attributes(kind: Any) -> None:
    chunks = list(UnifiedStreamProcessor("m").process_stream(cut(TEXT, 6, kind)))
    assert {chunk.model for chunk in chunks} == {"m"}
    assert not any(hasattr(chunk, "unknown") for chunk in chunks)


def test_a_chunk_that_cannot_be_copied_keeps_its_methods() -> None:
    (chunk,) = UnifiedStreamProcessor("m", tool_call_tags="ojlk,dfsd").process_stream([UncopyableChunk(TEXT)])
    assert (chunk.content, chunk.shout()) == (REWRITTEN, TEXT.upper())


# -- execution --


@pytest.mark.parametrize("kind", KINDS)
def test_executed_and_reported(kind: Any) -> None:
    def list_files(path: str) -> str:
        return f"files of {path}"

    chunks = list(UnifiedStreamProcessor("m").process_stream(cut(TEXT, 6, kind), tools=[list_files]))
    (results,) = [chunk.tool_results for chunk in chunks if getattr(chunk, "tool_results", None)]
    (result,) = results
    assert (result["name"], result["output"], result["error"]) == ("list_files", "files of src", None)
    assert "files of src" in text_of(chunks)
    assert calls_in(chunks) == [CALL]


def test_a_tool_that_raises_is_reported() -> None:
    def list_files(path: str) -> str:
        raise OSError(f"no {path}")

    chunks = list(
        UnifiedStreamProcessor("m").process_stream(cut(TEXT, 6, FrozenChunk), tools={"list_files": list_files})
    )
    assert "OSError: no src" in text_of(chunks)
    assert text_of(chunks).endswith(" Done.")


def test_not_executed_unless_wanted() -> None:
    def list_files(path: str) -> str:
        raise AssertionError(path)

    processor = UnifiedStreamProcessor("m", execute_tools=False)
    assert calls_in(processor.process_stream(cut(TEXT, 6), tools=[list_files])) == [CALL]


# -- chunks of an SDK --


def sdk_stream(text: str, size: int) -> list[Any]:
    return [sdk_chunk(one) for one in [*(says(piece) for piece in cut(text, size)), ends("stop")]]


def text_in_deltas(chunks: Iterable[Any]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_sdk_chunks(size: int) -> None:
    rewritten = list(UnifiedStreamProcessor("m", tool_call_tags="ojlk,dfsd").process_stream(sdk_stream(TEXT, size)))
    assert text_in_deltas(rewritten) == REWRITTEN
    taken = list(UnifiedStreamProcessor("m").process_stream(sdk_stream(TEXT, size)))
    assert text_in_deltas(taken) == "Sure.  Done."
    assert calls_in(taken) == [CALL]
    assert {type(chunk).__name__ for chunk in [*rewritten, *taken]} == {"ChatCompletionChunk"}


def test_sdk_chunks_to_real_calls() -> None:
    chunks = list(UnifiedStreamProcessor("m", tool_call_tags="openai").process_stream(sdk_stream(TEXT, 4)))
    deltas = [delta for chunk in chunks for delta in chunk.choices[0].delta.tool_calls or ()]
    assert deltas[0].function.name == "list_files"
    assert json.loads("".join(delta.function.arguments for delta in deltas)) == {"path": "src"}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_sdk_chunks_cut_off() -> None:
    given = sdk_stream("so <tool_ca", 3)[:-1]
    assert text_in_deltas(UnifiedStreamProcessor("m").process_stream(given)) == "so <tool_ca"


def test_sdk_chunks_of_several_choices_cut_off() -> None:
    given = [sdk_chunk(says("A <tool_c")), sdk_chunk(says("B <fun", choice=1)), sdk_chunk(says("C", choice=2))]
    chunks = list(UnifiedStreamProcessor("m").process_stream(given))
    texts = ["".join(c.delta.content for one in chunks for c in one.choices if c.index == index) for index in range(3)]
    assert texts == ["A <tool_c", "B <fun", "C"]
    assert [[choice.index for choice in chunk.choices] for chunk in chunks] == [[0], [1], [2], [0], [1]]


def test_a_call_left_open_by_a_choice_that_the_last_chunk_lacks() -> None:
    given = [sdk_chunk(says(f"<tool_call>{BODY[:-1]}")), sdk_chunk(says("B", choice=1))]
    chunks = list(UnifiedStreamProcessor("m").process_stream(given))
    assert calls_in(chunks) == [CALL]
    assert chunks[-1].choices[0].index == 0


def test_the_last_chunk_repeats_nothing_but_the_text_held_back() -> None:
    given = sdk_chunk(says(f"<tool_call>{BODY}</tool_call> <tool_c") | {"usage": {"total_tokens": 1}})
    given.choices[0].delta.role = "assistant"
    chunks = list(UnifiedStreamProcessor("m").process_stream([given]))
    assert text_in_deltas(chunks) == " <tool_c"
    assert calls_in(chunks) == [CALL]
    assert (chunks[-1].usage, chunks[-1].choices[0].delta.role) == (None, None)


def test_a_last_chunk_without_a_delta_loses_no_text() -> None:
    end = sdk_chunk(ends("stop"))
    end.choices[0].delta = None
    chunks = list(UnifiedStreamProcessor("m").process_stream([sdk_chunk(says("so <tool_c")), end]))
    assert chunks[1] is end
    assert text_in_deltas([chunks[0], *chunks[2:]]) == "so <tool_c"


def test_tool_calls_of_an_sdk_chunk_pass() -> None:
    (chunk,) = UnifiedStreamProcessor("m").process_stream([sdk_chunk(calls(delta_of(0, "call_1", "f", "{}")))])
    assert chunk.choices[0].delta.tool_calls[0].function.name == "f"


# -- asynchronous --


async def slowly(chunks: Iterable[Any]) -> AsyncIterator[Any]:
    for chunk in chunks:
        yield chunk


async def test_asynchronous_streams() -> None:
    processor = UnifiedStreamProcessor("m", tool_call_tags="ojlk,dfsd")
    assert "".join([chunk async for chunk in processor.aprocess_stream(slowly(cut(TEXT, 3)))]) == REWRITTEN


async def test_asynchronous_tools() -> None:
    async def list_files(path: str) -> str:
        return f"files of {path}"

    processor = UnifiedStreamProcessor("m")
    assert "aprocess_stream" in text_of(processor.process_stream(cut(TEXT, 3), tools=[list_files]))
    chunks = [chunk async for chunk in processor.aprocess_stream(slowly(cut(TEXT, 3)), tools=[list_files])]
    assert "files of src" in text_of(chunks)
