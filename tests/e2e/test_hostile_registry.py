"""A hostile writer of the whole registry, who holds no private keys."""

import ssl
import threading
from contextlib import closing, suppress
from pathlib import Path
from socket import create_server, socket

import pytest

from harness.certificates import Sites
from harness.fleet import Fleet, at, manifest
from harness.http import Response, send
from scopeway.control_plane.clouds.model import Cloud

pytestmark = pytest.mark.fleet(certificates=True, direct=None)

SECRET = "s3cr3t"


@pytest.fixture(scope="module")
def front(fleet: Fleet) -> int:
    """The port of cloud-1's front."""
    cloud = fleet.site("cloud-1", services={"image": fleet.service("glance-1")})
    assert cloud.front
    return cloud.front.port


class Listener:
    """Takes what comes, with TLS where there is a context for it, and never answers."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.connections = 0
        self.received = b""
        self._context = context
        self._socket = create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                connection.settimeout(1)
                with suppress(OSError), closing(self._opened(connection)) as stream:
                    while data := stream.recv(1 << 16):
                        self.received += data

    def _opened(self, connection: socket) -> socket:
        if self._context is None:
            return connection
        return self._context.wrap_socket(connection, server_side=True)


def server(sites: Sites, cloud: str) -> ssl.SSLContext:
    """The context of a listener with the certificate of a cloud."""
    identity = sites.identity(cloud)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    context.set_alpn_protocols(["h2"])
    return context


def ask(front: int, cloud: str) -> Response:
    headers = [("X-Scope", f"{{image:{cloud}}}"), ("X-Auth-Token", SECRET)]
    return send(front, f"/image/{SECRET}", headers, method="POST", body=SECRET.encode())


def registered(cloud: str, port: int, fleet: Fleet) -> Cloud:
    image = fleet.service("glance-1")
    accept = [{"clouds": ["cloud-1"]}]
    return manifest(cloud, peer=at(port), services={"image": image}, accept=accept)


@pytest.mark.parametrize("who", ["another cloud", "another authority", "plain text"])
def test_a_peer_without_the_certificate_of_its_name_gets_no_byte_of_a_request(
    fleet: Fleet, front: int, tmp_path: Path, who: str
) -> None:
    """The registry says that a cloud is where the attacker listens, with what it could get."""
    assert fleet.sites
    cloud = f"cloud-{who.replace(' ', '-')}"
    contexts = {
        "another cloud": server(fleet.sites, "cloud-9"),
        "another authority": server(Sites(tmp_path / "other"), cloud),
        "plain text": None,
    }
    with closing(Listener(contexts[who])) as listener:
        fleet.control_plane.put(registered(cloud, listener.port, fleet))
        response = ask(front, cloud)

        assert response.status == 503
        assert response.headers["x-scopeway-served-by"] == "cloud-1"
        assert listener.connections > 0
        assert SECRET.encode() not in listener.received
        if who != "plain text":  # where it is the client's first words
            assert listener.received == b""


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "LocalHost", "::1", "::7f00:1"])
def test_a_cloud_without_a_peer_is_reached_only_at_addresses_that_the_operator_allows(
    fleet: Fleet, front: int, address: str
) -> None:
    """The request would be plain HTTP, with a path and a host chosen by the registry."""
    cloud = f"cloud-{address.lower().replace('.', '-').replace(':', '-')}"
    with closing(Listener(None)) as listener:
        image = {"endpoints": [{"address": address, "port": listener.port}], "path": "/quit"}
        accept = [{"clouds": ["cloud-1"]}]
        fleet.control_plane.put(manifest(cloud, services={"image": image}, accept=accept))
        response = ask(front, cloud)

        assert response.status == 503
        assert response.error["message"] == (
            f"{cloud} has no peer, and its image service at {address.lower()} would be asked in "
            "plain HTTP; --direct allows it"
        )
        assert listener.connections == 0


def test_a_peer_with_the_certificate_of_its_name_gets_the_request(fleet: Fleet, front: int) -> None:
    """This shows that the test of a peer without the certificate can fail."""
    assert fleet.sites
    with closing(Listener(server(fleet.sites, "cloud-3"))) as listener:
        fleet.control_plane.put(registered("cloud-3", listener.port, fleet))
        asking = threading.Thread(target=ask, args=(front, "cloud-3"))
        asking.start()

        assert fleet.eventually(lambda: SECRET.encode() in listener.received)
        asking.join()


def test_text_of_the_registry_is_never_evaluated(fleet: Fleet, front: int) -> None:
    """The reason of a cordon is free text: answers repeat it and never evaluate it."""
    reason = '%REQ(x-auth-token)% %FILTER_STATE(x)% "}} {%'
    control_plane = fleet.control_plane
    control_plane.inventory = control_plane.inventory.with_cordons({"cloud-5": reason})
    control_plane.put(registered("cloud-5", fleet.free_port(), fleet))
    response = ask(front, "cloud-5")

    assert response.error["message"] == f"cloud-5 is cordoned: {reason}"
