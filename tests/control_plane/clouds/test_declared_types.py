"""The service types of a registry: which words count if declarations conflict."""

from itertools import permutations

import pytest

from scopeway.control_plane.clouds import limits
from scopeway.control_plane.clouds.declared_types import NO_TYPES, declare
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.scope import ALIASES, SERVICE_TYPES, built_in

SENSOR = ServiceType(name="sensor", aliases=("probe", "gauge"), forward=("authorization",))
VALVE = ServiceType(name="valve", protocol="openstack")


def test_declared_words_are_valid_beside_the_built_in_ones() -> None:
    declared, problems = declare([SENSOR, VALVE])

    assert problems == {}
    assert declared.types == {"sensor": SENSOR, "valve": VALVE}
    assert declared.words.official("probe") == "sensor"
    assert declared.words.official("glance") == "image"
    assert declared.official_types == {
        **ALIASES,
        **{each: each for each in SERVICE_TYPES},
        **{"sensor": "sensor", "probe": "sensor", "gauge": "sensor", "valve": "valve"},
    }


def test_http_types_have_the_headers_that_they_forward() -> None:
    declared, _ = declare([SENSOR, VALVE, ServiceType(name="lamp")])

    assert declared.http == {"sensor": {"authorization": True}, "lamp": {}}


def test_without_declarations_the_words_are_the_built_in_ones() -> None:
    assert NO_TYPES.words is built_in()
    assert declare([])[0].types == NO_TYPES.types


CONFLICTS = (
    ServiceType(name="meterx", aliases=("probe", "reader")),
    ServiceType(name="probe-2", aliases=("sensor", "reader", "own")),
    ServiceType(name="sensor", aliases=("probe",)),
)


@pytest.mark.parametrize("order", list(permutations(CONFLICTS)))
def test_one_word_of_two_types_has_the_same_owner_in_any_order_of_arrival(
    order: tuple[ServiceType, ...],
) -> None:
    declared, problems = declare(order)

    assert {name: each.aliases for name, each in declared.types.items()} == {
        "meterx": ("probe", "reader"),
        "probe-2": ("own",),
        "sensor": (),
    }
    assert {name: [str(each) for each in found] for name, found in problems.items()} == {
        "probe-2": [
            "spec.aliases[0]: 'sensor' is the name of another service type; it is left out",
            "spec.aliases[1]: 'reader' is an alias of the service type 'meterx'; it is left out",
        ],
        "sensor": [
            "spec.aliases[0]: 'probe' is an alias of the service type 'meterx'; it is left out"
        ],
    }


def test_declared_types_are_limited_and_the_first_by_name_count() -> None:
    many = [ServiceType(name=f"type-{n:03}", aliases=(f"alias-{n}",)) for n in range(66)]

    declared, problems = declare(reversed(many))

    assert len(declared.types) == limits.SERVICE_TYPES == 64
    assert {name: str(found[0]) for name, found in problems.items()} == {
        "type-064": "is not used: there are more than 64 service types",
        "type-065": "is not used: there are more than 64 service types",
    }
    assert declared.words.official("alias-65") is None


def test_an_inventory_keeps_its_service_types_through_other_changes() -> None:
    declared, _ = declare([SENSOR])
    before = Inventory().with_service_types(declared)

    after = before.apply({"a": Cloud(name="a")}).with_cordons({"a": "why"})

    assert after.service_types.official("probe") == "sensor"
    assert after.service_type("sensor") == SENSOR
    assert after.service_type("image") is None
    assert after.revision == 3
    assert after.with_service_types(declare([SENSOR])[0]) is after
