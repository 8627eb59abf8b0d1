"""A port used by two Envoys is refused to the second, except in a hot restart."""

import random
import socket
from contextlib import closing
from threading import Event, Thread
from typing import Any

import pytest

from harness.envoy import Envoy
from harness.fleet import Fleet, manifest
from harness.http import Response, send
from harness.process import until
from harness.services import at
from scopeway.control_plane.translator.bootstrap import bootstrap
from scopeway.control_plane.translator.node_setup import EARLIER
from scopeway.xds.type_urls import LISTENER

IN_USE = "cannot bind '127.0.0.1:{}': Address already in use"


def config(fleet: Fleet, cloud: str) -> dict[str, Any]:
    xds = [("127.0.0.1", fleet.control_plane.port)]
    return bootstrap(cloud=cloud, xds=xds, admin=("127.0.0.1", 0))


@pytest.mark.parametrize("kind", ["front", "a service's own", "peer"])
def test_a_second_envoy_on_a_port_rejects_its_listener(fleet: Fleet, kind: str) -> None:
    """So does an Envoy whose port is used by another program."""
    taken, other, third = (fleet.free_port() for _ in range(3))
    name = {"front": "front", "a service's own": "front/image", "peer": "peer"}[kind]
    ports: dict[str, Any] = {
        "front": {"front": at(taken)},
        "front/image": {"front": {**at(other), "ports": {"image": taken}}},
        "peer": {"front": at(other), "peer": at(taken)},
    }[name]
    first, second = f"first-{taken}", f"second-{taken}"
    images = {"image": fleet.service("glance")}
    fleet.control_plane.put(
        manifest(first, front=at(taken), services=images),
        manifest(second, services=images, **ports),
        manifest(f"third-{taken}", front=at(third), services=images),
    )
    fleet.start_envoy(first).wait_ready()

    fleet.start_envoy(second).wait_ready()

    until(lambda: fleet.control_plane.rejected(second, LISTENER), "it is refused")
    rejected = fleet.control_plane.rejected(second, LISTENER)
    assert rejected.keys() == {name}
    assert IN_USE.format(taken) in rejected[name]
    answers = [send(taken, "/image/v2").headers["x-scopeway-served-by"] for _ in range(20)]
    assert answers == [first] * 20
    if kind == "front":
        with closing(socket.create_server(("127.0.0.1", third))):
            fleet.start_envoy(f"third-{taken}").wait_ready()
            until(lambda: fleet.control_plane.rejected(f"third-{taken}", LISTENER), "it is, too")


def test_a_hot_restart_loses_no_request(fleet: Fleet) -> None:
    """The new Envoy takes over the sockets, also those of an earlier version, which were shared."""
    port = fleet.free_port()
    images = {"image": fleet.service("glance")}
    fleet.control_plane.put(manifest("cloud-1", front=at(port), services=images))
    base = ("--base-id", str(random.randrange(1 << 10, 1 << 14)), "--parent-shutdown-time-s", "1")
    now = config(fleet, "cloud-1")
    before = config(fleet, "cloud-1")
    before["node"]["metadata"]["scopeway"]["protocol"] = EARLIER
    found: list[Response] = []
    ended = Event()

    def ask() -> None:
        while not ended.is_set():
            found.append(send(port, "/image/v2"))

    old = Envoy(before, fleet.folder, "epoch-0", options=base).wait_ready()
    asking = Thread(target=ask)
    try:
        asking.start()
        options = (*base, "--restart-epoch", "1")
        new = Envoy(now, fleet.folder, "epoch-1", options=options)
        old.wait()
        count = len(found)
        until(lambda: len(found) > count + 20, "the new one is asked, too")
    finally:
        ended.set()
        asking.join()
    try:
        assert {each.status for each in found} == {200}
        assert new.stats("http.front.downstream_rq_2xx")["http.front.downstream_rq_2xx"] > 20
        assert not fleet.control_plane.rejected("cloud-1", LISTENER)
    finally:
        new.stop()


def test_an_envoy_with_earlier_listeners_accepts_updates(fleet: Fleet) -> None:
    """Whether a port is shared no update can change: one that tried would be refused for ever."""
    port = fleet.free_port()
    images = {"image": fleet.service("glance")}
    named = {"endpoints": [{"address": "localhost", "port": fleet.echo("nova").port}]}
    fleet.control_plane.put(manifest("cloud-2", front=at(port), services=images))
    before = config(fleet, "cloud-2")
    before["node"]["metadata"]["scopeway"]["protocol"] = EARLIER
    envoy = fleet.run_envoy("cloud-2", before).wait_ready()
    (listener,) = dynamic(envoy)
    assert "enable_reuse_port" not in listener

    own = {**at(port), "ports": {"image": fleet.free_port()}}
    fleet.control_plane.put(manifest("cloud-2", front=own, services={**images, "compute": named}))

    assert fleet.eventually(lambda: len(dynamic(envoy)) == 2)
    assert fleet.eventually(lambda: send(port, "/compute/v2").status == 200)
    assert not fleet.control_plane.rejected("cloud-2", LISTENER)


def dynamic(envoy: Envoy) -> list[dict[str, Any]]:
    """Return the listeners with an address that an Envoy has by discovery."""
    dump = envoy.admin("/config_dump?resource=dynamic_listeners").json["configs"]
    found = [each["active_state"]["listener"] for each in dump if "active_state" in each]
    return [each for each in found if "address" in each]
