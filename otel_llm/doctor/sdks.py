"""Which of the supported SDKs are installed, which of them are observed, and what else instruments them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import NamedTuple

from opentelemetry.instrumentation.dependencies import get_dependency_conflicts
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from otel_llm.instrumentor import instrumentors

_GROUP = "opentelemetry_instrumentor"
_OUR_PACKAGE = "otel-llm"
_NAME = re.compile(r"[\w.-]+")


class SDK(NamedTuple):
    """An SDK that is installed. `entry`: the name of its instrumentation in `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS`.

    `conflict`: why its version is not observed, empty if it is.
    """

    package: str
    version: str
    entry: str
    conflict: str


def installed_sdks() -> list[SDK]:
    """The supported SDKs that are installed, by their names."""
    names = {entry.value.partition(":")[2]: entry.name for entry in entry_points(group=_GROUP) if _is_ours(entry)}
    found = []
    for instrumentor in instrumentors():
        requirements = instrumentor.instrumentation_dependencies()
        package = package_of(instrumentor)
        try:
            installed = version(package)
        except PackageNotFoundError:
            continue
        conflict = get_dependency_conflicts(requirements)
        why = "" if conflict is None else f"otel-llm observes {next(iter(requirements))}"
        found.append(SDK(package, installed, names.get(type(instrumentor).__name__, _OUR_PACKAGE), why))
    return sorted(found)


def other_instrumentations(packages: Sequence[str], disabled: set[str]) -> Iterator[tuple[str, str, str]]:
    """The package and the entry point of each other instrumentation of these SDKs, and the SDK."""
    for entry in entry_points(group=_GROUP):
        if entry.dist is None or _is_ours(entry) or entry.name in disabled:
            continue
        for requirement in entry.dist.requires or ():
            package = _package(requirement)
            if package in packages:
                yield entry.dist.name, entry.name, package


def package_of(instrumentor: BaseInstrumentor) -> str:
    """The package of the SDK that one of our instrumentors observes."""
    return _package(next(iter(instrumentor.instrumentation_dependencies())))


def _is_ours(entry: object) -> bool:
    dist = getattr(entry, "dist", None)
    return dist is not None and dist.name == _OUR_PACKAGE


def _package(requirement: str) -> str:
    """The name of the package that a requirement is about, as package indexes normalize it."""
    name = _NAME.match(requirement)
    return "" if name is None else re.sub(r"[-_.]+", "-", name.group()).lower()
