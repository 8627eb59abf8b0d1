"""What a batch of the registry means for status, metrics and log. No I/O; processes are in e2e."""

import logging
from typing import Any

import pytest
from harness.fleet import at, manifest

from control_plane.app import ControlPlane
from control_plane.clouds.manifest import InvalidCloud, Problem
from control_plane.registry import Batch
from control_plane.settings import Settings
from xds.errors import ProtocolError
from xds.source import Node
from xds.types import CLUSTER, LISTENER

CLOUD = manifest("cloud-1", front=at(8080), services={"image": {"endpoints": [at(9292)]}})
NODE = Node(id="cloud-1/envoy", cluster="cloud-1", metadata={"scopeway.protocol": "1"})


@pytest.fixture
def control_plane() -> ControlPlane:
    listen = ("127.0.0.1", 0)
    return ControlPlane(Settings(registry="memory", xds_listen=listen, admin_listen=listen))


def sample(control_plane: ControlPlane, name: str) -> float | None:
    return control_plane.metrics.registry.get_sample_value(name)


def test_there_is_nothing_to_serve_before_the_first_batch(control_plane: ControlPlane) -> None:
    assert control_plane.source is None
    assert control_plane.status() == {
        "clouds": 0,
        "revision": 0,
        "stale": None,
        "refused": [],
        "streams": [],
    }


def test_the_first_batch_makes_the_source(control_plane: ControlPlane) -> None:
    control_plane.apply(Batch(upserts={"one": CLOUD}, complete=True))
    assert control_plane.source is not None
    view = control_plane.source.attach(NODE)

    assert set(view.wildcard(LISTENER)) == {"front", "dispatch", "errors"}
    assert set(view.wildcard(CLUSTER)) == {"image@cloud-1"}
    assert control_plane.status()["clouds"] == 1
    assert sample(control_plane, "scopeway_clouds") == 1


def test_an_empty_registry_is_served_too(control_plane: ControlPlane) -> None:
    control_plane.apply(Batch(complete=True))

    assert control_plane.source is not None
    with pytest.raises(ProtocolError):
        control_plane.source.attach(Node(id="x", cluster="x", metadata={}))


def test_later_batches_change_it(control_plane: ControlPlane) -> None:
    control_plane.apply(Batch(complete=True))
    source = control_plane.source
    assert source is not None
    view = source.attach(NODE)
    assert list(view.wildcard(LISTENER)) == []
    control_plane.apply(Batch(upserts={"one": CLOUD}))

    assert control_plane.source is source
    assert "front" in view.wildcard(LISTENER)


def test_a_refused_entry_is_told_once(
    control_plane: ControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    bad = InvalidCloud("one", Problem("spec", "is bad"), name="cloud-1")
    control_plane.apply(Batch(upserts={"one": CLOUD}, complete=True))
    for _ in range(2):
        control_plane.apply(Batch(upserts={"one": bad}))

    assert control_plane.status()["refused"] == [str(bad)]
    assert control_plane.status()["clouds"] == 1
    assert sample(control_plane, "scopeway_registry_refused_entries") == 1
    assert [str(bad) in record.message for record in caplog.records] == [True]
    control_plane.apply(Batch(upserts={"one": CLOUD}))
    assert control_plane.status()["refused"] == []
    assert sample(control_plane, "scopeway_registry_refused_entries") == 0


def test_a_stale_registry_is_told_when_it_goes_and_when_it_is_back(
    control_plane: ControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[tuple[Any, float | None]] = []
    for batch in (
        Batch(upserts={"one": CLOUD}, complete=True),
        Batch(stale="etcd is away"),
        Batch(stale="etcd is away"),
        Batch(),
    ):
        control_plane.apply(batch)
        seen.append(
            (control_plane.status()["stale"], sample(control_plane, "scopeway_registry_stale"))
        )

    away = ("etcd is away", 1)
    assert seen == [(None, 0), away, away, (None, 0)]
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.WARNING, "etcd is away"),
        (logging.WARNING, "the registry is reachable again"),
    ]
    assert control_plane.status()["clouds"] == 1
