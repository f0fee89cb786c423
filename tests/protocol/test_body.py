"""Response bodies in pieces: a stream of events or one JSON document, whatever was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_llm.protocol.body import ResponseBody
from otel_llm.protocol.errors import UnreadableError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MEGABYTE = 1_048_576
PADDING = 65_536


class Read(NamedTuple):
    """What a body was read as: events, each with its offset, or a document."""

    events: list[tuple[bytes, int]]
    document: bytes | None


def read(pieces: Iterable[bytes], *, is_document: bool = False) -> Read:
    body = ResponseBody(is_document=is_document)
    events = [event for piece in pieces for event in body.feed(piece)]
    events += body.finish()
    return Read([(event.data, event.offset) for event in events], body.document)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


# -- a stream or a document --


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"data: 1\n\ndata: 2\n\n", [b"1", b"2"]),
        (b"data:1\r\n\r\ndata:2\r\n\r\n", [b"1", b"2"]),
        (b"data: 1\r\rdata: 2\r\r", [b"1", b"2"]),
        (b": ping\n\nevent: x\nid: 7\ndata: 1\n\n", [b"1"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data\n\n", [b""]),
        (b"data: {}\n\n[1]\n\n", [b"{}"]),
        (b"data: 1", [b"1"]),
        (b"data: 1\n", [b"1"]),
        (b"data: 1\r", [b"1"]),
        (b"<html></html>", []),
        (b'"text"', []),
    ],
    ids=repr,
)
def test_a_stream(body: bytes, events: list[bytes]) -> None:
    found = read([body])
    assert [data for data, _ in found.events] == events
    assert found.document is None


@pytest.mark.parametrize("document", [b"{}", b'{"error": "no"}', b"[1, 2]", b"{", b'\n \t{"a": 1}\n'], ids=repr)
def test_a_json_answer_where_a_stream_was_asked_for(document: bytes) -> None:
    assert read([document]) == read([document], is_document=True) == Read([], document)


@pytest.mark.parametrize("nothing", [b"", b"\n\n", b" \r\n", BYTE_ORDER_MARK, BYTE_ORDER_MARK[:2]], ids=repr)
def test_a_body_without_a_first_character_is_neither(nothing: bytes) -> None:
    assert read([nothing]) == Read([], None)


def test_what_is_known_to_be_a_document_is_one_whatever_it_begins_with() -> None:
    assert read([b"data: 1\n\n"], is_document=True) == Read([], b"data: 1\n\n")
    assert read([], is_document=True) == Read([], b"")


def test_a_byte_order_mark_is_not_part_of_the_body() -> None:
    assert read([BYTE_ORDER_MARK + b"data: 1\n\n"]).events == [(b"1", 3)]
    assert read([BYTE_ORDER_MARK + b"{}"]) == read([BYTE_ORDER_MARK + b"{}"], is_document=True) == Read([], b"{}")


def test_offsets_count_the_padding_before_the_first_event() -> None:
    padding = b"\n" * 1000
    found = read([*cut(padding, 7), b"data: 1\n\n", b": ping\n\n", b"data: 2\n\n"])
    assert found.events == [(b"1", 1000), (b"2", 1017)]


def test_events_come_out_as_soon_as_they_are_complete() -> None:
    body = ResponseBody()
    assert list(body.feed(b"data: 1\n")) == []
    assert [event.data for event in body.feed(b"\ndata: 2")] == [b"1"]
    assert list(body.feed(b"\n")) == []
    assert [event.data for event in body.finish()] == [b"2"]


# -- limits --


@pytest.mark.parametrize("size", [PADDING, 1_000])
def test_a_document_behind_too_much_white_space_is_a_stream(size: int) -> None:
    assert read(cut(b" " * (PADDING - 1) + b"{}", size)).document is not None
    assert read(cut(b" " * PADDING + b"{}", size)) == Read([], None)


def test_a_stream_may_begin_with_any_number_of_line_feeds() -> None:
    body = ResponseBody()
    for _ in range(PADDING // 64 + 10):
        assert list(body.feed(b"\n" * 64)) == []
    assert [event.data for event in body.feed(b"data: 1\n\n")] == [b"1"]


@pytest.mark.parametrize("size", [MEGABYTE, 64 * MEGABYTE])
@pytest.mark.parametrize(
    ("before", "filler", "fits"),
    [
        (b'{"a":"', b"x", 32 * MEGABYTE),
        (b"data:", b"x", 16 * MEGABYTE),
        (b":", b"x", 16 * MEGABYTE),
        (b"", b"data: " + b"x" * 4090 + b"\n", 15 * MEGABYTE),
    ],
    ids=["document", "data", "comment", "many-lines"],
)
def test_what_is_too_long_cannot_be_read(before: bytes, filler: bytes, fits: int, size: int) -> None:
    whole = before + filler * (fits // len(filler))
    read(cut(whole[:fits] + b"\n\n" * (before[:1] != b"{"), size))
    with pytest.raises(UnreadableError, match=r"is longer than \d\d MB"):
        read(cut(whole + filler * (28 * MEGABYTE // len(filler)) + b"\n\n", size))


@pytest.mark.parametrize("line", [b"data:", b":"], ids=["data", "comment"])
def test_nothing_comes_of_a_body_that_could_not_be_read(line: bytes) -> None:
    body = ResponseBody()
    with pytest.raises(UnreadableError):
        list(body.feed(b"data: 1\n" + line + b"x" * 17 * MEGABYTE))
    assert list(body.finish()) == []


# -- any cut of the bytes --

lines = st.sampled_from(
    [
        b"data: {}",
        b"data:[DONE]",
        b"data",
        b"data:",
        b"data: a b",
        b": comment",
        b"event: x",
        b"id",
        b"",
        b"",
        b" ",
        b'{"error": 1}',
        BYTE_ORDER_MARK,
        b"data: \xc3\xa9\xf0\x9f\x99\x82",
    ]
)
bodies = st.lists(st.tuples(lines, st.sampled_from([b"\n", b"\r\n", b"\r", b""])).map(b"".join), max_size=12)


@given(bodies.map(b"".join), st.lists(st.integers(1, 9), min_size=1, max_size=6), st.booleans())
@example(BYTE_ORDER_MARK + b"{}", [1], False)
@example(BYTE_ORDER_MARK + b"data: 1\n\n", [1], False)
@example(b"\r\n\r\ndata: 1\r\n\r\n", [1], False)
def test_any_cut_of_the_bytes_is_read_alike(body: bytes, sizes: list[int], is_document: bool) -> None:
    pieces = []
    start = turn = 0
    while start < len(body):
        size = sizes[turn % len(sizes)]
        pieces.append(body[start : start + size])
        start, turn = start + size, turn + 1
    assert read(pieces, is_document=is_document) == read([body], is_document=is_document)


@given(st.lists(st.dictionaries(st.text(), st.text(), max_size=2), max_size=6), st.integers(1, 50))
def test_what_a_server_wrote_comes_out(values: list[dict[str, str]], size: int) -> None:
    body = b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values)
    events = read(cut(body, size)).events
    assert [json.loads(data) for data, _ in events] == values
    assert all(body.startswith(b"data: " + data, offset) for data, offset in events)
