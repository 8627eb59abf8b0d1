"""What a user sees of Nova when a scope cannot be served, by the real command.

The other errors are in tests/openstack, where clouds are small.
"""

import pytest

from demo.full.steps import THREE_CLOUDS
from demo.sites import register
from harness.ports import free_ports
from openstack_clouds import HOME, OTHER, Clouds, neighbour

BOOT = ("server", "create", "--image", "cirros", "--flavor", "m1.small")
SERVERS = "/compute/v2.1/servers"


@pytest.fixture(scope="session", autouse=True)
def _neighbours(clouds: Clouds) -> None:
    """Clouds with something wrong each."""
    (nobody,) = free_ports(1)
    keystone = {"identity": clouds.sites[OTHER].services["identity"]}
    everybody = list(clouds.sites)
    documents = [
        neighbour("dead", {"image": nobody}, everybody),
        neighbour("stranger", keystone, everybody),
    ]
    register(clouds.plane, documents, clouds.root / "neighbours.yaml")
    clouds.await_cloud("stranger")


@pytest.mark.parametrize(
    ("command", "scope", "line"),
    [
        ((*BOOT, "a"), "{glance:cloud-7}", "no cloud is named cloud-7 (HTTP 404)"),
        (("server", "list"), "{nova:cloud-7}", "no cloud is named cloud-7 (HTTP 404)"),
        (
            ("server", "create", "--volume", "a", "--flavor", "m1.small", "a"),
            "{cinder:cloud-999}",
            "cloud-999 has no block-storage service (HTTP 404)",
        ),
        (
            (*BOOT, "a"),
            "{glance:dead}",
            "image@dead cannot be reached: connection refused (HTTP 503)",
        ),
    ],
    ids=["image", "servers", "volume", "dead"],
)
def test_the_command_prints_one_line_for_a_server_that_cannot_be_created(
    clouds: Clouds, command: tuple[str, ...], scope: str, line: str
) -> None:
    assert clouds.command(*command, "--scope", scope) == (1, line)


def test_an_administrator_at_home_cannot_list_all_servers_of_another_cloud(clouds: Clouds) -> None:
    status, output = clouds.command(
        *("server", "list", "--all-projects", "--scope", "{nova:cloud-999}"),
        OS_CLOUD=f"{HOME}-admin",
    )

    assert status == 1
    assert "get_all_tenants to be performed. (of cloud-1, only the roles count at" in output
    assert "\n" not in output


def test_nova_refuses_an_identity_that_its_cloud_does_not_honour(clouds: Clouds) -> None:
    status, output = clouds.command(
        "server", "list", "--scope", "{keystone:stranger;nova:cloud-999}"
    )

    assert status == 1
    assert output.startswith("cloud-999 does not accept this token of stranger: ")
    assert output.endswith("(HTTP 401)")
    assert "\n" not in output


def test_nova_accepts_a_trust_token_if_the_policy_of_its_keystone_allows_it(
    clouds: Clouds,
) -> None:
    """Heat makes such; of Keystone's 403 Nova would make a 503."""
    token = clouds.trust_token(impersonation=True)
    scope = "{keystone:cloud-1;nova:cloud-999}"
    assert clouds.ask("GET", SERVERS, token, scope=scope).status == 200

    with clouds.default_keystone_policy():
        refused = clouds.ask("GET", SERVERS, token, scope=scope)
    assert refused.status == 401
    assert "it is of a trust that impersonates" in refused.json["error"]["message"]


def test_a_server_without_a_port_of_its_own_cloud_is_not_created(clouds: Clouds) -> None:
    """`network` is left unbound, and so it is the origin's: its ports are not Nova's elsewhere."""
    status, output = clouds.command(
        *("server", "create", "--image", "debian", "--flavor", "m1.small", "--wait"),
        *("--scope", THREE_CLOUDS, "nowhere"),
    )

    assert status == 1, output


@pytest.mark.parametrize(
    ("cloud", "status", "words"),
    [("cloud-7", 400, "Can not find requested image"), ("dead", 500, "GlanceConnectionFailed")],
)
def test_nova_reports_an_image_that_it_cannot_fetch(
    clouds: Clouds, cloud: str, status: int, words: str
) -> None:
    """The command asks for the image itself first; here only Nova does."""
    flavors: object = clouds.ask("GET", "/compute/v2.1/flavors", clouds.member()).json["flavors"]
    assert isinstance(flavors, list)
    image = "5b1b4b3a-7e5c-4f0e-9e0e-6a1f2d3c4b5a"
    server = {"name": "a", "imageRef": image, "flavorRef": flavors[0]["id"]}

    token = clouds.member(scope=f"{{glance:{cloud}}}")
    answer = clouds.ask("POST", SERVERS, token, document={"server": server})

    assert answer.status == status, answer
    assert words in answer.body.decode()
