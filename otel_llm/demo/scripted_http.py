"""The HTTP of the scripted server: its threads, its connections, and what a client receives on them."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Final, TypeAlias

STOP_TIMEOUT: Final = 5.0  # seconds; every wait below is for something that has been told to end

Handle: TypeAlias = Callable[["Connection", bytes], None]
"""Answers a request, given its body, on the connection."""


class ConnectionEnd(Exception):  # noqa: N818 - no error, a way out
    """The connection ends here, whatever was sent on it."""


class HTTPServer(ThreadingHTTPServer):
    """A server on a free port of 127.0.0.1, with a thread for each connection."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, handle: Handle) -> None:
        self.handle_request_on = handle
        self.stopping = threading.Event()
        self._open: dict[threading.Thread, socket.socket] = {}
        self._open_lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Connection)

    def server_bind(self) -> None:
        # HTTPServer's own looks up the host's name, which takes seconds without a name service.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name="scripted-server-connection",
            daemon=True,
        )
        with self._open_lock:
            self._open[thread] = request
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._open_lock:
                del self._open[threading.current_thread()]

    def close_connections(self) -> None:
        """End every connection, and wait until their threads are gone."""
        with self._open_lock:
            still_open = dict(self._open)
        for connection in still_open.values():
            with contextlib.suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + STOP_TIMEOUT
        for thread in still_open:
            thread.join(max(0.0, deadline - time.monotonic()))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do not report that a client disconnected; faults of a script are kept by the scripted server."""


class Connection(BaseHTTPRequestHandler):
    """A client's connection. `is_streaming`: the headers of a stream were sent for the current request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # each chunk leaves when it is written
    server: HTTPServer
    is_streaming = False

    def do_GET(self) -> None:
        self._handle(b"")

    def do_POST(self) -> None:
        self._handle(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _handle(self, body: bytes) -> None:
        self.is_streaming = False
        try:
            self.server.handle_request_on(self, body)
        except (ConnectionEnd, ConnectionError):
            self.close_connection = True

    def sleep(self, seconds: float) -> None:
        """Wait. Raises ConnectionEnd if the server is stopped."""
        if self.server.stopping.wait(seconds):
            raise ConnectionEnd

    def send(self, payload: bytes) -> None:
        """Send a piece of a stream, whose headers come first."""
        if not self.is_streaming:
            self.is_streaming = True
            self.send_response(200)
            # A message of AWS's encoding begins with its length.
            is_aws = payload.startswith(b"\0")
            self.send_header(
                "Content-Type", "application/vnd.amazon.eventstream" if is_aws else "text/event-stream; charset=utf-8"
            )
            self.send_header("Cache-Control", "no-cache")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
        if payload:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(payload), payload))

    def end_stream(self) -> None:
        """End the stream properly."""
        self.send(b"")
        self.wfile.write(b"0\r\n\r\n")

    def answer(self, payload: bytes, status: int, headers: Mapping[str, str]) -> None:
        """Send a whole response."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(payload))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def drop(self, *, reset: bool) -> None:
        """Close the connection, or reset it. Raises ConnectionEnd."""
        if reset:
            # With a linger of zero, closing discards unsent data and resets the connection.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        raise ConnectionEnd

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the standard library calls it
        """Print nothing on the terminal of the application under test."""
