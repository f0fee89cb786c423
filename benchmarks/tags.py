"""Measures one rewriter of tool-call tags in this process. Writes figures as JSON.

`time`: the shortest time of each text in nanoseconds. `behaviour`: how many chunks pass without a delay, and how many
outputs one text has. `memory`: the peak memory of otel-llm during a call of 1 MB, in bytes.
"""

from __future__ import annotations

import argparse
import gc
import json
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, cycle
from random import Random
from time import perf_counter, perf_counter_ns
from typing import Any

from benchmarks.figures import extrapolated, tags_key
from benchmarks.libraries import OURS, REWRITERS

CHUNK = 5
"""Characters in a chunk."""

PROSE = (1000, 10_000)
"""Chunks in the plain texts."""

CALLS = (1000, 10_000, 100_000, 1_000_000)
"""Characters in the arguments of a call. A call with almost none is measured too, and subtracted."""

KINDS_OF_CALLS = ("json", "xml")

_TAGS = ("ojlk", "dfsd")
# Seconds. Longer runs are left out, and their time is extrapolated from shorter texts.
_LONGEST = 5.0
_CUTS = 200
_OPENING, _CLOSING = '{"path": "notes.txt", "text": "', '"}'

_PARAGRAPHS = """\
The list has three parts, and each of them begins with a verb. Where nothing is known of a part yet, it stays empty; \
that is no mistake. I would look at the second one first: it's the longest, and the others depend on it.
Nobody reads the "notes" that stand below it (there are some twenty), but they say when each part was changed, and by \
whom. So keep them. Should one be wrong, say so in a line of its own - 10% of them are, I'd guess.
Then there is the question of cost: what is cheap in the morning may be dear at night! Is that worth a table? Perhaps; \
a sentence would do as well.""".splitlines()
_TWO_CALLS = (
    "I'll look at both cities.\n\n"
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo", "days": [1, 2]}}\n</tool_call>\n'
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bergen <west>"}}\n</tool_call>\nThat is all.'
)

Read = Callable[[Iterable[str]], Iterator[str]]
"""Rewrites a text as a stream: yields the output for each chunk, then the rest."""


def _ours() -> Read:
    from otel_llm.tags.rewriter import ToolCallTagRewriter

    rewriter = ToolCallTagRewriter(",".join(_TAGS))

    def read(chunks: Iterable[str]) -> Iterator[str]:
        stream = rewriter.stream()
        feed = stream.feed
        for chunk in chunks:
            yield feed(chunk)
        yield stream.flush()

    return read


def _abstractcore() -> Read:
    from abstractcore.tools.tag_rewriter import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
        ToolCallTagRewriter,
        ToolCallTags,
    )

    rewriter = ToolCallTagRewriter(ToolCallTags(*_TAGS))

    def read(chunks: Iterable[str]) -> Iterator[str]:
        # As abstractcore's providers call it, except that they drop the last buffer.
        buffer = ""
        for chunk in chunks:
            rewritten, buffer = rewriter.rewrite_streaming_chunk(chunk, buffer)
            yield rewritten
        yield buffer

    return read


def _reader(name: str) -> Read:
    return _ours() if name == OURS.name else _abstractcore()


# Texts ----------------------------------------------------------------------------------------------------


def _cut(text: str) -> list[str]:
    return [text[start : start + CHUNK] for start in range(0, len(text), CHUNK)]


def _prose(length: int) -> str:
    paragraphs: list[str] = []
    rest = length
    for paragraph in cycle(_PARAGRAPHS):
        paragraphs.append(paragraph)
        rest -= len(paragraph) + 2
        if rest <= 0:
            return "\n\n".join(paragraphs)[:length].ljust(length, ".")
    raise AssertionError


def arguments(length: int) -> str:
    """JSON with `length` characters, some of them escaped, or the shortest possible JSON if that is longer."""
    room = max(0, length - len(_OPENING) - len(_CLOSING))
    text = json.dumps(_prose(room))[1:-1][:room].rstrip("\\")
    return _OPENING + text.ljust(room, ".") + _CLOSING


def json_call(length: int) -> Iterator[str]:
    """Markers are not cut, as if they were special tokens: abstractcore does not recognize a marker that is cut."""
    yield "<tool_call>"
    body = f'{{"name": "write_file", "arguments": {arguments(length)}}}'
    for start in range(0, len(body), CHUNK):
        yield body[start : start + CHUNK]
    yield "</tool_call>"


def xml_call(length: int) -> Iterator[str]:
    """As Qwen3-Coder writes it. Its markers are cut, too."""
    text = (
        "<tool_call>\n<function=write_file>\n<parameter=path>\nnotes.txt\n</parameter>\n<parameter=text>\n"
        f"{_prose(max(0, length - len(_OPENING) - len(_CLOSING)))}\n</parameter>\n</function>\n</tool_call>"
    )
    for start in range(0, len(text), CHUNK):
        yield text[start : start + CHUNK]


# Figures --------------------------------------------------------------------------------------------------


def _check(name: str, read: Read) -> None:
    """Raises RuntimeError unless the rewriter does what is to be timed."""
    prose = _prose(1000)
    call = "".join(read(json_call(1000)))
    body = f'{{"name": "write_file", "arguments": {arguments(1000)}}}'
    if "".join(read(_cut(prose))) != prose or call != f"<{_TAGS[0]}>{body}</{_TAGS[1]}>":
        raise RuntimeError(f"{name} does not rewrite the texts as expected")
    if name != OURS.name:
        return
    call = "".join(read(xml_call(1000)))
    written = json.loads(call.removeprefix(f"<{_TAGS[0]}>").removesuffix(f"</{_TAGS[1]}>"))
    if written["arguments"]["path"] != "notes.txt" or len(written["arguments"]["text"]) < 900:
        raise RuntimeError("the XML call is not rewritten as expected")


def _run(read: Read, chunks: Iterable[str]) -> int:
    began = perf_counter_ns()
    for _ in read(chunks):
        pass
    return perf_counter_ns() - began


def time_texts(name: str, seconds: float) -> dict[str, Any]:
    """The shortest time of each text in ns, its number of chunks, and the texts left out with their estimated time."""
    read = _reader(name)
    _check(name, read)
    texts = {tags_key("prose", chunks): _cut(_prose(chunks * CHUNK)) for chunks in PROSE}
    best = {key: _run(read, chunks) for key, chunks in texts.items()}
    left_out: dict[str, float] = {}
    for kind, call in zip(KINDS_OF_CALLS, (json_call, xml_call), strict=True):
        if kind == "xml" and name != OURS.name:
            continue
        known: list[tuple[int, int]] = []
        for length in (0, *CALLS):
            key = tags_key(kind, length)
            chunks = list(call(length))
            expected = extrapolated(known, len(chunks))
            if expected > _LONGEST * 1e9:
                left_out[key] = expected
                continue
            texts[key] = chunks
            best[key] = _run(read, chunks)
            known.append((len(chunks), best[key]))
    # Exclude the prebuilt chunks from garbage collection.
    gc.collect()
    gc.freeze()
    until = perf_counter() + seconds
    # Take turns, so that a quiet moment of the machine benefits all texts.
    while perf_counter() < until:
        for key, chunks in texts.items():
            # Short texts run several times a turn.
            for _ in range(max(1, 10_000 // len(chunks))):
                best[key] = min(best[key], _run(read, chunks))
                if perf_counter() > until:
                    break
    return {"times": best, "chunks": {key: len(chunks) for key, chunks in texts.items()}, "left_out": left_out}


def behaviour(name: str) -> dict[str, int]:
    read = _reader(name)
    openings = [sentence for paragraph in _PARAGRAPHS for sentence in (paragraph, *paragraph.split(". ")[1:])]
    prose = _cut(_prose(PROSE[0] * CHUNK))
    outputs = {"".join(read(_at_random(_TWO_CALLS, Random(seed)))) for seed in range(_CUTS)}
    return {
        "openings": len(openings),
        "openings_at_once": sum(next(read(_cut(text))) == text[:CHUNK] for text in openings),
        "chunks": len(prose),
        "chunks_at_once": sum(map(str.__eq__, prose, read(prose))),
        "cuts": _CUTS,
        "outputs": len(outputs),
    }


def _at_random(text: str, random: Random) -> Iterator[str]:
    longest = random.randint(1, 20)
    start = 0
    while start < len(text):
        end = start + random.randint(1, longest)
        yield text[start:end]
        start = end


def memory() -> dict[str, int]:
    """The peak for a call of each kind, without the text: its chunks are freed as soon as they are read."""
    read = _ours()
    size = CALLS[-1]
    peaks = {"size": size}
    for kind, call in zip(KINDS_OF_CALLS, (json_call, xml_call), strict=True):
        for _ in read(call(CALLS[0])):
            pass
        chunks = call(size)
        gc.collect()
        # The generator builds the whole text with its first chunk, which must not count.
        first = next(chunks), next(chunks)
        tracemalloc.start()
        for _ in read(chain(first, chunks)):
            pass
        peaks[kind] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peaks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=[library.name for library in REWRITERS])
    parser.add_argument("what", choices=["time", "behaviour", "memory"])
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    if options.what == "time":
        figures = time_texts(options.library, options.seconds)
    elif options.what == "behaviour":
        figures = behaviour(options.library)
    else:
        figures = memory()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
