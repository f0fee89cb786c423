"""The result of one check."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

Status: TypeAlias = Literal["ok", "warning", "failed", "skipped"]


class Finding(NamedTuple):
    """`check`: the part that was checked. `sentence`: the result, and what to do about a problem."""

    check: str
    status: Status
    sentence: str


def unreachable(check: str, url: str, why: Exception) -> Finding:
    """A server cannot be reached. `check`: its name, which its options have too."""
    option = check.lower()
    sentence = f"{check} cannot be reached at {url}: {why}. Start it, name its address (--{option}), or skip it"
    return Finding(check, "failed", f"{sentence} (--no-{option}).")
