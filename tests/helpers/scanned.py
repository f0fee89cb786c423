"""Texts read by the scanner, the rewriter and the detector, whole or in chunks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from otel_llm.tags import IncrementalToolDetector, ToolCallTagRewriter, ToolCallTags
from otel_llm.tags.declared import declared_tools
from otel_llm.tags.pieces import Piece
from otel_llm.tags.scanner import Scanner
from tests.helpers.written_calls import Call

TAGS = ToolCallTags("ojlk", "dfsd")
WRITTEN_ANEW = ToolCallTags("ojlk", "dfsd", preserve_json=False)
OPENING, CLOSING = TAGS.opening, TAGS.closing


@dataclass
class Seen:
    """All pieces of one call, joined."""

    format: str
    verbatim: bool
    name: str = ""
    arguments: str = ""
    body: str = ""
    complete: bool = False
    understood: bool = False

    @property
    def call(self) -> Call:
        return Call(self.name, json.loads(self.arguments or "{}"))


@dataclass
class Scan:
    """A scanned text. `parts`: texts outside of calls, and numbers of calls, in order.

    `thoughts` and `answer` are what its `text` is without marks.
    """

    text: str = ""
    thoughts: list[str] = field(default_factory=list)
    answer: str = ""
    calls: list[Seen] = field(default_factory=list)
    parts: list[str | int] = field(default_factory=list)


def put_together(pieces: Iterable[Piece]) -> Scan:
    seen = Scan()
    for kind, text, call in pieces:
        if call is None:
            assert kind in {"text", "thoughts_begin", "thoughts", "thoughts_end", "frame"}
            seen.text += text
            if kind == "thoughts_begin":
                seen.thoughts.append("")
            elif kind == "thoughts":
                seen.thoughts[-1] += text
            elif kind == "text":
                seen.answer += text
            if seen.parts and isinstance(seen.parts[-1], str):
                seen.parts[-1] += text
            else:
                seen.parts.append(text)
        elif kind == "begin":
            assert call.number == len(seen.calls)
            seen.parts.append(call.number)
            seen.calls.append(Seen(call.format, call.verbatim))
        else:
            one = seen.calls[call.number]
            assert call.number == len(seen.calls) - 1
            assert not one.complete
            if kind == "name":
                assert not one.name
                one.name = text
            elif kind == "arguments":
                assert one.name
                one.arguments += text
            elif kind == "body":
                one.body += text
            else:
                one.complete, one.understood = call.complete, call.well_formed
    return seen


def scan(chunks: str | Sequence[str], tools: Any = None, inside: Sequence[str] = ()) -> Scan:
    scanner = Scanner(declared_tools(tools), inside)
    pieces = [piece for chunk in as_chunks(chunks) for piece in scanner.feed(chunk)]
    return put_together([*pieces, *scanner.flush()])


def rewrite(chunks: str | Sequence[str], tools: Any = None, tags: ToolCallTags | str = TAGS) -> str:
    stream = ToolCallTagRewriter(tags, tools=tools).stream()
    return "".join(map(stream.feed, as_chunks(chunks))) + stream.flush()


def rewrite_with_buffer(chunks: str | Sequence[str], tools: Any = None, tags: ToolCallTags | str = TAGS) -> str:
    """The same with `rewrite_streaming_chunk`."""
    rewriter = ToolCallTagRewriter(tags, tools=tools)
    outputs, buffer = [], ""
    for chunk in as_chunks(chunks):
        output, buffer = rewriter.rewrite_streaming_chunk(chunk, buffer)
        outputs.append(output)
    return "".join(outputs) + buffer


def detect(chunks: str | Sequence[str], tools: Any = None) -> tuple[str, list[Call]]:
    """The text to show, and the calls taken out of it."""
    detector = IncrementalToolDetector("any", tools=tools)
    shown, calls = "", []
    for chunk in as_chunks(chunks):
        text, found = detector.process_chunk(chunk)
        shown += text
        calls += found
    calls += detector.finalize()
    assert len({call.call_id for call in calls}) == len(calls)
    assert all(call.call_id for call in calls)
    return shown + detector.text_left, [Call(call.name, call.arguments) for call in calls]


def as_chunks(chunks: str | Sequence[str]) -> Sequence[str]:
    return [chunks] if isinstance(chunks, str) else chunks


def cut_up(text: str, sizes: Sequence[int]) -> list[str]:
    """Cut into chunks of these sizes, over and over."""
    chunks = []
    place = turn = 0
    while place < len(text):
        size = sizes[turn % len(sizes)]
        chunks.append(text[place : place + size])
        place, turn = place + size, turn + 1
    return chunks


# Sizes of chunks: single characters, tokens, and many tokens at once.
cuts = st.just([1]) | st.lists(st.integers(1, 12), min_size=1, max_size=8) | st.lists(st.integers(1, 80), min_size=1)


# Without any character that begins a marker, a bracket or a code span.
prose = st.text(st.sampled_from("abcXYZ tool.,;:!?'()-=/0123é\n\n\r\t\x00\ud83d\U0001f600｜\u2028"), max_size=30)


def exact(calls: Iterable[Call]) -> list[str]:
    """The calls as JSON, to be compared with their types: 1 is neither 1.0 nor True."""
    return [json.dumps([call.name, call.arguments], sort_keys=True) for call in calls]
