"""Checks arguments against the JSON schema that a tool declares.  Pure.

- The schema comes from the application, the arguments from a model. Neither can make this raise, fetch anything or take
  long. A schema that refers outside of itself, is invalid, or is too large is not used; a warning says so, once for
  each.
- `format` is an annotation, not an assertion, as in JSON Schema.
- A validator is made when a tool is first called, and cached.

The validator is `jsonschema_rs`: its patterns run in linear time (or give up after a number of steps, if they look
around), cyclic references end, and it has wheels for all platforms. With a pure Python validator, a pattern could run
for ever.
"""

from __future__ import annotations

import json
import logging
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, NamedTuple

from otel_llm.protocol.json_values import LongNumber

_logger = logging.getLogger("otel_llm")

_LONGEST_SCHEMA = 262_144  # characters
_DEEPEST = 128
# An error describes how each branch failed, and each branch below it. With cyclic references, that grows as the number
# of references to the power of the depth. Beyond this many, the error is reported without saying where.
_MOST_BRANCHES = 256
_PATTERN_STEPS = 10_000
_REFERENCES = ('"$ref"', '"$dynamicRef"', '"$recursiveRef"')


class TooDeepError(ValueError):
    """The arguments are nested too deeply to be checked."""


class _Validator(NamedTuple):
    native: Any
    reference_count: int


def violation(tool_name: str, schema: Any, arguments: dict[str, Any]) -> str | None:
    """The first part of the schema that the arguments break, in the words of the schema.

    Empty if they break it and the place is not known. None if they do not break it, or if that is not known. Raises
    TooDeepError.
    """
    try:
        text = json.dumps(schema)
    except Exception as error:  # noqa: BLE001  the caller's objects may raise anything
        _warn_unchecked(tool_name, f"it is not JSON ({type(error).__name__})")
        return None
    validator = _validator(tool_name, text)
    if validator is None:
        return None
    try:
        value, depth = _plain(arguments)
        if validator.native.is_valid(value):
            return None
        if max(1, validator.reference_count) ** depth > _MOST_BRANCHES:
            return ""
        errors = _import().ValidationError
        try:
            validator.native.validate(value)
        except errors as error:
            return None if _gave_up(error) else _described(error)
    except UnicodeEncodeError:
        pass  # half a surrogate pair, which has an anomaly of its own
    return None


def _import() -> Any:
    # Imported when a tool with a schema is first called: it takes some milliseconds.
    import jsonschema_rs

    return jsonschema_rs


@lru_cache(maxsize=256)
def _validator(tool_name: str, schema: str) -> _Validator | None:
    try:
        library = _import()
    except ImportError as error:
        _warn_missing(str(error))
        return None
    try:
        if len(schema) > _LONGEST_SCHEMA:
            raise ValueError(f"longer than {_LONGEST_SCHEMA} characters")
        if '"nullable": true' in schema:
            raise ValueError("`nullable` is OpenAPI's, and JSON Schema does not have it")
        native = library.validator_for(
            schema,
            validate_formats=False,
            retriever=_refuse,
            pattern_options=library.FancyRegexOptions(backtrack_limit=_PATTERN_STEPS),
        )
    except Exception as error:  # noqa: BLE001  the library raises several classes, and passes on others
        why = str(error).partition("\n")[0][:200]
        _warn_unchecked(tool_name, why)
        return None
    return _Validator(native, sum(schema.count(word) for word in _REFERENCES))


@lru_cache(maxsize=256)
def _warn_unchecked(tool_name: str, why: str) -> None:
    """Warn once for each tool and reason."""
    _logger.warning("Calls of %r are not checked against the tool's schema: %s", tool_name[:80], why)


@lru_cache(maxsize=1)
def _warn_missing(why: str) -> None:
    _logger.warning("jsonschema_rs cannot be imported, so schema_violation is never reported: %s", why)


def _refuse(uri: str) -> Any:
    raise LookupError(f"{uri} is not in the schema, and nothing is fetched")


def _plain(value: Any) -> tuple[Any, int]:
    """The value as the validator takes it, and the depth of its nesting. Raises TooDeepError."""
    deepest = 0
    root = [value]
    pending: list[tuple[Any, Any, int]] = [(root, 0, 0)]
    while pending:
        holder, key, depth = pending.pop()
        one = holder[key]
        if isinstance(one, LongNumber):
            holder[key] = _decimal(one.text)
        elif isinstance(one, (dict, list)) and one:
            depth += 1
            if depth > _DEEPEST:
                raise TooDeepError
            deepest = max(deepest, depth)
            # A copy, because other judges read the value too.
            one = holder[key] = one.copy()
            pending.extend((one, inner, depth) for inner in (one if isinstance(one, dict) else range(len(one))))
    return root[0], deepest


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        # The exponent is too large for Decimal.
        return Decimal("-1e999999" if text.startswith("-") else "1e999999")


def _gave_up(error: Any) -> bool:
    """Whether a pattern ran out of steps, in the error or in a branch of it, so that the result is not known."""
    kind = error.kind
    if type(kind).__name__ in {"BacktrackLimitExceeded", "RegexEngineFailure"}:
        return True
    return any(_gave_up(inner) for branch in getattr(kind, "context", ()) for inner in branch)


def _described(error: Any) -> str:
    """The place in the schema, and what it demands there. Repeats nothing of the arguments."""
    place = "/".join(str(part) for part in error.schema_path)
    kind = error.kind
    wanted = getattr(kind, "property", None)
    if wanted is None:
        wanted = ", ".join(getattr(kind, "types", ())[:8])
    return f"{place}: {wanted}"[:200] if wanted else place[:200]
