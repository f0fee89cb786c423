"""What one check found out."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

Status: TypeAlias = Literal["ok", "warning", "failed", "skipped"]


class Finding(NamedTuple):
    """`check`: which part was looked at. `sentence`: what is so, and where something is wrong, what to do."""

    check: str
    status: Status
    sentence: str
