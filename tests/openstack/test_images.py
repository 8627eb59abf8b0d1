"""Images of another cloud, for a user who is known only at home."""

import pytest
from harness.openstack import AT_OTHER, HOME, IMAGES, OTHER, TOKENS, Clouds, image_names, new_image

from control_plane.compiler.policy import namespace
from control_plane.demo.trace import AccessLogs


@pytest.mark.usefixtures("debian")
def test_images_are_those_of_the_cloud_in_the_scope(clouds: Clouds) -> None:
    token = clouds.member()
    assert "debian" not in image_names(clouds.ask("GET", IMAGES, token))
    assert "debian" in image_names(clouds.ask("GET", IMAGES, token, scope=AT_OTHER))


@pytest.mark.usefixtures("debian")
def test_the_openstack_command_lists_them(clouds: Clouds) -> None:
    scope = f"{{keystone:{HOME};glance:{OTHER}}}"
    status, output = clouds.command("image", "list", "-f", "value", "-c", "Name", "--scope", scope)
    assert status == 0, output
    assert "debian" in output.splitlines()


def test_the_home_keystone_validates(clouds: Clouds) -> None:
    token = clouds.member()
    logs = AccessLogs({OTHER: clouds.sites[OTHER].access_log})
    logs.news()  # lines of earlier requests may still come
    image_names(clouds.ask("GET", IMAGES, token, scope=AT_OTHER))
    asked = [hop for hop in logs.news() if hop.at_front and hop.path.endswith("/v3/auth/tokens")]
    assert [hop.served_by for hop in asked if hop.method == "GET"] == [HOME]


def test_a_member_of_a_cloud_is_a_member_at_the_other(clouds: Clouds) -> None:
    token = clouds.member()
    made = clouds.ask("POST", IMAGES, token, scope=AT_OTHER, document=new_image("mine"))
    assert made.status == 201, made
    path = f"{IMAGES}/{made.json()['id']}"
    assert clouds.ask("GET", path, token, scope=AT_OTHER).status == 200
    assert clouds.ask("GET", path, token).status == 404
    assert clouds.ask("DELETE", path, token, scope=AT_OTHER).status == 204


def test_a_method_in_the_query_does_not_get_past_the_policy(clouds: Clouds) -> None:
    """Glance itself goes by it."""
    token = clouds.member()
    made = clouds.ask("POST", IMAGES, token, scope=AT_OTHER, document=new_image("stays"))
    path = f"{IMAGES}/{made.json()['id']}"

    refused = clouds.ask("GET", f"{path}?_method=DELETE", token, scope=AT_OTHER)
    assert refused.status == 400
    assert "a method in the query" in refused.json()["error"]["message"]
    assert clouds.ask("GET", path, token, scope=AT_OTHER).status == 200

    own = clouds.ask("POST", IMAGES, token, document=new_image("goes")).json()["id"]
    assert clouds.ask("GET", f"{IMAGES}/{own}?_method=DELETE", token).status == 204
    assert clouds.ask("GET", f"{IMAGES}/{own}", token).status == 404


def test_what_is_made_there_belongs_to_the_mapped_project(clouds: Clouds) -> None:
    token = clouds.member()
    project = clouds.validated(token)["project"]["id"]
    made = clouds.ask("POST", IMAGES, token, scope=AT_OTHER, document=new_image("owned"))
    assert made.json()["owner"] == namespace(HOME) + project[16:]


def test_a_member_there_does_not_see_what_a_foreign_project_made(clouds: Clouds) -> None:
    made = clouds.ask(
        "POST", IMAGES, clouds.member(), scope=AT_OTHER, document=new_image("foreign")
    )
    path = f"{IMAGES}/{made.json()['id']}"
    assert clouds.ask("GET", path, clouds.member(OTHER), cloud=OTHER).status == 404


def test_an_administrator_at_home_is_none_at_the_other(clouds: Clouds) -> None:
    token = clouds.admin()
    public = new_image("everybody's", visibility="public")
    assert clouds.ask("POST", IMAGES, token, document=public).status == 201
    refused = clouds.ask("POST", IMAGES, token, scope=AT_OTHER, document=public)
    assert refused.status == 403, refused


def test_an_administrator_at_home_cannot_change_an_image_of_the_other(
    clouds: Clouds, debian: str
) -> None:
    path = f"{IMAGES}/{debian}"
    assert clouds.ask("DELETE", path, clouds.admin(), scope=AT_OTHER).status == 403
    assert clouds.ask("GET", path, clouds.member(OTHER), cloud=OTHER).status == 200


def test_a_token_of_nobody_is_refused(clouds: Clouds) -> None:
    assert clouds.ask("GET", IMAGES, "nonsense", scope=AT_OTHER).status == 401
    assert clouds.ask("GET", TOKENS, "nonsense", X_Subject_Token="nonsense").status == 401
