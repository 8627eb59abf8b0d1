"""A hostile Keystone of another cloud, behind real Envoys.

The test plays the service of cloud-1 that asks its own front to validate a token. `evil` is a cloud
with an Envoy, `direct` one without. cloud-1 honours both, with the roles member and reader.
"""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from harness.echo import Echo
from harness.fleet import Fleet, manifest
from harness.http import Response, send
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.planner.access import namespace

ISSUERS = ("evil", "direct")
LOCAL_ID = "0123456789abcdef0123456789abcdef"
TOKENS = "/identity/v3/auth/tokens"
DEFAULT = {"id": "default", "name": "Default"}
OWNER = {"id": LOCAL_ID, "name": "admin", "domain": DEFAULT}
ENDPOINT = {"id": "e", "interface": "public", "region": "R", "region_id": "R"}
CATALOG = [
    {"type": kind, "id": "s", "name": kind, "endpoints": [{**ENDPOINT, "url": url}]}
    for kind, url in [
        ("image", "http://169.254.169.254/"),
        ("volumev3", "https://evil.example:8776/volume/v3/abc"),
        ("rootkit", "http://evil.example/"),
    ]
]
TOKEN = {
    "methods": ["password"],
    "user": OWNER,
    "project": OWNER,
    "roles": [{"id": "1", "name": "admin"}, {"id": "2", "name": "member"}],
    "is_admin_project": True,
    "expires_at": "2099-01-01T00:00:00.000000Z",
    "catalog": CATALOG,
}


@pytest.fixture(scope="module")
def keystone(fleet: Fleet) -> Echo:
    return fleet.echo("keystone")


@pytest.fixture(scope="module")
def site(fleet: Fleet, keystone: Echo) -> Cloud:
    services = {"identity": fleet.service("keystone")}
    anyone = [{"clouds": ["cloud-1"]}]
    fleet.site("evil", services=services, accept=anyone)
    fleet.control_plane.put(
        *(
            manifest(name, services=services, accept=anyone)
            for name in ("direct", "kin", "stranger")
        )
    )
    rules = [
        {
            "clouds": ["nobody"],
            "identity": {"clouds": list(ISSUERS), "roles": ["reader", "member"]},
        },
        {"clouds": ["nobody"], "identity": {"clouds": ["kin"], "roles": ["admin"], "ids": "kept"}},
    ]
    own = {"identity": fleet.service("own-keystone")}
    return fleet.site("cloud-1", ports=("image",), services=own, accept=rules)


@pytest.fixture
def front(site: Cloud, keystone: Echo) -> Iterator[int]:
    assert site.front
    keystone.raw = answer(TOKEN)
    yield site.front.port
    keystone.raw = None


def raw(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers]
    if not any(each.lower().startswith("transfer-encoding") for each in headers):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def answer(token: dict[str, Any], *headers: str) -> bytes:
    return raw(json.dumps({"token": token}).encode(), "Content-Type: application/json", *headers)


def validate(front: int, issuer: str = "evil", **more: Any) -> Response:
    headers = [
        ("X-Auth-Token", "service"),
        ("X-Subject-Token", f"user~1~*:cloud-1;identity:{issuer}"),
    ]
    return send(front, TOKENS, headers, **more)


def names(response: Response) -> list[str]:
    return [role["name"] for role in response.json["token"]["roles"]]


@pytest.mark.parametrize("issuer", ISSUERS)
class TestEditedValidations:
    def test_roles_ids_and_domains_of_a_foreign_token_are_mapped(
        self, front: int, issuer: str
    ) -> None:
        response = validate(front, issuer)
        token = response.json["token"]
        owner = {
            "id": namespace(issuer) + LOCAL_ID[16:],
            "name": "admin",
            "domain": {"id": f"{namespace(issuer)}default", "name": "Default"},
        }

        assert response.status == 200
        assert names(response) == ["member"]
        assert (token["user"], token["project"]) == (owner, owner)
        assert token["is_admin_project"] is False
        assert "x-scopeway-honoured" not in response.headers

    def test_a_foreign_keystone_cannot_set_the_honoured_header(
        self, front: int, keystone: Echo, issuer: str
    ) -> None:
        claims = ["X-Scopeway-Honoured: ;admin", "x-scopeway-honoured: ;admin"]
        keystone.raw = answer(TOKEN, *claims, "x_scopeway_honoured: ;admin")
        response = validate(front, issuer)

        assert names(response) == ["member"]
        assert response.json["token"]["project"]["id"].startswith(namespace(issuer))

    def test_a_catalog_of_a_foreign_keystone_is_rewritten_to_the_front(
        self, site: Cloud, front: int, issuer: str
    ) -> None:
        catalog = validate(front, issuer).json["token"]["catalog"]
        urls = {each["type"]: [one["url"] for one in each["endpoints"]] for each in catalog}

        assert site.front
        assert urls == {
            "image": [f"http://127.0.0.1:{site.front.ports['image']}"],
            "volumev3": [f"http://127.0.0.1:{front}/block-storage/v3/abc"],
        }

    @pytest.mark.parametrize("query", ["?allow_expired=1", "?nocatalog"])
    def test_a_query_does_not_bypass_the_editing_of_a_validation(
        self, front: int, issuer: str, query: str
    ) -> None:
        subject = ("X-Subject-Token", f"user~1~identity:{issuer}")

        assert names(send(front, TOKENS + query, [subject])) == ["member"]

    @pytest.mark.parametrize("size", [1, 7, 1000])
    def test_a_chunked_answer_does_not_bypass_the_editing_of_a_validation(
        self, front: int, keystone: Echo, issuer: str, size: int
    ) -> None:
        body = json.dumps({"token": TOKEN}).encode()
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        keystone.raw = raw(chunks + b"0\r\n\r\n", "Transfer-Encoding: chunked")

        assert names(validate(front, issuer)) == ["member"]

    def test_a_charset_does_not_bypass_the_editing_of_a_validation(
        self, front: int, keystone: Echo, issuer: str
    ) -> None:
        """In UTF-7 `+ACI-` is a quote, and clients believe the header."""
        name = (
            "x+ACI-, +ACI-roles+ACI-: [+AHsAIg-name+ACI-: +ACI-admin+ACIAfQ-], +ACI-y+ACI-: +ACI-"
        )
        body = json.dumps({"token": {**TOKEN, "user": {**OWNER, "name": name}}}).encode()
        keystone.raw = raw(body, "Content-Type: application/json; charset=utf-7")
        response = validate(front, issuer)

        assert response.headers.get_all("content-type") == ["application/json"]
        assert names(response) == ["member"]

    @pytest.mark.parametrize(
        "hostile",
        [
            raw(gzip.compress(b'{"token": {}}'), "Content-Encoding: gzip"),
            raw(json.dumps({"token": TOKEN}).encode(), "Content-Encoding: identity"),
            raw(b'{"token": {"x": "' + b"x" * 600_000 + b'"}}'),
            raw(b"%x\r\n%b\r\n0\r\n\r\n" % (700_000, b"[" * 700_000), "Transfer-Encoding: chunked"),
            raw(json.dumps({"token": TOKEN}).encode("utf-16")),
            raw(b"<html>"),
            raw(b""),
            raw(b"[" * 100_000),
            raw(json.dumps({"token": TOKEN}).encode(), status="201 Created"),
            raw(json.dumps({"token": TOKEN}).encode(), status="203 Else"),
            raw(json.dumps({"token": TOKEN}).encode(), status="206 Partial"),
            raw(b"", "Location: http://169.254.169.254/", status="302 Found"),
            raw(b"", "Location: http://169.254.169.254/", status="307 Again"),
        ],
        ids=[
            *(
                "gzip",
                "encoded",
                "600 kB",
                "chunked",
                "utf-16",
                "html",
                "empty",
                "brackets",
            ),
            *("201", "203", "206", "302", "307"),
        ],
    )
    def test_an_unreadable_answer_of_a_foreign_keystone_is_a_502(
        self, front: int, keystone: Echo, issuer: str, hostile: bytes
    ) -> None:
        keystone.raw = hostile
        response = validate(front, issuer)

        assert response.status == 502
        assert response.error["code"] == response.status
        assert b"admin" not in response.body
        assert "location" not in response.headers
        assert "content-encoding" not in response.headers

    @pytest.mark.parametrize("chunked", [False, True])
    def test_an_answer_of_a_foreign_keystone_above_the_buffer_limit_is_a_500(
        self, front: int, keystone: Echo, issuer: str, chunked: bool
    ) -> None:
        body = json.dumps({"token": {**TOKEN, "x": "x" * 5_000_000}}).encode()
        chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        keystone.raw = raw(chunk, "Transfer-Encoding: chunked") if chunked else raw(body)
        response = validate(front, issuer)

        assert response.status == 500  # Envoy's own
        assert len(response.body) < 1000
        assert b"admin" not in response.body

    def test_a_system_scoped_token_of_a_foreign_keystone_is_a_404(
        self, front: int, keystone: Echo, issuer: str
    ) -> None:
        keystone.raw = answer({**TOKEN, "system": {"all": True}})
        response = validate(front, issuer)

        assert (response.status, response.error["code"]) == (404, 404)

    @pytest.mark.parametrize(
        ("said", "status"), [("404 No", 404), ("401 No", 404), ("403 No", 404)]
    )
    def test_a_revoked_token_of_a_foreign_keystone_is_a_404(
        self, front: int, keystone: Echo, issuer: str, said: str, status: int
    ) -> None:
        """Keystone answers 401 to one that is none any more, 403 to one that may not ask."""
        keystone.raw = raw(b'{"error": {}}', "Content-Type: application/json", status=said)

        assert validate(front, issuer).status == status

    @pytest.mark.parametrize(
        ("said", "status"), [("200 OK", 200), ("302 Found", 502), ("401 No", 404), ("403 No", 404)]
    )
    def test_head_of_a_foreign_token_returns_only_whether_it_is_valid(
        self, front: int, keystone: Echo, issuer: str, said: str, status: int
    ) -> None:
        keystone.raw = raw(b"", "Location: http://169.254.169.254/", status=said, length=10)
        response = validate(front, issuer, method="HEAD")

        assert (response.status, response.body) == (status, b"")

    def test_a_foreign_keystone_gets_only_the_token_of_the_user(
        self, front: int, keystone: Echo, issuer: str
    ) -> None:
        validate(front, issuer)
        headers = dict(keystone.last["headers"])

        assert (headers["x-auth-token"], headers["x-subject-token"]) == ("user", "user")


class TestHonouredClouds:
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_a_keystone_that_is_not_honoured_is_never_asked(
        self, front: int, keystone: Echo, method: str
    ) -> None:
        asked = keystone.requests

        assert validate(front, "stranger", method=method).status == 404
        assert keystone.requests == asked

    def test_the_owner_can_keep_ids_and_allow_more_roles(self, front: int) -> None:
        response = validate(front, "kin")

        assert names(response) == ["admin"]
        assert response.json["token"]["project"] == OWNER

    def test_answers_of_the_local_keystone_are_unchanged(self, fleet: Fleet, front: int) -> None:
        fleet.echo("own-keystone").raw = answer({**TOKEN, "system": {"all": True}})
        response = validate(front, "cloud-1")

        assert response.json["token"] == {**TOKEN, "system": {"all": True}}

    def test_a_changed_identity_policy_takes_effect(
        self, fleet: Fleet, site: Cloud, front: int
    ) -> None:
        spec = {"front": {"address": "127.0.0.1", "port": front}, "services": {}}
        rule = {"clouds": ["nobody"], "identity": {"clouds": ["evil"], "roles": ["reader"]}}
        try:
            fleet.control_plane.put(manifest("cloud-1", **spec, accept=[rule]))
            assert fleet.eventually(lambda: names(validate(front)) == [])
        finally:
            fleet.control_plane.put(site)
        assert fleet.eventually(lambda: names(validate(front)) == ["member"])


class TestOwnToken:
    """Somebody asks about her own token: of power there is none, so nothing is cut."""

    @pytest.mark.parametrize("issuer", ISSUERS)
    @pytest.mark.parametrize("in_path", [False, True])
    def test_a_user_gets_the_unchanged_answer_of_her_own_keystone(
        self, site: Cloud, front: int, issuer: str, in_path: bool
    ) -> None:
        scope = f"{{keystone:{issuer}}}"
        path = f"/~{scope}{TOKENS}" if in_path else TOKENS
        said = [] if in_path else [("X-Scope", scope)]
        token = f"user~1~*:cloud-1;identity:{issuer}"
        response = send(front, path, [*said, ("X-Auth-Token", token), ("X-Subject-Token", token)])
        found = response.json["token"]

        assert response.status == 200
        assert "x-scopeway-honoured" not in response.headers
        assert {**found, "catalog": CATALOG} == TOKEN
        urls = [each["url"] for entry in found["catalog"] for each in entry["endpoints"]]
        assert site.front
        assert urls
        assert all(url.startswith("http://127.0.0.1:") for url in urls)

    @pytest.mark.parametrize(
        ("asking", "scope"),
        [
            ("user~1~*:cloud-1;identity:evil", None),  # a service that shows the user's token twice
            ("service", "{keystone:evil}"),  # one whose requests have a scope
            (None, "{keystone:evil}"),
        ],
    )
    def test_a_service_gets_the_edited_answer_of_a_foreign_keystone(
        self, front: int, asking: str | None, scope: str | None
    ) -> None:
        headers = [("X-Subject-Token", "user~1~*:cloud-1;identity:evil")]
        headers += [] if asking is None else [("X-Auth-Token", asking)]
        headers += [] if scope is None else [("X-Scope", scope)]
        response = send(front, TOKENS, headers)

        assert names(response) == ["member"]
        assert response.json["token"]["project"]["id"].startswith(namespace("evil"))

    @pytest.mark.parametrize("target", ["cloud-1", "evil", "direct", "cloud-1|evil"])
    def test_a_keystone_gets_no_scope_header(
        self, fleet: Fleet, front: int, keystone: Echo, target: str
    ) -> None:
        keystone.raw = fleet.echo("own-keystone").raw = None
        scope = f"{{keystone:{target}}}"
        said = send(front, "/identity/v3/users", [("X-Scope", scope), ("X-Auth-Token", "t")]).json

        assert "x-scope" not in dict(said["headers"])

    def test_a_user_of_a_cloud_that_is_not_honoured_cannot_ask_her_keystone(
        self, front: int, keystone: Echo
    ) -> None:
        asked, token = keystone.requests, "user~1~*:cloud-1;identity:stranger"
        headers = [("X-Scope", "{}"), ("X-Auth-Token", token), ("X-Subject-Token", token)]

        assert send(front, TOKENS, headers).status == 404
        assert keystone.requests == asked


class TestSuffixes:
    @pytest.mark.parametrize(
        "token",
        [
            "user~1~identity:evil~1~identity:kin",
            "user~1~identity:evil~1~",
            "user~~1~identity:evil",
            "user~2~identity:evil",
            "user~1~identity:evil|kin;identity:kin",
        ],
    )
    def test_a_doubled_or_forged_token_suffix_is_refused(
        self, front: int, keystone: Echo, token: str
    ) -> None:
        asked = keystone.requests

        assert send(front, TOKENS, [("X-Subject-Token", token)]).status == 400
        assert keystone.requests == asked

    @pytest.mark.parametrize("expression", ["evil|kin", "[region=eu]", "kin|evil"])
    def test_a_token_is_not_validated_by_several_keystones(
        self, front: int, expression: str
    ) -> None:
        response = validate(front, expression)

        assert response.status >= 400
        assert "token" not in response.json


class TestLogins:
    def test_the_catalog_of_a_login_elsewhere_is_rewritten_to_the_front(
        self, site: Cloud, front: int, keystone: Echo
    ) -> None:
        keystone.raw = answer(TOKEN, "X-Subject-Token: fresh").replace(b"200 OK", b"201 Created")
        response = send(front, TOKENS, [("X-Scope", "{keystone:evil}")], method="POST", body=b"{}")
        token = response.json["token"]

        assert response.headers["x-subject-token"] == "fresh~1~*:cloud-1;identity:evil"
        assert {name: token[name] for name in TOKEN if name != "catalog"} == {
            name: value for name, value in TOKEN.items() if name != "catalog"
        }
        assert site.front
        assert [each["endpoints"][0]["url"] for each in token["catalog"]] == [
            f"http://127.0.0.1:{site.front.ports['image']}",
            f"http://127.0.0.1:{front}/block-storage/v3/abc",
        ]


class TestCatalogs:
    """What `openstack catalog list` asks for after a login."""

    @staticmethod
    def body(status: bytes = b"200 OK", **document: Any) -> bytes:
        return raw(json.dumps(document).encode()).replace(b"200 OK", status)

    @pytest.mark.parametrize("path", ["", "/", "?interface=public"])
    @pytest.mark.parametrize("issuer", ["evil", "direct"])
    def test_the_catalog_of_another_keystone_is_rewritten_to_the_front(
        self, site: Cloud, front: int, keystone: Echo, issuer: str, path: str
    ) -> None:
        links = {"self": f"http://127.0.0.1:{front}/identity/v3/auth/catalog"}
        keystone.raw = self.body(catalog=CATALOG, links=links)
        response = catalog_of(front, issuer, path)

        assert site.front
        assert [each["endpoints"][0]["url"] for each in response.json["catalog"]] == [
            f"http://127.0.0.1:{site.front.ports['image']}",
            f"http://127.0.0.1:{front}/block-storage/v3/abc",
        ]
        assert response.json["links"] == links

    def test_the_catalog_of_the_local_keystone_is_unchanged(self, fleet: Fleet, front: int) -> None:
        own = fleet.echo("own-keystone")
        own.raw = self.body(catalog=CATALOG)
        try:
            assert catalog_of(front, "cloud-1").json == {"catalog": CATALOG}
        finally:
            own.raw = None

    def test_errors_of_another_keystone_for_a_catalog_are_unchanged(
        self, front: int, keystone: Echo
    ) -> None:
        keystone.raw = self.body(b"401 Unauthorized", error={"code": 401})
        response = catalog_of(front, "evil")

        assert (response.status, response.json) == (401, {"error": {"code": 401}})

    @pytest.mark.parametrize("body", [b"{", b'{"catalog": {}}', b"", b"[1] 2"])
    def test_a_malformed_catalog_of_another_keystone_is_a_502(
        self, front: int, keystone: Echo, body: bytes
    ) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        keystone.raw = head + body
        response = catalog_of(front, "evil")

        assert (response.status, response.error["code"]) == (502, 502)


def catalog_of(front: int, issuer: str, more: str = "") -> Response:
    scope = [("X-Scope", f"{{keystone:{issuer}}}"), ("X-Auth-Token", "token")]
    return send(front, f"/identity/v3/auth/catalog{more}", scope)
