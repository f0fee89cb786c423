"""Fixtures for the tests of deploy/: what a command line, a settings file and an environment mean to the proxy."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from otel_llm.cli import proxy
from otel_llm.proxy.configuration import Configuration, Given, configured

FOLDER = Path(__file__).parents[2] / "deploy" / "proxy"


@pytest.fixture
def folder() -> Path:
    return FOLDER


@pytest.fixture
def parsed() -> Callable[[Sequence[str]], argparse.Namespace]:
    """`parsed(["proxy", "--config", FILE])`: fails unless these are arguments that `otel-llm` takes."""
    parser = argparse.ArgumentParser(prog="otel-llm")
    proxy.add_parser(parser.add_subparsers(required=True))
    return parser.parse_args


@pytest.fixture
def read() -> Callable[[Path, Mapping[str, str]], Configuration]:
    """`read(FILE, ENVIRON)`: fails unless the proxy starts with this file in this environment, and needs all of it."""

    def read(file: Path, environ: Mapping[str, str]) -> Configuration:
        named = Named(environ)
        configuration = configured(Given(), file, named)
        unused = {name for name in environ if not name.startswith("OTEL_")} - named.asked
        assert not unused, f"{file} asks for none of {unused}"
        return configuration

    return read


class Named(dict[str, str]):
    """An environment that knows which of its variables were asked for."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.asked: set[str] = set()

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        self.asked.add(name)
        return super().get(name, default)
