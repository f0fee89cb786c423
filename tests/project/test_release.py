"""What a tag must agree with before it is released: `.ci/release_notes.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHANGELOG = """\
# Changelog

<!-- towncrier release notes start -->

## 1.2.0 (2026-12-01)

### Fixed

- A fault ([#7](https://example.com/7)).

## 1.1.0 (2026-11-01)

- Older.
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository of version 1.2.0, ready for its tag."""
    (tmp_path / "otel_llm").mkdir()
    (tmp_path / "otel_llm/_version.py").write_text('__version__ = "1.2.0"\n')
    (tmp_path / "changelog.d").mkdir()
    (tmp_path / "changelog.d/README.md").write_text("How to write one.\n")
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    return tmp_path


def notes(root: Path, project: Path, tag: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, root / ".ci/release_notes.py", tag], cwd=project, capture_output=True, text=True, check=False
    )


def test_the_section_of_the_version_is_printed(root: Path, project: Path) -> None:
    done = notes(root, project, "v1.2.0")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "### Fixed\n\n- A fault ([#7](https://example.com/7)).\n"


def test_another_tag_than_the_version(root: Path, project: Path) -> None:
    done = notes(root, project, "v1.1.0")
    assert (done.returncode, done.stdout) == (1, "")
    assert "The tag is v1.1.0, and otel_llm/_version.py says 1.2.0." in done.stderr


def test_fragments_that_were_not_collected(root: Path, project: Path) -> None:
    (project / "changelog.d/8.added.md").write_text("Something.\n")
    done = notes(root, project, "v1.2.0")
    assert (done.returncode, done.stdout) == (1, "")
    assert "8.added.md" in done.stderr


@pytest.mark.parametrize("heading", ["## 1.2.1 (2026-12-01)", "## 1.2.0", "## 1.2.0 (unreleased)"])
def test_a_changelog_without_the_version(root: Path, project: Path, heading: str) -> None:
    (project / "CHANGELOG.md").write_text(CHANGELOG.replace("## 1.2.0 (2026-12-01)", heading))
    done = notes(root, project, "v1.2.0")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no section for 1.2.0" in done.stderr
