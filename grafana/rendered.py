"""Render the dashboards as JSON files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.overview import overview
from grafana.tool_calls import tool_calls

FOLDER: Final = Path(__file__).parent / "dashboards"


def rendered() -> dict[Path, str]:
    """Return the text of each file in ``dashboards/``."""
    encoder = JSONEncoder(sort_keys=True, indent=2)
    boards = {"overview.json": overview(), "tool-calls.json": tool_calls()}
    return {FOLDER / name: encoder.encode(board.build()) + "\n" for name, board in boards.items()}
