"""The bundles in a real Envoy: real bodies, answers and errors, which a stand-in can only imitate.

There is one Envoy with a static configuration. Each listener has a Lua text of its own, and every
cluster is the same service, which returns the request that it got.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from harness.background import Background
from harness.echo import Echo
from harness.envoy import Envoy
from harness.http import Response, send
from harness.ports import free_ports
from scopeway.control_plane.scope import ALIASES, SERVICE_TYPES
from scopeway.lua_filters import bundle

pytestmark = pytest.mark.envoy

CONSTANTS = {
    "site": "cloud-1",
    "services": {**ALIASES, **{service: service for service in SERVICE_TYPES}},
}
FRONT = bundle("front", CONSTANTS)
ANSWERS = bundle("answers", CONSTANTS)
BROKEN_ANSWERS = ANSWERS + "modules.answers.on_response = function() error('broken') end"
SCRIPTS = {
    "front": FRONT,
    "image": bundle("front", {**CONSTANTS, "service": "image"}),
    "few": bundle("front", {**CONSTANTS, "max_targets": 1}),
    "plain": bundle("front", {**CONSTANTS, "http": {"image": {"x-api-key": True}}}),
    "peer": bundle("peer", CONSTANTS),
    "broken request": FRONT + "modules.path.split = function() error('broken') end",
    "broken answer": FRONT,
}
TARGETS = [
    *("image@cloud-1", "image@cloud-3", "compute@cloud-1"),
    *("identity@cloud-1", "identity@cloud-2", "identity.validate@cloud-2"),
]
TYPES = "type.googleapis.com/envoy.extensions"
TOKEN = "gAAAAABk"
SCOPE = "{keystone:cloud-2;glance:cloud-3}"
COMPLETED = "*:cloud-1;identity:cloud-2;image:cloud-3"


def listener(name: str, port: int, script: str) -> dict[str, Any]:
    lua = {
        "@type": f"{TYPES}.filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string": script},
        "source_codes": {
            "answers": {"inline_string": BROKEN_ANSWERS if name == "broken answer" else ANSWERS}
        },
    }
    route = {"cluster_header": "x-scopeway-target"}
    is_awaited = [{"name": "x-scopeway-answer", "present_match": True}]
    edited = {"@type": f"{TYPES}.filters.http.lua.v3.LuaPerRoute", "name": "answers"}
    routes = [
        {
            "match": {"prefix": "/", "headers": is_awaited},
            "route": route,
            "typed_per_filter_config": {"lua": edited},
        },
        # the name by which a site's front says that the body of a login is bounded
        {"name": "login", "match": {"prefix": "/"}, "route": route},
    ]
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "normalize_path": False,  # as at a site: no byte of a path is touched
        "http_filters": [
            {"name": "lua", "typed_config": lua},
            {
                "name": "router",
                "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"},
            },
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": routes,
                }
            ]
        },
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def cluster(name: str, port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {"name": name, "load_assignment": {"cluster_name": name, "endpoints": endpoints}}


class Site:
    """The Envoy and the service behind it."""

    def __init__(self, service: Echo, ports: dict[str, int]) -> None:
        self.service = service
        self.ports = ports

    def send(self, listener: str, path: str, *headers: tuple[str, str], **more: Any) -> Response:
        return send(self.ports[listener], path, headers, **more)

    def asked(self, listener: str, path: str, *headers: tuple[str, str], **more: Any) -> Any:
        """What the service was asked, its headers as a dictionary."""
        answer = self.send(listener, path, *headers, **more)
        assert answer.status == self.service.status, answer.body
        return {**answer.json, "headers": dict(answer.json["headers"])}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    background = Background()
    service = Echo("echo").start(background)
    ports = dict(zip(SCRIPTS, free_ports(len(SCRIPTS)), strict=True))
    listeners = [listener(name, ports[name], script) for name, script in SCRIPTS.items()]
    clusters = [cluster(target, service.port) for target in TARGETS]
    bootstrap = {
        "node": {"id": "cloud-1/lua", "cluster": "cloud-1"},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }
    envoy = Envoy(bootstrap, tmp_path_factory.mktemp("envoy"))
    try:
        envoy.wait_ready()
        yield Site(service, ports)
    finally:
        envoy.stop()
        service.stop(background)
        background.close()


@pytest.fixture
def site(running: Site) -> Site:
    running.service.status, running.service.headers = 200, ()
    return running


def login(token: str) -> bytes:
    return json.dumps({"auth": {"identity": {"token": {"id": token}}}}).encode()


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


class TestRequests:
    def test_envoy_forwards_a_request_without_a_scope(self, site: Site) -> None:
        asked = site.asked("front", "/image/v2/a//b%2Fc;d?e=%2F", ("X-Auth-Token", TOKEN))

        assert asked["path"] == "/v2/a//b%2Fc;d?e=%2F"
        assert asked["headers"]["x-auth-token"] == TOKEN
        assert asked["headers"]["x-scopeway-target"] == "image@cloud-1"

    def test_envoy_forwards_a_request_with_a_scope(self, site: Site) -> None:
        asked = site.asked("front", "/image/v2", ("X-Auth-Token", TOKEN), ("X-Scope", SCOPE))

        assert asked["headers"]["x-scopeway-target"] == "image@cloud-3"
        assert asked["headers"]["x-auth-token"] == f"{TOKEN}~1~{COMPLETED}"

    def test_envoy_forwards_a_request_with_a_scope_in_the_path(self, site: Site) -> None:
        asked = site.asked("image", "/~%7Bglance:cloud-3%7D/v2/images")

        assert asked["path"] == "/v2/images"
        assert asked["headers"]["x-scopeway-target"] == "image@cloud-3"
        assert asked["headers"]["x-forwarded-prefix"] == "/~{glance:cloud-3}"

    def test_envoy_removes_all_but_listed_headers_of_the_protocol_http(self, site: Site) -> None:
        """So many that a list which changes while it is read would leave some."""
        secrets = [(f"X-Secret-{number % 40}", "s") for number in range(80)]
        listed = [("Accept", "a/b"), ("X-Api-Key", "k")]
        scope = ("X-Scope", "glance:cloud-3")
        asked = site.asked("plain", "/image/v2", *secrets[:40], *listed, *secrets[40:], scope)

        ours = {"x-forwarded-proto", "x-request-id", "x-envoy-expected-rq-timeout-ms", "host"}
        assert {name: asked["headers"][name] for name in asked["headers"].keys() - ours} == {
            "accept": "a/b",
            "x-api-key": "k",
            "x-scopeway-route": "http",
            "x-scopeway-service": "image",
            "x-scopeway-target": "image@cloud-3",
        }
        at_home = site.asked("plain", "/image/v2", *secrets, *listed)["headers"]
        assert {name.lower() for name, _ in secrets} <= at_home.keys()

    def test_envoy_forwards_a_request_at_the_peer(self, site: Site) -> None:
        asked = site.asked("peer", "/image/v2", ("X-Auth-Token", f"{TOKEN}~1~{COMPLETED}"))

        assert asked["path"] == "/v2"
        assert asked["headers"]["x-auth-token"] == f"{TOKEN}~1~{COMPLETED}"
        assert asked["headers"]["x-scopeway-target"] == "image@cloud-1"

    def test_envoy_forwards_a_validation_elsewhere(self, site: Site) -> None:
        site.service.status = 404  # what is made of a 200 is for tests/e2e
        asked = site.asked(
            "front",
            "/identity/v3/auth/tokens",
            ("X-Auth-Token", "glance-service"),
            ("X-Subject-Token", f"{TOKEN}~1~{COMPLETED}"),
            ("Accept-Encoding", "gzip"),
        )["headers"]

        assert asked["x-scopeway-target"] == "identity.validate@cloud-2"
        assert (asked["x-auth-token"], asked["x-subject-token"]) == (TOKEN, TOKEN)
        assert "accept-encoding" not in asked

    @pytest.mark.parametrize(
        ("path", "headers"),
        [
            ("/image/v2", [("X-Scope", "glance:a"), ("X-Scope", "nova:b")]),
            ("/image/v2", [("X-Scope", "glance:\xff")]),
            ("/image/v2", [("X-Scope", "%ENVIRONMENT(HOME)%")]),
            ("/image/v2", [("X-Auth-Token", f"{TOKEN}~1~{SCOPE}~1~{SCOPE}")]),
            ("/image/../compute", []),
            ("/image/%2e%2e/compute", []),
        ],
    )
    def test_envoy_refuses_a_malformed_request(
        self, site: Site, path: str, headers: list[tuple[str, str]]
    ) -> None:
        asked_before = site.service.requests
        answer = site.send("front", path, *headers)

        assert (answer.status, answer.error["code"]) == (400, 400)
        assert site.service.requests == asked_before

    def test_envoy_refuses_a_head_request_without_a_body(self, site: Site) -> None:
        answer = site.send("front", "/nope", method="HEAD")

        assert (answer.status, answer.body) == (404, b"")

    def test_envoy_refuses_an_upload_and_keeps_the_connection(self, site: Site) -> None:
        answer = site.send("front", "/nope", method="PUT", body=b"x" * 100_000)

        assert answer.error["message"] == "no service 'nope' at cloud-1: a path begins like /image/"

    def test_envoy_limits_targets(self, site: Site) -> None:
        assert site.send("few", "/image/v2", ("X-Scope", "glance:cloud-3")).status == 200
        assert site.send("few", "/image/v2", ("X-Scope", "glance:cloud-4")).status == 429
        assert site.send("few", "/image/v2", ("X-Scope", "glance:cloud-3")).status == 200


class TestLogins:
    PATH = "/identity/v3/auth/tokens"

    @pytest.mark.parametrize("chunked", [False, True])
    def test_envoy_strips_the_body_of_a_login(self, site: Site, chunked: bool) -> None:
        body = login(f"{TOKEN}~1~{COMPLETED}")
        sent = [body[:50], body[50:]] if chunked else body
        asked = site.asked("front", self.PATH, method="POST", body=sent)

        assert asked["headers"]["x-scopeway-target"] == "identity@cloud-2"
        assert (asked["length"], asked["sha256"]) == (len(login(TOKEN)), sha256(login(TOKEN)))

    @pytest.mark.parametrize("body", [b"", b"{}", login(TOKEN), b"x" * 65536])
    def test_envoy_forwards_any_other_login_body_unchanged(self, site: Site, body: bytes) -> None:
        asked = site.asked("front", self.PATH, method="POST", body=body)

        assert (asked["length"], asked["sha256"]) == (len(body), sha256(body))

    @pytest.mark.parametrize("length", [65537, 3_000_000])
    @pytest.mark.parametrize("chunked", [False, True])
    def test_envoy_refuses_a_login_body_above_the_limit(
        self, site: Site, length: int, chunked: bool
    ) -> None:
        body = b"x" * length
        sent = (body[at : at + 20_000] for at in range(0, length, 20_000)) if chunked else body
        asked_before = site.service.requests
        try:
            answer = site.send("front", self.PATH, method="POST", body=sent)
        except ConnectionError:  # refused while it was being sent
            pass
        else:
            assert answer.status == 413
        assert site.service.requests == asked_before

    def test_envoy_adds_the_scope_to_a_returned_token(self, site: Site) -> None:
        site.service.status, site.service.headers = 201, [("X-Subject-Token", TOKEN)]
        answer = site.send("front", self.PATH, ("X-Scope", SCOPE), method="POST", body=b"{}")

        assert (answer.status, answer.headers["x-subject-token"]) == (201, f"{TOKEN}~1~{COMPLETED}")
        assert answer.json["headers"]

    def test_envoy_leaves_a_returned_token_without_a_scope_unchanged(self, site: Site) -> None:
        site.service.status, site.service.headers = 201, [("X-Subject-Token", TOKEN)]
        answer = site.send("front", self.PATH, method="POST", body=b"{}")

        assert answer.headers["x-subject-token"] == TOKEN

    def test_envoy_returns_a_refusal_of_the_filter_itself_unchanged(self, site: Site) -> None:
        """Envoy leads what the filter answers back through it."""
        for number in range(3):
            scope = ("X-Scope", f"keystone:cloud-{number + 5}")
            answer = site.send("few", self.PATH, scope, method="POST", body=b"{}")

        assert answer.status == 429
        assert answer.error["code"] == 429

    def test_envoy_withholds_a_returned_token_that_already_has_a_scope(self, site: Site) -> None:
        forged = f"{TOKEN}~1~identity:cloud-9"
        site.service.status, site.service.headers = 201, [("X-Subject-Token", forged)]
        answer = site.send("front", self.PATH, ("X-Scope", SCOPE), method="POST", body=b"{}")

        assert (answer.status, answer.error["code"]) == (502, 502)
        assert "x-subject-token" not in answer.headers


class TestFailingClosed:
    def test_envoy_refuses_a_request_with_a_forged_answer_header(self, site: Site) -> None:
        """Listeners of a site remove the header before; here nothing does."""
        asked_before = site.service.requests
        forged = [("x-scopeway-answer", "x"), ("x-scopeway-target", "image@cloud-1")]
        answer = site.send("front", "/image/v2", *forged)

        assert (answer.status, answer.error["code"]) == (500, 500)
        assert site.service.requests == asked_before

    def test_envoy_answers_500_for_an_error_on_the_request_path(self, site: Site) -> None:
        asked_before = site.service.requests
        answer = site.send("broken request", "/image/v2", ("X-Auth-Token", TOKEN))

        assert (answer.status, answer.error["code"]) == (500, 500)
        assert site.service.requests == asked_before

    def test_envoy_withholds_the_answer_for_an_error_on_the_response_path(self, site: Site) -> None:
        site.service.status, site.service.headers = 201, [("X-Subject-Token", TOKEN)]
        path = "/identity/v3/auth/tokens"
        answer = site.send("broken answer", path, ("X-Scope", SCOPE), method="POST", body=b"{}")

        assert (answer.status, answer.error["code"]) == (502, 502)
        assert "x-subject-token" not in answer.headers
        assert TOKEN.encode() not in answer.body
