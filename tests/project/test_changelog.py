"""The changelog, and the fragments that become its next section."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from otel_llm import __version__


def test_fragments_are_named_for_a_kind_of_change(pyproject: dict[str, Any], root: Path) -> None:
    config = pyproject["tool"]["towncrier"]
    kinds = [kind["directory"] for kind in config["type"]]
    name = re.compile(rf"(?:{config['issue_pattern']}|\+[a-z0-9-]+)\.(?:{'|'.join(kinds)})(?:\.\d+)?\.md")
    for file in (root / config["directory"]).iterdir():
        if file.name in config["ignore"]:
            continue
        assert name.fullmatch(file.name), file.name
        text = file.read_text(encoding="utf-8")
        # towncrier makes it an item of a list.
        assert re.match(r"[^\s#*+-]", text), f"{file.name} begins with a mark, or is empty"
        assert text.endswith(".\n"), f"{file.name} is no sentence"


def test_the_readme_of_the_fragments_names_each_kind(pyproject: dict[str, Any], root: Path) -> None:
    config = pyproject["tool"]["towncrier"]
    readme = (root / config["directory"] / "README.md").read_text(encoding="utf-8")
    assert all(f"`{kind['directory']}`" in readme for kind in config["type"])


def test_the_changelog_has_a_place_for_the_next_section(pyproject: dict[str, Any], root: Path) -> None:
    text = (root / pyproject["tool"]["towncrier"]["filename"]).read_text(encoding="utf-8")
    head, mark, released = text.partition("<!-- towncrier release notes start -->\n")
    assert mark, "without its mark, towncrier writes the next section above the title"
    assert "\n## " not in head, "changes that are not released are fragments"
    assert re.match(rf"\n## {re.escape(__version__)}\b", released), "the newest section is not that of _version.py"
