"""The cost of registry contents grows at most linearly with their size."""

import json
from collections.abc import Callable

import pytest

from growth_of_cost import LINEAR, growth
from scopeway.control_plane.catalog.catalog import Catalog
from scopeway.control_plane.catalog.mass_loss import Loss, MassLossLimits, RecentLosses
from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.registry.directory import yaml_documents
from scopeway.control_plane.registry.documents import parse_json
from scopeway.control_plane.registry.interface import Batch

Work = Callable[[], object]
HEAD = {"apiVersion": "scopeway.io/v1alpha1", "metadata": {"name": "x"}}


def refused(document: dict[str, object]) -> InvalidCloud:
    entry = parse_json(json.dumps(document).encode(), "place", "x")
    assert isinstance(entry, InvalidCloud)
    return entry


@pytest.mark.parametrize("kind", ["EdgeCloud", "Cordon"])
def test_problems_of_a_document_beyond_the_limit_are_only_counted(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    monkeypatch.setattr(
        "scopeway.control_plane.clouds.manifest.get_close_matches",
        lambda *_, **__: looked.append(1) or [],
    )
    key = {} if kind == "EdgeCloud" else {"key": "x/cordon"}

    document = {**HEAD, "kind": kind, **{f"servics{number}": 1 for number in range(5000)}}
    entry = parse_json(json.dumps(document).encode(), "place", **key)

    assert isinstance(entry, InvalidCloud)
    assert str(entry).endswith("and 4995 more")
    assert len(looked) == 100


def test_declaring_a_cloud_in_many_places_costs_linear_time() -> None:
    def prepare(count: int) -> Work:
        catalog = Catalog()
        clouds = {f"file#{number}": Cloud(name="x") for number in range(count)}
        return lambda: catalog.apply(Batch(upserts=clouds), now=0)

    assert growth(prepare, 500) < LINEAR


def test_losing_clouds_one_by_one_in_a_mass_loss_costs_linear_time() -> None:
    def prepare(count: int) -> Work:
        catalog = Catalog()
        clouds = {f"place-{number}": Cloud(name=f"c-{number}") for number in range(count)}
        catalog.apply(Batch(upserts=clouds, complete=True), now=0)

        def lose() -> None:
            for place in clouds:
                catalog.apply(Batch(deletes=[place]), now=1)

        return lose

    assert growth(prepare, 500) < LINEAR


def test_a_mass_loss_restores_each_lost_cloud_once() -> None:
    losses = RecentLosses(MassLossLimits(least=2))
    clouds = {name: Cloud(name=name) for name in "abcd"}
    known = Inventory().apply(clouds)
    undone = []
    for name in "abcd":
        undone_now = losses.add({name: Loss(cloud=clouds[name], place=name)}, known=known, now=1)
        undone.append(sorted(undone_now))
        known = known.apply({each: clouds[each] for each in undone_now}, {name} - undone_now.keys())

    assert undone == [[], [], ["a", "b", "c"], ["d"]]


def test_yaml_directives_are_limited() -> None:
    head = "".join(f"%TAG !t{number}! tag:x\n" for number in range(16))
    assert yaml_documents.load(f"{head}---\na: 1\n") == {"a": 1}

    with pytest.raises(yaml_documents.NotYaml, match="more than 16 lines that begin with '%'"):
        yaml_documents.load(f"{head}%TAG !more! tag:x\n---\na: 1\n")


def test_json_objects_are_counted_before_they_are_parsed() -> None:
    def document(objects: int) -> bytes:
        return b'{"a":[' + b",".join([b"{}"] * (objects - 1)) + b"]}"

    assert "more than 8192 objects" not in str(parse_json(document(8192), "place"))
    assert str(parse_json(document(8193), "place")) == (
        "place: is not JSON: more than 8192 objects"
    )
