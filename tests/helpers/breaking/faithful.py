"""Whether an application sees what it should where a part of the rewriting fails."""

from __future__ import annotations

import json
import re
from typing import Any


def same(one: list[Any], other: list[Any]) -> bool:
    """Equal, but for the ids that the rewriting makes up."""
    return _spelled(one) == _spelled(other)


def nothing_lost(got: list[Any], bare: list[Any], rewritten: list[Any]) -> bool:
    """Whether `got` begins as the rewritten text and goes on as the bare one, without a gap between the two.

    A call of which the application has got a part is not taken back: what it has got of it may be missing in the text.
    """
    if _frame(got) not in (_frame(bare), _frame(rewritten)):
        return False
    text, bare_text, new_text = map(_text, (got, bare, rewritten))
    if text.split() == bare_text.split():
        return True
    has_a_call = any(mark in _spelled(got) for mark in ('"tool_calls": [{', '"type": "function_call"'))
    unchanged = _agreement(bare_text, new_text)
    return any(
        bare_text.endswith(text[at:]) and (has_a_call or at > unchanged) for at in range(_agreement(text, new_text) + 1)
    )


def _agreement(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))


def _spelled(saw: list[Any]) -> str:
    return re.sub(r"(call|fc|msg|rs)_[0-9a-f]{24}", r"\1", json.dumps(saw, default=repr))


def _dicts(saw: list[Any]) -> list[dict[str, Any]]:
    return [seen[1] for seen in saw if isinstance(seen, tuple) and isinstance(seen[1], dict)]


def _choices(saw: list[Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each choice with its delta or message."""
    dicts = _dicts(saw)
    choices = [choice for one in dicts for choice in one.get("choices", ())]
    return [(choice, choice.get("delta") or choice.get("message") or {}) for choice in choices]


def _text(saw: list[Any]) -> str:
    texts = []
    for _, said in _choices(saw):
        # Thoughts that moved stand before the text that they were taken out of.
        texts.append(said.get("reasoning_content") or "")
        content = said.get("content") or ""
        texts += [content] if isinstance(content, str) else [part["text"] for part in content]
    for one in _dicts(saw):
        if one.get("type") == "response.output_text.delta":
            texts.append(one["delta"])
        for item in one.get("output") or ():
            texts += [part.get("text") or "" for part in item.get("content") or ()]
    return "".join(texts)


def _frame(saw: list[Any]) -> list[Any]:
    """All that the rewriting has no business with."""
    frame: list[Any] = [
        one
        for one in json.loads(json.dumps(saw, default=repr))
        # Of the events of the Responses API, some come and go.
        if not (isinstance(one, list) and isinstance(one[1], dict) and str(one[1].get("type")).startswith("response."))
    ]
    for one in frame:
        if isinstance(one, list) and isinstance(one[1], dict):
            one[1].pop("output", None)
            for choice in one[1].get("choices", ()):
                said = choice.get("delta") or choice.get("message") or {}
                said.pop("content", None)
                said.pop("tool_calls", None)
                said.pop("reasoning_content", None)
                choice.pop("finish_reason", None)
    return frame
