"""Issue forms, owners and updates, which only GitHub reads."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

TEMPLATES: Final = Path(__file__).parents[2] / ".github/ISSUE_TEMPLATE"
FORMS: Final = [path for path in sorted(TEMPLATES.iterdir()) if path.name != "config.yml"]


def test_shapes(root: Path, check_schema: Callable[..., None]) -> None:
    check_schema("vendor.github-issue-config", TEMPLATES / "config.yml")
    check_schema("vendor.github-issue-forms", *FORMS)
    check_schema("vendor.dependabot", root / ".github/dependabot.yml")


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_who_is_asked_for_a_recording_is_warned(form: Path) -> None:
    items = yaml.safe_load(form.read_text(encoding="utf-8"))["body"]
    asking = [item["attributes"] for item in items if "`otel-llm record" in item["attributes"].get("description", "")]
    assert asking
    for attributes in asking:
        assert "**Read it first.**" in attributes["description"]


def owned(root: Path) -> dict[str, list[str]]:
    """The owners of each pattern in CODEOWNERS."""
    lines = (root / ".github/CODEOWNERS").read_text(encoding="utf-8").splitlines()
    parted = [line.split() for line in lines if line and not line.startswith("#")]
    assert len(parted) == len({pattern for pattern, *_ in parted}), "a path has two lines, and the first does not count"
    return {pattern: owners for pattern, *owners in parted}


def test_owned_paths_exist(root: Path) -> None:
    for pattern, owners in owned(root).items():
        assert owners, f"{pattern} has no owner"
        assert all(re.fullmatch(r"@otel-llm/[a-z-]+", owner) for owner in owners), pattern
        if pattern == "*":
            continue
        path = root / pattern.removeprefix("/")
        assert path.is_dir() if pattern.endswith("/") else path.is_file(), pattern


def test_each_room_has_an_owner(root: Path) -> None:
    folders = {f"/otel_llm/{path.parent.name}/" for path in (root / "otel_llm").glob("*/__init__.py")}
    assert folders <= owned(root).keys()


def test_updates_need_no_fragment(root: Path) -> None:
    updates: list[dict[str, Any]] = yaml.safe_load((root / ".github/dependabot.yml").read_text(encoding="utf-8"))[
        "updates"
    ]
    assert {update["package-ecosystem"] for update in updates} == {"github-actions", "pip"}
    assert all("skip changelog" in update["labels"] for update in updates)
