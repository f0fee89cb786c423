"""What ASGI applications here share: the types of the protocol, and what happens to a connection.

The protocol: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class ConnectionDropped(Exception):  # noqa: N818 - what the application does, not what happened to it
    """An application raises this to close the connection in the middle of a response."""


async def disconnected(receive: Receive) -> None:
    """Return when the client has disconnected. The request's body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Run `work` and cancel it when the client disconnects. Raises what it raises."""
    watching = asyncio.ensure_future(disconnected(receive))
    working = asyncio.ensure_future(work)
    try:
        await asyncio.wait({watching, working}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watching.cancel()
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
