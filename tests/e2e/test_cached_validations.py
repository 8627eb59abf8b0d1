"""A cache of validations at the site of a Keystone, in its collector, behind the policy."""

import json
from collections.abc import Iterator

import pytest

from harness.collector import start_collector
from harness.echo import Echo
from harness.fleet import Fleet
from harness.http import Response, send
from harness.process import Process

pytestmark = pytest.mark.fleet(certificates=True)

TOKENS = "/identity/v3/auth/tokens"
DOMAIN = {"id": "default", "name": "Default"}
TOKEN = {
    "methods": ["password"],
    "user": {"id": "1f" * 16, "name": "alice", "domain": DOMAIN},
    "project": {"id": "2f" * 16, "name": "demo", "domain": DOMAIN},
    "roles": [{"id": "1", "name": "member"}],
    "expires_at": "2099-01-01T00:00:00.000000Z",
    "catalog": [],
}
VALIDATORS = ("cloud-2", "cloud-3")


@pytest.fixture(scope="module")
def fronts(fleet: Fleet) -> dict[str, int]:
    """The fronts of cloud-1, whose Keystone is asked, and of two clouds that honour its tokens."""
    folder = fleet.collector_folder("cloud-1")
    home = fleet.site(
        "cloud-1",
        services={"identity": fleet.service("keystone")},
        accept=[{"clouds": [*VALIDATORS], "services": ["identity.validate"]}],
        collector=folder,
        cache_validations=True,
    )
    clouds = [home]
    rule = {"clouds": ["nobody"], "identity": {"clouds": ["cloud-1"]}}
    for name in (*VALIDATORS, "stranger"):
        own = {"identity": fleet.service(f"keystone-{name}")}
        clouds.append(fleet.site(name, services=own, accept=[rule]))
    return {each.name: each.front.port for each in clouds if each.front is not None}


@pytest.fixture
def keystone(fleet: Fleet, fronts: dict[str, int]) -> Echo:
    echo = fleet.echo("keystone")
    body = json.dumps({"token": TOKEN}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    echo.raw = head.encode() + b"\r\n\r\n" + body
    echo.requests = 0
    return echo


@pytest.fixture
def collector(fleet: Fleet, fronts: dict[str, int]) -> Iterator[Process]:
    folder = fleet.folder / "collector-cloud-1"
    process = start_collector("cloud-1", folder, "--cache-validations", 5)
    yield process
    process.stop()


def validate(front: int, token: str) -> Response:
    headers = [("X-Auth-Token", "service"), ("X-Subject-Token", f"{token}~1~*:cloud-1")]
    return send(front, TOKENS, headers)


def test_two_clouds_that_validate_one_token_ask_the_keystone_once(
    fronts: dict[str, int], keystone: Echo, collector: Process
) -> None:
    answers = [validate(fronts[cloud], "shared") for cloud in VALIDATORS for _ in range(2)]

    assert [each.status for each in answers] == [200] * 4
    assert {each.json["token"]["user"]["name"] for each in answers} == {"alice"}
    assert keystone.requests == 1


def test_the_policy_decides_before_the_cache(
    fronts: dict[str, int], keystone: Echo, collector: Process
) -> None:
    assert validate(fronts["cloud-2"], "guarded").status == 200
    refused = validate(fronts["stranger"], "guarded")

    assert refused.status == 404  # Keystone's word for a token that does not count
    assert "token" not in refused.json
    assert keystone.requests == 1


def test_a_revocation_at_the_front_counts_at_once(
    fronts: dict[str, int], keystone: Echo, collector: Process
) -> None:
    assert validate(fronts["cloud-2"], "revoked").status == 200
    keystone.raw = b"HTTP/1.1 204 No Content\r\n\r\n"
    headers = [("X-Auth-Token", "admin"), ("X-Subject-Token", "revoked")]
    assert send(fronts["cloud-1"], TOKENS, headers, method="DELETE").status == 204
    keystone.raw = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

    assert validate(fronts["cloud-2"], "revoked").status == 404
    assert validate(fronts["cloud-3"], "revoked").status == 404


def test_the_own_services_ask_the_keystone_itself(
    fronts: dict[str, int], keystone: Echo, collector: Process
) -> None:
    headers = [("X-Auth-Token", "service"), ("X-Subject-Token", "own")]
    for _ in range(2):
        assert send(fronts["cloud-1"], TOKENS, headers).status == 200

    assert keystone.requests == 2


def test_without_the_collector_validations_fail_and_the_rest_goes_on(
    fronts: dict[str, int], keystone: Echo
) -> None:
    assert validate(fronts["cloud-2"], "down").status == 503
    headers = [("X-Auth-Token", "service"), ("X-Subject-Token", "own")]
    assert send(fronts["cloud-1"], TOKENS, headers).status == 200
