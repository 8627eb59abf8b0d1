"""What a client meets at the front of a site, through real Envoys and the real control plane."""

from typing import Any

import pytest

from harness.fleet import Fleet, manifest
from harness.http import Connection, Response, send
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.translator.http_connection_managers import MAX_HEADERS, MAX_HEADERS_KB

ANYONE = [{"clouds": ["cloud-1"]}]
GET = "GET /image/ HTTP/1.1\r\nHost: a\r\n"
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def site(fleet: Fleet) -> Cloud:
    """cloud-1 and cloud-2 have Envoys; cloud-3 and cloud-down have none, and the latter is down."""
    fleet.site("cloud-2", services={"image": fleet.service("glance-2")}, accept=ANYONE)
    fleet.control_plane.put(
        manifest(
            "cloud-3",
            services={
                "image": fleet.service("glance-3", path="/img", host="glance.cloud-3.example")
            },
            accept=ANYONE,
        ),
        manifest("cloud-down", services={"image": fleet.nobody()}, accept=ANYONE),
        manifest("cloud-closed", services={"image": fleet.service("glance-3")}),
    )
    return fleet.site("cloud-1", ports=("image",), services={"image": fleet.service("glance-1")})


@pytest.fixture(scope="module")
def front(site: Cloud) -> int:
    """The port of cloud-1's front."""
    assert site.front
    return site.front.port


def header(response: Response, name: str) -> list[str]:
    """The values of a header as the service got them."""
    return [value for key, value in response.json["headers"] if key == name]


def scoped(port: int, scope: str, path: str = "/image/v2/images", **more: Any) -> Response:
    return send(port, path, [("X-Scope", scope)], **more)


def whole_answer(port: int, scope: str) -> bytes:
    """Every byte of an answer: Python's client takes no more than 100 headers."""
    request = f"GET /image/ HTTP/1.1\r\nHost: a\r\nX-Scope: {scope}\r\nConnection: close\r\n\r\n"
    with Connection(port) as connection:
        connection.socket.sendall(request.encode())
        return b"".join(iter(lambda: connection.socket.recv(1 << 16), b""))


class TestRouting:
    def test_a_request_without_a_scope_is_served_by_the_local_service(self, front: int) -> None:
        response = send(front, "/image/v2/images?limit=2")

        assert response.status == 200
        assert (response.json["name"], response.json["path"]) == ("glance-1", "/v2/images?limit=2")
        assert response.headers["x-scopeway-served-by"] == "cloud-1"
        assert response.headers["server"] == "echo"

    @pytest.mark.parametrize(
        ("cloud", "name", "path", "host"),
        [
            ("cloud-2", "glance-2", "/v2/images", "front.example"),
            ("cloud-3", "glance-3", "/img/v2/images", "glance.cloud-3.example"),
        ],
    )
    def test_a_request_with_a_scope_is_served_by_the_cloud_in_it(
        self, front: int, cloud: str, name: str, path: str, host: str
    ) -> None:
        response = scoped(front, f"{{glance:{cloud}}}")

        assert (response.json["name"], response.json["path"]) == (name, path)
        assert header(response, "host") == [host]
        assert header(response, "x-forwarded-host") == ["front.example"]
        assert header(response, "x-forwarded-prefix") == ["/image"]
        assert header(response, "x-forwarded-proto") == ["http"]
        assert header(response, "x-scopeway-origin") == ["cloud-1"]
        assert response.headers["x-scopeway-served-by"] == cloud

    def test_a_single_service_port_keeps_the_path(self, site: Cloud) -> None:
        assert site.front
        port = site.front.ports["image"]

        assert send(port, "/image/v2").json["path"] == "/image/v2"
        assert scoped(port, "{glance:cloud-2}", "/v2/x").json["name"] == "glance-2"

    def test_a_single_service_port_removes_a_forged_prefix(self, site: Cloud) -> None:
        assert site.front
        response = send(site.front.ports["image"], "/v2/images", [("X-Forwarded-Prefix", "/evil")])

        assert header(response, "x-forwarded-prefix") == []

    @pytest.mark.parametrize("cloud", ["cloud-1", "cloud-2", "cloud-3"])
    @pytest.mark.parametrize(
        "path",
        [
            "/v1/a//b",
            "//v1///",
            "/v1/a%2Fb%2fc%2E",
            "/v1/a;b=c,d",
            "/v1/%7B%7C%7D/{x}|y",
            "/v1/a?x=1&y=%2F//&z=a;b?c",
            "/v1/%FF%00",
            "/v1/?",
        ],
    )
    def test_paths_are_forwarded_byte_by_byte(self, front: int, cloud: str, path: str) -> None:
        response = scoped(front, f"{{image:{cloud}}}", f"/image{path}")

        assert response.json["path"] == ("/img" if cloud == "cloud-3" else "") + path

    @pytest.mark.parametrize("scope", ["{image:cloud-2}", "%7Bglance:cloud-2%7D"])
    def test_a_scope_in_the_path_is_removed(self, front: int, scope: str) -> None:
        response = send(front, f"/~{scope}/image/v2//x%2F?y")

        assert (response.json["name"], response.json["path"]) == ("glance-2", "/v2//x%2F?y")
        (prefix,) = header(response, "x-forwarded-prefix")
        assert prefix.endswith("/image")

    def test_a_request_with_an_absolute_url_is_served(self, front: int) -> None:
        response = send(front, "http://other.example/image/v2?x=1", host="other.example")

        assert response.json["path"] == "/v2?x=1"
        assert header(response, "x-forwarded-host") == ["other.example"]

    @pytest.mark.parametrize("cloud", ["cloud-1", "cloud-2", "cloud-3"])
    def test_a_request_body_arrives_complete(self, front: int, cloud: str) -> None:
        response = scoped(front, f"{{image:{cloud}}}", method="POST", body=b"x" * 100_000)

        assert (response.json["method"], response.json["length"]) == ("POST", 100_000)

    @pytest.mark.parametrize("cloud", ["cloud-1", "cloud-2", "cloud-3"])
    def test_a_websocket_is_forwarded(self, front: int, cloud: str) -> None:
        upgrade = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("X-Scope", f"{{image:{cloud}}}"),
        ]
        with Connection(front) as connection:
            response = connection.send("/image/console", upgrade)
            connection.socket.sendall(b"hello")

            assert response.status == 101
            assert connection.socket.recv(100) == b"hello"

    def test_targets_have_no_statistics_of_their_own(self, fleet: Fleet, front: int) -> None:
        assert scoped(front, "{image:cloud-2}").status == 200
        envoy = fleet.envoys["cloud-1"]

        assert envoy.stats("cluster.image@") == {}
        assert envoy.stats("cluster.control_plane.upstream_cx_total")
        assert envoy.stats("http.front.downstream_rq_total")


class TestRefusals:
    """Each answer is OpenStack-shaped JSON with a reason."""

    @pytest.mark.parametrize(
        ("scope", "status", "reason"),
        [
            ("{glance:cloud-9}", 404, "cloud-9"),
            ("{glance:cloud-closed}", 403, "cloud-closed"),
            ("{glance:cloud-2 ^ cloud-3}", 501, "cloud-1 has no collector"),
            ("{glance:cloud-2", 400, ""),
            ("{glance:cloud-2;image:cloud-3}", 400, ""),
            ("{glance:cloud-\xff}", 400, ""),
            ("{glance:cloud-\xe2\x82\xac}", 400, ""),
            ("{glance:%REQ(authorization)%}", 400, ""),
            ("{glance:cloud-2 % cloud-3}", 501, "%"),
        ],
    )
    def test_a_scope_that_cannot_be_served_gets_a_status_and_a_reason(
        self, front: int, scope: str, status: int, reason: str
    ) -> None:
        for method in ("GET", "POST"):
            response = scoped(
                front, scope, method=method, body=b"1234" if method == "POST" else b""
            )

            assert (response.status, response.error["code"]) == (status, status)
            assert reason in response.error["message"]
            assert response.error["title"]

    @pytest.mark.parametrize("cloud", ["cloud-1", "cloud-2"])
    def test_a_request_with_two_hosts_is_refused(self, front: int, cloud: str) -> None:
        """Envoy joins them with a comma, and services would make links of that."""
        response = scoped(front, f"{{image:{cloud}}}", host="a.example\r\nHost: b.example")

        assert (response.status, response.error["code"]) == (400, 400)
        assert response.error["message"] == "more than one Host, or one with a comma"

    def test_a_request_with_two_scopes_is_refused(self, front: int) -> None:
        response = send(
            front, "/image/", [("X-Scope", "{image:cloud-2}"), ("x-scope", "{compute:cloud-3}")]
        )

        assert (response.status, response.error["code"]) == (400, 400)

    def test_a_format_string_in_a_scope_is_not_evaluated(self, front: int) -> None:
        response = scoped(front, "{image:[a=%REQ(host)%]}")

        assert (response.status, response.error["code"]) == (400, 400)
        assert "%req(host)%" in response.error["message"]
        assert "front.example" not in response.error["message"]

    def test_an_unreachable_cloud_is_named_in_a_503(self, front: int) -> None:
        response = scoped(front, "{image:cloud-down}")

        assert (response.status, response.error["code"]) == (503, 503)
        expected = "image@cloud-down cannot be reached: connection refused"
        assert response.error["message"] == expected
        assert response.headers["x-scopeway-served-by"] == "cloud-1"

    def test_a_service_that_closes_the_connection_is_named_in_a_503(
        self, fleet: Fleet, front: int
    ) -> None:
        fleet.site("cloud-mute", services={"image": fleet.service("mute")}, accept=ANYONE)
        fleet.echo("mute").raw = b""
        response = scoped(front, "{image:cloud-mute}")

        assert (response.status, response.error["code"]) == (503, 503)
        expected = "no answer from image@cloud-mute: the connection was closed"
        assert response.error["message"] == expected

    def test_an_unknown_service_in_the_path_is_a_404(self, front: int) -> None:
        assert send(front, "/nonsense/v2").error["code"] == 404

    def test_a_refusal_of_the_lua_filter_reaches_the_client(self, front: int) -> None:
        response = send(front, "/image/v2", [("X-Scope", "nosuch:a")])

        assert (response.status, response.error["code"]) == (400, 400)
        assert "no such service: 'nosuch'" in response.error["message"]

    @pytest.mark.parametrize(
        ("status", "why", "request_"),
        [
            (400, "it is no well-formed HTTP/1.1", "GET image/v2 HTTP/1.1\r\nHost: a"),
            (400, "it is no well-formed HTTP/1.1", f"{GET}X-Scope : {{}}"),
            (400, "it is no well-formed HTTP/1.1", f"{GET}Content-Length: 4\r\nContent-Length: 5"),
            (400, "it is no well-formed HTTP/1.1", f"{GET}{CHUNKED}\r\n\r\nzz"),
            (
                400,
                "it has Content-Length and Transfer-Encoding",
                f"{GET}Content-Length: 4\r\n{CHUNKED}",
            ),
            (501, "its Transfer-Encoding is not just chunked", f"{GET}Transfer-Encoding: gzip"),
            (400, "a header has a character that HTTP forbids", f"{GET}X-A: a\0b"),
            (400, "its Connection header names what it must not", f"{GET}Connection: :path"),
            (400, "it has no Host", "GET /image/ HTTP/1.1\r\nX-A: a"),
            (400, "its Host is malformed", "GET /image/ HTTP/1.1\r\nHost: a b"),
            (400, "its URL is malformed", "CONNECT /image/ HTTP/1.1\r\nHost: a"),
            (
                400,
                "its URL begins with neither http:// nor https://",
                "GET ftp://a/image/ HTTP/1.1\r\nHost: a",
            ),
            (
                403,
                "its URL says https, but it came without TLS",
                "GET https://a/image/ HTTP/1.1\r\nHost: a",
            ),
            (404, "its path does not begin with a slash", "OPTIONS * HTTP/1.1\r\nHost: a"),
            (
                400,
                "its path has a #, which clients keep to themselves",
                "GET /image/v2#a HTTP/1.1\r\nHost: a",
            ),
            (426, "it is older than HTTP/1.1", "GET /image/ HTTP/1.0"),
        ],
    )
    def test_a_request_that_envoy_refuses_gets_a_reason(
        self, front: int, status: int, why: str, request_: str
    ) -> None:
        with Connection(front) as connection:
            connection.socket.sendall(f"{request_}\r\n\r\n".encode())
            response = connection.read()

        assert (response.status, response.error["code"]) == (status, status)
        assert response.error["message"] == f"the Envoy of cloud-1 refused this: {why}"
        assert response.headers["x-scopeway-rejected"] == "true"

    def test_a_login_above_the_limit_is_a_413(self, front: int) -> None:
        chunks = (b"x" * 65_536 for _ in range(40))
        response = send(front, "/identity/v3/auth/tokens", method="POST", body=chunks)

        assert (response.status, response.error["code"]) == (413, 413)
        assert response.error["message"] == (
            "the Envoy of cloud-1 refused this: its body is too long: "
            "a login has at most 65536 bytes"
        )

    @pytest.mark.parametrize("cloud", ["cloud-1", "cloud-2", "cloud-3"])
    @pytest.mark.parametrize(
        "raw", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n%b\r\n" % (b"a: b\r\n" * 300)]
    )
    def test_a_malformed_answer_of_a_service_is_a_502(
        self, fleet: Fleet, front: int, cloud: str, raw: bytes
    ) -> None:
        glance = fleet.echo(cloud.replace("cloud", "glance"))
        glance.raw = raw
        try:
            response = scoped(front, f"{{image:{cloud}}}")
        finally:
            glance.raw = None

        assert (response.status, response.error["code"]) == (502, 502)
        assert response.error["message"] == (
            f"image@{cloud} answered what is no HTTP, or has too many or too long headers"
        )

    def test_an_envoy_without_filters_answers_500_with_the_reason(
        self, fleet: Fleet, front: int
    ) -> None:
        """The Lua of its first configuration was invalid."""
        fleet.control_plane.replace_lua("nonsense(")
        try:
            cloud = fleet.site("cloud-bare", services={"image": fleet.service("glance-2")})
            assert cloud.front
            response = send(cloud.front.port, "/image/")
        finally:
            fleet.control_plane.replace_lua(None)

        assert (response.status, response.error["code"]) == (500, 500)
        assert response.error["message"] == (
            "the Envoy of cloud-bare has no filters from its control plane yet"
        )

    @pytest.mark.parametrize("cloud", ["cloud-1", "cloud-2", "cloud-3", "cloud-down|cloud-2"])
    def test_headers_up_to_the_limit_of_the_front_pass_every_hop(
        self, front: int, cloud: str
    ) -> None:
        """Every hop adds headers of its own."""
        scope = ("X-Scope", f"{{image:{cloud}}}")
        many = [(f"x-object-meta-{number}", "x") for number in range(MAX_HEADERS - 2)]
        long = [("X-Auth-Token", "X" * (MAX_HEADERS_KB * 1024 - 200))]

        for headers in (many, long):
            response = send(front, "/image/", [scope, *headers])

            assert response.status == 200, response.body
            assert header(response, headers[-1][0].lower()) != []

    @pytest.mark.parametrize("cloud", ["cloud-1", "cloud-2", "cloud-3", "cloud-down|cloud-2"])
    def test_response_headers_up_to_the_limit_pass_every_hop(
        self, fleet: Fleet, front: int, cloud: str
    ) -> None:
        glance = fleet.echo(cloud.rpartition("|")[2].replace("cloud", "glance"))
        many = [(f"x-object-meta-{number}", "x") for number in range(MAX_HEADERS - 3)]
        long = [("x-subject-token", "X" * (MAX_HEADERS_KB * 1024 - 200))]
        for headers in (many, long):
            glance.headers = headers
            try:
                answer = whole_answer(front, f"{{image:{cloud}}}")
            finally:
                glance.headers = ()

            assert answer.startswith(b"HTTP/1.1 200 "), answer[:1000]
            assert all(f"{name}: {value}\r\n".encode() in answer for name, value in headers)

    @pytest.mark.parametrize(
        ("why", "headers"),
        [
            ("its headers, with the URL, are too long", [("X-Long", "x" * 100_000)]),
            ("its headers, with the URL, are too long", [("X-Long", "x" * MAX_HEADERS_KB * 1024)]),
            ("it has too many headers", [(f"a-{n}", "x") for n in range(MAX_HEADERS)]),  # and Host
        ],
    )
    def test_headers_above_the_limits_are_a_431(
        self, front: int, why: str, headers: list[tuple[str, str]]
    ) -> None:
        response = send(front, "/image/", headers)

        assert (response.status, response.error["code"]) == (431, 431)
        assert response.error["message"] == f"the Envoy of cloud-1 refused this: {why}"


class TestForgery:
    """Nothing that a client or a service claims in the proxy's own headers is believed."""

    FORGED = (
        ("x-envoy-original-path", "/evil"),
        ("x-envoy-retry-on", "5xx,gateway-error"),
        ("x-envoy-max-retries", "9"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
        ("x-envoy-internal", "true"),
        ("x-envoy-decorator-operation", "evil"),
        ("x-envoy-anything", "evil"),
        ("x-scopeway-target", "image@cloud-3"),
        ("x-scopeway-origin", "evil"),
        ("x-scopeway-answer", "evil"),
        ("x-scopeway-status", "418"),
        ("x-scopeway-reason", "evil"),
        ("x-scopeway-unsent", "true"),
        ("x-scopeway-anything", "evil"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Prefix", "/evil"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-Port", "666"),
        ("Forwarded", "host=evil.example"),
        ("x_forwarded_host", "evil.example"),
        ("x-auth_token", "evil"),
        ("x_scope", "{image:cloud-3}"),
        ("X-Request-Id", "evil"),
    )

    @pytest.mark.parametrize("cloud", ["cloud-1", "cloud-2", "cloud-3"])
    def test_forged_headers_of_a_client_are_overwritten_or_removed(
        self, front: int, cloud: str
    ) -> None:
        headers = [("X-Scope", f"{{image:{cloud}}}"), *self.FORGED]
        response = send(front, "/image/v2/images", headers)

        assert response.json["name"] == cloud.replace("cloud", "glance")
        assert response.json["path"].endswith("/v2/images")
        assert "evil" not in str(response.json["headers"])
        assert "6.6.6.6" not in str(response.json["headers"])
        assert header(response, "x-forwarded-host") == ["front.example"]
        assert header(response, "x-forwarded-proto") == ["http"]
        assert header(response, "x-forwarded-prefix") == ["/image"]
        assert not [name for name, _ in response.json["headers"] if name.startswith("x-envoy-")]

    @pytest.mark.parametrize(
        ("scope", "arrives"),
        [("{}", ["svc"]), ("{image:cloud-2}", []), ("{image:cloud-3}", [])],
    )
    def test_a_service_token_does_not_leave_its_cloud(
        self, front: int, scope: str, arrives: list[str]
    ) -> None:
        response = send(front, "/image/", [("X-Scope", scope), ("X-Service-Token", "svc")])

        assert header(response, "x-service-token") == arrives

    def test_other_headers_with_underscores_are_forwarded(self, front: int) -> None:
        response = send(front, "/image/", [("x-object-meta-a_b", "kept")])

        assert header(response, "x-object-meta-a_b") == ["kept"]

    def test_a_client_cannot_request_retries(self, fleet: Fleet, front: int) -> None:
        glance = fleet.echo("glance-1")
        before = glance.requests
        glance.status = 503
        try:
            response = send(front, "/image/", [("x-envoy-retry-on", "5xx")])
        finally:
            glance.status = 200

        assert (response.status, glance.requests - before) == (503, 1)

    @pytest.mark.parametrize("cloud", ["cloud-1", "cloud-2", "cloud-3", "cloud-down|cloud-3"])
    def test_forged_headers_of_a_service_are_overwritten_or_removed(
        self, fleet: Fleet, front: int, cloud: str
    ) -> None:
        last = cloud.rpartition("|")[2]
        glance = fleet.echo(last.replace("cloud", "glance"))
        requests = ("target", "origin", "service", "reason", "answer")
        names = ("served-by", "unsent", "rejected", *requests)
        glance.headers = [(f"x-scopeway-{name}", "true") for name in names]
        try:
            response = scoped(front, f"{{image:{cloud}}}")
        finally:
            glance.headers = ()
        ours = {name: value for name, value in response.headers.items() if "scopeway" in name}

        assert response.json["name"] == glance.name
        assert ours == {"x-scopeway-served-by": last, "x-scopeway-rejected": "false"}

    def test_only_answers_made_by_envoy_are_marked_as_rejected(self, front: int) -> None:
        fine, unknown = scoped(front, "{image:cloud-2}"), scoped(front, "{image:cloud-9}")
        down = scoped(front, "{image:cloud-down}")

        assert "x-scopeway-rejected" not in fine.headers
        assert unknown.headers.get_all("x-scopeway-rejected") == ["true"]
        assert down.headers.get_all("x-scopeway-rejected") == ["true"]

    def test_answers_made_by_the_peer_of_another_cloud_stay_marked_as_rejected(
        self, fleet: Fleet, front: int
    ) -> None:
        fleet.site("cloud-hollow", services={"image": fleet.nobody()}, accept=ANYONE)
        response = scoped(front, "{image:cloud-hollow}")

        assert response.error["message"].startswith("image@cloud-hollow cannot be reached")
        assert response.headers.get_all("x-scopeway-rejected") == ["true"]
