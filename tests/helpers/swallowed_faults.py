"""A fault that the package swallows fails the test in which it happens, unless the test asked for it.

A test asks with `@pytest.mark.swallows("tag rewriting", ...)`, which names the places, or with the fixture
`swallowed_faults`, whose list it looks at itself. A test that asked and got none fails too.
"""

from __future__ import annotations

import re
import subprocess
import traceback
from collections.abc import Generator
from typing import Any, NamedTuple

import pytest

from otel_llm.transparency import faults

_WARNING = re.compile(r"otel-llm failed in (.+?) and went on without it")


class SwallowedFault(NamedTuple):
    """`where` is the place that the warning names. `fault` is None if a program on its own printed the warning."""

    where: str
    fault: BaseException | None
    report: str


# Since the last test, of any thread, and of programs whose output was captured. The log would not do: it has each kind
# of fault once in a process.
_seen: list[SwallowedFault] = []


def faults_in(output: str | bytes | None) -> list[SwallowedFault]:
    """The faults that a program warned of, from what it printed."""
    text = output.decode(errors="replace") if isinstance(output, bytes) else output or ""
    return [SwallowedFault(where, None, text) for where in _WARNING.findall(text)]


@pytest.fixture
def swallowed_faults() -> list[SwallowedFault]:
    """The faults that were swallowed so far in this test, which asks for at least one."""
    return _seen


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "swallows(*where): asks for faults that the package swallows at these places")
    communicate: Any = subprocess.Popen.communicate

    def observe(where: str, fault: BaseException) -> None:
        try:
            report = "".join(traceback.format_exception(fault))
        except Exception:  # an attribute of an exception in its chain may raise
            report = repr(fault)
        _seen.append(SwallowedFault(where, fault, report))

    def listen(process: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = communicate(process, *args, **kwargs)
        for output in outputs:
            _seen.extend(faults_in(output))
        return outputs

    patch = pytest.MonkeyPatch()
    patch.setattr(subprocess.Popen, "communicate", listen)
    patch.setattr(faults, "observers", [*faults.observers, observe])
    config.add_cleanup(patch.undo)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    result = yield
    wanted, asked = _wanted(item), _asks(item)
    _refuse_unasked(item)
    missing = sorted(wanted - {one.where for one in _seen})
    if missing or (asked and not _seen):
        pytest.fail(f"otel-llm was to swallow a fault, and did not: {', '.join(missing) or 'any'}", pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    try:
        result = yield
        _refuse_unasked(item)
        return result
    finally:
        _seen.clear()


def _refuse_unasked(item: pytest.Item) -> None:
    wanted = _wanted(item)
    unasked = [one for one in _seen if one.where not in wanted] if wanted or not _asks(item) else []
    if unasked:
        _seen.clear()
        places = ", ".join(sorted({one.where for one in unasked}))
        pytest.fail(f"otel-llm swallowed faults that the test did not ask for: {places}\n{unasked[0].report}", False)


def _wanted(item: pytest.Item) -> set[str]:
    return {where for marker in item.iter_markers("swallows") for where in marker.args}


def _asks(item: pytest.Item) -> bool:
    return "swallowed_faults" in getattr(item, "fixturenames", ())
