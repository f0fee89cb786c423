"""Build the collector and Jaeger from their Go modules, once.

The collector's own builder generates its source from collector-config/builder.yaml. The last steps, ``go get`` and
``go build``, run here instead: the builder's ``go mod tidy`` requires modules that only tests of other projects need.
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
# Jaeger 2.13. Its module is numbered like version 1, which it also contains.
_JAEGER: Final = "github.com/jaegertracing/jaeger"
_JAEGER_VERSION: Final = "v1.76.0"

_COMPONENT: Final = re.compile(r"^\s*- gomod: (\S+) (v\S+)$", re.MULTILINE)
_GO_BUILD: Final = ("go", "build", "-trimpath", "-ldflags=-s -w")
_TIMEOUT: Final = 1200.0  # seconds for one command, on a slow machine with an empty module cache
_LINES_SHOWN: Final = 15


def collector() -> Path:
    """Return the collector's program, which the first call builds (this takes minutes).

    Raises MissingToolError without Go, BuildError if a step fails.
    """
    manifest = _MANIFEST.read_text()
    return cache.built("collector", manifest, lambda folder: _build_collector(folder, manifest)) / "otelcol-llm"


def jaeger() -> Path:
    """Return Jaeger's program, which the first call builds (this takes minutes).

    Raises MissingToolError without Go, BuildError if a step fails.
    """
    return cache.built("jaeger", f"{_JAEGER} {_JAEGER_VERSION}", _build_jaeger) / "jaeger"


def _build_collector(folder: Path, manifest: str) -> None:
    components = _COMPONENT.findall(manifest)
    version = _version_of(components, "receiver/otlpreceiver")
    library_version = _version_of(components, "confmap/provider/envprovider")
    _say(f"Building the collector {version}: this takes about three minutes, only once.")
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
    _say("Building Jaeger: this takes about four minutes, only once.")
    _run(folder, "go", "mod", "init", "jaeger-build")
    _run(folder, "go", "mod", "download", f"{_JAEGER}@{_JAEGER_VERSION}")
    modules = _run(folder, "go", "env", "GOMODCACHE").strip()
    # The checksum database lacks some versions that Jaeger needs; Jaeger's own go.sum has their hashes.
    checksums = (Path(modules) / f"{_JAEGER}@{_JAEGER_VERSION}" / "go.sum").read_bytes()
    (folder / "go.sum").write_bytes(checksums)
    _run(folder, "go", "get", f"{_JAEGER}/cmd/jaeger@{_JAEGER_VERSION}")
    _run(folder, *_GO_BUILD, "-o", str(folder / "jaeger"), f"{_JAEGER}/cmd/jaeger")


def _version_of(components: list[tuple[str, str]], ending: str) -> str:
    for module, version in components:
        if module.endswith(ending):
            return version
    raise cache.BuildError(f"{_MANIFEST.name} does not list {ending}, whose version determines the others.")


def _run(folder: Path, program: str, *arguments: str, **variables: str) -> str:
    """Run one step in ``folder`` and return its standard output."""
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
