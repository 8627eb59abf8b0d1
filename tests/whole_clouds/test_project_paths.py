"""A project's id in the path of a real Nova, by the token of another cloud's user."""

import pytest
from harness.openstack import HOME, Clouds

SCOPE = "{keystone:cloud-1;nova:cloud-999}"


def project_of(clouds: Clouds, token: str) -> str:
    answer = clouds.ask("GET", "/identity/v3/auth/tokens", token, X_Subject_Token=token)
    return str(answer.json()["token"]["project"]["id"])


def test_the_users_own_project_is_found(clouds: Clouds) -> None:
    """Nova compares it with the token's, which has another id there."""
    token = clouds.member(scope=SCOPE)
    home = project_of(clouds, clouds.member(HOME))
    answer = clouds.ask("GET", f"/compute/v2.1/{home}/servers", token)

    assert answer.status == 200, answer
    assert answer.headers["x-scopeway-served-by"] == "cloud-999"
    assert "servers" in answer.json()


@pytest.mark.parametrize("user", ["member", "admin"])
def test_a_project_of_the_other_cloud_is_not(clouds: Clouds, user: str) -> None:
    token = getattr(clouds, user)(scope=SCOPE)
    local = clouds.member("cloud-999")
    identity = clouds.ask(
        "GET", "/identity/v3/auth/tokens", local, cloud="cloud-999", X_Subject_Token=local
    )
    project = identity.json()["token"]["project"]["id"]
    answer = clouds.ask("GET", f"/compute/v2.1/{project}/servers", token)

    assert answer.status in (400, 403), answer
    assert answer.headers["x-scopeway-served-by"] == "cloud-999"
