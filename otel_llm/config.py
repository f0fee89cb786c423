"""Options, from keyword arguments or the environment, read once."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from otel_llm.transparency.faults import attempt

if TYPE_CHECKING:
    from otel_llm.tags import ToolCallTagRewriter, ToolCallTags

_warned: set[str] = set()
_logger = logging.getLogger("otel_llm")

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
_LARGEST = 2**63 - 1
_EVENT_SINKS = frozenset({"span", "log"})
_ANOMALY_STATUSES = frozenset({"unset", "error"})


@dataclass(frozen=True)
class Config:
    """How much is recorded, and where it goes. Every option `name` is also the environment variable `OTEL_LLM_NAME`."""

    capture_arguments: bool = True
    """Record the arguments of tool calls."""
    argument_limit: int = 200
    """Characters of arguments shown in one event or log line."""
    events: frozenset[str] = frozenset({"span"})
    """Where events go: `span`, `log`, both, or nowhere (`none`)."""
    log: bool = True
    """Write a log line when something happens in a stream (logger `otel_llm`, level INFO)."""
    stall_seconds: float = 10.0
    """A longer wait between two chunks is the anomaly `stalled`."""
    loop_turns: int = 3
    """The same call in so many turns in a row, with the same result, is the anomaly `repeated_call`."""
    delta_events: int | None = None
    """Most events with a delta's arguments on one span. None: as many as the span has room for."""
    anomaly_status: Literal["unset", "error"] = "unset"
    """The status of a span with an anomaly: `error`, or `unset` to leave it as it is."""
    redact: Callable[[str], str] | None = None
    """Returns what may be sent of a text (see `telemetry/redaction.py`)."""
    tool_call_tags: Any = None
    """Rewrite tool calls in the text to this: `start,end`, one tag, a format's name, or `openai`. None: leave them."""


class Options(TypedDict, total=False):
    """The same options as keywords of `instrument` and `intercept_llm_requests`. None leaves one to the environment."""

    capture_arguments: bool | None
    argument_limit: int | None
    events: str | Iterable[str] | None
    log: bool | None
    stall_seconds: float | None
    loop_turns: int | None
    delta_events: int | None
    anomaly_status: Literal["unset", "error"] | None
    redact: Callable[[str], str] | str | None
    tool_call_tags: ToolCallTags | ToolCallTagRewriter | str | None


def reject_unknown(function: str, options: Mapping[str, object], others: Collection[str] = ()) -> None:
    """Raise TypeError if `options` has a keyword that is none of `Options`.

    The message names the `function` it was passed to and the keyword most like it, among `others` too.
    """
    names = [entry.name for entry in fields(Config)]
    for name in options:
        if name not in names:
            from difflib import get_close_matches

            known = [*names, *others]
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}; {hint}")


def read_config(options: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read the options: keyword arguments first, then the environment, then the defaults.

    An unusable value is named in a warning, and the next source counts. Unknown keywords are ignored: instrumentors
    share one set of keyword arguments.
    """
    options = options or {}
    environ = os.environ if environ is None else environ
    chosen: dict[str, Any] = {}
    for entry in fields(Config):
        variable = f"OTEL_LLM_{entry.name.upper()}"
        for source, value in (
            (f"{entry.name}=", options.get(entry.name)),
            (variable, (environ.get(variable) or "").strip() or None),
        ):
            if value is None:
                continue
            try:
                chosen[entry.name] = _READERS[entry.name](value)
                if entry.name == "tool_call_tags":
                    _warn_of_misspelling(source, value, is_variable=source == variable)
                break
            except Exception as error:  # noqa: BLE001  converting an arbitrary object may raise anything
                warning = f"{source} {_shown(value)} is not used: {_shown(error, str)}"
                _warn(warning, once=source == variable)
    return Config(**chosen)


def _warn(warning: str, *, once: bool) -> None:
    # Every instrumentor and every intercepted client reads the same variables.
    if not once or warning not in _warned:
        _logger.warning("%s", warning)
        _warned.add(warning)


def _warn_of_misspelling(source: str, value: Any, *, is_variable: bool) -> None:
    from otel_llm.tags.target import doubt_about

    doubt = attempt("a misspelt name", doubt_about, value)
    if doubt is not None:
        _warn(f"{source} {doubt}", once=is_variable)


def _shown(value: object, write: Callable[[object], str] = repr) -> str:
    try:
        return write(value)
    except Exception:  # noqa: BLE001
        return f"({type(value).__name__})"


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("it must be true or false")


def _whole_number(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError("it must be a whole number")
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("it must be a whole number") from None
    if number < 0 or (isinstance(value, float) and number != value):
        raise ValueError("it must be a whole number, 0 or more")
    if number > _LARGEST:
        raise ValueError(f"it must be at most {_LARGEST}")
    return number


def _seconds(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError("it must be a number of seconds")
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("it must be a number of seconds") from None
    if not seconds > 0:
        raise ValueError("it must be more than 0")
    return seconds


def _turns(value: Any) -> int:
    turns = _whole_number(value)
    if turns < 2:
        raise ValueError("it must be 2 or more")
    return turns


def _sinks(value: Any) -> frozenset[str]:
    try:
        names = value.split(",") if isinstance(value, str) else list(value)
    except TypeError:
        names = [value]
    sinks = {str(name).strip().lower() for name in names}
    if sinks == {"none"}:
        return frozenset()
    if not sinks or not sinks <= _EVENT_SINKS:
        raise ValueError("it must be span, log, span,log or none")
    return frozenset(sinks)


def _anomaly_status(value: object) -> str:
    status = str(value).strip().lower()
    if status not in _ANOMALY_STATUSES:
        raise ValueError("it must be unset or error")
    return status


def _redact(value: Any) -> Callable[[str], str]:
    """A function, or the one at a Python path `module:function`, which is imported here."""
    if not isinstance(value, str):
        if not callable(value):
            raise TypeError("it must be a function or the path of one, module:function")
        function: Callable[[str], str] = value
        return function
    module, colon, path = value.strip().partition(":")
    if not (module and colon and path):
        raise ValueError("it must be the path of a function, module:function")
    found: Any = import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    if not callable(found):
        raise TypeError("it is no function")
    called: Callable[[str], str] = found
    return called


def _tags(value: Any) -> Any:
    # Most applications rewrite nothing and need not load the rewriter.
    from otel_llm.tags.target import read_target

    return read_target(value)


_READERS: dict[str, Callable[[Any], Any]] = {
    "capture_arguments": _boolean,
    "argument_limit": _whole_number,
    "events": _sinks,
    "log": _boolean,
    "stall_seconds": _seconds,
    "loop_turns": _turns,
    "delta_events": _whole_number,
    "anomaly_status": _anomaly_status,
    "redact": _redact,
    "tool_call_tags": _tags,
}
