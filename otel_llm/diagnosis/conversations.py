"""Judges a response against the conversation before it, and a request by what its provider accepts.  Pure.

A loop: the model makes a call in each of its last turns, and learns nothing, since the result is the same each time.
The turns may also alternate between two calls. Where a result differs (polling, paging), where the response makes
another call besides, or where the user has spoken, there is no loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from otel_llm.diagnosis.case import Anomaly, Case, Finding
from otel_llm.diagnosis.provider_rules import CALL_IDS, TOOL_NAMES, Rule
from otel_llm.diagnosis.wording import listed, number, shown
from otel_llm.protocol.choice import Choice
from otel_llm.protocol.past_calls import (
    MOST_MESSAGES,
    Call,
    PastTurn,
    Results,
    brief,
    past_ids,
    past_turns,
    sent_ids,
)
from otel_llm.protocol.request import ChatRequest


class Run(NamedTuple):
    """So many turns in a row, counting the response's, that make the same calls: one, or two by turns."""

    turns: int = 1
    other: frozenset[Call] = frozenset()
    """The calls of every other turn, if the turns alternate."""


def repeated_call(case: Case, choice: Choice) -> Iterable[Finding]:
    request = case.request
    if request is None or not request.conversation.entries:
        return ()
    turns = past_turns(request.conversation)
    before = next(turns, None)
    return () if before is None else _repeated(case, choice, request, before, turns)


def _repeated(
    case: Case, choice: Choice, request: ChatRequest, before: PastTurn, turns: Iterator[PastTurn]
) -> Iterator[Finding]:
    made = _made(case, choice)
    if not made:
        return
    run = _run(made, before, turns)
    case.repeated_turns = max(case.repeated_turns, run.turns if run.turns > 1 else 0)
    rounds = run.turns // 2 if run.other else run.turns
    if rounds < case.loop_turns:
        return
    names = listed(sorted({name for name, _ in made}))
    if run.other:
        others = listed(sorted({name for name, _ in run.other}))
        detail = f"{names} and {others} by turns, {run.turns} times, with the same arguments and the same results"
    else:
        detail = f"{names} in {run.turns} turns in a row, with the same arguments and the same result"
    if request.conversation.unread:
        detail += f"; of the messages, the last {MOST_MESSAGES} were read"
    yield Finding("repeated_call", detail)


def _made(case: Case, choice: Choice) -> frozenset[Call]:
    """The calls of a choice by what they mean; none if not all of them are known."""
    if choice.over_calls:
        return frozenset()
    made = set()
    for call in choice.calls:
        if call.name is None or call.exceeds_limit or not case.is_final(choice, call):
            return frozenset()
        made.add((call.name, brief(case.meaning(call))))
    return frozenset(made)


def _run(made: frozenset[Call], before: PastTurn, turns: Iterator[PastTurn]) -> Run:
    """How long the response, the turn `before` it and the earlier `turns`, the last one first, repeat one another."""
    calls = before.meanings()
    results = _results(before, calls, made)
    if results is None:
        return _alternation(made, before, frozenset(calls), turns)
    count = 2
    for turn in turns:
        if _results(turn, turn.meanings(), made) != results:
            break
        count += 1
    return Run(count)


def _alternation(made: frozenset[Call], before: PastTurn, other: frozenset[Call], turns: Iterator[PastTurn]) -> Run:
    """The same for turns that alternate between `made` and the calls of the turn before."""
    wanted = (made, other)
    results: list[list[Results] | None] = [None, None]
    count = 2
    for position, turn in enumerate(turns):
        if not position:
            # First whether there can be one at all, because reading results takes longer.
            if not made.isdisjoint(other) or frozenset(turn.meanings()) != made:
                return Run()
            results[1] = _results(before, before.meanings(), other)
            if results[1] is None:
                return Run()
        which = position % 2
        calls = turn.meanings()
        found = _results(turn, calls, wanted[which]) if frozenset(calls) == wanted[which] else None
        if found is None or (results[which] is not None and found != results[which]):
            break
        results[which] = found
        count += 1
    return Run(count, other) if count > 3 else Run()


def _results(turn: PastTurn, calls: dict[Call, list[str | None]], made: frozenset[Call]) -> list[Results] | None:
    """The result of each of the calls `made` in a turn; None if it did not make them all, or one has no result."""
    if not made or not made <= calls.keys():
        return None
    found: list[Results] = []
    for call in sorted(made):
        results = turn.results_of(calls[call])
        # A call that was made twice in one turn, with two results, shows that results differ.
        if results is None or len(results) != 1:
            return None
        found.append(results)
    return found


def id_reused(case: Case, choice: Choice) -> Iterable[Finding]:
    if case.request is None:
        return ()
    known = past_ids(case.request.conversation)
    if not known:
        return ()
    return [
        Finding("id_reused", f"{shown(call.id)} is the id of an earlier call of the conversation", call.index)
        for call in choice.calls
        if call.id is not None and call.id in known
    ]


# The request --------------------------------------------------------------------------------------------------


def unacceptable(request: ChatRequest, provider: str | None) -> Iterator[Anomaly]:
    """What the provider is documented to refuse. `provider`: None if it is only presumed."""
    rule = TOOL_NAMES.get(provider or "")
    if rule is not None and rule.is_for(request.api) and request.tools:
        refused = _refused_names(rule, tuple([name for name, tool in request.tools.items() if tool.kind == "function"]))
        if refused:
            yield Anomaly("unacceptable_name", f"{provider} takes {rule.words}, not {_shortly(refused)}")
    rule = CALL_IDS.get(provider or "")
    if rule is not None and rule.is_for(request.api):
        refused = [call_id for call_id in sent_ids(request.conversation) if rule.shape.fullmatch(call_id) is None]
        if refused:
            yield Anomaly("unacceptable_id", f"{provider} takes {rule.words}, not {_shortly(refused)}")


@lru_cache(maxsize=64)
def _refused_names(rule: Rule, names: tuple[str, ...]) -> list[str]:
    """Cached, because an agent sends the same tools with each request."""
    return [name for name in names if rule.shape.fullmatch(name) is None]


def _shortly(texts: Sequence[str]) -> str:
    lengths = [text for text in islice(texts, 4) if len(text) > 80]
    of = f" ({number(len(lengths[0]), 'character')})" if len(texts) == 1 and lengths else ""
    return listed(texts) + of
