"""Which request is answered in which way, and which lists there are."""

import pytest

from harness.fake_clouds import fan_out_headers
from scopeway.control_plane.collector.messages.request import FanoutRequest, Refused, read_request
from scopeway.control_plane.collector.messages.service_lists import list_of
from scopeway.control_plane.collector.messages.ways import Way, way_of

LISTS = '[{"path": "/readings", "key": "readings"}, {"path": "/rooms/*/sensors"}]'


def request(
    line: str,
    service: str = "image",
    *,
    clouds: int = 2,
    operator: str = "&",
    **headers: str,
) -> FanoutRequest:
    method, _, url = line.partition(" ")
    made = fan_out_headers(
        [f"c{number}" for number in range(clouds)], service=service, operator=operator
    )
    made |= {name.replace("_", "-"): value for name, value in headers.items()}
    return read_request(method, url.encode(), [(n.encode(), v.encode()) for n, v in made.items()])


@pytest.mark.parametrize(
    ("service", "path", "key"),
    [
        ("image", "/v2/images", "images"),
        ("image", "/v2/images/", "images"),
        ("image", "/v2.3/images", "images"),
        ("image", "/v2/%69mages", "images"),
        ("image", "/v2/images/1", None),
        ("image", "/v2/images/images/members", None),
        ("image", "/v2/schemas/images", None),
        ("image", "/", None),
        ("compute", "/v2.1/servers", "servers"),
        ("compute", "/v2.1/servers/detail", "servers"),
        ("compute", "/v2/7d0c/servers/detail", "servers"),
        ("compute", "/v2.1/servers/1/os-interface", None),
        ("compute", "/v2.1/flavors", "flavors"),
        ("compute", "/v2.1/os-keypairs", "keypairs"),
        ("compute", "/v2.1/os-hypervisors/detail", "hypervisors"),
        ("compute", "/v2.1/os-availability-zone", "availabilityZoneInfo"),
        ("block-storage", "/v3/0123/types", "volume_types"),
        ("block-storage", "/v3/0123/os-volume-transfer/detail", "transfers"),
        ("network", "/v2.0/rbac-policies", "rbac_policies"),
        ("network", "/v2.0/availability_zones", "availability_zones"),
        ("load-balancer", "/v2.0/lbaas/loadbalancers", "loadbalancers"),
        ("load-balancer", "/load-balancer/v2/octavia/pools", "pools"),
        ("block-storage", "/v3/7d0c/volumes/detail", "volumes"),
        ("block-storage", "/v3/7d0c/volumes/1", None),
        ("network", "/v2.0/security-groups", "security_groups"),
        ("network", "/v2.0/ports.json", "ports"),
        ("network", "/v2.0/ports/1", None),
        ("object-store", "/v1/AUTH_x/photos%2Fone", None),
        ("orchestration", "/v1/7d0c/stacks", "stacks"),
        ("object-store", "/v1/AUTH_x", ""),
        ("object-store", "/v1/AUTH_x/photos", ""),
        ("object-store", "/v1/AUTH_x/photos/", ""),
        ("object-store", "/v1/AUTH_x/v1/photo", None),
        ("identity", "/v3/users", None),
        ("sensor", "/readings", None),
    ],
)
def test_the_lists_of_openstack_are_known_by_their_paths(
    service: str, path: str, key: str | None
) -> None:
    found = list_of(request(f"GET {path}", service))

    assert (None if found is None else found.key) == key
    assert list_of(request(f"POST {path}", service)) is None


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/v1/readings", "readings"),
        ("/readings", "readings"),
        ("/v1/readings/1", None),
        ("/v1/myreadings", None),
        ("/rooms/7/sensors", ""),
        ("/rooms/7/8/sensors", None),
        ("/rooms/sensors", None),
    ],
)
def test_the_lists_of_a_declared_type_are_the_ends_of_paths(path: str, key: str | None) -> None:
    found = list_of(request(f"GET {path}", "sensor", x_scopeway_lists=LISTS))

    assert (None if found is None else found.key) == key


@pytest.mark.parametrize(
    ("line", "service", "way"),
    [
        ("GET /v2/images", "image", Way.UNION),
        ("GET /v2/images?visibility=public", "image", Way.UNION),
        ("GET /v2/images?limit=5", "image", Way.SORTED),
        ("GET /v2/images?sort=name:asc", "image", Way.SORTED),
        ("GET /v2.1/servers?sort_key=name", "compute", Way.SORTED),
        ("GET /v2.1/os-keypairs?limit=5", "compute", Way.UNION),
        ("GET /v1/AUTH_x?format=json", "object-store", Way.SORTED),
        ("GET /v2/images/1", "image", Way.ONE),
        ("HEAD /v2/images", "image", Way.ONE),
        ("OPTIONS /v2/images", "image", Way.ONE),
        ("POST /v2/images", "image", Way.WRITE),
        ("DELETE /v2/images/1", "image", Way.WRITE),
    ],
)
def test_a_request_is_answered_in_its_way(line: str, service: str, way: Way) -> None:
    assert way_of(request(line, service))[0] is way


@pytest.mark.parametrize(
    ("line", "service", "options", "status"),
    [
        ("GET /v3/users", "identity", {}, 400),
        ("TRACE /", "image", {}, 501),
        ("POST /v2/images", "image", {"clouds": 9}, 400),
        ("POST /v2/images", "image", {"x_scopeway_target": "image@&[region=eu]"}, 400),
        ("GET /v2/images", "image", {"operator": "^"}, 501),
        ("POST /v2/images", "image", {"operator": "^"}, 501),
        ("GET /v1/AUTH_x", "object-store", {}, 406),
        ("GET /v1/AUTH_x?format=plain", "object-store", {"accept": "application/json"}, 406),
        ("GET /v2/images?" + "a=b&" * 65, "image", {}, 400),
    ],
)
def test_what_has_no_way_is_refused(
    line: str, service: str, options: dict[str, object], status: int
) -> None:
    with pytest.raises(Refused) as refused:
        way_of(request(line, service, **options))  # type: ignore[arg-type]

    assert refused.value.status == status


def test_a_write_to_labels_is_allowed_where_all_are_required() -> None:
    asked = request(
        "POST /v2/images", x_scopeway_target="image@&[region=eu]", x_scope_require="all"
    )

    assert way_of(asked)[0] is Way.WRITE
    assert way_of(request("GET /v2/images/1", operator="^"))[0] is Way.EXACTLY_ONE
