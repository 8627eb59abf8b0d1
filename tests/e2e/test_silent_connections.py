"""Clients that connect and send nothing are disconnected and never use up all connections."""

import socket
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from harness.certificates import Authority
from harness.fleet import Fleet, manifest
from harness.http import send
from harness.http2 import send2
from harness.services import at
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.translator.bootstrap import bootstrap, resource_monitor
from scopeway.control_plane.translator.node_identity import to_metadata

pytestmark = pytest.mark.fleet(certificates=True)

MOST, PEERS = 4, 2
"""Of this Envoy, at all, and at its peer."""
ANSWER_SECONDS = 30.0
HELLO = bytes.fromhex("16030100c8010000c40303")
"""How a ClientHello begins."""


def start(fleet: Fleet, cloud: Cloud) -> Cloud:
    """Start the Envoy of a cloud with fewer connections than it would have."""
    fleet.control_plane.put(cloud)
    config = bootstrap(
        cloud=cloud.name, xds=[("127.0.0.1", fleet.control_plane.port)], admin=("127.0.0.1", 0)
    )
    monitor = resource_monitor(config, "global_downstream_max_connections")
    monitor["max_active_downstream_connections"] = MOST
    (layer,) = config["layered_runtime"]["layers"]
    (limit,) = layer["static_layer"]
    assert 0 < layer["static_layer"][limit] <= 25_000
    layer["static_layer"][limit] = PEERS
    assert fleet.sites
    identity = to_metadata(fleet.sites.identity(cloud.name))
    config["node"]["metadata"]["scopeway"]["identity"] = identity
    fleet.run_envoy(cloud.name, config).wait_ready()
    return cloud


def silent(port: int, text: bytes = b"") -> socket.socket:
    found = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
    found.sendall(text)
    return found


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side ends it; waits for that."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_a_connection_that_does_not_start_tls_is_closed(fleet: Fleet, tmp_path: Path) -> None:
    """At the peer and at a front with TLS, at once or in the midst of the first words."""
    front, peer = at(fleet.free_port()), at(fleet.free_port())
    tls = Authority().write(tmp_path, "127.0.0.1")
    image = {"image": fleet.service("glance-1")}
    start(fleet, manifest("cloud-1", front={**front, "tls": tls}, peer=peer, services=image))
    with ExitStack() as open_ones:
        connections = [
            open_ones.enter_context(closing(silent(each["port"], text)))
            for each in (front, peer)
            for text in (b"", HELLO)
        ]

        assert [is_closed(each) for each in connections] == [True] * MOST


def test_connections_to_the_peer_do_not_use_up_those_of_the_front(fleet: Fleet) -> None:
    """With what reaches the peer only, nobody shuts a site's own clients out."""
    front, peer = at(fleet.free_port()), at(fleet.free_port())
    accept = [{"clouds": ["cloud-1"]}]
    image = {"image": fleet.service("glance-2")}
    start(fleet, manifest("cloud-2", front=front, peer=peer, services=image, accept=accept))
    assert fleet.sites
    tls = fleet.sites.client("cloud-1")
    assert send2(peer["port"], "/image/v2", tls=tls).status == 200
    open_at_peer = "listener.peer.downstream_cx_active"
    active = lambda: fleet.envoys["cloud-2"].stats(open_at_peer)[open_at_peer]  # noqa: E731
    assert fleet.eventually(lambda: active() == 0)
    with ExitStack() as open_ones:
        for _ in range(PEERS):
            open_ones.enter_context(closing(silent(peer["port"])))
        assert fleet.eventually(lambda: active() == PEERS)

        assert is_closed(open_ones.enter_context(closing(silent(peer["port"]))))
        assert send(front["port"], "/image/v2").status == 200
