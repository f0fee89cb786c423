"""Print the changelog's section for a tag, or say why the tag cannot be released: `release_notes.py v1.2.3`."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path


def main(tag: str) -> str:
    """Give the section. Raises SystemExit with a sentence if tag, version, fragments and changelog do not agree."""
    version = runpy.run_path("otel_llm/_version.py")["__version__"]
    if tag != f"v{version}":
        raise SystemExit(f"The tag is {tag}, and otel_llm/_version.py says {version}.")
    if fragments := sorted(path.name for path in Path("changelog.d").glob("*.md") if path.name != "README.md"):
        raise SystemExit(f"towncrier has not collected {', '.join(fragments)}.")
    changelog = Path("CHANGELOG.md").read_text(encoding="utf-8")
    section = re.search(
        rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)\n+(.+?)\s*(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL
    )
    if section is None:
        raise SystemExit(f"CHANGELOG.md has no section for {version} with a date.")
    return section[1]


if __name__ == "__main__":
    print(main(sys.argv[1]))
