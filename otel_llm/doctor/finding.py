"""The result of one check."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

Status: TypeAlias = Literal["ok", "warning", "failed", "skipped"]


class Finding(NamedTuple):
    """`check`: the part that was checked. `sentence`: the result, and what to do about a problem."""

    check: str
    status: Status
    sentence: str
