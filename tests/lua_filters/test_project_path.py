"""The project's id in a path, which the last Envoy before a service moves."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.compiler.policy import namespace

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
def test_an_id_behind_the_version_is_moved(peer: Any, path: str) -> None:
    assert sent(peer, path) == path.replace(ID, MOVED)


@pytest.mark.parametrize("service", SERVICES)
def test_in_the_services_that_have_one_there(peer: Any, service: str) -> None:
    assert sent(peer, PATHS[1], service=service) == PATHS[1].replace(ID, MOVED)


@pytest.mark.parametrize("service", ["image", "network", "placement", "identity"])
def test_in_no_other_service(peer: Any, service: str) -> None:
    assert sent(peer, PATHS[1], service=service) == PATHS[1]


@pytest.mark.parametrize("path", OTHERS)
def test_nothing_else_of_a_path_is_touched(peer: Any, path: str) -> None:
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
def test_a_token_that_no_one_other_cloud_has_issued_moves_nothing(
    peer: Any, token: str | None
) -> None:
    """Such a token is judged by this site's own Keystone, or refused when it is validated."""
    assert sent(peer, PATHS[1], token) == PATHS[1]


def test_an_id_that_was_moved_already_stays(peer: Any) -> None:
    assert sent(peer, f"/v3/{MOVED}/volumes") == f"/v3/{MOVED}/volumes"


def test_ids_that_a_rule_keeps_stay(new_filter: Any) -> None:
    peer = new_filter("peer", kept={"home": True})

    assert sent(peer, PATHS[1]) == PATHS[1]
    assert ID not in sent(peer, PATHS[1], "t~1~*:cloud-1;identity:other")


def test_where_a_rule_keeps_ids_by_label_only_those_are_moved_that_a_rule_names(
    new_filter: Any,
) -> None:
    peer = new_filter("peer", moved={"home": True})

    assert sent(peer, PATHS[1]) == PATHS[1].replace(ID, MOVED)
    assert sent(peer, PATHS[1], "t~1~*:cloud-1;identity:other") == PATHS[1]


class TestFront:
    def test_the_own_service_is_asked_with_the_moved_id(self, front: Any) -> None:
        sent = front.request(
            f"/block-storage/v3/{ID}/volumes",
            {"x-auth-token": "gAAA", "x-scope": "{keystone:home}"},
        )

        assert sent.headers[":path"] == f"/v3/{MOVED}/volumes"

    def test_another_cloud_does_it_itself(self, front: Any) -> None:
        sent = front.request(
            f"/block-storage/v3/{ID}/volumes",
            {"x-auth-token": "gAAA", "x-scope": "{keystone:home;cinder:cloud-2}"},
        )

        assert sent.headers[":path"] == f"/v3/{ID}/volumes"

    @pytest.mark.parametrize("scope", [{}, {"x-scope": ""}, {"x-scope": "{keystone:cloud-1}"}])
    def test_an_own_user_is_nobody_else(self, front: Any, scope: dict[str, str]) -> None:
        sent = front.request(f"/block-storage/v3/{ID}/volumes", {"x-auth-token": "gAAA", **scope})

        assert sent.headers[":path"] == f"/v3/{ID}/volumes"

    def test_a_port_of_one_service_does_it_too(self, new_filter: Any) -> None:
        front = new_filter("front", service="block-storage")
        sent = front.request(f"/v3/{ID}/volumes", {"x-auth-token": TOKEN})

        assert sent.headers[":path"] == f"/v3/{MOVED}/volumes"


PIECES = st.sampled_from(
    ["/", "v3", "v2.1", "v", "AUTH_", ID, ID[:9], "?", "%2F", ".", "x", "volumes"]
)


def test_random_paths_are_what_a_model_says(new_filter: Any) -> None:
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
