"""The registry before a stub of an API server; tests/kubernetes has the real one."""

import asyncio
import json
import logging
from contextlib import aclosing
from pathlib import Path

import pytest

from event_loop_turns import Turns
from registry_model import Reader, a_cloud, reading
from scopeway.control_plane.clouds.cordon import Cordon, cordon_document
from scopeway.control_plane.clouds.document import to_document
from scopeway.control_plane.registry import RegistryUnavailable
from scopeway.control_plane.registry.kubernetes import registry as kubernetes
from scopeway.control_plane.registry.kubernetes import watches
from scopeway.control_plane.registry.kubernetes.objects import EDGE_CLOUDS, see
from stub_cluster import DEEP, StubCluster, stub_cluster

pytestmark = pytest.mark.asyncio

BUSY = (429, "storage is (re)initializing")
FORBIDDEN = (403, "edgeclouds.scopeway.io is forbidden")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(kubernetes, "LONGEST_PAUSE", 0.002)


def reasons(reader: Reader) -> list[str | None]:
    """Return the reasons for being stale, each change of them once."""
    told = [batch.stale for batch in reader.batches]
    return [each for at, each in enumerate(told) if not at or told[at - 1] != each]


async def test_the_first_batch_is_complete_and_each_change_follows(tmp_path: Path) -> None:
    async with stub_cluster(tmp_path) as (cluster, registry):
        cluster.put("a", 1)
        cluster.put_object("cordons", cordon_document(Cordon(name="a", reason="why")))
        async with reading(registry) as reader:
            assert reader.batches[0].complete
            assert registry.name.startswith(f"kubernetes:{tmp_path}/kubeconfig?context=x (http:")
            assert dict(reader.inventory.cordons) == {"a": "why"}
            await until_open(reader, cluster)
            cluster.put("b", 1)
            await reader.until(lambda: reader.names == {"a", "b"})
            cluster.delete("a")
            await reader.until(lambda: reader.names == {"b"})

            assert cluster.lists == 1


async def until_open(reader: Reader, cluster: StubCluster) -> None:
    """Wait until the watches are open: a first change arrives."""
    while len(cluster._watches) < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def test_an_api_server_that_lists_but_refuses_watches_is_stale_once_and_listed_once(
    tmp_path: Path,
) -> None:
    """As one that has just started; it is reachable only once its watches are open."""
    async with stub_cluster(tmp_path) as (cluster, registry):
        cluster.put("a", 1)
        cluster.watch_answers = [BUSY] * 30
        async with reading(registry) as reader:
            await until_open(reader, cluster)
            await reader.until(lambda: reader.batches[-1].stale is None)

            name = f"kubernetes:{tmp_path}/kubeconfig?context=x"
            told = reasons(reader)
            assert [told[0], told[2]] == [None, None]
            assert str(told[1]).startswith(f"{name} (http://127.0.0.1:")
            assert str(told[1]).endswith(" is away: answered 429: storage is (re)initializing")
            assert len(told) == 3
            assert cluster.lists == 1


async def test_what_a_busy_api_server_lists_is_taken_over_while_it_is_stale(
    tmp_path: Path,
) -> None:
    async with stub_cluster(tmp_path) as (cluster, registry):
        cluster.put("a", 1)
        async with reading(registry) as reader:
            await until_open(reader, cluster)
            cluster.watch_answers = [BUSY] * 9
            cluster.objects["edgeclouds"].clear()
            cluster.end_watches()
            await reader.until(lambda: not reader.names)

            assert reader.batches[-1].deletes
            assert "429" in str(reader.batches[-1].stale)


async def test_watches_that_never_open_are_given_up_and_all_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "OPENING_SECONDS", 0.0)
    async with stub_cluster(tmp_path) as (cluster, registry):
        cluster.watch_answers = [BUSY] * 6
        async with reading(registry) as reader:
            await until_open(reader, cluster)

        assert cluster.lists > 1


@pytest.mark.parametrize("code", [0, 410, 500])
async def test_a_watch_that_ends_is_opened_again_and_what_changed_meanwhile_is_found(
    tmp_path: Path, code: int
) -> None:
    async with stub_cluster(tmp_path) as (cluster, registry):
        cluster.put("a", 1)
        async with reading(registry) as reader:
            await until_open(reader, cluster)
            del cluster.objects["edgeclouds"]["a"]
            cluster.end_watches(code)
            cluster._watches.clear()
            cluster.put("b", 1)
            await reader.until(lambda: reader.names == {"b"})

            assert reasons(reader) == [None]


async def test_the_current_reason_is_told_each_time_it_changes(tmp_path: Path) -> None:
    async with stub_cluster(tmp_path) as (cluster, registry):
        async with reading(registry) as reader:
            await until_open(reader, cluster)
            cluster.list_answers = [(500, "x")] * 3 + [FORBIDDEN] * 3
            cluster.end_watches()
            await reader.until(lambda: len(reasons(reader)) == 4)

        ends = [str(each).partition(") ")[2] or str(each)[-20:] for each in reasons(reader)]
        assert ends[1] == "is away: answered 500: x"
        told = str(reasons(reader)[2])
        assert "): denies access: edgeclouds.scopeway.io is forbidden; grant list on" in told
        assert reasons(reader)[3] is None


async def test_a_refusal_at_the_start_is_waited_for_briefly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "REFUSAL_PATIENCE", 0.0)
    async with stub_cluster(tmp_path) as (cluster, registry):
        cluster.list_answers = [FORBIDDEN] * 9
        with pytest.raises(RegistryUnavailable, match="cannot be read: denies access"):
            await first(registry)

        assert cluster.lists == 1
    monkeypatch.setattr(kubernetes, "REFUSAL_PATIENCE", 30.0)
    async with stub_cluster(tmp_path) as (cluster, registry):
        cluster.list_answers = [FORBIDDEN] * 3
        await first(registry)

        assert cluster.lists == 4


async def test_a_wrong_kubeconfig_ends_the_start_at_once(tmp_path: Path) -> None:
    registry = kubernetes.KubernetesRegistry(
        kubernetes.KubernetesUrl(kubeconfig=tmp_path / "none"), patience=1000
    )
    with pytest.raises(RegistryUnavailable) as caught:
        await first(registry)

    assert str(caught.value) == (
        f"kubernetes: {tmp_path / 'none'} cannot be read: No such file or directory"
    )


async def first(registry: kubernetes.KubernetesRegistry) -> None:
    async with aclosing(registry.watch()) as batches:
        await anext(batches)


async def test_a_version_that_goes_back_under_an_open_watch_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No event and no error tells of it."""
    async with stub_cluster(tmp_path, probe_interval=0.01) as (cluster, registry):
        cluster.put("a", 1)
        async with reading(registry) as reader:
            await until_open(reader, cluster)
            with caplog.at_level(logging.WARNING):
                cluster.objects["edgeclouds"].clear()
                cluster.version = 5
                await reader.until(lambda: not reader.names)

            assert reasons(reader) == [None]
    assert [each.message for each in caplog.records] == [
        "the API server was restored from a backup, or is another one; taking over what it holds"
    ]


async def test_probes_of_a_busy_api_server_leave_the_watches_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def ask(_: watches.Watches) -> kubernetes.ApiError:
        nonlocal asked
        asked += 1
        return kubernetes.ApiError("is busy", code=429)

    monkeypatch.setattr(watches.Watches, "_ask", ask)
    async with (
        stub_cluster(tmp_path, probe_interval=0.001) as (cluster, registry),
        reading(registry) as reader,
    ):
        while asked < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

        assert cluster.lists == 1
        assert reasons(reader) == [None]


@pytest.mark.parametrize("levels", [900, 950, 9_990])
async def test_an_object_that_is_nested_too_deep_is_refused_alone(
    tmp_path: Path, levels: int
) -> None:
    """Our definitions keep unknown fields, and API servers take 10,000 levels of them."""
    async with stub_cluster(tmp_path) as (cluster, registry):
        cluster.levels = levels
        cluster.put("a", 1)
        cluster.put_object("edgeclouds", to_document(a_cloud("listed")) | {"strange": DEEP})
        async with reading(registry) as reader:
            await until_open(reader, cluster)
            cluster.put_object("edgeclouds", to_document(a_cloud("watched")) | {"strange": DEEP})
            cluster.put("b", 1)
            await reader.until(lambda: reader.names == {"a", "b"})

            assert reader.problems.keys() == {"edgeclouds/listed", "edgeclouds/watched"}
            assert {"strange" in each for each in reader.problems.values()} == {True}
            assert reasons(reader) == [None]


async def test_an_object_that_changes_all_the_time_does_not_delay_others(tmp_path: Path) -> None:
    async with (
        stub_cluster(tmp_path) as (cluster, registry),
        aclosing(registry.watch()) as batches,
    ):
        await anext(batches)
        waiting = asyncio.create_task(anext(batches))
        while len(cluster._watches) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        cluster.put("a", 1)
        (await waiting).report_cost(1)  # it rests for 2 s
        for port in range(2, 101):
            cluster.put("a", port)
        cluster.put("b", 1)

        assert list((await anext(batches)).upserts) == ["edgeclouds/b"]
        assert dict((await anext(batches)).upserts) == {"edgeclouds/a": a_cloud("a", port=100)}


async def test_other_tasks_run_while_objects_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "SLICE", 0.0)
    seen = see(EDGE_CLOUDS, json.dumps(to_document(a_cloud("a"))).encode())
    reader = kubernetes._Reader({})
    with Turns().watched() as turns:
        for _ in range(100):
            await reader.read(seen)

    assert turns.count >= 100


async def test_watches_that_end_again_and_again_are_never_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each was open, so what was reported until then was current."""
    monkeypatch.setattr(kubernetes, "LONGEST_PAUSE", 5.0)  # none of them lasts so long
    async with stub_cluster(tmp_path) as (cluster, registry), reading(registry) as reader:
        for port in range(1, 6):
            await until_open(reader, cluster)
            cluster.end_watches()
            cluster._watches.clear()
            cluster.put("a", port)
            await reader.until(lambda at=port: reader.inventory.get("a") == a_cloud("a", port=at))  # type: ignore[misc]

        assert reasons(reader) == [None]


async def test_a_listing_reports_only_what_differs(tmp_path: Path) -> None:
    async with stub_cluster(tmp_path) as (cluster, registry):
        cluster.put("a", 1)
        cluster.put("b", 1)
        async with reading(registry) as reader:
            await until_open(reader, cluster)
            cluster.end_watches()
            cluster._watches.clear()
            cluster.put("a", 2)
            cluster.put("b", 1)
            await reader.until(lambda: len(reader.batches) == 2)

            assert dict(reader.batches[1].upserts) == {"edgeclouds/a": a_cloud("a", port=2)}
