"""Runs the checks against a server and judges the responses.

- An anomaly that a model can cause behind a correct server is attributed to the model if it occurs streamed and not
  streamed. All other anomalies, and those that occur only one way, are faults of the server.
- If the two responses differ, both requests are repeated. If both responses stay the same, streaming is at fault;
  otherwise the server's responses vary, and nothing can be concluded.
- A request that the server rejects (status 4xx) both ways is not supported, which is no fault. Neither is a server that
  is busy (408, 425, 429).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

from otel_llm.probe.answers import Answer, Server
from otel_llm.probe.battery import CITIES, FOLLOWING
from otel_llm.probe.check import Check, Finding

Status = Literal["ok", "fault", "model", "not judged"]

# A server passes on what the model writes.
_MODELS_OWN = frozenset(
    {
        "arguments_not_object",
        "duplicate_call",
        "empty_arguments",
        "empty_response",
        "invalid_json",
        "invalid_unicode",
        "repetition",
        "schema_violation",
        "unknown_tool",
    }
)


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


async def run_checks(server: Server, checks: Sequence[Check]) -> AsyncIterator[Result]:
    """A result for each check, one after the other."""
    for check in checks:
        began = perf_counter()
        if check.way == "cancel":
            findings = await _cancelled(server, check)
        elif check.way == "concurrent":
            findings = await _concurrent(server, check)
        else:
            findings = await _both_ways(server, check)
        yield Result(check, _once_each(findings), perf_counter() - began)


async def _both_ways(server: Server, check: Check) -> list[Finding]:
    streamed = await server.ask(check.request, stream=True)
    whole = await server.ask(check.request, stream=False)
    findings = [*_failures(streamed, whole), *_anomalies(check, streamed, whole)]
    good = [answer for answer in (streamed, whole) if not answer.error]
    for answer in good:
        for expect in check.expects:
            findings.extend(expect(answer))
    if len(good) == 2:
        findings.extend(await _compared(server, check, streamed, whole))
    return findings


def _failures(*answers: Answer) -> Iterator[Finding]:
    if all(answer.refused for answer in answers):
        yield Finding("unjudged", f"the server rejects it: {answers[0].status} {answers[0].error}")
        return
    for answer in answers:
        if answer.busy:
            yield Finding("unjudged", f"{answer.way}: the server is busy: {answer.status} {answer.error}")
        elif answer.error:
            status = f"status {answer.status}, " if answer.status not in {0, 200} else ""
            yield Finding("fault", f"{answer.way}: {status}{answer.error}")


def _anomalies(check: Check, *answers: Answer) -> Iterator[Finding]:
    types = [_types(answer) for answer in answers]
    in_all = set.intersection(*types) if len(types) > 1 else set()
    for answer in answers:
        for anomaly, _ in answer.verdict.anomalies if answer.verdict is not None else ():
            if anomaly.type in check.allowed:
                continue
            if anomaly.type == "truncated":
                yield Finding("unjudged", f"{answer.way}: max_tokens cut the call off")
                continue
            kind: Literal["model", "fault"] = "fault"
            if anomaly.type in _MODELS_OWN and (len(answers) == 1 or anomaly.type in in_all):
                kind = "model"
            yield Finding(kind, f"{answer.way}: {anomaly.type}, {anomaly.detail}")


def _types(answer: Answer) -> set[str]:
    return {anomaly.type for anomaly, _ in answer.verdict.anomalies} if answer.verdict is not None else set()


async def _compared(server: Server, check: Check, streamed: Answer, whole: Answer) -> list[Finding]:
    if _alike(streamed, whole):
        return []
    streamed_again = await server.ask(check.request, stream=True)
    whole_again = await server.ask(check.request, stream=False)
    if _alike(streamed, streamed_again) and _alike(whole, whole_again):
        ways = f"streamed: {_summary(streamed)}; not streamed: {_summary(whole)}"
        return [Finding("fault", f"the responses differ in the same way each time; {ways}")]
    return [Finding("unjudged", "the server's responses vary, so streamed and not streamed cannot be compared")]


def _alike(one: Answer, other: Answer) -> bool:
    def compared(answer: Answer) -> list[object]:
        return [
            (choice.index, [(call.name, call.meaning) for call in choice.calls], choice.has_text, choice.finish_reason)
            for choice in answer.choices()
        ]

    return compared(one) == compared(other)


def _summary(answer: Answer) -> str:
    return " | ".join(str(choice) for choice in answer.choices()) or "no choice"


async def _cancelled(server: Server, check: Check) -> list[Finding]:
    """Disconnect after the first reads of a stream. The next request must be answered normally."""
    stopped = await server.ask(check.request, stream=True, chunks=2)
    findings = [*_failures(stopped), *_anomalies(check, stopped)]
    if stopped.error:
        return findings
    if stopped.verdict is not None and stopped.verdict.outcome != "closed":
        findings.append(Finding("unjudged", "the response ended before the client could disconnect"))
    following = await server.ask(FOLLOWING, stream=True)
    found = [*_failures(following), *_anomalies(check, following)]
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
        findings += [*_failures(answer), *_anomalies(check, answer)]
        for expect in check.expects if not answer.error else ():
            findings += expect(answer)
    ids = [call.id for answer in answers if answer.recording is not None for call in answer.recording.calls if call.id]
    if len(set(ids)) < len(ids):
        findings.append(Finding("remark", "calls of different responses share an id"))
    return findings


def _once_each(findings: Sequence[Finding]) -> list[Finding]:
    return list(dict.fromkeys(findings))
