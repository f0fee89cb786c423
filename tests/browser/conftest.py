"""Fixtures: a real Chromium that shows the real view."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from tests.helpers.browser.opening import OpenPage
from tests.helpers.browser.scenes import Agent
from tests.helpers.browser.view_server import View
from tests.helpers.servers import llama  # noqa: F401 - a fixture

_FLAGS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# A busy machine may stall for seconds. A working page never takes this long.
_PATIENCE = 30_000  # ms

_PAGES = pytest.StashKey[list[Page]]()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser. Without one the test is skipped, or fails if OTEL_LLM_REQUIRE_BROWSER is set."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        reason = "there is no chromium on the PATH (on Debian: apt-get install chromium)"
        if os.environ.get("OTEL_LLM_REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    expect.set_options(timeout=_PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def running_view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[View]:
    running = View(tmp_path_factory.mktemp("view"))
    yield running
    running.stop()


@pytest.fixture
def view(running_view: View) -> View:
    """The view, empty."""
    running_view.clear()
    return running_view


@pytest.fixture
def agent(view: View) -> Iterator[Agent]:
    """An application that sends its spans to the view."""
    one = Agent(view.url)
    yield one
    one.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the state of its pages to the report of a failed test."""
    report = yield
    if report.when == "call" and report.failed:
        pages = item.stash.get(_PAGES, [])
        for at, page in enumerate(pages):
            report.sections.append((f"page {at + 1}", _state(page)))
    return report


def _state(page: Page) -> str:
    try:
        return json.dumps(page.evaluate("measures.state()"), indent=1)
    except PlaywrightError as failure:
        return f"The page does not respond: {failure}"


@pytest.fixture
def open_page(request: pytest.FixtureRequest, chromium: Browser, view: View) -> Iterator[OpenPage]:
    """`open_page(path, **context_options)`. A script error or a request to another host fails the test."""
    wrong: list[str] = []
    contexts: list[BrowserContext] = []
    pages = request.node.stash[_PAGES] = []

    def refuse(request: Request) -> None:
        if not request.url.startswith((view.url, "blob:", "data:")):
            wrong.append(f"a request to another host: {request.url}")

    def start(path: str = "", *, width: int = 1400, height: int = 900, **options: Any) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.add_init_script(path=Path(__file__).parents[1] / "helpers" / "browser" / "measures.js")
        page = context.new_page()
        pages.append(page)
        page.set_default_timeout(_PATIENCE)
        page.on("request", refuse)
        page.on("pageerror", lambda error: wrong.append(f"a script failed: {error}"))
        page.on(
            "console",
            lambda said: (
                wrong.append(said.text) if said.type == "error" and "Failed to load resource" not in said.text else None
            ),
        )
        page.goto(f"{view.url}/{path}")
        page.wait_for_function("() => measures.isPainted()")  # Chromium may drop keys before that
        return page

    yield start
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(scope="session")
def pictures() -> Path | None:
    """The folder for the screenshots of the documentation; None to take none."""
    folder = os.environ.get("OTEL_LLM_SCREENSHOTS")
    return Path(folder) if folder else None
