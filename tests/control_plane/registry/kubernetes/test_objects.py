import json
from typing import Any

import pytest

from registry_model import a_cloud
from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.document import to_document
from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.registry.documents import MAX_BYTES
from scopeway.control_plane.registry.kubernetes.objects import (
    CORDONS,
    EDGE_CLOUDS,
    MAX_CONDITIONS,
    MAX_CONDITIONS_BYTES,
    SERVICE_TYPES,
    SeenObject,
    entry_of,
    see,
)


def stored(spec: Any = None, *, labels: dict[str, str] | None = None, **more: Any) -> bytes:
    """Return an object as an API server stores it."""
    spec = to_document(a_cloud("a"))["spec"] if spec is None else spec
    metadata = {
        "name": "a",
        "uid": "1-2-3",
        "generation": 7,
        "resourceVersion": "42",
        "labels": labels or {},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
        "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
        "ownerReferences": [{"kind": "ConfigMap", "name": "b"}],
    }
    document = {"apiVersion": "scopeway.io/v1alpha1", "kind": "EdgeCloud", "metadata": metadata}
    return json.dumps(document | {"spec": spec} | more).encode()


def with_conditions(conditions: Any) -> SeenObject:
    return see(EDGE_CLOUDS, stored(status={"conditions": conditions}))


def test_a_cloud_has_its_name_its_own_labels_and_its_spec() -> None:
    seen = see(EDGE_CLOUDS, stored(labels={"region": "eu", "helm.sh/chart": "x"}))

    assert seen.entry() == a_cloud("a", region="eu")
    assert (seen.place, seen.version) == ("edgeclouds/a", "42")
    assert (seen.observed.uid, seen.observed.generation) == ("1-2-3", 7)


def test_a_cordon_and_a_service_type_have_no_labels() -> None:
    cordon = see(CORDONS, stored({"reason": "why"}, labels={"a": "b"}))
    service_type = see(SERVICE_TYPES, stored({"aliases": ["b"]}, labels={"a": "b"}))

    assert cordon.entry() == Cordon(name="a", reason="why")
    assert service_type.entry() == ServiceType(name="a", aliases=("b",))
    assert (cordon.place, service_type.place) == ("cordons/a", "servicetypes/a")


def test_only_what_is_read_changes_the_digest() -> None:
    seen = see(EDGE_CLOUDS, stored(labels={"helm.sh/chart": "1"}, status={"conditions": []}))

    assert seen.digest == see(EDGE_CLOUDS, stored(labels={"helm.sh/chart": "2"})).digest
    assert seen.digest != see(EDGE_CLOUDS, stored(labels={"chart": "1"})).digest


@pytest.mark.parametrize("more", [{"accept": []}, {"specs": {}}])
def test_an_unknown_field_beside_the_spec_is_refused(more: dict[str, Any]) -> None:
    entry = see(EDGE_CLOUDS, stored(**more)).entry()

    assert isinstance(entry, InvalidCloud)
    assert entry.name == "a"
    assert f'"{next(iter(more))}" is not a field here' in str(entry)


@pytest.mark.parametrize("spec", [[], "text", {"services": None}])
def test_a_spec_of_another_form_is_refused_with_the_place(spec: Any) -> None:
    entry = see(EDGE_CLOUDS, stored(spec)).entry()

    assert isinstance(entry, InvalidCloud)
    assert str(entry).startswith("edgeclouds/a: ")


def test_a_manifest_that_is_too_long_is_refused() -> None:
    entry = see(EDGE_CLOUDS, stored({"text": "x" * MAX_BYTES})).entry()

    assert isinstance(entry, InvalidCloud)
    assert f"longer than {MAX_BYTES} bytes" in str(entry)


@pytest.mark.parametrize("levels", [900, 990, 2_000, 10_000])
def test_an_object_that_is_nested_too_deep_is_refused_for_its_field(levels: int) -> None:
    deep = stored(strange="deep").replace(b'"deep"', b"[" * levels + b"]" * levels)

    assert "strange" in str(see(EDGE_CLOUDS, deep).entry())


def test_conditions_are_read_when_they_are_wanted() -> None:
    condition = {"type": "Accepted", "status": "True", "observedGeneration": 7}

    assert with_conditions([condition]).observed.conditions == (condition,)
    assert see(EDGE_CLOUDS, stored()).observed.conditions == ()


@pytest.mark.parametrize(
    "conditions", [None, "text", {"a": 1}, [{"message": "x" * MAX_CONDITIONS_BYTES}]]
)
def test_conditions_of_another_form_or_length_count_as_none(conditions: Any) -> None:
    assert with_conditions(conditions).observed.conditions == ()


def test_of_many_conditions_the_first_are_read() -> None:
    found = with_conditions([{"type": str(each)} for each in range(100)] + ["text"]).observed

    assert [each["type"] for each in found.conditions] == [str(at) for at in range(MAX_CONDITIONS)]


def test_a_status_of_another_form_counts_as_none() -> None:
    assert see(EDGE_CLOUDS, stored(status="text")).observed.conditions == ()


def test_equal_objects_are_observed_as_equal() -> None:
    assert see(EDGE_CLOUDS, stored()).observed == see(EDGE_CLOUDS, stored()).observed


def test_a_document_of_the_client_has_an_entry() -> None:
    assert entry_of(EDGE_CLOUDS, json.loads(stored())) == ("edgeclouds/a", a_cloud("a"))
    place, entry = entry_of(EDGE_CLOUDS, {"metadata": {}})
    assert (place, str(entry)) == ("edgeclouds", "edgeclouds: is not an object of Kubernetes")
