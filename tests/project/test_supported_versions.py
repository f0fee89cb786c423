"""README names the versions of SDKs that are supported and tested, and no others."""

from __future__ import annotations

from tests.helpers.supported_versions import README, made_table, table_in, versions_run


def test_the_table_is_made_of_the_results() -> None:
    written = table_in(README.read_text(encoding="utf-8"))
    assert written == made_table(), "run `python -m tests.helpers.supported_versions`"


def test_the_results_are_read() -> None:
    assert "1.40.0" in versions_run()["openai"]
    assert len(versions_run()["openai"]) > 3
    assert versions_run()["groq"]
