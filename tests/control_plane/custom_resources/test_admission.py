"""The admission policies look at every object of a schema."""

from pathlib import Path

import pytest
import yaml

from scopeway.control_plane.custom_resources.admission import SITES_NAMESPACE, policies
from scopeway.control_plane.custom_resources.definitions import resources
from scopeway.control_plane.custom_resources.unknown_fields import checks, longest_list

DEPLOY = Path(__file__).parents[3] / "deploy"


@pytest.mark.parametrize(
    ("kind", "places"),
    [
        (
            "EdgeCloud",
            [
                *("", "spec", "spec.accept[]", "spec.accept[].identity", "spec.accept[].limits"),
                *("spec.front", "spec.front.ports", "spec.front.tls"),
                *("spec.peer", "spec.peer.limits"),
                *("spec.services", "spec.services.*", "spec.services.*.endpoints[]"),
            ],
        ),
        ("Cordon", ["", "spec"]),
        ("ServiceType", ["", "spec", "spec.lists[]"]),
    ],
)
def test_every_object_is_looked_at(kind: str, places: list[str]) -> None:
    (schema,) = [each.schema for each in resources() if each.kind == kind]

    assert sorted(check.place for check in checks(schema)) == places


def test_the_indexes_of_a_message_reach_the_end_of_the_longest_list() -> None:
    for resource in resources():
        (policy, _) = policies()[resource.plural]
        (indexes,) = [
            each["expression"] for each in policy["spec"]["variables"] if each["name"] == "indexes"
        ]
        assert yaml.safe_load(indexes) == list(range(longest_list(resource.spec)))


def test_sites_are_the_accounts_of_the_namespace_that_is_deployed() -> None:
    namespace = yaml.safe_load((DEPLOY / "site/registration/namespace.yaml").read_text())

    assert namespace["metadata"]["name"] == SITES_NAMESPACE
