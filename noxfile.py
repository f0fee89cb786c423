"""Run the tests with each supported version, in an environment of its own.

`nox` runs all of them, `nox --tags quick` the subset that `make test` runs too. `nox -s table` writes the results to
docs/versions.md. nox skips interpreters that are not installed, and says so.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"

RESULTS = Path(".nox/results")
TABLE = Path("docs/versions.md")

# (Python, openai, a further requirement, whether the whole suite runs). What depends on Python alone is seen with the
# oldest and the newest of each, and, with the Python that runs nox, by `make test`.
SDKS = [
    nox.param("3.10", "openai==1.40.0", "httpx<0.28", False, id="oldest", tags=["quick"]),
    nox.param("3.12", "openai<2", None, False, id="1.x"),
    nox.param("3.12", "openai<3", None, False, id="2.x"),
    nox.param("3.10", "openai<4", None, True, id="newest-3.10"),
    nox.param("3.11", "openai<4", None, False, id="newest-3.11"),
    nox.param("3.12", "openai<4", None, False, id="newest-3.12"),
    nox.param("3.13", "openai<4", None, True, id="newest-3.13"),
    nox.param("3.14", "openai<4", None, True, id="newest-3.14"),
]
_VERSIONS = """
import platform, sys
from importlib.metadata import version
print(*map(version, sys.argv[1:]), platform.python_version())
"""
# The tests whose result depends on the OpenAI SDK.
SDK_TESTS = [
    "tests/protocol/test_recording.py",
    "tests/protocol/test_request.py",
    "tests/tags/test_response_stage.py",
    "tests/tags/test_stage.py",
    "tests/tags/test_stage_of_sdks.py",
    "tests/tags/test_stage_thoughts.py",
    "tests/telemetry/test_call_links.py",
    "tests/telemetry/test_contract.py",
    "tests/telemetry/test_opentelemetry_internals.py",
    "tests/test_instrumentor.py",
    "tests/test_startup.py",
    "tests/test_tool_spans.py",
    "tests/testing",
    "tests/wrappers",
]
# Of these, what an old version breaks first: the quick sessions have a minute each.
QUICK_TESTS = [
    "tests/protocol/test_recording.py",
    "tests/telemetry/test_contract.py",
    "tests/telemetry/test_opentelemetry_internals.py",
    "tests/test_instrumentor.py",
    "tests/test_startup.py",
    "tests/testing/test_plugin.py",
    "tests/wrappers/test_sdk_internals.py",
    "tests/wrappers/test_transparency.py",
    "tests/wrappers/test_wrapped_streams.py",
]
# SDKs that have sessions of their own, and their tests among those above.
OTHER_SDKS = ("anthropic", "boto3", "google-genai", "huggingface_hub", "mistralai", "ollama")
OTHER_TESTS = [
    "tests/testing/test_plugin_with_anthropic.py",
    "tests/wrappers/test_aiobotocore.py",
    "tests/wrappers/test_anthropic.py",
    "tests/wrappers/test_bedrock.py",
    "tests/wrappers/test_google_genai.py",
    "tests/wrappers/test_huggingface_hub.py",
    "tests/wrappers/test_internals_of_other_sdks.py",
    "tests/wrappers/test_mistralai.py",
    "tests/wrappers/test_ollama.py",
]
# As `make test` runs them.
IN_PARALLEL = ["--numprocesses=auto", "--maxprocesses=4", "--dist=worksteal"]
# (Python, anthropic): the oldest supported version, and the newest of each major version.
ANTHROPICS = [
    nox.param("3.10", "anthropic==0.60.0", id="oldest"),
    nox.param("3.12", "anthropic<1", id="0.x"),
    nox.param("3.12", "anthropic<2", id="1.x"),
    nox.param("3.13", "anthropic<3", id="newest"),
]
# (Python, requirement): the oldest supported version of AWS's SDK, the newest, and that of aiobotocore.
BEDROCKS = [
    nox.param("3.10", "boto3==1.35.0 botocore==1.35.0", id="oldest"),
    nox.param("3.13", "boto3<2", id="newest"),
    nox.param("3.12", "aiobotocore<4 boto3<2", id="aiobotocore"),
]
# The tests whose result depends on AWS's SDK.
BEDROCK_TESTS = [
    "tests/wrappers/test_bedrock.py",
    "tests/wrappers/test_aiobotocore.py",
    "tests/diagnosis/test_corpus_of_converse.py",
]
# The tests whose result depends on Anthropic's SDK.
ANTHROPIC_TESTS = [
    "tests/testing/test_plugin_with_anthropic.py",
    "tests/wrappers/test_anthropic.py",
    "tests/diagnosis/test_corpus_of_messages.py",
]
# (Python, google-genai): the same.
GOOGLES = [
    nox.param("3.10", "google-genai==1.56.0", id="oldest"),
    nox.param("3.12", "google-genai<2", id="1.x"),
    nox.param("3.12", "google-genai<3", id="2.x"),
    nox.param("3.13", "google-genai<4", id="newest"),
]
GOOGLE_TESTS = ["tests/wrappers/test_google_genai.py", "tests/diagnosis/test_corpus_of_gemini.py"]
# (Python, requirement, tests whose result depends on it): the oldest supported version and the newest of other SDKs.
_INTERNALS = "tests/wrappers/test_internals_of_other_sdks.py"
_MISTRAL_TESTS = ["tests/wrappers/test_mistralai.py", _INTERNALS]
_OLLAMA_TESTS = ["tests/wrappers/test_ollama.py", "tests/diagnosis/test_corpus_of_ollama.py", _INTERNALS]
_HUGGING_FACE_TESTS = ["tests/wrappers/test_huggingface_hub.py"]
OTHERS = [
    nox.param("3.10", "mistralai==1.9.3", _MISTRAL_TESTS, id="mistralai-oldest"),
    nox.param("3.12", "mistralai<3", _MISTRAL_TESTS, id="mistralai-2.x"),
    nox.param("3.13", "mistralai<4", _MISTRAL_TESTS, id="mistralai-newest"),
    nox.param("3.10", "ollama==0.5.0", _OLLAMA_TESTS, id="ollama-oldest"),
    nox.param("3.13", "ollama<1", _OLLAMA_TESTS, id="ollama-newest"),
    nox.param("3.10", "huggingface_hub==1.0.0", _HUGGING_FACE_TESTS, id="huggingface_hub-oldest"),
    nox.param("3.12", "huggingface_hub<2", _HUGGING_FACE_TESTS, id="huggingface_hub-1.x"),
    nox.param("3.13", "huggingface_hub<3", _HUGGING_FACE_TESTS, id="huggingface_hub-newest"),
]
FRAMEWORKS = {
    # Extra requirements of each framework; `demo` brings a real server.
    "openai-agents": ("otel-llm[demo]",),
    "langchain-openai": (),
    "instructor": (),
    "pydantic-ai-slim": ("pydantic-ai-slim[openai]",),
    # Imports mcp when it streams, but does not require it.
    "litellm": ("mcp",),
    "langgraph": ("langchain-openai",),
    "llama-index-core": ("llama-index-llms-openai-like",),
    "crewai": (),
    "smolagents": ("smolagents[openai]",),
    "agno": ("openai",),
    "strands-agents": ("strands-agents[openai]",),
    # Its models but Gemini are LiteLLM's.
    "google-adk": ("litellm", "mcp"),
    "semantic-kernel": (),
    "autogen-agentchat": ("autogen-ext[openai]",),
    "agent-framework-openai": (),
}


def _add_pyenvs_interpreters() -> None:
    """Put pyenv's interpreters on PATH: its shims are there already, but fail for versions that are not selected."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    folders = sorted(str(folder / "bin") for folder in versions.glob("3.*") if (folder / "bin" / "python").exists())
    os.environ["PATH"] = os.pathsep.join([*folders, os.environ["PATH"]])
    os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")


_add_pyenvs_interpreters()


@nox.session(name="sdk")
@nox.parametrize(["python", "openai", "beside", "whole"], SDKS)
def sdk(session: nox.Session, openai: str, beside: str | None, whole: bool) -> None:
    """Run the package's tests with one version of the OpenAI SDK on one Python."""
    wanted = [openai] if beside is None else [openai, beside]
    # Some of the other SDKs need a newer httpx than the oldest OpenAI SDK can use; only the whole suite needs them.
    _install(session, wanted, unpinned=("openai", "httpx"), left_out=() if whole else OTHER_SDKS)
    if "--quick" in session.posargs:
        _test(session, "openai", "a few", *IN_PARALLEL, *QUICK_TESTS)
    elif whole:
        _test(session, "openai", "all", *IN_PARALLEL, "tests")
    else:
        _test(session, "openai", "SDK-dependent", *IN_PARALLEL, *SDK_TESTS, *(f"--ignore={one}" for one in OTHER_TESTS))


@nox.session(name="anthropic")
@nox.parametrize(["python", "requirement"], ANTHROPICS)
def anthropic(session: nox.Session, requirement: str) -> None:
    """Run the tests of Anthropic's messages with one version of its SDK."""
    _install(session, [requirement], unpinned=("anthropic",), left_out=("anthropic",))
    _test(session, "anthropic", "SDK-dependent", *IN_PARALLEL, *ANTHROPIC_TESTS)


@nox.session(name="bedrock")
@nox.parametrize(["python", "requirement"], BEDROCKS)
def bedrock(session: nox.Session, requirement: str) -> None:
    """Run the tests of Bedrock's Converse API with one version of AWS's SDK."""
    _install(session, requirement.split(), unpinned=("boto", "s3tra"), left_out=("boto3",))
    _test(session, "botocore", "SDK-dependent", *IN_PARALLEL, *BEDROCK_TESTS)


@nox.session(name="google-genai")
@nox.parametrize(["python", "requirement"], GOOGLES)
def google_genai(session: nox.Session, requirement: str) -> None:
    """Run the tests of generated content with one version of Google's SDK."""
    _install(session, [requirement], unpinned=("google-genai", "tenacity", "websockets"), left_out=("google-genai",))
    _test(session, "google-genai", "SDK-dependent", *IN_PARALLEL, *GOOGLE_TESTS)


@nox.session(name="others")
@nox.parametrize(["python", "requirement", "tests"], OTHERS)
def others(session: nox.Session, requirement: str, tests: list[str]) -> None:
    """Run the tests of another SDK with one version of it."""
    package = re.split(r"[=<]", requirement)[0]
    # What it requires itself need not be the pinned versions of the newest one's.
    _install(session, [requirement], unpinned=(package, "httpx"), left_out=(package,))
    _test(session, package, "SDK-dependent", *IN_PARALLEL, *tests)


@nox.session(name="frameworks")
@nox.parametrize("framework", list(FRAMEWORKS), ids=list(FRAMEWORKS))
def frameworks(session: nox.Session, framework: str) -> None:
    """Run a framework on top of the OpenAI SDK end to end, with and without `opentelemetry-instrument`."""
    extras = [part.replace("otel-llm", ".") for part in FRAMEWORKS[framework]]
    editable = ["--editable", next((part for part in extras if part.startswith(".")), ".[otlp]")]
    others = [part for part in extras if not part.startswith(".")]
    session.install(*editable, framework, *others, "hypothesis", "pytest", "pytest-asyncio")
    _test(session, framework, "end to end", "tests/frameworks")


@nox.session(python=False)
def table(session: nox.Session) -> None:
    """Write docs/versions.md and README's table from the latest results."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    if not results:
        session.error("no results yet: run the other sessions first")
    lines = [
        "# Versions",
        "",
        "The versions that the tests last ran with. Generated by `nox -s table` at the end of `make test-all`.",
        "",
        "| package | version | with openai | Python | tests | passed | skipped |",
        "|---|---|---|---|---|---|---|",
    ]
    results.sort(key=lambda one: (one["package"] != "openai", one["package"], _number(one["version"]), one["python"]))
    for one in results:
        cells = (
            one["package"],
            one["version"],
            one["openai"],
            one["python"],
            one["what"],
            one["passed"],
            one["skipped"],
        )
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    lines += [
        "",
        "Skipped: tests of features that a version lacks (the Responses API before 1.66), and of other frameworks.",
    ]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    # README's table is made of it.
    session.run(sys.executable, "-m", "tests.helpers.supported_versions", external=True)


def _number(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def _install(session: nox.Session, wanted: list[str], *, unpinned: tuple[str, ...], left_out: tuple[str, ...]) -> None:
    """Install the package, `wanted`, and what its tests need; both tuples have beginnings of requirements.

    The pins of `constraints.txt` hold except those that are `unpinned`; of the tests' requirements, nox, the schemas
    of Kubernetes (100 MB, whose tests no version changes) and those that are `left_out` are not installed.
    """
    pins = [line for line in Path("constraints.txt").read_text().splitlines() if not line.startswith(unpinned)]
    constraints = Path(session.create_tmp()) / "constraints.txt"
    constraints.write_text("\n".join(pins), encoding="utf-8")
    group = nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "test")
    tests = [part for part in group if not part.startswith(("nox", "kubernetes-validate", *left_out))]
    session.install("--constraint", str(constraints), "--editable", ".[cli,demo]", *wanted, *tests)


def _test(session: nox.Session, package: str, what: str, *tests: str) -> None:
    report = Path(session.create_tmp()) / "report.xml"
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}", *tests)
    answer = str(session.run("python", "-c", _VERSIONS, package, "openai", silent=True)).split()
    suites = ET.parse(report).getroot().iter("testsuite")  # noqa: S314  written by our own pytest run
    counts = [[int(suite.get(name, 0)) for name in ("tests", "skipped")] for suite in suites]
    total, skipped = (sum(column) for column in zip(*counts, strict=True))
    result = {"what": what, "package": package, "version": answer[0], "openai": answer[1], "python": answer[2]}
    RESULTS.mkdir(parents=True, exist_ok=True)
    name = "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in session.name)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({**result, "passed": total - skipped, "skipped": skipped}), encoding="utf-8")


if __name__ == "__main__":
    sys.exit("Run this file with nox.")
