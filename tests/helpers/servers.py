"""The real server. The scripted one is `serve` in `seen.py`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from otel_llm.demo.llama_server import LlamaServerUnavailable, llama_server


@pytest.fixture(scope="session")
def llama() -> Iterator[str]:
    """The base URL of a real llama.cpp server over the tiny model; skips where there is none to be had."""
    with contextlib.ExitStack() as cleanup:
        try:
            base_url = cleanup.enter_context(llama_server())
        except LlamaServerUnavailable as unavailable:
            pytest.skip(str(unavailable))
        yield base_url
