"""A server of responses over WebSockets, which plays a script for each message that a client sends."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

if TYPE_CHECKING:
    from typing_extensions import Self

CLOSE = object()
"""In a script: the server closes the connection."""
DROP = object()
"""In a script: the connection breaks."""


class SocketServer:
    """`answer`: takes each message, decoded; returns the events to send, among them texts, `CLOSE` and `DROP`."""

    def __init__(self, answer: Callable[[Mapping[str, Any]], Iterable[Any]]) -> None:
        self._answer = answer
        self.received: list[Mapping[str, Any]] = []
        self._server = serve(self._talk, "127.0.0.1", 0, compression=None)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.base_url = f"http://127.0.0.1:{self._server.socket.getsockname()[1]}/v1"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._thread.join()

    def _talk(self, connection: ServerConnection) -> None:
        try:
            for message in connection:
                event = json.loads(message)
                self.received.append(event)
                for step in self._answer(event):
                    if step is CLOSE:
                        connection.close(1011, "no more")
                        return
                    if step is DROP:
                        connection.socket.close()
                        return
                    connection.send(step if isinstance(step, (str, bytes)) else json.dumps(step))
        except (ConnectionClosed, OSError):
            return
