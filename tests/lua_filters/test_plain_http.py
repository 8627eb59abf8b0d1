"""A service whose type has the protocol `http`: its target, and the headers that leave the site."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzzing import front_model
from lua_envoy import SERVICES, Filter, Modules, make_filter

TOKEN = "gAAAAABk"
ELSEWHERE = "{sensor:cloud-2}"
CREDENTIALS = {
    "authorization": "Bearer of-this-site",
    "cookie": "session=1",
    "proxy-authorization": "Basic cHJveHk6",
    "x-auth-token": TOKEN,
    "x-service-token": "nova",
    "x-subject-token": TOKEN,
    "x-api-key": "secret",
    "x-amz-security-token": "secret",
    "sec-websocket-protocol": "bearer.secret",
    "referer": "http://front/?token=secret",
    "baggage": "secret=1",
    "x-http-method-override": "DELETE",
    "anything": "at all",
}
FORWARDED = {"x-api-key": True, "anything": True}
ID = "1f" * 16


def with_sensors(entry: str, **more: object) -> Filter:
    services = {**SERVICES, "sensor": "sensor", "probe": "sensor", "camera": "camera"}
    http = {"sensor": {}, "camera": FORWARDED}
    return make_filter(entry, services=services, http=http, **more)


@pytest.fixture(scope="module")
def front() -> Filter:
    return with_sensors("front")


class TestOwnCloud:
    """Nothing but the path changes."""

    @pytest.mark.parametrize("headers", [{}, {"x-scope": "{sensor:local}"}, {"x-scope": ""}])
    def test_a_service_of_the_own_cloud_gets_every_header_as_it_is(
        self, front: Filter, headers: dict[str, str]
    ) -> None:
        sent = front.request("/sensor/readings?last=1", {**CREDENTIALS, **headers})

        assert sent.answer is None
        assert sent.headers == {
            **CREDENTIALS,
            **headers,
            ":method": "GET",
            ":path": "/readings?last=1",
            "x-scopeway-target": "sensor@cloud-1",
            "x-scopeway-service": "sensor",
        }

    @pytest.mark.parametrize("text", ["{sensor:local}", "{keystone:cloud-2}"])
    def test_the_path_and_body_of_a_service_of_the_own_cloud_stay(
        self, front: Filter, text: str
    ) -> None:
        """Ids in them are no ids of a Keystone."""
        headers = {"x-scope": text, "x-auth-token": f"t~1~{text[1:-1]}", "content-length": "2"}
        sent = front.request(f"/sensor/v3/{ID}", headers, method="PUT", body="{}")

        assert sent.headers[":path"] == f"/v3/{ID}"
        assert not sent.body_was_read


class TestScope:
    def test_the_scope_of_a_plain_service_is_read_from_the_header(self, front: Filter) -> None:
        sent = front.request("/sensor/readings", {"x-scope": "{probe:cloud-2|cloud-3}"})

        assert sent.headers["x-scopeway-target"] == "sensor@cloud-2|cloud-3"
        assert sent.headers["x-scopeway-service"] == "sensor"

    def test_the_scope_of_a_plain_service_is_read_from_the_path(self, front: Filter) -> None:
        sent = front.request("/~%7Bprobe:cloud-2%7D/sensor/readings?a=b")

        assert sent.headers["x-scopeway-target"] == "sensor@cloud-2"
        assert sent.headers[":path"] == "/readings?a=b"
        assert sent.headers["x-forwarded-prefix"] == "/~{probe:cloud-2}/sensor"

    def test_the_scope_in_the_header_wins_over_the_path_of_a_plain_service(
        self, front: Filter
    ) -> None:
        sent = front.request("/~{sensor:cloud-2}/sensor/a", {"x-scope": "{sensor:cloud-3}"})

        assert sent.headers["x-scopeway-target"] == "sensor@cloud-3"

    def test_a_port_for_one_plain_service_leaves_the_path_unchanged(self) -> None:
        sent = with_sensors("front", service="sensor").request("/a", {"x-scope": ELSEWHERE})

        assert sent.headers[":path"] == "/a"
        assert sent.headers["x-scopeway-target"] == "sensor@cloud-2"

    def test_the_star_binds_a_plain_service(self, front: Filter) -> None:
        sent = front.request("/sensor/a", {"x-scope": "{*:cloud-2}"})

        assert sent.headers["x-scopeway-target"] == "sensor@cloud-2"

    @pytest.mark.parametrize("token", [f"{TOKEN}~1~sensor:cloud-2", f"{TOKEN}~2~x", "a~b"])
    def test_a_token_decides_nothing_about_a_plain_service(self, front: Filter, token: str) -> None:
        sent = front.request("/sensor/a", {"x-auth-token": token})

        assert sent.headers["x-scopeway-target"] == "sensor@cloud-1"
        assert sent.headers["x-auth-token"] == token

    def test_no_answer_is_awaited_for_a_plain_service(self, front: Filter) -> None:
        headers = {"x-scope": "{sensor:cloud-2;keystone:cloud-3}", "x-auth-token": TOKEN}
        sent = front.request("/sensor/v3/auth/tokens", headers)

        assert "x-scopeway-answer" not in sent.headers
        assert sent.metadata["scopeway"] is None

    @pytest.mark.parametrize(
        ("path", "headers", "refusal"),
        [
            ("/sensor", [("x-scope", "")] * 2, (400, "more than one X-Scope header")),
            (
                "/sensor",
                [("x-scope", "sensr:a")],
                (400, "column 1: no such service: 'sensr'; did you mean 'sensor'?"),
            ),
            ("/~{sensor}/sensor", [], (400, "column 8: ':' is missing")),
            ("/sensor/..", [], (400, "a dot segment in the path")),
            ("/sensors", [], (404, "no service 'sensors' at cloud-1; did you mean /sensor/?")),
            ("/probe", [], (404, "no service 'probe' at cloud-1; did you mean /sensor/?")),
        ],
    )
    def test_a_malformed_request_for_a_plain_service_is_refused(
        self,
        front: Filter,
        path: str,
        headers: list[tuple[str, str]],
        refusal: tuple[int, str],
    ) -> None:
        assert front.refusal(path, headers) == refusal

    def test_new_targets_of_a_plain_service_are_limited(self) -> None:
        front = with_sensors("front", max_targets=1)
        assert front.request("/sensor", {"x-scope": "{sensor:a}"}).answer is None

        assert front.refusal("/sensor", {"x-scope": "{sensor:b}"})[0] == 429

    @pytest.mark.parametrize(("method", "retried"), [("GET", True), ("HEAD", True), ("PUT", False)])
    def test_reads_of_a_plain_service_are_retried_at_the_next_cloud(
        self, front: Filter, method: str, retried: bool
    ) -> None:
        sent = front.request("/sensor", {"x-scope": "{sensor:a|b}"}, method=method)

        assert ("x-envoy-retry-on" in sent.headers) is retried


class TestOtherClouds:
    """What is neither needed by HTTP nor listed stays at the site."""

    def sent(self, front: Filter, service: str, headers: Mapping[str, str]) -> dict[str, str]:
        sent = front.request(f"/{service}/a", {"x-scope": f"{{{service}:cloud-2}}", **headers})
        assert sent.answer is None
        assert sent.headers["x-scopeway-route"] == "http"
        return dict(sent.headers)

    def test_no_credential_leaves_the_site_by_default(self, front: Filter) -> None:
        sent = self.sent(front, "sensor", CREDENTIALS)

        assert not sent.keys() & CREDENTIALS.keys()

    def test_headers_that_the_service_type_forwards_leave_the_site(self, front: Filter) -> None:
        sent = self.sent(front, "camera", CREDENTIALS)

        assert {name: sent[name] for name in sent.keys() & CREDENTIALS.keys()} == {
            "x-api-key": "secret",
            "anything": "at all",
        }

    def test_several_headers_of_one_name_are_all_dropped(self, front: Filter) -> None:
        headers = [("x-scope", ELSEWHERE), ("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2")]
        sent = front.request("/sensor", headers)

        assert "cookie" not in sent.headers
        assert sent.headers["accept"] == "*/*"

    @pytest.mark.parametrize("scope", ["cloud-2 & cloud-3", "cloud-2 ^ local", "&[region=eu]"])
    def test_all_headers_of_a_fan_out_go_to_the_own_collector(
        self, front: Filter, scope: str
    ) -> None:
        sent = front.request("/sensor", {"x-scope": f"{{sensor:{scope}}}", **CREDENTIALS})

        assert {name: sent.headers[name] for name in CREDENTIALS} == CREDENTIALS
        assert sent.headers["x-scopeway-route"] == "fanout"

    def test_a_token_that_is_forwarded_is_not_edited(self) -> None:
        services = {**SERVICES, "sensor": "sensor"}
        http = {"sensor": {"x-auth-token": True}}
        front = make_filter("front", services=services, http=http)
        sent = front.request("/sensor", {"x-scope": ELSEWHERE, "x-auth-token": TOKEN})

        assert sent.headers["x-auth-token"] == TOKEN

    @pytest.mark.parametrize("scope", ["cloud-2|local", "[region=eu]"])
    def test_headers_are_dropped_where_another_cloud_may_serve_the_request(
        self, front: Filter, scope: str
    ) -> None:
        sent = front.request("/sensor", {"x-scope": f"{{sensor:{scope}}}", **CREDENTIALS})

        assert not sent.headers.keys() & CREDENTIALS.keys()

    @given(
        st.dictionaries(
            st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.", min_size=1, max_size=20)
            | st.sampled_from(
                [*CREDENTIALS, "accept", "range", "if-match", "upgrade", "x-scopeway"]
            ),
            st.text("abc=; ", max_size=9),
            max_size=12,
        )
    )
    def test_only_needed_and_forwarded_headers_leave_the_site(
        self, front: Filter, headers: dict[str, str]
    ) -> None:
        ours = {"x-scopeway-route", "x-scopeway-target", "x-scopeway-service", ":path", ":method"}
        for name in {"x-scope", *ours}:
            headers.pop(name, None)
        crossing = {
            name: value
            for name, value in headers.items()
            if name in front_model.NEEDED or name in FORWARDED or name.startswith("x-scopeway-")
        }
        sent = self.sent(front, "camera", headers)

        assert {name: sent[name] for name in sent.keys() - ours} == crossing

    def test_services_of_openstack_keep_their_rules(self, front: Filter) -> None:
        sent = front.request("/image/v2", {"x-scope": "{glance:cloud-2}", **CREDENTIALS})

        assert "x-scopeway-route" not in sent.headers
        assert sent.headers["x-auth-token"].startswith(f"{TOKEN}~1~")
        assert sent.headers["x-api-key"] == "secret"


def needed(modules: Modules) -> set[str]:
    return set(modules.to_dict(modules["plain_http"].NEEDED))


def test_the_headers_that_http_needs_are_documented(new_modules: Any) -> None:
    assert needed(new_modules()) == front_model.NEEDED


def test_headers_that_open_something_are_not_needed_by_http(new_modules: Any) -> None:
    assert not needed(new_modules()) & CREDENTIALS.keys()


HEADERS = {"x-auth-token": "t~1~keystone:cloud-2", "content-type": "a/json"}


class TestBehindTheFront:
    """Peers and `dispatch` move no ids in requests for a plain service."""

    def test_a_peer_changes_only_the_path_of_a_request_for_a_plain_service(self) -> None:
        body = f'{{"project_id": "{ID}"}}'
        headers = {**HEADERS, "content-length": str(len(body))}
        peer = with_sensors("peer")
        sent = peer.request(f"/sensor/v3/{ID}?a=b", headers, method="PUT", body=body)

        assert sent.headers == {
            **headers,
            ":method": "PUT",
            ":path": f"/v3/{ID}?a=b",
            "x-scopeway-target": "sensor@cloud-1",
            "x-scopeway-service": "sensor",
            "x-scopeway-method": "PUT",
        }
        assert not sent.body_was_read

    def test_dispatch_changes_only_the_target_of_a_request_for_a_plain_service(self) -> None:
        connection = {"scopeway": {"target": "sensor@cloud-1"}}
        headers = {**HEADERS, "x-scopeway-service": "sensor"}
        sent = with_sensors("dispatch").request(f"/v3/{ID}", headers, connection=connection)

        assert sent.headers == {
            **headers,
            ":method": "GET",
            ":path": f"/v3/{ID}",
            "x-scopeway-target": "sensor@cloud-1",
        }
