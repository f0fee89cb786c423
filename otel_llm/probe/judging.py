"""Runs the checks against a server and judges the responses.

- What an anomaly says about the server is in `findings`.
- If the two responses differ, both requests are repeated. If both responses stay the same, streaming is at fault;
  otherwise the server's responses vary, and nothing can be concluded.
- A request that the server rejects (status 4xx) both ways is not supported, which is no fault.
- A server that is busy, or a gateway that does not reach it, is asked again, and then not judged.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, NamedTuple

from otel_llm.probe.answers import Answer, Server
from otel_llm.probe.battery import CITIES, FOLLOWING, NEXT
from otel_llm.probe.check import Check, Finding
from otel_llm.probe.findings import anomalies, failures, told
from otel_llm.protocol.unicode_text import one_line

Status = Literal["ok", "fault", "model", "not judged"]


@dataclass(frozen=True)
class Result:
    """The result of a check."""

    check: Check
    findings: Sequence[Finding]
    seconds: float

    @property
    def status(self) -> Status:
        kinds = {finding.kind for finding in self.findings}
        if "fault" in kinds:
            return "fault"
        if "unjudged" in kinds:
            return "not judged"
        return "model" if "model" in kinds else "ok"


async def run_checks(
    server: Server, checks: Sequence[Check], starts: Callable[[Check], None] = lambda _: None
) -> AsyncIterator[Result]:
    """A result for each check, one after the other. `starts`: is called with each check before it runs."""
    for check in checks:
        starts(check)
        began = perf_counter()
        if check.way == "cancel":
            findings = await _cancelled(server, check)
        elif check.way == "concurrent":
            findings = await _concurrent(server, check)
        elif check.way == "turns":
            findings = await _turns(server, check)
        else:
            findings = await _both_ways(server, check)
        yield Result(check, _once_each(findings), perf_counter() - began)


async def _both_ways(server: Server, check: Check) -> list[Finding]:
    streamed = await server.ask(check.request, stream=True)
    whole = await server.ask(check.request, stream=False)
    findings = [*failures(streamed, whole), *anomalies(check, streamed, whole)]
    good = [answer for answer in (streamed, whole) if not answer.error]
    for answer in good:
        for expect in check.expects:
            findings.extend(expect(answer))
    if len(good) == 2:
        findings.extend(await _compared(server, check, streamed, whole))
    return findings


async def _compared(server: Server, check: Check, streamed: Answer, whole: Answer) -> list[Finding]:
    if _came_twice(streamed, whole):
        return [Finding("fault", "streamed: the text came twice")]
    alike = _Comparison(check.compares_thoughts, server.api.shows_cut_calls).alike
    if alike(streamed, whole):
        return []
    streamed_again = await server.ask(check.request, stream=True)
    whole_again = await server.ask(check.request, stream=False)
    for again in (streamed_again, whole_again):
        if again.busy:
            return [Finding("unjudged", f"asked again, {again.way}: the server is busy: {told(again)}")]
    if alike(streamed, streamed_again) and alike(whole, whole_again):
        ways = f"streamed: {_summary(streamed)}; not streamed: {_summary(whole)}"
        return [Finding("fault", f"the responses differ in the same way each time; {ways}")]
    return [Finding("unjudged", "the server's responses vary, so streamed and not streamed cannot be compared")]


def _came_twice(streamed: Answer, whole: Answer) -> bool:
    """Whether a streamed text is the other one twice, in each delta or as a whole."""
    texts = [
        {choice.index: choice.text.whole for choice in answer.recording.choices} if answer.recording is not None else {}
        for answer in (streamed, whole)
    ]
    return any(text and texts[0].get(index) == text * 2 for index, text in texts[1].items())


class _Comparison(NamedTuple):
    """What is compared of two responses: whether there are thoughts, and calls of a choice that was cut."""

    thoughts: bool
    cut_calls: bool

    def alike(self, one: Answer, other: Answer) -> bool:
        return self._compared(one) == self._compared(other)

    def _compared(self, answer: Answer) -> list[object]:
        return [
            (
                choice.index,
                [(call.name, call.meaning) for call in choice.calls]
                if self.cut_calls or choice.finish_reason != "length"
                else (),
                choice.has_text,
                choice.finish_reason,
                self.thoughts and choice.has_thoughts,
            )
            for choice in answer.choices()
        ]


def _summary(answer: Answer) -> str:
    return " | ".join(str(choice) for choice in answer.choices()) or "no choice"


async def _cancelled(server: Server, check: Check) -> list[Finding]:
    """Disconnect after the first reads of a stream. The next request must be answered normally."""
    stopped = await server.ask(check.request, stream=True, chunks=2)
    findings = [*failures(stopped), *anomalies(check, stopped)]
    if stopped.error:
        return findings
    if stopped.verdict is not None and stopped.verdict.outcome != "closed":
        findings.append(Finding("unjudged", "the response ended before the client could disconnect"))
    following = await server.ask(FOLLOWING, stream=True)
    found = [*failures(following), *anomalies(check, following)]
    findings += [Finding(one.kind, f"the request after it, {one.text}") for one in found]
    return findings


async def _concurrent(server: Server, check: Check) -> list[Finding]:
    """One request for each city. A response with another request's city belongs to that request."""
    question = check.request["messages"][0]["content"]
    requests = [
        {**check.request, "messages": [{"role": "user", "content": question.replace(CITIES[0], city)}]}
        for city in CITIES
    ]
    answers = await asyncio.gather(*(server.ask(request, stream=True) for request in requests))
    findings = []
    for city, answer in zip(CITIES, answers, strict=True):
        written = " ".join(call.arguments for call in answer.calls)
        others = [other for other in CITIES if other in written]
        if others and city not in others:
            findings.append(
                Finding("fault", f"the response to the request for {city} belongs to another request, for {others[0]}")
            )
        findings += [*failures(answer), *anomalies(check, answer)]
        for expect in check.expects if not answer.error else ():
            findings += expect(answer)
    ids = [call.id for answer in answers if answer.recording is not None for call in answer.recording.calls if call.id]
    if len(set(ids)) < len(ids):
        findings.append(Finding("remark", "calls of different responses share an id"))
    return findings


async def _turns(server: Server, check: Check) -> list[Finding]:
    """A request whose answer has calls, and the next turn, which calls again: no id may come twice."""
    firsts = [await server.ask(check.request, stream=stream) for stream in (True, False)]
    findings = [*failures(*firsts), *anomalies(check, *firsts)]
    seconds = []
    for first in firsts:
        if first.error:
            continue
        for expect in check.expects:
            findings += expect(first)
        if not first.calls:
            continue
        second = await server.ask(_next_turn(check.request, first), stream=first.streamed)
        seconds.append(second)
        if not second.error and not second.calls:
            findings.append(Finding("unjudged", f"the next turn, {second.way}: the model made no call"))
        before = {call.id for call in first.calls if call.id}
        for call in second.calls:
            if call.id in before:
                id_ = one_line(call.id[:80])
                findings.append(Finding("fault", f"the next turn, {second.way}: the id {id_} was given before"))
    if seconds:
        found = [*failures(*seconds), *anomalies(check, *seconds)]
        findings += [Finding(one.kind, f"the next turn, {one.text}") for one in found]
    return findings


def _next_turn(request: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    """The request that sends the results of an answer's calls, and asks for another call."""
    ids = [call.id or f"probe000{number}" for number, call in enumerate(answer.calls, 1)]
    calls = [
        {"id": id_, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
        for id_, call in zip(ids, answer.calls, strict=True)
    ]
    results = [{"role": "tool", "tool_call_id": id_, "content": '{"degrees": 21}'} for id_ in ids]
    turn = [{"role": "assistant", "content": None, "tool_calls": calls}, *results, NEXT]
    return {**request, "messages": [*request["messages"], *turn], "tool_choice": "required"}


def _once_each(findings: Sequence[Finding]) -> list[Finding]:
    return list(dict.fromkeys(findings))
