"""The admin address: health, readiness, metrics and status over HTTP.

Runs in a thread of its own and only reads values that the event loop replaces as a whole, so that a
slow reader never holds up a stream.
"""

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from control_plane.errors import ControlPlaneError

Status = Callable[[], Mapping[str, Any]]


class AdminServer:
    """Answers /healthz, /readyz, /metrics and /status until it is closed.

    /readyz is 200 once `ready` has been set, 503 before. /status is the JSON of `status()`, which
    is called in this server's thread.
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
            self._server = ThreadingHTTPServer(address, self._handler())
        except OSError as error:
            host, port = address
            raise ControlPlaneError(
                f"cannot listen on {host}:{port} for --admin-listen: {error.strerror}"
            ) from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="admin", daemon=True
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

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Return (status, content type, body) for a GET of `path`."""
        if path == "/healthz":
            return 200, "text/plain", b"ok\n"
        if path == "/readyz":
            return (
                (200, "text/plain", b"ready\n")
                if self.ready
                else (
                    503,
                    "text/plain",
                    b"the registry has not been listed yet\n",
                )
            )
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(self._metrics)
        if path == "/status":
            return 200, "application/json", json.dumps(self._status(), indent=2).encode() + b"\n"
        return 404, "text/plain", b"try /healthz, /readyz, /metrics or /status\n"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
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
