"""Judges markup in a text that a server should have taken out: control tokens, lone tags, thoughts.  Pure.

Both are judged only where the request is known: if it holds the token or the mark, the model repeats it. In a text
completion both are the application's business, which writes the prompt with the marks of the model's own format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property

from otel_llm.diagnosis.bounds import judged_part
from otel_llm.diagnosis.case import Case, Finding
from otel_llm.diagnosis.wording import listed, number, shown
from otel_llm.protocol.choice import Choice
from otel_llm.protocol.request import ChatRequest
from otel_llm.protocol.tool_call import ToolCall

# Models whose providers document marked thoughts as the form of their answers, by a part of the name.
_THINKS_IN_TEXT = (
    "minimax",  # https://platform.minimax.io/docs/api-reference/text-openai-api
    "sonar-reasoning",  # https://docs.perplexity.ai/models/models/sonar-reasoning-pro
    "r1-1776",
)
# Different tokens that are looked for in the request. Of a text with more, these are accused.
_MOST_SOUGHT = 64
# What a token consists of besides a role or a name.
_CORE = re.compile(r"<[^<>=\s]*[=>]?|\S+")
# A part of every token and of every mark, however it is cut. Most texts have none, and need not be looked into.
MARKUP = re.compile("[<>\\[\\]|\uff5c\u25c1\u25b7]")
_MAY_END = re.compile(r"[<>\[\]▷]")


def token_in_arguments(case: Case, choice: Choice) -> Iterator[Finding]:
    """A `token_leak` at the end of a value."""
    for call in choice.calls if case.request is not None else ():
        if _MAY_END.search(call.arguments) is not None:
            token = _token_in_arguments(case, choice, call)
            if token is not None:
                yield Finding("token_leak", f"{shown(token)} at the end of a value in the arguments", call.index)


def token_leak(case: Case, choice: Choice) -> Iterable[Finding]:
    request = case.request
    if request is None or request.api == "completions":
        return ()
    for part in choice.text.parts:
        if MARKUP.search(part) is not None:
            return _leaked_tokens(case, choice, request)
    return ()


def _leaked_tokens(case: Case, choice: Choice, request: ChatRequest) -> Iterator[Finding]:
    if any(call.kind == "text" for call in choice.calls):
        # Calls that were rewritten to tags are what the application wants.
        return
    text = choice.text.whole
    from otel_llm.tags.control_tokens import may_hold_tokens  # slow to import, and rarely needed

    if not may_hold_tokens(judged_part(text)):
        return
    said = _Said(request)
    tokens = [token.text for token in case.answer(choice).tokens()]
    tokens = [token for token in dict.fromkeys(tokens) if not said.holds(token)]
    if tokens:
        yield Finding("token_leak", f"{listed(tokens)} in the text")


def reasoning_leak(case: Case, choice: Choice) -> Iterable[Finding]:
    request = case.request
    if request is None or request.wants_raw_thoughts or request.api == "completions":
        return ()
    for part in choice.text.parts:
        if choice.text_is_thoughts or MARKUP.search(part) is not None:
            return _leaked_thoughts(case, choice, request) if case.is_settled(choice) else ()
    return ()


def _leaked_thoughts(case: Case, choice: Choice, request: ChatRequest) -> Iterator[Finding]:
    text = choice.text.whole
    from otel_llm.tags.thought_marks import CLOSING_MARKS, THOUGHT_MARKS, closing_of
    from otel_llm.tags.thoughts import may_hold_thoughts

    if not choice.text_is_thoughts and not may_hold_thoughts(text):
        return
    models = (request.model.lower(), (case.recording.response_model or "").lower())
    documented = any(name in model for name in _THINKS_IN_TEXT for model in models)
    if choice.text_is_thoughts:
        if text.strip() and not documented:
            size = number(len(text.strip()), "character")
            yield Finding("reasoning_leak", f"the text is {size} of thoughts, without a mark")
        return
    openers = {closing: opening for opening, closing in THOUGHT_MARKS.items() if closing in CLOSING_MARKS}
    said = _Said(request)
    found = [
        thought
        for thought in case.answer(choice).thoughts
        if not said.holds(opening := openers.get(thought.mark) or thought.mark.replace("</think:", "<think:"))
        and not (documented and opening == "<think>")
        and not said.holds(closing_of(opening))
    ]
    if found:
        length = sum(len(thought.inner.strip()) for thought in found)
        marks = listed(sorted({thought.mark for thought in found}))
        yield Finding("reasoning_leak", f"{marks} in the text, with {number(length, 'character')} of thoughts")


class _Said:
    """What a request says, in any letter case. It is read once, and only if there is a token or mark to look for."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._known: dict[str, bool] = {}

    def holds(self, token: str) -> bool:
        """Whether a token or a mark is in it, or this cannot be known."""
        core = _CORE.match(token)
        word = (core.group() if core else token).casefold()
        if word not in self._known:
            if len(self._known) >= _MOST_SOUGHT:
                return True
            self._known[word] = self._text is None or word in self._text
        return self._known[word]

    def has_word(self, word: str) -> bool:
        return self._text is None or re.search(rf"\b{re.escape(word.casefold())}\b", self._text) is not None

    @cached_property
    def _text(self) -> str | None:
        return self._request.said.folded()


def _token_in_arguments(case: Case, choice: Choice, call: ToolCall) -> str | None:
    """The token that a string in the arguments ends with, None if none does."""
    if case.request is None or call.exceeds_limit or not case.is_final(choice, call):
        return None
    from otel_llm.tags.control_tokens import is_word, token_at_end

    said = _Said(case.request)
    pending: list[object] = [call.arguments if case.is_free_text(call) else case.reading(call).value]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            token = token_at_end(value)
            if (
                token is not None
                and not said.holds(token)
                and not (is_word(token) and said.has_word(token.strip("<|>")))
            ):
                return token
        elif isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return None
