"""The list: its rows, search and filters, traces, keys, and requests that arrive while it is open."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.helpers.browser.made_spans import body, call, made
from tests.helpers.browser.opening import OpenPage
from tests.helpers.browser.scenes import Agent
from tests.helpers.browser.view_server import View

ROWS = ".request-row"


def _rows(page: Page) -> Locator:
    return page.locator(ROWS)


def test_the_empty_list_says_how_to_send_spans(view: View, open_page: OpenPage) -> None:
    page = open_page()
    expect(page.locator(".empty")).to_contain_text("No requests yet")
    expect(page.locator(".empty")).to_contain_text(f"OTEL_EXPORTER_OTLP_ENDPOINT={view.url}")
    expect(page.locator(".empty")).to_contain_text("otel-llm view --run python app.py")


def test_a_row_shows_what_happened(agent: Agent, open_page: OpenPage) -> None:
    agent.plays("broken")
    page = open_page()
    row = _rows(page).first
    expect(row.locator(".model")).to_have_text("qwen3-coder-30b")
    expect(row.locator(".tools")).to_have_text("search_flights")
    expect(row.locator(".how")).to_have_text("completed")
    expect(row.locator(".anomaly")).to_have_text("invalid json")
    expect(row.locator(".tokens")).to_have_text("403 → 31")
    expect(row.locator(".took")).to_have_text(re.compile(r"\d (m?s)$"))
    expect(row.locator(".time")).to_have_text(re.compile(r"\d\d:\d\d:\d\d"))


def test_an_anomaly_is_shown_in_red_and_in_words(agent: Agent, open_page: OpenPage) -> None:
    agent.plays("nobody's tool")
    page = open_page()
    anomaly = _rows(page).first.locator(".anomaly")
    expect(anomaly).to_have_text("unknown tool")
    assert anomaly.evaluate("e => getComputedStyle(e).color") == "rgb(180, 35, 27)"


@pytest.mark.parametrize(("scene", "error"), [("overloaded", "RateLimitError"), ("drops", "APIConnectionError")])
def test_an_error_is_shown_by_its_type(agent: Agent, open_page: OpenPage, scene: str, error: str) -> None:
    agent.plays(scene)
    expect(_rows(open_page()).first.locator(".how")).to_contain_text(error)


def test_new_requests_appear(agent: Agent, open_page: OpenPage) -> None:
    agent.plays("says")
    page = open_page()
    expect(_rows(page)).to_have_count(1)
    agent.plays("broken")
    expect(_rows(page)).to_have_count(2)
    expect(_rows(page).first.locator(".anomaly")).to_have_text("invalid json")
    expect(page.locator(".total")).to_have_text("2 requests")


def test_requests_that_arrive_above_do_not_move_the_visible_rows(view: View, open_page: OpenPage) -> None:
    view.receive(body(made(model=f"model-{number}", at_ms=number) for number in range(300)))
    page = open_page()
    expect(page.locator(".total")).to_have_text("300 requests")
    page.locator(".rows").evaluate("e => { e.scrollTop = 38 * 50; }")
    expect(page.get_by_text("model-249", exact=True)).to_be_visible()
    before = page.get_by_text("model-249", exact=True).bounding_box()
    assert before is not None
    view.receive(body(made(model="late", at_ms=5000 + number) for number in range(3)))
    expect(page.locator(".arrived")).to_have_text("3 new above")
    # The scroll position is restored with the next frame.
    page.wait_for_function(
        "y => Math.abs([...document.querySelectorAll('.model')]"
        ".find(e => e.textContent === 'model-249').getBoundingClientRect().y - y) < 1",
        arg=before["y"],
    )
    page.locator(".arrived").click()
    expect(page.locator(".arrived")).to_be_hidden()
    expect(_rows(page).first.locator(".model")).to_have_text("late")


def test_clearing_in_another_window_empties_the_list(agent: Agent, view: View, open_page: OpenPage) -> None:
    agent.plays("says")
    page = open_page()
    expect(_rows(page)).to_have_count(1)
    view.clear()
    expect(page.locator(".empty")).to_contain_text("No requests yet")


def test_deleting_all_requests_asks_first(agent: Agent, view: View, open_page: OpenPage) -> None:
    agent.plays("says")
    page = open_page()
    page.get_by_role("button", name="Delete all requests").click()
    page.get_by_role("button", name="Cancel").click()
    expect(_rows(page)).to_have_count(1)
    page.get_by_role("button", name="Delete all requests").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator(".empty")).to_be_visible()
    assert view.requests() == []


# -- search and filters --


@pytest.fixture
def mixed(view: View) -> None:
    view.receive(body([made(model="alpha", at_ms=1), made(call("pay", '{"sum": "zebra"}'), model="beta", at_ms=2)]))
    wrong = ("anomaly", 900, {"otel_llm.anomaly.type": "truncated", "otel_llm.anomaly.detail": "cut"})
    view.receive(body([made([wrong], model="alpha", at_ms=3, otel_llm__stream__outcome="closed")], service="other"))


@pytest.mark.parametrize(
    ("label", "choice", "found"),
    [
        ("Model", "alpha", 2),
        ("Tool", "pay", 1),
        ("Anomaly", "truncated", 1),
        ("Outcome", "closed", 1),
        ("Service", "other", 1),
    ],
)
def test_each_filter_finds_its_requests_and_says_how_many(
    mixed: None, open_page: OpenPage, label: str, choice: str, found: int
) -> None:
    page = open_page()
    expect(_rows(page)).to_have_count(3)
    option = page.get_by_label(label, exact=True).locator(f'option[value="{choice}"]')
    expect(option).to_have_text(f"{choice} ({found})")
    page.get_by_label(label, exact=True).select_option(choice)
    expect(_rows(page)).to_have_count(found)
    expect(page.locator(".total")).to_have_text(f"{found} found")
    page.get_by_role("button", name="Clear filters").click()
    expect(_rows(page)).to_have_count(3)


def test_a_search_finds_arguments(mixed: None, open_page: OpenPage) -> None:
    page = open_page()
    page.keyboard.press("/")
    page.keyboard.type("zebra")
    expect(_rows(page)).to_have_count(1)
    expect(_rows(page).first).to_contain_text("beta")


def test_a_search_that_finds_nothing_says_so(mixed: None, open_page: OpenPage) -> None:
    page = open_page("#/?q=nowhere")
    expect(page.locator(".empty")).to_contain_text("No matches")
    expect(page.get_by_label("Search requests")).to_have_value("nowhere")


def test_the_address_holds_the_filters(mixed: None, open_page: OpenPage) -> None:
    page = open_page()
    page.get_by_label("Tool", exact=True).select_option("pay")
    expect(page).to_have_url(re.compile("tool=pay"))
    page.reload()
    expect(_rows(page)).to_have_count(1)
    page.go_back()
    expect(_rows(page)).to_have_count(3)


def test_new_requests_are_filtered(mixed: None, view: View, open_page: OpenPage) -> None:
    page = open_page("#/?model=alpha")
    expect(_rows(page)).to_have_count(2)
    view.receive(body([made(model="beta", at_ms=10), made(model="alpha", at_ms=11)]))
    expect(_rows(page)).to_have_count(3)
    expect(page.locator(".total")).to_have_text("3 found")


# -- traces --


def test_the_turns_of_an_agent_are_grouped_in_order(agent: Agent, open_page: OpenPage) -> None:
    with agent.turns():
        agent.plays("books")
        agent.plays("says")
    agent.plays("thinks")
    page = open_page()
    expect(_rows(page)).to_have_count(3)
    expect(page.locator(".trace-row")).to_contain_text("2 requests")
    turns = page.locator(".in-trace")
    expect(turns.locator(".turn")).to_have_text(["1", "2"])
    expect(turns.first.locator(".tools")).to_have_text("book_flight")
    page.get_by_label("Group by trace").uncheck()
    expect(page.locator(".trace-row")).to_have_count(0)


def test_a_turn_names_the_turn_whose_result_it_sends(view: View, open_page: OpenPage) -> None:
    first = made(call("pay", "{}"), trace=b"t" * 16, at_ms=0)
    second = made(trace=b"t" * 16, at_ms=2000, links=[first])
    view.receive(body([first, second]))
    page = open_page()
    expect(page.locator(".in-trace").nth(1).locator(".cause")).to_have_text("from 1")
    page.locator(".in-trace").nth(1).click()
    page.get_by_role("link", name="turn 1").click()
    expect(page.locator(".links")).to_contain_text("Its result was sent in turn 2")


# -- ten thousand --


def test_of_ten_thousand_requests_only_the_visible_rows_are_created(view: View, open_page: OpenPage) -> None:
    for begin in range(0, 10_000, 1000):
        view.receive(
            body(made(call("work", json.dumps({"n": n})), model=f"m{n}", at_ms=n) for n in range(begin, begin + 1000))
        )
    page = open_page()
    expect(page.locator(".total")).to_have_text("10,000 requests")
    list_ = page.locator(".rows")
    while True:
        expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", re.compile(r"\d"))
        before = int(list_.get_attribute("aria-rowcount") or 0)
        assert _rows(page).count() < 60
        if before == 10_000:
            break
        list_.evaluate("e => { e.scrollTop = e.scrollHeight; }")
        page.wait_for_function(
            "([e, n]) => Number(e.getAttribute('aria-rowcount')) > n", arg=[list_.element_handle(), before]
        )
    list_.evaluate("e => { e.scrollTop = e.scrollHeight; }")
    expect(page.get_by_text("m0", exact=True)).to_be_visible()
    assert 20 < page.evaluate("measures.linesWhileScrolling(4000, 60)") < 60


# -- keys --


def test_j_and_k_move_in_the_list_and_enter_opens(mixed: None, open_page: OpenPage) -> None:
    page = open_page()
    expect(_rows(page)).to_have_count(3)
    page.keyboard.press("j")
    expect(_rows(page).nth(1)).to_have_class(re.compile(r"\bactive\b"))
    page.keyboard.press("k")
    expect(_rows(page).nth(0)).to_have_class(re.compile(r"\bactive\b"))
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator(".request h2")).to_contain_text("beta")
    page.keyboard.press("Escape")
    expect(page.locator(".request")).to_be_hidden()
    expect(page.locator(".rows")).to_be_focused()
    active = page.locator(".rows").get_attribute("aria-activedescendant")
    expect(page.locator(f"#{active}")).to_contain_text("beta")


def test_shortcuts_are_off_in_the_search_field(mixed: None, open_page: OpenPage) -> None:
    page = open_page()
    page.keyboard.press("/")
    page.keyboard.type("jc?")
    expect(page.get_by_label("Search requests")).to_have_value("jc?")
    expect(page.locator("dialog[open]")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator(".rows, .list-state").first).to_be_attached()


def test_help_lists_the_keys_and_closes_with_escape(view: View, open_page: OpenPage) -> None:
    page = open_page()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("next, previous request")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_focus_is_visible(mixed: None, open_page: OpenPage) -> None:
    page = open_page()
    expect(_rows(page)).to_have_count(3)
    seen = set()
    for _ in range(20):
        page.keyboard.press("Tab")
        tag, style, width = page.evaluate("measures.focused()")
        if tag == "BODY":
            break
        seen.add(tag)
        assert style != "none", tag
        assert width != "0px", tag
    assert {"BUTTON", "INPUT", "SELECT", "DIV"} <= seen


def test_a_request_that_arrives_while_the_list_loads_is_not_lost(view: View, open_page: OpenPage) -> None:
    view.receive(body([made(model="early")]))
    page = open_page("#/?q=nothing")
    expect(page.locator(".empty")).to_be_visible()
    expect(page.locator(".connection")).to_have_text("live")

    def answer_late(route: Route) -> None:
        answer = route.fetch()
        view.receive(body([made(model="late", at_ms=10)]))
        page.wait_for_timeout(200)  # so that its event arrives before the response
        route.fulfill(response=answer)

    page.route("**/api/requests?*", answer_late, times=1)
    page.get_by_role("button", name="Clear filters").click()
    expect(_rows(page).locator(".model")).to_have_text(["late", "early"])
    expect(page.locator(".total")).to_have_text("2 requests")
