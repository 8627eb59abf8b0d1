"""Links of real services lead back to the front that the client used."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import openstack
import pytest
import requests

from demo import site as demo
from demo.openstack_files import ADMIN, MEMBER, PROJECT
from demo.site import PASSWORD, make_sites
from demo.sites import manifest, register, start_envoys
from harness.certificates import Authority
from harness.ports import ADDRESS, free_ports
from openstack_clouds import HOME, OTHER, SECURE, Clouds, new_image

REGION = "Here"
"""Of the secure site's front; endpoints of other clouds are in another one."""
URL = re.compile(r'https?://[^"\s]+')


@dataclass(frozen=True, kw_only=True)
class Entrance:
    """One way into a front."""

    identity: str
    """The URL of each service, without a version."""
    image: str
    headers: dict[str, str]
    authority: str | bool = True
    """The file of the authority that signed the front's certificate."""

    def ask(self, method: str, url: str, token: str, document: object = None) -> Any:
        headers = {**self.headers, "X-Auth-Token": token}
        more: dict[str, Any] = {"headers": headers, "verify": self.authority}
        answer = requests.request(
            method, url, json=document, timeout=60, allow_redirects=False, **more
        )
        assert answer.status_code < 400, answer.text
        return answer

    def log_in(self, user: str = ADMIN, project: str = ADMIN) -> str:
        domain = {"name": "Default"}
        password = {"user": {"name": user, "domain": domain, "password": PASSWORD}}
        document = {
            "auth": {
                "identity": {"methods": ["password"], "password": password},
                "scope": {"project": {"name": project, "domain": domain}},
            }
        }
        answer = self.ask("POST", f"{self.identity}/v3/auth/tokens", "", document)
        token: str = answer.headers["X-Subject-Token"]
        return token


@pytest.fixture(scope="session")
def secure(clouds: Clouds, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The manifest of the secure site, and the file of its authority."""
    folder = tmp_path_factory.mktemp("certificate")
    authority = Authority()
    (made,) = make_sites([SECURE], clouds.root, services=())
    # clients ask for versions without a token, and so without its scope
    site = replace(made, services=clouds.sites[HOME].services)
    identity, image = free_ports(2)
    document = manifest(site, [])
    document["spec"]["front"] |= {
        "ports": {"identity": identity, "image": image},
        "region": REGION,
        "tls": authority.write(folder, ADDRESS),
    }
    document["spec"].pop("accept")
    register(clouds.plane, [document], clouds.root / "secure.yaml")
    start_envoys(clouds.supervisor, clouds.plane, [site])
    return document["spec"]["front"], str(authority.write_authority(folder / "authority.pem"))


SCOPES = {"own": "", "other": f"{{keystone:{OTHER};glance:{OTHER}}}"}


@pytest.fixture(
    params=["own", "other", "other, in the path", "https", "https, in the path", "https, own ports"]
)
def entrance(request: pytest.FixtureRequest, clouds: Clouds) -> Entrance:
    """Each way into a front, and each distance to the services."""
    way = request.param
    scope = SCOPES["own" if way == "own" else "other"]
    if way.startswith("https"):
        front, authority = request.getfixturevalue("secure")
        base = f"https://{ADDRESS}:{front['port']}"
    else:
        front, authority, base = {}, True, clouds.sites[HOME].front_url
    if way.endswith("own ports"):
        urls = [f"https://{ADDRESS}:{front['ports'][each]}" for each in ("identity", "image")]
    else:
        base += f"/~%7B{scope[1:-1]}%7D" if way.endswith("in the path") else ""
        urls = [f"{base}/identity", f"{base}/image"]
    headers = {} if way.endswith("in the path") else {"X-Scope": scope}
    return Entrance(identity=urls[0], image=urls[1], headers=headers, authority=authority)


def comparable(url: str) -> str:
    """Services escape more than they must, ours and theirs differently."""
    return requests.utils.unquote(url)


def test_the_location_of_a_new_image_leads_to_it(entrance: Entrance) -> None:
    token = entrance.log_in()
    answer = entrance.ask("POST", f"{entrance.image}/v2/images", token, new_image("linked"))
    location = answer.headers["Location"]

    assert comparable(location).startswith(comparable(f"{entrance.image}/v2/images/"))
    assert entrance.ask("GET", location, token).json()["name"] == "linked"


def test_the_location_of_a_new_namespace_leads_to_it(entrance: Entrance) -> None:
    token = entrance.log_in()
    url = f"{entrance.image}/v2/metadefs/namespaces"
    answer = entrance.ask("POST", url, token, {"namespace": "Linked"})
    location = answer.headers["Location"]

    assert comparable(location) == comparable(f"{url}/Linked")
    entrance.ask("DELETE", location, token)


@pytest.mark.parametrize(
    ("service", "path"), [("identity", ""), ("identity", "/v3"), ("image", "")]
)
def test_links_to_versions_lead_to_the_front(entrance: Entrance, service: str, path: str) -> None:
    base = getattr(entrance, service)
    answer = entrance.ask("GET", f"{base}{path}/", "")
    found = [*URL.findall(answer.text), *filter(None, [answer.headers.get("Location")])]

    assert found
    assert all(comparable(url).startswith(comparable(f"{base}/v")) for url in found), found


def test_a_redirect_leads_to_the_front(entrance: Entrance) -> None:
    answer = entrance.ask("GET", f"{entrance.image}/v2", entrance.log_in())

    assert answer.status_code == 302
    assert comparable(answer.headers["Location"]) == comparable(f"{entrance.image}/v2/")


def test_links_to_next_pages_lead_to_the_front(entrance: Entrance) -> None:
    token = entrance.log_in()
    first = entrance.ask("GET", f"{entrance.identity}/v3/projects?limit=1", token).json()
    links = first["links"]

    assert all(
        comparable(links[name]).startswith(comparable(f"{entrance.identity}/v3/projects"))
        for name in ("self", "next")
    ), links
    following = entrance.ask("GET", links["next"], token).json()["projects"]
    assert following != first["projects"]


def test_the_catalog_leads_to_the_front(entrance: Entrance) -> None:
    """If the local Keystone answers, the URLs are those of its endpoints."""
    token = entrance.log_in(MEMBER, PROJECT)
    answer = entrance.ask("GET", f"{entrance.identity}/v3/auth/catalog", token)
    catalog = {
        each["type"]: {one["url"] for one in each["endpoints"]} for each in answer.json()["catalog"]
    }
    # a scope in the path is in the token by now, and not in the catalog
    base = re.sub("/~[^/]*", "", entrance.image).removesuffix("/image")

    assert catalog.keys() == {"identity", "image"}
    assert all(_is_at(url, base, entrance) for urls in catalog.values() for url in urls), catalog
    assert answer.json()["links"]["self"].endswith("/v3/auth/catalog")


def _is_at(url: str, base: str, entrance: Entrance) -> bool:
    if entrance.authority is True:
        return url.startswith(f"{base}/")
    return url.startswith(f"https://{ADDRESS}:")


# the SDK warns of what it will drop, also where only itself uses it
@pytest.mark.filterwarnings("ignore::openstack.warnings._RemovedInSDKWarning")
class TestSdk:
    """python-openstacksdk, with a scope in the `auth_url` and no plug-in."""

    @pytest.fixture
    def connect(self, secure: Any) -> Iterator[Any]:
        front, authority = secure
        scope = f"/~%7B*:{OTHER}%7D"

        def connect(**more: Any) -> Any:
            return openstack.connection.Connection(
                auth={
                    "auth_url": f"https://{ADDRESS}:{front['port']}{scope}/identity/v3",
                    "username": MEMBER,
                    "password": PASSWORD,
                    "project_name": PROJECT,
                    "user_domain_name": "Default",
                    "project_domain_name": "Default",
                },
                verify=authority,
                app_name="tests",
                app_version="1",
                **more,
            )

        return connect

    @pytest.mark.usefixtures("debian")
    @pytest.mark.parametrize("region", [None, REGION, demo.REGION])
    def test_the_sdk_uses_the_front_whatever_its_region(
        self, connect: Any, secure: Any, region: str | None
    ) -> None:
        front, _ = secure
        with closing(connect(region_name=region)) as cloud:
            images = [image.name for image in cloud.image.images()]
            endpoint = cloud.session.get_endpoint(service_type="image", region_name=region)

        assert "debian" in images
        assert endpoint == f"https://{ADDRESS}:{front['ports']['image']}"

    def test_the_openstack_command_lists_the_catalog_of_its_front(
        self, clouds: Clouds, secure: Any, tmp_path: Path
    ) -> None:
        front, authority = secure
        here = (clouds.root / "clouds.yaml").read_text().replace(demo.REGION, REGION)
        (tmp_path / "clouds.yaml").write_text(here)
        status, output = clouds.command(
            *("catalog", "list", "-f", "json", "--scope", f"{{*:{OTHER}}}"),
            OS_AUTH_URL=f"https://{ADDRESS}:{front['port']}/identity/v3",
            OS_CACERT=authority,
            OS_CLIENT_CONFIG_FILE=str(tmp_path / "clouds.yaml"),
        )
        assert status == 0, output
        urls = [each["url"] for service in json.loads(output) for each in service["Endpoints"]]

        assert len(urls) == 8
        assert all(url.startswith(f"https://{ADDRESS}:") for url in urls)
