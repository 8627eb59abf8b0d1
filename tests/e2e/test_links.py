"""Locations in answers lead back to the front, whatever cloud answered."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from harness.certificates import Authority
from harness.fleet import Fleet, manifest
from harness.http import Response, send
from scopeway.control_plane.clouds.model import Cloud

ANYONE = [{"clouds": ["cloud-1", "cloud-tls"]}]
CLOUDS = ["cloud-1", "cloud-2", "cloud-3", "cloud-down|cloud-2", "cloud-down|cloud-3"]
"""Own, through a peer, without an Envoy, and the last two as the second choice."""


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def clouds(
    fleet: Fleet, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Cloud]:
    """cloud-1 has a plain front, cloud-tls one that speaks TLS; both have ports of one service."""
    made = {}
    fleet.control_plane.put(
        manifest(
            "cloud-3",
            services={"image": fleet.service("glance-3", path="/img", host="glance.three")},
            accept=ANYONE,
        ),
        manifest("cloud-down", services={"image": fleet.nobody()}, accept=ANYONE),
    )
    folder = tmp_path_factory.mktemp("certificate")
    for name, front in (
        ("cloud-2", {}),
        ("cloud-1", {}),
        ("cloud-tls", {"tls": authority.write(folder, "front.example")}),
    ):
        glance = fleet.service(name.replace("cloud", "glance"))
        made[name] = fleet.site(
            name, ports=("image",), front=front, services={"image": glance}, accept=ANYONE
        )
    return made


@contextmanager
def answering(fleet: Fleet, cloud: str, location: str) -> Iterator[None]:
    """Let the service of a cloud answer with a `Location`."""
    glance = fleet.echo(cloud.rpartition("|")[2].replace("cloud", "glance"))
    glance.status, glance.headers = 201, [("Location", location)]
    try:
        yield
    finally:
        glance.status, glance.headers = 200, ()


class Client:
    """Sends requests to the fronts of one cloud."""

    def __init__(self, cloud: Cloud, authority: Authority) -> None:
        assert cloud.front
        self._front = cloud.front
        self._tls = authority.client() if cloud.front.tls else None
        self._scheme = "https" if cloud.front.tls else "http"

    def url(self, service: str = "") -> str:
        return f"{self._scheme}://front.example:{self._port(service)}"

    def ask(self, scope: str, path: str, service: str = "", *, in_path: bool = False) -> Response:
        port = self._port(service)
        if in_path:
            path, headers = f"/~{scope}{path}", []
        else:
            headers = [("X-Scope", scope)]
        more: dict[str, Any] = {"method": "POST", "body": b"x", "tls": self._tls}
        response = send(port, path, headers, host=f"front.example:{port}", **more)
        assert response.status == 201, response.body
        return response

    def _port(self, service: str) -> int:
        return self._front.ports[service] if service else self._front.port


@pytest.fixture(params=["cloud-1", "cloud-tls"])
def client(
    request: pytest.FixtureRequest, clouds: dict[str, Cloud], authority: Authority
) -> Client:
    return Client(clouds[request.param], authority)


def said(cloud: str, clouds: dict[str, Cloud], fleet: Fleet, client: Client) -> list[str]:
    """All that the service of a cloud may say of a new image's place."""
    name = cloud.rpartition("|")[2]
    address = f"http://127.0.0.1:{fleet.echo(name.replace('cloud', 'glance')).port}"
    if name == "cloud-3":
        return ["http://glance.three/img/v2/1", f"{address}/img/v2/1", "/img/v2/1"]
    front = clouds[name].front
    assert front
    own = f"http://127.0.0.1:{front.port}/image/v2/1"
    return [
        f"{client.url()}/v2/1",
        f"{address}/v2/1",
        own,
        f"http://127.0.0.1:{front.ports['image']}/v2/1",
    ]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_location_is_rewritten_to_the_prefix_of_the_front(
    fleet: Fleet, clouds: dict[str, Cloud], client: Client, cloud: str
) -> None:
    for location in said(cloud, clouds, fleet, client):
        with answering(fleet, cloud, location):
            answer = client.ask(f"{{image:{cloud}}}", "/image/v2")
        led = answer.headers.get_all("location")

        expected = client.url() if location.startswith("http") else ""
        assert led == [f"{expected}/image/v2/1"], location


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_location_is_rewritten_to_the_single_service_port(
    fleet: Fleet, clouds: dict[str, Cloud], client: Client, cloud: str
) -> None:
    for location in said(cloud, clouds, fleet, client):
        said_here = location.replace(client.url(), client.url("image"))
        with answering(fleet, cloud, said_here):
            answer = client.ask(f"{{image:{cloud}}}", "/v2", "image")

        expected = client.url("image") if location.startswith("http") else ""
        assert answer.headers.get_all("location") == [f"{expected}/v2/1"], location


@pytest.mark.parametrize("cloud", CLOUDS[:3])
def test_a_location_is_rewritten_to_the_scope_in_the_path(
    fleet: Fleet, clouds: dict[str, Cloud], client: Client, cloud: str
) -> None:
    for location in said(cloud, clouds, fleet, client):
        with answering(fleet, cloud, location):
            answer = client.ask(f"{{image:{cloud}}}", "/image/v2", in_path=True)

        expected = client.url() if location.startswith("http") else ""
        led = f"{expected}/~%7Bimage:{cloud}%7D/image/v2/1"
        assert answer.headers.get_all("location") == [led], location


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize(
    "elsewhere", ["https://login.example/saml?a=b", "relative/1", "urn:x", "http://127.0.0.1:1/v2"]
)
def test_a_location_elsewhere_is_unchanged(
    fleet: Fleet, client: Client, cloud: str, elsewhere: str
) -> None:
    with answering(fleet, cloud, elsewhere):
        answer = client.ask(f"{{image:{cloud}}}", "/image/v2")

    assert answer.headers.get_all("location") == [elsewhere]


def test_a_redirect_of_a_read_is_rewritten_to_the_front(
    fleet: Fleet, clouds: dict[str, Cloud], client: Client
) -> None:
    glance = fleet.echo("glance-2")
    glance.status, glance.headers = 302, [("Location", f"http://127.0.0.1:{glance.port}/v2/")]
    try:
        assert clouds["cloud-1"].front
        port = clouds["cloud-1"].front.port
        answer = send(port, "/image/v2", [("X-Scope", "{image:cloud-2}")], host="front.example")
    finally:
        glance.status, glance.headers = 200, ()

    assert answer.status == 302
    assert answer.headers.get_all("location") == ["http://front.example/image/v2/"]


def test_an_answer_without_a_location_gets_none(client: Client, fleet: Fleet) -> None:
    glance = fleet.echo("glance-1")
    glance.status = 201
    try:
        answer = client.ask("{image:cloud-1}", "/image/v2")
    finally:
        glance.status = 200

    assert "location" not in answer.headers
