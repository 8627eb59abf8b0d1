"""The number of each kind of thing that a manifest can declare is limited."""

from typing import Any

import pytest

from scopeway.control_plane.clouds import limits
from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.clouds.manifest import parse_manifest
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.scope import SERVICE_TYPES

ENDPOINT = {"address": "127.0.0.1", "port": 1}
TYPES = sorted(SERVICE_TYPES)


def parse(spec: dict[str, Any], labels: object = None) -> Cloud:
    metadata = {"name": "cloud-9"} if labels is None else {"name": "cloud-9", "labels": labels}
    document = {"apiVersion": "scopeway.io/v1alpha1", "kind": "EdgeCloud"}
    return parse_manifest({**document, "metadata": metadata, "spec": spec}, "a.yaml")


def accept(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"accept": list(rules)}


def names(count: int) -> list[str]:
    return [f"c-{number}" for number in range(count)]


def selectors(count: int) -> list[str]:
    return [f"[a=b{number}]" for number in range(count)]


def problems(spec: dict[str, Any], labels: object = None) -> list[str]:
    with pytest.raises(InvalidCloud) as caught:
        parse(spec, labels)
    return [str(problem) for problem in caught.value.problems]


def test_the_limit_of_services_is_above_the_number_of_service_types() -> None:
    assert len(SERVICE_TYPES) < limits.SERVICES


def test_labels_of_a_manifest_are_limited() -> None:
    assert len(parse({}, {f"k{n}": "v" for n in range(64)}).labels) == 64
    assert problems({}, {f"k{n}": "v" for n in range(65)}) == [
        "metadata.labels: has 65 entries, more than 64"
    ]


def test_labels_of_one_cloud_pattern_are_limited() -> None:
    def several(count: int) -> dict[str, Any]:
        pairs = ",".join(f"{n:0>63}={n:0>63}" for n in range(count))
        return accept({"clouds": [f"[{pairs}]"]})

    assert len(parse(several(64)).accept[0].clouds[0].labels) == 64
    assert problems(several(65)) == ["spec.accept[0].clouds[0]: has 65 labels, more than 64"]


def test_services_and_front_ports_are_limited() -> None:
    services = {word: {"endpoints": [ENDPOINT]} for word in TYPES}
    ports = {word: 1000 + n for n, word in enumerate(TYPES)}
    front = {"address": "127.0.0.1", "port": 1, "ports": ports}
    made = parse({"services": services, "front": front})
    assert len(made.services) == len(TYPES)

    many = {f"s{n}": n for n in range(1, 66)}
    assert problems({"services": many, "front": {**front, "ports": many}}) == [
        "spec.front.ports: has 65 entries, more than 64",
        "spec.services: has 65 entries, more than 64",
    ]


def test_endpoints_of_a_service_are_limited() -> None:
    assert len(parse({"services": {"image": {"endpoints": [ENDPOINT] * 64}}}).services) == 1
    assert problems({"services": {"image": {"endpoints": [ENDPOINT] * 65}}}) == [
        "spec.services.image.endpoints: has 65 entries, more than 64"
    ]


def test_accept_rules_are_limited() -> None:
    assert len(parse(accept(*[{"clouds": ["a"]}] * 256)).accept) == 256
    assert problems(accept(*[{"clouds": ["a"]}] * 257)) == [
        "spec.accept: has 257 entries, more than 256"
    ]


def test_services_methods_and_roles_of_a_rule_are_limited() -> None:
    rule = {
        "clouds": ["a"],
        "services": ["image"] * 65,
        "methods": ["GET"] * 9,
        "identity": {"clouds": ["a"], "roles": ["r"] * 65},
    }
    assert problems(accept(rule)) == [
        "spec.accept[0].services: has 65 entries, more than 64",
        "spec.accept[0].methods: has 9 entries, more than 8",
        "spec.accept[0].identity.roles: has 65 entries, more than 64",
    ]


def test_different_services_of_all_rules_are_limited() -> None:
    def rule(first: int, count: int) -> dict[str, Any]:
        return {"clouds": ["a"], "services": [f"s-{n}" for n in range(first, first + count)]}

    assert len(SERVICE_TYPES) + limits.SERVICE_TYPES + 1 <= limits.RULE_SERVICES
    assert len(parse(accept(rule(0, 64), rule(64, 64), rule(30, 64))).accept) == 3
    assert problems(accept(rule(0, 64), rule(64, 64), rule(128, 1), rule(129, 1))) == [
        "spec.accept[2].services: has 129 different services in all rules, more than 128"
    ]


def test_clouds_of_all_accept_rules_are_limited() -> None:
    """2,000 sites that all name each other: in two rules, and in a list for tokens."""
    fleet = names(2000)
    rules = accept(
        {"clouds": fleet, "methods": ["GET"]},
        {"clouds": fleet, "identity": {"clouds": fleet}},
    )
    assert len(parse(rules).accept[0].names) == 2000

    parse(accept(*[{"clouds": names(4096)}] * 2))
    assert problems(accept({"clouds": names(4096)}, {"clouds": names(4097)})) == [
        "spec.accept[1].clouds: has 8193 entries in all lists of clouds, more than 8192"
    ]
    assert len(problems(accept(*[{"clouds": names(5000)}] * 5))) == 1


def test_cloud_patterns_with_labels_are_limited() -> None:
    parse(accept({"clouds": selectors(256)}))
    assert problems(accept({"clouds": selectors(200)}, {"clouds": selectors(57)})) == [
        "spec.accept[1].clouds[56]: has 257 entries with labels in all lists of clouds, "
        "more than 256"
    ]


def test_clouds_of_all_identity_lists_are_limited() -> None:
    def rule(count: int) -> dict[str, Any]:
        return {"clouds": ["a"], "identity": {"clouds": names(count)}}

    parse(accept(rule(1024), rule(1024)))
    assert problems(accept(rule(1024), rule(1025))) == [
        "spec.accept[1].identity.clouds: has 2049 entries in all identity lists, more than 2048"
    ]


def test_a_rule_keeps_every_entry_of_its_list_of_clouds() -> None:
    """`names` and `others` of a list say together what its entries say."""
    for count in (1, 8, 9, 500):
        rule = parse(accept({"clouds": [*names(count), "[a=b]"]})).accept[0]
        kept = rule.names | {each.name for each in rule.others if each.name is not None}
        assert kept == set(names(count))
        assert [each.labels for each in rule.others if each.labels] == [{"a": "b"}]
