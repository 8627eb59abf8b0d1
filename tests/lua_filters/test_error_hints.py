"""Hints in the errors of services to users of another cloud."""

import json
import time
from typing import Any

import pytest

TOKEN = {"x-auth-token": "t~1~*:cloud-1;image:cloud-2"}
AT_SWIFT = "t~1~*:cloud-1;object-store:cloud-2"
SERVED = {"x-scopeway-served-by": "cloud-2"}
HINT = (
    " (of cloud-1, only the roles count at cloud-2 that its accept[].identity lists, "
    "by default member and reader)"
)


ID = "0123456789abcdef0123456789abcdef"


def answered(
    front: Any, status: str, body: str | None, path: str = "/image/v2/images", **headers: str
) -> Any:
    request = front.request(path, TOKEN)
    length = {"content-length": str(len(body or ""))}
    return front.response(request, {":status": status, **SERVED, **length, **headers}, body=body)


def test_a_401_for_a_foreign_user_lists_the_possible_reasons(front: Any) -> None:
    said = answered(front, "401", "<html>", **{"content-encoding": "gzip"})
    error = json.loads(said.body)["error"]

    assert error["code"] == 401
    assert error["message"] == (
        "cloud-2 does not accept this token of cloud-1: it has expired or was revoked, it is of "
        "a trust that impersonates, or cloud-2 "
        "does not honour identities of cloud-1 (accept[].identity)"
    )
    assert (said.headers[":status"], said.headers["x-scopeway-rejected"]) == ("401", "true")
    assert "content-encoding" not in said.headers


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (f"images/1/members/{ID}?owner=x", f"{ID} in its path is taken for an id of cloud-1; "),
        (f"images/1/members/{ID}@cloud-2", f"{ID} in its path is taken for an id of cloud-2; "),
        (f"images?a=b&owner={ID}%40home", f"{ID} in its query is taken for an id of home; "),
        (f"tasks/{ID}", f"{ID} in its path goes unchanged to cloud-2, which may know it by "),
        (f"tasks/a/{ID}/b?x={'a' * 32}", f"{ID} in its path goes unchanged to cloud-2, which "),
        (f"images?name={ID}", "of cloud-1, only"),
        (f"images/{ID}x/{ID}@cloud-2", "of cloud-1, only"),
        (f"images?name=a/{ID}", "of cloud-1, only"),
        ("images/1/members/me", "of cloud-1, only"),
    ],
)
def test_a_403_for_a_request_with_an_id_names_the_id(front: Any, path: str, words: str) -> None:
    """The service may have refused the project, and not the role."""
    said = answered(front, "403", '{"message": "no"}', f"/image/v2/{path}")

    assert json.loads(said.body)["message"].startswith(f"no ({words}")
    assert said.body.endswith(f'{HINT[2:]}"}}')


def test_an_object_name_that_looks_like_an_id_is_not_named(new_filter: Any) -> None:
    front = new_filter("front")
    request = front.request(f"/object-store/v1/AUTH_{ID}/{ID}/{ID}", {"x-auth-token": AT_SWIFT})
    said = front.response(
        request, {":status": "403", **SERVED, "content-length": "9"}, body='{"message": "no"}'
    )

    assert json.loads(said.body)["message"] == f"no{HINT}"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            '{"forbidden": {"message": "no \\"way\\" \\\\", "code": 403}}',
            f'{{"forbidden": {{"message": "no \\"way\\" \\\\{HINT}", "code": 403}}}}',
        ),
        (
            "<html>\n <body>\n no way<br />\n </body>\n</html>",
            f"<html>\n <body>\n no way<br />{HINT}\n </body>\n</html>",
        ),
        ("</body> </body>", f"{HINT}\n </body> </body>"),
        ("a \t\r\n\v\f </body>", f"a{HINT}\n </body>"),
        ('{"message": "cut', '{"message": "cut'),
        ('{"message": 1}', '{"message": 1}'),
        ("no", "no"),
    ],
)
def test_a_403_keeps_its_message_and_gets_a_hint(front: Any, body: str, expected: str) -> None:
    said = answered(front, "403", body)

    assert (said.body, said.headers[":status"]) == (expected, "403")


def test_blanks_in_a_403_cost_no_more_than_letters(front: Any) -> None:
    """While it looks at an answer, a worker of Envoy serves nobody else."""

    def cost(body: str) -> float:
        start = time.thread_time()
        answered(front, "403", body)
        return time.thread_time() - start

    assert cost(" " * 16_384) < 100 * cost("a" * 16_384)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("200", {}),
        ("404", {}),
        ("500", {}),
        ("401", {"x-scopeway-rejected": "true"}),
        ("403", {"x-scopeway-rejected": "true"}),
        ("401", {"x-scopeway-served-by": "cloud-1"}),  # of an `|`, the user's own cloud
        ("403", {"content-encoding": "gzip"}),
        ("403", {"content-length": "65537"}),
    ],
)
def test_other_answers_to_foreign_users_pass_unread(
    front: Any, status: str, headers: dict[str, str]
) -> None:
    body = '{"x": {"message": "no"}}'
    said = answered(front, status, body, **headers)

    assert said.body == body
    assert not said.body_was_read


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-auth-token": "t"},
        {"x-auth-token": "t~1~*:cloud-1"},
        {"x-scope": "{glance:cloud-2}"},
        {"x-auth-token": "t~1~*:cloud-2"},
    ],
    ids=str,
)
def test_answers_to_local_users_and_without_a_token_are_not_read(front: Any, headers: Any) -> None:
    assert "x-scopeway-answer" not in front.request("/image/v2", headers).headers


@pytest.mark.parametrize("length", [None, "65537", "", "0x1"])
def test_a_401_without_a_known_length_is_not_read(front: Any, length: str | None) -> None:
    """Otherwise, a service could make the front buffer any amount for any time."""
    headers = {":status": "401", "x-scopeway-served-by": "cloud-3"}
    if length is not None:
        headers["content-length"] = length
    asked = front.request("/image", {"x-scope": "glance:cloud-3", "x-auth-token": "t"})
    said = front.response(asked, headers, body="<html>")

    assert (said.headers, said.body) == (headers, "<html>")
    assert not said.body_was_read
