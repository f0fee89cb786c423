"""The type of the fixture that opens pages."""

from __future__ import annotations

from typing import Any, Protocol

from playwright.sync_api import Page


class OpenPage(Protocol):
    def __call__(self, path: str = "", *, width: int = 1400, height: int = 900, **options: Any) -> Page:
        """The page at `path` of the view. `options`: of the browser context."""
        ...
