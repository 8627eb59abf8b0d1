"""Clouds and cordons that are lost together with many others are kept."""

import pytest

from harness.catalog import Entries, Fold, cloud
from scopeway.control_plane.catalog.catalog import Catalog
from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.registry import Batch


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


def test_a_cloud_held_after_a_mass_loss_can_be_cordoned() -> None:
    fold = Fold()
    fold({name: cloud(name) for name in "abcdefghij"}, complete=True)
    fold(None, *"abcdefgh")
    change = fold({"a/cordon": Cordon(name="a", reason="why")})

    assert change.inventory.get("a") == cloud("a")
    assert change.inventory.cordon_reason("a") == "why"


def after_a_mass_loss() -> Fold:
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
