"""The comparison of two requests."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.helpers.browser.opening import OpenPage
from tests.helpers.browser.scenes import Agent
from tests.helpers.browser.view_server import View


@pytest.fixture
def compared(agent: Agent, view: View, open_page: OpenPage) -> Page:
    """The comparison of a healthy request (A) with a broken one (B)."""
    agent.plays("searches")
    agent.plays("broken")
    broken, good = (one["id"] for one in view.requests())
    return open_page(f"#/compare/{good}/{broken}")


def test_two_requests_are_selected_with_c_and_opened(agent: Agent, open_page: OpenPage) -> None:
    agent.plays("searches")
    agent.plays("broken")
    page = open_page()
    expect(page.locator(".request-row")).to_have_count(2)
    page.keyboard.press("c")
    expect(page.locator(".choice")).to_contain_text("Compare qwen3-coder-30b with")
    expect(page.locator(".request-row").first).to_contain_text("to compare")
    page.keyboard.press("j")
    page.keyboard.press("c")
    expect(page).to_have_url(re.compile("#/compare/"))
    expect(page.locator(".side-title")).to_have_count(2)
    page.keyboard.press("Escape")
    expect(page.locator(".request-row")).to_have_count(2)


def test_selecting_a_request_again_deselects_it(agent: Agent, open_page: OpenPage) -> None:
    agent.plays("searches")
    page = open_page()
    expect(page.locator(".request-row")).to_have_count(1)
    page.keyboard.press("c")
    expect(page.locator(".choice")).to_be_visible()
    page.keyboard.press("c")
    expect(page.locator(".choice")).to_be_hidden()


def test_differing_figures_are_marked(compared: Page) -> None:
    row = compared.locator(".compared tr", has_text="anomalies")
    expect(row).to_have_class("differs")
    expect(row).to_contain_text("(differs)")
    expect(row.locator("td")).to_have_text(["none", "invalid json"])
    same = compared.locator(".compared tr", has=compared.get_by_role("rowheader", name="outcome"))
    expect(same).not_to_have_class("differs")


def test_arguments_are_compared_line_by_line(compared: Page) -> None:
    lines = compared.locator(".lines").first
    expect(lines.locator("tr", has_text='"origin": "ZRH"').locator(".changed")).to_have_count(0)
    expect(lines.locator(".changed.right").filter(has_text='"destination": LIS')).to_have_count(1)
    expect(lines.locator(".changed.left").filter(has_text='"destination": "LIS"')).to_have_count(1)
    expect(compared.locator(".pair").nth(1)).to_contain_text("no matching call")


def test_both_timelines_share_scale_and_time(compared: Page) -> None:
    expect(compared.locator(".side-timeline .timeline")).to_have_count(2)
    compared.locator(".scrub").first.evaluate("e => { e.value = e.max / 2; e.dispatchEvent(new Event('input')); }")
    values = [one.evaluate("e => e.value / e.max") for one in compared.locator(".scrub").all()]
    assert values == [0.5, 0.5]
    clocks = compared.locator(".clock").all_inner_texts()
    assert clocks[0] == clocks[1]


def test_a_missing_request_is_reported(compared: Page, view: View) -> None:
    compared.goto(f"{view.url}/#/compare/00-11/00-22")
    expect(compared.get_by_role("alert")).to_contain_text("There is no such request")
