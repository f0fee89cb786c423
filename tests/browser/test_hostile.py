"""Markup and scripts from a model are shown as text, in every field."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from playwright.sync_api import Page, expect

from tests.helpers.browser.made_spans import body, call, made
from tests.helpers.browser.opening import OpenPage
from tests.helpers.browser.view_server import View

SCRIPT = (
    "\"'><img src=x onerror=window.hacked=1><script>window.hacked=1</script><svg onload=window.hacked=1>{{7*7}}"
    "</style><style>*{display:none}"
)
LINK = "javascript:window.hacked=1"


def _hostile(text: str) -> Span:
    """A request with `text` in every field that can hold text."""
    where: dict[str, Any] = {"otel_llm.choice.index": 0, "otel_llm.tool_call.index": 0}
    anomalies = [
        ("anomaly", 900, {"otel_llm.anomaly.type": text, "otel_llm.anomaly.detail": text}),
        ("anomaly", 900, {**where, "otel_llm.anomaly.type": "invalid_json", "otel_llm.anomaly.detail": text}),
    ]
    rewrite = {f"otel_llm.tag_rewrite.{part}": text for part in ("format", "target")}
    others: list[tuple[str, float, dict[str, Any]]] = [
        ("text.started", 50, {"otel_llm.choice.index": 0}),
        ("finish_reason", 800, {"otel_llm.finish_reason": text, "otel_llm.choice.index": 0}),
        ("tag_rewrite", 700, {**rewrite, "gen_ai.tool.name": text, "otel_llm.tag_rewrite.length": 5}),
        ("odd." + text, 850, {text: text}),
        ("!exception", 860, {"exception.message": text}),
    ]
    whole = call(text, json.dumps({text: text}), index=1, call_id=text, at_ms=200)
    broken = call(text, text, call_id=text)
    parts = [{"role": text, "parts": [{"type": "text", "content": text}, {text: text}]}]
    odd: dict[str, Any] = {text: text}
    span = made(
        [*broken, *whole, *others, *anomalies],
        model=text,
        error__type=text,
        otel_llm__stream__outcome=text,
        gen_ai__provider__name=text,
        gen_ai__request__choice=text,
        gen_ai__tool__definitions=json.dumps([{"name": text, "description": text, "parameters": {text: text}}, text]),
        gen_ai__input__messages=json.dumps(parts),
        gen_ai__output__messages=json.dumps(parts),
        gen_ai__system_instructions=json.dumps([text]),
        **odd,
    )
    span.status.code = Status.STATUS_CODE_ERROR
    span.status.message = text
    return span


def _nothing_happened(page: Page) -> None:
    page.wait_for_timeout(100)  # a script would have run by then
    assert page.evaluate("window.hacked") is None
    assert (
        page.evaluate(
            "document.querySelectorAll('script:not([src]), img, iframe, [onerror], [onload], #app style').length"
        )
        == 0
    )
    assert page.evaluate("[...document.querySelectorAll('a')].every(a => a.protocol.startsWith('http'))")


@pytest.mark.parametrize("text", [SCRIPT, LINK], ids=["markup", "link"])
def test_script_in_every_field_is_shown_and_not_run(view: View, open_page: OpenPage, text: str) -> None:
    other = made(model=text, trace=b"t" * 16)
    view.receive(
        body([_hostile(text), _hostile(text), other, made(model=text, trace=b"t" * 16, links=[other])], service=text)
    )
    page = open_page()
    expect(page.locator(".request-row")).to_have_count(4)
    expect(page.locator(".request-row").first).to_contain_text(text[:40])
    _nothing_happened(page)
    hostile = [one["id"] for one in view.requests() if one["tools"]]
    page.goto(f"{view.url}/#/requests/{hostile[0]}")
    expect(page.locator(".request h2")).to_contain_text(text[:80])
    for folded in page.locator("details > summary").all():
        folded.click()
    page.locator(".scrub").focus()
    page.keyboard.press("ArrowLeft")
    box = page.locator(".lanes-picture").bounding_box()
    assert box is not None
    for share in range(0, 100, 2):
        page.mouse.move(box["x"] + box["width"] * share / 100, box["y"] + 70)
    for shown in (
        ".lane-name",
        ".call h4",
        ".inline",
        ".wrong-one h4",
        ".detail",
        ".before-after",
        ".facts",
        ".message",
        ".declared",
    ):
        expect(page.locator(shown).filter(has_text=text[:20]).first).to_be_attached()
    _nothing_happened(page)
    page.goto(f"{view.url}/#/compare/{hostile[0]}/{hostile[1]}")
    expect(page.locator(".pair").first).to_contain_text(text[:20])
    _nothing_happened(page)


@pytest.mark.parametrize("where", ["q", "model", "trace"])
def test_script_in_the_address_is_text_too(view: View, open_page: OpenPage, where: str) -> None:
    view.receive(body([made()]))
    page = open_page(f"#/?{where}={quote(SCRIPT)}")
    expect(page.locator(".empty")).to_contain_text("No matches")
    _nothing_happened(page)


def test_script_that_arrives_live_is_text(view: View, open_page: OpenPage) -> None:
    page = open_page()
    expect(page.locator(".empty")).to_be_visible()
    expect(page.locator(".connection")).to_have_text("live")
    view.receive(body([_hostile(SCRIPT)]))
    expect(page.locator(".request-row")).to_have_count(1)
    _nothing_happened(page)


def test_the_page_has_no_inline_script_or_style(view: View, open_page: OpenPage) -> None:
    page = open_page()
    answer = page.request.get(view.url)
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert "<script>" not in answer.text()
    assert "style=" not in answer.text()


def test_invisible_characters_are_escaped(view: View, open_page: OpenPage) -> None:
    name = "pay\u202egnp.exe\u0007\u200b"
    view.receive(body([made(call(name, '{"a": "b\u202ec"}'))]))
    page = open_page()
    expect(page.locator(".request-row .tools")).to_have_text("pay\\u202egnp.exe\\u0007\\u200b")
    page.locator(".request-row").click()
    expect(page.locator(".call .json")).to_contain_text('"b\\u202ec"')


def test_a_name_of_ten_thousand_characters_breaks_no_layout(view: View, open_page: OpenPage) -> None:
    view.receive(body([made(call("n" * 10_000, "{" + "x" * 10_000, call_id="i" * 10_000), model="m" * 10_000)]))
    page = open_page(width=360, height=740)
    expect(page.locator(".request-row")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator(".request-row").click()
    expect(page.locator(".call")).to_be_attached()
    assert page.evaluate("document.querySelector('.request').scrollWidth") <= 360
