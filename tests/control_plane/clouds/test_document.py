import json

from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.clouds.document import pattern_text, to_document
from scopeway.control_plane.clouds.manifest import parse_manifest
from scopeway.control_plane.clouds.model import (
    UNLIMITED,
    AcceptRule,
    CallerLimits,
    Certificate,
    Cloud,
    CloudPattern,
    Endpoint,
    Front,
    IdentityRule,
    Peer,
    Service,
)
from scopeway.control_plane.clouds.validators import METHODS

NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True).filter(
    lambda name: name != "local"
)
LABELS = st.dictionaries(
    st.from_regex(r"[a-z0-9]([-a-z0-9._]{0,8}[a-z0-9])?", fullmatch=True), NAMES, max_size=3
)
TYPES = st.sampled_from(["identity", "image", "compute", "object-store", "block-storage"])
PORTS = st.integers(1, 65_535)
IPS = (
    st.ip_addresses()
    .filter(lambda ip: not ip.is_unspecified and getattr(ip, "ipv4_mapped", None) is None)
    .map(str)
)
PATTERNS = st.builds(CloudPattern, name=NAMES) | st.builds(CloudPattern, labels=LABELS.filter(bool))
SOME_PATTERNS = st.lists(PATTERNS, min_size=1, max_size=3).map(tuple)


def words(values: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(values, min_size=1, max_size=3, unique=True).map(tuple)


LIMITS = st.builds(
    CallerLimits,
    requests_per_second=st.sampled_from([None, UNLIMITED, 1, 1_000_000]),
    requests_at_once=st.sampled_from([None, UNLIMITED, 10, 100_000]),
)
SERVICES = st.builds(
    Service,
    endpoints=st.lists(
        st.builds(Endpoint, address=IPS | st.just("glance.example"), port=PORTS),
        min_size=1,
        max_size=3,
    ).map(tuple),
    path=st.sampled_from(["", "/image", "/a/b~c", "/%7B"]),
    host=st.sampled_from(["", "glance.example", "10.0.0.1:80", "[::1]:80"]),
)
RULES = st.builds(
    AcceptRule,
    clouds=SOME_PATTERNS,
    services=st.none() | words(TYPES),
    methods=st.none() | words(st.sampled_from(sorted(METHODS))),
    identity=st.none()
    | st.builds(
        IdentityRule,
        clouds=SOME_PATTERNS,
        roles=words(st.sampled_from(["member", "reader", "_member_", "admin"])),
        ids=st.sampled_from(["mapped", "kept"]),
    ),
    limits=LIMITS,
)
CLOUDS = st.builds(
    Cloud,
    name=NAMES,
    labels=LABELS,
    front=st.none()
    | st.builds(
        Front,
        address=IPS,
        port=st.just(1),
        ports=st.dictionaries(TYPES, st.integers(2, 99), max_size=3).filter(
            lambda ports: len(set(ports.values())) == len(ports)
        ),
        bind=st.sampled_from(["", "0.0.0.0", "::", "127.0.0.1"]),
        region=st.sampled_from(["", "RegionOne", "\u0101 1"]),
        url=st.sampled_from(["", "https://cloud.example", "https://[2001:db8::1]:8443"]),
        tls=st.none() | st.just(Certificate(certificate="/etc/front.pem", key="/etc/front.key")),
    ),
    peer=st.none() | st.builds(Peer, address=IPS, port=st.integers(100, 65_535), limits=LIMITS),
    services=st.dictionaries(TYPES, SERVICES, max_size=3),
    accept=st.lists(RULES, max_size=2).map(tuple),
    accept_mode=st.sampled_from(["enforce", "audit"]),
)


@given(CLOUDS)
def test_a_cloud_document_reads_back_as_the_same_cloud(cloud: Cloud) -> None:
    document = json.loads(json.dumps(to_document(cloud)))

    assert parse_manifest(document, "place") == cloud


def test_a_document_omits_default_values() -> None:
    assert to_document(Cloud(name="cloud-1")) == {
        "apiVersion": "scopeway.io/v1alpha1",
        "kind": "EdgeCloud",
        "metadata": {"name": "cloud-1"},
    }


def test_a_cloud_pattern_is_written_as_in_a_scope() -> None:
    assert pattern_text(CloudPattern(labels={"region": "eu", "tier": "edge"})) == (
        "[region=eu,tier=edge]"
    )
