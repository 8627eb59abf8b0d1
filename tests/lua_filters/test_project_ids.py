"""Mapping of project ids in a request, at the last Envoy before a service."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.planner.access import namespace

ID = "0123456789abcdef0123456789abcdef"
MOVED = namespace("home") + ID[16:]
TOKEN = "gAAA~1~*:cloud-1;identity:home"
SERVICES = ("block-storage", "compute", "database", "object-store", "orchestration")

PATHS = [
    f"/v3/{ID}",
    f"/v3/{ID}/volumes",
    f"/v2.1/{ID}/servers?name=a",
    f"/v3/{ID}?limit=1",
    f"/v1/AUTH_{ID}/box/a//b",
]
OTHERS = [
    "/",
    "/v3",
    "/v3/",
    "/v3/volumes",
    f"/{ID}",
    f"/volumes/{ID}",
    f"/v3/volumes/{ID}",
    f"/v3//{ID}/volumes",
    f"/v3/{ID[:-1]}/volumes",
    f"/v3/{ID}0/volumes",
    f"/v3/{ID.upper()}/volumes",
    f"/v3/%30{ID[1:]}/volumes",
    f"/v3/{ID};x/volumes",
    f"/v3/auth_{ID}/box",
    f"/v1/AUTH_/{ID}",
    f"/v3x/{ID}",
    f"/vv3/{ID}",
]


def sent(peer: Any, path: str, token: str | None = TOKEN, service: str = "block-storage") -> str:
    headers = {} if token is None else {"x-auth-token": token}
    return str(peer.request(f"/{service}{path}", headers).headers[":path"])


@pytest.mark.parametrize("path", PATHS)
def test_an_id_after_the_version_is_mapped(peer: Any, path: str) -> None:
    assert sent(peer, path) == path.replace(ID, MOVED)


@pytest.mark.parametrize("service", SERVICES)
def test_an_id_after_the_version_is_mapped_for_every_service_that_has_one_there(
    peer: Any, service: str
) -> None:
    assert sent(peer, PATHS[1], service=service) == PATHS[1].replace(ID, MOVED)


@pytest.mark.parametrize("service", ["image", "network", "placement", "identity"])
def test_an_id_after_the_version_of_any_other_service_is_unchanged(peer: Any, service: str) -> None:
    assert sent(peer, PATHS[1], service=service) == PATHS[1]


@pytest.mark.parametrize("path", OTHERS)
def test_other_parts_of_a_path_are_unchanged(peer: Any, path: str) -> None:
    assert sent(peer, path) == (path or "/")


@pytest.mark.parametrize(
    "token",
    [
        None,
        "",
        "gAAA",
        "gAAA~1~*:cloud-1",
        "gAAA~1~*:home;identity:cloud-1",
        "gAAA~1~*:home;identity:local",
        "gAAA~1~*:cloud-1;identity:home|other",
        "gAAA~1~*:cloud-1;identity:[region=eu]",
        "gAAA~1~*:cloud-1;identity:(home)",
        "gAAA~2~identity:home",
        "gAAA~1~identity:home~1~identity:other",
        "gAAA~1~nonsense",
    ],
)
def test_a_token_that_no_single_other_cloud_has_issued_maps_no_id(
    peer: Any, token: str | None
) -> None:
    """The local Keystone judges such a token, or its validation is refused."""
    assert sent(peer, PATHS[1], token) == PATHS[1]


def test_an_already_mapped_id_is_unchanged(peer: Any) -> None:
    assert sent(peer, f"/v3/{MOVED}/volumes") == f"/v3/{MOVED}/volumes"


def test_ids_that_a_rule_keeps_are_unchanged(new_filter: Any) -> None:
    peer = new_filter("peer", clouds_with_kept_ids={"home": True})

    assert sent(peer, PATHS[1]) == PATHS[1]
    assert ID not in sent(peer, PATHS[1], "t~1~*:cloud-1;identity:other")


def test_with_ids_kept_by_label_only_ids_of_clouds_named_as_mapped_are_mapped(
    new_filter: Any,
) -> None:
    peer = new_filter("peer", clouds_with_mapped_ids={"home": True})

    assert sent(peer, PATHS[1]) == PATHS[1].replace(ID, MOVED)
    assert sent(peer, PATHS[1], "t~1~*:cloud-1;identity:other") == PATHS[1]


class TestFront:
    def test_a_front_maps_ids_for_its_local_service(self, front: Any) -> None:
        sent = front.request(
            f"/block-storage/v3/{ID}/volumes",
            {"x-auth-token": "gAAA", "x-scope": "{keystone:home}"},
        )

        assert sent.headers[":path"] == f"/v3/{MOVED}/volumes"

    def test_a_front_leaves_ids_for_another_cloud_unchanged(self, front: Any) -> None:
        sent = front.request(
            f"/block-storage/v3/{ID}/volumes",
            {"x-auth-token": "gAAA", "x-scope": "{keystone:home;cinder:cloud-2}"},
        )

        assert sent.headers[":path"] == f"/v3/{ID}/volumes"

    @pytest.mark.parametrize("scope", [{}, {"x-scope": ""}, {"x-scope": "{keystone:cloud-1}"}])
    def test_a_front_leaves_ids_of_local_users_unchanged(
        self, front: Any, scope: dict[str, str]
    ) -> None:
        sent = front.request(f"/block-storage/v3/{ID}/volumes", {"x-auth-token": "gAAA", **scope})

        assert sent.headers[":path"] == f"/v3/{ID}/volumes"

    def test_a_single_service_port_maps_ids(self, new_filter: Any) -> None:
        front = new_filter("front", service="block-storage")
        sent = front.request(f"/v3/{ID}/volumes", {"x-auth-token": TOKEN})

        assert sent.headers[":path"] == f"/v3/{MOVED}/volumes"


OWN = f"{ID}@cloud-1"
"""A project of the site that is asked, by a user of another cloud."""
USER = "0123456789abcdef" * 4
"""A user's id, as LDAP's are."""

PLACES = [
    ("image", "/v2/images/7a/members/{}"),
    ("image", "/v2/images/7a/members/{}?x"),
    ("image", "/v2/images?name=a&owner={}&limit=1"),
    ("image", "/v2/images?owner={}"),
    ("compute", "/v2.1/os-quota-sets/{}"),
    ("compute", "/v2.1/os-quota-sets/{}/detail"),
    ("compute", "/v2.1/os-simple-tenant-usage/{}?start=1"),
    ("compute", "/v2.1/limits?tenant_id={}"),
    ("compute", "/v2.1/servers/detail?all_tenants=1&project_id={}"),
    ("compute", "/v2.1/os-keypairs?user_id={}"),
    ("block-storage", "/v3/os-quota-sets/{}"),
    ("block-storage", "/v3/volumes?all_tenants=1&project_id={}"),
    ("block-storage", "/v3/volumes/detail?all_tenants=1&user_id={}"),
    ("network", "/v2.0/quotas/{}"),
    ("network", "/v2.0/quotas/{}.json"),
    ("network", "/v2.0/quotas/{}/details.json"),
    ("network", "/v2.0/networks?project_id={}"),
    ("network", "/v2.0/networks.json?tenant_id={}"),
    ("network", "/v2.0/rbac-policies?target_tenant={}"),
    ("network", "/v2.0/networks?project%5Fid={}"),
]
NO_PLACES = [
    ("image", "/v2/images/{}/members"),
    ("image", "/v2/images/{}"),
    ("image", "/v2/images?checksum={}"),
    ("image", "/v2/images?name={}&owners={}"),
    ("image", "/v2/images/members/{}"),
    ("image", "/images/7a/members/{}"),
    ("image", "/v2/images/7a/members/x{}"),
    ("image", "/v2/images/7a/members/{}x"),
    ("image", "/v2/images/7a/members/{}@"),
    ("image", "/v2/images/7a/members/{}@cloud-2%2f"),
    ("compute", "/v2.1/servers/{}"),
    ("compute", "/v2.1/servers?name={}"),
    ("network", "/v2.0/networks/{}"),
    ("network", "/v2.0/networks?name={}&project_id=g{}"),
    ("object-store", "/v1/box/{}?project_id={}"),
]


@pytest.mark.parametrize(("service", "path"), PLACES)
class TestPlaces:
    def test_an_id_of_the_home_of_the_user_is_mapped(
        self, peer: Any, service: str, path: str
    ) -> None:
        assert sent(peer, path.format(ID), service=service) == path.format(MOVED)

    def test_a_longer_id_is_mapped(self, peer: Any, service: str, path: str) -> None:
        moved = namespace("home") + USER[16:]
        assert sent(peer, path.format(USER), service=service) == path.format(moved)

    def test_an_already_mapped_id_in_any_place_is_unchanged(
        self, peer: Any, service: str, path: str
    ) -> None:
        assert sent(peer, path.format(MOVED), service=service) == path.format(MOVED)

    @pytest.mark.parametrize("at", ["@", "%40"])
    def test_an_id_with_a_cloud_name_is_mapped_for_that_cloud(
        self, peer: Any, service: str, path: str, at: str
    ) -> None:
        named = {"cloud-1": ID, "home": MOVED, "third": namespace("third") + ID[16:]}
        for cloud, expected in named.items():
            written = path.format(f"{ID}{at}{cloud}")
            assert sent(peer, written, service=service) == path.format(expected)

    def test_a_mapped_id_of_a_third_cloud_is_kept_only_with_its_cloud_name(
        self, peer: Any, service: str, path: str
    ) -> None:
        third = namespace("third") + ID[16:]
        assert sent(peer, path.format(f"{third}@third"), service=service) == path.format(third)
        assert sent(peer, path.format(third), service=service) == path.format(MOVED)

    @pytest.mark.parametrize("token", ["gAAA", "gAAA~1~*:cloud-1", "gAAA~1~*:kin", None])
    def test_ids_of_local_users_and_kept_ids_in_any_place_are_unchanged(
        self, new_filter: Any, service: str, path: str, token: str | None
    ) -> None:
        peer = new_filter("peer", clouds_with_kept_ids={"kin": True})
        for text in (ID, OWN):
            assert sent(peer, path.format(text), token, service) == path.format(text)


@pytest.mark.parametrize(("service", "path"), NO_PLACES)
def test_ids_in_other_places_of_a_path_are_unchanged(peer: Any, service: str, path: str) -> None:
    path = path.replace("{}", ID)
    assert sent(peer, path, service=service) == path


@pytest.mark.parametrize("entry", ["front", "peer", "dispatch", "collect"])
def test_a_path_that_cannot_work_with_a_foreign_id_is_refused(new_filter: Any, entry: str) -> None:
    target = "block-storage@cloud-1"
    headers = {"x-auth-token": TOKEN, "x-scopeway-service": "block-storage"}
    headers |= {"x-scopeway-target": target} if entry == "collect" else {}
    connection = {"scopeway": {"target": target}}
    path = f"/v3/{ID}/default-types/{ID}"
    prefix = "/block-storage" if entry in ("front", "peer") else ""
    lua = new_filter(entry)
    status, message = lua.refusal(prefix + path, headers, connection=connection)

    assert status == 501
    assert message.startswith(f"the id {ID} in this path of cloud-1's block-storage service is of")
    own = headers | {"x-auth-token": "gAAA~1~*:cloud-1"}
    assert lua.request(prefix + path, own, connection=connection).headers[":path"] == path


def test_every_id_of_a_path_is_mapped(peer: Any) -> None:
    path = f"/v3/{{0}}/os-quota-sets/{{0}}/defaults?project_id={{0}}&tenant_id={{0}}&x={ID}"
    assert sent(peer, path.format(ID)) == path.format(MOVED)


@pytest.mark.parametrize("at", ["@", "%40"])
def test_an_id_with_a_name_too_long_for_a_cloud_is_unchanged(peer: Any, at: str) -> None:
    path = f"/v2/images/7a/members/{ID}{at}{{0}}?owner={ID}{at}{{0}}"
    longest, longer = path.format("a" * 63), path.format("a" * 64)

    assert ID not in sent(peer, longest, service="image")
    assert sent(peer, longer, service="image") == longer
    text = json.dumps({"member": f"{ID}@{'a' * 64}"})
    assert written(peer, BODIES[0], text).body == text


@pytest.mark.parametrize("length", [31, 65])
def test_values_too_short_or_too_long_for_an_id_are_unchanged(peer: Any, length: int) -> None:
    path = f"/v2/images/7a/members/{'a' * length}?owner={'a' * length}"
    assert sent(peer, path, service="image") == path


BODIES = [
    ("POST", "image", "/v2/images/7a/members", {"member": "{}"}),
    ("POST", "image", "/v2/images", {"name": "a", "owner": "{}", "tags": ["0"]}),
    ("PUT", "image", "/v2/metadefs/namespaces/a", {"owner": "{}"}),
    (
        "PATCH",
        "image",
        "/v2/images/7a",
        [
            {"op": "add", "path": "/a", "value": "x"},
            {"value": "{}", "path": "/owner", "op": "replace"},
        ],
    ),
    # the patches of Glance's API 2.0, which it still takes
    ("PATCH", "image", "/v2/images/7a", [{"replace": "/owner", "value": "{}"}]),
    ("PATCH", "image", "/v2/images/7a", [{"value": "{}", "add": "/owner"}]),
    ("PATCH", "image", "/v2/images/7a", [{"op": "add", "path": "//owner", "value": "{}"}]),
    ("POST", "compute", "/v2.1/flavors/1/action", {"addTenantAccess": {"tenant": "{}"}}),
    ("POST", "compute", "/v2.1/os-keypairs", {"keypair": {"name": "a", "user_id": "{}"}}),
    ("POST", "block-storage", "/v3/types/1/action", {"addProjectAccess": {"project": "{}"}}),
    ("POST", "block-storage", "/v3/types/1/action.json", {"addProjectAccess": {"project": "{}"}}),
    ("POST", "network", "/v2.0/networks", {"network": {"project_id": "{}", "tenant_id": "{}"}}),
    ("POST", "network", "/v2.0/ports", {"ports": [{"tenant_id": "{}"}, {"project_id": "{}"}]}),
    ("PUT", "network", "/v2.0/rbac-policies/7a", {"rbac_policy": {"target_tenant": "{}"}}),
]
NO_BODIES = [
    ("POST", "image", "/v2/images/7a/members", {"members": ID, "x": {"member": ID}}),
    ("PUT", "image", "/v2/images/7a/members/1", {"member": ID}),
    ("PATCH", "image", "/v2/images/7a", [{"path": "/a", "value": ID}, {"path": "/owner"}]),
    ("PATCH", "image", "/v2/images/7a", [{"replace": "/a", "value": ID}, {"op": "/owner"}]),
    ("POST", "compute", "/v2.1/servers", {"server": {"name": ID, "tenant": ID}}),
    ("POST", "block-storage", "/v3/volumes", {"volume": {"project": ID}}),
    ("POST", "network", "/v2.0/ports", {"port": {"binding:profile": {"project_id": ID}}}),
    ("POST", "network", "/v2.0/ports", {"port": {"name": "project_id", "x": ID}}),
    ("POST", "object-store", "/v1/box", {"project_id": ID}),
]


def written(peer: Any, request: tuple[str, str, str, Any], text: str, **more: Any) -> Any:
    method, service, path, _ = request
    headers = {"x-auth-token": TOKEN, "content-length": str(len(text))} | more.pop("headers", {})
    return peer.request(f"/{service}{path}", headers, method=method, body=text, **more)


@pytest.mark.parametrize("request_", BODIES, ids=str)
class TestBodies:
    def test_an_id_in_a_body_is_mapped_and_no_other_byte_changed(
        self, peer: Any, request_: Any
    ) -> None:
        text = json.dumps(request_[3]).replace(":", " \t:")
        assert written(peer, request_, text.replace("{}", ID)).body == text.replace("{}", MOVED)

    def test_an_id_with_a_cloud_name_in_a_body_is_mapped_for_that_cloud(
        self, peer: Any, request_: Any
    ) -> None:
        text = json.dumps(request_[3])
        assert written(peer, request_, text.replace("{}", OWN)).body == text.replace("{}", ID)

    def test_a_body_of_a_local_user_is_not_read(self, peer: Any, request_: Any) -> None:
        text = json.dumps(request_[3]).replace("{}", ID)
        sent = written(peer, request_, text, headers={"x-auth-token": "gAAA~1~*:cloud-1"})
        assert sent.body == text
        assert not sent.body_was_read

    def test_a_body_with_kept_ids_is_not_read(self, new_filter: Any, request_: Any) -> None:
        text = json.dumps(request_[3]).replace("{}", ID)
        sent = written(new_filter("peer", clouds_with_kept_ids={"home": True}), request_, text)
        assert sent.body == text
        assert not sent.body_was_read

    def test_front_dispatch_and_collect_map_ids_in_a_body(
        self, new_filter: Any, request_: Any
    ) -> None:
        method, service, path, document = request_
        text = json.dumps(document).replace("{}", ID)
        headers = {"x-auth-token": TOKEN, "content-length": str(len(text))}
        more = {"method": method, "body": text}
        front = new_filter("front").request(f"/{service}{path}", headers, **more)
        connection = {"scopeway": {"target": f"{service}@cloud-1"}}
        headers["x-scopeway-service"] = service
        dispatch = new_filter("dispatch").request(path, headers, connection=connection, **more)

        headers["x-scopeway-target"] = f"{service}@cloud-1"
        collect = new_filter("collect").request(path, headers, **more)

        assert front.body == dispatch.body == collect.body == text.replace(ID, MOVED)


@pytest.mark.parametrize("request_", BODIES, ids=str)
@pytest.mark.parametrize(("length", "status"), [("65537", 413), (None, 411), ("x", 411)])
def test_a_body_of_unknown_or_excessive_length_is_refused_unread(
    peer: Any, request_: Any, length: str | None, status: int
) -> None:
    headers = {"x-auth-token": TOKEN} | ({} if length is None else {"content-length": length})
    method, service, path, _ = request_
    sent = peer.request(f"/{service}{path}", headers, method=method, body="{}")
    assert sent.answer.status == status
    assert "at cloud-1" in sent.answer.error["message"]
    assert not sent.body_was_read


@pytest.mark.parametrize("request_", NO_BODIES, ids=str)
def test_ids_in_other_places_of_a_body_are_unchanged(peer: Any, request_: Any) -> None:
    text = json.dumps(request_[3])
    assert written(peer, request_, text).body == text


@pytest.mark.parametrize("length", [0, 65536])
def test_a_body_of_the_maximum_length_and_an_empty_one_are_accepted(peer: Any, length: int) -> None:
    assert written(peer, BODIES[0], " " * length).answer is None


@pytest.mark.parametrize(
    "text", ["", "{", '{"member": "', '{"member": "a\\', "}", '{"member": ["', '"member"', "[" * 99]
)
def test_a_malformed_body_is_left_to_the_service(peer: Any, text: str) -> None:
    assert written(peer, BODIES[0], text).body == text


def test_a_body_longer_than_announced_is_refused(peer: Any) -> None:
    text = " " * 65537
    assert written(peer, BODIES[0], text, headers={"content-length": "9"}).answer.status == 413


PIECES = st.sampled_from(
    ["/", "v3", "v2.1", "v", "AUTH_", ID, ID[:9], "?", "%2F", ".", "x", "volumes"]
)


def test_random_paths_are_mapped_as_by_a_model(new_filter: Any) -> None:
    peer = new_filter("peer")
    pattern = re.compile(r"(/v\d[\d.]*/(?:AUTH_)?)([0-9a-f]{16})([0-9a-f]{16})(?=[/?]|$)")

    @given(st.lists(PIECES, max_size=8).map("".join))
    def agrees(rest: str) -> None:
        path = f"/{rest}"
        result = peer.request(f"/block-storage{path}", {"x-auth-token": TOKEN})
        if result.answer is not None:  # a dot segment
            return
        expected = pattern.sub(rf"\g<1>{namespace('home')}\g<3>", path, count=1)
        if not pattern.match(path):
            expected = path
        assert result.headers[":path"] == expected

    agrees()
