"""Bodies in tiny chunks, which are expensive for Envoy, do not delay other requests for long.

The measure is the CPU time that Envoy spends during one request of another client.
"""

import os
import selectors
import socket
import statistics
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from harness.fleet import Fleet
from harness.http import Connection

UPLOADS = 40
REQUESTS = 9
AT_MOST = 0.1
"""Seconds of CPU; 0.5 to 0.8 where Envoy reads 1 MiB of each connection at a time, its default."""
BODIES = {
    "chunks of one byte": b"1\r\na\r\n" * 10_000,
    "leading zeros": b"0000000000000001\r\na\r\n" * 3_000,
    "extensions": (b"1;" + b"e" * 8000 + b"\r\na\r\n") * 8,
}


@pytest.fixture(scope="module")
def front(fleet: Fleet) -> int:
    cloud = fleet.site("cloud-1", services={"image": fleet.service("glance")})
    assert cloud.front is not None
    return cloud.front.port


@contextmanager
def uploads(port: int, body: bytes) -> Iterator[None]:
    """Send without an end, on many connections, as much as is taken."""
    head = b"PUT /image/v2/x HTTP/1.1\r\nHost: front.example\r\nTransfer-Encoding: chunked\r\n\r\n"
    ended = threading.Event()
    with ExitStack() as closing, selectors.DefaultSelector() as selector:
        for _ in range(UPLOADS):
            client = closing.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(head)
            client.setblocking(False)
            selector.register(client, selectors.EVENT_WRITE, memoryview(body))

        def send() -> None:
            while not ended.is_set():
                for key, _ in selector.select(0.05):
                    assert isinstance(key.fileobj, socket.socket)
                    left = key.data[key.fileobj.send(key.data) :]
                    selector.modify(key.fileobj, key.events, left or memoryview(body))

        sending = threading.Thread(target=send)
        sending.start()
        try:
            yield
        finally:
            ended.set()
            sending.join()


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_other_requests_are_served_between_tiny_chunks(
    fleet: Fleet, front: int, body: bytes
) -> None:
    pid = fleet.envoys["cloud-1"].pid
    taken = fleet.echo("glance").received
    with Connection(front) as other, uploads(front, body):
        assert fleet.eventually(lambda: fleet.echo("glance").received > taken)
        worked = []
        for _ in range(REQUESTS):
            before = cpu(pid)
            assert other.send("/image/v2").status == 200
            worked.append(cpu(pid) - before)

    assert statistics.median(worked) < AT_MOST, worked
