"""A client that sends exactly the bytes it is given: what a library would repair is under test.

All addresses are on loopback, and no proxy is asked.
"""

import io
import json
import socket
import ssl
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

TIMEOUT = 30.0
"""Seconds after which a test is stuck; no test waits so long when all is well."""
SERVICE_SECONDS = 60.0
"""The same for a request that real services of OpenStack answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The object inside an OpenStack-shaped error."""
        assert self.headers["content-type"] == "application/json"
        error: dict[str, Any] = self.json["error"]
        return error


class _Reader(io.BufferedReader):
    """Outlives each answer: what has come of the next one is not lost with it."""

    def makefile(self, *_: object) -> "_Reader":
        """Return itself; to a response it is the socket."""
        return self

    def close(self) -> None:
        """Do nothing: responses close what they read from."""


class Connection:
    """One kept-alive HTTP/1.1 connection, with TLS where there is a context for it."""

    def __init__(
        self,
        port: int,
        timeout: float = TIMEOUT,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str = "front.example",
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=server_name)
        self._reader: _Reader | None = None

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        if self._reader is not None:
            self._reader.raw.close()
        self.socket.close()

    def send(
        self,
        path: str,
        headers: Sequence[tuple[str, str]] = (),
        *,
        method: str = "GET",
        body: bytes | Iterable[bytes] = b"",
        host: str = "front.example",
    ) -> Response:
        """Send a request and read its answer; an iterable is sent in chunks."""
        head = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
        head += [f"{name}: {value}" for name, value in headers]
        if isinstance(body, bytes):
            head += [f"Content-Length: {len(body)}"] if body else []
        else:
            head += ["Transfer-Encoding: chunked"]
        # latin-1: any byte can be sent as the character of its number
        self.socket.sendall("\r\n".join([*head, "", ""]).encode("latin-1"))
        with suppress(ConnectionError):  # who has answered already may take no more of a body
            self._send_body(body)
        return self.read(method)

    def _send_body(self, body: bytes | Iterable[bytes]) -> None:
        if isinstance(body, bytes):
            self.socket.sendall(body)
            return
        for chunk in body:
            self.socket.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        self.socket.sendall(b"0\r\n\r\n")

    def read(self, method: str = "GET") -> Response:
        if self._reader is None:
            self._reader = _Reader(self.socket.makefile("rb", buffering=0))
        response = HTTPResponse(cast(socket.socket, self._reader), method=method)
        try:
            response.begin()
            body = b"" if response.status == 101 else response.read()
            return Response(status=response.status, headers=response.headers, body=body)
        finally:
            response.close()


class UnixConnection(Connection):
    """The same to a unix socket."""

    def __init__(self, path: Path, timeout: float = TIMEOUT) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self._reader: _Reader | None = None


def send(
    port: int,
    path: str,
    headers: Sequence[tuple[str, str]] = (),
    *,
    timeout: float = TIMEOUT,
    tls: ssl.SSLContext | None = None,
    **more: Any,
) -> Response:
    """Send one request over a connection of its own (`Connection.send`)."""
    with Connection(port, timeout, tls=tls) as connection:
        return connection.send(path, headers, **more)


def request(
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    document: object | None = None,
    data: bytes | None = None,
) -> Response:
    """Send one request to an `http://` URL over a connection of its own.

    Args:
        method: Such as GET.
        url: Its host is not looked up: everything is on loopback.
        headers: Besides `Host` and the length.
        document: Sent as JSON where it isn't None.
        data: Sent as it is, with the `Content-Type` of `headers`, where there is no document.

    Raises:
        OSError: nobody listens, or the connection broke.
    """
    parts = urlsplit(url)
    assert parts.scheme == "http", url
    assert parts.port is not None, url
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    sent = dict(headers or {})
    if document is not None:
        sent = {"Content-Type": "application/json"} | sent
        data = json.dumps(document).encode()
    try:
        return send(
            *(parts.port, path, [*sent.items()]),
            timeout=SERVICE_SECONDS,
            method=method,
            body=data or b"",
            host=parts.netloc,
        )
    except HTTPException as error:
        raise ConnectionError(f"broken answer from {url}: {error!r}") from error


def answers(url: str) -> bool:
    """Return whether somebody answers there with anything but a 5xx."""
    try:
        return request("GET", url).status < 500
    except OSError:
        return False
