"""A control plane with an unreachable registry; with Envoys in tests/e2e/test_outdated.py."""

import logging
import time
from collections.abc import Iterator

import pytest

from harness.fleet import manifest
from harness.services import at
from harness.source import Fleet, cloud, node, status
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.registry import Batch
from scopeway.control_plane.runtime.control_plane import ControlPlane
from scopeway.control_plane.runtime.settings import Settings
from scopeway.control_plane.serving.staleness import LINES
from scopeway.xds.encoding.messages import DeltaRequest
from scopeway.xds.errors import ProtocolError
from scopeway.xds.protocol.session import DeltaSession
from scopeway.xds.source import MayBeOutdated, Node, NodeView
from scopeway.xds.type_urls import CLUSTER, LISTENER, ROUTE, SECRET

NODE = Node(id="cloud-1/envoy", cluster="cloud-1", metadata={"scopeway.protocol": "2"})


def is_outdated(view: NodeView, type_url: str, name: str) -> bool:
    assert isinstance(view, MayBeOutdated)
    return view.is_outdated(type_url, name)


class TestSource:
    def test_every_resource_from_the_registry_can_be_outdated(self) -> None:
        fleet = Fleet(cloud("cloud-1"))
        view = fleet.attach()
        names = [(CLUSTER, "image@cloud-1"), (LISTENER, "*"), (ROUTE, "peer"), (SECRET, "front")]

        assert not any(is_outdated(view, *each) for each in names)
        fleet.staleness.until = 1.0
        assert all(is_outdated(view, *each) for each in names)

    def test_secrets_that_name_the_files_of_the_envoy_are_never_outdated(self) -> None:
        fleet = Fleet(cloud("cloud-1"))
        fleet.staleness.until = 1.0
        files = {"certificate": "/c", "key": "/k", "authorities": "/a"}
        metadata = {f"scopeway.identity.{name}": file for name, file in files.items()}
        view = fleet.source.attach(
            Node(id="", cluster="cloud-1", metadata={**node("cloud-1").metadata, **metadata})
        )

        assert not is_outdated(view, SECRET, "identity")
        assert not is_outdated(view, SECRET, "authorities")
        assert is_outdated(view, SECRET, "front")

    def test_rejections_mention_the_outage_and_are_replaced_after_it(self) -> None:
        fleet = Fleet(cloud("cloud-1"))
        fleet.staleness.until = 1.0
        view = fleet.attach()
        away = status(view, "image@cloud-7")
        fleet.notifier.told.clear()
        fleet.staleness.until = None
        for _ in fleet.source.catch_up():
            pass

        assert (away, status(view, "image@cloud-7")) == ("503", "404")
        assert fleet.notifier.told == [(CLUSTER, {"image@cloud-7"}, "cloud-1"), ("", None, "")]

    def test_a_node_of_an_unknown_cloud_is_admitted_and_logged_while_the_registry_is_unreachable(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        fleet = Fleet()
        fleet.attach("cloud-1")
        fleet.staleness.until = 1_796_036_640.0
        with caplog.at_level(logging.WARNING, "scopeway.control_plane.serving.staleness"):
            view = fleet.attach("cloud-2")
            for number in range(2 * LINES):
                fleet.attach(f"site-{number}")

        assert view.wildcard(LISTENER) == set()
        assert len(caplog.records) == LINES
        line = caplog.records[0]
        assert "registry since 2026-11-30 11:04 UTC" in line.getMessage()
        assert (vars(line)["cloud"], vars(line)["node"]) == ("cloud-2", "cloud-2/0")

    def test_a_node_must_prove_its_cloud_while_the_registry_is_unreachable(self) -> None:
        fleet = Fleet(trust_domain="edge.example")
        fleet.staleness.until = 1.0
        other = ("spiffe://edge.example/cloud/cloud-2",)
        claimed = Node(id="cloud-1/0", cluster="cloud-1", metadata=NODE.metadata, identities=other)
        with pytest.raises(ProtocolError, match="its certificate is that of cloud-2") as refused:
            fleet.source.attach(claimed)

        assert refused.value.status == "PERMISSION_DENIED"


def site(port: int, front: int = 8080) -> Cloud:
    services = {"image": {"endpoints": [at(port)]}}
    return manifest("cloud-1", front=at(front), services=services)


def versions(cloud: Cloud) -> dict[str, str]:
    """Return those of its listeners at a control plane that knows it."""
    listen = ("127.0.0.1", 0)
    other = ControlPlane(Settings(registry="memory", xds_listen=listen, admin_listen=listen))
    other.apply(Batch(upserts={"one": cloud}, complete=True))
    assert other.source is not None
    view = other.source.attach(NODE)
    found = {name: view.resource(LISTENER, name) for name in view.wildcard(LISTENER)}
    return {name: each.version for name, each in found.items() if each is not None}


class Server:
    """Has one stream."""

    def __init__(self, session: DeltaSession) -> None:
        self.session = session

    def sessions(self) -> Iterator[DeltaSession]:
        yield self.session


class TestControlPlane:
    @pytest.fixture
    def control_plane(self) -> ControlPlane:
        listen = ("127.0.0.1", 0)
        return ControlPlane(Settings(registry="memory", xds_listen=listen, admin_listen=listen))

    def join(self, control_plane: ControlPlane, **versions: str) -> DeltaSession:
        """Let an Envoy come with what another control plane has sent it."""
        assert control_plane.source is not None
        session = DeltaSession(control_plane.source)
        request = DeltaRequest(
            type_url=LISTENER, node=NODE, names_empty=True, initial_versions=versions
        )
        session.receive(request, 0.0)
        control_plane.notifier.join(session, "cloud-1", lambda: None)
        control_plane.server = Server(session)  # type: ignore[assignment]
        return session

    def send(self, session: DeltaSession) -> list[tuple[int, int]]:
        """Return how many resources and removals are sent, and take them."""
        sent = session.responses_to_send(0.0)
        for each in sent:
            session.receive(DeltaRequest(type_url=each.type_url, response_nonce=each.nonce), 0.0)
        return [(each.resources, each.removed) for each in sent]

    def envoys(self, control_plane: ControlPlane) -> dict[str, float]:
        return {
            each.labels["state"]: each.value
            for family in control_plane.metrics.registry.collect()
            for each in family.samples
            if each.name == "scopeway_stale_envoys" and each.value
        }

    def test_a_control_plane_with_saved_clouds_removes_nothing_from_an_envoy(
        self, control_plane: ControlPlane
    ) -> None:
        known = time.time() - 60
        control_plane.apply(Batch(complete=True, stale="etcd is away", current_until=known))
        session = self.join(control_plane, front="newer", peer="newer")

        assert self.send(session) == []
        assert self.envoys(control_plane) == {"unknown": 1}
        control_plane.apply(Batch(upserts={"one": site(1)}, complete=True))
        assert self.send(session) == [(3, 1)]
        assert self.envoys(control_plane) == {}
        assert session.kept == 0

    def test_a_control_plane_stays_outdated_until_the_registry_is_read(
        self, control_plane: ControlPlane
    ) -> None:
        control_plane.apply(Batch(upserts={"one": site(1)}, complete=True))
        control_plane.apply(Batch(stale="etcd is away"))
        session = self.join(control_plane, front="newer", dispatch="newer")
        seen = [self.send(session)]
        for batch in (
            Batch(stale="etcd denies access"),
            Batch(upserts={"one": site(2)}, stale="etcd is away"),
            Batch(deletes=["one"], stale="etcd is away"),
        ):
            control_plane.apply(batch)
            seen.append(self.send(session))
        assert seen == [[], [], [], []]
        control_plane.release(None)
        assert control_plane.staleness.is_outdated

        control_plane.apply(Batch())
        assert self.send(session) == [(0, 2)]

    def test_updates_of_resources_that_the_control_plane_sent_itself_continue(
        self, control_plane: ControlPlane
    ) -> None:
        """Before the registry was away, the Envoy was up to date."""
        control_plane.apply(Batch(upserts={"one": site(1)}, complete=True))
        session = self.join(control_plane)
        first = self.send(session)
        control_plane.apply(Batch(stale="etcd is away"))
        control_plane.apply(Batch(upserts={"one": site(1, front=9090)}, stale="etcd is away"))

        assert first == [(3, 0)]
        assert self.send(session) == [(1, 0)]
        assert self.envoys(control_plane) == {"sent": 1}

    def test_an_envoy_that_joins_during_the_catch_up_is_not_rolled_back(
        self, control_plane: ControlPlane
    ) -> None:
        """Its site is made again in a later step than the one that reads the registry."""
        control_plane.apply(Batch(upserts={"one": site(1)}, complete=True, stale="etcd is away"))
        self.join(control_plane)
        current = versions(site(1, front=9090))
        sent = []
        for _ in control_plane.steps(Batch(upserts={"one": site(1, front=9090)}, complete=True)):
            came = self.join(control_plane, **current)
            sent += self.send(came)
            came.close()

        assert sent == []
        assert not control_plane.staleness.is_outdated
        assert self.send(self.join(control_plane, **current)) == []
