"""The labelled chat completions have the anomalies of their labels in the classes of other SDKs, too.

Many of them are no streams of these servers; what counts is that an SDK's classes are read as the bytes are.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
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
    ("api", "parse", "but", "most_refused"),
    [("mistral", in_an_event, NOT_OF_MISTRAL, 130), ("huggingface", in_a_data_class, set(), 0)],
    ids=["mistral", "huggingface"],
)
def test_each_stream(api: Api, parse: Callable[[Any], Any], but: set[str], most_refused: int) -> None:
    refused: list[Path] = []
    differing: dict[str, tuple[list[str], list[str]]] = {}
    seen: Counter[str] = Counter()
    for path in paths():
        labelled = load(path)
        if labelled.name in but:
            continue
        try:
            chunks = [parse(chunk) for chunk in labelled.chunks]
        except Exception:
            # The SDK raises, and so the stream ends there.
            refused.append(path)
            continue
        found = judged(labelled, chunks, api)
        expected = [name for name in labelled.expected if name not in OF_BYTES]
        if found != expected:
            differing[labelled.name] = (expected, found)
        seen.update(set(found) or {"healthy"})
    assert differing == {}
    assert len(refused) <= most_refused
    assert seen["healthy"] >= 80
    assert len(seen) > 30
