"""A client of HTTP/2 that sees an answer while it comes, and sends a body while it is made."""

import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, StreamReset

from harness.http import TIMEOUT


class Http2:
    """One connection, with TLS and ALPN where there is a context for it."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
            self._socket = tls.wrap_socket(self._socket, server_hostname="front.example")
        self._h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._flush()
        self._stream = 0
        self._events: list[Event] = []

    def __enter__(self) -> "Http2":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(
        self,
        path: str,
        headers: Sequence[tuple[str, str]] = (),
        *,
        method: str = "GET",
        body: Iterable[bytes] | None = None,
        scheme: str = "http",
    ) -> int:
        """Send a request, and return the status once the head of its answer is here."""
        self._stream = self._h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", scheme), (":path", path)]
        lower = [(name.lower(), value) for name, value in headers]
        head = [*pseudo, (":authority", "front.example"), *lower]
        self._h2.send_headers(self._stream, head, end_stream=body is None)
        self._flush()
        for chunk in body or ():
            self._send(chunk)
        if body is not None:
            self._h2.end_stream(self._stream)
            self._flush()
        return self._status()

    def body(self) -> Iterator[bytes]:
        """Yield the pieces of the answer's body as they come."""
        while True:
            for event in self._next():
                if isinstance(event, DataReceived):
                    self._h2.acknowledge_received_data(event.flow_controlled_length, self._stream)
                    self._flush()
                    yield event.data
                elif isinstance(event, StreamEnded):
                    return
                elif isinstance(event, StreamReset):
                    raise ConnectionResetError(event.error_code)

    def _status(self) -> int:
        while True:
            events = self._next()
            for index, event in enumerate(events):
                if isinstance(event, ResponseReceived):
                    self._events = events[index + 1 :]
                    return int(dict(event.headers)[":status"])
                if isinstance(event, StreamReset):
                    raise ConnectionResetError(event.error_code)

    def _send(self, data: bytes) -> None:
        while data:
            size = min(
                self._h2.local_flow_control_window(self._stream),
                self._h2.max_outbound_frame_size,
                len(data),
            )
            if size:
                self._h2.send_data(self._stream, data[:size])
                data = data[size:]
                self._flush()
            else:
                self._events += self._receive()

    def _next(self) -> list[Event]:
        events, self._events = self._events, []
        return events or self._receive()

    def _receive(self) -> list[Event]:
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionResetError("closed")
        events = self._h2.receive_data(data)
        self._flush()
        return events

    def _flush(self) -> None:
        self._socket.sendall(self._h2.data_to_send())
