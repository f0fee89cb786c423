"""Scenarios: callers that take a raw response, or its bytes."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard

from otel_llm.demo.scripted_server import (
    Answer,
    Drop,
    data,
    error_event,
)
from tests.helpers.breaking.calling import ANSWER, CALLING, streamed
from tests.helpers.breaking.world import Run, Scenario
from tests.helpers.callers import REQUEST


def raw(run: Run) -> None:
    run.answer(CALLING, [Answer(ANSWER)])
    create = run.client.chat.completions.with_raw_response.create
    answer = create(**REQUEST, stream=True)
    run.see(answer.headers["content-type"])
    stream = answer.parse()
    run.see(stream is answer.parse())
    run.see_all(stream)
    run.see(create(**REQUEST).parse())


def raw_async(run: Run) -> None:
    async def play() -> None:
        create = run.async_client.chat.completions.with_raw_response.create
        await run.see_all_async((await create(**REQUEST, stream=True)).parse())
        run.see((await create(**REQUEST)).parse())

    run.answer(CALLING, [Answer(ANSWER)])
    run.wait(play())


def streaming_response(run: Run) -> None:
    ways: list[Callable[[Any], Any]] = [
        lambda raw: raw.read(),
        lambda raw: raw.text(),
        lambda raw: raw.json(),
        lambda raw: raw.parse(),
    ]
    run.answer(*([Answer(ANSWER)] for _ in ways), [Answer(b"no JSON")])
    for way in (*ways, ways[0]):
        with run.client.chat.completions.with_streaming_response.create(**REQUEST) as raw:
            run.see(way(raw))


def streaming_response_async(run: Run) -> None:
    ways: list[Callable[[Any], Any]] = [lambda raw: raw.read(), lambda raw: raw.parse()]

    async def play() -> None:
        for way in ways:
            async with run.async_client.chat.completions.with_streaming_response.create(**REQUEST) as raw:
                run.see(await way(raw))

    run.answer(*([Answer(ANSWER)] for _ in ways))
    run.wait(play())


def taken_as_bytes(run: Run) -> None:
    run.answer(CALLING)
    with run.client.chat.completions.with_streaming_response.create(**REQUEST, stream=True) as raw:
        run.see(b"".join(raw.iter_bytes()))


def taken_as_lines_async(run: Run) -> None:
    async def play() -> None:
        async with run.async_client.chat.completions.with_streaming_response.create(**REQUEST, stream=True) as raw:
            async for line in raw.iter_lines():
                run.see(line)

    run.answer(CALLING)
    run.wait(play())


def taken_from_the_response(run: Run) -> None:
    run.answer(CALLING)
    answer = streamed(run).response
    run.see(b"".join(answer.iter_bytes()))


def taken_in_part(run: Run) -> None:
    run.answer([*CALLING[:6], Drop()], CALLING)
    create = run.client.chat.completions.with_streaming_response.create
    with run.see_error(), create(**REQUEST, stream=True) as raw:
        for piece in raw.iter_bytes():
            run.see(len(piece) > 0)
    with create(**REQUEST, stream=True) as raw:
        run.see(len(next(raw.iter_bytes())) > 0)


def whole_as_bytes(run: Run) -> None:
    run.answer([Answer(ANSWER)])
    with run.client.chat.completions.with_streaming_response.create(**REQUEST) as raw:
        run.see(b"".join(raw.iter_bytes()))


def error_as_bytes(run: Run) -> None:
    run.answer([data(error_event("overloaded"))], [b"data: no JSON\n\n"])
    for _ in range(2):
        with run.client.chat.completions.with_streaming_response.create(**REQUEST, stream=True) as raw:
            run.see(b"".join(raw.iter_bytes()))


def compressed(encoding: str, compress: Callable[[bytes], bytes]) -> Callable[[Run], None]:
    body = b"".join(step if isinstance(step, bytes) else data(step) for step in CALLING)
    headers = {"content-type": "text/event-stream", "content-encoding": encoding}

    def play(run: Run) -> None:
        run.answer([Answer(compress(body), headers=headers)])
        with run.client.chat.completions.with_streaming_response.create(**REQUEST, stream=True) as raw:
            run.see(b"".join(raw.iter_bytes()))

    return play


def no_response_to_parse(run: Run) -> None:
    run.answer([Answer(b"{")], [Answer(b"{")])
    raw = run.client.chat.completions.with_raw_response.create(**REQUEST)
    with run.see_error():
        run.see(type(raw.parse()).__name__)
    with run.see_error(), run.client.chat.completions.with_streaming_response.create(**REQUEST) as streaming:
        run.see(type(streaming.parse()).__name__)


def read_by_zstandard(run: Run) -> None:
    """Where no other package reads it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("backports.zstd", "compression.zstd"):
            patch.setitem(sys.modules, name, None)
        compressed("zstd", zstandard.compress)(run)


SCENARIOS = [
    *(
        Scenario.of(play)
        for play in (
            raw,
            raw_async,
            streaming_response,
            streaming_response_async,
            taken_as_bytes,
            taken_as_lines_async,
            taken_from_the_response,
            taken_in_part,
            whole_as_bytes,
            error_as_bytes,
            no_response_to_parse,
            read_by_zstandard,
        )
    ),
    Scenario("gzip", compressed("gzip", gzip.compress)),
    Scenario("deflate", compressed("deflate", zlib.compress)),
    Scenario("br", compressed("br", brotli.compress)),
    Scenario("zstd", compressed("zstd", zstandard.compress)),
]
