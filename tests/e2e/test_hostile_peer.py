"""A site that answers others with malformed HTTP/2, in place of an Envoy.

It has the key of its cloud, so callers trust it to be that cloud, and nothing more.
"""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import IncompleteRead
from socket import create_server, socket

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from harness.certificates import Sites
from harness.fleet import Fleet, manifest
from harness.http import send
from harness.http2 import Refused, send2
from harness.services import at

pytestmark = pytest.mark.fleet(certificates=True, closing=0.1)

FORGED = [
    ("x-scopeway-served-by", "forged"),
    ("x-scopeway-honoured", ";forged"),
    ("x-subject-token", "forged"),
    ("set-cookie", "forged"),
]
OK = [(":status", "200"), ("content-length", "2")]
UNCHECKED = H2Configuration(
    client_side=False,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
    header_encoding="latin-1",
)
Answer = Callable[[H2Connection, int], bytes]
"""Answers a request on a stream; returns bytes that are sent behind that, as they are."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    length, number = len(payload).to_bytes(3, "big"), stream.to_bytes(4, "big")
    return b"".join((length, bytes([kind, flags]), number, payload))


def honest(state: H2Connection, stream: int) -> bytes:
    return headers(*OK)(state, stream)


def headers(*fields: tuple[str, str], before: bytes = b"", behind: bytes = b"") -> Answer:
    """An answer with these headers and the body "ok"; and bytes around it."""

    def answer(state: H2Connection, stream: int) -> bytes:
        block = state.encoder.encode(
            [(n.encode("latin-1"), v.encode("latin-1")) for n, v in fields]
        )
        head, body = frame(1, 4, stream, block), frame(0, 1, stream, b"ok")
        return b"".join((before, head, body, behind))

    return answer


def interim(state: H2Connection, stream: int) -> bytes:
    fields = [(":status", "103"), *FORGED]
    first = [frame(1, 4, stream, state.encoder.encode(fields)) for _ in range(3)]
    return b"".join(first) + honest(state, stream)


def trailers(state: H2Connection, stream: int) -> bytes:
    head, last = state.encoder.encode(OK), state.encoder.encode(FORGED)
    body = frame(0, 0, stream, b"ok")
    return frame(1, 4, stream, head) + body + frame(1, 5, stream, last)


def to_another(state: H2Connection, stream: int) -> bytes:
    return honest(state, stream + 2)


def promise(state: H2Connection, stream: int) -> bytes:
    asked = state.encoder.encode([(":method", "GET"), (":path", "/image/v2")])
    return frame(5, 4, stream, (stream + 1).to_bytes(4, "big") + asked) + honest(state, stream)


ANSWERS = {
    "as it should": (honest, "200 ok"),
    "forged headers": (headers(*OK, *FORGED), "200 ok"),
    "interim answers": (interim, "200 ok"),
    "trailers": (trailers, "200 ok"),
    "two :status": (headers((":status", "200"), *OK), "502"),
    "no :status": (headers(("content-length", "2")), "502"),
    ":status behind others": (headers(("a", "b"), *OK), "502"),
    "the status 99": (headers((":status", "99")), "502"),
    "the status 101": (headers((":status", "101")), "502"),
    "a name in upper case": (headers(*OK, ("X-Subject-Token", "forged")), "502"),
    "a line break": (headers(*OK, ("a", "b\r\nset-cookie: forged")), "502"),
    "another length": (headers((":status", "200"), ("content-length", "9")), "broken off"),
    "connection": (headers(*OK, ("connection", "x-scopeway-served-by")), "502"),
    "transfer-encoding": (headers(*OK, ("transfer-encoding", "chunked")), "502"),
    "long headers": (headers(*OK, *((f"a{i}", "b" * 8000) for i in range(12))), "502"),
    "many headers": (headers(*OK, *((f"a{i}", "b") for i in range(400))), "503"),
    "to a request that nobody made": (to_another, "502"),
    "a promise": (promise, "200 ok"),
    "many SETTINGS": (headers(*OK, before=frame(4, 0, 0) * 50_000), "502"),
    "many PINGs": (headers(*OK, before=frame(6, 0, 0, b"12345678") * 50_000), "502"),
    "an end before": (headers(*OK, before=frame(7, 0, 0, b"\0" * 8)), "503"),
}


@dataclass
class Peer:
    """Takes connections and answers each request as the test wants it."""

    context: ssl.SSLContext
    answer: Answer = honest

    def start(self) -> "Peer":
        self._socket = create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def close(self) -> None:
        self._socket.close()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket) -> None:
        with suppress(OSError), closing(connection):
            stream = self.context.wrap_socket(connection, server_side=True)
            with closing(stream):
                state = H2Connection(UNCHECKED)
                state.initiate_connection()
                stream.sendall(state.data_to_send())
                while data := stream.recv(1 << 16):
                    for event in state.receive_data(data):
                        if isinstance(event, RequestReceived):
                            state.data_to_send()
                            stream.sendall(self.answer(state, event.stream_id))
                    stream.sendall(state.data_to_send())


@pytest.fixture(scope="module")
def peer(fleet: Fleet) -> Iterator[Peer]:
    assert fleet.sites
    with closing(Peer(server(fleet.sites, "cloud-2")).start()) as peer:
        yield peer


def server(sites: Sites, cloud: str) -> ssl.SSLContext:
    identity = sites.identity(cloud)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    context.set_alpn_protocols(["h2"])
    return context


@pytest.fixture(scope="module")
def front(fleet: Fleet, peer: Peer) -> int:
    services = {"image": fleet.service("glance-1")}
    accept = [{"clouds": ["cloud-1"]}]
    fleet.control_plane.put(
        manifest("cloud-2", peer=at(peer.port), services=services, accept=accept)
    )
    cloud = fleet.site("cloud-1", services=services)
    assert cloud.front
    return cloud.front.port


def ask(front: int, cloud: str, *, http2: bool = False) -> str:
    """Return what a client gets."""
    scope = [("x-scope", f"{{image:{cloud}}}")]
    try:
        response = (send2 if http2 else send)(front, "/image/v2", scope)
    except (IncompleteRead, Refused):
        return "broken off"
    fine = response.status == 200
    assert response.headers.get_all("x-scopeway-served-by") == [cloud if fine else "cloud-1"]
    names = {name.lower() for name in response.headers}
    assert not names & {"set-cookie", "x-scopeway-honoured"}
    return f"{response.status} {response.body.decode()}" if fine else str(response.status)


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize("what", ANSWERS)
def test_malformed_http_2_of_a_peer_gets_the_documented_result(
    fleet: Fleet, front: int, peer: Peer, what: str, http2: bool
) -> None:
    """At most that one request is affected; all others continue."""
    peer.answer, wanted = ANSWERS[what]
    answer = ask(front, "cloud-2", http2=http2)
    peer.answer = honest

    assert answer == wanted
    assert fleet.eventually(lambda: ask(front, "cloud-2") == "200 ok")
    assert send(front, "/image/v2").json["name"] == "glance-1"
