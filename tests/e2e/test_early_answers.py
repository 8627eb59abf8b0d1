"""A service answers before it has read the body, and closes: too large, no quota, no such token."""

import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from threading import Thread

import pytest
from harness.fleet import Fleet, manifest
from harness.services import at

REFUSED = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n"
SIZE = 32 << 20
ANYONE = [{"clouds": ["cloud-1"]}]


def refuse(listening: socket.socket) -> None:
    """Answer the heads of requests, as Apache and eventlet do it."""

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(1 << 16)
            connection.sendall(REFUSED)

    with suppress(OSError):
        while True:
            Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()


@pytest.fixture(scope="module")
def front(fleet: Fleet) -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        Thread(target=refuse, args=(listening,), daemon=True).start()
        images = {"image": {"endpoints": [at(listening.getsockname()[1])]}}
        fleet.site("cloud-2", services=images, accept=ANYONE)
        fleet.control_plane.put(manifest("cloud-3", services=images, accept=ANYONE))
        cloud = fleet.site("cloud-1", services=images)
        assert cloud.front is not None
        yield cloud.front.port


@pytest.mark.parametrize("clouds", ["cloud-1", "cloud-2", "cloud-3", "cloud-3|cloud-2"])
def test_who_asks_before_it_sends_is_told(front: int, clouds: str) -> None:
    """`Expect: 100-continue`, as Swift's client, curl and boto send it, reaches the service."""
    head = (
        "PUT /image/v2/images/x/file HTTP/1.1\r\nHost: front\r\nExpect: 100-continue\r\n"
        f"X-Scope: {{image:{clouds}}}\r\nContent-Length: {SIZE}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", front), timeout=30) as connection:
        connection.sendall(head.encode())

        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 413 ")
