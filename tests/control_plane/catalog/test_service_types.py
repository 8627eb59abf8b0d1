"""Service types in the catalog: the last good version, mass losses, and types that are missing."""

from collections.abc import Mapping

import pytest

from harness.catalog import Fold, cloud
from scopeway.control_plane.clouds import limits
from scopeway.control_plane.clouds.invalid import InvalidCloud, Problem
from scopeway.control_plane.clouds.model import AcceptRule, Cloud, Endpoint, Front, Service
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.registry.interface import Entry

SENSOR = ServiceType(name="sensor", aliases=("probe",))
VALVE = ServiceType(name="valve")


def bad(place: str, service_type: str | None = None) -> InvalidCloud:
    error = InvalidCloud(place, Problem("spec", "null is wrong"))
    error.service_type = service_type
    return error


def user(name: str, *services: str, accepts: tuple[str, ...] = (), port: str = "image") -> Cloud:
    place = Service(endpoints=(Endpoint(address="127.0.0.1", port=1),))
    return Cloud(
        name=name,
        services=dict.fromkeys(services, place),
        front=Front(address="127.0.0.1", port=80, ports={port: 81}),
        accept=(AcceptRule(clouds=(), services=accepts),) if accepts else (),
    )


def many(count: int) -> dict[str, Entry]:
    return {f"/{number}": cloud(f"cloud-{number}") for number in range(count)}


def test_a_declared_type_comes_changes_and_goes() -> None:
    fold = Fold()
    come = fold({"t": SENSOR, "/0": cloud("a")})
    same = fold({"t": SENSOR})
    other = fold({"t": ServiceType(name="sensor")})
    gone = fold({}, "t")

    assert come.service_types == other.service_types == gone.service_types == {"sensor"}
    assert come.inventory.service_types.official("probe") == "sensor"
    assert not same.is_any
    assert same.inventory is come.inventory
    assert other.inventory.service_types.official("probe") is None
    assert gone.inventory.service_type("sensor") is None
    assert gone.inventory.get("a") == cloud("a")


def test_a_type_whose_document_goes_bad_stays_as_it_was_and_is_reported() -> None:
    fold = Fold()
    fold({"t": SENSOR, "/0": cloud("sensor")})
    change = fold({"t": bad("t", "sensor")})

    assert change.inventory.service_type("sensor") == SENSOR
    assert change.inventory.get("sensor") == cloud("sensor"), (
        "a cloud of that name is another thing"
    )
    assert [str(problem) for problem in change.new_problems] == ["t: spec: null is wrong"]
    assert not fold({"t": SENSOR}).problems
    assert fold({}, "t").inventory.service_type("sensor") is None


def test_a_cloud_in_the_place_of_a_type_removes_the_type() -> None:
    fold = Fold()
    fold({"x": SENSOR})
    change = fold({"x": cloud("a")})

    assert change.inventory.service_type("sensor") is None
    assert change.inventory.get("a") == cloud("a")


def test_a_bad_document_stands_for_the_type_that_is_known_from_saved_state() -> None:
    fold = Fold()
    fold({"saved:1": SENSOR}, complete=True)
    change = fold({"t": bad("t", "sensor")}, complete=True)

    assert change.inventory.service_type("sensor") == SENSOR
    assert fold({}, complete=True).inventory.service_type("sensor") is None


def test_of_two_declarations_of_one_name_the_first_by_place_counts() -> None:
    other = ServiceType(name="sensor", protocol="openstack")
    for order in (("a", "b"), ("b", "a")):
        fold = Fold()
        entries: Mapping[str, Entry] = {"a": SENSOR, "b": other}
        for place in order:
            change = fold({place: entries[place]})

        assert change.inventory.service_type("sensor") == SENSOR
        assert {place: str(each) for place, each in change.problems.items()} == {
            "b": "b: metadata.name: 'sensor' is declared in a, which counts"
        }
        left = fold({}, "a")
        assert left.inventory.service_type("sensor") == other
        assert not left.problems


def test_a_conflict_of_two_types_is_reported_until_it_is_solved() -> None:
    fold = Fold()
    fold({"v": ServiceType(name="valve", aliases=("probe", "tap"))})
    change = fold({"t": SENSOR})
    again = fold({"/0": cloud("a")})
    solved = fold({"v": VALVE})

    assert change.service_types == {"sensor", "valve"}
    assert [str(each) for each in change.new_problems] == [
        "v: spec.aliases[0]: 'probe' is an alias of the service type 'sensor'; it is left out"
    ]
    assert again.problems == change.problems
    assert fold.catalog.conflicts == {}
    assert not again.new_problems
    assert not solved.problems


def test_a_bad_document_of_a_type_with_a_conflict_is_reported_as_bad() -> None:
    fold = Fold()
    valve = ServiceType(name="valve", aliases=("probe",))
    fold({"v": valve, "t": SENSOR})
    fold({"v": bad("v", "valve")})
    other = fold({"l": ServiceType(name="lamp")})
    mended = fold({"v": valve})

    assert [str(each) for each in other.problems.values()] == ["v: spec: null is wrong"]
    assert "'probe' is an alias of the service type 'sensor'" in str(mended.problems["v"])


def test_types_beyond_the_limit_are_reported_and_used_when_there_is_room() -> None:
    fold = Fold()
    types = [ServiceType(name=f"type-{n:02}") for n in range(limits.SERVICE_TYPES + 1)]
    change = fold({each.name: each for each in types})
    room = fold({}, "type-07")

    assert list(change.problems) == ["type-64"]
    assert change.inventory.service_type("type-64") is None
    assert room.service_types == {"type-07", "type-64"}
    assert not room.problems


@pytest.mark.parametrize("listed", [True, False])
def test_a_type_lost_in_a_mass_loss_is_held_until_it_is_released(listed: bool) -> None:
    """For example, if a registry is wiped: clouds come back by themselves, and types do not."""
    fold = Fold()
    fold(many(10) | {"t": SENSOR}, complete=True)
    lost = fold(complete=True) if listed else fold(None, *many(10), "t")
    back = fold(many(10))

    assert lost.inventory.service_type("sensor") == SENSOR
    assert not lost.is_any
    assert lost.problems["t"].reason == (
        "the service type 'sensor' was lost together with many clouds; it is kept"
    )
    assert fold.catalog.held == {"service-type/sensor": "t"}
    assert set(back.problems) == {"t"}
    assert not fold.catalog.release(["sensor"]).is_any, "a cloud would have this name"

    released = fold.catalog.release(["service-type/sensor"])

    assert released.service_types == {"sensor"}
    assert released.inventory.service_type("sensor") is None
    assert not released.problems
    assert not fold.catalog.held


def test_a_held_type_that_is_declared_again_is_held_no_more() -> None:
    fold = Fold()
    fold(many(10) | {"t": SENSOR}, complete=True)
    fold(complete=True)
    change = fold({"elsewhere": SENSOR})

    assert "service-type/sensor" not in fold.catalog.held
    assert "t" not in change.problems
    assert fold({}, "elsewhere").inventory.service_type("sensor") is None


def test_a_type_that_is_removed_alone_is_gone_at_once() -> None:
    fold = Fold()
    fold(many(10) | {"t": SENSOR}, complete=True)
    change = fold({}, "t")

    assert change.inventory.service_type("sensor") is None
    assert change.clouds == frozenset()


def sentences(fold: Fold) -> list[str]:
    types = fold.catalog.inventory.service_types
    return fold.catalog.undeclared.sentences(types, 100)


def test_a_cloud_with_an_undeclared_service_is_accepted_and_reported_until_it_is_declared() -> None:
    fold = Fold()
    change = fold({"/0": user("a", "image", "sensr"), "/1": user("b", "sensr"), "t": SENSOR})
    again = fold({"/1": user("b", "sensr", "image")})

    assert {each.name for each in change.inventory} == {"a", "b"}
    assert not change.problems
    assert change.new_undeclared == ("sensr",)
    assert not again.new_undeclared
    assert sentences(fold) == [
        "no such service: 'sensr'; did you mean 'sensor'? (named by a, b; it is not served until "
        "it is declared)"
    ]

    declared = fold({"s": ServiceType(name="sensr")})
    assert len(fold.catalog.undeclared) == 0
    assert declared.clouds == frozenset()

    removed = fold({}, "s")
    assert removed.new_undeclared == ("sensr",)
    fold({"/0": user("a", "image"), "/1": user("b", "sensor")})
    assert sentences(fold) == []


@pytest.mark.parametrize("first", ["t", "/0"])
def test_type_and_cloud_may_come_in_any_order(first: str) -> None:
    entries: dict[str, Entry] = {"t": SENSOR, "/0": user("a", "sensor")}
    fold = Fold()
    fold({first: entries.pop(first)})
    fold(entries)

    assert len(fold.catalog.undeclared) == 0
    assert fold.catalog.inventory.service_type("sensor") == SENSOR


@pytest.mark.parametrize(
    "cloud",
    [user("a", "sensr"), user("a", accepts=("image", "sensr")), user("a", port="sensr")],
    ids=["services", "accept", "front.ports"],
)
def test_an_undeclared_type_is_found_wherever_a_manifest_names_one(cloud: Cloud) -> None:
    fold = Fold()

    assert fold({"/0": cloud}).new_undeclared == ("sensr",)
    assert not fold({}, "/0").new_undeclared
    assert len(fold.catalog.undeclared) == 0


def test_an_alias_of_a_declared_type_in_a_manifest_is_reported_with_the_type() -> None:
    fold = Fold()
    fold({"t": SENSOR, "/0": user("a", "probe")})

    assert sentences(fold)[0].startswith("no such service: 'probe'; did you mean 'sensor'? (named")


def test_built_in_types_and_validations_are_never_reported() -> None:
    fold = Fold()
    fold({"/0": user("a", "image", accepts=("identity.validate", "compute"))})

    assert sentences(fold) == []


def test_undeclared_types_of_one_cloud_are_reported_up_to_a_limit() -> None:
    fold = Fold()
    change = fold({"/0": user("a", accepts=tuple(f"s-{n:03}" for n in range(128)))})

    assert len(change.new_undeclared) == limits.SERVICES == 64
    assert len(fold.catalog.undeclared.sentences(change.inventory.service_types, 10)) == 10
