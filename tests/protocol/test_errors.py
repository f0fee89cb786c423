"""Errors in response bodies, in whatever shape a server writes them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given

from otel_llm.demo.scripted_server import chunk
from otel_llm.protocol.errors import error_in, message_in_body, message_of
from tests.helpers.nonsense import Raises, RaisesForAll, nonsense_of
from tests.helpers.streams import sdk_chunk

OPENAI = {"message": "No such model", "type": "invalid_request_error", "code": "model_not_found"}
VLLM = {"object": "error", "message": "No such model", "code": 404}


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"error": OPENAI}, OPENAI),
        ({"error": OPENAI, "choices": []}, OPENAI),
        ({"error": "overloaded"}, "overloaded"),
        ({"error": ["a"]}, ["a"]),
        ({"error": 500}, 500),
        (VLLM, VLLM),
        (SimpleNamespace(error=OPENAI), OPENAI),
        (SimpleNamespace(error="overloaded"), "overloaded"),
        (SimpleNamespace(object="error", message="m"), SimpleNamespace(object="error", message="m")),
        (sdk_chunk({"error": OPENAI}), OPENAI),
    ],
    ids=repr,
)
def test_a_body_with_an_error(value: Any, error: Any) -> None:
    assert error_in(value) == error


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        [],
        "error",
        {"error": None},
        {"error": {}},
        {"error": ""},
        {"error": False},
        {"object": "chat.completion.chunk", "error": None},
        sdk_chunk(chunk({"content": "Hi"})),
        [{"error": OPENAI}],
        SimpleNamespace(error=None),
        SimpleNamespace(error={}),
        # What has every attribute has no error for it.
        Mock(),
        Raises(),
        {"error": Raises()},
        {"error": RaisesForAll()},
        SimpleNamespace(error=Raises()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_body_without_one(value: Any) -> None:
    assert error_in(value) is None


def test_a_body_that_will_not_say_what_it_is_has_none() -> None:
    assert error_in(RaisesForAll()) is None


@given(nonsense_of(["error", "object", "message", "choices"]))
def test_nothing_raises_whatever_the_value_is(value: Any) -> None:
    error_in(value)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OPENAI, "No such model"),
        (VLLM, "No such model"),
        ("overloaded", "overloaded"),
        ({"code": 5}, "{'code': 5}"),
        ({"message": "", "code": 5}, "{'message': '', 'code': 5}"),
        ({"message": "x" * 1000}, "x" * 300),
        ("x" * 1000, "x" * 300),
    ],
    ids=lambda value: str(value)[:20],
)
def test_the_message_of_an_error(error: Any, message: str) -> None:
    assert message_of(error) == message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", ""),
        (b"  Bad Gateway\n", "Bad Gateway"),
        (b"<html>" + b"x" * 1000, "<html>" + "x" * 294),
        (json.dumps({"error": OPENAI}).encode(), "No such model"),
        (json.dumps({"error": "overloaded"}).encode(), "overloaded"),
        (json.dumps(VLLM).encode(), "No such model"),
        (b'{"message": "No such route"}', "No such route"),
        (b'{"detail": "Not Found"}', '{"detail": "Not Found"}'),
        (b'{"error": null, "message": ""}', '{"error": null, "message": ""}'),
        (b'{"error": "cut', '{"error": "cut'),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"[" * 100_000, "[" * 300),
        (b"5", "5"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_the_message_in_the_body_of_an_http_error(body: bytes, message: str) -> None:
    assert message_in_body(body) == message
