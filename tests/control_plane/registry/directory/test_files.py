import sys
from types import FrameType
from typing import Any

from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.registry.directory import files
from scopeway.control_plane.registry.directory.files import read_manifests

HEAD = "apiVersion: scopeway.io/v1alpha1\nkind: EdgeCloud\n"


def document(name: str, more: str = "") -> str:
    return f"---\n{HEAD}metadata: {{name: {name}}}\n{more}"


def test_a_place_in_a_file_names_the_cloud() -> None:
    found = read_manifests(document("a") + document("b"), "f.yaml")

    assert found.entries == {"f.yaml#a": Cloud(name="a"), "f.yaml#b": Cloud(name="b")}
    assert found.all_identified


def test_a_bad_document_does_not_hide_the_others_of_its_file() -> None:
    found = read_manifests(document("a", "spec: {frnt: 1}") + "\n" + document("b"), "f.yaml")
    bad = found.entries["f.yaml#a"]

    assert isinstance(bad, InvalidCloud)
    assert str(bad) == "f.yaml:1: spec: \"frnt\" is not a field here; did you mean 'front'?"
    assert found.entries["f.yaml#b"] == Cloud(name="b")
    assert found.all_identified


def test_a_document_without_a_name_is_placed_by_its_first_line() -> None:
    found = read_manifests(document("a") + "---\nmetadata:\n  name: b\n  - c\n", "f.yaml")

    assert list(found.entries) == ["f.yaml#a", "f.yaml:5"]
    assert str(found.entries["f.yaml:5"]) == "f.yaml:8: did not find expected key"
    assert not found.all_identified


def test_two_documents_of_one_cloud_in_a_file_have_two_places() -> None:
    found = read_manifests(document("a") + document("a") + document("a"), "f.yaml")

    assert list(found.entries) == ["f.yaml#a", "f.yaml#a (2)", "f.yaml#a (3)"]


def test_many_documents_of_one_cloud_cost_linear_time() -> None:
    def lines(times: int) -> int:
        """The lines of the module that are run."""
        count = 0

        def trace(frame: FrameType, event: str, _argument: Any) -> Any:
            nonlocal count
            count += event == "line"
            return trace if frame.f_code.co_filename == files.__file__ else None

        text = document("a") * times
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            found = read_manifests(text, "f.yaml")
        finally:
            sys.settrace(before)
        assert len(found.entries) == times
        return count

    assert lines(80) <= 8 * lines(10)


def test_a_known_document_is_not_parsed_again() -> None:
    before = read_manifests(document("a") + document("b"), "f.yaml")
    after = read_manifests(document("c") + document("a"), "f.yaml", before.documents)

    assert after.entries["f.yaml#a"] is before.entries["f.yaml#a"]
    assert len(after.documents) == 2


def test_a_byte_order_mark_and_empty_documents_are_ignored() -> None:
    found = read_manifests("\ufeff# mine\n" + document("a") + "---\n# the end\n", "f.yaml")

    assert found.entries == {"f.yaml#a": Cloud(name="a")}


def test_a_file_can_contain_a_cloud_and_a_service_type_of_the_same_name() -> None:
    declared = "---\napiVersion: scopeway.io/v1alpha1\nkind: ServiceType\nmetadata: {name: a}\n"
    found = read_manifests(document("a") + declared, "f.yaml")
    again = read_manifests(declared, "f.yaml", found.documents)
    bad = read_manifests(declared + "spec: {protocol: grpc}\n", "f.yaml")

    assert found.entries == {
        "f.yaml#a": Cloud(name="a"),
        "f.yaml#a service-type": ServiceType(name="a"),
    }
    assert again.entries["f.yaml#a service-type"] is found.entries["f.yaml#a service-type"]
    assert list(bad.entries) == ["f.yaml:1"]
    assert not bad.all_identified


def test_a_file_can_contain_a_cloud_and_its_cordon() -> None:
    cordon = "---\napiVersion: scopeway.io/v1alpha1\nkind: Cordon\nmetadata: {name: a}\n"
    found = read_manifests(document("a") + cordon, "f.yaml")
    again = read_manifests(cordon, "f.yaml", found.documents)

    assert found.entries == {"f.yaml#a": Cloud(name="a"), "f.yaml#a cordon": Cordon(name="a")}
    assert again.entries["f.yaml#a cordon"] is found.entries["f.yaml#a cordon"]
