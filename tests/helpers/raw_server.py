"""A server that sends exactly the bytes that it is given, and keeps those that it got."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeAlias

Script: TypeAlias = Callable[["RawConnection"], object]
"""Answers one request. The connection is closed after it, unless it returns KEEP."""
KEEP = object()


class RawConnection:
    """A client's connection, in a thread of its own. Reads raise ConnectionError when the client has gone."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._rest = b""

    def read_until(self, mark: bytes) -> bytes:
        """All bytes up to a mark, with it."""
        while mark not in self._rest:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the client has gone")
            self._rest += data
        found, self._rest = self._rest.split(mark, 1)
        return found + mark

    def has_more(self) -> bool:
        """Wait for more bytes; False if none come, as the client closed."""
        if not self._rest:
            self._rest = self.socket.recv(65536)
        return bool(self._rest)

    def read(self, length: int) -> bytes:
        while len(self._rest) < length:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the client has gone")
            self._rest += data
        found, self._rest = self._rest[:length], self._rest[length:]
        return found

    def request(self) -> tuple[bytes, bytes]:
        """Head and body of the next request; a chunked body as it came."""
        head = self.read_until(b"\r\n\r\n")
        lower = head.lower()
        if b"transfer-encoding: chunked" in lower:
            body = self.read_until(b"\r\n0\r\n")
            while not body.endswith(b"\r\n\r\n"):
                body += self.read_until(b"\r\n")
            return head, body
        at = lower.find(b"content-length:")
        length = 0 if at < 0 else int(lower[at + 15 :].split(b"\r\n", 1)[0])
        return head, self.read(length)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def is_closed(self, seconds: float = 5.0) -> bool:
        """Whether the client closes within so long."""
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True
        finally:
            self.socket.settimeout(20)


class RawServer:
    """Answers each request by `script`, which a test may change."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.script: Script = lambda _: None
        self.got: list[tuple[bytes, bytes]] = []
        self.connections = 0
        self._open: dict[threading.Thread, socket.socket] = {}
        self._thread = threading.Thread(target=self._accept, name="raw-server", daemon=True)
        self._thread.start()

    def answer(self, response: bytes) -> None:
        """From now on, answer each request with these bytes, and keep the connection open."""

        def script(connection: RawConnection) -> object:
            self.got.append(connection.request())
            connection.send(response)
            return KEEP

        self.script = script

    def close(self) -> None:
        """End all connections, and wait for their threads: nothing of them may be left for another test."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()
        for thread, connection in list(self._open.items()):
            with suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,), name="raw-connection", daemon=True)
            self._open[thread] = connection
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, suppress(OSError):
            client = RawConnection(connection)
            while client.has_more() and self.script(client) is KEEP:
                pass


@contextmanager
def raw_server() -> Iterator[RawServer]:
    server = RawServer()
    try:
        yield server
    finally:
        server.close()


@contextmanager
def connected(port: int) -> Iterator[RawConnection]:
    """A connection to this machine, as a client has one."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield RawConnection(connection)
