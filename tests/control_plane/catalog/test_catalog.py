import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.catalog import Entries, Fold, cloud
from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.invalid import InvalidCloud, Problem
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.registry.directory.files import read_manifests
from scopeway.control_plane.registry.documents import parse_json


def bad(place: str) -> InvalidCloud:
    return InvalidCloud(place, Problem("spec", "null is wrong"), name=None)


def test_a_batch_reports_only_the_clouds_that_changed() -> None:
    fold = Fold()
    fold({"x": cloud("a"), "y": cloud("b")}, complete=True)
    change = fold({"x": cloud("a"), "y": cloud("b", 1), "z": cloud("c")})

    assert change.clouds == {"b", "c"}
    assert change.inventory.get("b") == cloud("b", 1)
    assert not change.problems


def test_a_batch_that_changes_nothing_keeps_the_inventory() -> None:
    fold = Fold()
    first = fold({"x": cloud("a")}, complete=True)
    again = fold({"x": cloud("a")}, complete=True)

    assert again.inventory is first.inventory
    assert again.clouds == frozenset()


def test_a_bad_entry_keeps_its_last_good_version_and_does_not_hide_others() -> None:
    fold = Fold()
    fold({"x": cloud("a")})
    change = fold({"x": bad("x"), "y": cloud("b")})

    assert change.inventory.get("a") == cloud("a")
    assert change.inventory.get("b") == cloud("b")
    assert change.clouds == {"b"}
    assert [str(problem) for problem in change.new_problems] == ["x: spec: null is wrong"]


def test_a_problem_is_new_once_and_gone_when_the_entry_is_repaired() -> None:
    fold = Fold()
    fold({"x": bad("x")})
    again = fold({"x": bad("x")})
    mended = fold({"x": cloud("a")})

    assert set(again.problems) == {"x"}
    assert not again.new_problems
    assert not mended.problems
    assert mended.clouds == {"a"}


def test_deleting_a_bad_entry_removes_its_last_good_version() -> None:
    fold = Fold()
    fold({"x": cloud("a")})
    fold({"x": bad("x")})
    change = fold({}, "x")

    assert change.inventory.get("a") is None
    assert change.clouds == {"a"}
    assert not change.problems


def test_a_cloud_in_two_places_of_one_listing_is_refused_in_both() -> None:
    change = Fold()({"x": cloud("a", 1), "y": cloud("a", 2), "z": cloud("b")}, complete=True)

    assert change.inventory.get("a") is None
    assert change.clouds == {"b"}
    assert {place: problem.reason for place, problem in change.problems.items()} == {
        "x": "'a' is declared in y, too",
        "y": "'a' is declared in x, too",
    }


def test_a_cloud_declared_in_two_places_keeps_its_last_good_version_until_one_place_is_left() -> (
    None
):
    fold = Fold()
    fold({"x": cloud("a", 1)})
    twice = fold({"y": cloud("a", 2)})
    still = fold({"x": cloud("a", 3)})
    once = fold({}, "x")

    assert twice.inventory.get("a") == cloud("a", 1)
    assert still.inventory.get("a") == cloud("a", 1)
    assert once.inventory.get("a") == cloud("a", 2)
    assert once.clouds == {"a"}
    assert not once.problems


def test_a_good_entry_replaces_a_cloud_whose_other_entry_is_bad() -> None:
    fold = Fold()
    fold({"x": cloud("a", 1)})
    fold({"x": bad("x")})
    change = fold({"y": cloud("a", 2)})

    assert change.inventory.get("a") == cloud("a", 2)
    assert set(change.problems) == {"x"}


def test_a_place_that_declares_another_cloud_removes_the_former_one() -> None:
    fold = Fold()
    fold({"x": cloud("a")})
    change = fold({"x": cloud("b")})

    assert change.clouds == {"a", "b"}
    assert change.inventory.get("a") is None


def test_a_complete_batch_removes_the_clouds_that_it_does_not_contain() -> None:
    fold = Fold()
    fold({"x": cloud("a"), "y": cloud("b"), "z": bad("z")}, complete=True)
    change = fold({"y": cloud("b")}, complete=True)

    assert change.clouds == {"a"}
    assert not change.problems


def test_deleting_an_unknown_place_changes_nothing() -> None:
    assert Fold()({}, "x").clouds == frozenset()


PLACES = st.sampled_from("uvwxyz")
VALUES = st.builds(cloud, st.sampled_from("abc"), st.integers(0, 2))
STEPS = st.lists(
    st.tuples(
        st.dictionaries(PLACES, VALUES | st.builds(bad, PLACES), max_size=3),
        st.lists(PLACES, max_size=2),
        st.booleans(),
    ),
    max_size=8,
)


@given(STEPS)
def test_changes_add_up_to_the_inventory(steps: list[tuple[Entries, list[str], bool]]) -> None:
    """Few clouds, so no mass losses: what is sound is in, and `clouds` misses no change."""
    fold = Fold()
    entries: dict[str, Cloud | InvalidCloud] = {}
    mirror: dict[str, Cloud | None] = {}
    for upserts, deletes, complete in steps:
        gone = set(entries) if complete else set(deletes)
        entries = {at: value for at, value in entries.items() if at not in gone} | dict(upserts)
        change = fold(upserts, *(set(deletes) - set(upserts)), complete=complete)
        mirror |= {name: change.inventory.get(name) for name in change.clouds}
        declared = [value for value in entries.values() if isinstance(value, Cloud)]
        for one in declared:
            if [other.name for other in declared].count(one.name) == 1:
                assert change.inventory.get(one.name) == one
        troubled = {at for at, value in entries.items() if isinstance(value, InvalidCloud)}
        assert troubled <= set(change.problems) <= set(entries)

    known = {name: one for name, one in mirror.items() if one is not None}
    assert known == {one.name: one for one in fold.catalog.inventory}


def test_a_cordon_changes_its_cloud_and_survives_a_heartbeat() -> None:
    fold = Fold()
    fold({"a": cloud("a"), "b": cloud("b")}, complete=True)
    cordoned = fold({"a/cordon": Cordon(name="a", reason="why")})
    beat = fold({"a": cloud("a", 1)})
    gone = fold(None, "a")
    back = fold({"a": cloud("a")})
    lifted = fold(None, "a/cordon")

    assert (cordoned.clouds, cordoned.inventory.cordon_reason("a")) == ({"a"}, "why")
    assert (beat.clouds, beat.inventory.cordon_reason("a")) == ({"a"}, "why")
    assert gone.inventory.cordon_reason("a") == back.inventory.cordon_reason("a") == "why"
    assert (lifted.clouds, lifted.inventory.cordon_reason("a")) == ({"a"}, None)
    assert not lifted.problems


def test_repeating_a_cordon_changes_nothing() -> None:
    fold = Fold()
    first = fold({"a": cloud("a"), "x": Cordon(name="a", reason="why")}, complete=True)
    again = fold({"a": cloud("a"), "x": Cordon(name="a", reason="why")}, complete=True)

    assert again.clouds == frozenset()
    assert again.inventory is first.inventory


def test_a_listing_without_a_cordon_lifts_it() -> None:
    fold = Fold()
    fold({"a": cloud("a"), "x": Cordon(name="a")}, complete=True)
    change = fold({"a": cloud("a")}, complete=True)

    assert change.inventory.cordon_reason("a") is None
    assert change.clouds == {"a"}


def test_a_bad_cordon_is_reported_and_keeps_the_last_good_one() -> None:
    fold = Fold()
    fold({"a": cloud("a"), "x": Cordon(name="a", reason="why")})
    change = fold({"x": bad("x")})
    good = fold({"x": Cordon(name="a", reason="other")})

    assert change.inventory.cordon_reason("a") == "why"
    assert set(change.problems) == {"x"}
    assert good.inventory.cordon_reason("a") == "other"
    assert not good.problems


def test_a_cloud_with_two_cordons_is_cordoned_until_both_are_lifted() -> None:
    fold = Fold()
    fold({"x": Cordon(name="a", reason="x"), "y": Cordon(name="a", reason="y")})
    one = fold(None, "x")

    assert one.inventory.cordon_reason("a") == "y"
    assert fold(None, "y").inventory.cordon_reason("a") is None


def test_a_place_can_change_from_a_cloud_to_a_cordon_and_back() -> None:
    fold = Fold()
    fold({"x": cloud("a")})
    cordon = fold({"x": Cordon(name="a")})
    back = fold({"x": cloud("a")})

    assert cordon.inventory.get("a") is None
    assert cordon.inventory.cordon_reason("a") == ""
    assert back.inventory.get("a") == cloud("a")
    assert back.inventory.cordon_reason("a") is None


def test_a_bad_entry_keeps_the_cloud_known_from_another_place() -> None:
    """For example, from saved clouds while the registry was unreachable."""
    fold = Fold()
    fold({"saved:2": cloud("a"), "saved:3": cloud("b")}, complete=True)
    problem = InvalidCloud("a", Problem("spec", "null is wrong"), name="a")
    change = fold({"a": problem, "b": cloud("b", 1)}, complete=True)
    gone = fold(None, "a")

    assert change.inventory.get("a") == cloud("a")
    assert change.inventory.get("b") == cloud("b", 1)
    assert list(change.problems) == ["a"]
    assert gone.inventory.get("a") is None


def test_a_bad_cordon_keeps_the_cordon_known_from_another_place() -> None:
    fold = Fold()
    fold({"saved:2": cloud("a"), "saved:3": Cordon(name="a", reason="why")}, complete=True)
    place = "/scopeway/clouds/a/cordon"
    problem = parse_json(b"{", place, "a/cordon")
    change = fold({"/scopeway/clouds/a": cloud("a"), place: problem}, complete=True)
    good = fold({place: Cordon(name="a", reason="other")})
    gone = fold(None, place)

    assert change.inventory.cordon_reason("a") == "why"
    assert list(change.problems) == [place]
    assert good.inventory.cordon_reason("a") == "other"
    assert gone.inventory.cordon_reason("a") is None


def test_a_bad_entry_of_an_unknown_cloud_adds_no_cloud() -> None:
    change = Fold()({"a": InvalidCloud("a", Problem("spec", "null is wrong"), name="a")})

    assert not len(change.inventory)
    assert not change.clouds


@pytest.mark.parametrize("registry", ["etcd", "dir"])
def test_an_entry_above_the_limits_is_reported_and_keeps_its_last_good_version(
    registry: str,
) -> None:
    """Also an entry that an older version accepted: after a restart, its cloud is unknown."""

    def entry(labels: int) -> Entries:
        document = {
            "apiVersion": "scopeway.io/v1alpha1",
            "kind": "EdgeCloud",
            "metadata": {"name": "a", "labels": {f"k{number}": "v" for number in range(labels)}},
        }
        if registry == "dir":
            (found,) = read_manifests(json.dumps(document), "/clouds.yaml").entries.values()
        else:
            found = parse_json(json.dumps(document).encode(), "place", "a")
        assert not isinstance(found, Cordon)
        return {"place": found}

    fold = Fold()
    good = fold(entry(64), complete=True).inventory.get("a")
    change = fold(entry(65))
    assert good is not None
    assert change.inventory.get("a") is good
    (problem,) = change.new_problems
    assert str(problem).endswith("metadata.labels: has 65 entries, more than 64")

    restarted = Fold()
    change = restarted(entry(65), complete=True)
    assert change.inventory.get("a") is None
    assert list(change.problems) == ["place"]
