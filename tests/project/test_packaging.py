"""What a package index shows of the project, and what it installs with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = "https://github.com/otel-llm/otel-llm"
RAW: Final = "https://raw.githubusercontent.com/otel-llm/otel-llm/main/"


def test_urls_lead_into_the_repository(pyproject: dict[str, Any], root: Path) -> None:
    urls = pyproject["project"]["urls"]
    assert set(urls) == {"Homepage", "Documentation", "Changelog", "Issues", "Source"}
    for label, url in urls.items():
        assert url == REPOSITORY or url.startswith(f"{REPOSITORY}/"), label
        if file := re.search(r"/(?:blob|tree)/main/(.+)$", url):
            assert (root / file[1]).exists(), label


def test_images_of_the_readme_are_absolute(root: Path) -> None:
    # A package index shows the README too, and has none of the repository's files.
    readme = (root / "README.md").read_text(encoding="utf-8")
    images = re.findall(r"!\[[^\]]*\]\(([^)\s]+)|<img\b[^>]*\bsrc=\"([^\"]+)\"", readme)
    addresses = ["".join(found) for found in images]
    assert addresses
    for address in addresses:
        assert address.startswith(RAW), address
        assert (root / address.removeprefix(RAW)).is_file(), address


def test_nothing_is_installed_that_is_not_imported(pyproject: dict[str, Any], root: Path) -> None:
    imported = set(_imports(root / "otel_llm"))
    for requirement in pyproject["project"]["dependencies"]:
        name = re.match(r"[\w.-]+", requirement)
        assert name
        files = distribution(name[0]).files or []
        modules = {".".join(file.with_suffix("").parts) for file in files if file.suffix == ".py"}
        assert imported & {module.removesuffix(".__init__") for module in modules}, f"nothing imports {name[0]}"


def _imports(package: Path) -> Iterator[str]:
    """Every module that a file of the package names in an import."""
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (name.name for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                yield node.module
                yield from (f"{node.module}.{name.name}" for name in node.names)
