"""What failed requests and anomalies say about a server.  Pure.

- An anomaly that a model can cause behind a correct server is attributed to the model if it occurs streamed and not
  streamed. All other anomalies, and those that occur only one way, are faults of the server.
- A character that the model itself did not finish is a remark, unless it is in a call.
- Where only one of the ways was answered, there is nothing to compare, and such an anomaly is the model's.
"""

from __future__ import annotations

from collections.abc import Iterator

from otel_llm.probe.answers import Answer
from otel_llm.probe.check import Check, Finding, Kind

# A server passes on what the model writes.
_MODELS_OWN = frozenset(
    {
        "arguments_not_object",
        "duplicate_call",
        "empty_arguments",
        "empty_response",
        "invalid_json",
        "invalid_unicode",
        "repeated_call",
        "repetition",
        "replacement_character",
        "schema_violation",
        "unknown_tool",
    }
)
# Of what the battery itself sends.
_OF_THE_REQUEST = frozenset(
    {"duplicate_result", "result_without_call", "unacceptable_id", "unacceptable_name", "unanswered_call"}
)
_OK = 200
_CUT: dict[str, str] = {
    "truncated": "max_tokens cut the call off",
    "limit_exceeded": "the response is longer than what is kept of it",
}


def failures(*answers: Answer) -> Iterator[Finding]:
    if all(answer.refused for answer in answers):
        yield Finding("unjudged", f"the server rejects it: {answers[0].status} {answers[0].error}")
        return
    for answer in answers:
        if answer.busy:
            yield Finding("unjudged", f"{answer.way}: the server is busy: {told(answer)}")
        elif answer.error:
            status = f"status {answer.status}, " if answer.status not in {0, 200} else ""
            yield Finding("fault", f"{answer.way}: {status}{answer.error}")
        if not answer.is_utf8:
            yield Finding("fault", f"{answer.way}: the body is not UTF-8; the SDKs cannot read it")


def told(answer: Answer) -> str:
    """What a server says that has no time; within a stream, the status says nothing."""
    return answer.error if answer.status == _OK else f"{answer.status} {answer.error}"


def anomalies(check: Check, *answers: Answer) -> Iterator[Finding]:
    types = [_types(answer) for answer in answers if answer.choices() and not answer.busy]
    in_all = set.intersection(*types) if types else set()
    for answer in answers:
        for anomaly, _ in answer.verdict.anomalies if answer.verdict is not None and not answer.busy else ():
            if anomaly.type in check.allowed:
                continue
            if anomaly.type in _CUT:
                yield Finding("unjudged", f"{answer.way}: {_CUT[anomaly.type]}")
                continue
            kind: Kind = "fault"
            if anomaly.type in _OF_THE_REQUEST:
                kind = "remark"
            elif anomaly.type in _MODELS_OWN and anomaly.type in in_all:
                in_prose = anomaly.type == "replacement_character" and anomaly.tool_call_index is None
                kind = "remark" if in_prose else "model"
            yield Finding(kind, f"{answer.way}: {anomaly.type}, {anomaly.detail}")


def _types(answer: Answer) -> set[str]:
    return {anomaly.type for anomaly, _ in answer.verdict.anomalies} if answer.verdict is not None else set()
