"""How it looks, and how it sounds: themes, widths, roles. With OTEL_LLM_SCREENSHOTS=docs/images it makes the pictures there."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

PAGES = ["list", "request", "compare"]


@pytest.fixture
def story(agent, view):
    """What the pictures show: the addresses of the list, of a request, of a comparison."""
    for scene in ("thinks", "leaks", "overloaded", "nobody's tool", "same index", "truncated", "writes long", "stalls"):
        agent.plays(scene)
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


def _settled(page):
    page.wait_for_function("() => document.querySelector('.connection').textContent === 'live'")
    page.wait_for_function("() => !document.querySelector('[aria-busy]')")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_on_its_ground(story, open_page, scheme):
    """WCAG's contrast of 4.5 to 1, for all texts that are to be seen."""
    for name, path in story.items():
        page = open_page(path, color_scheme=scheme)
        _settled(page)
        faint = page.evaluate(
            """() => {
              const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
              const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
              const light = ([r, g, b]) => [r, g, b].map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }).reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
              const ground = (e) => { for (let at = e; at; at = at.parentElement) { const c = rgba(getComputedStyle(at).backgroundColor); if (c[3] > 250) return c; } return [255, 255, 255, 255]; };
              const found = [];
              const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
              while (walk.nextNode()) {
                const e = walk.currentNode.parentElement;
                if (!walk.currentNode.textContent.trim() || !e.checkVisibility() || e.closest(".unseen, :disabled, option")) continue;
                const [a, b] = [light(rgba(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
                const contrast = (a + 0.05) / (b + 0.05);
                if (contrast < 4.5) found.push([walk.currentNode.textContent.slice(0, 30), e.className, contrast.toFixed(2)]);
              }
              return found;
            }"""
        )
        assert faint == [], name


def test_the_theme_is_switched_and_kept(story, open_page):
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


def test_the_picture_follows_the_theme(story, open_page):
    page = open_page(story["request"], color_scheme="light")
    _settled(page)
    picture = page.locator(".lanes-picture")
    light = picture.evaluate("e => e.toDataURL()")
    page.keyboard.press("t")
    page.keyboard.press("t")
    _settled(page)
    assert picture.evaluate("e => e.toDataURL()") != light


@pytest.mark.parametrize("width", [360, 768, 1100, 1400])
def test_nothing_stands_out_of_the_page(story, open_page, width):
    for path in story.values():
        page = open_page(path, width=width, height=740)
        _settled(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        over = page.evaluate(
            """width => [...document.querySelectorAll("button, h2, h3, h4, select, input, canvas, p, dd")]
              .filter(e => e.checkVisibility() && !e.closest(".unseen, .rows, .json, .lines") && !e.matches(".unseen"))
              .filter(e => { const b = e.getBoundingClientRect(); return b.width && (b.right > width + 1 || b.left < -1); })
              .map(e => e.outerHTML.slice(0, 80))""",
            width,
        )
        assert over == []


def test_the_columns_stand_under_their_heads(story, open_page):
    page = open_page()
    _settled(page)
    for name in ("time", "model", "tools", "how", "wrongs", "tokens", "took"):
        edge = "right" if name in {"tokens", "took"} else "left"
        head, cell = (page.locator(f"{row} .{name}").last.evaluate("(e, edge) => e.getBoundingClientRect()[edge]", edge) for row in (".row-head", ".request-row"))
        assert abs(head - cell) < 1.5, name


def test_what_can_be_done_has_a_name_and_a_role(story, open_page):
    for path in story.values():
        page = open_page(path)
        _settled(page)
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("button, a, input, select, [role=grid], [role=img], dialog, pre[tabindex], main section, article")]
              .filter(e => e.checkVisibility())
              .filter(e => !(e.getAttribute("aria-label") || e.textContent.trim() || (e.labels && e.labels.length) || e.getAttribute("aria-labelledby")))
              .map(e => e.outerHTML.slice(0, 80))"""
        )
        assert nameless == []
        # A label that is no element's would be silence.
        lost = page.evaluate("() => [...document.querySelectorAll('[aria-labelledby]')].filter(e => e.checkVisibility() && !document.getElementById(e.getAttribute('aria-labelledby'))).map(e => e.outerHTML.slice(0, 80))")
        assert lost == []


def test_a_screen_reader_is_told_the_lines_of_the_grid(story, open_page):
    page = open_page()
    _settled(page)
    grid = page.get_by_role("grid", name="Requests")
    expect(grid).to_have_attribute("aria-rowcount", "13")
    first = page.locator(".request-row").first
    expect(first).to_have_attribute("role", "row")
    assert int(first.get_attribute("aria-rowindex")) >= 1
    expect(page.get_by_role("slider", name="Moment of the request")).to_have_count(0)
    first.click()
    expect(page.get_by_role("slider", name="Moment of the request")).to_have_attribute("aria-valuetext", re.compile("characters"))


def test_pictures(story, open_page, pictures):
    """The pictures of the documentation."""
    if pictures is None:
        pytest.skip("OTEL_LLM_SCREENSHOTS names no folder for pictures")
    for name, path, options in (
        ("view-list-light", "list", {"color_scheme": "light", "width": 1280, "height": 640}),
        ("view-request-light", "request", {"color_scheme": "light", "width": 1280, "height": 860}),
        ("view-anomaly-dark", "broken", {"color_scheme": "dark", "width": 1280, "height": 980}),
        ("view-compare-light", "compare", {"color_scheme": "light", "width": 1280, "height": 1250}),
        ("view-narrow-dark", "request", {"color_scheme": "dark", "width": 360, "height": 780}),
    ):
        page = open_page(story[path], **options)
        _settled(page)
        page.wait_for_timeout(200)
        page.screenshot(path=pictures / f"{name}.png")
