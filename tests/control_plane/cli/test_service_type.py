"""`scopeway service-type`: all valid words, and declarations in a real etcd or a folder."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.stack import Etcd
from scopeway.control_plane.scope import ALIASES, SERVICE_TYPES
from service_type_command_cases import Command, ServiceTypeCommandCases, document


@pytest.fixture
def registry(etcd: Etcd, request: pytest.FixtureRequest) -> str:
    """A part of the etcd that this test has for itself."""
    return f"{etcd.url}/{request.node.name}"


@pytest.mark.etcd
class TestOverEtcd(ServiceTypeCommandCases):
    """The cases of every registry."""


def test_without_a_registry_the_list_has_every_built_in_word(
    scopeway: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SCOPEWAY_REGISTRY", raising=False)
    rows = json.loads(scopeway("service-type", "list", "--format", "json").out)
    lines = scopeway("service-type", "list").out.splitlines()

    assert {row["name"] for row in rows} == SERVICE_TYPES
    assert {word: row["name"] for row in rows for word in row["aliases"]} == ALIASES
    assert {(row["protocol"], row["origin"]) for row in rows} == {("openstack", "built-in")}
    assert len(lines) == 1 + len(SERVICE_TYPES)
    (image,) = [line.split() for line in lines if line.startswith("image ")]
    assert image == ["image", "glance", "openstack", "built-in"]


def test_a_folder_is_listed_with_what_is_wrong_and_is_not_written(
    scopeway: Command, write: Callable[..., Path]
) -> None:
    valve = document("valve", aliases=["probe"])
    folder = write("types/a.yaml", document("sensor", aliases=["probe"]), valve).parent
    listed = scopeway("service-type", "list", "--registry", f"dir:{folder}", "--format", "json")
    put = scopeway("service-type", "put", "--registry", f"dir:{folder}", folder / "a.yaml")

    assert listed.status == 0
    assert [row["name"] for row in json.loads(listed.out) if row["origin"] == "declared"] == [
        "sensor",
        "valve",
    ]
    assert "'probe' is an alias of the service type 'sensor'; it is left out" in listed.err
    assert put.status == 1
    assert "is changed by editing its files" in put.err
