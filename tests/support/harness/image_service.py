"""An image service with Glance's lists, creation by a chosen id, and deletion."""

import json
import socket
import threading
import uuid
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

LARGEST_PAGE = 5


class ImageService:
    """One cloud's images; `start` and `stop` may be called again, for an outage."""

    def __init__(self) -> None:
        self.images: dict[str, dict[str, Any]] = {}
        self.port = 0
        self.status = 0
        """Answer everything with this status, where it is not 0."""
        self.answers = threading.Event()
        """Requests are answered while it is set."""
        self.answers.set()
        self.seen: list[tuple[str, str]] = []
        """Methods and locations of what was asked."""
        self.connections: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None

    def add(self, *names: str) -> None:
        """Add images whose ids follow from their names."""
        for name in names:
            identifier = str(uuid.uuid5(uuid.NAMESPACE_OID, name))
            self.images[identifier] = {"id": identifier, "name": name, "status": "active"}

    def start(self) -> "ImageService":
        """Listen, at the port of before if there was one."""
        service = self

        class Handler(_Handler):
            images = service

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Refuse connections."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for each in list(self.connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def page(self, query: dict[str, str]) -> dict[str, Any]:
        """Return a page of images, sorted by name and id."""
        rows = sorted(self.images.values(), key=lambda each: (each["name"], each["id"]))
        size = min(int(query.get("limit", LARGEST_PAGE)), LARGEST_PAGE)
        if marker := query.get("marker"):
            rows = rows[[each["id"] for each in rows].index(marker) + 1 :]
        document: dict[str, Any] = {"images": rows[:size], "first": "/v2/images"}
        if len(rows) > size:
            document["next"] = f"/v2/images?marker={rows[size - 1]['id']}"
        return document


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    images: ImageService

    def setup(self) -> None:
        super().setup()
        self.images.connections.add(self.connection)

    def finish(self) -> None:
        self.images.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if self._begin():
            return
        if path == "/v2/images":
            self._answer(200, self.images.page(dict(parse_qsl(query))))
        elif (found := self.images.images.get(path.rpartition("/")[2])) is not None:
            self._answer(200, found)
        else:
            self._error(404, "No image found")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self._begin():
            return
        made = {"id": str(uuid.uuid4()), **json.loads(body), "status": "queued"}
        if made["id"] in self.images.images:
            self._error(409, "Image ID already exists!")
            return
        self.images.images[made["id"]] = made
        self._answer(201, made, location=f"/v2/images/{made['id']}")

    def do_DELETE(self) -> None:
        if self._begin():
            return
        if self.images.images.pop(self.path.rpartition("/")[2], None) is None:
            self._error(404, "No image found")
        else:
            self._answer(204)

    def _begin(self) -> bool:
        """Note the request; return whether it is answered already, or nobody waits for it."""
        self.images.seen.append((self.command, self.path))
        self.images.answers.wait()
        if self._is_gone():
            self.close_connection = True
            return True
        if self.images.status:
            self._error(self.images.status, "not now")
        return bool(self.images.status)

    def _is_gone(self) -> bool:
        """Return whether the one who asked has closed the connection."""
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _error(self, status: int, message: str) -> None:
        # Glance's errors are HTML
        page = f"<html><body><h1>{status} Error</h1>\n{message}<br /><br />\n</body></html>"
        self._answer(status, page)

    def _answer(self, status: int, document: object = None, **headers: str) -> None:
        body = document if isinstance(document, str) else json.dumps(document)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        with suppress(ConnectionError):
            if status == 204:
                self.end_headers()
                return
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())
