"""What `scopeway cloud` does over every registry that can be written.

A test module makes a class of these cases, and the fixture `registry`: a URL of an empty registry.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.fleet import at, manifest
from scopeway.control_plane.clouds.cordon import Cordon, cordon_document
from scopeway.control_plane.clouds.document import to_document

SENSOR = {
    "apiVersion": "scopeway.io/v1alpha1",
    "kind": "ServiceType",
    "metadata": {"name": "sensor"},
}


def document(name: str, **spec: Any) -> dict[str, Any]:
    spec.setdefault("services", {"image": {"endpoints": [at(9292)]}})
    return to_document(manifest(name, {"region": "eu"}, **spec))


def names(cloud: Callable[..., Any]) -> list[str]:
    listed = json.loads(cloud("list", "--format", "json").out)
    return [each["metadata"]["name"] for each in listed]


class CloudCommandCases:
    """Registering, showing and deleting clouds."""

    @pytest.fixture
    def cloud(self, scopeway: Callable[..., Any], registry: str) -> Callable[..., Any]:
        """Run `scopeway cloud COMMAND`."""

        def cloud(command: str, *arguments: object) -> Any:
            return scopeway("cloud", command, "--registry", registry, *arguments)

        return cloud

    def test_a_cloud_that_was_put_is_listed_shown_and_deleted(
        self, cloud: Callable[..., Any], write: Callable[..., Path]
    ) -> None:
        first, second = document("cloud-1", front=at(8080), peer=at(8443)), document("cloud-2")
        put = cloud("put", write("one.yaml", first), write("two.yaml", second))

        assert (put.status, put.err) == (0, "")
        assert put.out == "cloud-1 registered\ncloud-2 registered\n"
        assert json.loads(cloud("get", "cloud-1", "--format", "json").out) == first
        assert yaml.safe_load(cloud("get", "cloud-2").out) == second
        assert json.loads(cloud("list", "--format", "json").out) == [first, second]
        table = cloud("list").out.splitlines()
        assert table[1].split() == [
            "cloud-1",
            "region=eu",
            "image",
            "http://127.0.0.1:8080",
            "127.0.0.1:8443",
            "-",
        ]
        assert table[2].split() == ["cloud-2", "region=eu", "image", "-", "-", "-"]
        assert cloud("delete", "cloud-1").out == "cloud-1 deleted\n"
        assert names(cloud) == ["cloud-2"]

    @pytest.mark.parametrize(
        ("bad", "words"),
        [
            ({**document("cloud-2"), "spec": {"portz": 1}}, 'two.yaml:1: spec: "portz"'),
            (document("cloud-1"), "cloud-1 stands in "),
            ({"kind": "Potato"}, "two.yaml:1: apiVersion: is missing"),
        ],
    )
    def test_put_writes_nothing_if_one_manifest_is_bad(
        self, cloud: Callable[..., Any], write: Callable[..., Path], bad: dict[str, Any], words: str
    ) -> None:
        good = write("one.yaml", document("cloud-1"), document("cloud-3"))
        outcome = cloud("put", good, write("two.yaml", bad))

        assert (outcome.status, outcome.out) == (1, "")
        assert outcome.err.startswith("scopeway: nothing was written\n")
        assert words in outcome.err
        assert names(cloud) == []

    def test_check_finds_what_put_would_refuse_and_writes_nothing(
        self, cloud: Callable[..., Any], write: Callable[..., Path]
    ) -> None:
        good = write("good.yaml", document("cloud-1"), document("cloud-2"))
        sensor = document("cloud-3", services={"sensor": {"endpoints": [at(9292)]}})
        bad = write("bad.yaml", sensor)
        accepted, refused = cloud("check", good), cloud("check", good, bad)

        assert (accepted.status, accepted.err) == (0, "")
        assert accepted.out == "cloud-1 is accepted\ncloud-2 is accepted\n"
        assert (refused.status, refused.out) == (1, "")
        assert refused.err == cloud("put", good, bad).err
        assert names(cloud) == []

    def test_put_reports_every_bad_manifest(
        self, cloud: Callable[..., Any], write: Callable[..., Path]
    ) -> None:
        outcome = cloud("put", write("all.yaml", {"kind": "A"}, {"kind": "B"}))

        assert len(outcome.err.splitlines()) == 3

    @pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"# nothing\n---\n", b"a: [1"])
    def test_a_file_that_is_no_manifest_is_an_error_of_one_sentence(
        self, cloud: Callable[..., Any], tmp_path: Path, content: bytes
    ) -> None:
        file = tmp_path / "file.yaml"
        file.write_bytes(content)
        outcome = cloud("put", file)

        assert (outcome.status, outcome.out) == (1, "")
        assert outcome.err.startswith("scopeway: ")
        assert str(file) in outcome.err
        assert "Traceback" not in outcome.err

    def test_put_reports_a_file_without_a_manifest_beside_good_ones(
        self, cloud: Callable[..., Any], write: Callable[..., Path], tmp_path: Path
    ) -> None:
        empty = tmp_path / "empty.yaml"
        empty.touch()
        outcome = cloud("put", write("one.yaml", document("cloud-1")), empty)

        assert (outcome.status, outcome.out) == (1, "")
        assert outcome.err == f"scopeway: nothing was written\n{empty}: holds no manifest\n"
        assert names(cloud) == []

    def test_getting_an_unknown_cloud_is_status_1(self, cloud: Callable[..., Any]) -> None:
        for outcome in (cloud("get", "cloud-9"), cloud("delete", "cloud-9")):
            assert (outcome.status, outcome.out) == (1, "")
            assert outcome.err == "scopeway: no cloud is named cloud-9\n"

    def test_delete_removes_the_known_clouds_and_reports_the_unknown_ones(
        self, cloud: Callable[..., Any], write: Callable[..., Path]
    ) -> None:
        cloud("put", write("one.yaml", document("cloud-1"), document("cloud-2")))
        outcome = cloud("delete", "cloud-1", "cloud-9", "cloud-2")

        assert outcome.status == 1
        assert outcome.out == "cloud-1 deleted\ncloud-2 deleted\n"
        assert outcome.err == "scopeway: no cloud is named cloud-9\n"

    def test_a_cordon_survives_registrations_and_is_listed(
        self, cloud: Callable[..., Any], write: Callable[..., Path]
    ) -> None:
        file = write("one.yaml", document("cloud-1"))
        cloud("put", file)
        cordoned = cloud("cordon", "cloud-1", "--reason", "new disks")
        cloud("put", file)
        listed, shown = cloud("list"), cloud("get", "cloud-1", "--format", "json")

        assert (cordoned.status, cordoned.out, cordoned.err) == (0, "cloud-1 cordoned\n", "")
        assert listed.out.splitlines()[1].endswith("new disks")
        assert listed.err == shown.err == "cordoned: cloud-1: new disks\n"
        assert json.loads(shown.out) == document("cloud-1")
        assert cloud("uncordon", "cloud-1").out == "cloud-1 uncordoned\n"
        assert cloud("list").err == ""

    def test_a_cloud_may_be_cordoned_before_it_is_registered(
        self, cloud: Callable[..., Any]
    ) -> None:
        outcome = cloud("cordon", "cloud-9")

        assert (outcome.status, outcome.out) == (0, "cloud-9 cordoned\n")
        assert outcome.err == "warning: no cloud is named cloud-9 yet\n"
        assert cloud("list").err == "cordoned: cloud-9 (not registered)\n"

    def test_uncordon_lifts_known_cordons_and_reports_the_others(
        self, cloud: Callable[..., Any]
    ) -> None:
        cloud("cordon", "cloud-1")
        outcome = cloud("uncordon", "cloud-9", "cloud-1")

        assert (outcome.status, outcome.out) == (1, "cloud-1 uncordoned\n")
        assert outcome.err == "scopeway: not cordoned: cloud-9\n"

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["Cloud"], 'metadata.name: "Cloud" is not a name'),
            (["cloud-1", "--reason", "a\nb"], 'spec.reason: "a\\nb" is not one line'),
            (["cloud-1", "--reason", "x" * 257], "is longer than 256 characters"),
        ],
    )
    def test_a_bad_cordon_is_not_written(
        self, cloud: Callable[..., Any], arguments: list[str], words: str
    ) -> None:
        outcome = cloud("cordon", *arguments)

        assert (outcome.status, outcome.out) == (1, "")
        assert words in outcome.err
        assert cloud("list").err == ""

    def test_put_refuses_a_cordon(
        self, cloud: Callable[..., Any], write: Callable[..., Path]
    ) -> None:
        outcome = cloud("put", write("c.yaml", cordon_document(Cordon(name="cloud-1"))))

        assert outcome.status == 1
        assert outcome.err.endswith("is a cordon; use `scopeway cloud cordon`\n")

    def test_put_refuses_a_service_type_that_is_not_declared_with_a_suggestion(
        self,
        cloud: Callable[..., Any],
        scopeway: Callable[..., Any],
        registry: str,
        write: Callable[..., Path],
    ) -> None:
        endpoints = {"endpoints": [at(9292)]}
        front = {**at(8080), "ports": {"gauge": 9000}}
        accept = [{"clouds": ["cloud-2"], "services": ["glanc"]}]
        bad = document("cloud-1", services={"sensr": endpoints}, front=front, accept=accept)
        good = document("cloud-2", services={"sensor": endpoints})
        files = write("bad.yaml", bad), write("good.yaml", good)

        undeclared = cloud("put", *files)
        declared = scopeway("service-type", "put", "--registry", registry, write("t.yaml", SENSOR))
        mistyped = cloud("put", *files)
        accepted = cloud("put", files[1])

        assert undeclared.status == mistyped.status == 1
        assert "good.yaml#cloud-2: no such service: 'sensor'\n" in undeclared.err
        assert mistyped.err.splitlines() == [
            "scopeway: nothing was written",
            f"{files[0]}#cloud-1: no such service: 'gauge'",
            f"{files[0]}#cloud-1: no such service: 'glanc'; did you mean 'glance'?",
            f"{files[0]}#cloud-1: no such service: 'sensr'; did you mean 'sensor'?",
            "correct the name, or declare the type first: `scopeway service-type put`",
        ]
        assert (declared.status, accepted.status) == (0, 0)
        assert names(cloud) == ["cloud-2"]

    def test_put_refuses_a_document_of_a_service_type(
        self, cloud: Callable[..., Any], write: Callable[..., Path]
    ) -> None:
        put = cloud("put", write("one.yaml", document("cloud-1"), SENSOR))

        assert put.status == 1
        assert "is a service type; use `scopeway service-type put`" in put.err
        assert names(cloud) == []
