"""Headers that do not cross the front when another cloud serves a request."""

from collections.abc import Iterator

import pytest

from harness.fleet import Fleet
from harness.http import Response, send
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.translator.dropped_headers import DROPPED_RESPONSE_HEADERS

pytestmark = pytest.mark.fleet(certificates=True)

CREDENTIALS = {
    "cookie": "session=horizon",
    "authorization": "Bearer of-this-cloud",
    "proxy-authorization": "Basic cHJveHk6",
    "x-service-token": "nova",
}
HOSTILE = [
    ("Set-Cookie", "session=forged; Path=/"),
    ("set-cookie", "token=forged"),
    ("Alt-Svc", 'h2="hostile.example:443"'),
    ("Strict-Transport-Security", "max-age=31536000"),
    ("Public-Key-Pins", 'pin-sha256="forged"; max-age=9'),
    ("Clear-Site-Data", '"*"'),
    ("Service-Worker-Allowed", "/"),
    ("NEL", '{"report_to": "hostile", "max_age": 9}'),
    ("Report-To", '{"group": "hostile", "max_age": 9}'),
]
KEPT = [("ETag", "kept"), ("X-Openstack-Request-Id", "req-kept")]
ANYONE = [{"clouds": ["cloud-1"]}]


@pytest.fixture(scope="module")
def site(fleet: Fleet) -> Cloud:
    for number in (2, 3):
        fleet.site(f"cloud-{number}", services=services(fleet, number), accept=ANYONE)
    return fleet.site("cloud-1", ports=("image",), services=services(fleet, 1))


def services(fleet: Fleet, number: int) -> dict[str, object]:
    return {
        word: fleet.service(f"{name}-{number}")
        for word, name in (("image", "glance"), ("identity", "keystone"))
    }


@pytest.fixture
def front(fleet: Fleet, site: Cloud) -> Iterator[int]:
    assert site.front
    yield site.front.port
    for echo in fleet.echoes.values():
        echo.headers, echo.raw = (), None


def arrived(response: Response) -> dict[str, str]:
    """The credentials that the service got."""
    assert response.status == 200, response.body
    return {name: value for name, value in response.json["headers"] if name in CREDENTIALS}


def send_all(port: int, path: str, scope: str) -> Response:
    return send(port, path, [("X-Scope", scope), ("X-Auth-Token", "t"), *CREDENTIALS.items()])


class TestRequests:
    @pytest.mark.parametrize("scope", ["{}", "{image:cloud-1}", "{keystone:cloud-2}"])
    def test_local_services_get_all_credentials(self, front: int, scope: str) -> None:
        response = send_all(front, "/image/v2/images", scope)

        assert response.json["name"] == "glance-1"
        assert arrived(response) == CREDENTIALS

    @pytest.mark.parametrize(
        "scope",
        [
            "{image:cloud-2}",
            "{keystone:cloud-3;glance:cloud-2}",
            "{image:cloud-2|cloud-1}",
            "{*:cloud-2}",
        ],
    )
    def test_another_cloud_gets_the_user_token_and_no_other_credentials(
        self, front: int, scope: str
    ) -> None:
        response = send_all(front, "/image/v2/images", scope)

        assert response.json["name"] == "glance-2"
        assert arrived(response) == {}
        assert dict(response.json["headers"])["x-auth-token"].startswith("t~1~")

    def test_another_cloud_gets_no_other_credentials_from_a_single_service_port(
        self, site: Cloud, front: int
    ) -> None:
        assert site.front
        response = send_all(site.front.ports["image"], "/v2/images", "{image:cloud-2}")

        assert arrived(response) == {}

    @pytest.mark.parametrize(
        ("method", "path"), [("GET", "/v3/users"), ("POST", "/v3/auth/tokens")]
    )
    def test_another_keystone_gets_the_authorization_header_and_no_other_credentials(
        self, front: int, method: str, path: str
    ) -> None:
        headers = [("X-Scope", "{keystone:cloud-2}"), *CREDENTIALS.items()]
        response = send(front, f"/identity{path}", headers, method=method)

        assert response.json["name"] == "keystone-2"
        assert arrived(response) == {"authorization": CREDENTIALS["authorization"]}


class TestAnswers:
    def test_hostile_response_headers_cover_every_dropped_one(self) -> None:
        assert {name.lower() for name, _ in HOSTILE} == set(DROPPED_RESPONSE_HEADERS)

    @pytest.mark.parametrize("path", ["/image/v2/images", "/identity/v3/users"])
    @pytest.mark.parametrize("status", [200, 401, 403, 500])
    @pytest.mark.parametrize("scope", ["{*:cloud-2}", "{*:cloud-2|cloud-3}"])
    def test_dropped_response_headers_of_another_cloud_never_reach_the_client(
        self, fleet: Fleet, front: int, path: str, status: int, scope: str
    ) -> None:
        for echo in (fleet.echo("glance-2"), fleet.echo("keystone-2")):
            echo.status, echo.headers = status, [*HOSTILE, *KEPT]
        response = send(front, path, [("X-Scope", scope), ("X-Auth-Token", "t")])
        for echo in (fleet.echo("glance-2"), fleet.echo("keystone-2")):
            echo.status = 200

        assert response.status == status
        assert not {name.lower() for name in response.headers} & set(DROPPED_RESPONSE_HEADERS)
        assert response.headers["x-openstack-request-id"] == "req-kept"

    def test_dropped_response_headers_of_another_cloud_never_reach_a_refused_foreign_user(
        self, fleet: Fleet, front: int
    ) -> None:
        """A front edits that answer."""
        glance = fleet.echo("glance-2")
        glance.status, glance.headers = 401, [*HOSTILE, *KEPT]
        headers = [("X-Scope", "{keystone:cloud-1;glance:cloud-2}"), ("X-Auth-Token", "t")]
        response = send(front, "/image/v2", headers)
        glance.status = 200

        assert "does not accept this token" in response.error["message"]
        assert not {name.lower() for name in response.headers} & set(DROPPED_RESPONSE_HEADERS)

    def test_response_headers_of_local_services_reach_the_client(
        self, fleet: Fleet, front: int
    ) -> None:
        fleet.echo("glance-1").headers = HOSTILE
        response = send(front, "/image/v2/images", [("X-Scope", "{image:cloud-1}")])

        assert {name.lower() for name in response.headers} >= set(DROPPED_RESPONSE_HEADERS)
        assert len(response.headers.get_all("set-cookie")) == 2

    def test_a_withheld_response_leaves_no_headers_of_the_service(
        self, fleet: Fleet, front: int
    ) -> None:
        """Neither headers that are known to be dangerous nor any others."""
        keystone = fleet.echo("keystone-2")
        keystone.status = 201
        keystone.headers = [
            *(*HOSTILE, *KEPT, ("X-Subject-Token", "t~1~forged"), ("x_subject_token", "forged")),
            *(("Location", "http://hostile.example"), ("X-Anything", "forged")),
        ]
        body = b'{"auth": {}}'
        response = send(
            front,
            "/identity/v3/auth/tokens",
            [("X-Scope", "{keystone:cloud-2}")],
            method="POST",
            body=body,
        )
        keystone.status = 200

        assert response.status == 502
        assert response.error["message"].startswith("the answer was withheld: ")
        assert {name.lower() for name in response.headers} <= {
            *("content-type", "content-length", "date", "x-request-id", "x-scopeway-served-by"),
        }
        assert response.headers["x-scopeway-served-by"] == "cloud-2"


class TestTokens:
    @pytest.mark.parametrize("name", ["X-Storage-Token", "x-storage-token"])
    def test_x_storage_token_is_forwarded_as_x_auth_token(self, front: int, name: str) -> None:
        for scope, sent in (("{image:cloud-2}", "t~1~*:cloud-1;image:cloud-2"), (None, "t")):
            headers = [(name, "t"), *([("X-Scope", scope)] if scope else [])]
            got = send(front, "/image/v2", headers).json["headers"]

            assert [(name, value) for name, value in got if "token" in name] == [
                ("x-auth-token", sent)
            ]

    def test_the_scope_in_x_storage_token_is_used(self, front: int) -> None:
        token = ("X-Storage-Token", "t~1~*:cloud-1;image:cloud-2")

        assert send(front, "/image/v2", [token]).json["name"] == "glance-2"

    def test_x_storage_token_beside_x_auth_token_is_dropped(self, front: int) -> None:
        both = [("X-Storage-Token", "other"), ("X-Auth-Token", "t")]

        assert "other" not in str(send(front, "/image/v2", both).json["headers"])

    @pytest.mark.parametrize("spelling", ["x_storage_token", "x-storage_token", "x_storage-token"])
    def test_misspelled_token_headers_are_removed(self, front: int, spelling: str) -> None:
        got = send(front, "/image/v2", [(spelling, "other")]).json["headers"]

        assert "other" not in str(got)

    @pytest.mark.parametrize("scope", [[], [("X-Scope", "{*:cloud-2}")]])
    @pytest.mark.parametrize(
        "path", ["/image/v2", "/identity/v3/users", "/identity/v3/auth/tokens"]
    )
    @pytest.mark.parametrize(
        "tokens", [("t", "u"), ("t", "t"), ("", "u"), ("t~1~image:cloud-2", "u")]
    )
    def test_two_tokens_in_a_request_are_refused(
        self, front: int, scope: list[tuple[str, str]], path: str, tokens: tuple[str, str]
    ) -> None:
        response = send(front, path, [*scope, *(("X-Auth-Token", each) for each in tokens)])

        assert (response.status, response.error["message"]) == (
            400,
            "more than one X-Auth-Token header",
        )
