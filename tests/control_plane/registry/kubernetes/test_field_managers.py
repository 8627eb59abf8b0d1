"""What other field managers own of an object, and the sentence about it."""

from typing import Any

import pytest

from scopeway.control_plane.registry.kubernetes.field_managers import (
    MANAGER,
    conflicts,
    foreign_fields,
    owners_sentence,
    removal,
)

SPEC = {"f:front": {".": {}, "f:port": {}, "f:tls": {"f:key": {}}}, "f:accept": {}}
DOCUMENT = {"metadata": {"name": "a", "labels": {"tier": "x"}}, "spec": {"front": {"port": 1}}}


def stored(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"managedFields": list(entries)}}


def owned(manager: str, fields: dict[str, Any], **more: str) -> dict[str, Any]:
    return {"manager": manager, "fieldsV1": fields, **more}


def test_fields_that_the_document_lacks_are_found_with_their_owner() -> None:
    found = foreign_fields(DOCUMENT, stored(owned("kubectl", {"f:spec": SPEC})), labels=True)

    assert found == {("spec", "front", "tls"): "kubectl", ("spec", "accept"): "kubectl"}
    assert removal(found) == {"spec": {"front": {"tls": None}, "accept": None}}


def test_a_whole_spec_of_others_is_one_field() -> None:
    document = {"metadata": {"name": "a"}}
    found = foreign_fields(document, stored(owned("kubectl", {"f:spec": SPEC})), labels=True)

    assert removal(found) == {"spec": None}


@pytest.mark.parametrize(
    "entry",
    [
        owned(MANAGER, {"f:spec": SPEC}),
        owned("scopeway", {"f:status": {"f:conditions": {}}}, subresource="status"),
        owned("helm", {"f:metadata": {"f:annotations": {"f:x": {}}, "f:labels": {"f:a/b": {}}}}),
        owned("kubectl", {"f:spec": {"f:front": {"f:port": {}}}}),
        owned("kubectl", {}),
        {},
    ],
    ids=["own", "status", "metadata", "same", "empty", "nothing"],
)
def test_fields_of_no_concern_are_left_out(entry: dict[str, Any]) -> None:
    assert foreign_fields(DOCUMENT, stored(entry), labels=True) == {}


@pytest.mark.parametrize("labels", [True, False])
def test_labels_count_where_they_belong_to_the_document(labels: bool) -> None:
    keys = {".": {}, "f:tier": {}, "f:region": {}, "f:app.kubernetes.io/name": {}}
    entry = owned("argocd", {"f:metadata": {"f:labels": keys}})
    found = foreign_fields(DOCUMENT, stored(entry), labels=labels)

    assert found == ({("metadata", "labels", "region"): "argocd"} if labels else {})


def test_conflicts_are_read_from_the_causes_of_a_status() -> None:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "argocd-controller" using scopeway.io/v1alpha1',
            "field": ".spec.front.port",
        },
        {"reason": "FieldManagerConflict", "message": "words of another version", "field": ".spec"},
        {"reason": "FieldValueInvalid", "message": "x", "field": "y"},
    ]

    assert conflicts({"details": {"causes": causes}}) == {
        ("spec", "front", "port"): "argocd-controller",
        ("spec",): "another",
    }


@pytest.mark.parametrize(
    "status", [{}, {"details": None}, {"details": {"causes": 7}}, {"details": {"causes": ["x"]}}]
)
def test_a_status_without_causes_has_no_conflicts(status: dict[str, Any]) -> None:
    assert conflicts(status) == {}


def test_a_sentence_names_the_first_fields_and_every_manager_once() -> None:
    fields = {("spec", name): f"manager-{name > 'c'}" for name in "abcdefgh"}

    assert owners_sentence(fields) == (
        "spec.a, spec.b, spec.c, spec.d, spec.e and 3 more are owned by the field managers "
        "manager-False, manager-True"
    )
    assert owners_sentence({("spec",): "kubectl"}) == "spec is owned by the field manager kubectl"


def test_a_sentence_shows_unknown_fields_escaped_and_cut() -> None:
    sentence = owners_sentence({("spec", "a\n\x1b[31m"): "x", ("spec", "b" * 10_000): "x"})

    assert sentence.startswith("spec.a\\n\\x1b[31m, spec.bbb")
    assert len(sentence) < 400
