"""The workflows: they run what a developer runs, with the least rights."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

FOLDER: Final = Path(__file__).parents[2] / ".github/workflows"
WORKFLOWS: Final[dict[str, dict[str, Any]]] = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.iterdir())
}
JOBS: Final[dict[str, dict[str, Any]]] = {
    f"{name}/{job}": content for name, workflow in WORKFLOWS.items() for job, content in workflow["jobs"].items()
}


def steps(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps of a job, none where it calls another workflow."""
    found: list[dict[str, Any]] = job.get("steps", [])
    return found


def commands() -> Iterator[str]:
    """The script of each step."""
    for job in JOBS.values():
        yield from (step["run"] for step in steps(job) if "run" in step)


def rights(job: dict[str, Any]) -> set[str]:
    """What a job may write."""
    return {scope for scope, right in job["permissions"].items() if right == "write"}


def test_shapes(check_schema: Callable[..., None]) -> None:
    check_schema("vendor.github-workflows", *FOLDER.iterdir())
    check_schema("custom.github-workflows-require-timeout", *FOLDER.iterdir())


def test_what_they_make_can_be_made(root: Path) -> None:
    targets = re.search(r"^\.PHONY: (.+)$", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert targets
    made = {target for command in commands() for target in re.findall(r"\bmake ([a-z-]+)", command)}
    assert {"lint", "test", "test-stack", "test-browser", "dist"} <= made
    assert made <= set(targets[1].split())


def test_programs_of_the_repository_are_there(root: Path) -> None:
    named = {path for command in commands() for path in re.findall(r"(?<![\w/])\.ci/[\w.]+", command)}
    assert named
    assert all((root / path).is_file() for path in named)


def test_the_versions_are_those_of_the_noxfile() -> None:
    jobs = WORKFLOWS["test"]["jobs"]
    assert any("nox --list --json" in step.get("run", "") for step in steps(jobs["sessions"]))
    assert jobs["versions"]["strategy"]["matrix"] == "${{ fromJSON(needs.sessions.outputs.matrix) }}"
    # Beside the matrix no session is named, which could be missing.
    sessions = [found for command in commands() for found in re.findall(r"--session (\S+)", command)]
    assert sessions == ['"$SESSION"']


def test_every_python_that_the_package_names_is_tested(pyproject: dict[str, Any], root: Path) -> None:
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(pyproject["project"]["classifiers"]))
    tested = re.findall(r"nox\.param\(\"(3\.\d+)\"", (root / "noxfile.py").read_text(encoding="utf-8"))
    assert set(named) == set(tested)


def test_actions_are_pinned_to_one_commit_each() -> None:
    commits: dict[str, str] = {}
    for path in FOLDER.iterdir():
        for used in re.findall(r"uses: (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE):
            if used.startswith("./"):
                continue
            pin = re.fullmatch(r"([\w-]+/[\w-]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)", used)
            assert pin, f"{path.name}: {used}"
            assert commits.setdefault(pin[1], pin[2]) == pin[2], f"{path.name}: {used}"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_has_no_rights_of_its_own_and_no_twin(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {}
    assert WORKFLOWS[name]["concurrency"]["group"].startswith(name)


@pytest.mark.parametrize("job", JOBS)
def test_a_job_says_what_it_may(job: str) -> None:
    may_write = {
        "release/attest": {"id-token", "attestations"},
        "release/publish": {"id-token"},
        "release/announce": {"contents"},
    }
    assert rights(JOBS[job]) == may_write.get(job, set())


@pytest.mark.parametrize("job", JOBS)
def test_rights_and_foreign_text_stay_apart_from_code(job: str) -> None:
    for step in steps(JOBS[job]):
        # A branch's or a title's text would be read as part of the script.
        assert "${{" not in step.get("run", "")
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
            assert not rights(JOBS[job])


def test_only_what_was_tested_is_attested_and_published() -> None:
    jobs = WORKFLOWS["release"]["jobs"]
    assert jobs["test"]["uses"] == "./.github/workflows/test.yml"
    assert set(jobs["attest"]["needs"]) == {"test", "build"}
    assert jobs["publish"]["needs"] == "attest"
    assert jobs["publish"]["environment"] == "pypi"
    assert jobs["announce"]["needs"] == "publish"
    # The files are built once, in the job without rights.
    assert [name for name, job in jobs.items() if any("make dist" in step.get("run", "") for step in steps(job))] == [
        "build"
    ]


def test_one_check_stands_for_all() -> None:
    jobs = WORKFLOWS["test"]["jobs"]
    assert set(jobs["all"]["needs"]) == jobs.keys() - {"all"}
