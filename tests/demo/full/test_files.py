from configparser import ConfigParser
from pathlib import Path

from demo.full.files import (
    DATABASES,
    SERVICES,
    Backing,
    cinder_conf,
    database_names,
    neutron_conf,
    nova_compute_conf,
    nova_conf,
    placement_conf,
)
from demo.openstack_files import catalog
from demo.site import Site

SITE = Site(
    name="cloud-999",
    folder=Path("/demo/cloud-999"),
    services={service: 10 + number for number, service in enumerate(SERVICES)},
    front=3,
    peer=4,
    envoy_admin=5,
    front_ports={"image": 6},
)
BACKING = Backing(databases={name: f"sql://{name}" for name in DATABASES}, broker="rabbit://x")
TEXTS = {
    "nova": nova_conf(SITE, BACKING),
    "neutron": neutron_conf(SITE, BACKING, Path("/openstack")),
    "cinder": cinder_conf(SITE, BACKING, Path("/openstack")),
    "placement": placement_conf(SITE, BACKING.databases["placement"]),
}


def parsed(service: str) -> ConfigParser:
    parser = ConfigParser(default_section="none", interpolation=None)
    parser.read_string(TEXTS[service])
    return parser


def test_whole_cloud_services_reach_each_other_through_the_front_only() -> None:
    for text in TEXTS.values():
        assert not any(f"127.0.0.1:{port}" in text for port in SITE.services.values())


def test_nova_has_fixed_endpoints_at_the_front() -> None:
    nova = parsed("nova")

    assert nova["glance"]["endpoint_override"] == "http://127.0.0.1:3/image"
    assert nova["neutron"]["endpoint_override"] == "http://127.0.0.1:3/network"
    assert nova["cinder"]["endpoint_template"] == (
        "http://127.0.0.1:3/block-storage/v3/%(project_id)s"
    )
    assert nova["placement"]["endpoint_override"] == "http://127.0.0.1:3/placement"


def test_only_nova_compute_has_the_port_of_its_own_image_endpoint() -> None:
    assert nova_compute_conf(SITE) == "[glance]\nendpoint_override = http://127.0.0.1:6\n"
    assert not any("127.0.0.1:6" in text for text in TEXTS.values())


def test_whole_cloud_services_trust_the_forwarded_headers_of_their_front() -> None:
    for service in TEXTS:
        assert parsed(service)["oslo_middleware"]["enable_proxy_headers_parsing"] == "true"


def test_services_know_their_own_type_for_access_rules() -> None:
    kinds = {name: parsed(name)["keystone_authtoken"]["service_type"] for name in TEXTS}

    assert kinds == {
        "nova": "compute",
        "neutron": "network",
        "cinder": "block-storage",
        "placement": "placement",
    }


def test_each_cloud_has_its_own_databases() -> None:
    one, other = database_names("cloud-1"), database_names("cloud-2")

    assert set(one) == set(other) == set(DATABASES)
    assert not set(one.values()) & set(other.values())


def test_catalog_urls_have_a_version_only_where_clients_expect_one() -> None:
    urls = catalog(SITE)

    assert urls["compute"] == "http://127.0.0.1:3/compute/v2.1"
    assert urls["network"] == "http://127.0.0.1:3/network"


def test_secrets_of_whole_clouds_are_not_printed() -> None:
    assert "rabbit://x" not in repr(BACKING)
