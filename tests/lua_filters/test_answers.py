"""Answers of Keystones: the Lua that edits or withholds them."""

import json
from typing import Any

import pytest

FRONT = {"url": "http://10.0.0.1:8080", "ports": {}}
TOKENS = "/identity/v3/auth/tokens"
SUBJECT = {"x-subject-token": "t~1~identity:cloud-2"}
HONOURED = {"x-scopeway-honoured": "0123456789abcdef;member"}
USER = {"id": "u", "domain": {"id": "default"}}
ROLES = [{"name": "admin"}, {"name": "member"}]
BODY = json.dumps({"token": {"user": USER, "roles": ROLES}})


@pytest.fixture
def front(new_filter: Any) -> Any:
    return new_filter("front", front=FRONT)


def roles(answered: Any) -> list[str]:
    return [role["name"] for role in json.loads(answered.body)["token"]["roles"]]


def validation(front: Any, **more: Any) -> Any:
    return front.request(TOKENS, SUBJECT, **more)


def answered(front: Any, request: Any, body: str | None = BODY, **headers: str) -> Any:
    return front.response(request, {":status": "200", **HONOURED, **headers}, body=body)


OWN = {"x-auth-token": "t~1~identity:cloud-2", **SUBJECT}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (TOKENS, {"x-scope": "{keystone:cloud-2}"}),
        (TOKENS, {"x-scope": ""}),
        (f"/~{{keystone:cloud-2}}{TOKENS}", {}),
        (f"/~{{}}{TOKENS}?nocatalog", {}),
    ],
)
def test_a_user_who_validates_her_own_token_gets_the_unchanged_answer(
    front: Any, path: str, said: dict[str, str]
) -> None:
    request = front.request(path, OWN | said)
    passed = answered(front, request)

    assert passed.body == BODY
    assert passed.headers == {":status": "200", "content-type": "application/json"}
    for status in ("401", "403"):
        assert (
            answered(front, request, body="no", **{":status": status}).headers[":status"] == status
        )
    assert answered(front, request, **{":status": "302"}).headers[":status"] == "502"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (TOKENS, OWN),
        (TOKENS, {"x-scope": "", **SUBJECT}),
        (TOKENS, {"x-scope": "", "x-auth-token": "u", **SUBJECT}),
        (f"/~{{}}{TOKENS}", {"x-auth-token": "T", **SUBJECT}),
    ],
)
def test_any_other_validation_gets_the_edited_answer(
    front: Any, path: str, headers: dict[str, str]
) -> None:
    assert json.loads(answered(front, front.request(path, headers)).body)["token"]["roles"] == [
        {"name": "member"}
    ]


def test_every_concurrent_validation_is_edited(front: Any) -> None:
    requests = [validation(front) for _ in range(3)]
    other = front.request("/image/v2")

    assert front.response(other, {":status": "200"}, body=BODY).body == BODY
    for request in reversed(requests):
        edited = answered(front, request)
        assert roles(edited) == ["member"]
        assert edited.headers == {":status": "200", "content-type": "application/json"}


def test_answers_of_other_services_are_not_read(front: Any) -> None:
    validation(front)
    other = front.response(front.request("/image/v2"), {":status": "200"}, body=BODY)

    assert not other.body_was_read


def test_without_an_identity_mapping_every_answer_is_withheld(front: Any) -> None:
    refused = front.response(validation(front), {":status": "200"}, body=BODY)

    assert refused.headers == {":status": "502", "content-type": "application/json"}
    assert json.loads(refused.body)["error"]["code"] == 502


def test_a_withheld_answer_keeps_only_the_header_that_names_its_cloud(front: Any) -> None:
    served_by = {"x-scopeway-served-by": "cloud-2"}
    more = {"x-subject-token": "t", "x_subject_token": "t", "set-cookie": "a", "x-anything": "b"}
    refused = answered(front, validation(front), "[]", **served_by, **more)

    assert refused.headers == {
        ":status": "502",
        "content-type": "application/json",
        **served_by,
    }


def test_an_answer_announced_above_the_limit_is_not_read(front: Any) -> None:
    refused = answered(front, validation(front), body="", **{"content-length": "524289"})

    assert refused.headers[":status"] == "502"


@pytest.mark.parametrize("length", ["0", "9"])
def test_an_answer_without_a_body_is_refused(front: Any, length: str) -> None:
    """Whatever length its header announces."""
    refused = answered(front, validation(front), body=None, **{"content-length": length})

    assert refused.headers[":status"] == "502"
    assert "the identity service's answer is empty" in refused.body
    assert not refused.log


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("rejected", "sentence"),
    [
        ("false", "the Keystone that issued the token does not let it validate itself"),
        ("true", "the cloud that issued the token does not let this one validate it"),
    ],
)
def test_a_403_for_a_validation_becomes_a_404(
    front: Any, method: str, rejected: str, sentence: str
) -> None:
    """Services take a 403 for a broken Keystone, and answer 503."""
    headers = {":status": "403", "x-scopeway-rejected": rejected}
    passed = answered(front, validation(front, method=method), body="no", **headers)

    assert passed.headers[":status"] == "404"
    assert sentence in passed.body


@pytest.mark.parametrize("status", ["404", "429", "500", "503"])
def test_an_error_of_a_keystone_is_passed_on(front: Any, status: str) -> None:
    passed = answered(front, validation(front), body="no", **{":status": status})

    assert (passed.headers, passed.body) == ({":status": status}, "no")


@pytest.mark.parametrize("status", ["201", "203", "204", "206", "300", "302", "304", "100", "101"])
def test_any_other_status_of_a_validation_is_withheld(front: Any, status: str) -> None:
    headers = {":status": status, "location": "http://evil.example", "x-subject-token": "t"}
    refused = answered(front, validation(front), **headers)

    assert refused.headers == {":status": "502", "content-type": "application/json"}


@pytest.mark.parametrize("broken", ["streamInfo", "get", "getBytes", "length"])
def test_an_error_of_the_filter_withholds_the_answer(front: Any, broken: str) -> None:
    request = validation(front)
    refused = front.response(request, {":status": "200", **HONOURED}, body=BODY, broken=broken)

    assert refused.headers[":status"] == "502"
    assert "admin" not in refused.body


def test_a_login_at_the_local_keystone_is_not_read(front: Any) -> None:
    request = front.request(TOKENS, {"x-scope": "glance:cloud-2"}, method="POST", body="{}")
    passed = front.response(request, {":status": "201", "x-subject-token": "t"}, body=BODY)

    assert not passed.body_was_read


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"token": {"catalog": [], "roles": []}}', "201"),
        ('{"token": {"x":   1}}', "201"),
        ("<html>", "502"),
        ("false", "201"),
        ('{"token": {"catalog": {}}}', "502"),
    ],
)
def test_the_answer_of_a_login_elsewhere_is_read_for_its_catalog(
    front: Any, body: str, status: str
) -> None:
    request = front.request(TOKENS, {"x-scope": "keystone:cloud-2"}, method="POST", body="{}")
    edited = front.response(request, {":status": "201", "x-subject-token": "t"}, body=body)

    assert edited.headers[":status"] == status
    assert (edited.body == body) is (status == "201")
    assert ("x-subject-token" in edited.headers) is (status == "201")


@pytest.mark.parametrize("token", [{}, {"catalog": []}, {"catalog": ["other"]}, None, 1])
@pytest.mark.parametrize("status", ["200", "201", "203"])
@pytest.mark.parametrize("place", ["catalog", "login"])
def test_a_catalog_is_rewritten_to_the_front_at_any_place_of_the_answer(
    front: Any, place: str, status: str, token: object
) -> None:
    theirs = [{"type": "image", "endpoints": [{"url": "http://evil.example/v2"}]}]
    body = json.dumps({"token": token, "catalog": theirs}).replace('["other"]', json.dumps(theirs))
    scope = {"x-scope": "keystone:cloud-2"}
    if place == "catalog":
        request = front.request("/identity/v3/auth/catalog", scope)
    else:
        request = front.request(TOKENS, scope, method="POST", body="{}")
    edited = front.response(request, {":status": status, "x-subject-token": "t"}, body=body)

    assert edited.headers[":status"] == status
    assert "evil.example" not in edited.body
    assert "http://10.0.0.1:8080/image/v2" in edited.body


def test_a_malformed_catalog_is_withheld(front: Any) -> None:
    request = front.request("/identity/v3/auth/catalog", {"x-scope": "keystone:cloud-2"})
    for body in (
        '{"catalog": false}',
        '{"catalog": null}',
        '{"catalog": [], "token": {"catalog": 1}}',
    ):
        assert front.response(request, {":status": "200"}, body=body).headers[":status"] == "502"


@pytest.mark.parametrize("status", ["100", "300", "302", "308"])
def test_a_redirect_in_place_of_a_catalog_is_withheld(front: Any, status: str) -> None:
    scope = {"x-scope": "keystone:cloud-2"}
    for request in (
        front.request("/identity/v3/auth/catalog", scope),
        front.request(TOKENS, scope, method="POST", body="{}"),
    ):
        headers = {":status": status, "location": "http://evil.example", "x-subject-token": "t"}
        refused = front.response(request, headers, body="{}")

        assert refused.headers == {":status": "502", "content-type": "application/json"}
