"""Fixtures for all tests. What telemetry was seen: `helpers/seen.py`."""

import functools
import gc
import signal
import ssl
import sys

# `warnings` imports it when it shows a leaked resource, which a garbage collection may do in the middle of that import.
import tracemalloc  # noqa: F401
from collections.abc import Callable

import pytest
from hypothesis import settings

from tests.helpers.thoroughness import examples

# How long an example takes is the machine's business.
settings.register_profile("no deadline", deadline=None, max_examples=examples(100))
settings.load_profile("no deadline")

pytest_plugins = ["pytester", "tests.helpers.seen", "tests.helpers.servers", "tests.helpers.swallowed_faults"]

# Each client of an SDK would load the certificates of all authorities, which takes longer than most tests.
ssl.create_default_context = functools.cache(ssl.create_default_context)  # type: ignore[assignment]

# A shell lets what it runs in the background ignore interrupts, and so would the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Let no garbage collection look at all the tests again: that takes half a second, and some tests ask for it."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def break_scanner(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`break_scanner(marker)`: from now on the scanner for calls in text fails where it meets `marker`."""

    def begin(marker: str) -> None:
        from otel_llm.tags.scanner import Scanner

        feed = Scanner.feed

        def breaks(scanner: Scanner, text: str) -> object:
            # The diagnosis reads the same text with a scanner of its own.
            is_rewriting = not sys._getframe(1).f_globals["__name__"].startswith("otel_llm.diagnosis")
            if is_rewriting and marker in scanner.held + text:
                raise RuntimeError("broken")
            return feed(scanner, text)

        monkeypatch.setattr(Scanner, "feed", breaks)

    return begin
