"""Scopes in tokens, in URLs and in logins, as unmodified clients send them."""

import hmac
import struct
import time
from base64 import b32encode
from contextlib import closing
from typing import Any
from urllib.parse import quote

import openstack
import pytest

from demo.openstack import Keystone, log_in
from demo.openstack_files import MEMBER, PROJECT
from demo.site import PASSWORD, REGION
from openstack_clouds import (
    AT_OTHER,
    HOME,
    IMAGES,
    OTHER,
    TOKENS,
    Clouds,
    debian_is_listed,
    image_names,
    new_image,
)
from scopeway.control_plane.planner.access import namespace

pytestmark = pytest.mark.usefixtures("debian")
SUFFIX = f"~1~*:{HOME};image:{OTHER}"


def login(clouds: Clouds, identity: dict[str, object], **more: object) -> Any:
    """A login by the front; the answer."""
    document = {"auth": {"identity": identity, **more}}
    answer = clouds.ask("POST", TOKENS, document=document)
    assert answer.status == 201, answer
    return answer


def test_a_token_fetched_with_a_scope_carries_it(clouds: Clouds) -> None:
    token = clouds.member(scope=AT_OTHER)
    assert token.endswith(SUFFIX)
    assert debian_is_listed(clouds.ask("GET", IMAGES, token))


def test_a_token_fetched_at_a_url_with_a_scope_carries_it(clouds: Clouds) -> None:
    front = clouds.sites[HOME].front_url
    url = f"{front}/~{quote(AT_OTHER, safe=':;')}/identity/v3"
    token = log_in(url, user=MEMBER, project=PROJECT)
    assert debian_is_listed(clouds.ask("GET", IMAGES, token))


def test_the_scope_in_the_url_of_a_service_is_used(clouds: Clouds) -> None:
    path = f"/~{quote(AT_OTHER, safe=':;')}{IMAGES}"
    assert debian_is_listed(clouds.ask("GET", path, clouds.member()))


def test_a_token_with_a_scope_is_exchanged_for_one_with_the_same_scope(clouds: Clouds) -> None:
    token = clouds.member(scope=AT_OTHER)
    identity: dict[str, object] = {"methods": ["token"], "token": {"id": token}}
    project = {"name": PROJECT, "domain": {"id": "default"}}
    answer = login(clouds, identity, scope={"project": project})
    again = answer.headers["x-subject-token"]
    assert again.endswith(SUFFIX)
    assert debian_is_listed(clouds.ask("GET", IMAGES, again))


def test_the_openstack_command_logs_in_with_a_token_with_a_scope(clouds: Clouds) -> None:
    """The body of the login contains the token with its suffix."""
    status, output = clouds.command(
        *("--os-auth-type", "token", "--os-token", clouds.member(scope=AT_OTHER)),
        *("--os-auth-url", clouds.identity(), "--os-project-name", PROJECT),
        *("--os-project-domain-id", "default", "--os-identity-api-version", "3"),
        *("image", "list", "-f", "value", "-c", "Name"),
        OS_CLOUD="",
    )
    assert status == 0, output
    assert "debian" in output.splitlines()


# the SDK warns of what it will drop, also where only itself uses it
@pytest.mark.filterwarnings("ignore::openstack.warnings._RemovedInSDKWarning")
def test_the_sdk_connects_as_another_project_with_a_token_with_a_scope(clouds: Clouds) -> None:
    """With a token for its own login too: then its body holds that token, suffix and all."""
    keystone = Keystone(clouds.sites[HOME])
    project = keystone.create("projects", name="second", domain_id="default")
    (user,) = clouds.ask("GET", "/identity/v3/users?name=alice", clouds.admin()).json["users"]
    keystone.grant(project, user["id"], "member")
    cloud = openstack.connection.Connection(
        auth_type="v3token",
        auth={
            "auth_url": clouds.identity(),
            "token": clouds.member(scope=AT_OTHER),
            "project_name": PROJECT,
            "project_domain_id": "default",
        },
        app_name="tests",
        app_version="1",
    )
    with closing(cloud), closing(cloud.connect_as_project("second")) as second:
        assert second.current_project_id == project
        assert second.auth_token.endswith(SUFFIX)
        assert "debian" in [image.name for image in second.image.images()]


def test_catalog_endpoints_have_the_region_of_the_demo(clouds: Clouds) -> None:
    catalog = clouds.validated(clouds.member())["catalog"]
    assert {each["region"] for entry in catalog for each in entry["endpoints"]} == {REGION}


def test_a_token_with_a_scope_is_validated_by_its_home(clouds: Clouds) -> None:
    token = clouds.member(scope=AT_OTHER)
    assert clouds.validated(token)["user"]["name"] == MEMBER


def test_a_user_sees_her_own_token_at_another_cloud_as_at_home(clouds: Clouds) -> None:
    """Her ids and roles; a service that asks about it, even with it, gets what counts there."""
    token = clouds.admin() + f"~1~*:{OTHER};identity:{HOME}"
    home = clouds.validated(clouds.admin())

    def seen(asking: str, **more: Any) -> Any:
        answer = clouds.ask("GET", TOKENS, asking, cloud=OTHER, X_Subject_Token=token, **more)
        assert answer.status == 200, answer
        return answer.json["token"]

    own = seen(token, scope=f"{{keystone:{HOME}}}")
    assert (own["user"], own["project"]) == (home["user"], home["project"])
    assert {role["name"] for role in own["roles"]} == {role["name"] for role in home["roles"]}
    front = clouds.sites[OTHER].front_url
    urls = [each["url"] for service in own["catalog"] for each in service["endpoints"]]
    assert urls
    assert all(url.startswith(front) for url in urls)

    for cut in (seen(token), seen(clouds.admin(OTHER), scope=f"{{keystone:{HOME}}}")):
        assert cut["project"]["id"] == namespace(HOME) + home["project"]["id"][16:]
        assert {role["name"] for role in cut["roles"]} == {"member", "reader"}


def test_an_application_credential_logs_in_with_a_scope(clouds: Clouds) -> None:
    token = clouds.member()
    user = clouds.validated(token)["user"]["id"]
    made: Any = clouds.ask(
        "POST",
        f"/identity/v3/users/{user}/application_credentials",
        token,
        document={"application_credential": {"name": "machine"}},
    ).json["application_credential"]
    credential = {"id": made["id"], "secret": made["secret"]}
    identity: dict[str, object] = {
        "methods": ["application_credential"],
        "application_credential": credential,
    }
    by_it = login(clouds, identity).headers["x-subject-token"]
    assert debian_is_listed(clouds.ask("GET", IMAGES, by_it, scope=AT_OTHER))


def test_a_second_factor_logs_in_with_a_scope(clouds: Clouds) -> None:
    """The token names its methods, and the other cloud accepts it like any other."""
    keystone, secret = Keystone(clouds.sites[HOME]), b"a secret of twenty b"
    user = keystone.create("users", name="careful", password=PASSWORD, domain_id="default")
    (project,) = clouds.ask("GET", "/identity/v3/projects?name=demo", clouds.admin()).json[
        "projects"
    ]
    keystone.grant(project["id"], user, "member")
    blob = b32encode(secret).decode()
    keystone.create("credentials", type="totp", blob=blob, user_id=user, project_id=project["id"])
    domain = {"name": "Default"}
    identity: dict[str, object] = {
        "methods": ["password", "totp"],
        "password": {"user": {"name": "careful", "domain": domain, "password": PASSWORD}},
        "totp": {"user": {"name": "careful", "domain": domain, "passcode": passcode(secret)}},
    }
    answer = login(clouds, identity, scope={"project": {"id": project["id"]}})

    assert set(answer.json["token"]["methods"]) >= {"password", "totp"}
    token = answer.headers["x-subject-token"]
    assert debian_is_listed(clouds.ask("GET", IMAGES, token, scope=AT_OTHER))


def passcode(secret: bytes) -> str:
    """RFC 6238 with its defaults, as of now."""
    digest = hmac.digest(secret, struct.pack(">Q", int(time.time()) // 30), "sha1")
    (number,) = struct.unpack_from(">I", digest, digest[-1] & 15)
    return f"{(number & 0x7FFFFFFF) % 1_000_000:06}"


def test_a_revoked_token_is_refused_at_the_other_cloud_as_soon_as_at_home(clouds: Clouds) -> None:
    token = clouds.member()
    image_names(clouds.ask("GET", IMAGES, token, scope=AT_OTHER))
    revoked = clouds.ask("DELETE", TOKENS, clouds.admin(), X_Subject_Token=token)
    assert revoked.status == 204, revoked
    assert clouds.ask("GET", IMAGES, token, scope=AT_OTHER).status == 401
    assert clouds.ask("GET", IMAGES, token).status == 401


@pytest.mark.parametrize(
    ("suffix", "status"),
    [
        (SUFFIX + SUFFIX, 400),  # doubled
        (f"~1~*:{OTHER};image:{OTHER}", 401),  # as if the other cloud had issued it
        (f"~1~image:{HOME};identity:{OTHER}", 401),
        ("~2~image:cloud-2", 400),
        ("~", 400),
    ],
)
def test_a_forged_token_suffix_is_refused(clouds: Clouds, suffix: str, status: int) -> None:
    answer = clouds.ask("GET", IMAGES, clouds.member() + suffix)
    assert answer.status == status, answer


def test_a_forged_token_suffix_does_not_make_an_administrator(clouds: Clouds) -> None:
    public = new_image("forged", visibility="public")
    answer = clouds.ask("POST", IMAGES, clouds.admin() + SUFFIX, document=public)
    assert answer.status == 403, answer
