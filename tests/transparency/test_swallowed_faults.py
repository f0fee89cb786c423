"""The guard over all tests: a fault that the package swallows fails the test, unless that asked for it."""

from __future__ import annotations

from pathlib import Path

import pytest

PROGRAM = """
import asyncio, logging, subprocess, sys, threading
import pytest
from otel_llm.transparency.faults import attempt, swallow

FAILS = "from otel_llm.transparency.faults import swallow; swallow('a program', ValueError())"

def fault(where="here"):
    attempt(where, int, "no number")

def test_none():
    pass

def test_unasked_once():
    fault()

def test_unasked_twice():
    "The log has it once in a process."
    logging.disable()
    fault()

def test_unasked_in_a_thread():
    thread = threading.Thread(target=fault)
    thread.start()
    thread.join()

async def test_unasked_in_a_task():
    async def work():
        fault()
    await asyncio.ensure_future(work())

@pytest.fixture
def failing_at_the_end():
    yield
    fault()

def test_unasked_at_the_end(failing_at_the_end):
    pass

@pytest.fixture(scope="module")
def failing_program():
    return subprocess.run([sys.executable, "-c", FAILS], capture_output=True, text=True)

def test_unasked_of_a_program(failing_program):
    assert failing_program.returncode == 0

@pytest.mark.swallows("here")
def test_unasked_beside_one_that_was_asked_for():
    fault()
    fault("there")

@pytest.mark.swallows("here")
def test_asked_in_vain():
    pass

def test_asked_by_the_fixture_in_vain(swallowed_faults):
    assert swallowed_faults == []

@pytest.mark.swallows("here", "there")
def test_asked_for_two_in_vain():
    fault()

@pytest.mark.swallows("here")
def test_asked():
    fault()
    fault()

@pytest.mark.swallows("a program")
def test_asked_of_a_program():
    subprocess.run([sys.executable, "-c", FAILS], stderr=subprocess.PIPE)

def test_asked_by_the_fixture(swallowed_faults):
    fault()
    ((where, error, report),) = swallowed_faults
    assert (where, type(error)) == ("here", ValueError)
    assert "no number" in report
"""


def test_what_fails(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    pytester.makeconftest('pytest_plugins = ["tests.helpers.swallowed_faults"]')
    pytester.makepyfile(PROGRAM)
    options = ["asyncio_mode=auto", "asyncio_default_fixture_loop_scope=function"]
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *(part for one in options for part in ("-o", one)))
    names = [line.split("def ")[1].split("(")[0] for line in PROGRAM.splitlines() if "def test_" in line]
    failed = [name for name in names if "unasked" in name or "in_vain" in name]
    # Its body is over when a fixture of it is swallowed.
    failed.remove("test_unasked_at_the_end")
    result.assert_outcomes(passed=len(names) - len(failed), failed=len(failed), errors=1)
    told = {line.split("::")[1].split(" - ")[0] for line in result.outlines if line.startswith("FAILED ")}
    assert told == set(failed)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_unasked_at_the_end*"])
    result.stdout.fnmatch_lines(["*otel-llm swallowed faults that the test did not ask for: here", "*ValueError*"])
    result.stdout.fnmatch_lines(["*otel-llm was to swallow a fault, and did not: there"])
