"""A real collector beside a real Envoy: lists and resources of three clouds, and what fails."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness.collector import start_collector
from harness.fleet import Fleet
from harness.http import Response, send
from harness.process import Process, until
from harness.services import at

pytestmark = pytest.mark.fleet(certificates=True)

ANYONE = [{"clouds": ["cloud-1"]}]
SCOPE = "{image: a & b & local}"
LARGE = 30_000_000


class Glance:
    """A service with images, some of which are large."""

    def __init__(self, name: str, *ids: str) -> None:
        self.ids = ids
        self.asked: list[str] = []
        self.under_way = 0
        self.hangs = threading.Event()
        self.sent = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            def handle(self) -> None:
                with suppress(ConnectionError):  # a client that has left
                    super().handle()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, name=name, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.partition("?")[0]
        self.asked.append(path)
        last = path.rpartition("/")[2]
        if self.hangs.is_set() and path.endswith("/images"):
            self.under_way += 1
            handler.connection.recv(1)  # until the other side has closed it
            self.under_way -= 1
            handler.close_connection = True
        elif last == "images":
            self._send(handler, 200, json.dumps({"images": [{"id": x} for x in self.ids]}).encode())
        elif last == "file" and path.split("/")[-2] in self.ids:
            self._stream(handler)
        elif last in self.ids:
            self._send(handler, 200, json.dumps({"id": last}).encode())
        else:
            self._send(handler, 404, b'{"error": {"message": "no such image"}}')

    def _send(self, handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _stream(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", str(LARGE))
        handler.end_headers()
        for _ in range(LARGE // 100_000):
            handler.wfile.write(b"x" * 100_000)
            self.sent += 100_000


@pytest.fixture(scope="module")
def glances() -> Iterator[dict[str, Glance]]:
    made = {"a": Glance("a", "1", "2"), "b": Glance("b", "2", "3"), "cloud-1": Glance("c", "4")}
    yield made
    for each in made.values():
        each.server.shutdown()
        each.server.server_close()


@pytest.fixture(scope="module")
def front(fleet: Fleet, glances: dict[str, Glance]) -> int:
    for name in ("a", "b"):
        services = {"image": {"endpoints": [at(glances[name].port)]}}
        fleet.site(name, services=services, accept=ANYONE)
    cloud = fleet.site(
        "cloud-1",
        services={"image": {"endpoints": [at(glances["cloud-1"].port)]}},
        collector=fleet.collector_folder("cloud-1"),
    )
    assert cloud.front
    return cloud.front.port


@pytest.fixture(scope="module")
def collector(fleet: Fleet, front: int) -> Iterator[Process]:
    options = ("--cloud-seconds", 2, "--log-level", "debug")
    process = start_collector("cloud-1", fleet.folder / "collector-cloud-1", *options)
    yield process
    if process.running:
        process.stop()


@contextmanager
def hanging(glance: Glance) -> Iterator[None]:
    glance.hangs.set()
    yield
    glance.hangs.clear()


def ask(port: int, path: str, *headers: tuple[str, str], scope: str = SCOPE) -> Response:
    return send(port, f"/image{path}", [("X-Scope", scope), ("X-Auth-Token", "gAAA"), *headers])


def images(response: Response) -> dict[str, str]:
    return {each["id"]: each["scopeway:cloud"] for each in response.json["images"]}


def test_a_list_of_three_clouds_is_one_list(front: int, collector: Process) -> None:
    response = ask(front, "/v2/images")
    found = images(response)

    assert response.status == 200
    assert found.pop("2") in ("a", "b")
    assert found == {"1": "a", "3": "b", "4": "cloud-1"}
    report = response.json["scopeway:report"]
    assert report == {"asked": 3, "answered": 3, "failed": [], "replicas": 1}
    assert response.headers["x-scopeway-report"] == "asked=3"


def test_one_image_comes_from_the_cloud_that_has_it(front: int, collector: Process) -> None:
    response = ask(front, "/v2/images/3")

    assert (response.status, response.json) == (200, {"id": "3"})
    assert response.headers["x-scopeway-served-by"] == "b"


def test_an_image_that_no_cloud_has_is_a_404(front: int, collector: Process) -> None:
    response = ask(front, "/v2/images/9")

    assert response.status == 404
    assert response.headers["x-scopeway-report"] == "asked=3, answered=3, failed=0"


def test_a_cloud_that_nobody_knows_is_in_the_report(front: int, collector: Process) -> None:
    response = ask(front, "/v2/images", scope="{image: a & nowhere}")

    assert images(response) == {"1": "a", "2": "a"}
    (failed,) = response.json["scopeway:report"]["failed"]
    assert (failed["cloud"], failed["status"], failed["cause"]) == ("nowhere", 404, "unknown")


def test_a_cloud_that_hangs_is_in_the_report_and_refuses_what_requires_all(
    front: int, collector: Process, glances: dict[str, Glance]
) -> None:
    with hanging(glances["b"]):
        partial = ask(front, "/v2/images")
        required = ask(front, "/v2/images", ("X-Scope-Require", "all"))

    assert set(images(partial)) == {"1", "2", "4"}
    (failed,) = partial.json["scopeway:report"]["failed"]
    assert (failed["cloud"], failed["cause"]) == ("b", "timeout")
    assert required.status == 502
    assert required.headers["x-scopeway-rejected"] == "true"


def test_a_client_that_leaves_ends_the_requests_at_the_services(
    front: int, collector: Process, glances: dict[str, Glance]
) -> None:
    with hanging(glances["a"]), hanging(glances["b"]):
        with socket.create_connection(("127.0.0.1", front)) as client:
            client.sendall(
                b"GET /image/v2/images HTTP/1.1\r\nhost: front.example\r\n"
                b"x-scope: {image: a & b}\r\n\r\n"
            )
            until(lambda: glances["a"].under_way == glances["b"].under_way == 1, "both are asked")
        until(lambda: glances["a"].under_way == glances["b"].under_way == 0, "both are reset")


def test_a_slow_client_does_not_make_the_collector_hold_a_download(
    front: int, collector: Process, glances: dict[str, Glance]
) -> None:
    with socket.create_connection(("127.0.0.1", front)) as client:
        client.sendall(
            b"GET /image/v2/images/3/file HTTP/1.1\r\nhost: front.example\r\n"
            b"x-scope: {image: a & b}\r\n\r\n"
        )
        head = client.recv(100)
        before = -1
        while glances["b"].sent != before:  # until nobody takes more
            before = glances["b"].sent
            time.sleep(0.2)

    assert head.startswith(b"HTTP/1.1 200 OK")
    assert before < LARGE
    assert collector.peak_memory() < 60 << 20


def test_plain_targets_are_served_while_the_collector_is_down_and_it_comes_back(
    fleet: Fleet, front: int, collector: Process
) -> None:
    collector.kill()
    down = ask(front, "/v2/images")
    plain = ask(front, "/v2/images", scope="{image: a}")
    folder = fleet.folder / "collector-cloud-1"
    again = start_collector("cloud-1", folder)
    try:
        until(lambda: ask(front, "/v2/images").status == 200, "a new collector answers")
    finally:
        again.stop()

    assert down.status == 503
    assert down.error["message"] == "image@a&b&cloud-1 cannot be reached: connection refused"
    assert plain.status == 200
    assert "gAAA" not in collector.log()
