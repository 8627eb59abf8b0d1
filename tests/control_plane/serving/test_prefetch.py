"""Targets that every site has from the start (`--prefetch`)."""

from dataclasses import replace

import pytest

from harness.source import Fleet, cloud, status
from scopeway.xds.type_urls import CLUSTER


@pytest.fixture
def fleet() -> Fleet:
    clouds = [cloud(f"cloud-{number}") for number in range(3)]
    core = [cloud(f"core-{number}", tier="core") for number in range(2)]
    return Fleet(*clouds, *core, prefetch="[tier=core]")


def test_every_site_has_the_prefetched_targets_besides_its_own(fleet: Fleet) -> None:
    view, at_core = fleet.attach("cloud-1"), fleet.attach("core-1")

    assert set(view.wildcard(CLUSTER)) == {"image@cloud-1", "image@core-0", "image@core-1"}
    assert set(at_core.wildcard(CLUSTER)) == {"image@core-1", "image@core-0"}
    assert status(view, "image@core-0") is None


def test_a_change_outside_the_prefetch_set_notifies_nobody(fleet: Fleet) -> None:
    for number in range(3):
        fleet.attach(f"cloud-{number}")
    fleet.put(cloud("cloud-7"), cloud("cloud-8", region="eu"))

    assert fleet.notifier.told == []


def test_a_changed_address_in_the_prefetch_set_notifies_the_holders_of_the_target(
    fleet: Fleet,
) -> None:
    view = fleet.attach("cloud-1")
    for name in view.wildcard(CLUSTER):
        view.resource(CLUSTER, name)
    fleet.put(cloud("core-0", port=1, tier="core"))

    assert fleet.notifier.told == [(CLUSTER, {"image@core-0"}, "cloud-1")]


def test_a_cloud_that_joins_or_leaves_the_prefetch_set_notifies_every_site(fleet: Fleet) -> None:
    views = [fleet.attach(f"cloud-{number}") for number in range(3)]
    fleet.put(cloud("cloud-9", tier="core"))
    came = [(name, group) for _, name, group in fleet.notifier.told]
    with_it = [set(view.wildcard(CLUSTER)) for view in views]
    fleet.delete("cloud-9", "core-0")

    everybody = [(None, f"cloud-{number}") for number in range(3)]
    assert came == everybody
    assert all("image@cloud-9" in each for each in with_it)
    assert [told for told in fleet.notifier.told if told[1] is None] == [
        (CLUSTER, None, group) for _, group in everybody
    ]
    assert set(views[0].wildcard(CLUSTER)) == {"image@cloud-0", "image@core-1"}


def test_a_site_gets_the_prefetched_targets_that_it_may_use_by_its_current_labels(
    fleet: Fleet,
) -> None:
    stranger = replace(cloud("cloud-1"), labels={})
    fleet.put(stranger)
    view, other = fleet.attach("cloud-1"), fleet.attach("cloud-2")
    alone = set(view.wildcard(CLUSTER))
    fleet.put(cloud("cloud-1"))

    assert alone == {"image@cloud-1"}
    assert fleet.notifier.told == [(CLUSTER, None, "cloud-1")]
    assert set(view.wildcard(CLUSTER)) == {"image@cloud-1", "image@core-0", "image@core-1"}
    assert set(other.wildcard(CLUSTER)) == {"image@cloud-2", "image@core-0", "image@core-1"}


def test_a_cordon_keeps_the_prefetched_names_and_changes_their_clusters(fleet: Fleet) -> None:
    view = fleet.attach("cloud-1")
    for name in view.wildcard(CLUSTER):
        view.resource(CLUSTER, name)
    fleet.cordon({"core-0": "why"})

    assert fleet.notifier.told == [(CLUSTER, {"image@core-0"}, "cloud-1")]
    assert status(view, "image@core-0") == "503"


def test_an_unknown_site_gets_the_prefetched_targets_when_its_cloud_is_registered(
    fleet: Fleet,
) -> None:
    view = fleet.attach("cloud-9")
    before = set(view.wildcard(CLUSTER))
    fleet.put(cloud("cloud-9"))

    assert before == set()
    assert set(view.wildcard(CLUSTER)) == {"image@cloud-9", "image@core-0", "image@core-1"}


def test_prefetched_and_left_out_clouds_are_counted(fleet: Fleet) -> None:
    stats = fleet.source.stats()

    assert (stats.prefetched_clouds, stats.prefetch_left_out) == (2, 0)
