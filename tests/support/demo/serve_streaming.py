"""Serves one OpenStack WSGI application that reads bodies as they come: Glance and its images.

waitress (`serve_wsgi.py`) gives an application a body when all of it is there. Executed by the
Python of the OpenStack environment; only the standard library and the service itself may be
imported here.

    serve_streaming.py MODULE ADDRESS PORT

One thread for each connection, one request for each connection: Envoy opens another.
"""

import importlib
import io
import sys
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, cast
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

MAX_LINE = 64 * 1024
LINGER_BYTES = 1 << 20
"""What is read of a body that the application has left, so that its answer isn't lost: a socket
that is closed with something unread is reset."""


class Body(io.RawIOBase):
    """The body of a request, and no byte behind it."""

    def __init__(self, file: Any, length: int | None) -> None:
        """A `length` of None: it comes in chunks."""
        self._file = file
        self._left = length or 0
        self._chunked = length is None

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there, at least a byte; 0 is the end."""
        if not self._left and self._chunked:
            self._begin_chunk()
        if not self._left:
            return 0
        data = self._file.read1(min(len(buffer), self._left))
        if not data:
            raise ConnectionResetError("the body broke off")
        buffer[: len(data)] = data
        self._left -= len(data)
        if self._chunked and not self._left:
            self._file.readline(MAX_LINE)
        return len(data)

    def _begin_chunk(self) -> None:
        size, _, _ = self._file.readline(MAX_LINE).partition(b";")
        self._left = int(size, 16)
        if not self._left:
            self._chunked = False
            while self._file.readline(MAX_LINE).strip():  # trailers
                pass


class Handler(WSGIRequestHandler):
    """One request."""

    timeout = 600
    linger = 1.0
    """Seconds that a client may be silent when its answer has been sent, and its body has not."""

    def handle(self) -> None:
        """Answer it; as the one of the base class, but for its body."""
        self.raw_requestline = self.rfile.readline(MAX_LINE + 1)
        if not self.parse_request():
            return
        environment = self.get_environ()
        chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        length = None if chunked else int(self.headers.get("content-length") or 0)
        environment["wsgi.input_terminated"] = True
        body = io.BufferedReader(Body(self.rfile, length))
        handler = ServerHandler(body, cast(Any, self.wfile), self.get_stderr(), environment)
        handler.request_handler = self  # type: ignore[attr-defined]
        handler.run(self.server.get_app())  # type: ignore[attr-defined]
        try:
            self.wfile.flush()
            self.connection.settimeout(self.linger)
            left = LINGER_BYTES
            while left > 0 and (data := body.read1(64 * 1024)):
                left -= len(data)
        except (OSError, ValueError):
            pass

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: Envoy has an access log."""


class Server(ThreadingMixIn, WSGIServer):
    """All of them, each in a thread."""

    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        """Bind without asking for the machine's name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()


def main() -> None:
    """Listens once the application is made: an open port means that it answers."""
    module, address, port = sys.argv[1:]
    sys.argv = [module]  # services read it when they are imported, also to name their logs
    application = importlib.import_module(module).application
    server = Server((address, int(port)), Handler)
    server.set_app(application)
    server.serve_forever()


if __name__ == "__main__":
    main()
