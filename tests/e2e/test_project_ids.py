"""Projects' ids in requests: the last real Envoy before a service moves those of foreign users.

`cloud-1` is where requests enter, `cloud-2` has an Envoy too; both have a Cinder, a Swift, a Glance
and a Neutron.
`home` has issued the tokens, and so has `kin`, whose ids are kept.
"""

import hashlib
import json
from typing import Any

import pytest

from harness.fleet import Fleet, manifest
from harness.http import Response, send
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.planner.access import namespace
from scopeway.control_plane.translator import route_templates

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
            "image": fleet.service(f"glance-{name}"),
            "network": fleet.service(f"neutron-{name}"),
        }

    fleet.control_plane.put(
        manifest("home", services={}),
        manifest(
            "down",
            services={name: fleet.nobody() for name in ("block-storage", "network")},
            accept=[{"clouds": ["cloud-1"]}],
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
def test_a_foreign_user_cannot_reach_a_local_project_by_its_id(
    front: int, scope: str, service: str
) -> None:
    path = f"/block-storage/v3/{LOCAL}/volumes?all=1"

    assert asked(front, path, scope) == (service, f"/v3/{MOVED}/volumes?all=1")


def test_an_id_already_in_the_namespace_is_unchanged(front: int) -> None:
    path = f"/block-storage/v3/{MOVED}/volumes"

    assert asked(front, path, "{keystone:home}") == ("cinder-1", f"/v3/{MOVED}/volumes")


def test_a_foreign_user_cannot_reach_a_local_object_store_account(front: int) -> None:
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
def test_ids_of_local_users_and_kept_ids_are_unchanged(
    front: int, scope: str, service: str
) -> None:
    path = f"/block-storage/v3/{LOCAL}/volumes"

    assert asked(front, path, scope) == (service, f"/v3/{LOCAL}/volumes")


MAX_BODY = route_templates.MAX_BODY_WITH_IDS
IN_BODIES = [
    ("{keystone:home;neutron:cloud-2}", "neutron-2"),  # at the peer
    ("{keystone:home}", "neutron-1"),  # at the front
    ("{keystone:home;neutron:down|cloud-1}", "neutron-1"),  # at dispatch
    ("{keystone:home;neutron:down|cloud-2}", "neutron-2"),  # behind dispatch, at the peer
]


def written(front: int, scope: str, body: Any, path: str = "/network/v2.0/networks") -> Response:
    headers = [("X-Auth-Token", "gAAA"), ("X-Scope", scope), ("Content-Type", "application/json")]
    return send(front, path, headers, method="POST", body=body)


@pytest.mark.parametrize("length", [0, MAX_BODY])
@pytest.mark.parametrize(("scope", "service"), IN_BODIES)
def test_an_id_in_a_body_is_mapped(front: int, scope: str, service: str, length: int) -> None:
    """For bodies up to the limit; no other byte of the body changes."""
    body = json.dumps({"network": {"name": "\u00e4", "project_id": LOCAL}}).ljust(length)
    moved = body.replace(LOCAL, MOVED).encode()
    said = written(front, scope, body.encode()).json

    assert said["name"] == service
    assert (said["length"], said["sha256"]) == (len(moved), hashlib.sha256(moved).hexdigest())


@pytest.mark.parametrize(("scope", "service"), IN_BODIES)
def test_an_id_with_a_cloud_name_in_a_body_is_mapped_and_the_length_adjusted(
    front: int, scope: str, service: str
) -> None:
    """The service's own length is that of what it gets."""
    body = json.dumps({"network": {"project_id": f"{LOCAL}@{service.replace('neutron', 'cloud')}"}})
    said = written(front, scope, body.encode()).json
    plain = json.dumps({"network": {"project_id": LOCAL}}).encode()

    assert (said["name"], said["length"]) == (service, len(plain))
    assert said["sha256"] == hashlib.sha256(plain).hexdigest()


@pytest.mark.parametrize(("scope", "service"), IN_BODIES)
def test_a_body_with_ids_above_the_limit_or_without_a_length_is_refused(
    fleet: Fleet, front: int, scope: str, service: str
) -> None:
    asked_before = fleet.echo(service).requests
    too_long = written(front, scope, b" " * (MAX_BODY + 1))
    without_length = written(front, scope, iter([b"{}"]))

    cloud = service.replace("neutron", "cloud")
    assert too_long.status == 413
    assert f"has at most {MAX_BODY} bytes at {cloud}" in too_long.error["message"]
    assert without_length.status == 411
    assert f"needs a Content-Length at {cloud}" in without_length.error["message"]
    assert fleet.echo(service).requests == asked_before


@pytest.mark.parametrize(
    "scope",
    [
        "{}",
        "{keystone:kin}",
        "{keystone:kin;neutron:cloud-2}",
        "{keystone:cloud-2;neutron:cloud-2}",
    ],
)
def test_bodies_of_local_users_are_streamed_unchanged(front: int, scope: str) -> None:
    body = b" " * (MAX_BODY + 1)

    assert written(front, scope, iter([body])).json["length"] == len(body)


def test_bodies_of_images_are_streamed_unchanged(front: int) -> None:
    """Nothing waits for a body that has no such place."""
    headers = [("X-Auth-Token", "gAAA"), ("X-Scope", "{keystone:home;glance:cloud-2}")]
    body = b"x" * (MAX_BODY + 1)
    said = send(front, "/image/v2/images/1/file", headers, method="PUT", body=iter([body])).json

    assert (said["name"], said["length"]) == ("glance-2", len(body))


@pytest.mark.parametrize(
    ("scope", "service"),
    [("{keystone:home;glance:cloud-2}", "glance-2"), ("{keystone:home}", "glance-1")],
)
def test_ids_in_other_places_of_a_path_are_mapped(front: int, scope: str, service: str) -> None:
    path = f"/image/v2/images/1/members/{LOCAL}?owner={LOCAL}&checksum={LOCAL}"

    moved = f"/v2/images/1/members/{MOVED}?owner={MOVED}&checksum={LOCAL}"
    assert asked(front, path, scope) == (service, moved)
