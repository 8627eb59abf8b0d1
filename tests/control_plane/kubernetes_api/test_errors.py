from typing import Any

import pytest

from scopeway.control_plane.kubernetes_api import paths
from scopeway.control_plane.kubernetes_api.errors import MAX_TEXT, ApiError, one_line, status_error

FORBIDDEN = {
    "reason": "Forbidden",
    "message": 'edgeclouds.scopeway.io is forbidden: User "x" cannot list resource "edgeclouds"',
}
MISSING = {"reason": "NotFound", "message": "not found", "details": {"name": "a", "kind": "x"}}


def error(code: int, status: dict[str, Any], **more: Any) -> ApiError:
    request = {"method": "GET", "path": paths.EDGE_CLOUDS} | more
    return status_error("here", code=code, status=status, **request)


def test_a_refusal_names_the_place_the_right_and_how_to_grant_it() -> None:
    refusal = error(403, FORBIDDEN, verb="list")

    assert str(refusal) == (
        f"here: denies access: {FORBIDDEN['message']}; "
        "grant list on edgeclouds of scopeway.io to this user by a ClusterRole"
    )
    assert refusal.is_refused


def test_a_refused_write_of_status_names_the_subresource() -> None:
    refusal = error(403, FORBIDDEN, method="PATCH", path=f"{paths.EDGE_CLOUDS}/a/status")

    assert "grant patch on edgeclouds/status of scopeway.io" in str(refusal)


def test_a_resource_that_the_api_server_does_not_know_names_the_definitions() -> None:
    unknown = error(404, {"message": "404 page not found"})

    assert str(unknown) == (
        "here: does not know edgeclouds of scopeway.io/v1alpha1; install the custom resource "
        "definitions: kubectl apply -k deploy/crds"
    )
    assert unknown.is_refused
    assert not unknown.is_missing


def test_an_object_that_does_not_exist_is_missing_and_no_refusal() -> None:
    missing = error(404, MISSING, path=f"{paths.EDGE_CLOUDS}/a")

    assert missing.is_missing
    assert not missing.is_refused


@pytest.mark.parametrize(("code", "reason"), [(410, "Expired"), (410, ""), (500, "Expired")])
def test_a_compacted_version_is_gone(code: int, reason: str) -> None:
    assert error(code, {"reason": reason}).is_gone
    assert not error(409, {"reason": "Conflict"}).is_gone
    assert error(409, {"reason": "Conflict"}).is_conflict


def test_an_unknown_login_is_refused_without_a_word_of_it() -> None:
    assert str(error(401, {"message": "Unauthorized"})) == (
        "here: denies access: it accepts neither a token nor a certificate of this login"
    )


def test_text_from_outside_is_one_short_printable_line() -> None:
    text = str(error(500, {"message": "a\n\x1b[31mred" + "x" * 10_000}))

    assert text.isprintable()
    assert text.startswith("here: answered 500: a [31mred")
    assert len(one_line("y" * 10_000)) == MAX_TEXT


def test_an_error_keeps_its_first_place() -> None:
    assert str(ApiError("is away").at("a").at("b")) == "a: is away"
