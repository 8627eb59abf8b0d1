"""A collector that records what an Envoy asks it, and asks the Envoy for each member."""

import json
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer

from harness.http import Response, UnixConnection

OWN = ("operator", "members", "missing", "lists", "target", "service", "origin", "fanout")
"""Headers `x-scopeway-…` that a collector does not pass on as they came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request of the Envoy."""

    method: str
    path: str
    headers: Message
    body: bytes

    def told(self, word: str) -> str | None:
        """Return all values of a header `x-scopeway-…`."""
        values = self.headers.get_all(f"x-scopeway-{word}")
        return None if values is None else ", ".join(values)


class StubCollector:
    """Answers `{"answers": {cloud: [status, body]}}`; listens while it is entered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        """Of the sockets."""
        self.requests: list[Asked] = []
        self.asks = True
        """Whether it asks the members; otherwise there is no answer of any."""
        self._socket = folder / "collector.sock"
        self._server: _Server | None = None

    def __enter__(self) -> "StubCollector":
        self._socket.unlink(missing_ok=True)
        self._server = _Server(str(self._socket), _Handler)
        self._server.stub = self
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()
        self._socket.unlink(missing_ok=True)

    def stop_listening(self) -> None:
        """Close the socket, and leave its file."""
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def ask(
        self,
        target: str,
        path: str = "/v2/images",
        headers: Iterable[tuple[str, str]] = (),
        *,
        method: str = "GET",
        body: bytes = b"",
    ) -> Response:
        """Send a request to the Envoy's listener `collect`."""
        named = [("x-scopeway-target", target), *headers]
        with UnixConnection(self.folder / "collect.sock") as connection:
            return connection.send(path, named, method=method, body=body)

    def ask_members(self, asked: Asked) -> dict[str, Response]:
        """Ask each member what the Envoy asks, as a collector does."""
        service, members = asked.told("service"), (asked.told("members") or "").split(",")
        headers = _passed_on(asked.headers)
        headers.append(("x-scopeway-fanout", str(len(members))))
        return {
            cloud: self.ask(
                f"{service}@{cloud}", asked.path, headers, method=asked.method, body=asked.body
            )
            for cloud in members
        }


class _Server(ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    stub: StubCollector


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        with suppress(ConnectionError):
            super().handle_one_request()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        asked = Asked(method=self.command, path=self.path, headers=self.headers, body=body)
        self.server.stub.requests.append(asked)
        answers = self.server.stub.ask_members(asked) if self.server.stub.asks else {}
        told = {cloud: [each.status, each.body.decode()] for cloud, each in answers.items()}
        text = json.dumps({"answers": told}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Scopeway-Report", f"asked={len(told)}")
        self.send_header("Set-Cookie", "a=b")
        self.send_header("Connection", "close")  # the next one may be for another stub
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


def _passed_on(headers: Message) -> list[tuple[str, str]]:
    dropped: Sequence[str] = [f"x-scopeway-{word}" for word in OWN]
    dropped = [*dropped, "content-length", "transfer-encoding", "host"]
    return [(name, value) for name, value in headers.items() if name.lower() not in dropped]
