"""What the tests of the repository's own files share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's folder."""
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def pyproject(root: Path) -> dict[str, Any]:
    """pyproject.toml, parsed."""
    parsed: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return parsed


@pytest.fixture(scope="session")
def check_schema() -> Callable[..., None]:
    """`check_schema(schema, *files)`: fails unless files have the shape that check-jsonschema knows by that name."""

    # In this process: merely to import it takes longer than all checks together.
    from check_jsonschema import main  # type: ignore[import-untyped]
    from click.testing import CliRunner

    def check(schema: str, *files: Path) -> None:
        assert files
        checked = CliRunner().invoke(main, ["--builtin-schema", schema, *map(str, files)])
        assert checked.exit_code == 0, checked.output

    return check
