"""What the control plane thinks of objects, and that their status follows it."""

import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from harness.fleet import at, manifest
from memory_registry import MemoryRegistry
from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.invalid import InvalidCloud, Problem
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.errors import ControlPlaneError
from scopeway.control_plane.registry import Batch
from scopeway.control_plane.runtime import status_updates as module
from scopeway.control_plane.runtime.control_plane import ControlPlane
from scopeway.control_plane.runtime.settings import Settings
from scopeway.control_plane.runtime.status_updates import (
    StatusUpdates,
    replica_name,
    status_updates,
    verdict,
)
from scopeway.control_plane.status_writer.conditions import Verdict
from scopeway.control_plane.status_writer.connected_clouds import clouds_of
from scopeway.xds.source import Node

CLOUD = manifest("cloud-1", front=at(8080), services={"image": {"endpoints": [at(9292)]}})
LISTEN = ("127.0.0.1", 0)


class Objects(MemoryRegistry):
    """A registry whose objects have a status."""

    def __init__(self) -> None:
        super().__init__()
        self.observed: dict[str, Any] = {}
        self.on_observed: Callable[[Collection[str]], None] | None = None


class Touched:
    """A writer that notes what it is told to look at."""

    def __init__(self) -> None:
        self.places: list[str] = []
        self.all = 0

    def touch(self, places: Collection[str]) -> None:
        self.places += places

    def touch_all(self) -> None:
        self.all += 1


class Service:
    is_leader = True

    def __init__(self) -> None:
        self.writer = Touched()


def control_plane(**settings: Any) -> ControlPlane:
    return ControlPlane(
        Settings(registry="kubernetes:", xds_listen=LISTEN, admin_listen=LISTEN, **settings)
    )


def typed(name: str, *aliases: str) -> ServiceType:
    return ServiceType(name=name, aliases=aliases)


def test_a_good_object_is_accepted() -> None:
    plane = control_plane()
    plane.apply(
        Batch(
            upserts={
                "edgeclouds/cloud-1": CLOUD,
                "cordons/cloud-1": Cordon(name="cloud-1", reason="moving"),
                "servicetypes/sensor": typed("sensor"),
            },
            complete=True,
        )
    )

    for place in ("edgeclouds/cloud-1", "cordons/cloud-1", "servicetypes/sensor"):
        found = verdict(plane, place)
        assert found is not None
        assert found.problem is None


def test_a_bad_object_is_refused_in_words_without_its_place() -> None:
    plane = control_plane()
    place = "edgeclouds/cloud-1"
    bad = InvalidCloud(place, Problem("spec.peer.port", "0 is not 1 to 65535"), name="cloud-1")
    plane.apply(Batch(upserts={place: bad}, complete=True))

    assert verdict(plane, place) == Verdict(problem="spec.peer.port: 0 is not 1 to 65535")


def test_the_words_do_not_depend_on_what_was_there_before() -> None:
    place = "edgeclouds/cloud-1"
    bad = InvalidCloud(place, Problem("spec", "is bad"), name="cloud-1")
    fresh, older = control_plane(), control_plane()
    older.apply(Batch(upserts={place: CLOUD}, complete=True))
    for plane in (fresh, older):
        plane.apply(Batch(upserts={place: bad}))

    assert verdict(fresh, place) == verdict(older, place)


def test_service_types_that_conflict_say_so() -> None:
    plane = control_plane()
    first, second = typed("camera", "eye"), typed("sensor", "eye")
    plane.apply(
        Batch(upserts={"servicetypes/camera": first, "servicetypes/sensor": second}, complete=True)
    )

    accepted, conflicted = (verdict(plane, f"servicetypes/{name}") for name in ("camera", "sensor"))
    assert accepted == Verdict()
    assert conflicted is not None
    assert conflicted.conflict
    assert "'eye'" in str(conflicted.problem)


def test_service_types_that_are_not_declared_are_named() -> None:
    plane = control_plane()
    cloud = manifest("cloud-1", services={"sensor": {"endpoints": [at(9292)]}})
    plane.apply(Batch(upserts={"edgeclouds/cloud-1": cloud}, complete=True))

    found = verdict(plane, "edgeclouds/cloud-1")
    assert found == Verdict(undeclared=("sensor",), has_listeners=False)
    plane.apply(Batch(upserts={"servicetypes/sensor": typed("sensor")}))
    assert verdict(plane, "edgeclouds/cloud-1") == Verdict(has_listeners=False)


@pytest.mark.parametrize("place", ["edgeclouds/a", "cordons/a", "servicetypes/a", "others/a"])
def test_an_object_that_no_batch_has_brought_is_not_judged(place: str) -> None:
    assert verdict(control_plane(), place) is None


def watched(plane: ControlPlane) -> tuple[StatusUpdates, Touched, Objects]:
    registry = Objects()
    updates = StatusUpdates(plane, registry, "here", "replica-1")
    service = Service()
    updates._service = service  # type: ignore[assignment]
    return updates, service.writer, registry


def test_the_writer_is_told_what_the_watch_saw() -> None:
    _, writer, registry = watched(control_plane())
    assert registry.on_observed is not None
    registry.on_observed(["edgeclouds/a"])

    assert writer.places == ["edgeclouds/a"]


def test_a_service_type_that_comes_may_concern_every_object() -> None:
    plane = control_plane()
    _, writer, _ = watched(plane)
    plane.apply(Batch(upserts={"edgeclouds/cloud-1": CLOUD}, complete=True))
    assert writer.all == 0
    plane.apply(Batch(upserts={"servicetypes/sensor": typed("sensor")}))

    assert writer.all == 1


def test_a_conflict_that_another_object_brings_is_looked_at() -> None:
    plane = control_plane()
    _, writer, _ = watched(plane)
    plane.apply(Batch(upserts={"servicetypes/sensor": typed("sensor", "eye")}, complete=True))
    plane.apply(Batch(upserts={"servicetypes/camera": typed("camera", "eye")}))

    assert "servicetypes/sensor" in writer.places


def test_a_replica_publishes_the_clouds_with_a_stream() -> None:
    plane = control_plane()
    updates, _, _ = watched(plane)
    plane.apply(Batch(upserts={"edgeclouds/cloud-1": CLOUD}, complete=True))
    assert updates._own_clouds() == clouds_of([], [])
    assert plane.source is not None
    node = Node(id="cloud-1/envoy", cluster="cloud-1", metadata={"scopeway.protocol": "1"})
    view = plane.source.attach(node)

    assert updates._own_clouds() == clouds_of(["cloud-1"], [])
    assert updates._own_clouds() is updates._own_clouds()
    view.close()
    assert updates._own_clouds() == clouds_of([], [])


def test_the_leader_and_what_waits_are_metrics() -> None:
    plane = control_plane()
    updates, _, _ = watched(plane)
    sample = plane.metrics.registry.get_sample_value

    updates._service = None
    assert sample("scopeway_status_leader") == 0
    assert sample("scopeway_status_pending") == 0


def test_a_registry_without_status_gets_none() -> None:
    assert status_updates(control_plane(), MemoryRegistry()) is None


def test_a_namespace_for_a_registry_without_status_is_refused() -> None:
    with pytest.raises(ControlPlaneError, match="--status-namespace needs the registry kubernetes"):
        status_updates(control_plane(status_namespace="here"), MemoryRegistry())


def test_outside_of_a_pod_status_needs_a_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "NAMESPACE_FILE", tmp_path / "namespace")
    with caplog.at_level(logging.INFO):
        assert status_updates(control_plane(), Objects()) is None
    assert "--status-namespace is not given" in caplog.text
    assert status_updates(control_plane(status_namespace="here"), Objects()) is not None


def test_in_a_pod_its_own_namespace_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NAMESPACE_FILE", tmp_path / "namespace")
    (tmp_path / "namespace").write_text("scopeway-system\n")

    found = status_updates(control_plane(), Objects())
    assert found is not None
    assert found._namespace == "scopeway-system"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("scopeway-7d9f-x2k", "scopeway-7d9f-x2k"),
        ("Host_1.example.org", "host-1-example-org"),
        ("-", "replica"),
        ("x" * 300, "x" * 200),
    ],
)
def test_a_replica_is_named_by_its_host(host: str, name: str) -> None:
    assert replica_name(host) == name
