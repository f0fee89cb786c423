"""`otel-llm explain`, and the page made of it: each anomaly is explained, and its sample has it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from otel_llm.cli import main
from otel_llm.diagnosis import judges
from otel_llm.diagnosis.explanations import BY_TYPE, EXPLANATIONS
from otel_llm.diagnosis.explanations.model import TOOLS
from otel_llm.exchanges.bodies import BodyReader
from otel_llm.exchanges.verdicts import judge
from tests.helpers.streams import STEP_NS, anomalies_of, types_of

TYPES = [
    "invalid_json",
    "arguments_not_object",
    "arguments_duplicated",
    "arguments_not_string",
    "empty_arguments",
    "schema_violation",
    "missing_name",
    "missing_id",
    "missing_index",
    "name_changed",
    "id_changed",
    "index_reused",
    "duplicate_id",
    "duplicate_call",
    "unknown_tool",
    "finish_reason_mismatch",
    "missing_finish_reason",
    "truncated",
    "delta_after_finish",
    "tool_choice_violated",
    "parallel_violated",
    "text_leak",
    "result_without_call",
    "unanswered_call",
    "duplicate_result",
    "empty_response",
    "duplicated_text",
    "repetition",
    "replacement_character",
    "missing_usage",
    "repeated_call",
    "id_reused",
    "unacceptable_id",
    "unacceptable_name",
    "invalid_unicode",
    "stalled",
    "limit_exceeded",
    "token_leak",
    "reasoning_leak",
    "call_in_reasoning",
    "missing_done",
    "wrong_content_type",
    "invalid_framing",
]


def test_every_type_is_explained_once() -> None:
    assert sorted(one.type for one in EXPLANATIONS) == sorted(TYPES)


def test_the_judges_report_no_other_type() -> None:
    sources = (path.read_text(encoding="utf-8") for path in Path(judges.__file__).parent.glob("*.py"))
    named = {name for source in sources for name in re.findall(r'(?:Finding|Anomaly)\(\s*"([a-z_]+)"', source)}
    assert named == set(TYPES)


def bytes_judged(lines: list[str]) -> list[str]:
    """The anomalies of a body, before which its content type may stand."""
    content_type = ""
    if lines[0].startswith("content-type: "):
        content_type, *lines = lines
    body = BodyReader("sample", {"tools": list(TOOLS)}, content_type=content_type.removeprefix("content-type: "))
    data = "\n\n".join([*lines, ""]).encode()
    (verdict,) = judge([*body.feed(data), *body.finish()])
    return [anomaly.type for anomaly, _ in verdict.anomalies]


@pytest.mark.parametrize("name", TYPES)
def test_its_sample_has_this_anomaly_and_no_other(name: str) -> None:
    sample = BY_TYPE[name].sample
    if sample.raw:
        assert bytes_judged(sample.lines()) == [name]
        return
    waits = {position: int(seconds * 1e9) + STEP_NS for position, seconds in sample.waits.items()}
    asked = {"tools": list(TOOLS), **sample.asked}
    assert types_of(
        anomalies_of([dict(chunk) for chunk in sample.chunks], asked, waits_ns=waits, provider=sample.provider)
    ) == [name]


@pytest.mark.parametrize("name", TYPES)
def test_an_explanation_is_complete(name: str) -> None:
    one = BY_TYPE[name]
    assert one.means.endswith(".")
    assert one.do.endswith(".")
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", seen.where) for seen in one.seen)
    assert one.seen or name in {"invalid_unicode", "limit_exceeded"}


def test_the_page_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--markdown"]) == 0
    page = Path(__file__).parents[2] / "docs" / "anomalies.md"
    assert capsys.readouterr().out == page.read_text(encoding="utf-8"), (
        "run: otel-llm explain --markdown > docs/anomalies.md"
    )


def test_one_type_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "text_leak"]) == 0
    out = capsys.readouterr().out
    assert "text_leak" in out
    assert "vllm-project/vllm#21571" in out
    assert "What to do." in out
    assert "data: [DONE]" in out
    assert "invalid_json" not in out


def test_all_types_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in TYPES)


def test_an_unknown_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "bad_weather"]) == 2
    assert capsys.readouterr() == ("", "Unknown anomaly: bad_weather. `otel-llm explain` lists all.\n")


def test_without_rich_the_output_is_plain() -> None:
    program = (
        "import sys; sys.modules['rich.console'] = None\n"
        "from otel_llm.cli import main; sys.exit(main(['explain', 'stalled']))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("### `stalled`\n")
