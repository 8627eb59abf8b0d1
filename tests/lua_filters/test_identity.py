"""Identity: Keystone never gets a scope, and returned tokens carry one."""

import json
from typing import Any

import pytest

from lua_envoy import make_filter

TOKEN = "gAAAAABk"
COMPLETED = "*:cloud-1;identity:cloud-1;image:cloud-3"
FOREIGN = "*:cloud-2;image:cloud-3"
TOKENS = "/identity/v3/auth/tokens"
TARGET = "x-scopeway-target"


def login(token: str) -> str:
    return json.dumps({"auth": {"identity": {"methods": ["token"], "token": {"id": token}}}})


class TestStripping:
    """The scope goes out of everything that Keystone reads."""

    @pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "POST", "PATCH"])
    @pytest.mark.parametrize("path", ["/v3/auth/tokens", "/v3/users", "/v3/auth/tokens?a=b"])
    def test_both_token_headers_are_stripped_of_their_scope(
        self, front: Any, method: str, path: str
    ) -> None:
        headers = {"x-auth-token": f"a~1~{COMPLETED}", "x-subject-token": f"b~1~{COMPLETED}"}
        sent = front.request(f"/identity{path}", headers, method=method).headers

        assert (sent["x-auth-token"], sent["x-subject-token"]) == ("a", "b")
        assert sent[TARGET] == "identity@cloud-1"
        assert sent[":path"] == path

    def test_a_scope_from_the_header_is_not_added_to_tokens_for_keystone(self, front: Any) -> None:
        headers = {"x-auth-token": "a", "x-subject-token": "b", "x-scope": f"{FOREIGN}"}
        sent = front.request(TOKENS, headers, method="DELETE").headers

        assert (sent["x-auth-token"], sent["x-subject-token"]) == ("a", "b")
        assert sent[TARGET] == "identity@cloud-2"

    def test_the_token_in_a_login_body_is_stripped_of_its_scope(self, front: Any) -> None:
        sent = front.request(TOKENS, method="POST", body=login(f"{TOKEN}~1~{COMPLETED}"))

        assert sent.body == login(TOKEN)

    def test_the_scope_of_the_token_in_a_login_is_that_of_the_request(self, front: Any) -> None:
        sent = front.request(TOKENS, method="POST", body=login(f"{TOKEN}~1~{FOREIGN}"))

        assert sent.headers[TARGET] == "identity@cloud-2"

    def test_the_scope_header_wins_over_the_token_in_a_login(self, front: Any) -> None:
        headers = {"x-scope": "keystone:cloud-3"}
        sent = front.request(TOKENS, headers, method="POST", body=login(f"{TOKEN}~1~{FOREIGN}"))

        assert sent.headers[TARGET] == "identity@cloud-3"
        assert sent.body == login(TOKEN)

    @pytest.mark.parametrize("path", ["/identity/v3/users", "/identity/v3/auth/tokens/OS-PKI"])
    def test_bodies_of_other_identity_requests_are_not_read(self, front: Any, path: str) -> None:
        sent = front.request(path, method="POST", body=login(f"{TOKEN}~1~{COMPLETED}"))

        assert not sent.body_was_read

    def test_a_login_body_of_the_maximum_length_is_read(self, front: Any) -> None:
        body = login(f"{TOKEN}~1~{COMPLETED}").ljust(65536)
        sent = front.request(TOKENS, method="POST", body=body)

        assert sent.body == login(TOKEN).ljust(
            len(login(TOKEN)) + 65536 - len(login(f"{TOKEN}~1~{COMPLETED}"))
        )

    def test_a_login_body_above_the_limit_is_refused(self, front: Any) -> None:
        assert front.refusal(TOKENS, method="POST", body=" " * 65537)[0] == 413

    def test_a_login_body_announced_above_the_limit_is_not_read(self, front: Any) -> None:
        sent = front.request(TOKENS, {"content-length": "65537"}, method="POST", body="")

        assert sent.answer is not None
        assert sent.answer.status == 413
        assert not sent.body_was_read

    def test_a_login_body_on_a_route_without_a_limit_is_not_read(self, front: Any) -> None:
        """The route that bounds it was not chosen, for whatever reason."""
        sent = front.request(TOKENS, method="POST", body="{}", route="target")

        assert sent.answer is not None
        assert sent.answer.status == 500
        assert not sent.body_was_read

    @pytest.mark.parametrize(
        ("announced", "status"), [("2", None), ("65536", None), ("65537", 500), (None, 500)]
    )
    def test_a_login_on_an_earlier_route_needs_a_content_length(
        self, front: Any, announced: str | None, status: int | None
    ) -> None:
        """Earlier routes have no names; during an upgrade they run this Lua for a moment."""
        headers = {} if announced is None else {"content-length": announced}
        sent = front.request(TOKENS, headers, method="POST", body="{}", route="")

        assert (sent.answer.status if sent.answer else None) == status
        assert sent.body_was_read is (status is None)

    @pytest.mark.parametrize(
        ("method", "path", "limit"),
        [
            ("POST", TOKENS, "login"),
            ("POST", f"/~{{image:a}}{TOKENS}?a=b", "login"),
            ("GET", TOKENS, "validation"),
            ("HEAD", f"{TOKENS}?allow_expired=1", "validation"),
            ("DELETE", TOKENS, None),
            ("GET", "/identity/v3/users", None),
        ],
    )
    @pytest.mark.parametrize("scope", ["", "keystone:cloud-2"])
    def test_logins_and_validations_at_the_front_have_a_time_limit(
        self, front: Any, method: str, path: str, limit: str | None, scope: str
    ) -> None:
        headers = {"x-scope": scope} if scope else {}

        assert front.request(path, headers, method=method).headers.get("x-scopeway-limit") == limit

    def test_a_login_without_a_body_is_forwarded(self, front: Any) -> None:
        assert front.request(TOKENS, method="POST").headers[TARGET] == "identity@cloud-1"

    @pytest.mark.parametrize("token", ["t~2~image:a", "t~1~image:a~1~image:b", "t~1~\u00ff"])
    @pytest.mark.parametrize("place", ["x-auth-token", "x-subject-token", "body"])
    def test_a_malformed_token_is_refused_wherever_it_is_sent(
        self, front: Any, token: str, place: str
    ) -> None:
        if place == "body":
            body = login("X").replace("X", token)
            assert front.refusal(TOKENS, method="POST", body=body)[0] == 400
        else:
            assert front.refusal(TOKENS, {place: token})[0] == 400

    def test_two_scope_headers_at_identity_are_refused(self, front: Any) -> None:
        headers = [("x-scope", "glance:a"), ("x-scope", "nova:b")]

        assert front.refusal(TOKENS, headers) == (400, "more than one X-Scope header")

    @pytest.mark.parametrize("name", ["X-Auth-Token", "X-Subject-Token"])
    @pytest.mark.parametrize("tokens", [("t", "u"), ("t", "t"), ("t~1~image:a", "t")])
    def test_two_tokens_of_one_kind_are_refused(
        self, front: Any, name: str, tokens: tuple[str, str]
    ) -> None:
        headers = [(name.lower(), each) for each in tokens]

        assert front.refusal(TOKENS, headers) == (400, f"more than one {name} header")

    def test_answers_of_keystone_are_requested_unencoded(self, front: Any) -> None:
        sent = front.request(TOKENS, {"accept-encoding": "gzip", "accept": "*/*"}).headers

        assert "accept-encoding" not in sent
        assert sent["accept"] == "*/*"

    def test_tokens_and_body_without_a_scope_are_unchanged(self, front: Any) -> None:
        headers = {"x-auth-token": "a", "x-subject-token": "b"}
        body = login("t").replace(" ", "  ")
        sent = front.request(TOKENS, headers, method="POST", body=body)

        assert (sent.headers["x-auth-token"], sent.headers["x-subject-token"]) == ("a", "b")
        assert sent.body == body


class TestValidation:
    """A token of another cloud's Keystone validates itself there."""

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("query", ["", "?allow_expired=1"])
    def test_a_validation_elsewhere_is_authenticated_by_the_subject_token_itself(
        self, front: Any, method: str, query: str
    ) -> None:
        headers = {
            "x-auth-token": "glance-service",
            "x-subject-token": f"{TOKEN}~1~{FOREIGN}",
            "x-service-token": "nova",
            "openstack-identity-access-rules": "1.0",
        }
        sent = front.request(TOKENS + query, headers, method=method).headers

        assert sent[TARGET] == "identity.validate@cloud-2"
        assert sent["x-scopeway-service"] == "identity"
        assert sent[":path"] == "/v3/auth/tokens" + query
        assert (sent["x-auth-token"], sent["x-subject-token"]) == (TOKEN, TOKEN)
        assert sent["openstack-identity-access-rules"] == "1.0"
        assert "x-service-token" not in sent

    def test_a_validation_elsewhere_works_on_a_single_service_port(self, new_filter: Any) -> None:
        headers = {"x-auth-token": "s", "x-subject-token": f"{TOKEN}~1~{FOREIGN}"}
        sent = new_filter("front", service="identity").request("/v3/auth/tokens", headers).headers

        assert sent[TARGET] == "identity.validate@cloud-2"
        assert sent["x-auth-token"] == TOKEN

    def test_a_validation_at_the_local_keystone_is_authenticated_by_the_token_of_the_service(
        self, front: Any
    ) -> None:
        headers = {"x-auth-token": "s", "x-subject-token": f"{TOKEN}~1~{COMPLETED}"}
        sent = front.request(TOKENS, headers).headers

        assert sent[TARGET] == "identity@cloud-1"
        assert (sent["x-auth-token"], sent["x-subject-token"]) == ("s", TOKEN)

    @pytest.mark.parametrize("path", ["%74okens", "tokens/", "tokens;x", "tokens/x"])
    @pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
    def test_a_foreign_subject_token_is_refused_at_any_other_path(
        self, front: Any, path: str, method: str
    ) -> None:
        headers = {"x-auth-token": "s", "x-subject-token": f"{TOKEN}~1~{FOREIGN}"}

        assert front.refusal(f"/identity/v3/auth/{path}", headers, method=method)[0] == 400
        assert front.refusal(f"/identity//v3/auth/{path}", headers, method=method)[0] == 400

    def test_a_foreign_subject_token_can_be_revoked(self, front: Any) -> None:
        headers = {"x-auth-token": "s", "x-subject-token": f"{TOKEN}~1~{FOREIGN}"}
        sent = front.request("/identity/v3/auth/tokens", headers, method="DELETE").headers

        assert (sent["x-auth-token"], sent["x-subject-token"]) == ("s", TOKEN)

    def test_the_scope_of_the_subject_token_wins_over_all_others(self, front: Any) -> None:
        headers = {
            "x-scope": "keystone:cloud-1",
            "x-auth-token": f"s~1~{COMPLETED}",
            "x-subject-token": f"{TOKEN}~1~{FOREIGN}",
        }

        assert front.request(TOKENS, headers).headers[TARGET] == "identity.validate@cloud-2"

    def test_a_scope_in_the_header_validates_like_that_of_the_subject_token(
        self, front: Any
    ) -> None:
        headers = {"x-scope": FOREIGN, "x-auth-token": "s", "x-subject-token": TOKEN}
        sent = front.request(TOKENS, headers).headers

        assert sent[TARGET] == "identity.validate@cloud-2"
        assert sent["x-auth-token"] == TOKEN

    def test_a_validation_elsewhere_without_a_subject_token_carries_no_token(
        self, front: Any
    ) -> None:
        sent = front.request(TOKENS, {"x-scope": FOREIGN, "x-auth-token": "s"}).headers

        assert sent[TARGET] == "identity.validate@cloud-2"
        assert "x-auth-token" not in sent

    @pytest.mark.parametrize("method", ["DELETE", "POST"])
    def test_requests_with_other_methods_are_no_validation(self, front: Any, method: str) -> None:
        headers = {"x-auth-token": "a", "x-subject-token": f"{TOKEN}~1~{FOREIGN}"}
        sent = front.request(TOKENS, headers, method=method).headers

        assert sent[TARGET] == "identity@cloud-2"
        assert sent["x-auth-token"] == "a"


class TestReturnedTokens:
    """A token that was fetched with a scope carries it."""

    def ask(self, front: Any, **headers: str) -> Any:
        return front.request(TOKENS, headers or {"x-scope": FOREIGN}, method="POST", body="{}")

    def test_a_returned_token_gets_the_completed_scope(self, front: Any) -> None:
        asked = self.ask(front, **{"x-scope": "glance:cloud-3"})
        answered = front.response(asked, {":status": "201", "x-subject-token": TOKEN}, body="{1}")

        assert answered.headers["x-subject-token"] == f"{TOKEN}~1~*:cloud-1;image:cloud-3"
        assert answered.body == "{1}"
        assert not answered.body_was_read

    def test_a_returned_token_gets_the_scope_in_the_path(self, front: Any) -> None:
        asked = front.request("/~{glance:cloud-3}" + TOKENS, method="POST", body="{}")
        answered = front.response(asked, {":status": "201", "x-subject-token": TOKEN})

        assert answered.headers["x-subject-token"].endswith("~1~*:cloud-1;image:cloud-3")

    def test_a_returned_token_without_a_scope_is_unchanged(self, front: Any) -> None:
        self.ask(front)  # another login at this worker
        asked = front.request(TOKENS, method="POST", body="{}")
        headers = {":status": "201", "x-subject-token": TOKEN}

        assert front.response(asked, headers).headers == headers

    def test_a_refused_login_is_unchanged(self, front: Any) -> None:
        answered = front.response(self.ask(front), {":status": "401"}, body="no")

        assert (answered.headers, answered.body) == ({":status": "401"}, "no")

    def test_every_returned_token_of_concurrent_logins_gets_the_scope_once(
        self, front: Any
    ) -> None:
        asked = [self.ask(front), self.ask(front)]
        tokens = [
            front.response(each, {":status": "201", "x-subject-token": TOKEN}) for each in asked
        ]

        assert [each.headers["x-subject-token"] for each in tokens] == [f"{TOKEN}~1~{FOREIGN}"] * 2

    def test_a_returned_token_that_already_has_a_scope_is_withheld(self, front: Any) -> None:
        headers = {":status": "201", "x-subject-token": f"{TOKEN}~1~identity:cloud-9"}
        answered = front.response(self.ask(front), headers, body='{"token": {}}')

        assert answered.headers == {":status": "502", "content-type": "application/json"}
        assert json.loads(answered.body)["error"]["code"] == 502

    @pytest.mark.parametrize("body", ['{"token": {}}', None])
    @pytest.mark.parametrize("broken", ["streamInfo", "get"])
    def test_an_error_in_the_lua_withholds_the_answer_of_a_login(
        self, front: Any, broken: str, body: str | None
    ) -> None:
        headers = {":status": "201", "x-subject-token": TOKEN, "content-encoding": "gzip"}
        answered = front.response(self.ask(front), headers, body=body, broken=broken)

        assert answered.headers == {":status": "502", "content-type": "application/json"}
        assert json.loads(answered.body)["error"] == {
            "code": 502,
            "title": "Bad Gateway",
            "message": "the answer was withheld: the scope filter failed",
        }
        assert f"{broken} is broken" in answered.log[0]


class TestCachedValidations:
    """A collector that caches validations has to hear of revocations."""

    @pytest.fixture
    def caching(self) -> Any:
        return make_filter("front", caches_validations=True)

    @pytest.mark.parametrize("path", [TOKENS, f"{TOKENS}?a=b"])
    @pytest.mark.parametrize("scope", [None, "keystone:cloud-1", "image:cloud-2"])
    def test_a_revocation_by_the_own_keystone_goes_through_the_collector(
        self, caching: Any, front: Any, path: str, scope: str | None
    ) -> None:
        headers = {"x-auth-token": "a", "x-subject-token": f"b~1~{COMPLETED}"}
        if scope is not None:
            headers["x-scope"] = scope
        sent = caching.request(path, headers, method="DELETE").headers

        assert sent[TARGET] == "identity.validate@cloud-1"
        assert sent["x-subject-token"] == "b"
        assert front.request(path, headers, method="DELETE").headers[TARGET] == "identity@cloud-1"

    @pytest.mark.parametrize(
        ("method", "path", "scope", "target"),
        [
            ("GET", TOKENS, None, "identity@cloud-1"),
            ("DELETE", "/identity/v3/users/1", None, "identity@cloud-1"),
            ("DELETE", "/identity/v3/auth/tokens/x", None, "identity@cloud-1"),
            ("DELETE", TOKENS, "keystone:cloud-2", "identity@cloud-2"),
        ],
    )
    def test_nothing_else_does(
        self, caching: Any, method: str, path: str, scope: str | None, target: str
    ) -> None:
        headers = {"x-auth-token": "a", "x-subject-token": "b"}
        if scope is not None:
            headers["x-scope"] = scope

        assert caching.request(path, headers, method=method).headers[TARGET] == target
