"""A service that does with a connection what no HTTP library would let it do."""

import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Self

Handler = Callable[[socket.socket, bytes], bool]
"""Gets a connection and the head of a request on it, with what came of the body; returns whether
the connection goes on."""


class RawService:
    """One service on loopback; `handle` may be changed while it runs."""

    def __init__(self, handle: Handler) -> None:
        self.handle = handle
        self.heads: list[bytes] = []
        """The heads of all requests that came."""
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for each in (self._listener, *self._connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            goes_on = True
            while goes_on:
                data = b""
                while b"\r\n\r\n" not in data:
                    received = connection.recv(1 << 16)
                    if not received:
                        return
                    data += received
                self.heads.append(data.partition(b"\r\n\r\n")[0])
                goes_on = self.handle(connection, data)


def answer(status: int, body: bytes = b"ok", *headers: str) -> bytes:
    """Return the bytes of an answer."""
    head = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def saying(raw: bytes, *, closes: bool = False) -> Handler:
    """Return a handler that answers each head with these bytes."""

    def handle(connection: socket.socket, _: bytes) -> bool:
        connection.sendall(raw)
        return not closes

    return handle
