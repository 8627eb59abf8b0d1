"""`a | b`: clouds with different protocols, paths and hosts, the first of which fails."""

from typing import Any

import pytest

from harness.fleet import Fleet, at, manifest
from harness.http import send

ANYONE = [{"clouds": ["cloud-1"]}]


@pytest.fixture(scope="module")
def front(fleet: Fleet) -> int:
    """cloud-2 is a site (HTTP/2); cloud-3 is not (HTTP/1.1, a path, a host)."""
    fleet.site("cloud-2", services={"image": fleet.service("glance-2")}, accept=ANYONE)
    fleet.control_plane.put(
        manifest(
            "cloud-3",
            services={"image": fleet.service("glance-3", path="/img", host="glance.three")},
            accept=ANYONE,
        ),
        *(
            manifest(f"cloud-down-{number}", services={"image": fleet.nobody()}, accept=ANYONE)
            for number in range(4)
        ),
        manifest(
            "cloud-no-peer",
            peer=at(fleet.free_port()),
            services={"image": fleet.nobody()},
            accept=ANYONE,
        ),
    )
    cloud = fleet.site("cloud-1", services={"image": fleet.service("glance-1")})
    assert cloud.front
    return cloud.front.port


def ask(port: int, scope: str, **more: Any) -> Any:
    return send(port, "/image/v2/x?y=1", [("X-Scope", scope)], **more)


def test_an_alternative_is_served_by_the_first_reachable_cloud(front: int) -> None:
    response = ask(front, "{image:cloud-3|cloud-2}")

    assert (response.json["name"], response.json["path"]) == ("glance-3", "/img/v2/x?y=1")
    assert response.headers["x-scopeway-served-by"] == "cloud-3"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("dead", "cloud", "path", "host"),
    [
        ("cloud-down-0", "cloud-2", "/v2/x?y=1", "front.example"),
        ("cloud-down-1", "cloud-3", "/img/v2/x?y=1", "glance.three"),
        ("cloud-no-peer", "cloud-3", "/img/v2/x?y=1", "glance.three"),
    ],
)
def test_an_alternative_is_served_by_the_next_cloud_if_the_first_is_down(
    front: int, method: str, dead: str, cloud: str, path: str, host: str
) -> None:
    body = b"body" if method == "POST" else b""
    # of its own for each method: a cloud that was dead is left alone for a while
    scope = f"{{image:{dead}|{cloud}}}" if method == "GET" else f"{{image:{dead}||{cloud}|cloud-1}}"
    response = ask(front, scope, method=method, body=body)
    headers = dict(response.json["headers"])

    assert (response.status, response.json["path"]) == (200, path)
    assert (headers["host"], response.json["length"]) == (host, len(body))
    assert headers["x-forwarded-host"] == "front.example"
    assert headers["via"].count("cloud-1.scopeway") == 1
    assert not [name for name in headers if name.startswith("x-envoy-")]
    assert response.headers.get_all("x-scopeway-served-by") == [cloud]
    assert "x-scopeway-unsent" not in response.headers


@pytest.mark.parametrize("status", [404, 502, 503, 504])
def test_reads_are_retried_at_the_next_cloud_after_a_failure_and_writes_are_not(
    fleet: Fleet, front: int, status: int
) -> None:
    glance = fleet.echo("glance-2")
    glance.status, glance.headers = status, [("x-scopeway-unsent", "forged")]
    try:
        write = ask(front, f"{{image:cloud-2|cloud-{status}|cloud-3}}", method="POST", body=b"x")
        read = ask(front, f"{{image:cloud-2|cloud-3|cloud-{status}}}")
    finally:
        glance.status, glance.headers = 200, ()

    assert (read.status, read.json["name"]) == (200, "glance-3")
    assert (write.status, write.json["name"]) == (status, "glance-2")


def test_the_last_cloud_of_an_alternative_is_named_if_all_are_down(front: int) -> None:
    response = ask(front, "{image:cloud-down-2|cloud-down-3}")

    assert (response.status, response.error["code"]) == (503, 503)
    assert "image@cloud-down-3 cannot be reached" in response.error["message"]
    assert response.headers.get_all("x-scopeway-rejected") == ["true"]


def test_a_body_of_60_megabytes_reaches_the_reachable_cloud(fleet: Fleet, front: int) -> None:
    envoy = fleet.envoys["cloud-1"]
    before = envoy.memory()
    # the body is more than Envoy keeps for a retry, so the dead cloud has to be known as dead
    ask(front, "{image:cloud-down-0|cloud-2}")
    response = send(
        front,
        "/image/file",
        [("X-Scope", "{image:cloud-down-0|cloud-2}")],
        method="PUT",
        body=(b"x" * (1 << 20) for _ in range(60)),
    )

    assert (response.status, response.json["length"]) == (200, 60 << 20)
    assert envoy.peak_memory() - before < 60 << 20


def test_a_forged_target_header_does_not_reach_the_dispatch_listener(
    fleet: Fleet, front: int
) -> None:
    """The header of the outer target must not bring the request back to dispatch."""
    response = send(front, "/image/", [("x-scopeway-target", "image@cloud-3|cloud-2")])

    assert response.json["name"] == "glance-1"
