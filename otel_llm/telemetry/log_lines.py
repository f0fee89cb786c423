"""Log lines for people who watch a stream (logger `otel_llm`, level INFO): one line for each thing that happens.

Their text is part of the contract, because people search for it. All text from a model is escaped, so that it cannot
forge a line.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from otel_llm.config import Config
from otel_llm.diagnosis.case import Anomaly
from otel_llm.protocol.choice import Choice, Notice
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest
from otel_llm.protocol.tool_call import ToolCall
from otel_llm.protocol.unicode_text import one_line
from otel_llm.telemetry.redaction import Redaction

logger = logging.getLogger("otel_llm")


def are_wanted(config: Config) -> bool:
    """Whether these lines are logged. Decided once per request; the other functions do not check again."""
    return config.log and logger.isEnabledFor(logging.INFO)


def log_request(request: ChatRequest) -> None:
    logger.info("[LLM REQUEST] stream=%s", request.stream)
    if request.tools:
        logger.info("[OK] Tools: %s", [one_line(name) for name in request.tools])
    if request.tool_choice_text:
        logger.info("Tool choice: %s", one_line(request.tool_choice_text))


def log_notices(config: Config, recording: Recording, notices: Iterable[Notice]) -> None:
    """Log what just happened in a stream, or all of a response that was not streamed."""
    prefix = _prefix(recording)
    for notice in notices:
        for line in _lines(config, prefix, notice):
            logger.info("%s", line)


def log_end(config: Config, recording: Recording, anomalies: Iterable[Anomaly]) -> None:
    prefix = _prefix(recording)
    for choice in recording.choices:
        # Choices with a finish reason were summarized when it came.
        if choice.finish_reason is None and recording.outcome == "completed":
            for line in _summary(config, prefix, choice):
                logger.info("%s", line)
    for anomaly in anomalies:
        # It may quote what the model wrote.
        detail = anomaly.detail if config.redact is None else Redaction(config.redact).text(anomaly.detail)
        logger.info("%s Anomaly: %s (%s)", prefix, anomaly.type, one_line(detail))


def _prefix(recording: Recording) -> str:
    return "[LLM STREAM]" if recording.streamed else "[LLM RESPONSE]"


def _lines(config: Config, prefix: str, notice: Notice) -> Iterator[str]:
    choice, call = notice.choice, notice.call
    if notice.kind == "detected" and call is not None:
        yield f"{prefix} New tool call detected at index {call.index}{_which(choice)}"
    elif notice.kind == "name" and call is not None:
        yield f"{prefix} Tool call [{call.index}] name: {one_line(call.name or '')}{_which(choice)}"
    elif notice.kind == "text":
        yield f"{prefix} Text content started{_which(choice)}"
    elif notice.kind == "finish":
        yield f"{prefix} Finish reason: {one_line(choice.finish_reason or '')}{_which(choice)}"
        yield from _summary(config, prefix, choice)


def _summary(config: Config, prefix: str, choice: Choice) -> Iterator[str]:
    if choice.calls:
        yield f"{prefix} Tool calls completed: {choice.call_count}{_which(choice)}"
        for call in choice.calls:
            name, call_id = one_line(call.name or "None"), one_line(call.id or "None")
            yield f"  [{call.index}] {name}(id={call_id}) args={_arguments(config, call)}"
    elif choice.has_text:
        yield f"{prefix} Response was text-only (no tool calls){_which(choice)}"


def _arguments(config: Config, call: ToolCall) -> str:
    if not config.capture_arguments:
        return "(not captured)"
    arguments = call.arguments_so_far()
    if config.redact is not None and arguments:
        arguments = Redaction(config.redact).text(arguments)
    # Cut before escaping: the limit counts the model's characters.
    return one_line(arguments[: config.argument_limit])


def _which(choice: Choice) -> str:
    """The number of a choice other than the first. Nearly all responses have one choice."""
    return f" (choice {choice.index})" if choice.index else ""
