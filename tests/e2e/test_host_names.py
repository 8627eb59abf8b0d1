"""Host names in manifests and silent name servers do not delay other targets."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta

import pytest

from harness.dns import NameServer
from harness.fleet import Fleet, manifest
from harness.http import Response, send
from scopeway.control_plane.clouds.addresses import LOOPBACK
from scopeway.control_plane.translator import cluster_templates

SILENT, UNKNOWN, KNOWN, LATER = "silent.test", "unknown.test", "known.test", "later.test"
ANYONE = [{"clouds": ["cloud-1"]}]

pytestmark = pytest.mark.fleet(certificates=True, direct=(*LOOPBACK, SILENT, UNKNOWN, KNOWN, LATER))


@pytest.fixture(scope="module", autouse=True)
def refresh() -> Iterator[None]:
    """Names are asked for again sooner than else, also those that could not be resolved."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cluster_templates, "DNS_REFRESH", timedelta(seconds=1))
        cluster_templates._dns_cache.cache_clear()
        yield
    cluster_templates._dns_cache.cache_clear()


@pytest.fixture(scope="module")
def name_server(fleet: Fleet) -> Iterator[NameServer]:
    with closing(NameServer(fleet.folder)) as server:
        server.addresses[KNOWN] = ["127.0.0.1"]
        server.silent |= {SILENT, f"also.{SILENT}", LATER}
        fleet.name_server = server
        yield server


@pytest.fixture(scope="module")
def front(fleet: Fleet, name_server: NameServer) -> int:
    """The front of cloud-1, some of whose own services have host names."""
    port = fleet.echo("own").port
    cloud = fleet.site(
        "cloud-1",
        services={
            "image": fleet.service("glance-1"),
            "compute": named(SILENT, port),
            "network": named(KNOWN, port),
        },
    )
    assert cloud.front is not None
    return cloud.front.port


def named(name: str, port: int) -> dict[str, object]:
    return {"endpoints": [{"address": name, "port": port}]}


def image(front: int, cloud: str) -> Response:
    return send(front, "/image/v2/images", [("X-Scope", f"{{image:{cloud}}}")])


def unresolved(target: str, name: str, why: str = "the name server did not answer in time") -> str:
    return f"{target} cannot be reached: its host name {name} could not be resolved: {why}"


NOWHERE = unresolved("image@nowhere", UNKNOWN, "no such name exists")


def test_a_front_opens_while_a_name_server_is_silent(front: int, name_server: NameServer) -> None:
    """It serves at once all services whose addresses are known."""
    assert send(front, "/image/v2/images").json["name"] == "glance-1"
    assert send(front, "/network/v2.0").json["name"] == "own"
    assert SILENT in name_server.asked


def test_the_host_header_of_a_client_does_not_choose_the_endpoint(fleet: Fleet, front: int) -> None:
    """By default, an Envoy cluster for host names would take the host from the request."""
    other = fleet.echo("other")
    host = f"127.0.0.1:{other.port}"
    before = other.requests

    response = send(front, "/network/v2.0", host=host)

    assert (response.json["name"], dict(response.json["headers"])["host"]) == ("own", host)
    assert other.requests == before


def test_a_peer_can_have_a_host_name(fleet: Fleet, front: int) -> None:
    """Over mutual TLS, in which the name plays no part."""
    images = {"image": fleet.service("glance-3")}
    cloud = fleet.site("cloud-3", services=images, accept=ANYONE)
    assert cloud.peer is not None
    peer = {"address": KNOWN, "bind": "127.0.0.1", "port": cloud.peer.port}
    fleet.control_plane.put(manifest("cloud-3", peer=peer, services=images, accept=ANYONE))

    response = image(front, "cloud-3")

    assert (response.status, response.headers["x-scopeway-served-by"]) == (200, "cloud-3")
    assert image(front, "cloud-3|cloud-1").json["name"] == "glance-3"


def test_an_error_names_the_host_name_that_could_not_be_resolved(
    fleet: Fleet, front: int, name_server: NameServer
) -> None:
    """Of a local service, of another cloud, of a peer, and of the first cloud of an alternative."""
    port = fleet.echo("other").port
    peer = {"address": SILENT, "bind": "127.0.0.1", "port": port}
    images = {
        each: {"image": named(name, port)}
        for each, name in (
            ("direct", SILENT),
            ("first", SILENT),
            ("later", LATER),
            ("nowhere", UNKNOWN),
            ("known", KNOWN),
        )
    }
    fleet.control_plane.put(
        *(manifest(name, services=services, accept=ANYONE) for name, services in images.items()),
        manifest("peer", peer=peer, services={"image": fleet.service("glance-2")}, accept=ANYONE),
    )
    with ThreadPoolExecutor() as pool:
        own = pool.submit(send, front, "/compute/v2.1")
        direct, behind_peer, later, either = (
            pool.submit(image, front, each) for each in ("direct", "peer", "later", "first|cloud-1")
        )

        assert image(front, "known").json["name"] == "other"
        assert image(front, "nowhere").error["message"] == NOWHERE
        assert not any(each.done() for each in (direct, behind_peer, later, either))

        for answer, target, name in (
            (own, "compute@cloud-1", SILENT),
            (direct, "image@direct", SILENT),
            (behind_peer, "image@peer", SILENT),
            (later, "image@later", LATER),
        ):
            assert answer.result().status == 503
            assert answer.result().error["message"] == unresolved(target, name)
        assert either.result().json["name"] == "glance-1"

    # without another start
    name_server.addresses[LATER] = ["127.0.0.1"]
    name_server.silent.remove(LATER)
    assert fleet.eventually(lambda: image(front, "later").status == 200)


def test_a_front_opens_while_several_host_names_of_one_service_are_unresolved(
    fleet: Fleet, front: int
) -> None:
    """The cluster of that service waits for DNS, and is sent after the listeners."""
    port = fleet.echo("own").port
    both = [{"address": name, "port": port} for name in (SILENT, f"also.{SILENT}")]
    cloud = fleet.site(
        "cloud-2", services={"image": fleet.service("glance-2"), "compute": {"endpoints": both}}
    )
    assert cloud.front is not None
    assert send(cloud.front.port, "/image/v2").json["name"] == "glance-2"

    assert send(cloud.front.port, "/compute/v2.1").error["message"] == (
        "compute@cloud-2 cannot be reached: its host names also.silent.test, silent.test could not "
        "be resolved: no name server answered in time, or there is no address"
    )
