"""The page shows the stream of a real llama.cpp server."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from otel_llm.demo.llama_server import WELL_FORMED_CALLS
from tests.helpers.browser.opening import OpenPage
from tests.helpers.browser.scenes import Agent
from tests.helpers.browser.view_server import View
from tests.helpers.callers import ADD_TASK

CALLING = {
    "model": "tiny",
    "tools": [ADD_TASK],
    "tool_choice": "required",
    "max_tokens": 400,
    "logit_bias": WELL_FORMED_CALLS,
    "temperature": 1.0,
    "seed": 3,
}


def test_calls_of_a_real_model_are_shown(agent: Agent, view: View, open_page: OpenPage, llama: str) -> None:
    agent.asks(llama, **CALLING)
    page = open_page()
    expect(page.locator(".request-row")).to_have_count(1)
    (request,) = view.requests()
    assert request["tools"], request
    expect(page.locator(".request-row .tools")).to_contain_text(request["tools"][0])
    page.keyboard.press("Enter")
    lanes = page.locator(".lane-label").filter(has_text=request["tools"][0])
    expect(lanes.first).to_contain_text(re.compile(r"\d+ deltas?"))
    expect(page.locator(".call")).to_have_count(request["tool_call_count"])
    expect(page.locator(".growing-text").first).not_to_be_empty()
