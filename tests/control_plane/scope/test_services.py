"""The service types and their aliases."""

import subprocess
import sys

import pytest

from scopeway.control_plane import scope
from scopeway.control_plane.scope import ALIASES, SERVICE_TYPES, official_type


@pytest.mark.parametrize(
    ("word", "service_type"),
    [
        ("keystone", "identity"),
        ("glance", "image"),
        ("nova", "compute"),
        ("neutron", "network"),
        ("cinder", "block-storage"),
        ("swift", "object-store"),
        ("placement", "placement"),
        ("volumev3", "block-storage"),
        ("application_deployment", "application-deployment"),
        ("image", "image"),
        ("ec2-api", "ec2-api"),
    ],
)
def test_a_service_alias_stands_for_its_official_type(word: str, service_type: str) -> None:
    assert official_type(word) == service_type


@pytest.mark.parametrize("word", ["", "*", "glanze", "Glance", "identity.validate", "local"])
def test_an_unknown_word_is_no_service(word: str) -> None:
    assert official_type(word) is None


def test_no_alias_is_a_service_type_and_each_names_one() -> None:
    assert SERVICE_TYPES.isdisjoint(ALIASES)
    assert set(ALIASES.values()) <= SERVICE_TYPES


def test_every_service_word_is_accepted_in_a_scope() -> None:
    for word in [*SERVICE_TYPES, *ALIASES]:
        assert scope.lexical_form(f"{word}:a") == f"{official_type(word)}:a"
        assert scope.parse_scope(f"{word}:a").bindings[0].service == official_type(word)


def test_unknown_attributes_of_the_scope_modules_raise_attribute_error() -> None:
    for module in (scope, scope.services):
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            _ = module.nothing


def test_importing_the_scope_language_imports_no_library() -> None:
    program = "import sys, scopeway.control_plane.scope; print(*sorted(sys.modules))"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()

    assert not {"lark", "os_service_types", "grpc", "envoy_data_plane"}.intersection(output)
