"""Listening sockets and their addresses."""

from __future__ import annotations

import asyncio
import socket

import pytest

from otel_llm.serving.sockets import address_of, listen, listen_on


@pytest.mark.parametrize("address", ["127.0.0.1:0", ":0", "localhost:0"])
def test_a_free_port_of_the_loopback(address: str) -> None:
    with listen_on(address) as listener:
        host, port = listener.getsockname()
        assert address_of(listener) == f"http://{host}:{port}"
        socket.create_connection((host, port)).close()


def test_an_address_of_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with listen_on("[::1]:0") as listener:
        assert address_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def test_all_interfaces_have_the_address_of_the_loopback() -> None:
    with listen_on("0.0.0.0:0") as listener:
        assert address_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("address", ["", "8000", "localhost", "localhost:http", "localhost:-1", "localhost:65536"])
def test_what_is_not_an_address(address: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        listen_on(address)


def test_a_port_that_is_taken() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            listen("127.0.0.1", port)
        with listen("127.0.0.1", port, or_any=True) as second:
            assert second.getsockname()[1] not in {0, port}


async def test_pieces_leave_when_they_are_written() -> None:
    """Else the kernel holds each small one back until the one before was acknowledged."""
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    with listen("127.0.0.1", 0) as listener:
        server = await asyncio.start_server(lambda _, writer: accepted.put_nowait(writer), sock=listener)
        _, client = await asyncio.open_connection(*listener.getsockname())
        writer = await accepted.get()
        assert writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        client.close()
        writer.close()
        server.close()
