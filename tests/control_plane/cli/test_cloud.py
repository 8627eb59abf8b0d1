"""`scopeway cloud` over a real etcd, and over a folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloud_command_cases import SENSOR, CloudCommandCases, document
from harness.fleet import at
from harness.stack import Etcd
from scopeway.control_plane.clouds.cordon import Cordon, cordon_document

pytestmark = pytest.mark.etcd


@pytest.fixture
def registry(etcd: Etcd, request: pytest.FixtureRequest) -> str:
    """A part of the etcd that this test has for itself."""
    return f"{etcd.url}/{request.node.name}"


class TestOverEtcd(CloudCommandCases):
    """The cases of every registry, and what etcd alone does."""

    def test_put_with_a_time_to_live_writes_with_a_lease(
        self, cloud: Callable[..., Any], write: Callable[..., Path], etcd: Etcd, registry: str
    ) -> None:
        cloud("put", "--ttl", 600, write("one.yaml", document("cloud-1")))

        prefix = registry.removeprefix(etcd.url)
        assert etcd.lease_of(f"{prefix}/clouds/cloud-1") != 0


def test_put_refuses_to_write_to_a_folder_registry(
    scopeway: Callable[..., Any], write: Callable[..., Path]
) -> None:
    file = write("one.yaml", document("cloud-1"))
    outcome = scopeway("cloud", "put", "--registry", f"dir:{file.parent}", file)

    assert outcome.status == 1
    assert outcome.err.endswith("is changed by editing its files\n")


def test_listing_a_folder_reports_its_bad_manifests(
    scopeway: Callable[..., Any], write: Callable[..., Path]
) -> None:
    file = write("one.yaml", document("cloud-1"), {"kind": "Potato"})
    outcome = scopeway("cloud", "list", "--registry", f"dir:{file.parent}", "--format", "json")

    assert (outcome.status, json.loads(outcome.out)) == (0, [document("cloud-1")])
    assert outcome.err.startswith("refused: ")


def test_get_shows_a_cloud_of_a_folder(
    scopeway: Callable[..., Any], write: Callable[..., Path]
) -> None:
    mark = cordon_document(Cordon(name="cloud-1", reason="new disks"))
    file = write("one.yaml", document("cloud-1"), mark, {"kind": "Potato"})
    get = ("cloud", "get", "--registry", f"dir:{file.parent}", "--format", "json")
    outcome = scopeway(*get, "cloud-1")
    refused, cordoned = outcome.err.splitlines()

    assert (outcome.status, json.loads(outcome.out)) == (0, document("cloud-1"))
    assert refused.startswith(f"refused: {file}:")
    assert cordoned == "cordoned: cloud-1: new disks"
    assert scopeway(*get, "cloud-2").err.endswith("scopeway: no cloud is named cloud-2\n")


@pytest.mark.parametrize("command", ["put", "get", "delete"])
def test_an_unreachable_etcd_is_an_error_of_one_sentence(
    scopeway: Callable[..., Any], write: Callable[..., Path], tmp_path: Path, command: str
) -> None:
    never_started = Etcd(tmp_path).url
    what = write("one.yaml", document("cloud-1")) if command == "put" else "cloud-1"
    outcome = scopeway("cloud", command, "--registry", never_started, what)

    assert (outcome.status, outcome.out) == (1, "")
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"scopeway: {never_started}/scopeway: ")


def test_a_cordon_in_a_folder_is_a_separate_document(
    scopeway: Callable[..., Any], write: Callable[..., Path]
) -> None:
    file = write("one.yaml", document("cloud-1"))
    registry = f"dir:{file.parent}"
    outcome = scopeway("cloud", "cordon", "--registry", registry, "cloud-1", "--reason", "x")
    told = outcome.err.splitlines()[-1]
    file.write_text(f"{file.read_text()}---\n{told}\n")

    assert outcome.status == 1
    assert "is changed by editing its files; this document" in outcome.err
    assert scopeway("cloud", "list", "--registry", registry).err == "cordoned: cloud-1: x\n"


def test_listing_a_folder_reports_service_types_that_are_not_declared(
    scopeway: Callable[..., Any], write: Callable[..., Path]
) -> None:
    one = document("cloud-1", services={"sensr": {"endpoints": [at(9292)]}})
    folder = write("clouds/a.yaml", one, SENSOR).parent
    listed = scopeway("cloud", "list", "--registry", f"dir:{folder}")

    assert listed.status == 0
    assert "cloud-1" in listed.out
    assert listed.err == "not served: no such service: 'sensr'; did you mean 'sensor'?\n"
