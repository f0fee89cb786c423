"""What each anomaly says about a server, and how long a busy one is waited for."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from otel_llm.diagnosis.case import Anomaly
from otel_llm.diagnosis.explanations import BY_TYPE
from otel_llm.exchanges.verdicts import Verdict
from otel_llm.probe.answers import Answer
from otel_llm.probe.check import Check
from otel_llm.probe.findings import anomalies
from otel_llm.probe.patience import LONGEST_WAIT, LONGEST_WAITS, is_busy, named_wait, wait_before
from tests.helpers.streams import record

CHECK = Check("one", "one", {})
MODEL = {
    "arguments_not_object", "duplicate_call", "empty_arguments", "empty_response", "invalid_json", "invalid_unicode",
    "repeated_call", "repetition", "replacement_character", "schema_violation", "unknown_tool",
}  # fmt: skip
REQUEST = {"duplicate_result", "result_without_call", "unacceptable_id", "unacceptable_name", "unanswered_call"}
CUT = {"limit_exceeded", "truncated"}
SERVER = {
    "call_in_reasoning", "duplicated_text", "id_reused", "invalid_framing", "missing_done", "missing_usage",
    "reasoning_leak", "token_leak", "wrong_content_type", "index_reused", "missing_id", "text_leak",
}  # fmt: skip


def answered(streamed: bool, *types: str, busy: bool = False) -> Answer:
    recording = record([{"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}])
    verdict = Verdict("a", "completed", recording=recording)
    verdict.anomalies.extend((Anomaly(one, "why", 0, 0), []) for one in types)
    return Answer(streamed, 200, "", verdict, recording, busy)


def kinds(*answers: Answer) -> list[str]:
    return [finding.kind for finding in anomalies(CHECK, *answers)]


@pytest.mark.parametrize("kind", sorted({*BY_TYPE, *MODEL, *REQUEST, *CUT, *SERVER}))
def test_each_type_is_judged(kind: str) -> None:
    both = kinds(answered(True, kind), answered(False, kind))
    one_way = kinds(answered(True, kind), answered(False))
    while_busy = kinds(answered(True, kind), Answer(False, 429, "slow down", busy=True))
    if kind in CUT:
        assert both == ["unjudged"] * 2
    elif kind in REQUEST:
        assert both == ["remark"] * 2
    elif kind in MODEL:
        assert (both, one_way, while_busy) == (["model"] * 2, ["fault"], ["model"])
    else:
        assert (both, one_way, while_busy) == (["fault"] * 2, ["fault"], ["fault"])


def test_a_character_that_the_model_did_not_finish() -> None:
    def said(streamed: bool) -> Answer:
        answer = answered(streamed)
        assert answer.verdict is not None
        answer.verdict.anomalies.append((Anomaly("replacement_character", "in the text", 0), []))
        return answer

    assert kinds(said(True), said(False)) == ["remark"] * 2
    assert kinds(said(True), answered(False)) == ["fault"]


def test_nothing_of_a_busy_answer_is_judged() -> None:
    assert kinds(answered(True, "missing_done", busy=True), answered(False)) == []


NOW = datetime(2026, 11, 30, 12, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": format_datetime(NOW + timedelta(seconds=20), usegmt=True)}, 20.0),
        ({"retry-after": format_datetime(NOW - timedelta(days=9), usegmt=True)}, 0.0),
        # The server's clock is an hour ahead.
        (
            {
                "retry-after": format_datetime(NOW + timedelta(hours=1, seconds=5), usegmt=True),
                "date": format_datetime(NOW + timedelta(hours=1), usegmt=True),
            },
            5.0,
        ),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "3", "date": "never"}, 3.0),
        ({}, None),
    ],
)
def test_how_long_a_server_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert named_wait(headers, NOW.timestamp()) == seconds


def test_waits_are_bounded() -> None:
    assert wait_before(2, LONGEST_WAIT, 0.0) == LONGEST_WAIT
    assert wait_before(2, LONGEST_WAIT + 1, 0.0) is None
    assert wait_before(2, float("inf"), 0.0) is None
    assert wait_before(2, 1.0, LONGEST_WAITS) is None
    assert wait_before(4, 0.0, 0.0) is None
    assert wait_before(2, None, 0.0) is not None


def test_which_statuses_say_nothing() -> None:
    assert all(is_busy(status, {}) for status in (408, 425, 429, 502, 503, 504, 520, 524, 529))
    assert not any(is_busy(status, {}) for status in (400, 404, 500, 501))
    assert is_busy(500, {"retry-after": "1"})
