import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.clouds import manifest, validators
from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.clouds.manifest import parse_manifest
from scopeway.control_plane.clouds.model import (
    UNLIMITED,
    AcceptRule,
    CallerLimits,
    Cloud,
    CloudPattern,
    Endpoint,
    Front,
    IdentityRule,
    Peer,
    Service,
)

MINIMAL = {
    "apiVersion": "scopeway.io/v1alpha1",
    "kind": "EdgeCloud",
    "metadata": {"name": "cloud-999"},
}

WHOLE: dict[str, Any] = {
    "apiVersion": "scopeway.io/v1alpha1",
    "kind": "EdgeCloud",
    "metadata": {"name": "cloud-999", "labels": {"region": "eu-west", "tier": "edge"}},
    "spec": {
        "front": {"address": "10.9.99.1", "port": 8080, "ports": {"identity": 5000}, "region": "R"},
        "peer": {"address": "203.0.113.9", "port": 8443, "bind": "0.0.0.0"},
        "services": {
            "identity": {"endpoints": [{"address": "10.9.99.11", "port": 5000}]},
            "image": {
                "endpoints": [{"address": "2001:db8::7", "port": 9292}],
                "path": "/image/",
                "host": "glance.cloud-999.example:9292",
            },
        },
        "accept": [
            {
                "clouds": ["cloud-1", "[region=eu, tier=edge]"],
                "services": ["image", "identity"],
                "methods": ["GET", "HEAD"],
                "identity": {"clouds": ["cloud-1"], "roles": ["member"], "ids": "kept"},
            },
            {"clouds": ["cloud-2"], "identity": {"clouds": ["cloud-2"]}, "fanout": False},
        ],
    },
}


def changed(path: str, value: object) -> dict[str, Any]:
    """Return WHOLE with the field at a dotted path set to another value."""
    document = copy.deepcopy(WHOLE)
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    at: Any = document
    for step in way:
        at = at[step]
    at[last] = value
    return document


def refused(document: object) -> InvalidCloud:
    with pytest.raises(InvalidCloud) as caught:
        parse_manifest(document, "clouds/a.yaml")
    return caught.value


def test_a_manifest_is_read_with_every_field() -> None:
    assert parse_manifest(WHOLE, "") == Cloud(
        name="cloud-999",
        labels={"region": "eu-west", "tier": "edge"},
        front=Front(address="10.9.99.1", port=8080, ports={"identity": 5000}, region="R"),
        peer=Peer(address="203.0.113.9", port=8443, bind="0.0.0.0"),
        services={
            "identity": Service(endpoints=(Endpoint(address="10.9.99.11", port=5000),)),
            "image": Service(
                endpoints=(Endpoint(address="2001:db8::7", port=9292),),
                path="/image",
                host="glance.cloud-999.example:9292",
            ),
        },
        accept=(
            AcceptRule(
                clouds=(
                    CloudPattern(name="cloud-1"),
                    CloudPattern(labels={"region": "eu", "tier": "edge"}),
                ),
                services=("image", "identity"),
                methods=("GET", "HEAD"),
                identity=IdentityRule(
                    clouds=(CloudPattern(name="cloud-1"),), roles=("member",), ids="kept"
                ),
            ),
            AcceptRule(
                clouds=(CloudPattern(name="cloud-2"),),
                identity=IdentityRule(
                    clouds=(CloudPattern(name="cloud-2"),), roles=("member", "reader")
                ),
                fanout=False,
            ),
        ),
    )


def test_a_manifest_needs_only_the_name() -> None:
    assert parse_manifest(MINIMAL, "") == Cloud(name="cloud-999")


def test_equal_labels_share_one_object() -> None:
    one, other = parse_manifest(WHOLE, ""), parse_manifest(copy.deepcopy(WHOLE), "")

    assert one.labels is other.labels


def test_an_error_of_a_manifest_names_place_field_value_and_reason() -> None:
    error = refused(changed("spec.services.image.endpoints.0.port", 70_000))

    assert error.place == "clouds/a.yaml"
    assert error.field == "spec.services.image.endpoints[0].port"
    assert error.reason == "70000 is not a port (1 to 65535)"
    assert str(error) == (
        "clouds/a.yaml: spec.services.image.endpoints[0].port: 70000 is not a port (1 to 65535)"
    )
    assert error.name == "cloud-999"


def test_all_problems_of_a_manifest_are_reported() -> None:
    document = changed("spec.front.port", 0)
    document["spec"]["peer"]["bind"] = "here"
    document["kind"] = "Cloud"
    error = refused(document)

    assert [problem.field for problem in error.problems] == [
        "kind",
        "spec.front.port",
        "spec.peer.bind",
    ]


@pytest.mark.parametrize(("bad", "kept"), [(100, 100), (101, 100), (1000, 100)])
def test_problems_of_a_manifest_beyond_the_limit_are_counted(bad: int, kept: int) -> None:
    document = changed("spec.accept", [{"clouds": [""] * bad}])
    error = refused(document)

    assert len(error.problems) == kept
    assert error.problems[-1].field == f"spec.accept[0].clouds[{kept - 1}]"
    assert str(error).endswith(f"; and {bad - 5} more")


def test_a_long_name_above_many_problems_uses_bounded_memory() -> None:
    document = changed("spec.services", {"a" * 10_000: {"endpoints": [{"port": 0}] * 64}})

    error = refused(document)
    assert sum(len(problem.field) + len(problem.reason) for problem in error.problems) < 50_000
    assert str(error).endswith("; and 124 more")


def test_long_texts_of_a_manifest_are_not_cached() -> None:
    before = (
        manifest._known_pattern.cache_info().currsize,
        validators._service_type_problem.cache_info().currsize,
    )
    long = "a" * 1000
    document = changed("spec.accept", [{"clouds": [long], "services": [long]}])

    assert refused(document).field == "spec.accept[0].clouds[0]"
    after = (
        manifest._known_pattern.cache_info().currsize,
        validators._service_type_problem.cache_info().currsize,
    )
    assert after == before


@pytest.mark.parametrize(
    ("path", "value", "field", "reason"),
    [
        ("apiVersion", "v2", "apiVersion", "\"v2\" is not 'scopeway.io/v1alpha1'"),
        ("metadata.name", "Cloud-1", "metadata.name", '"Cloud-1" is not a name of lower case'),
        ("metadata.name", "local", "metadata.name", '"local" means the origin'),
        ("metadata.name", "a" * 64, "metadata.name", "is not a name of lower case"),
        ("metadata.name", "cloud-", "metadata.name", "is not a name of lower case"),
        ("metadata.name", "cloud-1\n", "metadata.name", "is not a name of lower case"),
        ("metadata.name", 999, "metadata.name", "999 is not text; put it into quotes"),
        ("metadata.name", None, "metadata.name", "is missing"),
        ("metadata.labels", {"Region": "eu"}, "metadata.labels", '"Region" is not made of lower'),
        ("metadata.labels", {"tier": True}, "metadata.labels.tier", "true is not text; put it"),
        ("metadata.labels", {"tier": ""}, "metadata.labels.tier", '"" is not made of lower'),
        ("metadata.labels", ["a"], "metadata.labels", '["a"] is not an object'),
        ("spec", None, "spec", "is missing"),
        ("spec.frnt", {}, "spec", "\"frnt\" is not a field here; did you mean 'front'?"),
        ("spec.zzz", {}, "spec", '"zzz" is not a field here; there are accept, acceptMode'),
        ("spec.front.port", True, "spec.front.port", "true is not a port"),
        ("spec.front.port", "8080", "spec.front.port", '"8080" is not a port'),
        ("spec.front.port", 8080.0, "spec.front.port", "8080.0 is not a port"),
        ("spec.front.address", "0.0.0.0", "spec.front.address", "use it in bind"),
        ("spec.front.address", "10.9.99.300", "spec.front.address", "write it as four numbers"),
        ("spec.front.address", "a\r\nb", "spec.front.address", '"a\\r\\nb" is not an IP address'),
        ("spec.front.address", "fe80::1%eth0", "spec.front.address", "has a zone"),
        ("spec.front.address", "edge-1.example", "spec.front.bind", "is required, because"),
        ("spec.front.ports", {"glance": 1}, "spec.front.ports", "the service type is 'image'"),
        ("spec.front.region", "", "spec.front.region", '"" is not a region: 1 to 255'),
        ("spec.front.region", "a\nb", "spec.front.region", "is not a region"),
        ("spec.front.region", 1, "spec.front.region", ""),
        ("spec.front.url", "cloud.example", "spec.front.url", "is not http:// or https:// and a"),
        ("spec.front.url", "https://a.example/", "spec.front.url", "and nothing behind"),
        ("spec.front.url", "https://a:70000", "spec.front.url", "is not http:// or https://"),
        ("spec.front.url", "https://me@a.example", "spec.front.url", "is not http:// or https://"),
        ("spec.front.url", "ftp://a.example", "spec.front.url", "is not http:// or https://"),
        ("spec.front.url", 1, "spec.front.url", ""),
        ("spec.front.tls", {"certificate": "/a"}, "spec.front.tls.key", "is missing"),
        ("spec.front.tls", {"key": "/a"}, "spec.front.tls.certificate", "is missing"),
        ("spec.front.tls", "/a.pem", "spec.front.tls", '"/a.pem" is not an object'),
        (
            "spec.front.tls",
            {"certificate": "a.pem", "key": "/a"},
            "spec.front.tls.certificate",
            '"a.pem" is not the absolute path of a file',
        ),
        (
            "spec.front.tls",
            {"certificate": "/a", "key": "/a\nb"},
            "spec.front.tls.key",
            "is not a path of at most 512 printable characters",
        ),
        (
            "spec.front.tls",
            {"certificate": "/a", "key": "/b", "file": "/c"},
            "spec.front.tls",
            '"file" is not a field here',
        ),
        ("spec.front.ports", {"image": 8080}, "spec.front.ports.image", "8080 is used twice"),
        ("spec.peer.port", 8080, "spec.peer.port", "8080 is used by the front, too"),
        ("spec.peer.bind", "edge-1", "spec.peer.bind", '"edge-1" is not an IP address to listen'),
        ("spec.services.no_type", {}, "spec.services", '"no_type" is not a service type: lower'),
        ("spec.services.%s" % ("s" * 41), {}, "spec.services", "is not a service type: lower case"),
        ("spec.services.glance", {}, "spec.services", "is an alias; the service type is 'image'"),
        ("spec.services.image.endpoints", [], "spec.services.image.endpoints", "[] is not a list"),
        ("spec.services.image.host", "a b", "spec.services.image.host", '"a b" is not a host'),
        ("spec.services.image.host", "a\nb: c", "spec.services.image.host", "is not a host"),
        ("spec.services.image.host", "a:70000", "spec.services.image.host", "is not a port"),
        ("spec.services.image.host", "[::g]", "spec.services.image.host", "is not a host"),
        ("spec.services.image.path", "image", "spec.services.image.path", "does not begin with"),
        ("spec.services.image.path", "/a?b", "spec.services.image.path", "is not a path"),
        ("spec.services.image.path", "/a//b", "spec.services.image.path", "is not a path"),
        ("spec.services.image.path", "/a\tb", "spec.services.image.path", "is not a path"),
        ("spec.services.image.path", "/a/../b", "spec.services.image.path", "a segment '.' or"),
        ("spec.services.image.path", "/%2e%2E/b", "spec.services.image.path", "a segment '.' or"),
        ("spec.services.image.path", "/" + "a" * 600, "spec.services.image.path", "is longer"),
        ("spec.accept", {}, "spec.accept", "{} is not a list"),
        ("spec.acceptMode", "log", "spec.acceptMode", '"log" is not one of enforce, audit'),
        ("spec.acceptMode", None, "spec.acceptMode", "is missing"),
        ("spec.acceptMode", ["audit"], "spec.acceptMode", "is not one of enforce, audit"),
        ("spec.accept.0.services", ["nova"], "spec.accept[0].services[0]", "is an alias; the"),
        ("spec.accept.0.services", ["image.get"], "spec.accept[0].services[0]", "is not a service"),
        ("spec.accept.0.clouds", None, "spec.accept[0].clouds", "is missing"),
        ("spec.accept.0.clouds", ["[a]"], "spec.accept[0].clouds[0]", '"[a]" is not a cloud\'s'),
        ("spec.accept.0.clouds", ["[]"], "spec.accept[0].clouds[0]", '"[]" is not a cloud\'s'),
        ("spec.accept.0.clouds", ["[a\u00a0=b]"], "spec.accept[0].clouds[0]", "is not a cloud's"),
        ("spec.accept.0.clouds", ["[a=b,a=c]"], "spec.accept[0].clouds[0]", "is not a cloud's"),
        ("spec.accept.0.clouds", [["a=b"]], "spec.accept[0].clouds[0]", "; put it into quotes"),
        ("spec.accept.0.services", [["image"]], "spec.accept[0].services[0]", "is not text"),
        ("spec.accept.0.services", ["image"] * 2, "spec.accept[0].services", "contains duplicates"),
        ("spec.accept.0.fanout", "no", "spec.accept[0].fanout", '"no" is neither true nor false'),
        ("spec.accept.0.fanout", 0, "spec.accept[0].fanout", "0 is neither true nor false"),
        ("spec.accept.0.fanout", None, "spec.accept[0].fanout", "is missing"),
        ("spec.accept.0.methods", ["get"], "spec.accept[0].methods[0]", '"get" is not one of'),
        ("spec.accept.0.identity", {}, "spec.accept[0].identity.clouds", "is missing"),
        ("spec.accept.0.identity.roles", ["a,b"], "spec.accept[0].identity.roles[0]", "not a role"),
        ("spec.accept.0.identity.ids", "none", "spec.accept[0].identity.ids", "is not one of"),
        ("spec.accept.0.identity.ids", ["kept"], "spec.accept[0].identity.ids", "is not one of"),
        *(
            (path, {field: value}, f"{at}.{field}", f"{json.dumps(value)} is neither a whole")
            for path, at in (
                ("spec.peer.limits", "spec.peer.limits"),
                ("spec.accept.0.limits", "spec.accept[0].limits"),
            )
            for field, values in (
                ("requestsPerSecond", [0, -1, 1.0, True, "200", "", 1_000_001]),
                ("requestsAtOnce", [0, 9, 10.0, True, "50", [], 100_001]),
            )
            for value in values
        ),
        ("spec.peer.limits", {}, "spec.peer.limits", "{} states neither requestsPerSecond nor"),
        ("spec.peer.limits", 200, "spec.peer.limits", "200 is not an object"),
        ("spec.peer.limits", {"requestsASecond": 1}, "spec.peer.limits", "is not a field here"),
        ("spec.accept.0.limits", None, "spec.accept[0].limits", "is missing"),
    ],
)
def test_a_manifest_with_a_bad_field_is_refused(
    path: str, value: object, field: str, reason: str
) -> None:
    error = refused(changed(path, value))

    assert error.field == field
    assert reason in error.reason


@pytest.mark.parametrize("document", [None, [], "text", 7, {}, {1: 2}])
def test_a_document_that_is_no_manifest_is_refused(document: object) -> None:
    assert refused(document).name is None


@pytest.mark.parametrize(("written", "meant"), [("/", ""), ("/a/", "/a"), ("/a/%7Eb", "/a/%7Eb")])
def test_a_service_path_is_read_without_its_last_slash(written: str, meant: str) -> None:
    cloud = parse_manifest(changed("spec.services.image.path", written), "")

    assert cloud.services["image"].path == meant


@pytest.mark.parametrize(
    ("per_second", "at_once", "read"),
    [
        (1, 10, CallerLimits(requests_per_second=1, requests_at_once=10)),
        (1_000_000, 100_000, CallerLimits(requests_per_second=1_000_000, requests_at_once=100_000)),
        (
            "unlimited",
            "unlimited",
            CallerLimits(requests_per_second=UNLIMITED, requests_at_once=UNLIMITED),
        ),
    ],
)
def test_limits_are_read_up_to_their_bounds(
    per_second: object, at_once: object, read: CallerLimits
) -> None:
    limits = {"requestsPerSecond": per_second, "requestsAtOnce": at_once}
    of_peer = parse_manifest(changed("spec.peer.limits", limits), "").peer
    of_rule = parse_manifest(changed("spec.accept.0.limits", limits), "").accept[0]

    assert of_peer
    assert of_peer.limits == of_rule.limits == read


def test_an_omitted_limit_is_none() -> None:
    cloud = parse_manifest(changed("spec.accept.0.limits", {"requestsAtOnce": 20}), "")

    assert cloud.accept[0].limits == CallerLimits(requests_at_once=20)
    assert cloud.peer
    assert cloud.peer.limits == CallerLimits()


def test_an_empty_accept_list_allows_nobody() -> None:
    assert parse_manifest(changed("spec.accept", []), "").accept == ()


def test_a_front_with_a_certificate_has_no_plain_url() -> None:
    front = {"url": "http://a.example", "tls": {"certificate": "/a", "key": "/b"}}
    document = changed("spec.front", {"address": "10.9.99.1", "port": 8080, **front})
    error = refused(document)

    assert error.field == "spec.front.url"
    assert '"http://a.example" is not https, though the front has a certificate' in error.reason


def test_front_and_peer_may_share_a_port_on_different_addresses() -> None:
    document = changed("spec.peer", {"address": "203.0.113.9", "port": 8080})

    assert parse_manifest(document, "").peer == Peer(address="203.0.113.9", port=8080)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "metadata.name",
        "metadata.labels",
        "spec.front",
        "spec.front.ports",
        "spec.front.tls",
        "spec.front.url",
        "spec.peer",
        "spec.services",
        "spec.services.image",
        "spec.services.image.path",
        "spec.services.image.host",
        "spec.services.image.endpoints",
        "spec.accept",
        "spec.accept.0.clouds",
        "spec.accept.0.identity",
    ]
)


@given(FIELDS, PLAIN)
def test_a_manifest_raises_no_error_but_invalid_cloud(path: str, value: object) -> None:
    told = ""
    try:
        parse_manifest(changed(path, value), "place")
    except InvalidCloud as error:
        told = str(error)

    assert told.isprintable()


def test_control_characters_do_not_reach_the_text_of_an_error() -> None:
    error = refused(changed("spec.services", {"a\nb": {"c\x1b": 1}}))

    assert str(error).isprintable()
