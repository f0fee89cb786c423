"""What a real llama.cpp server streams, as the page shows it."""

from __future__ import annotations

import re

from playwright.sync_api import expect


def test_a_call_of_a_real_model_is_shown(agent, view, open_page, llama):
    agent.asks(llama, model="tiny", tool_choice="required")
    page = open_page()
    expect(page.locator(".request-row")).to_have_count(1)
    (request,) = view.requests()
    assert request["tools"], request
    expect(page.locator(".request-row .tools")).to_contain_text(request["tools"][0])
    page.keyboard.press("Enter")
    expect(page.locator(".lane-label").filter(has_text=request["tools"][0]).first).to_contain_text(re.compile(r"\d+ deltas?"))
    expect(page.locator(".call .json").first).to_be_visible()
    expect(page.locator(".growing-text").first).not_to_be_empty()
