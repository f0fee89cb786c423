"""Builds the collector and Jaeger from their Go modules, once.

The collector is built from collector-config/builder.yaml by its own builder. That tool's last steps, ``go get`` and
``go build``, are taken here: its ``go mod tidy`` wants modules that only tests of other projects need.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Final

from stack import cache, tools

CONFIGURATIONS: Final = Path(__file__).parents[1] / "collector-config"

_MANIFEST: Final = CONFIGURATIONS / "builder.yaml"
# Jaeger 2.13. The same module holds version 1, whose numbers it bears.
_JAEGER: Final = "github.com/jaegertracing/jaeger"
_JAEGER_VERSION: Final = "v1.76.0"

_COMPONENT: Final = re.compile(r"^\s*- gomod: (\S+) (v\S+)$", re.MULTILINE)
_GO_BUILD: Final = ("go", "build", "-trimpath", "-ldflags=-s -w")
_TIMEOUT: Final = 1200.0  # seconds for one command, on a slow machine with an empty module cache
_LINES_SHOWN: Final = 15


def collector() -> Path:
    """Give the collector's program, built on the first call (minutes).

    Raises MissingToolError without Go, BuildError where a step fails.
    """
    manifest = _MANIFEST.read_text()
    return cache.built("collector", manifest, lambda folder: _build_collector(folder, manifest)) / "otelcol-llm"


def jaeger() -> Path:
    """Give Jaeger's program, built on the first call (minutes).

    Raises MissingToolError without Go, BuildError where a step fails.
    """
    return cache.built("jaeger", f"{_JAEGER} {_JAEGER_VERSION}", _build_jaeger) / "jaeger"


def _build_collector(folder: Path, manifest: str) -> None:
    components = _COMPONENT.findall(manifest)
    version = _version_of(components, "receiver/otlpreceiver")
    library_version = _version_of(components, "confmap/provider/envprovider")
    _say(f"Building the collector {version}: about three minutes, once.")
    _run(folder, "go", "install", f"go.opentelemetry.io/collector/cmd/builder@{version}", GOBIN=str(folder))
    _run(folder, "./builder", "--config", str(_MANIFEST), "--skip-get-modules", "--skip-compilation")
    source = folder / "build"
    _run(source, "go", "mod", "init", "otelcol-llm")
    wanted = [f"{module}@{version}" for module, version in components]
    wanted.append(f"go.opentelemetry.io/collector/otelcol@{version}")
    wanted.append(f"go.opentelemetry.io/collector/confmap@{library_version}")
    _run(source, "go", "get", *wanted)
    _run(source, *_GO_BUILD, "-o", str(folder / "otelcol-llm"), ".")


def _build_jaeger(folder: Path) -> None:
    _say("Building Jaeger: about four minutes, once.")
    _run(folder, "go", "mod", "init", "jaeger-build")
    _run(folder, "go", "mod", "download", f"{_JAEGER}@{_JAEGER_VERSION}")
    modules = _run(folder, "go", "env", "GOMODCACHE").strip()
    # The checksum database lacks some of the versions that it needs; their hashes are in its own list.
    checksums = (Path(modules) / f"{_JAEGER}@{_JAEGER_VERSION}" / "go.sum").read_bytes()
    (folder / "go.sum").write_bytes(checksums)
    _run(folder, "go", "get", f"{_JAEGER}/cmd/jaeger@{_JAEGER_VERSION}")
    _run(folder, *_GO_BUILD, "-o", str(folder / "jaeger"), f"{_JAEGER}/cmd/jaeger")


def _version_of(components: list[tuple[str, str]], ending: str) -> str:
    for module, version in components:
        if module.endswith(ending):
            return version
    raise cache.BuildError(f"{_MANIFEST.name} does not name {ending}, whose version the others go by.")


def _run(folder: Path, program: str, *arguments: str, **variables: str) -> str:
    """Run one step in ``folder``; the value is what it printed to standard output."""
    path = tools.find(program) if program == "go" else program
    ended = subprocess.run(  # noqa: S603 - our own commands
        [path, *arguments],
        cwd=folder,
        env={**os.environ, "GOFLAGS": "-mod=mod -buildvcs=false", **variables},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    if ended.returncode != 0:
        last = "\n".join(ended.stderr.splitlines()[-_LINES_SHOWN:])
        raise cache.BuildError(f"`{program} {' '.join(arguments[:2])}` failed:\n{last}")
    return ended.stdout


def _say(sentence: str) -> None:
    print(sentence, flush=True)
