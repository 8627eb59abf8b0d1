import re
from configparser import ConfigParser
from pathlib import Path
from textwrap import dedent

import yaml

from demo.openstack_files import (
    KEYSTONE_POLICY,
    catalog,
    clouds_yaml,
    fernet_keys,
    glance_conf,
    keystone_conf,
)
from demo.site import Site

SITE = Site(
    name="cloud-1",
    folder=Path("/demo/cloud-1"),
    services={"identity": 1, "image": 2},
    front=3,
    peer=4,
    envoy_admin=5,
)


def parsed(text: str) -> ConfigParser:
    parser = ConfigParser(default_section="none", interpolation=None)
    parser.read_string(text)
    return parser


def test_services_find_each_other_through_the_front_only() -> None:
    glance = parsed(glance_conf(SITE, Path("/openstack")))

    assert glance["keystone_authtoken"]["auth_url"] == "http://127.0.0.1:3/identity"
    for text in (glance_conf(SITE, Path("/openstack")), keystone_conf(SITE)):
        assert "127.0.0.1:1" not in text
        assert "127.0.0.1:2" not in text


def test_services_trust_the_forwarded_headers_of_their_front() -> None:
    for text in (glance_conf(SITE, Path("/openstack")), keystone_conf(SITE)):
        assert parsed(text)["oslo_middleware"]["enable_proxy_headers_parsing"] == "true"


def test_clouds_yaml_has_a_member_and_an_admin_of_each_cloud_in_its_region() -> None:
    clouds = yaml.safe_load(clouds_yaml([SITE]))["clouds"]

    assert set(clouds) == {"cloud-1", "cloud-1-admin"}
    assert clouds["cloud-1"]["auth"]["auth_url"] == "http://127.0.0.1:3/identity/v3"
    assert clouds["cloud-1"]["auth"]["username"] == "alice"
    assert clouds["cloud-1"]["region_name"] == "RegionOne"


def test_the_policy_of_keystone_equals_the_documented_one() -> None:
    page = Path(__file__).parents[2] / "docs" / "existing-cloud.md"
    lines = re.search('(?:^    ("| ).*\n)*^    "identity:(?:.*\n)+?(?=\n)', page.read_text(), re.M)

    assert lines
    assert yaml.safe_load(dedent(lines[0])) == yaml.safe_load(KEYSTONE_POLICY)


def test_each_cloud_has_its_own_fernet_keys() -> None:
    assert set(fernet_keys()) == {"0", "1"}
    assert fernet_keys() != fernet_keys()


def test_the_catalog_has_urls_of_the_front_of_the_site() -> None:
    assert catalog(SITE) == {
        "identity": "http://127.0.0.1:3/identity/v3",
        "image": "http://127.0.0.1:3/image",
    }


def test_keystone_reads_keys_only_in_its_own_folder() -> None:
    """Receipts have a folder of keys too, which must exist where Keystone is bootstrapped."""
    keystone = parsed(keystone_conf(SITE))

    for section in ("fernet_tokens", "fernet_receipts", "credential"):
        assert keystone[section]["key_repository"].startswith("/demo/cloud-1/")
