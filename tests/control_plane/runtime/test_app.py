"""The effect of a batch of the registry on status, metrics and log, without I/O."""

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from harness.fleet import at, manifest
from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.invalid import InvalidCloud, Problem
from scopeway.control_plane.clouds.model import Cloud, Endpoint, Service
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.planner.prefetch import parse_prefetch
from scopeway.control_plane.registry import Batch
from scopeway.control_plane.runtime.control_plane import LOGGED_PROBLEMS, STATUS_SLICE, ControlPlane
from scopeway.control_plane.runtime.settings import Settings
from scopeway.xds.errors import ProtocolError
from scopeway.xds.grpc_server.server import StreamStatus
from scopeway.xds.source import Node
from scopeway.xds.type_urls import CLUSTER, LISTENER

CLOUD = manifest("cloud-1", front=at(8080), services={"image": {"endpoints": [at(9292)]}})
NODE = Node(id="cloud-1/envoy", cluster="cloud-1", metadata={"scopeway.protocol": "1"})


@pytest.fixture
def control_plane() -> ControlPlane:
    listen = ("127.0.0.1", 0)
    return ControlPlane(Settings(registry="memory", xds_listen=listen, admin_listen=listen))


def sample(control_plane: ControlPlane, name: str) -> float | None:
    return control_plane.metrics.registry.get_sample_value(name)


def test_a_control_plane_without_a_batch_has_an_empty_status(control_plane: ControlPlane) -> None:
    assert control_plane.source is None
    status = dict(control_plane.status())

    assert status.pop("scopeway")
    assert status == {
        "registry": "",
        "clouds": 0,
        "revision": 0,
        "stale": None,
        "lag_seconds": 0,
        "refused": [],
        "held": {},
        "service_types": [],
        "undeclared_service_types": [],
        "policies_too_large": {},
        "cordoned": {},
    }
    assert asyncio.run(control_plane.streams()) == []


class Crowd:
    """A server with many streams."""

    def statuses(self) -> Iterator[StreamStatus]:
        for _ in range(100):
            yield StreamStatus(node=NODE, peer="", since=0, types=())


def test_reporting_many_streams_yields_to_other_tasks(
    control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "scopeway.control_plane.runtime.control_plane.SLICE_SECONDS", 60
    )  # by number, not by time
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def look() -> int:
        work = asyncio.create_task(others())
        found = await control_plane.streams()
        work.cancel()
        return len(found)

    control_plane.server = Crowd()  # type: ignore[assignment]

    assert asyncio.run(look()) == 100
    assert turns == 100 // STATUS_SLICE


def test_the_first_batch_creates_the_source(control_plane: ControlPlane) -> None:
    control_plane.apply(Batch(upserts={"one": CLOUD}, complete=True))
    assert control_plane.source is not None
    view = control_plane.source.attach(NODE)

    assert set(view.wildcard(LISTENER)) == {"front", "dispatch", "errors"}
    assert set(view.wildcard(CLUSTER)) == {"image@cloud-1"}
    assert view.resource(CLUSTER, "image@cloud-1") is not None
    assert sample(control_plane, "scopeway_targets_in_use") == 1
    assert control_plane.status()["clouds"] == 1
    assert sample(control_plane, "scopeway_clouds") == 1


def test_the_duration_of_every_batch_is_measured(control_plane: ControlPlane) -> None:
    seen = []
    for batch in (Batch(upserts={"one": CLOUD}, complete=True), Batch(), Batch(deletes=["one"])):
        control_plane.apply(batch)
        revision = control_plane.status()["revision"]
        assert sample(control_plane, "scopeway_inventory_revision") == revision
        seen.append((revision, sample(control_plane, "scopeway_update_seconds_count")))

    assert seen == [(1, 1), (1, 2), (2, 3)]
    assert (sample(control_plane, "scopeway_update_seconds_sum") or 0) > 0


def test_an_empty_registry_is_served(control_plane: ControlPlane) -> None:
    control_plane.apply(Batch(complete=True))

    assert control_plane.source is not None
    with pytest.raises(ProtocolError):
        control_plane.source.attach(Node(id="x", cluster="x", metadata={}))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["cloud-1"], "--prefetch selects no cloud that is registered yet"),
        (["core-1", "core-2"], None),
        (
            ["core-1", "core-2", "core-3"],
            "--prefetch selects 1 clouds more than --prefetch-limit 2; the last by name are not "
            "prefetched",
        ),
    ],
)
def test_a_prefetch_that_selects_no_cloud_or_too_many_is_logged_at_the_start(
    names: list[str], said: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    listen = ("127.0.0.1", 0)
    control_plane = ControlPlane(
        Settings(
            registry="memory",
            xds_listen=listen,
            admin_listen=listen,
            prefetch=(parse_prefetch("[tier=core]"),),
            prefetch_limit=2,
        )
    )
    clouds = {
        name: manifest(name, {"tier": "core"} if name.startswith("core") else {}) for name in names
    }
    control_plane.apply(Batch(upserts=clouds, complete=True))

    assert [record.message for record in caplog.records] == ([said] if said else [])


def test_later_batches_change_the_source(control_plane: ControlPlane) -> None:
    control_plane.apply(Batch(complete=True))
    source = control_plane.source
    assert source is not None
    view = source.attach(NODE)
    assert list(view.wildcard(LISTENER)) == []
    control_plane.apply(Batch(upserts={"one": CLOUD}))

    assert control_plane.source is source
    assert "front" in view.wildcard(LISTENER)


def test_a_refused_entry_is_logged_once(
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


def test_a_stale_registry_is_logged_when_it_becomes_unreachable_and_reachable_again(
    control_plane: ControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[tuple[Any, float | None]] = []
    lags: list[tuple[bool, bool]] = []
    for batch in (
        Batch(upserts={"one": CLOUD}, complete=True),
        Batch(stale="etcd is away", current_until=time.time() - 60),
        Batch(stale="etcd is away", current_until=time.time() - 60),
        Batch(),
    ):
        control_plane.apply(batch)
        seen.append(
            (control_plane.status()["stale"], sample(control_plane, "scopeway_registry_stale"))
        )
        lag = sample(control_plane, "scopeway_registry_lag_seconds")
        assert lag is not None
        lags.append((lag >= 60, control_plane.status()["lag_seconds"] >= 60))

    away = ("etcd is away", 1)
    assert seen == [(None, 0), away, away, (None, 0)]
    assert lags == [(False, False), (True, True), (True, True), (False, False)]
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.WARNING, "etcd is away"),
        (logging.WARNING, "the registry is reachable again"),
    ]
    assert control_plane.status()["clouds"] == 1


def test_each_change_of_the_reason_why_the_registry_is_stale_is_logged(
    control_plane: ControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    control_plane.apply(Batch(upserts={"one": CLOUD}, complete=True))
    seen = []
    for reason in ("etcd is away", "etcd denies access", "etcd is away"):
        control_plane.apply(Batch(stale=reason, current_until=1.0))
        seen.append(control_plane.status()["stale"])

    told = ["etcd is away", "etcd denies access", "etcd is away"]
    assert seen == told
    assert [record.message for record in caplog.records] == told


MASS_LOSS = 12


@pytest.fixture
def held(control_plane: ControlPlane) -> ControlPlane:
    """A control plane that has lost all its clouds but one at once."""
    clouds = {f"/{number}": manifest(f"cloud-{number}") for number in range(MASS_LOSS)}
    control_plane.apply(Batch(upserts=clouds, complete=True))
    control_plane.apply(Batch(deletes=[f"/{number}" for number in range(1, MASS_LOSS)]))
    return control_plane


def test_a_mass_loss_is_logged_once_and_its_clouds_are_held(
    held: ControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    held.apply(Batch())
    logged = [*caplog.get_records("setup"), *caplog.records]
    (line,) = (one.message for one in logged if "mass loss" in one.message)

    assert line.startswith("mass loss: 11 clouds were lost at once; these,")
    assert set(held.status()["held"]) == {f"cloud-{number}" for number in range(1, MASS_LOSS)}
    assert held.status()["held"]["cloud-1"] == "/1"
    assert sample(held, "scopeway_clouds_held") == 11
    assert sample(held, "scopeway_clouds") == MASS_LOSS


def test_a_mass_loss_of_clouds_one_by_one_is_logged_once(
    control_plane: ControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    """For example, leases expire. When all clouds are back, the next mass loss is logged again."""
    clouds = {f"/{number}": manifest(f"cloud-{number}") for number in range(40)}
    for losses in (1, 2):
        control_plane.apply(Batch(upserts=clouds, complete=True))
        for number in range(40):
            control_plane.apply(Batch(deletes=[f"/{number}"]))
        told = [one.message for one in caplog.records if "mass loss" in one.message]

        assert len(control_plane.catalog.held) > 21
        assert len(told) == losses


def test_clouds_that_an_operator_releases_are_gone_and_start_no_new_mass_loss(
    held: ControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    some = held.release(["cloud-1", "cloud-0", "cloud-99"])
    clouds = sample(held, "scopeway_clouds")
    rest = held.release(None)

    assert some == (["cloud-1"], ["cloud-0", "cloud-99"])
    assert clouds == MASS_LOSS - 1
    assert rest == (sorted(f"cloud-{number}" for number in range(2, MASS_LOSS)), [])
    assert held.status()["held"] == {}
    assert held.status()["refused"] == []
    assert sample(held, "scopeway_clouds_held") == 0
    assert sample(held, "scopeway_clouds") == 1
    assert caplog.records[0].message == "released by an operator: cloud-1"
    held.apply(Batch(upserts={"/1": manifest("cloud-1")}))
    held.apply(Batch(deletes=["/1"]))
    assert held.status()["held"] == {}


def test_many_refused_entries_are_logged_in_a_few_lines(
    control_plane: ControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    bad = {f"/{n}": InvalidCloud(f"/{n}", Problem("spec", "is bad")) for n in range(1000)}
    control_plane.apply(Batch(upserts=bad, complete=True))

    assert len(caplog.records) == LOGGED_PROBLEMS + 1
    assert (
        caplog.records[-1].message
        == "980 more registry entries are refused; /status lists all of them"
    )
    assert len(control_plane.status()["refused"]) == 1000


def test_cordons_are_shown_in_status_and_metrics(control_plane: ControlPlane) -> None:
    entries = {"one": CLOUD, "mark": Cordon(name="cloud-1", reason="why")}
    control_plane.apply(Batch(upserts=entries, complete=True))

    assert control_plane.status()["cordoned"] == {"cloud-1": "why"}
    assert sample(control_plane, "scopeway_clouds_cordoned") == 1


def test_service_types_are_shown_in_status_and_metrics(
    control_plane: ControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    place = Service(endpoints=(Endpoint(address="127.0.0.1", port=1),))
    user = Cloud(name="cloud-2", services={"sensor": place, "sensr": place, "image": place})
    entries = {"two": user, "type": ServiceType(name="sensor"), "more": ServiceType(name="valve")}
    control_plane.apply(Batch(upserts=entries, complete=True))

    sentence = (
        "no such service: 'sensr'; did you mean 'sensor'? "
        "(named by cloud-2; it is not served until it is declared)"
    )
    assert caplog.messages.count(sentence) == 1
    assert control_plane.status()["service_types"] == ["sensor", "valve"]
    assert control_plane.status()["undeclared_service_types"] == [sentence]
    assert sample(control_plane, "scopeway_service_types") == 2
    assert sample(control_plane, "scopeway_undeclared_service_types") == 1

    control_plane.apply(Batch(upserts={"third": ServiceType(name="sensr")}))

    assert control_plane.status()["undeclared_service_types"] == []
    assert sample(control_plane, "scopeway_undeclared_service_types") == 0


def test_many_undeclared_service_types_are_logged_in_a_few_lines(
    control_plane: ControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    place = Service(endpoints=(Endpoint(address="127.0.0.1", port=1),))
    users = {
        f"/{cloud}": Cloud(
            name=f"cloud-{cloud}", services={f"s-{cloud}-{n}": place for n in range(64)}
        )
        for cloud in range(10)
    }
    control_plane.apply(Batch(upserts=users, complete=True))

    lines = [line for line in caplog.messages if "no such service" in line]
    assert len(lines) == LOGGED_PROBLEMS
    assert "620 more service types are not declared; /status lists them" in caplog.messages
    assert len(control_plane.status()["undeclared_service_types"]) == 100
    assert sample(control_plane, "scopeway_undeclared_service_types") == 640
