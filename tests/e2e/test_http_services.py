"""Services of the protocol `http`: two sites with mutual TLS between them, and no Keystone."""

import uuid
from collections.abc import Iterator, Sequence

import pytest

from harness.collector import start_collector
from harness.fleet import Fleet, manifest
from harness.http import Connection, Response, send
from harness.http2 import send2
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.service_type import ServiceList, ServiceType
from scopeway.control_plane.translator.dropped_headers import DROPPED_RESPONSE_HEADERS

pytestmark = pytest.mark.fleet(certificates=True)

CREDENTIALS = {
    "authorization": "Bearer of-this-site",
    "cookie": "session=1",
    "proxy-authorization": "Basic cHJveHk6",
    "referer": "http://front.example/?token=secret",
    "sec-websocket-protocol": "bearer.secret",
    "x-api-key": "secret",
    "x-anything": "secret",
    "x-auth-token": "gAAAAABk~1~*:cloud-9",
    "x-service-token": "secret",
    "x-subject-token": "secret",
}
NEEDED = {
    "accept": "application/json",
    "cache-control": "no-cache",
    "content-type": "text/plain",
    "if-none-match": '"a"',
    "range": "bytes=0-9",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "user-agent": "curl/8",
}
FORWARDED = {"authorization", "x-auth-token", "x-api-key"}
LISTS = (ServiceList(path="/readings"),)
OWN = ["{}", "{sensor:cloud-1}", "{probe:local}", "{keystone:cloud-2}"]
LISTED = b'HTTP/1.1 200 OK\r\ncontent-type: a/json\r\ncontent-length: 10\r\n\r\n[{"id":%d}]'
ELSEWHERE = ["cloud-2", "direct", "cloud-2|cloud-1", "down|direct", "[tier=edge]"]
"""A peer, a cloud without an Envoy, one of several by `dispatch`, and a label."""


@pytest.fixture(scope="module")
def site(fleet: Fleet) -> Cloud:
    fleet.control_plane.declare(
        ServiceType(name="sensor", aliases=("probe",), lists=LISTS),
        ServiceType(name="camera", forward=tuple(sorted(FORWARDED)), lists=LISTS),
    )
    rules = [
        {"clouds": ["cloud-1"], "services": ["sensor"]},
        {"clouds": ["cloud-1"], "services": ["camera"], "methods": ["GET"]},
    ]
    fleet.site("cloud-2", labels={"tier": "edge"}, services=services(fleet, 2), accept=rules)
    fleet.control_plane.put(
        manifest("direct", services=services(fleet, 3), accept=rules),
        manifest("down", services={"sensor": fleet.nobody()}, accept=rules),
        manifest("strict", services=services(fleet, 3), accept=rules[1:]),
    )
    folder = fleet.collector_folder("cloud-1")
    return fleet.site("cloud-1", ports=("sensor",), services=services(fleet, 1), collector=folder)


def services(fleet: Fleet, number: int) -> dict[str, object]:
    return {word: fleet.service(f"{word}-{number}") for word in ("sensor", "camera")}


@pytest.fixture
def front(fleet: Fleet, site: Cloud) -> Iterator[int]:
    assert site.front
    yield site.front.port
    for echo in fleet.echoes.values():
        echo.headers, echo.status, echo.raw = (), 200, None


def ask(port: int, path: str, scope: str | None = None, *headers: tuple[str, str]) -> Response:
    return send(port, path, [*([("X-Scope", scope)] if scope is not None else []), *headers])


def arrived(response: Response) -> dict[str, str]:
    """Return the client's headers that the service got."""
    assert response.status == 200, response.body
    return of_client(response.json["headers"])


def of_client(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in headers if name in {*CREDENTIALS, *NEEDED}}


class TestScope:
    def test_a_request_without_a_scope_is_served_by_the_own_cloud(self, front: int) -> None:
        response = ask(front, "/sensor/readings?last=1")

        assert response.json["name"] == "sensor-1"
        assert response.json["path"] == "/readings?last=1"
        assert response.headers["x-scopeway-served-by"] == "cloud-1"

    @pytest.mark.parametrize("scope", ["{sensor: cloud-2}", "probe:cloud-2", "{*: cloud-2}"])
    def test_the_scope_header_names_the_cloud_of_a_plain_service(
        self, front: int, scope: str
    ) -> None:
        response = ask(front, "/sensor/readings", scope)

        assert response.json["name"] == "sensor-2"
        assert response.json["path"] == "/readings"
        assert response.headers["x-scopeway-served-by"] == "cloud-2"
        assert "x-scope" not in dict(response.json["headers"])

    def test_a_scope_in_the_path_names_the_cloud_of_a_plain_service(self, front: int) -> None:
        response = ask(front, "/~%7Bsensor:cloud-2%7D/sensor/readings")
        got = dict(response.json["headers"])

        assert response.json["name"] == "sensor-2"
        assert response.json["path"] == "/readings"
        assert got["x-forwarded-prefix"] == "/~{sensor:cloud-2}/sensor"
        assert got["x-scopeway-origin"] == "cloud-1"

    def test_a_plain_service_may_have_a_port_of_its_own(self, site: Cloud) -> None:
        assert site.front
        port = site.front.ports["sensor"]

        assert ask(port, "/readings").json["name"] == "sensor-1"
        assert ask(port, "/readings", "{sensor:cloud-2}").json["name"] == "sensor-2"
        in_path = ask(port, "/~{sensor:cloud-2}/sensor/a").json
        assert (in_path["name"], in_path["path"]) == ("sensor-2", "/sensor/a")

    def test_a_token_with_a_scope_decides_nothing_about_a_plain_service(self, front: int) -> None:
        response = ask(front, "/sensor/a", None, ("X-Auth-Token", "t~1~sensor:cloud-2"))

        assert response.json["name"] == "sensor-1"
        assert arrived(response) == {"x-auth-token": "t~1~sensor:cloud-2"}

    def test_a_mistyped_service_is_refused_with_a_suggestion(self, front: int) -> None:
        scope = ask(front, "/sensor/a", "{sensr:cloud-2}")
        path = ask(front, "/snesor/a")

        assert (scope.status, path.status) == (400, 404)
        assert scope.error["message"] == (
            "column 2: no such service: 'sensr'; did you mean 'sensor'?"
        )
        assert path.error["message"] == "no service 'snesor' at cloud-1; did you mean /sensor/?"


class TestRequestHeaders:
    ALL = (*CREDENTIALS.items(), *NEEDED.items())

    @pytest.mark.parametrize("scope", OWN)
    def test_a_service_of_the_own_cloud_gets_all_headers(self, front: int, scope: str) -> None:
        response = ask(front, "/sensor/a", scope, *self.ALL)

        assert response.json["name"] == "sensor-1"
        assert arrived(response) == {**CREDENTIALS, **NEEDED}

    @pytest.mark.parametrize("expression", ELSEWHERE)
    def test_another_cloud_gets_only_the_headers_that_http_needs(
        self, front: int, expression: str
    ) -> None:
        response = ask(front, "/sensor/a", f"{{sensor:{expression}}}", *self.ALL)

        assert response.json["name"] in {"sensor-2", "sensor-3"}
        assert arrived(response) == NEEDED

    @pytest.mark.parametrize("expression", ["cloud-2", "direct", "cloud-2|cloud-1"])
    def test_another_cloud_gets_the_headers_that_the_service_type_forwards(
        self, front: int, expression: str
    ) -> None:
        response = ask(front, "/camera/a", f"{{camera:{expression}}}", *self.ALL)

        assert response.json["name"] in {"camera-2", "camera-3"}
        assert arrived(response) == {**NEEDED, **{name: CREDENTIALS[name] for name in FORWARDED}}

    def test_several_headers_of_one_name_stay_at_the_site(self, front: int) -> None:
        twice = [("Cookie", "a=1"), ("X-Secret", "1"), ("cookie", "b=2"), ("X-SECRET", "2")]
        response = ask(front, "/sensor/a", "{sensor:cloud-2}", *twice)

        assert not {"cookie", "x-secret"} & dict(response.json["headers"]).keys()

    def test_headers_of_http_2_stay_at_the_site_too(self, front: int) -> None:
        headers = [("x-scope", "{sensor:cloud-2}"), *CREDENTIALS.items(), ("accept", "a/b")]
        response = send2(front, "/sensor/a", headers)

        assert response.json["name"] == "sensor-2"
        assert arrived(response) == {"accept": "a/b"}

    def test_the_service_is_told_how_the_client_reached_the_front(self, front: int) -> None:
        got = dict(ask(front, "/sensor/a", "{sensor:cloud-2}").json["headers"])

        assert got["x-forwarded-host"] == "front.example"
        assert got["x-forwarded-prefix"] == "/sensor"
        assert got["x-forwarded-proto"] == "http"
        assert got["via"] == "1.1 cloud-1.scopeway"
        assert uuid.UUID(got["x-request-id"])

    def test_a_body_reaches_another_cloud_whole(self, front: int) -> None:
        body = b'{"project_id": "%b"}' % (b"1f" * 16) * 9999
        headers = [("X-Scope", "{sensor:cloud-2}"), ("X-Auth-Token", "t~1~keystone:cloud-3")]
        response = send(front, f"/sensor/v3/{'1f' * 16}", headers, method="PUT", body=body)

        assert response.json["path"] == f"/v3/{'1f' * 16}"
        assert response.json["length"] == len(body)


class TestAnswers:
    def test_another_cloud_does_not_speak_for_the_host_of_the_front(
        self, fleet: Fleet, front: int
    ) -> None:
        hostile = [(name, "hostile") for name in DROPPED_RESPONSE_HEADERS]
        for number in (1, 2):
            fleet.echo(f"sensor-{number}").headers = [*hostile, ("X-Kept", "kept")]
        own, other = (ask(front, "/sensor/a", f"sensor:cloud-{number}") for number in (1, 2))

        assert {name.lower() for name in own.headers} >= set(DROPPED_RESPONSE_HEADERS)
        assert not {name.lower() for name in other.headers} & set(DROPPED_RESPONSE_HEADERS)
        assert other.headers["x-kept"] == "kept"

    def test_a_location_leads_back_to_the_front(self, fleet: Fleet, front: int) -> None:
        echo = fleet.echo("sensor-2")
        echo.status, echo.headers = 201, [("Location", f"http://127.0.0.1:{echo.port}/readings/7")]
        response = ask(front, "/~{sensor:cloud-2}/sensor/readings")

        assert response.headers["location"] == (
            "http://front.example/~%7Bsensor:cloud-2%7D/sensor/readings/7"
        )

    def test_a_401_of_another_cloud_is_the_answer_as_it_is(self, fleet: Fleet, front: int) -> None:
        """No hint about tokens of OpenStack."""
        fleet.echo("camera-2").status = 401
        headers = [("X-Auth-Token", "t"), ("Authorization", "Bearer a")]
        response = ask(front, "/camera/a", "{camera:cloud-2}", *headers)

        assert response.status == 401
        assert response.json["name"] == "camera-2"


class TestRoutes:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_the_next_cloud_serves_what_a_dead_one_cannot(self, front: int, method: str) -> None:
        headers = [("X-Scope", "{sensor:down|cloud-2}"), ("Content-Length", "0")]
        response = send(front, "/sensor/a", headers, method=method)

        assert response.json["name"] == "sensor-2"

    def test_a_read_goes_to_the_next_cloud_after_a_404(self, fleet: Fleet, front: int) -> None:
        fleet.echo("sensor-2").status = 404

        assert ask(front, "/sensor/a", "{sensor:cloud-2|direct}").json["name"] == "sensor-3"

    def test_a_write_does_not_go_to_the_next_cloud_after_a_404(
        self, fleet: Fleet, front: int
    ) -> None:
        fleet.echo("sensor-2").status = 404
        headers = [("X-Scope", "{sensor:cloud-2|direct}"), ("Content-Length", "0")]

        assert send(front, "/sensor/a", headers, method="PUT").status == 404

    def test_a_cordoned_cloud_serves_no_other_one(self, fleet: Fleet, front: int) -> None:
        fleet.control_plane.cordon({"direct": "new batteries"})
        assert fleet.eventually(lambda: ask(front, "/sensor/a", "sensor:direct").status == 503)
        refused = ask(front, "/sensor/a", "sensor:direct").error["message"]
        instead = ask(front, "/sensor/a", "sensor:direct|cloud-2")
        fleet.control_plane.cordon({"direct": None})

        assert refused == "direct is cordoned: new batteries"
        assert instead.json["name"] == "sensor-2"
        assert fleet.eventually(lambda: ask(front, "/sensor/a", "sensor:direct").status == 200)

    def test_a_loop_of_plain_services_is_answered_508(self, front: int) -> None:
        been = ("Via", "1.1 cloud-1.scopeway")

        assert ask(front, "/sensor/a", "{sensor:cloud-2}", been).status == 508

    def test_a_websocket_to_another_cloud_is_open_both_ways(self, front: int) -> None:
        wish = [("Connection", "Upgrade"), ("Upgrade", "websocket"), *CREDENTIALS.items()]
        with Connection(front) as connection:
            response = connection.send("/sensor/live", [("X-Scope", "sensor:cloud-2"), *wish])
            assert response.status == 101
            connection.socket.sendall(b"ping")
            assert connection.socket.recv(4) == b"ping"


@pytest.fixture(scope="module")
def collector(fleet: Fleet, site: Cloud) -> Iterator[None]:
    process = start_collector("cloud-1", fleet.folder / "collector-cloud-1")
    yield
    process.stop()


@pytest.mark.usefixtures("collector")
class TestFanouts:
    """All clouds of an `&`, by way of the collector of the own site."""

    @pytest.mark.parametrize("word", ["sensor", "camera"])
    def test_each_cloud_of_a_fan_out_gets_the_headers_that_may_go_to_it(
        self, fleet: Fleet, front: int, word: str
    ) -> None:
        for number in (1, 2, 3):
            fleet.echo(f"{word}-{number}").raw = LISTED % number
        headers = {**CREDENTIALS, **NEEDED, "x-auth-token": "gAAAAABk"}
        for name in ("if-none-match", "range"):  # the collector asks for whole lists
            del headers[name]
        response = ask(
            front,
            f"/{word}/readings",
            f"{{{word}: cloud-1 & cloud-2 & direct}}",
            *headers.items(),
        )

        assert response.status == 200
        clouds = {item["id"]: item["scopeway:cloud"] for item in response.json}
        assert clouds == {1: "cloud-1", 2: "cloud-2", 3: "direct"}
        forwarded = FORWARDED if word == "camera" else set()
        crossing = {name: headers[name] for name in headers.keys() & {*NEEDED, *forwarded}}
        own, *others = (
            of_client(fleet.echo(f"{word}-{number}").last["headers"]) for number in (1, 2, 3)
        )
        assert own == headers
        assert others == [crossing, crossing]

    def test_a_cloud_that_lets_nobody_in_is_reported(self, fleet: Fleet, front: int) -> None:
        fleet.echo("sensor-2").raw = LISTED % 2
        response = ask(front, "/sensor/readings", "{sensor: cloud-2 & strict}")

        assert [item["scopeway:cloud"] for item in response.json] == ["cloud-2"]
        assert "strict;status=403;cause=policy" in response.headers["x-scopeway-report"]


class TestPolicy:
    def test_a_cloud_that_lets_nobody_use_a_plain_service_is_a_403(self, front: int) -> None:
        response = ask(front, "/sensor/a", "{sensor:strict}")

        assert response.status == 403
        assert response.error["message"] == (
            "strict does not let cloud-1 use its sensor service: its rule accept[0] allows camera"
        )

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/camera/a", 200),
            ("PUT", "/camera/a", 403),
            ("POST", "/camera/a", 403),
            ("GET", "/camera/a?_method=PUT", 400),
        ],
    )
    def test_the_peer_enforces_the_methods_of_a_plain_service(
        self, front: int, method: str, path: str, status: int
    ) -> None:
        headers = [("X-Scope", "{camera:cloud-2}"), ("Content-Length", "0")]
        response = send(front, path, headers, method=method)

        assert response.status == status
        assert response.headers["x-scopeway-served-by"] == "cloud-2"

    def test_no_keystone_is_missed(self, front: int) -> None:
        response = ask(front, "/identity/v3")

        assert (response.status, response.error["message"]) == (
            404,
            "cloud-1 has no identity service",
        )


def test_access_logs_have_both_hops_of_a_plain_service_and_no_secret(
    fleet: Fleet, front: int
) -> None:
    word = uuid.uuid4().hex
    ask(front, f"/sensor/{word}?key=secret", "{sensor:cloud-2}", *CREDENTIALS.items())
    (at_front,) = fleet.envoys["cloud-1"].access_log(word)
    (at_peer,) = fleet.envoys["cloud-2"].access_log(word)

    assert at_front["request_id"] == at_peer["request_id"]
    for line in (at_front, at_peer):
        assert (line["service"], line["origin"]) == ("sensor", "cloud-1")
        assert (line["target"], line["served_by"]) == ("sensor@cloud-2", "cloud-2")
        assert "secret" not in str(line)
    assert at_peer["policy"] == "accept[0]"
