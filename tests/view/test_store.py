"""The file of `otel-llm view`: its bounds, its safety, and other processes that write it."""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from otel_llm.exchanges import otlp as otlp_messages
from otel_llm.view import spans, store
from otel_llm.view.database import MEGABYTE, StoreError
from otel_llm.view.store import Store
from tests.helpers.viewing import call, id_of, otlp, result_of, span


def add(to: Store, *made: dict[str, Any]) -> None:
    request = otlp_messages.parse_json(json.dumps(otlp(*made)))
    to.add(map(store.prepare, spans.single_spans(request)))


def noisy(size: int) -> dict[str, Any]:
    """A span that does not compress."""
    import os

    return span(attributes={"noise": os.urandom(size // 2).hex()})


def ids(of: Store) -> set[str]:
    return {one["id"] for one in of.page({}, 1000).requests}


def test_the_oldest_spans_are_deleted_when_the_file_is_full(tmp_path: Path) -> None:
    bounded = Store(tmp_path / "v.db", most_bytes=MEGABYTE)
    made = [noisy(40_000) for _ in range(100)]
    for one in made:
        add(bounded, one)
        assert bounded.used_bytes() <= MEGABYTE
        assert id_of(one) in ids(bounded), "the newest span stays"
    kept = ids(bounded)
    assert kept == set(map(id_of, made[-len(kept) :]))
    assert len(kept) > 10
    bounded.close()
    assert (tmp_path / "v.db").stat().st_size < 2 * MEGABYTE


def test_nothing_is_left_of_deleted_requests(tmp_path: Path) -> None:
    bounded = Store(tmp_path / "v.db", most_bytes=MEGABYTE)
    linked = span(*call(0, "old_tool", "{}"), links=[result_of(span())])
    add(bounded, linked, span(name="not a request") | {"attributes": []})
    for _ in range(60):
        add(bounded, noisy(40_000))
    assert bounded.facets()["tools"] == []
    assert bounded.trace(linked["traceId"]) == {"spans": [], "requests": []}
    bounded.close()
    with sqlite3.connect(tmp_path / "v.db") as plain:
        for table in ("tags", "links"):
            assert plain.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
        counts = [plain.execute(f"SELECT count(*) FROM {table}").fetchone() for table in ("requests", "messages")]
        assert counts[0] == counts[1] == plain.execute("SELECT count(*) FROM spans").fetchone()
    plain.close()


def test_spans_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bounded = Store(tmp_path / "v.db", most_seconds=60)
    old, new = span(), span()
    add(bounded, old)
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 61 * 10**9)
    add(bounded, new)
    assert ids(bounded) == {id_of(new)}
    bounded.close()


def test_one_request_larger_than_the_bound(tmp_path: Path) -> None:
    bounded = Store(tmp_path / "v.db", most_bytes=MEGABYTE)
    add(bounded, noisy(3 * MEGABYTE))
    assert bounded.used_bytes() <= MEGABYTE
    add(bounded, small := span())
    assert ids(bounded) == {id_of(small)}
    bounded.close()


def test_two_processes_may_have_it_open(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "v.db"), Store(tmp_path / "v.db")
    add(one, first := span())
    add(other, second := span())
    assert ids(one) == ids(other) == {id_of(first), id_of(second)}
    one.close()
    other.close()


def test_a_batch_is_atomic(tmp_path: Path) -> None:
    opened = Store(tmp_path / "v.db")
    request = otlp_messages.parse_json(json.dumps(otlp(span(), span())))
    first, second = map(store.prepare, spans.single_spans(request))
    broken = second._replace(span=second.span._replace(trace_id=None))  # type: ignore[arg-type]
    with pytest.raises(sqlite3.Error):
        opened.add([first, broken])
    assert ids(opened) == set()
    opened.add([first, second])
    assert len(ids(opened)) == 2
    opened.close()


def test_a_file_of_a_newer_version(tmp_path: Path) -> None:
    Store(tmp_path / "v.db").close()
    with sqlite3.connect(tmp_path / "v.db") as plain:
        plain.execute("PRAGMA user_version = 99")
    plain.close()
    with pytest.raises(StoreError, match="newer"):
        Store(tmp_path / "v.db")


@pytest.mark.parametrize("content", [b"no database at all " * 100])
def test_a_file_that_is_not_a_database(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.db").write_bytes(content)
    with pytest.raises(StoreError):
        Store(tmp_path / "v.db")
    assert (tmp_path / "v.db").read_bytes() == content


def test_unreasonable_times(tmp_path: Path) -> None:
    opened = Store(tmp_path / "v.db")
    made = span(startTimeUnixNano=str(2**64 - 1), endTimeUnixNano="0")
    add(opened, made)
    (summary,) = opened.page({}).requests
    assert summary["duration_ms"] == 0
    assert opened.detail(summary["id"]) is not None
    opened.close()


def test_lists_do_not_read_messages(tmp_path: Path) -> None:
    opened = Store(tmp_path / "v.db")
    add(opened, *(span(*call(0, "t", "{}")) for _ in range(50)))
    told: list[str] = []
    opened._connection.set_trace_callback(told.append)
    opened.page({"tool": "t", "q": "t"})
    opened.facets()
    assert told
    assert not [statement for statement in told if "messages" in statement]
    plan = opened._connection.execute(
        "EXPLAIN QUERY PLAN SELECT summary FROM requests ORDER BY started_ns DESC, number DESC LIMIT 100"
    ).fetchall()
    assert "requests_started" in str(plan)
    opened.close()


def test_a_damaged_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "v.db"
    whole = Store(path)
    made = [span(*call(0, "add_task", "{}")) for _ in range(200)]
    add(whole, *made)
    whole.close()
    body = bytearray(path.read_bytes())
    page = 4096
    body[page:] = b"\xa5" * (len(body) - page)
    path.write_bytes(body)
    broken = Store(path)
    try:
        for read in (
            lambda: broken.page({}),
            lambda: broken.message(id_of(made[0])),
            lambda: broken.detail(id_of(made[0])),
            lambda: broken.trace(made[0]["traceId"]),
            broken.facets,
        ):
            with pytest.raises(StoreError, match="malformed"):
                read()
    finally:
        broken.close()


def test_a_damaged_message_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "v.db"
    made = span()
    kept = Store(path)
    add(kept, made)
    with sqlite3.connect(path) as plain:
        for message in (b"\x00", zlib.compress(b"\xff\xff")):
            plain.execute("UPDATE messages SET message = ?", (message,))
            plain.commit()
            with pytest.raises(StoreError):
                kept.detail(id_of(made))
    plain.close()
    kept.close()
    plain.close()


def test_long_names_are_cut_in_the_list(tmp_path: Path) -> None:
    kept = Store(tmp_path / "v.db")
    long = "x" * MEGABYTE
    made = span(
        *call(0, long, "{}"),
        ("otel_llm.anomaly", 5, {"otel_llm.anomaly.type": long}),
        name=long,
        attributes={
            "gen_ai.request.model": long,
            "gen_ai.provider.name": long,
            "otel_llm.stream.outcome": long,
            "error.type": long,
        },
    )
    request = otlp_messages.parse_json(json.dumps(otlp(made, resource={"service.name": long})))
    kept.add(map(store.prepare, spans.single_spans(request)))
    assert len(json.dumps(kept.page({})._asdict())) < 10_000
    assert len(json.dumps(kept.facets())) < 10_000
    assert len(json.dumps(kept.trace(made["traceId"]))) < 20_000
    (tool,) = (name for name, _ in kept.facets()["tools"])
    assert kept.page({"tool": tool, "model": kept.facets()["models"][0][0]}).total == 1
    detail = kept.detail(id_of(made))
    assert detail is not None
    assert detail["attributes"]["gen_ai.request.model"] == detail["lanes"][0]["name"] == long
    kept.close()
