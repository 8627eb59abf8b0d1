"""A change of many clouds, or of many targets, is applied in small steps."""

import asyncio
import gc
from collections.abc import Collection, Mapping
from time import thread_time

import pytest

from counted_clouds import Counted, Freed
from growth_of_cost import LINEAR, growth
from harness.fleet import at, manifest
from harness.source import ANYBODY, Fleet, Recorder, cloud, node, peered
from scopeway.control_plane.catalog.catalog import Catalog
from scopeway.control_plane.clouds import selectors
from scopeway.control_plane.clouds.declared_types import declare
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.label_index import LabelIndex, LabelSet
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.selectors import SelectorIndex
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.registry import Batch
from scopeway.control_plane.runtime.control_plane import ControlPlane
from scopeway.control_plane.runtime.settings import Settings
from scopeway.control_plane.runtime.time_slices import in_slices
from scopeway.control_plane.scope import parse_target
from scopeway.control_plane.serving.source import ScopewaySource
from scopeway.control_plane.serving.target_index import TargetIndex
from scopeway.xds.steps import Steps, finish
from scopeway.xds.type_urls import CLUSTER, EXTENSION

MANY = 2000


def labelled(number: int, label: str = "v") -> Cloud:
    return Cloud(name=f"c-{number}", labels={"fleet": label, "host": f"h{number}"})


def batch(count: int, label: str = "v") -> Batch:
    return Batch(upserts={f"/{number}": labelled(number, label) for number in range(count)})


def test_a_step_of_a_batch_changes_few_clouds(monkeypatch: pytest.MonkeyPatch) -> None:
    catalog, sizes = Catalog(), []
    catalog.apply(batch(MANY), now=0)
    apply = Inventory.apply

    def counting(
        self: Inventory, upserts: dict[str, Cloud], deletes: Collection[str] = ()
    ) -> Inventory:
        sizes.append(len(upserts) + len(deletes))
        return apply(self, upserts, deletes)

    monkeypatch.setattr(Inventory, "apply", counting)
    before, seen = catalog.inventory, set()
    for _ in catalog.steps(batch(MANY, "other"), now=1):
        seen.add(catalog.inventory.revision)
    assert sum(sizes) == MANY
    assert max(sizes) <= 64
    assert seen == {before.revision}
    assert catalog.inventory.select({"fleet": "v"}) == ()

    sizes.clear()
    list(catalog.steps(Batch(deletes=[f"/{number}" for number in range(MANY // 4)]), now=2))
    assert max(sizes) <= 64


def test_clouds_with_many_labels_are_changed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The labels count that they bore before, too."""
    catalog, sizes = Catalog(), []
    many = {
        f"/{number}": Cloud(
            name=f"c-{number}", labels={f"l{label}": f"v{number}" for label in range(64)}
        )
        for number in range(10)
    }
    catalog.apply(Batch(upserts=many), now=0)
    change = LabelIndex.change

    def counting(self: LabelIndex, changes: Mapping[LabelSet, Mapping[str, bool]]) -> LabelIndex:
        sizes.append(sum(map(len, changes)))
        return change(self, changes)

    monkeypatch.setattr(LabelIndex, "change", counting)
    catalog.apply(batch(10), now=1)
    catalog.apply(Batch(upserts=many), now=2)
    assert max(sizes) <= 256


def test_a_step_frees_few_of_the_clouds_that_a_batch_replaces() -> None:
    def batch_of(label: str) -> Batch:
        return Batch(
            upserts={
                f"/{number}": Counted(name=f"c-{number}", labels={"own": f"{label}{number}"})
                for number in range(MANY)
            }
        )

    listen = ("127.0.0.1", 0)
    plane = ControlPlane(Settings(registry="memory", xds_listen=listen, admin_listen=listen))
    plane.apply(batch_of("a"))
    freed, steps = Freed(), plane.steps(batch_of("b"))
    found = [freed.take() for _ in steps]
    del steps
    found.append(freed.take())

    assert sum(found) == MANY
    assert max(found) <= 64


def test_no_step_takes_longer_for_a_larger_batch() -> None:
    """A policy selects all clouds of the batch, and a site uses some."""

    def longest(count: int) -> float:
        clouds = [labelled(number) for number in range(count)]
        fleet = Fleet(peered("cloud-1", ANYBODY), *clouds, prefetch="c-1")
        view = fleet.attach("cloud-1")
        for number in range(0, count, 20):
            view.resource(CLUSTER, f"image@c-{number}")
        changed = {each.name: each for each in (labelled(n, "other") for n in range(count))}
        inventory = fleet.inventory.apply(changed)
        del fleet.inventory
        steps = fleet.source.steps(inventory, list(changed))
        found, begin = [], thread_time()
        for _ in steps:
            found.append(thread_time() - begin)
            begin = thread_time()
        found.append(thread_time() - begin)
        return max(found)

    gc.disable()
    try:
        small, large = (min(longest(count) for _ in range(2)) for count in (MANY, 4 * MANY))
    finally:
        gc.enable()
    assert large < 2.5 * small


def told_in_a_step(source: ScopewaySource, notifier: Recorder, *changed: Cloud) -> list[int]:
    """Return how many names each step of a change tells somebody."""
    inventory = source._fleet.inventory.apply({each.name: each for each in changed})
    found, before = [], 0
    for _ in source.steps(inventory, [each.name for each in changed]):
        told = [names for type_url, names, _ in notifier.told if type_url == CLUSTER and names]
        after = sum(map(len, told))
        found.append(after - before)
        before = after
    return found


def test_a_step_notifies_few_targets_of_one_site() -> None:
    fleet = Fleet(*(cloud(f"cloud-{number}") for number in range(5)))
    views = [fleet.attach(f"cloud-{number}") for number in range(5)]
    for view in views:
        for number in range(400):
            view.resource(CLUSTER, f"image@[fleet=f]|x-{number}")

    told = told_in_a_step(
        fleet.source, fleet.notifier, Cloud(name="cloud-9", labels={"fleet": "f"})
    )
    assert sum(told) == 2000
    assert max(told) <= 256


def test_a_step_notifies_one_site_of_a_target_that_all_sites_use() -> None:
    fleet = Fleet(*(cloud(f"cloud-{number}") for number in range(300)))
    for number in range(300):
        fleet.attach(f"cloud-{number}").resource(CLUSTER, "image@cloud-9")

    told = told_in_a_step(fleet.source, fleet.notifier, Cloud(name="cloud-9", labels={"a": "b"}))
    assert (sum(told), max(told)) == (300, 1)


def test_a_step_of_a_changed_service_type_notifies_one_site_and_streams_may_close() -> None:
    fleet = Fleet(*(cloud(f"cloud-{number}") for number in range(100)))
    views = [fleet.attach(f"cloud-{number}") for number in range(100)]
    declared, _ = declare([ServiceType(name="sensor")])
    found, before = [], 0
    for count, _ in enumerate(
        fleet.source.steps(fleet.source._fleet.inventory.with_service_types(declared), ())
    ):
        found.append(len(fleet.notifier.told) - before)
        before = len(fleet.notifier.told)
        if count < 10:
            views[count].close()
            fleet.source._fleet.sites.pop(f"cloud-{count}", None)

    assert {each[:2] for each in fleet.notifier.told} == {(EXTENSION, frozenset({"lua/front"}))}
    assert max(found) == 1
    assert 90 <= sum(found) <= 100


def test_streams_can_close_during_a_batch() -> None:
    fleet = Fleet(*(cloud(f"cloud-{number}") for number in range(5)))
    views = [fleet.attach(f"cloud-{number}") for number in range(5)]
    for view in views:
        view.resource(CLUSTER, "image@cloud-1")
    new = {
        f"cloud-{number}": Cloud(name=f"cloud-{number}", labels={"a": "b"}) for number in range(5)
    }
    for count, _ in enumerate(
        fleet.source.steps(fleet.source._fleet.inventory.apply(new), list(new))
    ):
        if count < 5:
            views[count].close()
            fleet.source._fleet.sites.pop(f"cloud-{count}", None)

    assert fleet.source._fleet.inventory.get("cloud-4") == new["cloud-4"]


def test_streams_can_open_during_a_batch() -> None:
    """A stream whose Envoy has another access log once ended the control plane."""
    fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"))
    view = fleet.attach("cloud-1")
    for number in range(1000):
        view.resource(CLUSTER, f"image@cloud-2|x-{number}")
    new = {"cloud-1": cloud("cloud-1", region="eu")}
    last = None
    for count, _ in enumerate(
        fleet.source.steps(fleet.source._fleet.inventory.apply(new), list(new))
    ):
        came = fleet.attach("cloud-1", access_log=f"/log/{count}")
        if last is not None:
            last.close()
        last = came

    assert fleet.source._fleet.inventory.get("cloud-1") == new["cloud-1"]


def test_a_site_can_be_forgotten_during_a_batch() -> None:
    fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"), prefetch="cloud-2")
    view = fleet.attach("cloud-1")
    for number in range(1000):
        view.resource(CLUSTER, f"image@cloud-2|x-{number}")
    view.close()
    new = {"cloud-1": peered("cloud-1", ANYBODY)}
    for _ in fleet.source.steps(fleet.source._fleet.inventory.apply(new), list(new)):
        if fleet.notifier.told:  # it is being told of all that it uses
            fleet.source._fleet.sites.pop("cloud-1", None)
            fleet.source._policies.set("cloud-1", None)

    assert not fleet.source._policies._in_use


def test_resources_requested_during_a_batch_have_the_new_state() -> None:
    fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"))
    view = fleet.attach("cloud-1")
    before = view.resource(CLUSTER, "image@cloud-2")
    without = Cloud(name="cloud-2")
    steps = fleet.source.steps(
        fleet.source._fleet.inventory.apply({"cloud-2": without}), ["cloud-2"]
    )
    next(steps)
    other = fleet.source.attach(node("cloud-1"))

    assert other.resource(CLUSTER, "image@cloud-2") != before
    finish(steps)
    assert (CLUSTER, frozenset({"image@cloud-2"}), "cloud-1") in fleet.notifier.told


def test_a_batch_of_clouds_with_one_label_costs_linear_time() -> None:
    def prepare(count: int):
        index = TargetIndex()
        for number in range(count):
            name = f"image@[fleet=v]|x-{number}"
            index.add(name, parse_target(name), "cloud-1")
        clouds = [labelled(number) for number in range(count)]
        return lambda: list(index.affected(clouds))

    assert growth(prepare, 400) < LINEAR


def test_a_change_does_not_look_at_selectors_that_only_share_a_label(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = []
    monkeypatch.setattr(selectors, "has_labels", lambda *_: looks.append(1) or True)
    index: SelectorIndex[str] = SelectorIndex()
    for number in range(500):
        index.add((("a", "common"), ("b", f"own-{number}")), f"user-{number}")
    list(index.users_selecting([Cloud(name="x", labels={"a": "common"})]))
    assert len(looks) <= 1

    found = index.users_selecting([Cloud(name="x", labels={"a": "common", "b": "own-7"})])
    assert ["user-7"] in [list(users) for users in found]


def test_other_tasks_run_during_a_batch() -> None:
    async def scene() -> None:
        listen = ("127.0.0.1", 0)
        plane = ControlPlane(Settings(registry="memory", xds_listen=listen, admin_listen=listen))
        first = manifest("cloud-1", front=at(8080))
        plane.apply(Batch(upserts={"one": first}, complete=True))
        work = asyncio.create_task(plane.follow(batch(MANY)))
        turns = 0
        while not work.done():
            assert len(plane.catalog.inventory) in (1, MANY + 1)
            turns += 1
            await asyncio.sleep(0)
        assert turns > 3
        assert len(plane.catalog.inventory) == MANY + 1

    asyncio.run(scene())


def test_commands_wait_for_the_end_of_a_batch() -> None:
    async def scene() -> None:
        listen = ("127.0.0.1", 0)
        plane = ControlPlane(Settings(registry="memory", xds_listen=listen, admin_listen=listen))
        plane.apply(Batch(upserts=batch(MANY).upserts, complete=True))
        plane.apply(Batch(complete=True))
        assert len(plane.catalog.held) == MANY

        work = asyncio.create_task(plane.follow(batch(MANY // 2, "other")))
        await asyncio.sleep(0)
        released, not_held = await plane.give_up(None)
        await work

        assert (len(released), not_held) == (MANY // 2, [])
        assert len(plane.catalog.inventory) == MANY // 2

    asyncio.run(scene())


def test_slices_are_cut_by_time_and_return_the_result_of_the_work() -> None:
    def work():
        for _ in range(10):
            yield
        return "done"

    async def scene() -> tuple[str, int]:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        result = await in_slices(work(), seconds=0)
        task.cancel()
        return result, turns

    assert finish(work()) == "done"
    assert asyncio.run(scene()) == ("done", 10)


def test_the_cost_of_sliced_work_excludes_other_tasks() -> None:
    """Expensive work for the streams that a change concerns must not make its entry rest."""

    def burn(seconds: float) -> None:
        end = thread_time() + seconds
        while thread_time() < end:
            pass

    def steps() -> Steps[None]:
        for _ in range(5):
            burn(0.002)
            yield

    async def others() -> None:
        while True:
            burn(0.05)
            await asyncio.sleep(0)

    async def work() -> list[float]:
        found: list[float] = []
        task = asyncio.create_task(others())
        await in_slices(steps(), seconds=0, took=found.append)
        task.cancel()
        return found

    (took,) = asyncio.run(work())
    assert 0.01 <= took < 0.05


def test_applying_a_batch_reports_its_cost() -> None:
    found: list[float] = []
    listen = ("127.0.0.1", 0)
    plane = ControlPlane(Settings(registry="memory", xds_listen=listen, admin_listen=listen))
    asyncio.run(plane.follow(Batch(complete=True, report_cost=found.append)))

    assert len(found) == 1
    assert found[0] > 0
