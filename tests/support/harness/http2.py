"""A client of HTTP/2 that sends exactly the headers it is given: what Envoys of sites speak."""

import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPMessage

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
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


@dataclass(slots=True)
class _Answer:
    status: int = 0
    headers: HTTPMessage | None = None
    body: bytes = b""
    ended: bool = False


class Connection2:
    """One HTTP/2 connection, with prior knowledge or over TLS."""

    def __init__(
        self, port: int, *, tls: ssl.SSLContext | None = None, server_name: str = "peer"
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        try:
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname=server_name)
            self._scheme = "http" if tls is None else "https"
            self._h2 = H2Connection(_CONFIG)
            self._h2.initiate_connection()
            self._flush()
        except OSError:
            self.socket.close()
            raise

    def __enter__(self) -> "Connection2":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(
        self,
        path: str | None,
        headers: Headers = (),
        *,
        method: str = "GET",
        body: bytes = b"",
        trailers: Headers = (),
        authority: str = "peer.example",
        pseudo: Headers = (),
    ) -> Response:
        """Send a request and read its answer.

        Args:
            path: None sends no `:path`.
            headers: In the order and spelling that is sent.
            method: `:method`.
            body: Goes in one frame.
            trailers: After the body.
            authority: `:authority`.
            pseudo: Further pseudo headers.

        Raises:
            Refused: there is no answer.
        """
        fields = [(":method", method), (":scheme", self._scheme), (":authority", authority)]
        fields += [(":path", path)] if path is not None else []
        everything = [
            (n.encode("latin-1"), v.encode("latin-1")) for n, v in [*fields, *pseudo, *headers]
        ]
        stream = self._h2.get_next_available_stream_id()
        try:
            self._h2.send_headers(stream, everything, end_stream=not body and not trailers)
            if body:
                self._h2.send_data(stream, body, end_stream=not trailers)
            if trailers:
                last = [
                    (name.encode("latin-1"), value.encode("latin-1")) for name, value in trailers
                ]
                self._h2.send_headers(stream, last, end_stream=True)
            self._flush()
            return self._read(stream)
        except OSError as error:
            raise Refused(str(error)) from error

    def _read(self, stream: int) -> Response:
        answer = _Answer()
        while not answer.ended:
            received = self.socket.recv(1 << 16)
            if not received:
                raise Refused("the connection was closed")
            for event in self._h2.receive_data(received):
                self._take(event, stream, answer)
            self._flush()
        assert answer.headers is not None
        return Response(status=answer.status, headers=answer.headers, body=answer.body)

    def _take(self, event: object, stream: int, answer: _Answer) -> None:
        if isinstance(event, ConnectionTerminated):
            raise Refused(f"the connection was ended: {event.error_code}")
        if getattr(event, "stream_id", None) != stream:
            return
        if isinstance(event, StreamReset):
            raise Refused(f"the stream was reset: {event.error_code}")
        if isinstance(event, ResponseReceived):
            answer.headers = HTTPMessage()
            for name, value in event.headers:
                text = value.decode("latin-1")
                if name == b":status":
                    answer.status = int(text)
                else:
                    answer.headers[name.decode("latin-1")] = text
        elif isinstance(event, DataReceived):
            answer.body += event.data
            self._h2.acknowledge_received_data(event.flow_controlled_length, stream)
        elif isinstance(event, StreamEnded):
            answer.ended = True

    def _flush(self) -> None:
        self.socket.sendall(self._h2.data_to_send())


def send2(
    port: int,
    path: str | None,
    headers: Headers = (),
    *,
    tls: ssl.SSLContext | None = None,
    **more: object,
) -> Response:
    """Send one request over a connection of its own (`Connection2.send`).

    Raises:
        Refused: there is no answer, or no connection.
    """
    try:
        with Connection2(port, tls=tls) as connection:
            return connection.send(path, headers, **more)  # type: ignore[arg-type]
    except OSError as error:
        raise Refused(str(error)) from error
