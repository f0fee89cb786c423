"""The architecture, read from the imports: the pure core knows nothing of what is around it, and arrows run one way."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import otel_llm

PACKAGE = Path(otel_llm.__file__).parent
# From the pure core up. A room may import from its own line and from those above it in this list.
FLOORS = (
    ("protocol",),
    ("tags",),
    ("diagnosis",),
    ("_version", "config", "transparency"),
    ("telemetry",),
    ("observation",),
    ("wrappers",),
    ("tool_spans",),
    ("instrumentor", "intercept"),
    ("demo", "exchanges", "serving", "terminal", "testing"),
    ("doctor", "probe", "proxy", "view"),
    ("cli",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
PURE = ("protocol", "tags", "diagnosis")
# Outside the standard library the pure core may use these, which neither do I/O nor know of OpenTelemetry or an SDK.
PURE_LIBRARIES = {"json_repair", "jsonschema_rs", "typing_extensions"}
# Parts of the standard library that talk to the world. Reading a table or a clock is the caller's business.
IMPURE_MODULES = {"asyncio", "http", "os", "pathlib", "selectors", "shutil", "socket", "sqlite3", "ssl", "subprocess"}
IMPURE_MODULES |= {"tempfile", "threading", "urllib"}


def modules() -> dict[str, Path]:
    """Each module of the package by its name below `otel_llm`, which is empty for the package itself."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(part for part in parts if part != "__init__")] = path
    return names


MODULES = modules()


def imports_of(module: str) -> Iterator[str]:
    """Full names of what a module imports, wherever in it."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"otel_llm.{module} has a relative import"
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner.removeprefix("otel_llm.") in MODULES else node.module or ""


def room_of(module: str) -> str:
    return module.partition(".")[0]


def test_every_room_has_a_floor() -> None:
    assert {room_of(module) for module in MODULES if module} == set(FLOOR_OF)


@pytest.mark.parametrize("module", [module for module in MODULES if room_of(module) in PURE])
def test_the_core_is_pure(module: str) -> None:
    outside = {name for name in imports_of(module) if room_of(name) != "otel_llm"}
    foreign = {room_of(name) for name in outside} - set(sys.stdlib_module_names) - PURE_LIBRARIES
    assert not foreign, f"otel_llm.{module} imports {sorted(foreign)}"
    impure = {room_of(name) for name in outside} & IMPURE_MODULES
    assert not impure, f"otel_llm.{module} imports {sorted(impure)}"


@pytest.mark.parametrize("module", [module for module in MODULES if module])
def test_no_arrow_goes_up(module: str) -> None:
    floor = FLOOR_OF[room_of(module)]
    for name in imports_of(module):
        if name.startswith("otel_llm."):
            other = room_of(name.removeprefix("otel_llm."))
            assert FLOOR_OF[other] <= floor, f"otel_llm.{module} imports {name}, which is above it"
            beside = FLOOR_OF[other] == floor and other != room_of(module)
            assert not (beside and room_of(module) in PURE), f"otel_llm.{module} imports {name}, which is beside it"


def test_the_package_itself_loads_nothing_of_its_own() -> None:
    """Everything below is loaded when it is asked for: pytest imports the package in every project that has it."""
    tree = ast.parse(MODULES[""].read_text(encoding="utf-8"))
    eager = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert [name for name in eager if name and name.startswith("otel_llm.")] == ["otel_llm._version"]


def test_live_observation_takes_nothing_from_files() -> None:
    for module in MODULES:
        if room_of(module) in {"wrappers", "observation", "telemetry", *PURE}:
            assert not [name for name in imports_of(module) if name.startswith("otel_llm.exchanges")], module
