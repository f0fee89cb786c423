"""Kimi K3's tags: escaped attributes, spaces, a body in JSON, raw text with tags in it, and cut tags."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.scanned import cut_up, rewrite, scan
from tests.helpers.written_calls import Call

CALL = '<|open|>call tool="f" index="1"<|sep|>'
CLOSED = "<|close|>call<|sep|><|close|>tools<|sep|>"


def value(text: str, kind: str = "string", key: str = "a") -> str:
    return f'<|open|>argument key="{key}" type="{kind}"<|sep|>{text}<|close|>argument<|sep|>'


def read(text: str) -> tuple[list[Call], list[bool], str]:
    seen = scan(text)
    for chunks in ([*text], cut_up(text, [4, 9])):
        assert scan(chunks) == seen
        assert rewrite(chunks) == rewrite(text)
    return (
        [Call(one.name, one.call.arguments if one.complete else {}) for one in seen.calls],
        [one.complete for one in seen.calls],
        seen.text,
    )


@pytest.mark.parametrize(
    ("inner", "arguments"),
    [
        (value("x"), {"a": "x"}),
        (value("&amp; &quot;"), {"a": "&amp; &quot;"}),
        (value("x", key="p&amp;q &quot;r&quot; &lt;"), {'p&q "r" <': "x"}),
        (value("[1, true]", "array") + value("5", "number", "b"), {"a": [1, True], "b": 5}),
        (value("{no", "object"), {"a": "{no"}),
        (value("<|close|>argument<|sep|> is the end"), {"a": "<|close|>argument<|sep|> is the end"}),
        (
            value("<|open|>argument<|close|> x <|close|>call<|sep|> y"),
            {"a": "<|open|>argument<|close|> x <|close|>call<|sep|> y"},
        ),
        ('<|open|> argument key="a" type="string" <|sep|>x<|close|> argument <|sep|>', {"a": "x"}),
        ('<|open|>argument key="a" type="string"<|sep|>x', {"a": "x"}),
        ('<|open|>json type="object"<|sep|>{"a": [1, "<|close|>"]}<|close|>json<|sep|>', {"a": [1, "<|close|>"]}),
        ("\n<|open|>json<|sep|>\n{}\n<|close|>json<|sep|>\n", {}),
        ("", {}),
    ],
)
def test_arguments(inner: str, arguments: dict[str, Any]) -> None:
    for opening in ("<|open|>tools<|sep|>", "<|open|> tools <|sep|>"):
        found = read(f"So.{opening}{CALL}{inner}{CLOSED} Yes.")
        assert found == ([Call("f", arguments)], [True], "So. Yes.")
        found = read(f"{opening}{CALL}{inner}<|close|> call <|sep|>{CALL}{inner}{CLOSED}")
        assert found == ([Call("f", arguments)] * 2, [True, True], "")


def test_a_name_is_an_attribute() -> None:
    for written, name in (("a&amp;b&quot;c", 'a&b"c'), ("a<b", "a<b"), ("fs.read", "fs.read")):
        assert read(f'<|open|>tools<|sep|><|open|>call tool="{written}"<|sep|>{CLOSED}')[0] == [Call(name, {})]


def test_a_text_that_is_cut_within_a_tag_shows_none_of_it() -> None:
    text = f"<|open|>tools<|sep|>{CALL}{value('x')}{value('y', key='b')}{CLOSED}"
    for end in range(len(f"<|open|>tools<|sep|>{CALL}"), len(text) + 1):
        calls, complete, shown = read(text[:end])
        assert shown == ""
        assert len(calls) == 1
        assert complete == [end >= text.index("<|close|>tools")]
