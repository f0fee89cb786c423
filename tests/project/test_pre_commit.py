"""The hooks for a commit run what `make lint` runs."""

from __future__ import annotations

import re
from pathlib import Path

import yaml


def test_hooks_are_the_programs_of_make_lint(root: Path) -> None:
    config = yaml.safe_load((root / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe
    linted = re.findall(r"\$\(BIN\)/([a-z ]+)", recipe[1])
    # Others would have versions of their own.
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    entries = [re.match(r"\.venv/bin/([a-z]+(?: [a-z]+)?)", hook["entry"]) for hook in config["repos"][0]["hooks"]]
    assert [entry and entry[1] for entry in entries] == [command.strip() for command in linted]
