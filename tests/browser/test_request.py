"""The page of a request: timeline, slider, arguments, anomalies, and what can be copied."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.helpers.browser.made_spans import body, call, made
from tests.helpers.browser.opening import OpenPage
from tests.helpers.browser.scenes import BOOKING, FLIGHTS, WEATHER, Agent
from tests.helpers.browser.view_server import View


def _open(view: View, open_page: OpenPage, **options: Any) -> Page:
    """The page of the newest request."""
    page = open_page(f"#/requests/{view.requests()[0]['id']}", **options)
    page.evaluate("measures.settled()")
    return page


def _scrub_to(page: Page, share: float) -> None:
    page.locator(".scrub").evaluate(
        "(e, share) => { e.value = share * e.max; e.dispatchEvent(new Event('input')); }", share
    )


def _ink(page: Page) -> int:
    pixels: int = page.evaluate("measures.ink()")
    return pixels


def _pixels(page: Page) -> str:
    address: str = page.evaluate("measures.picture()")
    return address


# -- the timeline --


def test_there_is_a_lane_for_each_call_and_for_text(agent: Agent, view: View, open_page: OpenPage) -> None:
    agent.plays("searches")
    page = _open(view, open_page)
    expect(page.locator(".lane-name bdi")).to_have_text(["text", "search_flights", "get_weather"])
    expect(page.locator(".lane-about").nth(1)).to_contain_text(f"{len(FLIGHTS)} chars")
    assert _ink(page) > 1000


def test_the_timeline_is_described_in_words(agent: Agent, view: View, open_page: OpenPage) -> None:
    agent.plays("searches")
    page = _open(view, open_page)
    said = page.get_by_role("img").get_attribute("aria-label")
    assert said is not None
    assert "2 tool calls" in said
    assert "search_flights from" in said
    # The server sends nothing for 420 ms in the middle of both calls.
    assert re.search(r"no event for 4\d\d ms", said)


def test_a_delta_is_drawn_at_its_time(view: View, open_page: OpenPage) -> None:
    where = {"otel_llm.choice.index": 0, "otel_llm.tool_call.index": 0}
    deltas = [
        (
            "tool_call.arguments.delta",
            ms,
            {
                **where,
                "gen_ai.tool.call.arguments": text,
                "otel_llm.delta.count": 1,
                "otel_llm.arguments.length": length,
            },
        )
        for ms, text, length in ((250, '{"a"', 4), (750, ":1}", 7))
    ]
    view.receive(body([made([("tool_call.detected", 100, where), *deltas], duration_ms=1000)]))
    page = _open(view, open_page)
    picture = page.locator(".lanes-picture")
    expect(picture).to_be_visible()
    columns = page.evaluate("measures.deltas()")
    edge = 10 / picture.evaluate("e => e.clientWidth")
    for share in (0.25, 0.75):
        at = edge + share * (1 - 2 * edge)
        assert any(abs(column - at) < 0.005 for column in columns), (at, columns)
    assert not any(0.3 < column < 0.7 for column in columns)


def test_keys_and_buttons_zoom_and_show_all(agent: Agent, view: View, open_page: OpenPage) -> None:
    agent.plays("searches")
    page = _open(view, open_page)
    whole = _pixels(page)
    page.get_by_role("button", name="Zoom in").click()
    near = _pixels(page)
    assert near != whole
    page.locator(".lanes-scroll").focus()
    page.keyboard.press("+")
    assert _pixels(page) != near
    page.keyboard.press("0")
    assert _pixels(page) == whole
    expect(page.get_by_role("button", name="Zoom out")).to_be_disabled()


def test_control_and_wheel_zoom_at_the_pointer(agent: Agent, view: View, open_page: OpenPage) -> None:
    agent.plays("searches")
    page = _open(view, open_page)
    whole = _pixels(page)
    page.locator(".lanes-picture").hover()
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    page.wait_for_function("() => !document.querySelector('[title=\"Zoom out\"]').disabled")
    assert _pixels(page) != whole


def test_pointing_at_a_delta_describes_it(view: View, open_page: OpenPage) -> None:
    view.receive(body([made(call("book_flight", BOOKING), duration_ms=1000)]))
    last_ms = 100 + 10 * -(-len(BOOKING) // 4)
    page = _open(view, open_page)
    _ink(page)
    box = page.locator(".lanes-picture").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 10 + last_ms / 1000 * (box["width"] - 20), box["y"] + 30)
    expect(page.locator(".tip")).to_contain_text("book_flight at")
    expect(page.locator(".tip")).to_contain_text(f"{len(BOOKING)} so far")


def test_a_long_stream_counts_folded_deltas(agent: Agent, view: View, open_page: OpenPage) -> None:
    agent.plays("writes long")
    page = _open(view, open_page)
    expect(page.locator(".numbers")).to_contain_text("folded")
    deltas = view.requests()[0]
    shown = page.locator(".lane-about").first.inner_text()
    # All deltas count, however few events stand for them.
    told = re.search(r"([\d,]+) deltas", shown)
    assert told is not None, shown
    assert int(told.group(1).replace(",", "")) > 128, (shown, deltas)


# -- the scrubber --


def test_the_arguments_grow_along_the_slider(agent: Agent, view: View, open_page: OpenPage) -> None:
    agent.plays("searches")
    page = _open(view, open_page)
    texts = page.locator(".growing-text")
    expect(texts).to_have_text([FLIGHTS, WEATHER])
    _scrub_to(page, 0)
    expect(texts).to_have_text(["", ""])
    _scrub_to(page, 0.6)
    page.wait_for_function("() => document.querySelector('.growing-text').textContent.length > 10")
    grown = texts.first.inner_text()
    assert FLIGHTS.startswith(grown)
    assert 10 < len(grown) < len(FLIGHTS)
    expect(page.locator(".growing-size").first).to_have_text(f"{len(grown)} / {len(FLIGHTS)}")


def test_the_arrows_go_from_delta_to_delta(agent: Agent, view: View, open_page: OpenPage) -> None:
    agent.plays("broken")
    page = _open(view, open_page)
    _scrub_to(page, 0)
    scrubber, text = page.locator(".scrub"), page.locator(".growing-text")
    scrubber.focus()
    # The first key goes to the start of the call.
    for grown in ("", '{"or', '{"origin', '{"origin": "'):
        page.keyboard.press("ArrowRight")
        expect(scrubber).to_have_attribute("aria-valuetext", re.compile(rf"search_flights {len(grown)} of"))
        expect(text).to_have_text(grown)


def test_pointing_at_the_timeline_moves_the_slider(agent: Agent, view: View, open_page: OpenPage) -> None:
    agent.plays("books")
    page = _open(view, open_page)
    _ink(page)
    box = page.locator(".lanes-picture").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 20)
    share = page.locator(".scrub").evaluate("e => e.value / e.max")
    assert 0.49 < share < 0.51


def test_playing_ends_at_the_end(agent: Agent, view: View, open_page: OpenPage) -> None:
    agent.plays("nobody's tool")
    page = _open(view, open_page)
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    assert page.locator(".scrub").evaluate("e => e.value === e.max")


# -- the calls --


def test_arguments_are_indented_without_changing_a_token(view: View, open_page: OpenPage) -> None:
    arguments = '{"n":12345678901234567890,"n":1.0,"s":"a\\u00e9 , : {","l":[],"o":{},"t":[true,null]}'
    view.receive(body([made(call("keep", arguments))]))
    shown = _open(view, open_page).locator(".call .json").text_content()
    assert shown is not None
    assert shown.split("\n") == [
        "{",
        '  "n": 12345678901234567890,',
        '  "n": 1.0,',
        '  "s": "a\\u00e9 , : {",',
        '  "l": [],',
        '  "o": {},',
        '  "t": [',
        "    true,",
        "    null",
        "  ]",
        "}",
    ]


def test_the_error_in_arguments_is_marked(agent: Agent, view: View, open_page: OpenPage) -> None:
    agent.plays("broken")
    page = _open(view, open_page)
    mark = page.locator(".call mark")
    expect(mark).to_have_text("error here: L")
    expect(page.locator(".call")).to_contain_text("Invalid JSON at character 33: Expecting value")
    before = mark.evaluate("e => e.previousSibling.textContent")
    assert before == '{"origin": "ZRH", "destination": '


def test_the_mark_counts_code_points(view: View, open_page: OpenPage) -> None:
    arguments = '{"a": "🛫🛬", "b": x}'
    anomaly = (
        "anomaly",
        900,
        {"otel_llm.anomaly.type": "invalid_json", "otel_llm.anomaly.detail": "Expecting value at character 17 of 19"},
    )
    view.receive(body([made([*call("fly", arguments, size=20), anomaly])]))
    mark = _open(view, open_page).locator(".call mark")
    expect(mark).to_have_text("error here: x")


def test_arguments_that_end_too_early_are_marked_at_their_end(view: View, open_page: OpenPage) -> None:
    view.receive(body([made(call("fly", '{"a": "b"'))]))
    page = _open(view, open_page)
    expect(page.locator(".call mark")).to_have_text("error here: end")


def test_arguments_that_were_not_recorded_are_reported(view: View, open_page: OpenPage) -> None:
    agent = Agent(view.url, capture_arguments=False)
    agent.plays("books")
    agent.close()
    page = _open(view, open_page)
    expect(page.locator(".call")).to_contain_text("were not recorded")
    expect(page.locator(".call")).to_contain_text(f"{len(BOOKING)} characters")


# -- anomalies --


@pytest.mark.parametrize(
    ("scene", "type_"),
    [
        ("broken", "invalid json"),
        ("truncated", "truncated"),
        ("nobody's tool", "unknown tool"),
        ("leaks", "text leak"),
        ("stalls", "stalled"),
    ],
)
def test_an_anomaly_is_explained_with_its_causes_and_advice(
    agent: Agent, view: View, open_page: OpenPage, scene: str, type_: str
) -> None:
    agent.plays(scene)
    page = _open(view, open_page)
    wrong = page.locator(".wrong-one", has=page.get_by_role("heading", name=type_))
    expect(wrong.get_by_text(re.compile("Known cause"))).to_be_visible()
    expect(wrong.get_by_text("What to try")).to_be_visible()
    assert len(wrong.locator(".why p").inner_text()) > 20


def test_a_healthy_request_shows_no_anomaly(agent: Agent, view: View, open_page: OpenPage) -> None:
    agent.plays("books")
    page = _open(view, open_page)
    expect(page.locator(".call")).to_be_visible()
    expect(page.locator(".anomalies, .wrong")).to_have_count(0)


def test_an_anomaly_is_shown_on_the_timeline(agent: Agent, view: View, open_page: OpenPage) -> None:
    agent.plays("stalls")
    page = _open(view, open_page)
    page.get_by_role("button", name=re.compile("Show at")).click()
    # At the end of the long wait, not at the end of the stream.
    share = page.locator(".scrub").evaluate("e => e.value / e.max")
    assert 0.8 < share < 0.99


# -- everything else --


def test_a_rewritten_call_is_shown_before_and_after(view: View, open_page: OpenPage) -> None:
    agent = Agent(view.url, tool_call_tags="openai")
    agent.plays("leaks")
    agent.close()
    page = _open(view, open_page)
    expect(page.locator(".before-after")).to_contain_text("hermes")
    expect(page.locator(".before-after > div").nth(1)).to_contain_text('"city": "Lisbon"')


def test_parameters_are_listed(agent: Agent, view: View, open_page: OpenPage) -> None:
    agent.plays("books")
    table = _open(view, open_page).get_by_role("table", name="Parameters")
    expect(table.locator("tr", has_text="temperature")).to_contain_text("0.2")
    expect(table.locator("tr", has_text="max_tokens")).to_contain_text("512")


def test_declared_tools_and_messages_are_shown_where_they_were_captured(view: View, open_page: OpenPage) -> None:
    tools = [{"type": "function", "name": "pay", "description": "Pay somebody.", "parameters": {"type": "object"}}]
    output = [{"role": "assistant", "parts": [{"type": "text", "content": "Paid."}], "finish_reason": "stop"}]
    given: dict[str, Any] = {
        "gen_ai__tool__definitions": json.dumps(tools),
        "gen_ai__output__messages": json.dumps(output),
    }
    view.receive(body([made(**given)]))
    page = _open(view, open_page)
    page.get_by_text("Declared tools (1)").click()
    expect(page.locator(".declared").first).to_contain_text("Pay somebody.")
    expect(page.locator(".said")).to_have_text("Paid.")


def test_a_request_is_copied_as_curl_as_json_and_as_a_test(agent: Agent, view: View, open_page: OpenPage) -> None:
    agent.plays("books")
    page = _open(view, open_page, permissions=["clipboard-read", "clipboard-write"])
    copied = {}
    for what in ("Copy as curl", "Copy as JSON", "Copy as a test case"):
        page.evaluate("() => navigator.clipboard.writeText('')")
        page.get_by_role("button", name=what, exact=True).click()
        for _ in range(100):
            copied[what] = page.evaluate("() => navigator.clipboard.readText()")
            if copied[what]:
                break
            page.wait_for_timeout(50)
    assert copied["Copy as curl"].startswith("curl ")
    assert "resourceSpans" in json.loads(copied["Copy as JSON"])
    assert "def test_" in copied["Copy as a test case"]
    compile(copied["Copy as a test case"], "copied", "exec")


def test_an_exported_file_is_opened_again(agent: Agent, view: View, open_page: OpenPage, tmp_path: Path) -> None:
    agent.plays("broken")
    page = _open(view, open_page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export").click()
    file = tmp_path / "request.json"
    download.value.save_as(file)
    view.clear()
    page.goto(f"{view.url}/#/")
    expect(page.locator(".empty")).to_be_visible()
    page.locator("input[type=file]").set_input_files(file)
    expect(page.locator(".request h2")).to_contain_text("qwen3-coder-30b")
    expect(page.locator(".call mark")).to_have_text("error here: L")


def test_a_file_without_telemetry_is_refused_in_a_sentence(view: View, open_page: OpenPage, tmp_path: Path) -> None:
    file = tmp_path / "photo.json"
    file.write_text("{not json")
    page = open_page()
    page.locator("input[type=file]").set_input_files(file)
    expect(page.locator("#announcements")).to_contain_text("Could not read photo.json: ")


# -- a hundred thousand --


def test_a_request_of_a_hundred_thousand_deltas_is_drawn_and_scrubbed(view: View, open_page: OpenPage) -> None:
    arguments = json.dumps({"items": [f"item {number:06}" for number in range(25_000)]})
    view.receive(body([made(call("write", arguments, every_ms=0.3), duration_ms=31_000)]))
    page = _open(view, open_page)
    expect(page.locator(".lane-about")).to_have_text(f"{len(arguments):,} chars · {-(-len(arguments) // 4):,} deltas")
    assert _ink(page) > 1000
    for share in (0.1, 0.5, 0.9):
        _scrub_to(page, share)
        page.wait_for_function("() => document.querySelector('.growing-text').textContent.length > 300")
    # The page holds only the visible part.
    assert page.evaluate("document.querySelectorAll('*').length") < 5000
    page.get_by_role("button", name=re.compile("Show the remaining")).click()
    expect(page.locator(".call .json")).to_contain_text("item 024999")


# -- failures --


def test_a_missing_request_is_reported_in_a_sentence(view: View, open_page: OpenPage) -> None:
    page = open_page("#/requests/00-11")
    expect(page.get_by_role("alert")).to_contain_text("There is no such request")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (500, "The view responded with status 500."),
        (401, "This view requires its token"),
        (None, "The view does not respond. Is otel-llm view still running?"),
    ],
)
def test_a_failure_is_reported_in_a_sentence_and_can_be_retried(
    agent: Agent, view: View, open_page: OpenPage, status: int | None, said: str
) -> None:
    agent.plays("says")
    page = open_page()
    expect(page.locator(".request-row")).to_have_count(1)
    address = re.compile(r"/api/requests\?")
    page.route(address, lambda route: route.fulfill(status=status, body="no") if status else route.abort())
    page.get_by_label("Search requests").fill("qwen")
    expect(page.get_by_role("alert")).to_contain_text(said)
    page.unroute(address)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".request-row")).to_have_count(1)
