"""Judges the bytes of a response: how they were framed, whatever they say.  Pure.

- A stream that broke off, or that the caller stopped, lacks its end anyway.
- A header that the file does not have is no wrong header.
- The line that is no event may hold anything, so only the name of its field is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from otel_llm.diagnosis.case import Case, Finding
from otel_llm.diagnosis.wording import number, shown
from otel_llm.protocol.event_stream import MEDIA_TYPE
from otel_llm.protocol.framing import Framing
from otel_llm.protocol.request import Api

_STREAM = "text/event-stream"
_ENDS_WITH_DONE: frozenset[Api] = frozenset({"chat", "completions"})
_STREAMS_OF: Mapping[Api, str] = {"converse": MEDIA_TYPE}


def framing(case: Case) -> Iterable[Finding]:
    return () if case.framing is None else _of_bytes(case, case.framing)


def _of_bytes(case: Case, facts: Framing) -> Iterator[Finding]:
    if facts.strays:
        yield Finding("invalid_framing", _strays(facts))
    if case.recording.choices:
        detail = _wrong_content_type(case, facts)
        if detail is not None:
            yield Finding("wrong_content_type", detail)
    if facts.is_stream and not facts.is_done and case.api in _ENDS_WITH_DONE and _was_finished(case):
        yield Finding("missing_done", "the stream ended without [DONE]")


def _strays(facts: Framing) -> str:
    where = f"at byte {facts.first_stray}" if facts.strays == 1 else f"the first at byte {facts.first_stray}"
    told = f" ({facts.first_stray_is})" if facts.first_stray_is else ""
    return f"{number(facts.strays, 'line')} that {'is' if facts.strays == 1 else 'are'} no event, {where}{told}"


def _wrong_content_type(case: Case, facts: Framing) -> str | None:
    media = facts.content_type.partition(";")[0].strip().lower()
    named = shown(media)
    if not media:
        return None
    if case.api == "ollama":
        # It streams lines of JSON.
        return None if media.endswith("json") else f"{named} instead of application/x-ndjson"
    stream = _STREAMS_OF.get(case.api, _STREAM)
    if facts.is_stream:
        # A model's own stream may come in AWS's encoding, too.
        return f"{named} instead of {stream}" if media not in {stream, MEDIA_TYPE} else None
    if media in {stream, MEDIA_TYPE}:
        return f"{media}, but the body is no stream"
    if case.recording.outcome == "completed" and case.request is not None and case.request.stream:
        return f"{named}, though a stream was asked for"
    return f"{named} instead of application/json" if not media.endswith("json") else None


def _was_finished(case: Case) -> bool:
    """Whether the server had said all but the end."""
    recording = case.recording
    if recording.outcome != "completed" or not recording.choices:
        return False
    return all(choice.finish_reason is not None for choice in recording.choices)
