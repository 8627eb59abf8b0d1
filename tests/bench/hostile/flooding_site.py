"""A site that floods the peer of another one, in a process of its own, held to half a core.

    flooding_site.py PORT CERTIFICATE KEY HELD SECONDS

Over HTTP/2 of its own making: it first begins HELD requests that it never ends and says "ready".
Then it sends reads as fast as it can, a hundred on their way, for so many seconds, and prints one
JSON object. What it holds stays until its standard input is closed.
"""

import json
import socket
import ssl
import struct
import sys
import time

from hpack import Encoder, NeverIndexedHeaderTuple

UNDER_WAY = 100
STREAMS = 1000
"""Of one connection: below what a peer takes."""
HEADERS, SETTINGS, GOAWAY, WINDOW_UPDATE, DATA, PING = 1, 4, 7, 8, 0, 6
END_STREAM, END_HEADERS, ACK = 1, 4, 1
LARGE = 1 << 28
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SHARE = 0.5
"""Of a core that it may use."""


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
        self._taken = 0
        self.sent = self.ended = 0

    def begin(self, count: int, block: bytes, *, end: bool) -> None:
        """Send the heads of so many requests."""
        flags = END_HEADERS | (END_STREAM if end else 0)
        streams = range(self._next, self._next + 2 * count, 2)
        self.socket.sendall(b"".join(frame(HEADERS, flags, each, block) for each in streams))
        self._next += 2 * count
        self.sent += count

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
            elif kind == PING and not flags & ACK:
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


def rest(began: float, spent: float) -> None:
    """Sleep as long as this process has used more than its share."""
    ahead = (time.process_time() - spent) / SHARE - (time.monotonic() - began)
    if ahead > 0:
        time.sleep(ahead)


def main(port: int, certificate: str, key: str, held: int, seconds: float) -> None:
    """Flood; print what was sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(certificate, key)
    began, spent = time.monotonic(), time.process_time()
    holding = []
    for _ in range(0, held, STREAMS):
        holding.append(Connection(port, context))
        for _ in range(STREAMS // UNDER_WAY):
            holding[-1].begin(UNDER_WAY, fields("POST"), end=False)
            rest(began, spent)
    print("ready", flush=True)
    reads, block = 0, fields("GET")
    began, spent = time.monotonic(), time.process_time()
    while time.monotonic() - began < seconds:
        connection = Connection(port, context)
        try:
            while time.monotonic() - began < seconds and connection.sent < 1_000_000:
                connection.begin(UNDER_WAY - connection.sent + connection.ended, block, end=True)
                connection.read()
                rest(began, spent)
        except ConnectionError:
            pass
        reads += connection.ended
        connection.socket.close()
    print(json.dumps({"held": held, "reads": reads, "seconds": seconds}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
