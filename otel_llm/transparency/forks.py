"""New locks for forked processes, which inherit locks held by threads that they do not have."""

from __future__ import annotations

import os
import threading
from typing import Protocol
from weakref import WeakSet


class _Owner(Protocol):
    _lock: threading.Lock


_owners: WeakSet[_Owner] = WeakSet()


def renew_lock_in_children(owner: _Owner) -> None:
    """Give `owner` a new lock in every process forked from now on."""
    _owners.add(owner)


def _renew() -> None:
    for owner in list(_owners):
        owner._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
