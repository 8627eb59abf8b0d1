"""The admin address: health, readiness, metrics and status over HTTP.

Runs in threads of its own, so that a slow reader never holds up a stream and a busy event loop
still looks alive.
"""

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from socketserver import TCPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from control_plane.errors import ControlPlaneError

Status = Callable[[], Mapping[str, Any]]
Answer = tuple[int, str, bytes]
"""Status, content type, body."""

CLIENT_SECONDS = 10.0
"""How long a client may take for its request; then its thread is given back."""
CLOSE_SECONDS = 0.1
"""How long `close` may wait for the server to notice."""


class AdminServer:
    """Answers /healthz, /readyz, /metrics and /status until it is closed.

    /readyz is 200 once `ready` has been set, 503 before. /status is the JSON of `status()`, which
    is called in a thread of this server; a TimeoutError of it is a 503.
    """

    def __init__(
        self, address: tuple[str, int], *, registry: CollectorRegistry, status: Status
    ) -> None:
        """Bind the address.

        Raises:
            ControlPlaneError: the address is used or does not exist.
        """
        self.ready = False
        self._metrics = registry
        self._status = status
        try:
            self._server = _HttpServer(address, _handler(self.answer))
        except OSError as error:
            host, port = address
            raise ControlPlaneError(
                f"cannot listen on {host}:{port}: {error.strerror} (--admin-listen)"
            ) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(CLOSE_SECONDS,), name="admin", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that is listened on, also where 0 was asked for."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def answer(self, path: str) -> Answer:
        """Return what a GET of `path` gets."""
        match path:
            case "/healthz":
                return _text(200, "ok")
            case "/readyz" if self.ready:
                return _text(200, "ready")
            case "/readyz":
                return _text(503, "the registry has not been listed yet")
            case "/metrics":
                return 200, CONTENT_TYPE_LATEST, generate_latest(self._metrics)
            case "/status":
                return self._answer_status()
        return _text(404, "try /healthz, /readyz, /metrics or /status")

    def _answer_status(self) -> Answer:
        try:
            status = self._status()
        except TimeoutError:
            return _text(503, "the control plane is too busy to say")
        return 200, "application/json", json.dumps(status, indent=2).encode() + b"\n"


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = AF_INET6 if ":" in address[0] else AF_INET
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # HTTPServer's own asks the DNS for a name that nobody needs, and may wait for it
        TCPServer.server_bind(self)


def _handler(answer: Callable[[str], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = CLIENT_SECONDS

        def do_GET(self) -> None:
            status, content_type, body = answer(self.path.partition("?")[0])
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent: probes come every few seconds."""

    return Handler


def _text(status: int, text: str) -> Answer:
    return status, "text/plain", f"{text}\n".encode()
