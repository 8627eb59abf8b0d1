"""The peer: requests of other sites, whose scope was resolved at the origin."""

from typing import Any

import pytest

from lua_envoy import make_filter

SCOPED = "gAAAAABk~1~*:cloud-1;image:cloud-3"


def test_the_first_segment_at_the_peer_names_a_service_of_its_site(peer: Any) -> None:
    headers = {"x-auth-token": SCOPED, "x-forwarded-prefix": "/image", "x-scope": "image:cloud-9"}
    sent = peer.request("/image/v2/images?limit=1", headers)

    assert sent.answer is None
    assert sent.headers == {
        ":method": "GET",
        ":path": "/v2/images?limit=1",
        "x-auth-token": SCOPED,
        "x-forwarded-prefix": "/image",
        "x-scope": "image:cloud-9",
        "x-scopeway-target": "image@cloud-1",
        "x-scopeway-service": "image",
        "x-scopeway-method": "GET",
    }


def test_a_validation_at_the_peer_is_sent_to_the_local_keystone(peer: Any) -> None:
    sent = peer.request("/identity.validate/v3/auth/tokens").headers

    assert sent["x-scopeway-target"] == "identity@cloud-1"
    assert sent["x-scopeway-service"] == "identity.validate"
    assert sent[":path"] == "/v3/auth/tokens"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/v3/auth/tokens"),
        ("POST", "/v3/auth/tokens"),
        ("GET", "/v3/users"),
        ("GET", "/v3/auth/tokens/"),
        ("GET", "/v3/auth/tokensx"),
        ("GET", "/v3/auth/tokens/OS-PKI/revoked"),
    ],
)
def test_the_prefix_of_validations_allows_no_other_request(
    peer: Any, method: str, path: str
) -> None:
    assert peer.refusal(f"/identity.validate{path}", method=method)[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("GET", "/identity.validate/v3/auth/tokens", "validation"),
        ("POST", "/identity/v3/auth/tokens?a", "login"),
        ("POST", "/identity/v3/auth/tokensx", None),
        ("POST", "/image/v3/auth/tokens", None),
        ("GET", "/identity/v3/users", None),
    ],
)
def test_logins_and_validations_at_the_peer_have_a_time_limit(
    peer: Any, method: str, path: str, limit: str | None
) -> None:
    assert peer.request(path, method=method).headers.get("x-scopeway-limit") == limit


@pytest.mark.parametrize("path", ["/v3/auth/tokens", "/v3/auth/tokens?allow_expired=1"])
def test_a_validation_at_the_peer_can_be_head_and_have_a_query(peer: Any, path: str) -> None:
    sent = peer.request(f"/identity.validate{path}", method="HEAD").headers

    assert sent[":path"] == path


def test_forged_scopeway_headers_of_another_site_are_overwritten(peer: Any) -> None:
    forged = [("x-scopeway-target", "image@cloud-9")] * 2

    assert peer.request("/image/v2", forged).headers["x-scopeway-target"] == "image@cloud-1"


@pytest.mark.parametrize("path", ["/", "/v2/images", "/glance/v2", "/~{image:a}/image", "*"])
def test_other_paths_at_the_peer_are_a_404(peer: Any, path: str) -> None:
    assert peer.refusal(path)[0] == 404


@pytest.mark.parametrize("path", ["/image/../compute", "/image/%2e./compute"])
def test_dot_segments_at_the_peer_are_refused(peer: Any, path: str) -> None:
    assert peer.refusal(path)[0] == 400


def test_a_method_in_the_query_is_refused(peer: Any) -> None:
    status, message = peer.refusal("/image/v2/images/1?_method=DELETE")

    assert (status, message) == (
        400,
        "a method in the query: the policy looks at the request's own",
    )


FORM = "application/x-www-form-urlencoded"
JSON = ("content-type", "application/json")


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", []),
        *(("POST", [("content-type", kind)]) for kind in ("", ";charset=utf-8", " a/b", ",a/b")),
        *(("POST", [JSON, ("content-type", kind)]) for kind in ("", "text/plain", FORM)),
        *(("POST", [("content-type", kind)]) for kind in (FORM, FORM.upper(), f"{FORM}; a=b")),
        ("POST", [("content-type", "Multipart/Form-Data; boundary=a")]),
        ("POST", [("content-type", FORM), ("content-length", "10")]),
        *((method, [("content-type", FORM)]) for method in ("PUT", "PATCH", "DELETE", "GET")),
        ("PUT", [JSON, ("content-type", FORM)]),
    ],
)
def test_a_request_that_can_carry_a_form_has_the_method_form_for_the_policy(
    peer: Any, method: str, headers: list[tuple[str, str]]
) -> None:
    assert peer.request("/image/v2", headers, method=method).headers["x-scopeway-method"] == "form"


OFFICE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        *(("POST", [("content-type", kind)]) for kind in ("application/json", "a", "a/b; c=d")),
        *(("POST", [*kind, ("content-length", "0")]) for kind in ([], [("content-type", FORM)])),
        *((method, []) for method in ("GET", "PUT", "DELETE", "PATCH")),
        *(("PUT", [("content-type", kind)]) for kind in ("", "a,b", OFFICE)),
    ],
)
def test_any_other_request_has_its_own_method_for_the_policy(
    peer: Any, method: str, headers: list[tuple[str, str]]
) -> None:
    sent = peer.request("/image/v2", [*headers, ("x-scopeway-method", "GET")], method=method)

    assert sent.headers["x-scopeway-method"] == method


def test_a_request_without_a_path_at_the_peer_is_refused(peer: Any) -> None:
    assert peer.refusal(None, method="CONNECT")[0] == 400


class TestCertificates:
    """Envoy has put the URI of the caller's certificate into the header."""

    @pytest.fixture
    def peer(self, new_filter: Any) -> Any:
        return new_filter("peer", callers="spiffe://fleet/cloud/")

    def test_the_origin_is_the_cloud_of_the_certificate(self, peer: Any) -> None:
        sent = peer.request("/image/v2", {"x-scopeway-origin": "spiffe://fleet/cloud/cloud-7"})

        assert sent.headers["x-scopeway-origin"] == "cloud-7"

    @pytest.mark.parametrize(
        "uri",
        [
            "spiffe://other/cloud/cloud-7",
            "spiffe://fleet/control-plane",
            "cloud-7",
            "spiffe://fleet/cloud/cloud-7,spiffe://fleet/cloud/cloud-8",
            "",
            *(f"spiffe://fleet/cloud/{name}" for name in ("", "a/b", "A", "-a", "a-", "a" * 64)),
        ],
    )
    def test_a_certificate_of_anything_but_one_cloud_is_refused(self, peer: Any, uri: str) -> None:
        status, message = peer.refusal("/image/v2", {"x-scopeway-origin": uri})

        assert (status, message) == (403, "a certificate that is not of one cloud")

    def test_a_request_without_a_certificate_is_refused(self, peer: Any) -> None:
        assert peer.refusal("/image/v2")[0] == 403


@pytest.mark.parametrize("broken", ["headers", "get", "replace"])
def test_an_error_in_the_peer_lua_is_a_500(peer: Any, broken: str) -> None:
    answer = peer.request("/image/v2", broken=broken).answer

    assert answer is not None
    assert answer.status == 500


@pytest.mark.parametrize(
    ("method", "path", "target"),
    [
        ("GET", "/identity.validate/v3/auth/tokens", "identity.validate@cloud-1"),
        ("HEAD", "/identity.validate/v3/auth/tokens?a=b", "identity.validate@cloud-1"),
        ("DELETE", "/identity/v3/auth/tokens", "identity.validate@cloud-1"),
        ("GET", "/identity/v3/auth/tokens", "identity@cloud-1"),
        ("DELETE", "/identity/v3/auth/tokens/x", "identity@cloud-1"),
        ("DELETE", "/identity/v3/users", "identity@cloud-1"),
    ],
)
def test_a_collector_that_caches_validations_gets_them_and_revocations(
    method: str, path: str, target: str
) -> None:
    sent = make_filter("peer", caches_validations=True).request(path, method=method).headers

    assert sent["x-scopeway-target"] == target
