"""The socket of the listener `collect` outlives restarts of its Envoy; peers without TLS."""

import random
from collections.abc import Iterator

import pytest

from harness.envoy import Envoy
from harness.fleet import Fleet, manifest
from harness.http import send
from harness.process import until
from harness.services import at
from harness.stub_collector import StubCollector
from scopeway.control_plane.translator.bootstrap import bootstrap
from scopeway.xds.type_urls import LISTENER

ANYONE = [{"clouds": ["cloud-1"]}]


@pytest.fixture(scope="module")
def front(fleet: Fleet) -> int:
    fleet.site("a", services={"image": fleet.service("glance-a")}, accept=ANYONE)
    port = fleet.free_port()
    services = {"image": fleet.service("glance-1")}
    fleet.control_plane.put(manifest("cloud-1", front=at(port), services=services))
    fleet.collector_folder("cloud-1")
    return port


@pytest.fixture
def collector(fleet: Fleet, front: int) -> Iterator[StubCollector]:
    with StubCollector(fleet.folder / "collector-cloud-1") as collector:
        yield collector


def started(fleet: Fleet, name: str, *options: str) -> Envoy:
    config = bootstrap(
        cloud="cloud-1",
        xds=[("127.0.0.1", fleet.control_plane.port)],
        admin=("127.0.0.1", 0),
        collector=str(fleet.folder / "collector-cloud-1"),
    )
    more = {"options": options} if options else {}
    return Envoy(config, fleet.folder, name, **more).wait_ready()


def members(front: int) -> set[str]:
    """Return the members that a collector has reached through `collect`."""
    response = send(front, "/image/v2", [("X-Scope", "{image: a & local}")])
    assert response.status == 200, response.body
    return {cloud for cloud, (status, _) in response.json["answers"].items() if status == 200}


def test_an_envoy_takes_over_the_socket_that_a_killed_one_left(
    fleet: Fleet, front: int, collector: StubCollector
) -> None:
    first = started(fleet, "killed")
    assert members(front) == {"a", "cloud-1"}
    first.kill()
    assert (fleet.folder / "collector-cloud-1" / "collect.sock").exists()

    second = started(fleet, "next")
    try:
        assert members(front) == {"a", "cloud-1"}
    finally:
        second.stop()


def test_a_hot_restart_keeps_the_socket(fleet: Fleet, front: int, collector: StubCollector) -> None:
    base = ("--base-id", str(random.randrange(1 << 10, 1 << 14)), "--parent-shutdown-time-s", "1")
    old = started(fleet, "epoch-0", *base)
    assert members(front) == {"a", "cloud-1"}
    new = started(fleet, "epoch-1", *base, "--restart-epoch", "1")
    try:
        assert members(front) == {"a", "cloud-1"}
        old.wait()
        assert members(front) == {"a", "cloud-1"}
    finally:
        new.stop()


def test_an_envoy_without_the_folder_serves_all_but_fanouts(fleet: Fleet) -> None:
    cloud = "no-folder"
    port = fleet.free_port()
    services = {"image": fleet.service("glance-1")}
    fleet.control_plane.put(manifest(cloud, front=at(port), services=services))

    fleet.start_envoy(cloud, collector=fleet.folder / "nowhere").wait_ready()

    until(lambda: fleet.control_plane.rejected(cloud, LISTENER), "the listener is refused")
    (why,) = fleet.control_plane.rejected(cloud, LISTENER).values()
    assert "nowhere/collect.sock" in why
    assert "No such file or directory" in why
    assert send(port, "/image/v2", [("X-Scope", "{image: local}")]).status == 200
    response = send(port, "/image/v2", [("X-Scope", f"{{image: local & {cloud}}}")])
    assert response.status == 503
    assert "nothing listens on its socket" in response.error["message"]


def test_a_peer_without_tls_lets_the_size_of_a_fanout_through_and_nothing_else(
    fleet: Fleet, front: int, collector: StubCollector
) -> None:
    envoy = started(fleet, "plain")
    names = ("fanout", "operator", "members", "missing", "lists", "route", "target", "f", "of")
    claims = [(f"x-scopeway-{name}", "forged") for name in names if name != "target"]
    try:
        sent = dict(collector.ask("image@a", headers=claims).json["headers"])
    finally:
        envoy.stop()

    assert sent["x-scopeway-fanout"] == "forged"
    assert sent["x-scopeway-origin"] == "cloud-1"
    assert not [name for name in names[1:] if sent.get(f"x-scopeway-{name}") == "forged"]
