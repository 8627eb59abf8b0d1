"""The attackers of `front`: python front_attacks.py <name> <port>, until they are ended.

Each is a process of its own, so that it can be held to a part of a core.
"""

import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[3] / "tests" / "support")]

from h2.config import H2Configuration  # noqa: E402 - the path has to be there first
from h2.connection import H2Connection  # noqa: E402
from h2.events import StreamReset  # noqa: E402

TOKENS = "/identity/v3/auth/tokens"
LOGINS = 200
STREAMS = 1000
EACH = 2 << 20
CHUNK = 16384


def endless_logins_http1(port: int) -> None:
    """200 connections, each with a login that doesn't end, and another when that is refused."""
    head = f"POST {TOKENS} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunk = b"%x\r\n%b\r\n" % (CHUNK, b"x" * CHUNK)
    logins: list[socket.socket | None] = [None] * LOGINS
    while True:
        for number, login in enumerate(logins):
            try:
                if login is None:
                    login = logins[number] = socket.create_connection(("127.0.0.1", port))
                    login.setblocking(False)
                    login.send(head)
                with suppress(BlockingIOError):
                    login.send(chunk)
            except OSError:
                if login is not None:
                    login.close()
                logins[number] = None
        time.sleep(0.001)


def endless_logins_http2(port: int) -> None:
    """1,000 logins on one connection, 2 MiB of each; and again when it is ended."""
    head = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", TOKENS)]
    while True:
        state = H2Connection(H2Configuration(header_encoding="utf-8"))
        state.initiate_connection()
        left = dict.fromkeys(range(1, 2 * STREAMS, 2), EACH)
        for each in left:
            state.send_headers(each, head)
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as connection:
            while any(left.values()):
                for each, rest in left.items():
                    room = min(state.local_flow_control_window(each), rest, CHUNK)
                    if room > 0:
                        state.send_data(each, b"x" * room)
                        left[each] -= room
                connection.settimeout(5)
                connection.sendall(state.data_to_send())
                connection.settimeout(0.01)
                with suppress(TimeoutError):
                    received = connection.recv(1 << 16)
                    if not received:
                        break
                    for event in state.receive_data(received):
                        if isinstance(event, StreamReset):
                            left[event.stream_id] = 0


def validations(port: int) -> None:
    """Hundreds of validations at a Keystone that is silent, again as they end."""
    request = f"GET {TOKENS} HTTP/1.1\r\nHost: a\r\nX-Subject-Token: t~1~*:cloud-9\r\n\r\n".encode()
    waiting: list[socket.socket] = []
    while True:
        while len(waiting) < LOGINS:
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(request)
            connection.setblocking(False)
            waiting.append(connection)
        for connection in list(waiting):
            with suppress(BlockingIOError):
                connection.recv(1 << 16)
                connection.close()
                waiting.remove(connection)
        time.sleep(0.05)


def refused_uploads(port: int) -> None:
    """Uploads to `refusing|cloud-1`, whose service refuses and closes before it has read them."""
    head = "PUT /image/v2/x HTTP/1.1\r\nHost: a\r\nX-Scope: {image:refusing|cloud-1}\r\n"
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as one:
            one.sendall(f"{head}Content-Length: {32 << 20}\r\n\r\n".encode())
            for _ in range(64):
                one.sendall(b"x" * CHUNK)
            one.recv(1 << 16)


ATTACKS: Mapping[str, Callable[[int], None]] = {
    each.__name__: each
    for each in (endless_logins_http1, endless_logins_http2, validations, refused_uploads)
}

if __name__ == "__main__":
    print("ready", flush=True)
    ATTACKS[sys.argv[1]](int(sys.argv[2]))
