"""The functions that a request can reach, and how to break one: its code is replaced, so it is broken by every name."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from itertools import accumulate
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import otel_llm

# Rooms and modules that no request of an application reaches, each with what does.
UNREACHED = {
    "cli": "commands",
    "demo": "a command of its own",
    "doctor": "a command of its own",
    "exchanges": "recorded files, for commands",
    "probe": "a command of its own",
    "proxy": "a command of its own; what it shares with the wrappers is in their rooms",
    "serving": "servers of commands",
    "view": "a command of its own",
    "terminal": "a span exporter, which the OpenTelemetry SDK calls and guards",
    "config": "read before the first request, where a fault is a warning that names the option",
    "diagnosis.explanations": "read by commands",
    "tags.chunk_copies": "of the stream processor, which applications call themselves",
    "tags.chunk_streams": "of the stream processor too",
    "tags.detector": "called by applications themselves",
    "tags.processor": "called by applications themselves",
    "tags.tool_execution": "of the stream processor too",
    "telemetry.prometheus_names": "read by what makes dashboards",
    "tags.rewriter": "called by applications themselves; the stage reads its attributes",
    "testing": "called by the tests of applications; what listens is in `testing.unobserved`",
}


class Broken(RuntimeError):
    """What a broken function raises."""


class Function(NamedTuple):
    """`name`: module and qualified name. `forget` empties the cache around it, if there is one."""

    name: str
    function: Any
    forget: Callable[[], None] | None = None

    @property
    def code(self) -> CodeType:
        code: CodeType = self.function.__code__
        return code


def functions() -> list[Function]:
    """Every function and method written in a module that a request can reach, once."""
    found: dict[CodeType, Function] = {}
    for module in _modules():
        for function in _functions_of(module, vars(module), module.__name__.removeprefix("otel_llm.")):
            found.setdefault(function.code, function)
    return list(found.values())


def _modules() -> Iterator[ModuleType]:
    for info in pkgutil.walk_packages(otel_llm.__path__, "otel_llm."):
        name = info.name.removeprefix("otel_llm.")
        room = name.partition(".")[0]
        packages = accumulate(name.split("."), lambda package, module: f"{package}.{module}")
        if (room == "testing" and name != room) or not any(package in UNREACHED for package in packages):
            yield import_module(info.name)


def _functions_of(module: ModuleType, names: Any, prefix: str) -> Iterator[Function]:
    for name, value in list(names.items()):
        if inspect.isclass(value):
            # The body of a protocol's method is a signature.
            if value.__module__ == module.__name__ and not getattr(value, "_is_protocol", False):
                yield from _functions_of(module, vars(value), f"{prefix}.{name}")
            continue
        function = _function_in(value)
        # What `dataclass` and `NamedTuple` generate has no file, or another one.
        if function is not None and function.__code__.co_filename == module.__file__:
            yield Function(f"{prefix}.{name}", function, getattr(value, "cache_clear", None))


def _function_in(value: Any) -> FunctionType | None:
    """The function behind a name: the value itself, or what a property, a method or a decorator holds."""
    if isinstance(value, property):
        value = value.fget
    elif isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    value = inspect.unwrap(value) if callable(value) else value
    return value if isinstance(value, FunctionType) else None


@contextmanager
def broken(function: Function) -> Iterator[None]:
    """The function raises `Broken` in this block, whoever calls it by whichever name."""
    whole = function.code
    function.function.__code__ = _breaking(whole.co_flags & _KINDS, len(whole.co_freevars))
    try:
        yield
    finally:
        function.function.__code__ = whole


_KINDS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


@cache
def _breaking(kind: int, free: int) -> CodeType:
    """Code that raises where the body of a function of that kind would. A closure's needs as many free variables."""
    names = [f"free{number}" for number in range(free)]
    source = [
        "def around():",
        *(f"    {name} = None" for name in names),
        f"    {'async ' if kind & ~inspect.CO_GENERATOR else ''}def broken(*_args, **_kwargs):",
        *(f"        {name}" for name in names),
        "        raise 'broken'",
        *(["        yield"] if kind & ~inspect.CO_COROUTINE else []),
        "    return broken",
    ]
    space: dict[str, Any] = {}
    exec("\n".join(source), space)
    code: CodeType = space["around"]().__code__
    # By name it would be looked for among the globals of the function that is broken.
    return code.replace(co_consts=tuple(Broken if value == "broken" else value for value in code.co_consts))
