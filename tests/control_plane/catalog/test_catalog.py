import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.catalog.catalog import Catalog, Change
from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.invalid import InvalidCloud, Problem
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.registry import Batch
from scopeway.control_plane.registry.directory.files import read_manifests
from scopeway.control_plane.registry.documents import parse_json
from scopeway.control_plane.registry.interface import Entry

Entries = Mapping[str, Entry]


def cloud(name: str, version: int = 0) -> Cloud:
    return Cloud(name=name, labels={"version": str(version)})


def bad(place: str) -> InvalidCloud:
    return InvalidCloud(place, Problem("spec", "null is wrong"), name=None)


class Fold:
    """A catalog whose clock goes on by a minute with each batch."""

    def __init__(self) -> None:
        self.catalog = Catalog()
        self.now = 0.0

    def __call__(
        self,
        upserts: Entries | None = None,
        *deletes: str,
        complete: bool = False,
        now: float | None = None,
    ) -> Change:
        self.now = self.now + 60 if now is None else 1000 + now
        batch = Batch(upserts=upserts or {}, deletes=deletes, complete=complete)
        return self.catalog.apply(batch, now=self.now)


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


def many(count: int) -> dict[str, Cloud]:
    return {f"/{number}": cloud(f"cloud-{number}") for number in range(count)}


def test_a_mass_loss_keeps_the_last_good_clouds_and_reports_them() -> None:
    fold = Fold()
    fold(many(10), complete=True)
    change = fold({}, *(f"/{number}" for number in range(6)))

    assert len(change.inventory) == 10
    assert change.clouds == frozenset()
    assert set(change.problems) == {f"/{number}" for number in range(6)}
    assert change.problems["/0"].reason == (
        "'cloud-0' was lost together with many others; it is kept as it was"
    )


def test_clouds_lost_early_in_a_mass_loss_are_restored() -> None:
    catalog = Catalog()
    catalog.apply(Batch(upserts=many(10), complete=True), now=0)
    early = catalog.apply(Batch(deletes=["/0", "/1", "/2"]), now=100)
    late = catalog.apply(Batch(deletes=["/3", "/4", "/5"]), now=120)

    assert early.clouds == {"cloud-0", "cloud-1", "cloud-2"}
    assert late.clouds == {"cloud-0", "cloud-1", "cloud-2"}
    assert len(late.inventory) == 10
    assert len(late.problems) == 6


@pytest.mark.parametrize(("lost", "seconds", "held"), [(6, 30, 11), (5, 30, 0), (6, 30.1, 0)])
def test_losing_more_than_half_of_the_clouds_within_the_window_is_a_mass_loss(
    lost: int, seconds: float, held: int
) -> None:
    catalog = Catalog()
    catalog.apply(Batch(upserts=many(20), complete=True), now=0)
    catalog.apply(Batch(deletes=[f"/{number}" for number in range(5)]), now=100)
    places = [f"/{number}" for number in range(5, 5 + lost)]
    catalog.apply(Batch(deletes=places), now=100 + seconds)

    assert len(catalog.held) == held


def test_losses_far_apart_are_no_mass_loss() -> None:
    fold = Fold()
    fold(many(10), complete=True)
    for number in range(9):
        change = fold({}, f"/{number}")

    assert len(change.inventory) == 1
    assert not change.problems


def test_clouds_that_return_at_once_are_no_mass_loss() -> None:
    """For example, when sites are updated one after the other."""
    catalog = Catalog()
    catalog.apply(Batch(upserts=many(10), complete=True), now=0)
    for number in range(10):
        place = f"/{number}"
        gone = catalog.apply(Batch(deletes=[place]), now=number)
        catalog.apply(Batch(upserts={place: many(10)[place]}), now=number)

        assert gone.clouds == {f"cloud-{number}"}
        assert not gone.problems


def test_all_of_a_few_clouds_can_be_removed() -> None:
    fold = Fold()
    fold(many(9), complete=True)

    assert len(fold({}, complete=True).inventory) == 0


def test_an_emptied_registry_is_a_mass_loss() -> None:
    fold = Fold()
    fold(many(10), complete=True)

    assert len(fold({}, complete=True).inventory) == 10


def test_a_held_cloud_is_released_when_it_is_registered_again() -> None:
    fold = Fold()
    fold(many(10), complete=True)
    fold({}, *(f"/{number}" for number in range(6)))
    back = fold({"/0": cloud("cloud-0", 1), "elsewhere": cloud("cloud-1")})
    gone = fold({}, "/0")

    assert set(back.problems) == {"/2", "/3", "/4", "/5"}
    assert back.clouds == {"cloud-0"}
    assert gone.clouds == {"cloud-0"}


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


def test_a_cloud_held_after_a_mass_loss_can_be_cordoned() -> None:
    fold = Fold()
    fold({name: cloud(name) for name in "abcdefghij"}, complete=True)
    fold(None, *"abcdefgh")
    change = fold({"a/cordon": Cordon(name="a", reason="why")})

    assert change.inventory.get("a") == cloud("a")
    assert change.inventory.cordon_reason("a") == "why"


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


def after_a_mass_loss() -> "Fold":
    """Eleven clouds, of which one is cordoned."""
    fold = Fold()
    fold({name: cloud(name) for name in "abcdefghijk"} | CORDON, complete=True)
    return fold


CORDON: Entries = {"a/cordon": Cordon(name="a", reason="why")}


@pytest.mark.parametrize("listed", [True, False])
def test_a_cordon_lost_in_a_mass_loss_holds_until_it_is_released(listed: bool) -> None:
    """For example, if a registry is wiped: a cordoned cloud must not be opened to users by that."""
    fold = after_a_mass_loss()
    change = fold(complete=True) if listed else fold(None, *"abcdefghijk", "a/cordon")
    back = fold({name: cloud(name) for name in "abcdefghijk"})

    assert change.inventory.cordon_reason("a") == "why"
    assert "a" not in change.clouds
    assert str(change.problems["a/cordon"]) == (
        "a/cordon: the cordon of 'a' was lost together with many clouds; it is kept"
    )
    assert back.inventory.cordon_reason("a") == "why"
    assert fold.catalog.held == {"a": "a/cordon"}
    released = fold.catalog.release(["a", "b"])
    assert released.inventory.cordon_reason("a") is None
    assert released.inventory.get("a") == cloud("a")
    assert released.clouds == {"a"}
    assert not released.problems
    assert not fold.catalog.held


def test_a_held_cloud_and_its_held_cordon_are_released_together() -> None:
    fold = after_a_mass_loss()
    fold(complete=True)
    released = fold.catalog.release(["a"])

    assert released.inventory.get("a") is None
    assert released.inventory.cordon_reason("a") is None
    assert "a/cordon" not in released.problems
    assert "a" not in released.problems


def test_a_cordon_lost_with_the_first_clouds_of_a_mass_loss_is_restored() -> None:
    fold = after_a_mass_loss()
    first = fold(None, "a", "b", "a/cordon", now=0)
    change = fold(None, *"cdef", now=20)

    assert first.inventory.cordon_reason("a") is None
    assert change.inventory.cordon_reason("a") == "why"
    assert change.inventory.get("a") == cloud("a")


def test_a_cordon_lost_long_before_a_mass_loss_is_not_restored() -> None:
    fold = after_a_mass_loss()
    fold(None, "b", "a/cordon", now=0)
    change = fold(None, *"cdefghij", now=31)

    assert fold.catalog.held
    assert change.inventory.cordon_reason("a") is None


def test_a_cordon_that_an_operator_lifts_in_a_mass_loss_is_lifted() -> None:
    fold = after_a_mass_loss()
    fold(None, *"abcdefgh", now=0)
    change = fold(None, "a/cordon", now=1)

    assert change.inventory.cordon_reason("a") is None
    assert "a/cordon" not in change.problems


def test_a_held_cordon_becomes_an_ordinary_one_when_it_is_written_again() -> None:
    fold = after_a_mass_loss()
    fold(complete=True)
    again = fold({"elsewhere": Cordon(name="a", reason="other")})
    lifted = fold(None, "elsewhere")

    assert again.inventory.cordon_reason("a") == "other"
    assert "a/cordon" not in again.problems
    assert lifted.inventory.cordon_reason("a") is None


def test_removing_a_few_clouds_removes_their_cordons() -> None:
    fold = after_a_mass_loss()
    change = fold(None, "a", "a/cordon")

    assert change.inventory.cordon_reason("a") is None
    assert not fold.catalog.held


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
