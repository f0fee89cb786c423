"""The labelled chat completions have the anomalies of their labels in the classes of other SDKs, too.

Many of them are no streams of these servers; what counts is that an SDK's classes are read as the bytes are.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from huggingface_hub import ChatCompletionStreamOutput

from otel_llm.diagnosis.case import Case
from otel_llm.diagnosis.explanations import EXPLANATIONS
from otel_llm.diagnosis.judges import diagnose, diagnose_request
from otel_llm.protocol.dialects import reader_of
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import Api, read_request
from tests.helpers.corpus_streams import Labelled, load, paths
from tests.helpers.mistral_callers import Mistral

OF_BYTES = {one.type for one in EXPLANATIONS if one.group == "The bytes"}
# What these show is in fields that Mistral's models do not have: thoughts beside the content, legacy calls, refusals,
# speech, images, and usage in a choice.
NOT_OF_MISTRAL = {
    "broken-call-in-reasoning-bare",
    "broken-call-in-reasoning-glm",
    "broken-call-in-reasoning-qwen",
    "broken-missing-name-legacy",
    "broken-repetition-thoughts",
    "broken-thoughts-cumulative",
    "healthy-groq-compound",
    "healthy-groq-executed-tools",
    "healthy-groq-executed-tools-beside-text",
    "healthy-groq-executed-tools-reasoning",
    "healthy-openai-audio",
    "healthy-openai-function-call",
    "healthy-openai-refusal",
    "healthy-openai-speech",
    "healthy-openrouter-image",
    "healthy-usage-in-the-choice",
}


REFUSED_BY_MISTRAL = (
    "a piece of a call without its name",
    "a call without arguments",
    "a call that is no function",
    "a choice without a delta",
    "a chunk without a list of choices",
)


def refused_by_mistral(chunk: Any) -> str | None:
    """Why Mistral's SDK raises on a chunk, None if it takes it. Its API sends each call in one piece."""
    if not isinstance(chunk["choices"], list):
        return "a chunk without a list of choices"
    for choice in chunk["choices"]:
        if "delta" not in choice:
            return "a choice without a delta"
        for call in choice["delta"].get("tool_calls") or ():
            function = call.get("function")
            if function is None:
                return "a call that is no function"
            if not isinstance(function.get("name"), str):
                return "a piece of a call without its name"
            if not isinstance(function.get("arguments"), (str, dict)):
                return "a call without arguments"
    return None


def is_of_mistral(labelled: Labelled) -> bool:
    return labelled.name not in NOT_OF_MISTRAL and not any(map(refused_by_mistral, labelled.chunks))


def is_any(_labelled: Labelled) -> bool:
    return True


def in_an_event(chunk: Any) -> Any:
    models = import_module(Mistral.__module__.rpartition(".")[0] + ".models")
    return models.CompletionEvent.model_validate({"data": chunk})


def in_a_data_class(chunk: Any) -> Any:
    # Its parser changes what it is given.
    return ChatCompletionStreamOutput.parse_obj_as_instance(copy.deepcopy(chunk))


def judged(labelled: Labelled, chunks: list[Any], api: Api) -> list[str]:
    asked = read_request(labelled.request)
    recording = Recording(declared=asked.tool_names)
    reader = reader_of(api, recording, asked)
    now = 0
    for chunk, came in zip(chunks, labelled.times, strict=True):
        reader.feed(chunk, now, came)
        now = came
    recording.end(labelled.ends.outcome, max(now, labelled.ends.time_ns or 0))
    found = [*diagnose_request(asked, labelled.provider), *diagnose(Case(recording, asked))]
    return sorted(anomaly.type for anomaly in found)


@pytest.mark.parametrize(
    ("api", "parse", "belongs", "least_healthy"),
    [("mistral", in_an_event, is_of_mistral, 80), ("huggingface", in_a_data_class, is_any, 140)],
    ids=["mistral", "huggingface"],
)
def test_each_stream(
    api: Api, parse: Callable[[Any], Any], belongs: Callable[[Labelled], bool], least_healthy: int
) -> None:
    differing: dict[str, tuple[list[str], list[str]]] = {}
    seen: Counter[str] = Counter()
    for labelled in filter(belongs, map(load, paths())):
        found = judged(labelled, [parse(chunk) for chunk in labelled.chunks], api)
        expected = [name for name in labelled.expected if name not in OF_BYTES]
        if found != expected:
            differing[labelled.name] = (expected, found)
        seen.update(set(found) or {"healthy"})
    assert differing == {}
    assert seen["healthy"] >= least_healthy
    assert len(seen) > 30


def test_the_chunks_that_mistrals_sdk_refuses() -> None:
    """It raises on them, and so the stream ends there, with or without otel-llm."""
    refused: Counter[str] = Counter()
    for labelled in map(load, paths()):
        chunk = next(filter(refused_by_mistral, labelled.chunks), None)
        if chunk is not None:
            refused[str(refused_by_mistral(chunk))] += 1
            with pytest.raises(ValueError, match="validation error"):
                in_an_event(chunk)
    assert set(refused) == set(REFUSED_BY_MISTRAL)
