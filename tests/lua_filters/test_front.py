"""The front: the target of a request, and the headers that are forwarded."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

TOKEN = "gAAAAABk"
SCOPE = "{keystone:cloud-1;glance:cloud-3}"
COMPLETED = "*:cloud-1;identity:cloud-1;image:cloud-3"


class TestUnknownServices:
    """A token outlives the removal of a service type; a new scope may not name an unknown one."""

    CARRIED = f"{TOKEN}~1~*:cloud-1;image:cloud-3;sensor:cloud-2"

    def test_a_scope_in_a_token_may_name_a_service_that_is_unknown_here(self, front: Any) -> None:
        sent = front.request("/image/v2/images", {"x-auth-token": self.CARRIED})

        assert sent.answer is None
        assert sent.headers["x-scopeway-target"] == "image@cloud-3"
        assert sent.headers["x-auth-token"] == self.CARRIED

    def test_a_scope_in_a_header_or_a_path_may_not(self, front: Any) -> None:
        text = self.CARRIED.partition("~1~")[2]
        said = front.request("/image/v2", {"x-auth-token": self.CARRIED, "x-scope": text})
        in_path = front.request(f"/~{{{text}}}/image/v2", {"x-auth-token": TOKEN})

        for sent in (said, in_path):
            assert sent.answer.status == 400
            assert "no such service: 'sensor'" in str(sent.answer.body)

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_the_same_goes_for_tokens_that_keystone_gets(self, front: Any, method: str) -> None:
        headers = {"x-auth-token": self.CARRIED, "x-subject-token": self.CARRIED}
        sent = front.request("/identity/v3/auth/tokens", headers, method=method)

        assert sent.answer is None
        assert sent.headers["x-scopeway-target"] == "identity@cloud-1"


class TestWithoutAScope:
    """A request without a scope goes to this site, and only its path changes."""

    def test_the_first_segment_of_the_path_names_the_service(self, front: Any) -> None:
        sent = front.request("/image/v2/images?limit=1", {"x-auth-token": TOKEN})

        assert sent.answer is None
        assert sent.headers == {
            ":method": "GET",
            ":path": "/v2/images?limit=1",
            "x-auth-token": TOKEN,
            "x-scopeway-target": "image@cloud-1",
            "x-scopeway-service": "image",
        }

    def test_a_single_service_port_leaves_the_path_unchanged(self, new_filter: Any) -> None:
        sent = new_filter("front", service="image").request("/v2/images")

        assert sent.headers == {
            ":method": "GET",
            ":path": "/v2/images",
            "x-scopeway-target": "image@cloud-1",
            "x-scopeway-service": "image",
        }

    def test_forged_scopeway_headers_of_a_client_are_overwritten(self, front: Any) -> None:
        forged = ["x-scopeway-target", "x-scopeway-service"]
        sent = front.request("/image/v2", [(name, "forged") for name in forged for _ in range(2)])

        assert [sent.headers[name] for name in forged] == ["image@cloud-1", "image"]

    def test_the_body_of_a_request_without_a_scope_is_not_read(self, front: Any) -> None:
        assert not front.request("/compute/v2.1/servers", method="POST", body="{}").body_was_read

    def test_the_service_token_is_kept_within_the_cloud(self, front: Any) -> None:
        sent = front.request("/image/v2", {"x-service-token": "nova"})

        assert sent.headers["x-service-token"] == "nova"

    @pytest.mark.parametrize(
        "path", ["/v1/a//b", "/v1/c/a%2Fb", "/v1/c/a;b=c", "/v1/c/%7E?q=%2e%2e/"]
    )
    def test_object_names_in_a_path_are_unchanged(self, front: Any, path: str) -> None:
        assert front.request(f"/object-store{path}").headers[":path"] == path

    @pytest.mark.parametrize(
        "path", ["/glance/v2", "/Image/v2", "/nope", "/", "//image", "/~x/image"]
    )
    def test_an_unknown_first_segment_is_a_404(self, front: Any, path: str) -> None:
        status, message = front.refusal(path)

        assert status == 404
        assert f"'{path.split('/')[1]}'" in message

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("/imgae/v2", "no service 'imgae' at cloud-1; did you mean /image/?"),
            ("/glance/v2", "no service 'glance' at cloud-1; did you mean /image/?"),
            ("/galnce/v2", "no service 'galnce' at cloud-1; did you mean /image/?"),
            ("/nosuch/v2", "no service 'nosuch' at cloud-1: a path begins like /image/"),
        ],
    )
    def test_a_first_segment_that_is_nearly_a_service_is_a_404_with_that_service(
        self, front: Any, path: str, message: str
    ) -> None:
        assert front.refusal(path) == (404, message)

    @pytest.mark.parametrize("path", ["/image/../compute", "/image/%2e%2e/compute", "/image/."])
    def test_dot_segments_at_the_front_are_refused(self, front: Any, path: str) -> None:
        assert front.refusal(path) == (400, "a dot segment in the path")

    def test_a_request_without_a_path_at_the_front_is_refused(self, front: Any) -> None:
        assert front.refusal(None, method="CONNECT") == (400, "a request without a path")

    def test_options_for_the_whole_server_is_a_404(self, front: Any) -> None:
        assert front.refusal("*", method="OPTIONS")[0] == 404


class TestScopeSources:
    """The header first, then the token, then the path."""

    TARGET = "x-scopeway-target"

    def test_the_scope_is_read_from_the_header(self, front: Any) -> None:
        sent = front.request("/image/v2", {"x-scope": SCOPE})

        assert sent.headers[self.TARGET] == "image@cloud-3"

    def test_the_scope_in_the_header_wins_over_the_token(self, front: Any) -> None:
        headers = {"x-scope": SCOPE, "x-auth-token": f"{TOKEN}~1~*:cloud-1;image:cloud-2"}
        sent = front.request("/image/v2", headers)

        assert sent.headers[self.TARGET] == "image@cloud-3"
        assert sent.headers["x-auth-token"] == f"{TOKEN}~1~{COMPLETED}"

    def test_an_empty_scope_header_means_all_local(self, front: Any) -> None:
        headers = {"x-scope": "", "x-auth-token": f"{TOKEN}~1~image:cloud-2"}
        sent = front.request("/image/v2", headers)

        assert sent.headers[self.TARGET] == "image@cloud-1"
        assert sent.headers["x-auth-token"] == f"{TOKEN}~1~*:cloud-1"

    def test_the_scope_is_read_from_the_token(self, front: Any) -> None:
        sent = front.request("/image/v2", {"x-auth-token": f"{TOKEN}~1~{COMPLETED}"})

        assert sent.headers[self.TARGET] == "image@cloud-3"
        assert sent.headers["x-auth-token"] == f"{TOKEN}~1~{COMPLETED}"

    def test_the_scope_in_the_token_wins_over_the_path(self, front: Any) -> None:
        headers = {"x-auth-token": f"{TOKEN}~1~{COMPLETED}"}
        sent = front.request("/~{glance:cloud-2}/image/v2", headers)

        assert sent.headers[self.TARGET] == "image@cloud-3"
        assert sent.headers[":path"] == "/v2"

    def test_the_scope_is_read_from_the_path(self, front: Any) -> None:
        sent = front.request("/~%7Bglance:cloud-3%7D/image/v2?a=b", {"x-auth-token": TOKEN})

        assert sent.headers[self.TARGET] == "image@cloud-3"
        assert sent.headers[":path"] == "/v2?a=b"
        assert sent.headers["x-forwarded-prefix"] == "/~{glance:cloud-3}/image"
        assert sent.headers["x-auth-token"] == f"{TOKEN}~1~*:cloud-1;image:cloud-3"

    def test_the_scope_is_read_from_the_path_on_a_single_service_port(
        self, new_filter: Any
    ) -> None:
        sent = new_filter("front", service="image").request("/~{glance:cloud-3}/v2/images")

        assert sent.headers[self.TARGET] == "image@cloud-3"
        assert sent.headers[":path"] == "/v2/images"
        assert sent.headers["x-forwarded-prefix"] == "/~{glance:cloud-3}"

    def test_the_scope_in_the_subject_token_is_used_for_identity_only(self, front: Any) -> None:
        sent = front.request("/image/v2", {"x-subject-token": f"{TOKEN}~1~{COMPLETED}"})

        assert sent.headers[self.TARGET] == "image@cloud-1"


class TestScoped:
    """What a scope changes besides the target."""

    def test_the_completed_scope_is_forwarded_in_the_token(self, front: Any) -> None:
        headers = {"x-scope": "{nova: local || cloud-2}", "x-auth-token": TOKEN}
        sent = front.request("/network/v2.0", headers)

        assert sent.headers["x-scopeway-target"] == "network@cloud-1"
        assert sent.headers["x-auth-token"] == f"{TOKEN}~1~*:cloud-1;compute:cloud-1|cloud-2"

    def test_a_request_without_a_token_gets_none(self, front: Any) -> None:
        assert "x-auth-token" not in front.request("/image", {"x-scope": SCOPE}).headers

    def test_the_service_token_does_not_leave_the_site(self, front: Any) -> None:
        headers = {"x-scope": SCOPE, "x-service-token": "nova"}

        assert "x-service-token" not in front.request("/image/v2", headers).headers
        assert "x-service-token" in front.request("/compute/v2.1", headers).headers

    @pytest.mark.parametrize("expression", ["cloud-1|cloud-2", "[region=eu]", "(cloud-2|cloud-1)"])
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_reads_of_several_clouds_have_a_retry_policy(
        self, front: Any, expression: str, method: str
    ) -> None:
        headers = {"x-scope": f"image:{expression}"}
        sent = front.request("/image/v2", headers, method=method).headers

        assert sent["x-envoy-retry-on"] == "gateway-error,retriable-status-codes,reset"
        assert sent["x-envoy-retriable-status-codes"] == "404"

    @pytest.mark.parametrize(
        ("method", "expression"), [("POST", "cloud-1|cloud-2"), ("GET", "cloud-2")]
    )
    def test_writes_and_targets_of_one_cloud_have_no_retry_policy(
        self, front: Any, method: str, expression: str
    ) -> None:
        headers = {"x-scope": f"image:{expression}"}
        sent = front.request("/image/v2", headers, method=method)

        assert "x-envoy-retry-on" not in sent.headers

    @pytest.mark.parametrize(
        "expression", ["cloud-1&cloud-2", "&[region=eu]", "a&&[x=y]", "a^b", "a|b&c"]
    )
    def test_a_fanout_is_marked_and_never_sent_again_by_envoy(
        self, front: Any, expression: str
    ) -> None:
        headers = {"x-scope": f"image:{expression}", "x-auth-token": "gAAA"}
        sent = front.request("/image/v2/images", headers).headers

        assert sent["x-scopeway-target"] == f"image@{expression}"
        assert sent["x-scopeway-route"] == "fanout"
        assert sent["x-auth-token"] == f"gAAA~1~*:cloud-1;image:{expression}"
        assert "x-envoy-retry-on" not in sent

    def test_a_fanout_keeps_credentials_for_the_collector(self, front: Any) -> None:
        headers = {"x-scope": "image:a&b", "x-service-token": "nova"}

        assert front.request("/image/v2", headers).headers["x-service-token"] == "nova"

    def test_the_answer_of_a_fanout_is_not_awaited_for_a_hint(self, front: Any) -> None:
        headers = {"x-scope": "keystone:home;image:a&b", "x-auth-token": "gAAA"}

        assert "x-scopeway-answer" not in front.request("/image/v2", headers).headers
        headers["x-scope"] = "keystone:home;image:a|b"
        assert "x-scopeway-answer" in front.request("/image/v2", headers).headers

    @pytest.mark.parametrize("scope", ["image:cloud-2", "image:a|b", "image:local", ""])
    def test_other_requests_are_not_marked(self, front: Any, scope: str) -> None:
        sent = front.request("/image/v2", {"x-scope": scope}).headers

        assert "x-scopeway-route" not in sent

    def test_fanouts_are_limited_as_new_targets(self, new_filter: Any) -> None:
        front = new_filter("front", max_targets=1)

        assert front.request("/image/v2", {"x-scope": "image:a&b"}).answer is None
        status, message = front.refusal("/image/v2", {"x-scope": "image:a&c"})
        assert (status, message.partition(" at ")[0]) == (429, "too many different scopes")

    @pytest.mark.parametrize("scope", ["*:a&b", "keystone:a^b", "nova:&[a=b];image:&[a=b]"])
    def test_a_fanout_that_may_not_be_is_refused_with_a_column(
        self, front: Any, scope: str
    ) -> None:
        status, message = front.refusal("/image/v2", {"x-scope": scope})

        assert (status, message.partition(" ")[0]) == (400, "column")

    def test_operators_are_not_interpreted_by_the_lua(self, front: Any) -> None:
        sent = front.request("/image/v2", {"x-scope": "image:a^b%c&(d"})

        assert sent.headers["x-scopeway-target"] == "image@a^b%c&(d"

    @pytest.mark.parametrize(
        ("headers", "reason"),
        [
            ([("x-scope", "{glance:cloud-3")], "column 16: '}' is missing at the end"),
            ([("x-scope", "nosuch:cloud-3")], "column 1: no such service: 'nosuch'"),
            (
                [("x-scope", "nova:a;glanze:b")],
                "column 8: no such service: 'glanze'; did you mean 'glance'?",
            ),
            ([("x-scope", "glance:\xff")], "column 8: byte 0xff is not of the scope language"),
            ([("x-scope", "glance:a"), ("x-scope", "nova:b")], "more than one X-Scope header"),
            ([("x-scope", ""), ("x-scope", "nova:b")], "more than one X-Scope header"),
            ([("x-auth-token", "t"), ("x-auth-token", "u")], "more than one X-Auth-Token header"),
            ([("x-auth-token", ""), ("x-auth-token", "")], "more than one X-Auth-Token header"),
            ([("x-scope", "a" * 2049)], "a scope has at most 2048 bytes, this one has 2049"),
            (
                [("x-auth-token", "t~1~image:a~1~image:b")],
                "column 8: byte 0x7e is not of the scope language",
            ),
            (
                [("x-auth-token", "t~2~image:a")],
                "what follows '~' in the token is not a scope of version 1",
            ),
        ],
    )
    def test_a_malformed_scope_or_token_is_refused(
        self, front: Any, headers: list[tuple[str, str]], reason: str
    ) -> None:
        assert front.refusal("/image/v2", headers) == (400, reason)

    def test_a_comma_in_a_token_does_not_make_it_two(self, front: Any) -> None:
        assert front.request("/image/v2", {"x-auth-token": "t,u"}).answer is None

    def test_a_comma_in_the_scope_header_separates_bindings(self, front: Any) -> None:
        sent = front.request("/image/v2", {"x-scope": "{nova:cloud-2, glance:cloud-3}"})

        assert sent.headers["x-scopeway-target"] == "image@cloud-3"

    def test_a_malformed_path_scope_is_refused_beside_a_valid_header(self, front: Any) -> None:
        forged = "/~{image:cloud-2%0d%0aX-Evil:1}/image"

        assert front.refusal(forged, {"x-scope": "image:cloud-2"})[0] == 400

    def test_a_malformed_path_scope_is_refused(self, front: Any) -> None:
        assert front.refusal("/~{image:a%2Fb}/image")[0] == 400
        assert "escape" in front.refusal("/~{image:a%}/image")[1]


@pytest.fixture(scope="module")
def shared(new_filter: Any) -> Any:
    return new_filter("front")


class TestFailingClosed:
    """An error of ours is a 500, never a request that goes on."""

    @pytest.mark.parametrize("broken", ["headers", "get", "replace", "remove"])
    def test_an_error_in_the_front_lua_is_a_500(self, front: Any, broken: str) -> None:
        headers = {"x-scope": SCOPE, "x-auth-token": TOKEN}
        sent = front.request("/image/v2", headers, broken=broken)

        assert sent.answer is not None
        assert sent.answer.status == 500
        assert sent.answer.error["title"] == "Internal Server Error"
        assert (
            sent.answer.error["message"]
            == "the scope filter failed, so the request was not sent on"
        )
        assert f"{broken} is broken" in sent.log[0]

    def test_the_number_of_targets_of_a_worker_is_limited(self, new_filter: Any) -> None:
        front = new_filter("front", max_targets=2)

        def ask(cloud: str) -> Any:
            return front.request("/image/v2", {"x-scope": f"image:{cloud}"}).answer

        assert [ask("a"), ask("b"), ask("a")] == [None, None, None]
        assert ask("c").status == 429
        assert [ask("b"), ask("local"), front.request("/image").answer] == [None, None, None]
        assert ask("c").status == 429

    def test_the_rate_of_new_targets_is_limited(self, new_filter: Any) -> None:
        front = new_filter("front", new_targets_burst=3, new_targets_per_second=0)

        def ask(cloud: str) -> Any:
            return front.request("/image/v2", {"x-scope": f"image:{cloud}"}).answer

        assert [ask(each) for each in "abc"] == [None] * 3
        refused = ask("d")
        assert (refused.status, refused.error["title"]) == (429, "Too Many Requests")
        assert "too many new scopes at cloud-1 just now" in refused.error["message"]
        assert [ask(each) for each in ("a", "c", "local")] == [None] * 3  # in use

    @given(
        headers=st.lists(
            st.tuples(
                st.sampled_from(["x-scope", "x-auth-token", "x-subject-token", "x-service-token"]),
                st.text(st.characters(max_codepoint=255), max_size=20)
                | st.sampled_from([SCOPE, f"t~1~{COMPLETED}", "t~1~image:[a=b]|c"]),
            ),
            max_size=4,
        ),
        path=st.text(st.characters(max_codepoint=255), max_size=20)
        | st.sampled_from(["/image/v2", "/identity/v3/auth/tokens", "/~{nova:b}/image"]),
        method=st.sampled_from(["GET", "POST"]),
    )
    def test_arbitrary_bytes_give_a_target_or_a_refusal(
        self, shared: Any, headers: list[tuple[str, str]], path: str, method: str
    ) -> None:
        sent = shared.request(path, headers, method=method)

        if sent.answer:
            assert sent.answer.status in (400, 404, 429)
            assert sent.answer.body.isascii()
            assert sent.answer.error["message"]
        else:
            service, _, expression = sent.headers["x-scopeway-target"].partition("@")
            assert service.removesuffix(".validate") == sent.headers["x-scopeway-service"]
            assert expression
            assert set(expression) <= set("abcdefghijklmnopqrstuvwxyz0123456789-._[]()|&^%*=,")
