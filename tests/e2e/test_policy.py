"""Who may use which service of another site: the target's own Envoy decides.

All tests use mutual TLS, where the certificate identifies the caller. Requests of cloud-1 go
through its front. Those of others are sent to the peer directly, as by a site without Scopeway or
with a modified one.
"""

from pathlib import Path
from typing import Any

import pytest

from harness.certificates import Sites
from harness.fleet import Fleet, manifest
from harness.http import Connection, Response, send
from harness.http2 import Connection2, Refused, send2
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.scope import SERVICE_TYPES

pytestmark = pytest.mark.fleet(certificates=True, closing=0.1)

READS = ["GET", "HEAD"]
SERVICES = ("image", "compute", *sorted(SERVICE_TYPES - {"image", "compute"}))
FORM = ("content-type", "application/x-www-form-urlencoded")
EMPTY = ("content-length", "0")
BODY = b"_method=DELETE"


@pytest.fixture(scope="module")
def site(fleet: Fleet) -> Cloud:
    """The origin of scoped requests."""
    return fleet.site("cloud-1", services={"image": fleet.service("glance-1")}, accept=[])


@pytest.fixture(scope="module")
def front(site: Cloud) -> int:
    assert site.front
    return site.front.port


class Target:
    """cloud-2, whose rules change from test to test."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        services = {
            "image": fleet.service("glance-2"),
            "compute": fleet.service("nova-2"),
            "identity": fleet.service("keystone-2"),
        }
        cloud = fleet.site("cloud-2", services=services, accept=[])
        assert cloud.front
        assert cloud.peer
        self.port = cloud.peer.port
        self._spec: dict[str, Any] = {
            "front": {"address": "127.0.0.1", "port": cloud.front.port},
            "peer": {"address": "127.0.0.1", "port": cloud.peer.port},
            "services": services,
        }

    def accept(self, *rules: dict[str, Any], mode: str = "enforce") -> None:
        """Register it with other rules, and wait until its Envoy has them."""
        before = self._updates()
        cloud = manifest("cloud-2", **self._spec, accept=list(rules), acceptMode=mode)
        if cloud == self._fleet.control_plane.inventory.get("cloud-2"):
            return
        self._fleet.control_plane.put(cloud)
        assert self._fleet.eventually(lambda: self._updates() > before)

    def ask(self, caller: str | None, path: str = "/image/v2", **more: Any) -> Response:
        """Ask its peer with the certificate of a cloud."""
        return send2(self.port, path, tls=self._sites.client(caller), **more)

    def connect(self, caller: str) -> Connection2:
        return Connection2(self.port, tls=self._sites.client(caller))

    @property
    def _sites(self) -> Sites:
        assert self._fleet.sites
        return self._fleet.sites

    def _updates(self) -> int:
        return self._fleet.envoys["cloud-2"].stats("http.peer.rds.peer.config_reload")[
            "http.peer.rds.peer.config_reload"
        ]


@pytest.fixture(scope="module")
def target(fleet: Fleet, site: Cloud) -> Target:
    return Target(fleet)


def scoped(front: int, **more: Any) -> Response:
    return send(front, "/image/v2", [("X-Scope", "{image:cloud-2}")], **more)


class TestIdentity:
    def test_a_scope_is_served_by_another_cloud_over_mutual_tls(
        self, fleet: Fleet, front: int, target: Target
    ) -> None:
        target.accept({"clouds": ["cloud-1"]})
        assert fleet.eventually(lambda: scoped(front).status == 200)  # its own Envoy is told apart
        response = scoped(front)

        assert (response.status, response.json["name"]) == (200, "glance-2")
        assert ["x-scopeway-origin", "cloud-1"] in response.json["headers"]

    def test_a_peer_refuses_a_connection_without_a_certificate(self, target: Target) -> None:
        target.accept({"clouds": ["cloud-1"]})
        with pytest.raises(Refused):
            target.ask(None)

    def test_a_peer_refuses_a_connection_without_tls(self, target: Target) -> None:
        with pytest.raises(Refused):
            send2(target.port, "/image/v2")
        with Connection(target.port) as connection:
            connection.socket.sendall(b"GET /image/v2 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"HTTP" not in connection.socket.recv(100)

    def test_a_peer_refuses_a_certificate_of_another_authority(
        self, target: Target, tmp_path: Path
    ) -> None:
        target.accept({"clouds": ["cloud-1"]})
        with pytest.raises(Refused):
            send2(target.port, "/image/v2", tls=Sites(tmp_path / "ca").client("cloud-1"))

    def test_the_origin_comes_from_the_certificate_and_never_from_a_header(
        self, target: Target
    ) -> None:
        target.accept({"clouds": ["cloud-3"]})
        forged = [("x-scopeway-origin", "cloud-1"), ("x-scopeway-origin", "cloud-9")]

        response = target.ask("cloud-3", headers=forged)
        origins = [value for name, value in response.json["headers"] if "origin" in name]
        assert (response.status, origins) == (200, ["cloud-3"])
        assert target.ask("cloud-9", headers=[("x-scopeway-origin", "cloud-3")]).status == 403

    def test_service_tokens_of_another_cloud_are_removed(self, target: Target) -> None:
        """Fronts drop service tokens, but a site's own software may send one."""
        target.accept({"clouds": ["cloud-1"]})
        spellings = ("x-service-token", "x-service-token", "x_service_token", "x-service_token")
        sent = [("x-auth-token", "user"), *((spelt, "nova") for spelt in spellings)]

        response = target.ask("cloud-1", headers=sent)
        tokens = [each for each in response.json["headers"] if "token" in each[0]]
        assert (response.status, tokens) == (200, [["x-auth-token", "user"]])

    def test_a_front_refuses_a_peer_with_the_certificate_of_another_cloud(
        self, fleet: Fleet, front: int, target: Target
    ) -> None:
        """A registry entry that leads to another site's peer."""
        target.accept({"clouds": ["cloud-1"]})
        at_cloud_2 = {"address": "127.0.0.1", "port": target.port}
        image = fleet.service("glance-2")
        accept = [{"clouds": ["cloud-1"]}]
        fleet.control_plane.put(
            manifest("cloud-8", peer=at_cloud_2, services={"image": image}, accept=accept)
        )

        response = send(front, "/image/v2", [("X-Scope", "{image:cloud-8}")])
        assert response.status == 503
        assert "image@cloud-8 cannot be reached" in response.error["message"]


class TestRules:
    def test_a_caller_without_a_rule_is_denied(self, target: Target) -> None:
        target.accept({"clouds": ["cloud-1"], "services": ["image"]})
        response = target.ask("cloud-3")

        assert response.status == 403
        assert response.error["title"] == "Forbidden"
        assert response.error["message"] == (
            "cloud-2 does not let cloud-3 use its image service: "
            "none of its accept rules for it names cloud-3"
        )
        assert response.headers["x-scopeway-rejected"] == "true"
        assert response.headers["x-scopeway-served-by"] == "cloud-2"

    def test_rules_above_the_size_limit_deny_everybody_and_are_reported(
        self, fleet: Fleet, target: Target
    ) -> None:
        """The last ones that Envoy is sent are as large as may be, and it takes them."""

        def rules(classes: int) -> list[dict[str, Any]]:
            """Each cloud in a class of its own, with a right for each of seven methods."""
            methods = ["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT", "OPTIONS"]
            named = [f"cloud-{number}" for number in range(1, 128)]
            return [
                {
                    "clouds": [n for number, n in enumerate(named, 1) if number & 1 << bit]
                    + ["cloud-3"],
                    "services": list(SERVICES[bit : bit + classes]),
                    "methods": [method],
                }
                for bit, method in enumerate(methods)
            ]

        target.accept(*rules(14))
        response = target.ask("cloud-3")
        assert response.status == 403
        assert response.error["message"] == (
            "cloud-2 does not let cloud-3 use its image service: "
            "its accept rules are too large to be enforced, so nobody is let in"
        )
        assert "different rights" in fleet.control_plane.policy_problems()["cloud-2"]

        target.accept(*rules(3))
        assert fleet.control_plane.policy_problems() == {}
        assert target.ask("cloud-3", f"/{SERVICES[0]}/v2", method="DELETE").status != 403
        assert target.ask("cloud-300").status == 403

    def test_a_cloud_without_rules_denies_everybody(self, target: Target) -> None:
        target.accept()

        assert target.ask("cloud-1").status == 403
        assert target.ask("cloud-2").status == 403

    def test_a_rule_allows_only_its_services_and_methods(self, target: Target) -> None:
        target.accept(
            {"clouds": ["cloud-3"], "services": ["image"], "methods": READS},
            {"clouds": ["cloud-4"], "services": ["image"]},
        )
        statuses = {
            (cloud, method, path): target.ask(cloud, f"{path}/v2", method=method).status
            for cloud in ("cloud-3", "cloud-4")
            for method in ("GET", "HEAD", "POST", "DELETE", "BREW")
            for path in ("/image", "/compute")
        }

        assert {key for key, status in statuses.items() if status == 200} == {
            ("cloud-3", "GET", "/image"),
            ("cloud-3", "HEAD", "/image"),
            *(
                ("cloud-4", method, "/image")
                for method in ("GET", "HEAD", "POST", "DELETE", "BREW")
            ),
        }
        assert set(statuses.values()) == {200, 403}

    def test_a_request_that_can_carry_a_form_needs_a_rule_for_all_methods(
        self, target: Target
    ) -> None:
        """Services would find another method in it."""
        named = {"services": ["image"], "methods": ["GET", "PATCH", "POST", "PUT"]}
        target.accept({"clouds": ["cloud-3"], **named}, {"clouds": ["cloud-4"]})
        parts = ("content-type", "multipart/form-data; boundary=a")
        json = ("content-type", "application/json")
        forms = [
            *(("POST", [each], BODY) for each in (FORM, parts, ("content-type", ""))),
            *(("POST", each, BODY) for each in ([], [json, FORM], [FORM, json])),
            ("POST", [("content_type", json[1])], BODY),
            ("POST", [FORM, ("x-scopeway-method", "POST")], BODY),
            ("POST", [("content-encoding", "gzip")], BODY),
            ("POST", [], b""),
            *((method, [FORM], BODY) for method in ("PUT", "PATCH")),
        ]
        others = [
            ("POST", [json], BODY),
            # Envoy makes one of the two, here and for the service
            ("POST", [json, ("content-type", "")], BODY),
            ("POST", [("content-type", ""), json], BODY),
            ("POST", [EMPTY], b""),
            ("POST", [EMPTY, FORM], b""),
            ("PUT", [], BODY),
        ]
        for method, headers, body in forms:
            sent: dict[str, Any] = {"method": method, "headers": headers, "body": body}
            assert target.ask("cloud-3", **sent).status == 403, sent
            assert target.ask("cloud-4", **sent).status == 200, sent
        for method, headers, body in others:
            sent = {"method": method, "headers": headers, "body": body}
            answer = target.ask("cloud-3", **sent)
            assert answer.status == 200, sent
            types = [value for name, value in answer.json["headers"] if name == "content-type"]
            assert types in ([], [json[1]], [FORM[1]])

    def test_a_service_gets_only_the_spelling_of_headers_that_the_policy_has_read(
        self, target: Target
    ) -> None:
        target.accept({"clouds": ["cloud-3"], "methods": ["POST"]})
        spelt = [("content_type", FORM[1]), ("content_length", "9"), ("x-scopeway-method", "GET")]
        sent = [("content-type", "application/json"), *spelt]

        seen = target.ask("cloud-3", method="POST", headers=sent, body=BODY).json["headers"]
        assert [each for each in seen if each[0].startswith(("content", "x-scopeway-m"))] == [
            ["content-type", "application/json"],
            ["x-scopeway-method", "POST"],
        ]

    @pytest.mark.parametrize("more", [[EMPTY], [EMPTY, FORM]])
    def test_a_body_with_a_content_length_of_0_is_refused(
        self, target: Target, more: list[tuple[str, str]]
    ) -> None:
        target.accept({"clouds": ["cloud-3"], "methods": ["POST"]})
        with pytest.raises(Refused):
            target.ask("cloud-3", method="POST", headers=more, body=BODY)

    def test_a_chunked_body_with_a_content_length_of_0_is_refused(self, target: Target) -> None:
        target.accept({"clouds": ["cloud-3"], "methods": ["POST"]})
        chunked = [EMPTY, ("transfer-encoding", "chunked")]
        with pytest.raises(Refused):
            target.ask("cloud-3", method="POST", headers=chunked, body=BODY)

    def test_a_denied_form_is_named_in_the_answer_and_the_log(
        self, fleet: Fleet, front: int, target: Target
    ) -> None:
        target.accept({"clouds": ["cloud-1"], "methods": ["GET", "POST"]})

        assert fleet.eventually(lambda: scoped(front).status == 200)
        empty = send(front, "/image/v2", [("X-Scope", "{image:cloud-2}"), EMPTY], method="POST")
        assert empty.status == 200
        response = scoped(front, method="POST", body=BODY)
        assert response.status == 403
        assert response.error["message"] == (
            "cloud-2 does not let cloud-1 use its image service with a form, which can say another "
            "method, or a POST that may be one: its accept rules for it allow cloud-1 only some "
            "methods; send another Content-Type, or Content-Length: 0"
        )
        (line,) = fleet.envoys["cloud-2"].access_log(response.headers["x-request-id"])
        assert (line["policy"], line["policy_method"]) == ("accept[0] allows GET, POST", "form")

    def test_a_denied_method_is_named_in_the_answer_and_its_rule_in_the_log(
        self, fleet: Fleet, front: int, target: Target
    ) -> None:
        target.accept({"clouds": ["cloud-1"], "methods": READS})

        assert fleet.eventually(lambda: scoped(front).status == 200)
        response = scoped(front, method="DELETE")
        assert response.status == 403
        assert response.error["message"] == (
            "cloud-2 does not let cloud-1 use its image service with DELETE: "
            "its accept rules for it allow cloud-1 other methods"
        )
        (line,) = fleet.envoys["cloud-2"].access_log(response.headers["x-request-id"])
        assert line["policy"] == "accept[0] allows GET, HEAD"

    def test_rules_apply_to_the_current_labels_of_a_caller(
        self, fleet: Fleet, target: Target
    ) -> None:
        target.accept({"clouds": ["[region=eu,tier=edge]"]})
        assert target.ask("cloud-5").status == 403
        with target.connect("cloud-5") as connection:
            for labels, status in (
                ({"region": "eu", "tier": "edge", "zone": "a"}, 200),
                ({"region": "eu"}, 403),
                ({"region": "eu", "tier": "edge"}, 200),
            ):
                fleet.control_plane.put(manifest("cloud-5", labels))
                assert fleet.eventually(
                    lambda status=status: connection.send("/image/v2").status == status
                )

            fleet.control_plane.put(delete=("cloud-5",))
            assert fleet.eventually(lambda: connection.send("/image/v2").status == 403)

    def test_changed_rules_take_effect_on_live_connections(self, target: Target) -> None:
        target.accept({"clouds": ["cloud-3"]})
        with target.connect("cloud-3") as connection:
            assert connection.send("/image/v2").status == 200
            target.accept({"clouds": ["cloud-4"]})
            assert connection.send("/image/v2").status == 403
            target.accept({"clouds": ["cloud-3"]})
            assert connection.send("/image/v2").status == 200

    def test_a_rule_can_allow_only_the_validation_of_tokens(self, target: Target) -> None:
        target.accept({"clouds": ["cloud-3"], "services": ["identity.validate"]})
        tokens = "/v3/auth/tokens"

        assert target.ask("cloud-3", f"/identity.validate{tokens}").status == 200
        assert target.ask("cloud-3", f"/identity{tokens}").status == 403
        assert target.ask("cloud-4", f"/identity.validate{tokens}").status == 403
        target.accept({"clouds": ["cloud-3"], "services": ["identity"]})
        assert target.ask("cloud-3", f"/identity.validate{tokens}").status == 200
        assert target.ask("cloud-3", f"/identity{tokens}").status == 200

    def test_the_front_denies_a_request_before_the_peer_does(
        self, front: int, fleet: Fleet, target: Target
    ) -> None:
        target.accept({"clouds": ["cloud-3"]})
        before = fleet.envoys["cloud-2"].stats("http.peer.rbac")["http.peer.rbac.denied"]
        wanted = "cloud-2 does not let cloud-1 use its image service: none of its accept rules"

        assert fleet.eventually(lambda: scoped(front).status == 403)
        assert scoped(front).error["message"].startswith(wanted)
        after = fleet.envoys["cloud-2"].stats("http.peer.rbac")["http.peer.rbac.denied"]
        assert after == before


class TestAudit:
    def test_audit_mode_lets_denied_requests_through_and_logs_and_counts_them(
        self, front: int, fleet: Fleet, target: Target
    ) -> None:
        target.accept({"clouds": ["cloud-3"], "methods": READS}, mode="audit")
        envoy = fleet.envoys["cloud-2"]
        before = envoy.stats("http.peer.rbac.shadow")

        assert fleet.eventually(lambda: scoped(front).status == 200)
        answers = [
            target.ask("cloud-3"),
            target.ask("cloud-3", method="PUT"),
            target.ask("cloud-9"),
            target.ask("cloud-3", headers=[FORM]),
        ]
        assert [each.status for each in answers] == [200, 200, 200, 200]
        after = envoy.stats("http.peer.rbac.shadow")
        assert after["http.peer.rbac.shadow_allowed"] - before["http.peer.rbac.shadow_allowed"] == 1
        assert after["http.peer.rbac.shadow_denied"] - before["http.peer.rbac.shadow_denied"] >= 3
        lines = [envoy.access_log(each.headers["x-request-id"])[0] for each in answers]
        assert [(each["origin"], each["audit"], each["audit_policy"]) for each in lines] == [
            ("cloud-3", "allowed", "accept[0]"),
            ("cloud-3", "denied", "accept[0] allows GET, HEAD"),
            ("cloud-9", "denied", "none"),
            ("cloud-3", "denied", "accept[0] allows GET, HEAD"),
        ]
        assert [each["policy_method"] for each in lines] == ["GET", "PUT", "GET", "form"]
        assert {each["policy"] for each in lines} == {None}

    def test_audit_mode_refuses_a_connection_without_a_certificate(self, target: Target) -> None:
        target.accept(mode="audit")
        with pytest.raises(Refused):
            target.ask(None)

    def test_the_access_log_of_a_peer_names_the_rule_that_decided(
        self, fleet: Fleet, target: Target
    ) -> None:
        target.accept({"clouds": ["cloud-9"]}, {"clouds": ["cloud-3"], "methods": READS})
        answers = [
            target.ask("cloud-3"),
            target.ask("cloud-3", method="PUT"),
            target.ask("cloud-4"),
        ]
        envoy = fleet.envoys["cloud-2"]

        lines = [envoy.access_log(each.headers["x-request-id"])[0] for each in answers]
        assert [each["policy"] for each in lines] == [
            "accept[1]",
            "accept[1] allows GET, HEAD",
            "none",
        ]
        assert {each["audit"] for each in lines} == {None}
