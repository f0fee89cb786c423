"""Warns, once, if another library instruments the same calls: every request would then be traced twice."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any

from otel_llm.transparency.proxies import wrapper_of
from otel_llm.wrappers.sdk_internals import AWS_CALL

_logger = logging.getLogger("otel_llm")
checked: set[type] = set()
"""Resource classes that were checked."""
_named: set[str] = set()


def warn_of_others(resource_class: type) -> None:
    """Check the methods of a resource class and of the SDK's clients; warn of each other instrumentation once."""
    others = sorted(set(_others(resource_class)) - _named)
    if others:
        _named.update(others)
        _logger.warning(
            "%s also instruments the calls that otel-llm instruments, so requests may be traced twice. "
            "Keep one: OTEL_PYTHON_DISABLED_INSTRUMENTATIONS turns the other off.",
            " and ".join(others),
        )


def warn_of_others_once(resource_class: type) -> None:
    """The same at a class's first request: another library may have been switched on since the class was wrapped."""
    resource_class = _lasting(resource_class)
    if resource_class not in checked:
        checked.add(resource_class)
        warn_of_others(resource_class)


def warn_of_own_spans(package: str) -> None:
    """Warn, once, that an SDK makes spans itself, because the application switched that on."""
    if package not in _named:
        _named.add(package)
        _logger.warning(
            "%s traces requests itself, so each of them also has a span of its own inside of ours.", package
        )


def forget() -> None:
    """Check everything again, and warn again."""
    checked.clear()
    _named.clear()


def _lasting(resource_class: type) -> type:
    """The class, or its first base that its module has. AWS clients have a class each, which must not be kept."""
    for base in resource_class.__mro__:
        if getattr(sys.modules.get(base.__module__), base.__name__, None) is base:
            return base  # type: ignore[no-any-return]
    return resource_class


def _others(resource_class: type) -> Iterator[str]:
    methods = [getattr(resource_class, name, None) for name in ("create", "generate_content", AWS_CALL)]
    module = sys.modules.get(resource_class.__module__.partition(".")[0])
    # Some libraries wrap `request` of the clients, below every resource.
    methods += [getattr(getattr(module, name, None), "request", None) for name in ("OpenAI", "AsyncOpenAI")]
    for method in methods:
        yield from _wrappers_of(method)


def _wrappers_of(method: Any) -> Iterator[str]:
    seen = 0
    while method is not None and seen < 16:
        wrapper = wrapper_of(method)
        if wrapper is not None:
            module = getattr(wrapper, "__module__", "") or ""
            if not module.startswith("otel_llm"):
                yield module
        method = getattr(method, "__wrapped__", None)
        seen += 1
