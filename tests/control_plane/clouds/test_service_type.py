"""The declaration of a service type: every problem names its place and its value."""

import json
from typing import Any

import pytest

from scopeway.control_plane.clouds import limits
from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.clouds.service_type import (
    ServiceList,
    ServiceType,
    lists_json,
    parse_service_type,
    service_type_document,
)
from scopeway.control_plane.scope import ALIASES, SERVICE_TYPES

FULL: dict[str, Any] = {
    "apiVersion": "scopeway.io/v1alpha1",
    "kind": "ServiceType",
    "metadata": {"name": "sensor"},
    "spec": {
        "aliases": ["probe", "gauge"],
        "protocol": "http",
        "forward": ["authorization", "x-site-key"],
        "lists": [
            {"path": "/readings", "key": "readings", "id": "id"},
            {"path": "/rooms/*/readings"},
        ],
    },
}
SENSOR = ServiceType(
    name="sensor",
    aliases=("probe", "gauge"),
    forward=("authorization", "x-site-key"),
    lists=(
        ServiceList(path="/readings", key="readings", id="id"),
        ServiceList(path="/rooms/*/readings"),
    ),
)


def document(**spec: Any) -> dict[str, Any]:
    return {**FULL, "spec": spec}


def refused(value: dict[str, Any]) -> InvalidCloud:
    with pytest.raises(InvalidCloud) as caught:
        parse_service_type(value, "types.yaml:3")
    return caught.value


def problems(value: dict[str, Any]) -> list[str]:
    return [str(problem) for problem in refused(value).problems]


def test_a_document_with_all_fields_is_read() -> None:
    assert parse_service_type(FULL, "types.yaml:3") == SENSOR


def test_a_name_is_enough_and_the_protocol_is_http() -> None:
    least = {key: FULL[key] for key in ("apiVersion", "kind", "metadata")}

    assert parse_service_type(least, "here") == ServiceType(name="sensor", protocol="http")


@pytest.mark.parametrize(
    "value", [SENSOR, ServiceType(name="s"), ServiceType(name="s", protocol="openstack")]
)
def test_the_written_document_is_read_as_the_same_value(value: ServiceType) -> None:
    text = json.dumps(service_type_document(value))

    assert parse_service_type(json.loads(text), "here") == value


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"apiVersion": "v2"}, "apiVersion: \"v2\" is not 'scopeway.io/v1alpha1'"),
        ({"kind": "ServiceTyp"}, "kind: \"ServiceTyp\" is not 'ServiceType'"),
        ({"metadata": []}, "metadata: [] is not an object"),
        ({"metadata": {}}, "metadata.name: is missing"),
        ({"metadata": {"name": 7}}, "metadata.name: 7 is not text; put it into quotes"),
        (
            {"metadata": {"name": "Sensor"}},
            'metadata.name: "Sensor" is not a service type: lower case letters, digits and inner '
            "'-', at most 40",
        ),
        (
            {"metadata": {"name": "s" * 41}},
            f'metadata.name: "{"s" * 41}" is not a service type: lower case letters, digits and '
            "inner '-', at most 40",
        ),
        ({"metadata": {"name": "image"}}, 'metadata.name: "image" is a built-in service type'),
        ({"metadata": {"name": "glance"}}, "metadata.name: \"glance\" is built in, for 'image'"),
        (
            {"metadata": {"name": "sensor", "label": "x"}},
            'metadata: "label" is not a field here; there are name',
        ),
        ({"specs": {}}, "\"specs\" is not a field here; did you mean 'spec'?"),
        ({"spec": []}, "spec: [] is not an object"),
    ],
)
def test_a_bad_document_is_refused_with_place_and_value(
    changes: dict[str, Any], expected: str
) -> None:
    assert problems({**FULL, **changes})[0] == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"aliase": []}, "spec: \"aliase\" is not a field here; did you mean 'aliases'?"),
        ({"aliases": "probe"}, 'spec.aliases: "probe" is not a list'),
        ({"aliases": [1]}, "spec.aliases[0]: 1 is not text; put it into quotes"),
        ({"aliases": ["a", "nova"]}, "spec.aliases[1]: \"nova\" is built in, for 'compute'"),
        ({"aliases": ["sensor"]}, 'spec.aliases: "sensor" is the name of the type itself'),
        ({"aliases": ["a", "a"]}, 'spec.aliases: ["a", "a"] contains duplicates'),
        ({"aliases": ["a_b"]}, None),
        ({"protocol": "grpc"}, 'spec.protocol: "grpc" is not one of http, openstack'),
        ({"protocol": ["http"]}, 'spec.protocol: ["http"] is not one of http, openstack'),
        ({"protocol": None}, "spec.protocol: is missing"),
        ({"forward": ["Authorization"]}, None),
        ({"forward": [":path"]}, None),
        ({"forward": ["x_auth_token"]}, None),
        ({"forward": ["a" * 65]}, None),
        (
            {"forward": ["connection"]},
            'spec.forward[0]: "connection" never goes to another cloud as the client wrote it',
        ),
        (
            {"protocol": "openstack", "forward": ["cookie"]},
            "spec.forward: is only for protocol http",
        ),
        ({"lists": {}}, "spec.lists: {} is not a list"),
        ({"lists": ["/readings"]}, None),
        ({"lists": [{}]}, "spec.lists[0].path: is missing"),
        ({"lists": [{"path": "readings"}]}, None),
        ({"lists": [{"path": "/"}]}, None),
        ({"lists": [{"path": "/a//b"}]}, None),
        ({"lists": [{"path": "/a?b"}]}, None),
        ({"lists": [{"path": "/a*"}]}, None),
        (
            {"lists": [{"path": "/a/../b"}]},
            "spec.lists[0].path: \"/a/../b\" has a segment '.' or '..'",
        ),
        ({"lists": [{"path": "/" + "a" * 128}]}, None),
        ({"lists": [{"path": "/a", "key": 1}]}, None),
        ({"lists": [{"path": "/a", "key": "a b"}]}, None),
        ({"lists": [{"path": "/a", "id": "a" * 65}]}, None),
        (
            {"lists": [{"path": "/a", "field": "x"}]},
            'spec.lists[0]: "field" is not a field here; there are id, key, path',
        ),
    ],
)
def test_a_bad_field_of_the_spec_is_refused_with_place_and_value(
    spec: dict[str, Any], expected: str | None
) -> None:
    found = problems(document(**spec))

    assert found[0].startswith("spec")
    assert expected is None or found[0] == expected


@pytest.mark.parametrize(
    "header",
    [
        *("connection", "host", "te", "upgrade", "transfer-encoding", "keep-alive", "trailer"),
        *("proxy-authorization", "content-length", "x-scope", "x-scopeway-target"),
        *("x-scopeway-fanout", "x-envoy-retry-on", "x-forwarded-for", "x-service-token"),
    ],
)
def test_headers_of_a_connection_and_of_scopeway_are_never_forwarded(header: str) -> None:
    assert "never goes to another cloud" in problems(document(forward=[header]))[0]


@pytest.mark.parametrize("header", ["authorization", "cookie", "x-auth-token", "a"])
def test_any_other_header_may_be_forwarded(header: str) -> None:
    assert parse_service_type(document(forward=[header]), "here").forward == (header,)


def test_no_built_in_word_can_be_declared() -> None:
    for word in [*SERVICE_TYPES, *ALIASES]:
        assert problems({**FULL, "metadata": {"name": word}})
        assert problems(document(aliases=[word]))


@pytest.mark.parametrize(
    ("field", "most", "entry"),
    [
        ("aliases", limits.ALIASES, "a-{}"),
        ("forward", limits.FORWARDED_HEADERS, "x-{}"),
        ("lists", limits.LISTS, {"path": "/a"}),
    ],
)
def test_the_lists_of_a_declaration_are_limited(field: str, most: int, entry: Any) -> None:
    def several(count: int) -> dict[str, Any]:
        entries = [entry.format(n) if isinstance(entry, str) else entry for n in range(count)]
        return document(**{field: entries})

    parse_service_type(several(most), "here")
    assert problems(several(most + 1)) == [
        f"spec.{field}: has {most + 1} entries, more than {most}"
    ]


def test_problems_of_a_declaration_beyond_the_limit_are_counted() -> None:
    error = refused({**FULL, **{f"field-{n}": n for n in range(1000)}})

    assert len(error.problems) == 100
    assert str(error).endswith("; and 995 more")


def test_a_refused_declaration_has_the_name_of_its_type_but_of_no_cloud() -> None:
    error = refused(document(protocol="grpc"))

    assert (error.service_type, error.name) == ("sensor", None)
    assert refused({**FULL, "metadata": {"name": "image"}}).service_type is None


def test_the_lists_are_one_line_of_json_for_the_collector() -> None:
    assert lists_json(SENSOR) == (
        '[{"path":"/readings","key":"readings","id":"id"},{"path":"/rooms/*/readings"}]'
    )
    assert lists_json(ServiceType(name="sensor")) == ""
