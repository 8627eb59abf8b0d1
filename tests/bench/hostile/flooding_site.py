"""A site that floods the peer of another one: flooding_site.py PORT CERTIFICATE KEY HELD READS.

Over HTTP/2 of its own making, which costs it little: it begins HELD requests that it never ends,
over as many connections as they need, and prints `ready`. Then it has READS reads on their way all
the time.
"""

import socket
import ssl
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

from hpack import Encoder, NeverIndexedHeaderTuple

STREAMS = 100
"""Of one connection: below what a peer takes."""
HEADERS, SETTINGS, GOAWAY, WINDOW_UPDATE, DATA, PING = 1, 4, 7, 8, 0, 6
END_STREAM, END_HEADERS, ACK = 1, 4, 1
LARGE = 1 << 28
LARGEST_STREAM = 2**31 - 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def fields(method: str) -> bytes:
    """Return the head of a request, so that it may be repeated."""
    head = {":method": method, ":scheme": "https", ":authority": "a", ":path": "/image/v2"}
    return Encoder().encode([NeverIndexedHeaderTuple(*each) for each in head.items()])


class Connection:
    """One connection; it counts the answers that have ended."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        plain = socket.create_connection(("127.0.0.1", port))
        self.socket = context.wrap_socket(plain, server_hostname="peer")
        window = struct.pack(">HI", 4, LARGE)
        self.socket.sendall(
            PREFACE
            + frame(SETTINGS, 0, 0, window)
            + frame(WINDOW_UPDATE, 0, 0, LARGE.to_bytes(4, "big"))
        )
        self._next = 1
        self._rest = b""
        self._taken = self._pongs = 0
        self.sent = self.ended = 0

    def begin(self, count: int, block: bytes, *, end: bool) -> None:
        """Send the heads of so many requests."""
        flags = END_HEADERS | (END_STREAM if end else 0)
        streams = range(self._next, self._next + 2 * count, 2)
        self.socket.sendall(b"".join(frame(HEADERS, flags, each, block) for each in streams))
        self._next += 2 * count
        self.sent += count

    def settle(self) -> None:
        """Wait until the other side has read all this."""
        self.socket.sendall(frame(PING, 0, 0, bytes(8)))
        while not self._pongs:
            self.read()
        self._pongs = 0

    def read(self) -> None:
        """Take what has come."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("closed")
        data, answer = self._rest + data, b""
        at = 0
        while len(data) - at >= 9:
            length = int.from_bytes(data[at : at + 3], "big")
            if len(data) - at < 9 + length:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                self.ended += 1
            if kind == DATA:
                self._taken += length
            elif kind == SETTINGS and not flags & ACK:
                answer += frame(SETTINGS, ACK, 0)
            elif kind == PING and flags & ACK:
                self._pongs += 1
            elif kind == PING:
                answer += frame(PING, ACK, 0, data[at + 9 : at + 17])
            elif kind == GOAWAY:
                raise ConnectionError("sent away")
            at += 9 + length
        self._rest = data[at:]
        if self._taken > LARGE // 2:
            answer += frame(WINDOW_UPDATE, 0, 0, self._taken.to_bytes(4, "big"))
            self._taken = 0
        if answer:
            self.socket.sendall(answer)


def hold(connections: Iterator[Connection], count: int) -> list[Connection]:
    """Begin so many requests that never end."""
    holding = []
    for _ in range(0, count, STREAMS):
        holding.append(next(connections))
        holding[-1].begin(min(STREAMS, count), fields("POST"), end=False)
    for each in holding:
        each.settle()
    return holding


def flood(connections: Iterator[Connection], under_way: int) -> None:
    """Have so many reads on their way, for ever."""
    block = fields("GET")
    for connection in connections:
        with suppress(ConnectionError):
            while connection.sent < LARGEST_STREAM // 2 - under_way:
                connection.begin(under_way - connection.sent + connection.ended, block, end=True)
                connection.read()
        connection.socket.close()


def connections(port: int, certificate: str, key: str) -> Iterator[Connection]:
    """Yield new connections."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(certificate, key)
    while True:
        yield Connection(port, context)


def main(port: int, certificate: str, key: str, held: int, reads: int) -> None:
    """Hold, then flood until this process is ended."""
    new = connections(port, certificate, key)
    holding = hold(new, held)
    print("ready", flush=True)
    if reads:
        flood(new, reads)
    while holding:
        time.sleep(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
