"""Links between the documents lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)|\b(?:src|href)=\"([^\"]+)\"|^\[[^\]]+\]: (\S+)$", re.MULTILINE)
_REPOSITORY = "https://github.com/otel-llm/otel-llm/blob/main/"
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def test_links_lead_to_a_file_and_a_heading(root: Path) -> None:
    documents = [*root.glob("*.md"), *root.glob("docs/*.md"), *root.glob(".github/*.md")]
    assert len(documents) > 10
    for document in documents:
        text = _FENCE.sub("", document.read_text(encoding="utf-8"))
        for found in _LINK.findall(text):
            link = "".join(found)
            is_absolute = link.startswith(_REPOSITORY)
            path, _, anchor = link.removeprefix(_REPOSITORY).partition("#")
            if re.match(r"[a-z]+:", path):
                continue
            # A package index shows the README, and has none of the other files.
            assert is_absolute or not path or document != root / "README.md", f"README.md links to {link}"
            folder = root if is_absolute else document.parent
            target = folder / path if path else document
            assert target.exists(), f"{document.name} links to {link}"
            if anchor:
                headings = _HEADING.findall(_FENCE.sub("", target.read_text(encoding="utf-8")))
                assert anchor in map(_anchor, headings), f"{document.name} links to {link}"


def _anchor(heading: str) -> str:
    """The name that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
