"""Serves pages and commands over HTTP: the admin address, and those for health or metrics alone.

Runs in threads of its own, so that a slow reader never holds up a stream and a busy event loop
still looks alive. A command (POST) is taken from this machine only, and from no web page that a
browser on it shows: a browser names the page, and sends JSON elsewhere only after it has asked.
Nor does a page read anything here by a name of its own that leads to a loopback address: there the
`Host` is an address or localhost.
"""

import json
import re
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from ipaddress import IPv6Address, ip_address
from socket import AF_INET, AF_INET6, SHUT_RDWR, socket
from socketserver import TCPServer
from types import MappingProxyType
from typing import Any, Final, Self

from scopeway.control_plane.admin.answers import Answer, Page, json_answer, text_answer
from scopeway.control_plane.errors import ControlPlaneError
from scopeway.xds.text import shown

Command = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Takes the object that was sent, returns the object to answer with; BadCommand refuses it."""

NO_COMMANDS: Final[Mapping[str, Command]] = MappingProxyType({})

CLIENT_SECONDS = 10.0
"""Seconds after which a silent connection is closed, and its thread is free."""
MAX_CLIENTS = 64
"""Connections at a time, each with its thread. One more ends the oldest, so that those who say
nothing never keep out a probe."""
PLACE_SECONDS = 1.0
"""How long one more may wait for the oldest to go, which may still be at its answer."""
CLOSE_SECONDS = 0.1
"""How long `close` may wait for the server to notice."""
MAX_COMMAND = 1 << 20
"""Bytes of a command: the names of 10,000 clouds fit."""


class BadCommand(ControlPlaneError):
    """A command that is refused; its sender gets the sentence."""


class PageServer:
    """Answers pages and commands at one address until it is closed, and 404 to all else.

    Pages and commands are called in a thread of this server. A TimeoutError of them is a 503.
    """

    def __init__(
        self,
        address: tuple[str, int],
        pages: Mapping[str, Page],
        *,
        commands: Mapping[str, Command] = NO_COMMANDS,
        option: str,
    ) -> None:
        """Bind the address.

        Args:
            address: Host and port; port 0 takes a free one.
            pages: By path, what makes the answer to a GET.
            commands: By path, what a POST there does.
            option: The option that set the address, for errors.

        Raises:
            ControlPlaneError: the address is used or does not exist.
        """
        self._pages = pages
        self._commands = commands
        try:
            self._server = _HttpServer(address, _handler(self))
        except OSError as error:
            host, port = address
            raise ControlPlaneError(
                f"cannot listen on {host}:{port}: {error.strerror} ({option})"
            ) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(CLOSE_SECONDS,), name=option, daemon=True
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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

    def answer(self, path: str, host: str | None) -> Answer:
        """Return what a GET of `path` gets; `host` is its `Host`, which every browser sends."""
        if not self._is_named(host):
            name = shown(host or "")
            return text_answer(421, f"this is not '{name}': ask for localhost or an address")
        page = self._pages.get(path)
        if page is not None:
            return _made(page)
        if path in self._commands:
            return text_answer(405, "this is a command: POST it")
        return text_answer(404, f"try {', '.join(self._pages)}")

    def take(self, path: str, client: str, headers: Message, body: BufferedIOBase) -> Answer:
        """Return what a POST to `path` from the address `client` gets."""
        command = self._commands.get(path)
        if command is None:
            return text_answer(404, "there is no such command")
        if not _is_loopback(client):
            return text_answer(403, "commands are taken from this machine only")
        if (
            not self._is_named(headers["host"])
            or "origin" in headers
            or "sec-fetch-site" in headers
        ):
            return text_answer(403, "commands are not taken from web pages")
        if headers.get_content_type() != "application/json":
            return text_answer(415, "a command is application/json")
        length = headers.get("content-length", "")
        if not length.isascii() or not length.isdigit():
            return text_answer(411, "a command has a Content-Length")
        if int(length) > MAX_COMMAND:
            return text_answer(413, f"a command has at most {MAX_COMMAND} bytes")
        try:
            value = json.loads(body.read(int(length)))
        except (ValueError, RecursionError):
            return text_answer(400, "the command is not JSON")
        if not isinstance(value, dict):
            return text_answer(400, "the command is not an object")
        try:
            return _made(lambda: json_answer(command(value)))
        except BadCommand as error:
            return text_answer(400, str(error))

    def _is_named(self, host: str | None) -> bool:
        """Whether this may be meant; beyond loopback everybody may ask, by whatever name."""
        if host is None or not _is_loopback(str(self._server.server_address[0])):
            return True
        return _is_address_or_localhost(host)


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = MAX_CLIENTS  # of 5, most of a crowd would come again after seconds

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = AF_INET6 if ":" in address[0] else AF_INET
        self._places = threading.Semaphore(MAX_CLIENTS)
        self._lock = threading.Lock()
        self._open: dict[socket, None] = {}
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection its thread, if need be the place of the oldest; or end it."""
        if not self._places.acquire(blocking=False):
            self._end_oldest()
            if not self._places.acquire(timeout=PLACE_SECONDS):
                self.shutdown_request(request)
                return
        with self._lock:
            self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection, once its thread is done with it, and give back its place."""
        with self._lock:
            had_a_place = request in self._open
            self._open.pop(request, None)
        super().shutdown_request(request)
        if had_a_place:
            self._places.release()

    def _end_oldest(self) -> None:
        with self._lock, suppress(OSError):  # it has gone by itself
            oldest = next(iter(self._open), None)
            if oldest is not None:
                oldest.shutdown(SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what was raised, but not that a client has gone before its answer."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def server_bind(self) -> None:
        # HTTPServer's own asks the DNS for a name that nobody needs, and may wait for it
        TCPServer.server_bind(self)


def _handler(server: PageServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = CLIENT_SECONDS

        def do_GET(self) -> None:
            self.send(server.answer(self.path.partition("?")[0], self.headers["host"]))

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            self.send(server.take(self.path, self.client_address[0], self.headers, self.rfile))

        def send(self, answer: Answer) -> None:
            status, content_type, body = answer
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def version_string(self) -> str:
            """Return the `Server` header: no versions, as everybody may read it."""
            return "scopeway"

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent: probes come every few seconds."""

    return Handler


def _is_loopback(client: str) -> bool:
    address = ip_address(client)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def _is_address_or_localhost(host: str) -> bool:
    """Of a `Host` with or without its port."""
    name = host.rpartition(":")[0] if re.search(r":[0-9]*\Z", host) else host
    with suppress(ValueError):
        ip_address(name.removeprefix("[").removesuffix("]"))
        return True
    return name.lower() == "localhost"


def _made(page: Page) -> Answer:
    try:
        return page()
    except TimeoutError:
        return text_answer(503, "the control plane is too busy to say")
