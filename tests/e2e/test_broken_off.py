"""A service closes the connection instead of answering: which requests are retried, how often."""

import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from threading import Thread

import pytest

from harness.fleet import Fleet, manifest
from harness.http import Response, send
from harness.services import at

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"
UNKNOWN = "; it may have been carried out, or not"


class Service:
    """Reads requests, and closes a connection in place of its `answers`-th answer.

    So does a server whose idle time is over just when the next request comes.
    """

    def __init__(self, answers: int) -> None:
        self.requests: list[str] = []
        """The methods of all requests that came."""
        self._answers = answers
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines, suppress(OSError):
            for left in reversed(range(self._answers)):
                method = lines.readline().split(b" ")[0].decode()
                if not method:
                    return
                length = 0
                while (line := lines.readline().strip().lower()) != b"":
                    if line.startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                lines.read(length)
                self.requests.append(method)
                if left:
                    connection.sendall(ANSWER.removesuffix(b"yes" if method == "HEAD" else b""))


class Clouds:
    """cloud-1, and others, all of whose images are at one service."""

    def __init__(self, fleet: Fleet, service: Service, name: str) -> None:
        self.service = service
        images = {"image": {"endpoints": [at(service.port)]}}
        fleet.site(f"{name}-2", services=images, accept=[{"clouds": [f"{name}-1"]}])
        fleet.control_plane.put(
            manifest(
                f"{name}-direct",
                {"kind": name},
                services=images,
                accept=[{"clouds": [f"{name}-1"]}],
            )
        )
        cloud = fleet.site(f"{name}-1", services=images)
        assert cloud.front is not None
        self._front = cloud.front.port
        self._scopes = {
            "own": f"{{image:{name}-1}}",
            "direct": f"{{image:{name}-direct}}",
            "peer": f"{{image:{name}-2}}",
            "either": f"{{image:{name}-direct|{name}-2}}",
            "one of a label": f"{{image:[kind={name}]}}",
        }

    def ask(self, way: str, method: str, body: bytes = b"") -> Response:
        scope = [("X-Scope", self._scopes[way])]
        return send(self._front, "/image/v2", scope, method=method, body=body)


WAYS = ["own", "direct", "peer", "either", "one of a label"]


@pytest.fixture(scope="module")
def idle(fleet: Fleet) -> Iterator[Clouds]:
    """A connection serves one request, and is closed with the next."""
    with closing(Service(2)) as service:
        yield Clouds(fleet, service, "idle")


@pytest.fixture(scope="module")
def broken(fleet: Fleet) -> Iterator[Clouds]:
    """No request is ever answered."""
    with closing(Service(1)) as service:
        yield Clouds(fleet, service, "broken")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("way", WAYS)
def test_a_read_on_a_broken_connection_is_retried_on_a_new_one(
    idle: Clouds, way: str, method: str
) -> None:
    assert [idle.ask(way, method).status for _ in range(4)] == [200] * 4


@pytest.mark.parametrize("body", [b"", b"x" * (1 << 17)], ids=["small", "large"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("way", WAYS)
def test_a_write_is_never_sent_twice(broken: Clouds, way: str, method: str, body: bytes) -> None:
    """The service may have carried it out, and the answer says so."""
    before = len(broken.service.requests)

    response = broken.ask(way, method, body)

    assert broken.service.requests[before:] == [method]
    assert response.status == 503
    assert "no answer from image@broken-" in response.error["message"]
    assert UNKNOWN in response.error["message"]
    assert ("an upload that breaks off" in response.error["message"]) == bool(body)


@pytest.mark.parametrize(
    ("way", "most"), [("own", 2), ("direct", 2), ("peer", 2), ("either", 4), ("one of a label", 2)]
)
def test_a_read_is_sent_to_each_cloud_at_most_twice(broken: Clouds, way: str, most: int) -> None:
    """The Envoys on its way don't multiply that."""
    before = len(broken.service.requests)

    response = broken.ask(way, "GET")

    assert broken.service.requests[before:] == ["GET"] * most
    assert response.status == 503
    assert response.error["message"].endswith(": the connection was closed")
