"""Judges calls that a server left in the thoughts, so that nobody makes them.  Pure."""

from __future__ import annotations

from collections.abc import Iterable

from otel_llm.diagnosis.case import Case, Finding
from otel_llm.diagnosis.wording import listed, number
from otel_llm.protocol.choice import Choice


def call_in_reasoning(case: Case, choice: Choice) -> Iterable[Finding]:
    if choice.calls or not case.names_tool(choice):
        return ()
    calls = case.thought_calls(choice)
    if not calls:
        return ()
    names = listed(sorted({name for name, _ in calls}))
    syntaxes = listed(sorted({syntax for _, syntax in calls}))
    detail = f"{number(len(calls), 'call')} of {names} in the thoughts, in the syntax {syntaxes}, and nothing else"
    return (Finding("call_in_reasoning", detail),)


def calls_in_thoughts(case: Case, choice: Choice) -> list[tuple[str, str]]:
    """Tool and syntax of each whole call in the thoughts, if the choice made no call and has no answer."""
    request = case.request
    if request is None or not request.tools or choice.call_count or choice.server_items or choice.has_media:
        return []
    if not case.is_settled(choice) or case.was_cut_off(choice):
        return []
    if not case.names_tool(choice):
        return []
    thoughts, text, tools = choice.reasoning.whole, choice.text.whole, request.tools
    from otel_llm.diagnosis.answer_text import read_answer  # slow to import, and rarely needed
    from otel_llm.diagnosis.text_leak import find_leaks

    marked: list[str] = []
    if text.strip():
        answer = case.answer(choice)
        if answer.leaks or answer.unread or not is_empty(answer.rest):
            return []
        marked = [thought.inner for thought in answer.thoughts]
    found = []
    for thought in (thoughts, *marked):
        if any(name in thought for name in tools):
            read = read_answer(thought, tools, case.budget, marked_only=request.wants_json)
            # Thoughts may have marks of their own.
            inner = [leak for one in read.thoughts for leak in find_leaks(one.inner, tools, case.budget).found]
            found += [(leak.name or "", leak.format) for leak in (*read.leaks, *inner)]
    return found


def is_empty(rest: str) -> bool:
    """Whether there is nothing in a text but control tokens and white space."""
    if not rest.strip():
        return True
    from otel_llm.tags.control_tokens import tokens_in

    place = len(rest)
    for token in sorted(tokens_in(rest), key=lambda token: -token.start):
        if rest[token.end : place].strip():
            return False
        place = token.start
    return not rest[:place].strip()
