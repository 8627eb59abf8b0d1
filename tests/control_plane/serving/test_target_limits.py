"""How many targets a stream may use, and what happens beyond the limit."""

import pytest

from harness.source import Fleet, cloud, status
from scopeway.control_plane.serving.limits import SourceLimits
from scopeway.xds.type_urls import CLUSTER


def test_targets_of_a_stream_are_limited() -> None:
    fleet = Fleet(cloud("cloud-1"), limits=SourceLimits(targets=2))
    view = fleet.attach()
    names = ["image@cloud-1", "image@local", "image@cloud-1|local"]

    assert [view.resource(CLUSTER, name) is not None for name in names] == [True, True, False]
    assert view.resource(CLUSTER, names[0]) is not None
    assert fleet.attach().resource(CLUSTER, names[2]) is not None
    assert fleet.source.stats().refused == 1


def test_rejections_of_a_stream_have_their_own_limit(caplog: pytest.LogCaptureFixture) -> None:
    fleet = Fleet(cloud("cloud-1"), limits=SourceLimits(negative=2))
    view = fleet.attach()
    names = [f"image@cloud-{number}" for number in (7, 8, 9, 10)]

    assert [view.resource(CLUSTER, name) is not None for name in names] == [
        True,
        True,
        False,
        False,
    ]
    assert view.resource(CLUSTER, "image@cloud-1") is not None
    assert fleet.source.stats().refused == 2
    assert len(caplog.records) == 1, "one line for each stream, not for each name"


def test_a_target_beyond_the_limit_of_rejections_works_when_its_cloud_is_registered() -> None:
    fleet = Fleet(cloud("cloud-1"), limits=SourceLimits(negative=1))
    view = fleet.attach()
    assert status(view, "image@cloud-8") == "404"
    assert view.resource(CLUSTER, "image@cloud-9") is None

    fleet.put(cloud("cloud-9"))

    assert fleet.notifier.told == [(CLUSTER, {"image@cloud-9"}, "cloud-1")]
    assert status(view, "image@cloud-9") is None


def test_a_name_beyond_the_limit_gets_no_rejection_while_it_cannot_be_served() -> None:
    """It must not be mistaken for a target in use that became a rejection."""
    fleet = Fleet(cloud("cloud-1"), limits=SourceLimits(negative=1))
    view = fleet.attach()
    assert status(view, "image@cloud-8") == "404"
    answers = [view.resource(CLUSTER, "image@cloud-9") for _ in range(2)]

    assert answers == [None, None]
    assert fleet.source.stats().refused == 1


def test_a_name_beyond_the_limit_that_was_served_gets_a_rejection_later() -> None:
    """When it can no longer be served, the rejection says why."""
    fleet = Fleet(cloud("cloud-1"), limits=SourceLimits(negative=1))
    view = fleet.attach()
    for number in (8, 9):
        view.resource(CLUSTER, f"image@cloud-{number}")
    fleet.put(cloud("cloud-9"))
    assert status(view, "image@cloud-9") is None

    fleet.delete("cloud-9")

    assert status(view, "image@cloud-9") == "404"


def test_names_beyond_the_limit_count_as_targets() -> None:
    fleet = Fleet(cloud("cloud-1"), limits=SourceLimits(targets=2, negative=0))
    view = fleet.attach()
    for number in (7, 8, 9):
        assert view.resource(CLUSTER, f"image@cloud-{number}") is None

    assert fleet.source.stats().targets == 2
    assert view.resource(CLUSTER, "image@cloud-1") is None


def test_a_rejection_that_becomes_a_route_makes_room_for_another() -> None:
    fleet = Fleet(cloud("cloud-1"), limits=SourceLimits(negative=1))
    view = fleet.attach()
    assert status(view, "image@cloud-8") == "404"

    fleet.put(cloud("cloud-8"))
    assert status(view, "image@cloud-8") is None

    assert status(view, "image@cloud-9") == "404"


def test_a_target_in_use_that_becomes_a_rejection_is_kept() -> None:
    """A removal would be worse for its users than a reason."""
    fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"), limits=SourceLimits(negative=1))
    view = fleet.attach()
    assert status(view, "image@cloud-9") == "404"
    assert status(view, "image@cloud-2") is None

    fleet.delete("cloud-2")

    assert status(view, "image@cloud-2") == "404"
