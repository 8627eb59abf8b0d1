"""Links of Nova, Neutron and Cinder lead a client to the front, in the way it came."""

import re
from typing import Any
from urllib.parse import unquote

import pytest

from harness.http import Response, request
from openstack_clouds import HOME, Clouds

THERE = "{nova:cloud-999;neutron:cloud-999}"
URL = re.compile(r'https?://[^"\s]+')
ELSEWHERE = ("http://docs.openstack.org/", "https://docs.openstack.org/")
VERSIONS = "compute 2.37, volume 3.67"
"""The first that can do without a network, and without a project's id in each path."""
VOLUMES = "{cinder:cloud-2}"
"""The one cloud that has any."""


class Way:
    """From a client to services by the front of the home cloud."""

    def __init__(self, clouds: Clouds, scope: str, *, in_path: bool) -> None:
        self.scope = scope
        self._headers = {"X-Scope": scope} if scope and not in_path else {}
        self._token = {"X-Auth-Token": clouds.member()}
        front = clouds.sites[HOME].front_url
        self._base = f"{front}/~%7B{scope[1:-1]}%7D" if in_path else front

    def url(self, path: str) -> str:
        return f"{self._base}{path}"

    def get(self, url: str) -> Response:
        return self.ask("GET", url)

    def ask(self, method: str, url: str, document: object = None) -> Response:
        headers = {**self._token, **self._headers, "OpenStack-API-Version": VERSIONS}
        answer = request(method, url, headers=headers, document=document)
        assert answer.status < 400, answer
        return answer

    def leads_back(self, answer: Response, service: str) -> list[str]:
        """The links of an answer, all of which lead to the service by this way."""
        links = [*URL.findall(answer.body.decode()), answer.headers.get("location", "")]
        links = [link for link in links if link and link not in ELSEWHERE]
        # services escape more of a scope than they must
        back = unquote(self.url(f"/{service}/"))
        assert all(unquote(f"{link}/").startswith(back) for link in links), links
        return links


@pytest.fixture(scope="session", autouse=True)
def _servers(plain: str, cirros: str, deb: str) -> None:
    """Two servers at home and one at cloud-999."""


@pytest.fixture(params=["here", "there", "there, in the path"])
def way(request: pytest.FixtureRequest, clouds: Clouds) -> Way:
    there = request.param.startswith("there")
    return Way(clouds, THERE if there else "", in_path=request.param.endswith("in the path"))


@pytest.mark.parametrize(
    "path",
    [
        *("/compute/", "/compute/v2.1/", "/compute/v2.1/servers/detail", "/compute/v2.1/flavors"),
        *("/network/", "/network/v2.0/"),
    ],
)
def test_links_of_whole_services_lead_to_the_front(way: Way, path: str) -> None:
    service = path.split("/")[1]

    assert way.leads_back(way.get(way.url(path)), service)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/compute/v2.1/servers", "servers"),
        ("/compute/v2.1/flavors", "flavors"),
        ("/network/v2.0/networks", "networks"),
        ("/network/v2.0/subnets", "subnets"),
    ],
)
def test_links_to_next_pages_of_whole_services_can_be_followed(
    way: Way, path: str, kind: str
) -> None:
    first = way.get(way.url(f"{path}?limit=1"))
    way.leads_back(first, path.split("/")[1])
    page: Any = first.json
    (link,) = [each for each in page[f"{kind}_links"] if each["rel"] == "next"]
    following: Any = way.get(link["href"]).json

    assert [each["id"] for each in following[kind]] != [each["id"] for each in page[kind]]


def test_links_of_a_new_server_lead_to_it(way: Way) -> None:
    flavors: Any = way.get(way.url("/compute/v2.1/flavors")).json["flavors"]
    document = {"name": "linked", "flavorRef": flavors[0]["id"], "imageRef": _image(way)}
    url = way.url("/compute/v2.1/servers")
    made = way.ask("POST", url, {"server": {**document, "networks": "none"}})
    (location,) = {link for link in way.leads_back(made, "compute") if "/v2.1/servers/" in link}
    assert unquote(made.headers["location"]) == unquote(location)
    shown: Any = way.get(location).json["server"]
    way.ask("DELETE", location)

    assert shown["name"] == "linked"


def _image(way: Way) -> str:
    images: Any = way.get(way.url("/image/v2/images")).json["images"]
    return str(images[0]["id"])


@pytest.mark.parametrize("in_path", [False, True])
def test_links_of_volumes_lead_to_the_front(clouds: Clouds, in_path: bool) -> None:
    way = Way(clouds, VOLUMES, in_path=in_path)

    assert way.leads_back(way.get(way.url("/block-storage/")), "block-storage")
    for _ in range(2):
        made = way.ask("POST", way.url("/block-storage/v3/volumes"), {"volume": {"size": 1}})
        way.leads_back(made, "block-storage")
    first: Any = way.get(way.url("/block-storage/v3/volumes?limit=1")).json
    (link,) = first["volumes_links"]
    following: Any = way.get(link["href"]).json

    assert following["volumes"] != first["volumes"]
