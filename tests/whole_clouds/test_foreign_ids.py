"""Ids of a foreign user's projects, as real Nova, Neutron and Cinder take them.

Those of Glance are in tests/openstack, where clouds are small; docs/foreign-ids.md has all.
"""

from typing import Any

import pytest

from openstack_clouds import HOME, OTHER, Clouds
from scopeway.control_plane.planner.access import namespace

SCOPE = "{keystone:cloud-1;nova:cloud-999}"
AT_OTHER = f"{{keystone:{HOME};*:{OTHER}}}"
VOLUMES = {"OpenStack_API_Version": "volume 3.62"}


def project_of(clouds: Clouds, token: str, cloud: str = HOME) -> str:
    answer = clouds.ask(
        "GET", "/identity/v3/auth/tokens", token, cloud=cloud, X_Subject_Token=token
    )
    return str(answer.json["token"]["project"]["id"])


@pytest.fixture(scope="module")
def home(clouds: Clouds) -> str:
    """The id that the user's project has at home."""
    return project_of(clouds, clouds.member(HOME))


@pytest.fixture(scope="module")
def moved(home: str) -> str:
    """The id that it has at every other cloud."""
    return namespace(HOME) + home[16:]


@pytest.fixture(scope="module")
def token(clouds: Clouds) -> str:
    return clouds.member(scope=AT_OTHER)


def test_a_foreign_user_finds_her_own_project(clouds: Clouds, home: str) -> None:
    """Nova compares it with the token's, which has another id there."""
    answer = clouds.ask("GET", f"/compute/v2.1/{home}/servers", clouds.member(scope=SCOPE))

    assert answer.status == 200, answer
    assert answer.headers["x-scopeway-served-by"] == "cloud-999"
    assert "servers" in answer.json


@pytest.mark.parametrize("user", ["member", "admin"])
def test_a_foreign_user_does_not_find_a_project_of_the_other_cloud(
    clouds: Clouds, user: str
) -> None:
    token = getattr(clouds, user)(scope=SCOPE)
    project = project_of(clouds, clouds.member("cloud-999"), "cloud-999")
    answer = clouds.ask("GET", f"/compute/v2.1/{project}/servers", token)

    assert answer.status in (400, 403), answer
    assert answer.headers["x-scopeway-served-by"] == "cloud-999"


@pytest.mark.parametrize(
    "path",
    [
        "/compute/v2.1/os-quota-sets/{}",
        "/compute/v2.1/os-simple-tenant-usage/{}",
        "/network/v2.0/quotas/{}",
        "/block-storage/v3/os-quota-sets/{}",
    ],
)
def test_a_foreign_user_does_not_reach_a_local_project_by_naming_its_cloud(
    clouds: Clouds, token: str, path: str
) -> None:
    project = project_of(clouds, clouds.member(OTHER), OTHER)

    refused = clouds.ask("GET", path.format(f"{project}@{OTHER}"), token)
    assert refused.status == 403
    assert f"({project} in its path is taken for an id of {OTHER}; " in refused.body.decode()


@pytest.mark.parametrize(
    "path",
    [
        "/compute/v2.1/os-quota-sets/{}",
        "/compute/v2.1/os-quota-sets/{}/detail",
        "/compute/v2.1/os-simple-tenant-usage/{}",
        "/network/v2.0/quotas/{}",
        "/network/v2.0/quotas/{}.json",
        "/network/v2.0/quotas/{}/details.json",
        "/block-storage/v3/{}/os-quota-sets/{}?usage=True",
    ],
)
def test_a_foreign_user_sees_her_own_quota_and_usage(
    clouds: Clouds, token: str, home: str, path: str
) -> None:
    answer = clouds.ask("GET", path.replace("{}", home), token)

    assert answer.status == 200, answer
    assert answer.headers["x-scopeway-served-by"] == OTHER


@pytest.mark.parametrize("name", ["project_id", "tenant_id"])
def test_a_network_is_created_and_listed_by_the_project_id_at_home(
    clouds: Clouds, token: str, home: str, moved: str, name: str
) -> None:
    document = {"networks": [{"name": f"by-{name}", name: home}]}
    made = clouds.ask("POST", "/network/v2.0/networks", token, document=document)
    assert made.status == 201, made
    (network,) = _list(made.json["networks"])
    assert network["project_id"] == moved

    listed = clouds.ask("GET", f"/network/v2.0/networks?name=by-{name}&{name}={home}", token)
    assert [each["id"] for each in _list(listed.json["networks"])] == [network["id"]]
    assert clouds.ask("DELETE", f"/network/v2.0/networks/{network['id']}", token).status == 204


def test_a_network_is_shared_with_another_project_of_home(clouds: Clouds, token: str) -> None:
    friend = clouds.admin(scope=AT_OTHER)
    networks = "/network/v2.0/networks"
    made: Any = clouds.ask("POST", networks, token, document={"network": {"name": "ours"}}).json
    path = f"{networks}/{made['network']['id']}"
    assert clouds.ask("GET", path, friend).status == 404
    policy = {
        "object_type": "network",
        "object_id": made["network"]["id"],
        "action": "access_as_shared",
        "target_tenant": project_of(clouds, clouds.admin(HOME)),
    }
    shared = clouds.ask(
        "POST", "/network/v2.0/rbac-policies", token, document={"rbac_policy": policy}
    )

    assert shared.status == 201, shared
    assert clouds.ask("GET", path, friend).status == 200
    assert clouds.ask("DELETE", path, token).status == 204


def test_default_volume_types_of_a_foreign_project_are_refused(
    clouds: Clouds, token: str, home: str
) -> None:
    """Cinder would answer 500."""
    answer = clouds.ask("GET", f"/block-storage/v3/{home}/default-types/{home}", token, **VOLUMES)

    assert answer.status == 501
    assert f"the id {home} in this path" in answer.json["error"]["message"]


def _list(value: object) -> list[Any]:
    assert isinstance(value, list)
    return value
