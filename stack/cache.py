"""What was built once is kept outside the tree, in a folder named by all that it was built from."""

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
    """Something could not be built; the text says what, and ends with what the failing command printed last."""


def built(name: str, made_from: str, build: Callable[[Path], None]) -> Path:
    """Give the folder of ``name``, which ``build`` has filled at some time from the very same ``made_from``.

    ``build`` gets an empty folder. It is renamed into place when it is whole, so that an interrupted build leaves
    nothing that looks finished; of two processes that want the same, one waits for the other.

    Raises BuildError where ``build`` does and where the cache cannot be written.
    """
    digest = hashlib.sha256(made_from.encode()).hexdigest()[:16]
    root = _root()
    whole = root / f"{name}-{digest}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        opened = (root / f"{name}.lock").open("w")
    except OSError as error:
        raise BuildError(
            f"What is built is kept in {root}, which cannot be written ({error.strerror}). "
            "XDG_CACHE_HOME names another folder."
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
