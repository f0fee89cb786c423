"""What a server sends at /completions, the API before chat completions."""

from __future__ import annotations

from typing import Any

from otel_llm.demo.scripted_server import DONE, MODEL

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
REQUEST: dict[str, Any] = {"model": "tiny", "prompt": "Once upon"}


def text_choice(text: Any, finish_reason: Any = None, index: Any = 0) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish_reason}


def completion(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A response or, which looks the same, a chunk."""
    head = {"id": "cmpl-scripted", "object": "text_completion", "created": 1_700_000_000, "model": MODEL}
    return {**head, "choices": list(choices), **fields}


def pieces(*texts: str, finish_reason: str = "stop") -> list[Any]:
    """A stream of these texts, with its end."""
    return [
        *(completion(text_choice(text)) for text in texts),
        completion(text_choice("", finish_reason)),
        completion(usage=USAGE),
        DONE,
    ]
