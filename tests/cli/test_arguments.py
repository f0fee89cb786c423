"""Commands refuse arguments that make no sense, in a sentence and with status 2, and report output that fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from otel_llm.cli import main
from tests.helpers.corpus_streams import CORPUS

OTEL_LLM = str(Path(sys.executable).with_name("otel-llm"))
BROKEN = str(CORPUS / "broken-leak-hermes.jsonl")
NOWHERE = "http://127.0.0.1:9/v1"
PROBE = ["probe", "--model", "m", "--base-url", NOWHERE]


def ended(*command: str, stdout: str | None = None) -> tuple[int, str]:
    """The exit status and the standard error of a command, whose standard output goes to a file or is closed."""
    # Where the shell closes standard output, Python has none.
    redirect = ">&-" if stdout is None else f">{stdout}"
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirect}', "sh", OTEL_LLM, *command],
        stderr=subprocess.PIPE,
        env=os.environ | {"OTEL_SDK_DISABLED": "true"},
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ([*PROBE, "--timeout", "nan"], "above 0"),
        ([*PROBE, "--timeout", "-1"], "above 0"),
        ([*PROBE, "--stall-seconds", "0"], "above 0"),
        (["inspect", "--stall-seconds", "-1", BROKEN], "above 0"),
        (["inspect", "--stall-seconds", "soon", BROKEN], "above 0"),
        (["show", "--last", "0"], "from 1 on"),
        (["show", "--last", "-3"], "from 1 on"),
        (["show", "--last", "9" * 5000], "from 1 on"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_an_argument_that_makes_no_sense(command: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(command)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


@pytest.mark.parametrize("command", [["probe", "--model", "m"], ["chat", "--model", "m"], ["record"]], ids=str)
@pytest.mark.parametrize("url", ["foo", "ftp://a/v1", "http://", "localhost:8000/v1"])
def test_a_base_url_that_is_none(
    command: list[str], url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = ["--out", str(tmp_path)] if command == ["record"] else []
    assert main([*command, "--base-url", url, *out]) == 2
    assert f"{url!r} is not the URL of a server" in capsys.readouterr().err


COMMANDS_WITH_A_URL = [
    ["probe", "--model", "m", "--base-url"],
    ["chat", "--model", "m", "--base-url"],
    ["record", "--base-url"],
    ["doctor", "--jaeger"],
    ["doctor", "--prometheus"],
    ["doctor", "--collector-health"],
    ["doctor", "--collector-metrics"],
]


@pytest.mark.parametrize("command", COMMANDS_WITH_A_URL, ids=" ".join)
@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ftp://me:hunter2@a/v1", "ftp://****@a/v1"),
        ("me:hunter2@a:8000/v1", "****@a:8000/v1"),
        ("htps://a/v1?api_key=hunter2", "htps://a/v1?****"),
        ("a/v1?key=hunter2#hunter2", "a/v1?****"),
        ("http://?token=hunter2", "http://?****"),
        ("http://me:hunter2@", "http://****@"),
        ("http://me:hunter2@[::bad/v1", "http://****@[::bad/v1"),
        ("http://me:hunter2@a:port/v1?token=hunter2", "http://****@a:port/v1?****"),
        ("http://me:hunter2@a:70000/v1", "http://****@a:70000/v1"),
        ("http://me:hun/ter2@a/v1", "http://****@a/v1"),
        ("http://me:hun?ter2@a/v1", "http://****"),
        ("http://me:hun#ter2@\u2100/v1", "http://****"),
        ("http://me:hunter2@a\u2100b/v1", "http://****@"),
        ("http:/me:hunter2@a/v1", "http:/****@a/v1"),
        ("://me:hunter2@a/v1", "****@a/v1"),
    ],
)
def test_a_wrong_url_is_shown_without_its_secrets(
    command: list[str], url: str, shown: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = ["--out", str(tmp_path)] if command[0] == "record" else []
    try:
        status: Any = main([*command, url, *out])
    except SystemExit as exit_:
        status = exit_.code
    error = capsys.readouterr().err
    assert status == 2
    assert shown in error
    assert "hun" not in error
    assert "ter2" not in error


@pytest.mark.parametrize("variable", ["OPENAI_BASE_URL", "GROQ_BASE_URL", "CEREBRAS_BASE_URL"])
def test_a_url_of_the_environment_is_checked_too(
    variable: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "me:hunter2@a/v1")
    assert main(["record", "--out", str(tmp_path)]) == 2
    assert "'****@a/v1' is not the URL of a server" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "No such file"), ("{", "it is not JSON"), ("5", "no list of tools"), ("{}", "no list of tools")],
)
def test_a_file_of_tools_that_holds_none(
    text: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tools.json"
    if text is not None:
        path.write_text(text)
    assert main(["chat", "--model", "m", "--base-url", NOWHERE, "--tools", str(path)]) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert said in error


def test_view_runs_no_program_that_is_not_there(tmp_path: Path) -> None:
    status, error = ended("view", "--no-open", "--db", str(tmp_path / "db"), "--run", "no-such-program")
    assert (status, error) == (127, "otel-llm view: no-such-program: there is no such program\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("command", [["explain"], ["explain", "--markdown"], ["inspect", BROKEN]], ids=" ".join)
def test_output_that_cannot_be_written(command: list[str]) -> None:
    status, error = ended(*command, stdout="/dev/full")
    assert status == 74
    assert error == "otel-llm: cannot print: No space left on device\n"


@pytest.mark.parametrize(
    "command", [["explain"], ["explain", "--markdown"], ["inspect", "--json", BROKEN]], ids=" ".join
)
def test_output_that_is_closed(command: list[str]) -> None:
    status, error = ended(*command)
    assert status == (1 if command[0] == "inspect" else 0)
    assert "Traceback" not in error
