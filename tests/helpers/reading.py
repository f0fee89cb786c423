"""Reading the streams of SDKs, which are iterators of both kinds."""

from __future__ import annotations

from typing import Any


class Reading:
    """Of callers whose streams are synchronous."""

    async def read(self, stream: Any, count: int | None = None) -> list[Any]:
        """All parts of a stream, or the first `count`."""
        parts: list[Any] = []
        for part in stream:
            parts.append(part)
            if len(parts) == count:
                break
        return parts


class AsyncReading:
    """Of callers whose streams are asynchronous."""

    async def read(self, stream: Any, count: int | None = None) -> list[Any]:
        """All parts of a stream, or the first `count`."""
        parts: list[Any] = []
        async for part in stream:
            parts.append(part)
            if len(parts) == count:
                break
        return parts
