"""Projects' ids in paths: the last real Envoy before a service moves those of foreign users.

`cloud-1` is where requests enter, `cloud-2` has an Envoy too; both have a Cinder and a Swift.
`home` has issued the tokens, and so has `kin`, whose ids are kept.
"""

from typing import Any

import pytest
from harness.fleet import Fleet, manifest
from harness.http import send

from control_plane.clouds.model import Cloud
from control_plane.compiler.policy import namespace

LOCAL = "0123456789abcdef0123456789abcdef"
"""A project's id at the cloud that is asked; whatever a foreign user writes, it isn't asked for."""
MOVED = namespace("home") + LOCAL[16:]


@pytest.fixture(scope="module")
def front(fleet: Fleet) -> int:
    identity = {"clouds": ["home"], "identity": {"clouds": ["home"]}}
    kept = {"clouds": ["cloud-1"], "identity": {"clouds": ["kin"], "ids": "kept"}}

    def services(name: str) -> dict[str, Any]:
        return {
            "block-storage": fleet.service(f"cinder-{name}"),
            "object-store": fleet.service(f"swift-{name}"),
        }

    fleet.control_plane.put(
        manifest("home", services={}),
        manifest(
            "down", services={"block-storage": fleet.nobody()}, accept=[{"clouds": ["cloud-1"]}]
        ),
    )
    fleet.site("cloud-2", services=services("2"), accept=[{"clouds": ["cloud-1"]}, identity, kept])
    labels = {"place": "here"}
    site: Cloud = fleet.site(
        "cloud-1", labels=labels, services=services("1"), accept=[identity, kept]
    )
    assert site.front
    return site.front.port


def asked(front: int, path: str, scope: str, method: str = "GET") -> tuple[str, str]:
    """The service that was asked, and the path that it got."""
    headers = [("X-Auth-Token", "gAAA"), ("X-Scope", scope)]
    said = send(front, path, headers, method=method).json
    return said["name"], said["path"]


@pytest.mark.parametrize(
    ("scope", "service"),
    [
        ("{keystone:home;cinder:cloud-2}", "cinder-2"),  # at the peer
        ("{keystone:home}", "cinder-1"),  # at the front
        ("{keystone:home;cinder:down|cloud-1}", "cinder-1"),  # at dispatch
        ("{keystone:home;cinder:nowhere|cloud-1}", "cinder-1"),  # the only one that is left
        ("{keystone:home;cinder:[place=here]}", "cinder-1"),
        ("{keystone:home;cinder:down|cloud-2}", "cinder-2"),  # behind dispatch, at the peer
    ],
)
def test_a_foreign_user_reaches_no_local_project(front: int, scope: str, service: str) -> None:
    path = f"/block-storage/v3/{LOCAL}/volumes?all=1"

    assert asked(front, path, scope) == (service, f"/v3/{MOVED}/volumes?all=1")


def test_one_that_is_moved_already_stays(front: int) -> None:
    path = f"/block-storage/v3/{MOVED}/volumes"

    assert asked(front, path, "{keystone:home}") == ("cinder-1", f"/v3/{MOVED}/volumes")


def test_accounts_of_an_object_store_too(front: int) -> None:
    path = f"/object-store/v1/AUTH_{LOCAL}/box/a//b"
    expected = ("swift-2", f"/v1/AUTH_{MOVED}/box/a//b")

    assert asked(front, path, "{keystone:home;swift:cloud-2}", "PUT") == expected


@pytest.mark.parametrize(
    ("scope", "service"),
    [
        ("{}", "cinder-1"),
        ("{cinder:cloud-1}", "cinder-1"),
        ("{keystone:kin}", "cinder-1"),
        ("{keystone:kin;cinder:cloud-2}", "cinder-2"),
        ("{keystone:cloud-2;cinder:cloud-2}", "cinder-2"),
    ],
)
def test_ids_of_own_users_and_kept_ones_stay(front: int, scope: str, service: str) -> None:
    path = f"/block-storage/v3/{LOCAL}/volumes"

    assert asked(front, path, scope) == (service, f"/v3/{LOCAL}/volumes")
