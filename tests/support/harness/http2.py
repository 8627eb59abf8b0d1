"""A client of HTTP/2 that sends exactly the headers it is given: what Envoys of sites speak."""

import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from http.client import HTTPMessage
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)

from harness.http import TIMEOUT, Response

Headers = Sequence[tuple[str, str]]


class Refused(Exception):
    """The other side broke the stream or the connection off, or never took it."""


_CONFIG = H2Configuration(
    validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding=None
)


class Connection2:
    """One HTTP/2 connection, with prior knowledge or over TLS; one request at a time."""

    def __init__(
        self, port: int, *, tls: ssl.SSLContext | None = None, server_name: str = "peer"
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        try:
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname=server_name)
            self._scheme = "http" if tls is None else "https"
            self._h2 = H2Connection(_CONFIG)
            self._stream = 0
            self._events: list[Event] = []  # that came, and were not looked at yet
            self._h2.initiate_connection()
            self._flush()
        except OSError:
            self.socket.close()
            raise

    def __enter__(self) -> "Connection2":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, path: str | None, headers: Headers = (), **more: Any) -> Response:
        """Send a request as `begin` does, and read its whole answer.

        Raises:
            Refused: there is no answer.
        """
        head = self.begin(path, headers, **more)
        return Response(status=head.status, headers=head.headers, body=b"".join(self.body()))

    def begin(
        self,
        path: str | None,
        headers: Headers = (),
        *,
        method: str = "GET",
        body: bytes | Iterable[bytes] = b"",
        trailers: Headers = (),
        authority: str = "peer.example",
        pseudo: Headers = (),
    ) -> Response:
        """Send a request; return its answer without a body, once its head is here.

        Args:
            path: None sends no `:path`.
            headers: In the order and spelling that is sent.
            method: `:method`.
            body: Bytes that go in one frame, or pieces that are sent when they are made.
            trailers: After the body.
            authority: `:authority`.
            pseudo: Further pseudo headers.

        Raises:
            Refused: there is no answer.
        """
        fields = [(":method", method), (":scheme", self._scheme), (":authority", authority)]
        fields += [(":path", path)] if path is not None else []
        self._stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(
            self._stream,
            _encoded([*fields, *pseudo, *headers]),
            end_stream=not body and not trailers,
        )
        try:
            if body:
                self._send_body(body, end_stream=not trailers)
            if trailers:
                self._h2.send_headers(self._stream, _encoded(trailers), end_stream=True)
            self._flush()
        except OSError as error:
            raise Refused(str(error)) from error
        return self._head()

    def body(self) -> Iterator[bytes]:
        """Yield the pieces of the answer's body as they come.

        Raises:
            Refused: it broke off.
        """
        while not isinstance(event := self._next(), StreamEnded):
            if isinstance(event, DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, self._stream)
                yield event.data

    def _head(self) -> Response:
        while not isinstance(event := self._next(), ResponseReceived):
            pass
        status, headers = 0, HTTPMessage()
        for name, value in event.headers:
            text = value.decode("latin-1")
            if name == b":status":
                status = int(text)
            else:
                headers[name.decode("latin-1")] = text
        return Response(status=status, headers=headers, body=b"")

    def _send_body(self, body: bytes | Iterable[bytes], *, end_stream: bool) -> None:
        if isinstance(body, bytes):
            self._send(body, end_stream=end_stream)
            return
        for piece in body:
            self._send(piece)
            self._flush()
        if end_stream:
            self._h2.end_stream(self._stream)

    def _send(self, data: bytes, *, end_stream: bool = False) -> None:
        while data:
            window = self._h2.local_flow_control_window(self._stream)
            size = min(window, self._h2.max_outbound_frame_size, len(data))
            if size:
                frame, data = data[:size], data[size:]
                self._h2.send_data(self._stream, frame, end_stream=end_stream and not data)
            else:
                self._receive()

    def _next(self) -> Event:
        """Return the next event of the stream."""
        while True:
            while not self._events:
                try:
                    self._receive()
                except OSError as error:
                    raise Refused(str(error)) from error
            event = self._events.pop(0)
            if isinstance(event, ConnectionTerminated):
                raise Refused(f"the connection was ended: {event.error_code}")
            if getattr(event, "stream_id", None) != self._stream:
                continue
            if isinstance(event, StreamReset):
                raise Refused(f"the stream was reset: {event.error_code}")
            return event

    def _receive(self) -> None:
        self._flush()
        data = self.socket.recv(1 << 16)
        if not data:
            raise Refused("the connection was closed")
        self._events += self._h2.receive_data(data)
        self._flush()

    def _flush(self) -> None:
        self.socket.sendall(self._h2.data_to_send())


def send2(
    port: int,
    path: str | None,
    headers: Headers = (),
    *,
    tls: ssl.SSLContext | None = None,
    **more: Any,
) -> Response:
    """Send one request over a connection of its own (`Connection2.send`).

    Raises:
        Refused: there is no answer, or no connection.
    """
    try:
        with Connection2(port, tls=tls) as connection:
            return connection.send(path, headers, **more)
    except OSError as error:
        raise Refused(str(error)) from error


def _encoded(fields: Headers) -> list[tuple[bytes, bytes]]:
    # latin-1: any byte can be sent as the character of its number
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
