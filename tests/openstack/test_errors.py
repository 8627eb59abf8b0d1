"""The errors that users get when a scope cannot be served: the table of docs/errors.md."""

from collections.abc import Iterator
from typing import Any

import pytest

from demo.sites import register
from demo.trace import AccessLogs
from harness.http import Response
from harness.ports import free_ports
from openstack_clouds import AT_OTHER, HOME, IMAGES, OTHER, TOKENS, Clouds, neighbour, new_image

TOO_LONG = "glance:" + "|".join(f"cloud-{number}" for number in range(400))
TOO_MANY = "glance:" + "|".join(f"cloud-{number}" for number in range(40))


@pytest.fixture(scope="session", autouse=True)
def _neighbours(clouds: Clouds) -> None:
    """Clouds with something wrong each, on the other cloud's services."""
    lent = clouds.sites[OTHER].services
    (nobody,) = free_ports(1)
    anyone = [OTHER, HOME]
    documents = [
        neighbour("no-images", {"identity": lent["identity"]}, anyone),
        neighbour("closed", lent, [OTHER]),
        neighbour("dead", {"image": nobody}, anyone),
        neighbour("stranger", {"identity": lent["identity"]}, anyone),
    ]
    register(clouds.plane, documents, clouds.root / "neighbours.yaml")
    clouds.await_cloud("stranger")


@pytest.fixture
def _no_control_plane(clouds: Clouds) -> Iterator[None]:
    """It hangs for a while: nothing new can be compiled."""
    (plane,) = (part for part in clouds.supervisor.processes if part.name == "control-plane")
    plane.pause()
    yield
    plane.resume()


def message(answer: Response) -> str:
    """The sentence in an answer of Scopeway."""
    error: Any = answer.json["error"]
    assert error["code"] == answer.status
    return str(error["message"])


@pytest.mark.parametrize(
    ("scope", "status", "output"),
    [
        ("{glance:cloud-7}", 1, "no cloud is named cloud-7 (HTTP 404)"),
        ("{glance:no-images}", 1, "no-images has no image service (HTTP 404)"),
        (
            "{glance:closed}",
            1,
            "closed does not let cloud-1 use its image service: "
            "none of its accept rules names cloud-1 (HTTP 403)",
        ),
        (
            "{glanc:cloud-2}",
            1,
            "column 1: no such service: 'glanc'; did you mean 'glance'? (HTTP 400)",
        ),
        (TOO_LONG, 2, "openstack: error: argument --scope: longer than 2048 bytes"),
    ],
    ids=["unknown", "no-service", "closed", "mistyped-service", "too-long"],
)
def test_the_command_prints_one_line_for_a_scope_that_cannot_be_served(
    clouds: Clouds, scope: str, status: int, output: str
) -> None:
    assert clouds.command("image", "list", "--scope", scope) == (status, output)


@pytest.mark.usefixtures("_no_control_plane")
def test_the_command_prints_one_line_if_the_control_plane_is_unreachable(clouds: Clouds) -> None:
    status, output = clouds.command("image", "list", "--scope", f"{{glance:{HOME}|{OTHER}|{HOME}}}")
    assert (status, output) == (
        1,
        f"the control plane did not answer for image@{HOME}|{OTHER}|{HOME}, or this site has too "
        "many that cannot be served (HTTP 503)",
    )


def test_the_command_prints_one_line_with_the_column_of_a_malformed_scope(clouds: Clouds) -> None:
    status, output = clouds.command("image", "list", "--scope", "{glance:cloud-2")
    expected = "openstack: error: argument --scope: column 16: '}' is missing after 'cloud-2'"
    assert (status, output) == (2, expected)


def test_the_command_prints_one_line_for_an_unreachable_cloud(clouds: Clouds) -> None:
    status, output = clouds.command("image", "list", "--scope", "{glance:dead}")
    expected = "image@dead cannot be reached: connection refused (HTTP 503)"
    assert (status, output) == (1, expected)


def test_the_command_prints_one_line_for_a_role_that_is_not_honoured(clouds: Clouds) -> None:
    status, output = clouds.command(
        *("image", "create", "mine", "--public", "--scope", AT_OTHER), OS_CLOUD=f"{HOME}-admin"
    )
    assert status == 1
    assert "You are not authorized to complete publicize_image action." in output
    assert output.endswith(
        f"(of {HOME}, only the roles count at {OTHER} that its accept[].identity lists, "
        "by default member and reader)"
    )
    assert "\n" not in output


def test_the_command_prints_one_line_for_an_identity_that_is_not_honoured(clouds: Clouds) -> None:
    scope = f"{{keystone:stranger;glance:{OTHER}}}"
    status, output = clouds.command("image", "list", "--scope", scope)
    assert (status, output) == (
        1,
        f"{OTHER} does not accept this token of stranger: it has expired or was revoked, it is of "
        f"a trust that impersonates, or {OTHER} does not honour identities of stranger "
        "(accept[].identity) (HTTP 401)",
    )


@pytest.mark.parametrize(
    ("scope", "status", "sentence"),
    [
        ("{glance:cloud-7}", 404, "no cloud is named cloud-7"),
        ("{keystone:cloud-7}", 404, "no cloud is named cloud-7"),
        ("{glance:no-images}", 404, "no-images has no image service"),
        (
            "{glance:closed}",
            403,
            "closed does not let cloud-1 use its image service: "
            "none of its accept rules names cloud-1",
        ),
        ("{glance:cloud-2", 400, "column 16: '}' is missing at the end"),
        (
            "{glance:cloud-1 % cloud-2}",
            501,
            "'%' divides one resource among clouds, which no service of OpenStack can do",
        ),
        (
            "{*: cloud-1 & cloud-2}",
            400,
            "column 13: '*' takes no '&': bind each service by its name",
        ),
        (
            "{glance: cloud-1 & [region=eu]}",
            501,
            "'&' joins clouds, local and '&[...]' only, not [region=eu]",
        ),
        (TOO_LONG, 400, f"a scope has at most 2048 bytes, this one has {len(TOO_LONG)}"),
    ],
    ids=[
        *("unknown", "unknown-identity", "no-service", "closed", "wrong", "operator", "star"),
        *("part", "too-long"),
    ],
)
def test_a_scope_that_cannot_be_served_is_answered_with_a_sentence(
    clouds: Clouds, scope: str, status: int, sentence: str
) -> None:
    path = "/identity/v3" if "keystone" in scope else IMAGES
    answer = clouds.ask("GET", path, scope=scope)
    assert (answer.status, message(answer)) == (status, sentence)


def test_a_scope_with_too_many_clouds_is_answered_with_a_sentence(clouds: Clouds) -> None:
    answer = clouds.ask("GET", IMAGES, scope=TOO_MANY)
    assert answer.status == 400
    assert "more than 32 clouds and labels in one expression" in message(answer)


def test_an_identity_that_is_not_honoured_is_refused_by_glance(clouds: Clouds) -> None:
    scope = f"{{keystone:stranger;glance:{OTHER}}}"
    token = clouds.member(scope=scope)
    answer = clouds.ask("GET", IMAGES, token)
    assert answer.status == 401
    assert message(answer).startswith(f"{OTHER} does not accept this token of stranger: ")
    assert answer.headers["x-scopeway-rejected"] == "true"


def test_a_service_gets_a_404_for_a_token_that_is_not_honoured(clouds: Clouds) -> None:
    token = clouds.member(scope="{keystone:stranger}")
    logs = AccessLogs({OTHER: clouds.sites[OTHER].access_log})
    answer = clouds.ask("GET", TOKENS, cloud=OTHER, X_Subject_Token=token)
    assert answer.status == 404
    assert message(answer).startswith(f"{OTHER} does not honour tokens of stranger: ")
    asked = answer.headers["x-request-id"]  # lines of earlier requests may come as late as now
    seen = [(hop.target, hop.status) for hop in logs.news() if hop.request_id == asked]
    assert seen == [("identity.validate@stranger", 404)]


def test_a_role_that_is_not_honoured_gives_a_403_of_glance(clouds: Clouds) -> None:
    public = new_image("cut", visibility="public")
    answer = clouds.ask("POST", IMAGES, clouds.admin(), scope=AT_OTHER, document=public)
    assert answer.status == 403


@pytest.mark.usefixtures("_no_control_plane")
def test_only_new_targets_fail_without_a_control_plane(clouds: Clouds, debian: str) -> None:
    known, new = f"glance:{OTHER}", f"glance:{OTHER} | cloud-1 | {OTHER}"
    answer = clouds.ask("GET", IMAGES, scope=new)
    assert answer.status == 503
    assert message(answer).startswith("the control plane did not answer for image@")
    assert clouds.ask("GET", f"{IMAGES}/{debian}", clouds.member(), scope=known).status == 200
