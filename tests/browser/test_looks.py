"""Themes, widths and accessibility. OTEL_LLM_SCREENSHOTS=docs/images takes the screenshots of the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.helpers.browser.opening import OpenPage
from tests.helpers.browser.scenes import Agent
from tests.helpers.browser.view_server import View

PAGES = ["list", "request", "compare"]


@pytest.fixture
def story(agent: Agent, view: View) -> dict[str, str]:
    """The requests on the screenshots; the addresses of the list, of two requests and of a comparison."""
    for scene in ("thinks", "overloaded", "nobody's tool", "truncated", "writes long", "stalls"):
        agent.plays(scene)
    for scene in ("leaks", "same index"):
        agent.plays(scene, model="llama-3.3-70b")
    with agent.turns():
        for scene in ("searches", "books", "says"):
            agent.plays(scene)
    agent.plays("broken")
    ids = {(*one["tools"], *one["anomalies"]): one["id"] for one in view.requests()}
    good, broken = ids["search_flights", "get_weather"], ids["search_flights", "invalid_json"]
    return {
        "list": "",
        "request": f"#/requests/{good}",
        "broken": f"#/requests/{broken}",
        "compare": f"#/compare/{good}/{broken}",
    }


def _settled(page: Page) -> None:
    page.evaluate("measures.settled()")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(story: dict[str, str], open_page: OpenPage, scheme: str) -> None:
    """All visible texts have the contrast of 4.5 to 1 that WCAG requires."""
    for name, path in story.items():
        page = open_page(path, color_scheme=scheme)
        _settled(page)
        faint = page.evaluate("measures.faint()")
        assert faint == [], name


def test_the_theme_is_switched_and_stored(story: dict[str, str], open_page: OpenPage) -> None:
    page = open_page(color_scheme="light")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark


def test_the_timeline_follows_the_theme(story: dict[str, str], open_page: OpenPage) -> None:
    page = open_page(story["request"], color_scheme="light")
    _settled(page)
    picture = page.locator(".lanes-picture")
    light = picture.evaluate("e => e.toDataURL()")
    page.keyboard.press("t")
    page.keyboard.press("t")
    _settled(page)
    assert picture.evaluate("e => e.toDataURL()") != light


@pytest.mark.parametrize("width", [360, 768, 1100, 1400])
def test_nothing_extends_beyond_the_page(story: dict[str, str], open_page: OpenPage, width: int) -> None:
    for path in story.values():
        page = open_page(path, width=width, height=740)
        _settled(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("measures.outside()") == []


def test_the_columns_align_with_their_heads(story: dict[str, str], open_page: OpenPage) -> None:
    page = open_page()
    _settled(page)
    for name in ("time", "model", "tools", "how", "wrongs", "tokens", "took"):
        edge = "right" if name in {"tokens", "took"} else "left"
        head, cell = (
            page.locator(f"{row} .{name}").last.evaluate("(e, edge) => e.getBoundingClientRect()[edge]", edge)
            for row in (".row-head", ".request-row")
        )
        assert abs(head - cell) < 1.5, name


def test_controls_have_names(story: dict[str, str], open_page: OpenPage) -> None:
    for path in story.values():
        page = open_page(path)
        _settled(page)
        assert page.evaluate("measures.nameless()") == []


def test_screen_readers_get_the_rows_of_the_grid(story: dict[str, str], open_page: OpenPage) -> None:
    page = open_page()
    _settled(page)
    grid = page.get_by_role("grid", name="Requests")
    expect(grid).to_have_attribute("aria-rowcount", "13")
    first = page.locator(".request-row").first
    expect(first).to_have_attribute("role", "row")
    assert int(first.get_attribute("aria-rowindex") or 0) >= 1
    expect(page.get_by_role("slider", name="Time within the request")).to_have_count(0)
    first.click()
    expect(page.get_by_role("slider", name="Time within the request")).to_have_attribute(
        "aria-valuetext", re.compile("characters")
    )


def test_screenshots(story: dict[str, str], open_page: OpenPage, pictures: Path | None) -> None:
    """The screenshots of the documentation."""
    if pictures is None:
        pytest.skip("OTEL_LLM_SCREENSHOTS names no folder for screenshots")
    shots: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("view-list-light", "list", {"color_scheme": "light", "width": 1280, "height": 640}),
        ("view-request-light", "request", {"color_scheme": "light", "width": 1280, "height": 860}),
        ("view-anomaly-dark", "broken", {"color_scheme": "dark", "width": 1280, "height": 980}),
        ("view-compare-light", "compare", {"color_scheme": "light", "width": 1280, "height": 1250}),
        ("view-narrow-dark", "request", {"color_scheme": "dark", "width": 360, "height": 780}),
    )
    for name, path, options in shots:
        page = open_page(story[path], **options)
        _settled(page)
        page.wait_for_timeout(200)
        page.screenshot(path=pictures / f"{name}.png")
