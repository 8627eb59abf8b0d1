"""Images of another cloud, for a user who is known only at home."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import pytest
import requests

from demo.sites import manifest, register
from demo.trace import AccessLogs
from openstack_clouds import (
    AT_OTHER,
    CLOUDS,
    COMMAND_SECONDS,
    HOME,
    IMAGES,
    OTHER,
    SECURE,
    TOKENS,
    Clouds,
    image_names,
    new_image,
)
from scopeway.control_plane.planner.access import namespace


@pytest.mark.usefixtures("debian")
def test_images_are_those_of_the_cloud_in_the_scope(clouds: Clouds) -> None:
    token = clouds.member()
    assert "debian" not in image_names(clouds.ask("GET", IMAGES, token))
    assert "debian" in image_names(clouds.ask("GET", IMAGES, token, scope=AT_OTHER))


@pytest.mark.usefixtures("debian")
def test_the_openstack_command_lists_images_of_the_cloud_in_the_scope(clouds: Clouds) -> None:
    scope = f"{{keystone:{HOME};glance:{OTHER}}}"
    status, output = clouds.command("image", "list", "-f", "value", "-c", "Name", "--scope", scope)
    assert status == 0, output
    assert "debian" in output.splitlines()


def test_the_home_keystone_validates_the_token_of_a_foreign_user(clouds: Clouds) -> None:
    token = clouds.member()
    logs = AccessLogs({OTHER: clouds.sites[OTHER].access_log})
    logs.news()  # lines of earlier requests may still come
    image_names(clouds.ask("GET", IMAGES, token, scope=AT_OTHER))
    asked = [hop for hop in logs.news() if hop.at_front and hop.path.endswith("/v3/auth/tokens")]
    assert [hop.served_by for hop in asked if hop.method == "GET"] == [HOME]


def test_a_member_of_a_cloud_is_a_member_at_another_cloud(clouds: Clouds) -> None:
    token = clouds.member()
    made = clouds.ask("POST", IMAGES, token, scope=AT_OTHER, document=new_image("mine"))
    assert made.status == 201, made
    path = f"{IMAGES}/{made.json['id']}"
    assert clouds.ask("GET", path, token, scope=AT_OTHER).status == 200
    assert clouds.ask("GET", path, token).status == 404
    assert clouds.ask("DELETE", path, token, scope=AT_OTHER).status == 204


def test_a_method_in_the_query_does_not_bypass_the_policy(clouds: Clouds) -> None:
    """Glance itself goes by it."""
    token = clouds.member()
    made = clouds.ask("POST", IMAGES, token, scope=AT_OTHER, document=new_image("stays"))
    path = f"{IMAGES}/{made.json['id']}"

    refused = clouds.ask("GET", f"{path}?_method=DELETE", token, scope=AT_OTHER)
    assert refused.status == 400
    assert "a method in the query" in refused.json["error"]["message"]
    assert clouds.ask("GET", path, token, scope=AT_OTHER).status == 200

    own = clouds.ask("POST", IMAGES, token, document=new_image("goes")).json["id"]
    assert clouds.ask("GET", f"{IMAGES}/{own}?_method=DELETE", token).status == 204
    assert clouds.ask("GET", f"{IMAGES}/{own}", token).status == 404


FORM = {"Content_Type": "application/x-www-form-urlencoded"}
BOTH = b'{"status": "accepted", "a": "&_method=PUT&"}'
"""A form to Routes, and JSON to what is behind it."""


def test_a_method_in_a_form_does_not_bypass_the_policy(clouds: Clouds) -> None:
    """Glance itself goes by it."""
    owner, invited = clouds.member(), clouds.admin()
    path = _shared(clouds, owner, invited)
    assert clouds.ask("POST", path, invited, data=BOTH, **FORM).status == 200
    assert clouds.ask("GET", path, invited).json["status"] == "accepted"

    path = _shared(clouds, owner, invited, scope=AT_OTHER)
    with _methods(clouds, ["GET", "POST"]):
        refused = clouds.ask("POST", path, invited, scope=AT_OTHER, data=BOTH, **FORM)
        assert refused.status == 403
        assert "with a form" in refused.json["error"]["message"]
        assert clouds.ask("GET", path, invited, scope=AT_OTHER).json["status"] == "pending"
    through = clouds.ask("POST", path, invited, scope=AT_OTHER, data=BOTH, **FORM)
    assert through.json["status"] == "accepted"


def test_requests_of_the_openstack_command_are_no_forms(clouds: Clouds) -> None:
    scope = f"{{keystone:{HOME};glance:{OTHER}}}"
    with _methods(clouds, ["GET", "POST", "PUT", "PATCH"]):
        made = clouds.command(
            *("image", "create", "posted", "-f", "value", "-c", "id", "--scope", scope)
        )
        assert made[0] == 0, made
        image = made[1].split()[-1]
        # these have no body
        for change in ("--deactivate", "--activate"):
            done = clouds.command("image", "set", change, image, "--scope", scope)
            assert done[0] == 0, done


def _shared(clouds: Clouds, owner: str, invited: str, scope: str | None = None) -> str:
    """The path of a member of an image who has not accepted yet."""

    def made(token: str) -> Any:
        return clouds.ask("POST", IMAGES, token, scope=scope, document=new_image("shared")).json

    members, member = f"{IMAGES}/{made(owner)['id']}/members", made(invited)["owner"]
    added = clouds.ask("POST", members, owner, scope=scope, document={"member": member})
    assert added.json["status"] == "pending", added
    return f"{members}/{member}"


@contextmanager
def _methods(clouds: Clouds, methods: list[str]) -> Iterator[None]:
    """The other cloud lets others use its services with these methods only."""
    others = [name for name in (*CLOUDS, SECURE) if name != OTHER]
    usual = manifest(clouds.sites[OTHER], others)
    limited = deepcopy(usual)
    limited["spec"]["accept"][0]["methods"] = methods
    file = clouds.root / "methods.yaml"

    def put(document: dict[str, Any], status: int) -> None:
        register(clouds.plane, [document], file)
        deadline = time.monotonic() + COMMAND_SECONDS
        token, path = clouds.member(), f"{IMAGES}/of-nobody"
        while clouds.ask("DELETE", path, token, scope=AT_OTHER).status != status:
            assert time.monotonic() < deadline, "the policy is still the old one"
            time.sleep(0.05)

    put(limited, 403)
    try:
        yield
    finally:
        put(usual, 404)


def test_an_image_of_a_foreign_user_belongs_to_the_mapped_project(clouds: Clouds) -> None:
    token = clouds.member()
    project = clouds.validated(token)["project"]["id"]
    made = clouds.ask("POST", IMAGES, token, scope=AT_OTHER, document=new_image("owned"))
    assert made.json["owner"] == namespace(HOME) + project[16:]


def test_images_of_a_foreign_user_are_listed_by_the_project_id_at_home(clouds: Clouds) -> None:
    token = clouds.member()
    project = clouds.validated(token)["project"]["id"]
    owned = new_image("listed by its owner", owner=project)
    made = clouds.ask("POST", IMAGES, token, scope=AT_OTHER, document=owned)
    assert made.status == 201, made
    assert made.json["owner"] == namespace(HOME) + project[16:]
    for owner in (project, made.json["owner"]):
        listed = clouds.ask("GET", f"{IMAGES}?owner={owner}", token, scope=AT_OTHER)
        assert "listed by its owner" in image_names(listed)


def test_a_foreign_user_shares_an_image_with_another_project_of_home(clouds: Clouds) -> None:
    """Both users use the ids that they know; no other project of the cloud sees the image."""
    owner, friend = clouds.member(), clouds.admin()
    image = _made(clouds, owner, "for a friend")
    project = clouds.validated(friend)["project"]["id"]
    assert clouds.ask("GET", f"{IMAGES}/{image}", friend, scope=AT_OTHER).status == 404

    members = f"{IMAGES}/{image}/members"
    added = clouds.ask("POST", members, owner, scope=AT_OTHER, document={"member": project})
    assert added.json["member_id"] == namespace(HOME) + project[16:]
    accepted = clouds.ask(
        "PUT", f"{members}/{project}", friend, scope=AT_OTHER, document={"status": "accepted"}
    )
    assert accepted.status == 200, accepted
    assert "for a friend" in image_names(clouds.ask("GET", IMAGES, friend, scope=AT_OTHER))
    stranger = clouds.member(OTHER)
    assert clouds.ask("GET", f"{IMAGES}/{image}", stranger, cloud=OTHER).status == 404

    removed = clouds.ask("DELETE", f"{members}/{project}", owner, scope=AT_OTHER)
    assert removed.status == 204, removed
    assert clouds.ask("GET", f"{IMAGES}/{image}", friend, scope=AT_OTHER).status == 404


@pytest.mark.parametrize("ours", [True, False], ids=["home", "there"])
def test_the_openstack_command_shares_an_image_of_another_cloud(clouds: Clouds, ours: bool) -> None:
    """With a project of home, and with one of the other cloud, which is named with its cloud."""
    image = _made(clouds, clouds.member(), "by the command")
    cloud, friend = (HOME, clouds.admin()) if ours else (OTHER, clouds.member(OTHER))
    identity: Any = clouds.ask("GET", TOKENS, friend, cloud=cloud, X_Subject_Token=friend).json
    project = identity["token"]["project"]["id"]
    done = clouds.command(
        *("image", "add", "project", image, project if ours else f"{project}@{OTHER}"),
        *("--scope", f"{{keystone:{HOME};glance:{OTHER}}}"),
    )
    assert done[0] == 0, done

    path, scope = f"{IMAGES}/{image}", AT_OTHER if ours else None
    assert clouds.ask("GET", path, friend, cloud=cloud, scope=scope).status == 200


def _made(clouds: Clouds, token: str, name: str) -> str:
    """The id of an image at the other cloud that can be shared."""
    made = clouds.ask("POST", IMAGES, token, scope=AT_OTHER, document=new_image(name))
    assert made.status == 201, made
    return str(made.json["id"])


def test_a_local_member_does_not_see_the_image_of_a_foreign_project(clouds: Clouds) -> None:
    made = clouds.ask(
        "POST", IMAGES, clouds.member(), scope=AT_OTHER, document=new_image("foreign")
    )
    path = f"{IMAGES}/{made.json['id']}"
    assert clouds.ask("GET", path, clouds.member(OTHER), cloud=OTHER).status == 404


def test_an_upload_is_streamed_to_glance(clouds: Clouds) -> None:
    """Nothing on the way waits for its end, nor does the server that Glance runs in."""
    token, half = clouds.member(), b"x" * (1 << 20)
    image = _made(clouds, token, "large")
    stored = clouds.sites[OTHER].folder / "images" / image

    def halves() -> Iterator[bytes]:
        yield half
        deadline = time.monotonic() + COMMAND_SECONDS
        while not (stored.exists() and stored.stat().st_size):
            assert time.monotonic() < deadline, "Glance has got nothing of it"
            time.sleep(0.02)
        yield half

    url = f"{clouds.sites[HOME].front_url}{IMAGES}/{image}/file"
    headers = {
        "X-Auth-Token": token,
        "X-Scope": AT_OTHER,
        "Content-Type": "application/octet-stream",
    }
    assert requests.put(url, data=halves(), headers=headers, timeout=120).status_code == 204
    assert stored.stat().st_size == 2 * len(half)


def test_an_administrator_at_home_is_no_administrator_at_another_cloud(clouds: Clouds) -> None:
    token = clouds.admin()
    public = new_image("everybody's", visibility="public")
    assert clouds.ask("POST", IMAGES, token, document=public).status == 201
    refused = clouds.ask("POST", IMAGES, token, scope=AT_OTHER, document=public)
    assert refused.status == 403, refused


def test_an_administrator_at_home_cannot_change_an_image_of_another_cloud(
    clouds: Clouds, debian: str
) -> None:
    path = f"{IMAGES}/{debian}"
    assert clouds.ask("DELETE", path, clouds.admin(), scope=AT_OTHER).status == 403
    assert clouds.ask("GET", path, clouds.member(OTHER), cloud=OTHER).status == 200


def test_an_invalid_token_is_refused(clouds: Clouds) -> None:
    assert clouds.ask("GET", IMAGES, "nonsense", scope=AT_OTHER).status == 401
    assert clouds.ask("GET", TOKENS, "nonsense", X_Subject_Token="nonsense").status == 401
