"""Gemini's responses as the facts of a recording."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_llm.demo.scripted_gemini import (
    call_in_pieces,
    call_part,
    candidate,
    response,
    responses,
    text_part,
    text_pieces,
    whole,
)
from otel_llm.diagnosis.case import Case
from otel_llm.diagnosis.judges import diagnose
from otel_llm.protocol.dialects import EitherEvents
from otel_llm.protocol.gemini_responses import GeminiResponses
from otel_llm.protocol.recording import Recording
from tests.helpers.plain_text import PLAIN_TEXT

FORMS = {"wire": lambda value: value, "SDK": types.GenerateContentResponse.model_validate}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Any:
    return FORMS[request.param]


def read(values: list[Any], *, ends: bool = True) -> Recording:
    recording = Recording()
    reader = GeminiResponses(recording)
    for at, value in enumerate(values):
        reader.feed(value, at, at + 1)
    if ends:
        recording.end("completed", len(values))
    return recording


def anomalies(recording: Recording) -> list[str]:
    return [one.type for one in diagnose(Case(recording, None, 10))]


def calls(recording: Recording) -> list[tuple[str | None, str | None, str]]:
    return [(call.name, call.id, call.arguments) for call in recording.calls]


def test_a_stream(form: Any) -> None:
    parts = ([text_part("hm", thought=True)], [text_part("Su")], [text_part("re.")], [call_part("f", {"é": 1})])
    recording = read([form(value) for value in responses(*parts, [text_part("")])])
    (choice,) = recording.choices
    assert (choice.reasoning.whole, choice.text.whole, choice.finish_reason) == ("hm", "Sure.", "tool_calls")
    assert calls(recording) == [("f", None, '{"é": 1}')]
    assert (recording.response_id, recording.response_model) == ("gemini-scripted", "scripted-model")
    assert recording.usage.prompt_tokens == 3
    assert recording.chunk_count == 5
    assert anomalies(recording) == []


def test_parts_of_one_response(form: Any) -> None:
    parts = [text_part("hm", thought=True), text_part("Sure."), call_part("f", {}), call_part("g", {"a": 1}, id="x")]
    recording = read([form(value) for value in responses(parts)])
    assert calls(recording) == [("f", None, "{}"), ("g", "x", '{"a": 1}')]
    assert recording.choices[0].text.whole == "Sure."
    assert anomalies(recording) == []


def test_candidates(form: Any) -> None:
    pieces = call_in_pieces("f", *text_pieces("$.a", "abcdefgh"))
    stream = [response(candidate(part, index=0), candidate([text_part("x")], index=1)) for part in pieces]
    stream.append(response(candidate([], "STOP", 0), candidate([], "MAX_TOKENS", 1)))
    recording = read([form(value) for value in stream])
    assert [choice.finish_reason for choice in recording.choices] == ["tool_calls", "length"]
    assert calls(recording) == [("f", None, '{"a":"abcdefgh"}')]
    assert recording.choices[1].text.whole == "x" * len(pieces)


def test_a_call_in_pieces_is_complete_before_the_stream_ends(form: Any) -> None:
    recording = Recording()
    reader = GeminiResponses(recording)
    notices = [
        [notice.kind for notice in reader.feed(form(value), at, at + 1) or ()]
        for at, value in enumerate(responses(*call_in_pieces("f", *text_pieces("$.a", "x")), finish_reason=None))
    ]
    assert notices == [["detected", "name"], [], ["completed"]]


@pytest.mark.parametrize("reason", [None, "MAX_TOKENS", "STOP"])
def test_a_call_whose_last_part_is_missing(reason: str | None) -> None:
    pieces = call_in_pieces("f", *text_pieces("$.a", "abcdefgh"))[:-1]
    recording = read(responses(*pieces, [text_part("")], finish_reason=reason))
    assert calls(recording) == [("f", None, '{"a":"abcdefgh"}' if reason == "STOP" else '{"a":"abcdefgh')]
    expected = {None: ["missing_finish_reason", "invalid_json"], "MAX_TOKENS": ["truncated"], "STOP": []}
    assert anomalies(recording) == expected[reason]


def test_another_call_completes_the_one_before() -> None:
    first, second = call_in_pieces("f", *text_pieces("$.a", "x")), [call_part("g", {"b": 1})]
    recording = read(responses(*first[:-1], second))
    assert calls(recording) == [("f", None, '{"a":"x"}'), ("g", None, '{"b": 1}')]
    assert anomalies(recording) == []


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "malformed_function_call"),
        ("UNEXPECTED_TOOL_CALL", "unexpected_tool_call"),
        ("CONTINUATION", "continuation"),
        ("OTHER", "other"),
        ("FINISH_REASON_UNSPECIFIED", None),
    ],
)
def test_finish_reasons(form: Any, reason: str, expected: str | None) -> None:
    recording = read([form(value) for value in responses([text_part("Sure.")], finish_reason=reason)])
    assert recording.choices[0].finish_reason == expected


def test_a_blocked_prompt(form: Any) -> None:
    blocked = response(promptFeedback={"blockReason": "SAFETY"})
    recording = read([form(blocked)])
    assert [choice.finish_reason for choice in recording.choices] == ["content_filter"]
    assert anomalies(recording) == []
    unstreamed = Recording()
    GeminiResponses(unstreamed).read_response(form(blocked), 1)
    unstreamed.end("completed", 2)
    assert [choice.finish_reason for choice in unstreamed.choices] == ["content_filter"]


def test_what_the_server_ran_is_no_call(form: Any) -> None:
    code = {"executableCode": {"code": "print(1)", "language": "PYTHON"}}
    result = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}
    grounded = candidate([], "STOP", groundingMetadata={"webSearchQueries": ["x"]})
    recording = read([form(value) for value in [*responses([code, result], finish_reason=None), response(grounded)]])
    assert recording.calls == []
    assert recording.choices[0].server_items == 2
    assert anomalies(recording) == []


def test_an_image_is_an_answer(form: Any) -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    assert anomalies(read([form(value) for value in responses([image])])) == []


def test_usage(form: Any) -> None:
    counts = {
        "promptTokenCount": 10,
        "cachedContentTokenCount": 4,
        "toolUsePromptTokenCount": 5,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 2,
        "totalTokenCount": 20,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 6}],
    }
    usage = read([form({**value, "usageMetadata": counts}) for value in responses([text_part("x")])]).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (15, 5)
    assert usage.prompt_tokens_details == {"cached_tokens": 4, "audio_tokens": 6}
    assert usage.completion_tokens_details == {"reasoning_tokens": 2, "audio_tokens": None}


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_whole_response(form: Any, wrapped: bool) -> None:
    parts = (text_part("hm", thought=True), text_part("Sure."), call_part("f", {"a": 1}), call_part("f", {"a": 2}))
    value = form(whole(*parts))
    if wrapped:
        value = SimpleNamespace(candidates=None, sdk_http_response=SimpleNamespace(body=json.dumps(whole(*parts))))
    recording = Recording()
    GeminiResponses(recording).read_response(value, 1)
    recording.end("completed", 2)
    assert calls(recording) == [("f", None, '{"a": 1}'), ("f", None, '{"a": 2}')]
    (choice,) = recording.choices
    assert (choice.reasoning.whole, choice.text.whole, choice.finish_reason) == ("hm", "Sure.", "tool_calls")
    assert anomalies(recording) == []


def test_an_api_is_told_by_its_first_response(form: Any) -> None:
    recording = Recording()
    events = EitherEvents(recording)
    for at, value in enumerate(responses([text_part("Su")], [call_part("f", {})])):
        events.feed(form(value), at, at + 1)
    recording.end("completed", 3)
    assert calls(recording) == [("f", None, "{}")]
    unstreamed = Recording()
    EitherEvents(unstreamed).read_response(form(whole(call_part("f", {}))), 1)
    assert len(unstreamed.calls) == 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | PLAIN_TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN_TEXT, inner, max_size=3),
        max_leaves=12,
    ),
    st.integers(1, 5),
)
@settings(max_examples=60)
def test_arguments_in_pieces_are_what_they_are_made_of(value: Any, size: int) -> None:
    arguments = {"a": value, "b": [{"c": value}], "text": '\U0001f600\u2028"\\ end'}
    pieces = list(pieces_of("$", arguments, size))
    recording = read(responses(*call_in_pieces("f", *pieces)))
    assert without_empty(json.loads(recording.calls[0].arguments)) == without_empty(arguments)


def pieces_of(path: str, value: Any, size: int) -> Any:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from pieces_of(f"{path}[{json.dumps(name)}]", inner, size)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from pieces_of(f"{path}[{place}]", inner, size)
    elif isinstance(value, str):
        yield from text_pieces(path, value, size) if value else [{"jsonPath": path, "stringValue": ""}]
    else:
        kind = "boolValue" if isinstance(value, bool) else "nullValue" if value is None else "numberValue"
        yield {"jsonPath": path, kind: value}


def without_empty(value: Any) -> Any:
    """Without containers that are empty, for which there are no pieces."""
    if isinstance(value, dict):
        kept = {name: without_empty(inner) for name, inner in value.items()}
        return {name: inner for name, inner in kept.items() if inner not in ({}, [])}
    if isinstance(value, list):
        return [inner for inner in map(without_empty, value) if inner not in ({}, [])]
    return value


class Raising:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __bool__(self) -> bool:
        raise RuntimeError


HOSTILE: list[Any] = [
    None,
    {},
    [],
    "text",
    Raising(),
    {"candidates": None},
    {"candidates": [None, 1, "x", Raising()]},
    {"candidates": [{"index": 2**70, "content": {"parts": [None]}}]},
    {"candidates": [{"index": -1, "content": {"parts": "x"}, "finishReason": 5}]},
    response(candidate([{"functionCall": None}, {"functionCall": {}}, {"functionCall": 7}, {"functionCall": []}])),
    response(candidate([{"functionCall": {"name": 5, "args": "x"}}, {"functionCall": {"name": "f", "args": [1]}}])),
    response(candidate([{"functionCall": {"name": "f", "args": Raising()}}])),
    response(candidate([{"functionCall": {"name": "f", "partialArgs": [None, 5, {"jsonPath": 5}]}}])),
    response(candidate([{"functionCall": {"name": "f", "willContinue": True}}])),
    *(
        response(candidate([{"functionCall": {"partialArgs": [{"jsonPath": path, kind: 1}], "willContinue": True}}]))
        for path in ("", "$", "$..a", "$.a[99999999999]", "$" + ".a" * 100, "$.a.b", "$.a[0]", "$.a", "x" * 5000)
        for kind in ("stringValue", "numberValue", "boolValue", "nullValue", "other")
    ),
    response(candidate([{"functionCall": {"partialArgs": [{"jsonPath": "$.a", "numberValue": float("nan")}]}}])),
    response(candidate([text_part("\ud800")])),
    response(candidate([{"text": 5}, {"text": Raising()}, {"thought": True}])),
    response(candidate([], "NEW_REASON"), usageMetadata={"promptTokenCount": -1, "candidatesTokenCount": "x"}),
    {"usageMetadata": Raising(), "promptFeedback": Raising(), "responseId": 5, "modelVersion": []},
    {"response": {"candidates": [1]}},
    {"sdk_http_response": {"body": "[" * 100_000}},
]


def test_hostile_responses() -> None:
    recording = read(HOSTILE)
    anomalies(recording)
    assert recording.chunk_count == len(HOSTILE)
    for value in HOSTILE:
        recording = Recording()
        GeminiResponses(recording).read_response(value, 1)
        recording.end("completed", 2)
        anomalies(recording)


def test_many_candidates_and_calls_are_bounded() -> None:
    recording = Recording()
    reader = GeminiResponses(recording)
    for at in range(500):
        begun = {"functionCall": {"name": "f", "willContinue": True}}
        reader.feed(response(candidate([begun], index=at)), at, at + 1)
        reader.feed(response(candidate([call_part("f", {})], index=0)), at, at + 1)
    recording.end("completed", 500)
    assert len(recording.choices) == recording.limits.choices
    assert len(recording.calls) == recording.limits.calls
    assert recording.over_calls > 0
