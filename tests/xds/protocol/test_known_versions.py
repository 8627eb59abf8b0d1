"""A view that knows versions is asked for resources only when they differ.

Also on behalf of a client that cannot be told of TTLs, whose view is wrapped (`xds.protocol.ttl`).
"""

from collections.abc import Collection

import pytest

from scopeway.xds.encoding.messages import DeltaRequest, ErrorDetail, resource
from scopeway.xds.protocol.session import DeltaSession
from scopeway.xds.resource import Resource
from scopeway.xds.source import Node, NodeView
from scopeway.xds.type_urls import CLUSTER

AGENTS = pytest.mark.parametrize("agent", ["envoy/1.40.0", "other"])
NAMES = ("same", "changed", "gone", "new", "unknown")


class View:
    """Serves all names but one, and records which resources were made."""

    group = ""

    def __init__(self, ttl: float | None = None) -> None:
        self.ttl = ttl
        self.made: list[str] = []

    def is_current(self, type_url: str, name: str, version: str) -> bool:
        return name != "unknown" and self._version(name) == version

    def resource(self, type_url: str, name: str) -> Resource | None:
        self.made.append(name)
        return None if name == "gone" else self._resource(type_url, name)

    def wildcard(self, type_url: str) -> Collection[str]:
        return ()

    def close(self) -> None:
        pass

    def _version(self, name: str) -> str:
        return "" if name == "gone" else self._resource(CLUSTER, name).version

    def _resource(self, type_url: str, name: str) -> Resource:
        return resource(type_url, name, name.encode(), ttl=self.ttl)

    def type_urls(self) -> Collection[str]:
        return (CLUSTER,)

    def attach(self, node: Node) -> NodeView:
        return self


class Failing(View):
    """Fails every lookup, and knows versions only if `known`."""

    known = True

    def is_current(self, type_url: str, name: str, version: str) -> bool:
        return self.known and super().is_current(type_url, name, version)

    def resource(self, type_url: str, name: str) -> Resource | None:
        raise ZeroDivisionError(name)


def returning(view: View, agent: str, *names: str) -> list[int]:
    """Let a client return with these names, some of which it has; return what it is sent."""
    session = DeltaSession(view)
    versions = {
        name: resource(CLUSTER, name, name.encode()).version for name in names if name != "new"
    }
    if "changed" in versions:
        versions["changed"] = "before"
    session.receive(
        DeltaRequest(
            type_url=CLUSTER,
            node=Node(id="n", cluster="c", user_agent=agent),
            subscribe=names,
            names_empty=False,
            initial_versions=versions,
        ),
        0.0,
    )
    return [
        count for each in session.responses_to_send(0.0) for count in (each.resources, each.removed)
    ]


@AGENTS
def test_a_resource_that_the_client_has_is_not_made(agent: str) -> None:
    view = View()

    assert returning(view, agent, *NAMES) == [2, 0], "the removal waits for the ACK"
    assert view.made == ["changed", "gone", "new", "unknown"]


@AGENTS
def test_nothing_is_sent_to_a_client_that_has_everything(agent: str) -> None:
    view = View()

    assert returning(view, agent, "same") == []
    assert view.made == []


def test_a_resource_that_is_requested_again_is_made() -> None:
    view = View()
    session = DeltaSession(view)
    node = Node(id="n", cluster="c")
    for _ in range(2):
        session.receive(DeltaRequest(type_url=CLUSTER, node=node, subscribe=("same",)), 0.0)
        for each in session.responses_to_send(0.0):
            session.receive(DeltaRequest(type_url=CLUSTER, response_nonce=each.nonce), 0.0)

    assert view.made == ["same", "same"]


def test_a_current_resource_that_the_client_has_dropped_is_made() -> None:
    view = View(ttl=9)
    session = DeltaSession(view)
    node = Node(id="n", cluster="c", user_agent="envoy/1.40.0")
    asked = DeltaRequest(type_url=CLUSTER, node=node, subscribe=("same",), names_empty=False)
    session.receive(asked, 0.0)
    (sent,) = session.responses_to_send(0.0)
    session.receive(DeltaRequest(type_url=CLUSTER, response_nonce=sent.nonce), 0.0)
    (heartbeat,) = session.responses_to_send(3.0)
    lost = ErrorDetail(code=13, message="no such resource")
    nack = DeltaRequest(type_url=CLUSTER, response_nonce=heartbeat.nonce, error=lost)
    session.receive(nack, 3.0)

    assert [each.resources for each in session.responses_to_send(3.0)] == [1]
    assert view.made == ["same", "same"]


def test_a_failed_lookup_is_not_repeated_if_the_version_is_current() -> None:
    view = Failing()
    session = DeltaSession(view)
    held = {"same": resource(CLUSTER, "same", b"same").version}
    request = DeltaRequest(
        type_url=CLUSTER,
        node=Node(id="n", cluster="c"),
        subscribe=("same",),
        names_empty=False,
        initial_versions=held,
    )
    view.known = False
    session.receive(request, 0)

    assert session.responses_to_send(0) == []
    assert session.next_deadline() is not None
    view.known = True
    session.resources_changed(CLUSTER, ["same"])
    assert session.responses_to_send(0) == []
    assert session.next_deadline() is None
