"""Builds are stored outside the tree, in a folder named after a digest of everything they were built from."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class BuildError(Exception):
    """A build failed; the text says which, and ends with the last output of the failing command."""


def built(name: str, made_from: str, build: Callable[[Path], None]) -> Path:
    """Return the folder of ``name`` for exactly this ``made_from``; ``build`` fills it unless it exists.

    ``build`` gets an empty folder, which is renamed into place when it is complete, so that an interrupted build leaves
    nothing that looks finished. If two processes need the same build, one waits for the other.

    Raises BuildError if ``build`` does, or if the cache is not writable.
    """
    digest = hashlib.sha256(made_from.encode()).hexdigest()[:16]
    root = _root()
    whole = root / f"{name}-{digest}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        opened = (root / f"{name}.lock").open("w")
    except OSError as error:
        raise BuildError(
            f"Builds are stored in {root}, which is not writable ({error.strerror}). "
            "Set XDG_CACHE_HOME to use another folder."
        ) from error
    with opened as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if whole.is_dir():
            return whole
        unfinished = Path(tempfile.mkdtemp(prefix=f"{name}-unfinished-", dir=root))
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(shutil.rmtree, unfinished, ignore_errors=True)
            build(unfinished)
            unfinished.rename(whole)
            cleanup.pop_all()
    return whole


def _root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "otel-llm" / "stack"
