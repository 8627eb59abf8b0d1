"""Whatever comes in from outside is taken or refused: never another error, never without a bound.

A short run here; `make fuzz` has a long one. What was ever found stands in `tests/testdata/fuzz`,
one file for each input, and is tried each time: `<reader>-<what>`.
"""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from xds_model import Store, write_request

from control_plane.clouds.manifest import InvalidCloud, parse_manifest
from control_plane.registry.documents import parse_json
from control_plane.scope import (
    ScopeError,
    binding_for,
    canonical,
    lexical_form,
    parse_scope,
    parse_target,
)
from control_plane.scope import complete as complete_scope
from xds import wire
from xds.codec import decode_delta_request, decode_sotw_request
from xds.csds import decode_request
from xds.errors import ProtocolError
from xds.session import DeltaSession, SotwSession
from xds.types import CLUSTER, LISTENER

KEPT = Path(__file__).parent / "testdata" / "fuzz"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "200"))
FUZZ = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def scope(data: bytes) -> None:
    """The languages of scopes and of target names; a scope that parses keeps its meaning."""
    text = data.decode("latin-1")
    try:
        parsed = parse_scope(text)
        lexical = lexical_form(text)
    except ScopeError:
        pass
    else:
        assert parse_scope(canonical(parsed)) == parsed
        assert parse_scope(lexical) == parsed
        assert lexical_form(lexical) == lexical
        completed = complete_scope(text, "cloud-1")
        assert binding_for(completed, "image", "cloud-1")
    with suppress(ScopeError):
        parse_target(text)


def manifest(data: bytes) -> None:
    """The value of a key in etcd."""
    found = parse_json(data, "key", key="cloud-1")
    if isinstance(found, InvalidCloud):
        assert str(found)


def fields(data: bytes) -> None:
    """The two readers of fields see the same."""
    try:
        slow = [
            (number, start, end)
            for number, kind, start, end in wire.raw_fields(data)
            if kind == wire.BYTES
        ]
    except ValueError:
        slow = None
    try:
        fast = list(wire.fields(data))
    except ValueError:
        fast = None

    assert fast == slow
    assert all(0 <= start <= end <= len(data) for _, start, end in slow or [])


def request(data: bytes) -> None:
    """A request of an xDS client, and what a session makes of it."""
    try:
        read = decode_delta_request(data)
        session = DeltaSession(Store(texts={(CLUSTER, "a"): "1"}))
        session.receive(read, 0)
    except ProtocolError:
        return
    for response in session.responses_to_send(0):
        assert response.resources + response.removed <= len(data) + 1
    session.close()


def sotw(data: bytes) -> None:
    """The same for the state of the world."""
    try:
        read = decode_sotw_request(data)
        session = SotwSession(Store(texts={(CLUSTER, "a"): "1"}))
        session.receive(read, 0)
    except ProtocolError:
        return
    session.responses_to_send(0)
    session.close()


def status(data: bytes) -> None:
    """A request of CSDS."""
    with suppress(ProtocolError):
        decode_request(data)


READERS: Mapping[str, Callable[[bytes], None]] = {
    each.__name__: each for each in (scope, manifest, fields, request, sotw, status)
}


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Something good in which some bytes are others, gone, or there twice."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + 1] = draw(st.binary(max_size=3))
            case 1:
                del data[at : at + draw(st.integers(1, 8))]
            case 2:
                data[at:at] = data[at : at + draw(st.integers(1, 16))]
            case _:
                data[at:at] = b"\xff" * draw(st.integers(1, 11))
    return bytes(data)


SCOPES = st.text("{}()[]:;,|&^%=*\"' -._~aA1clouds", max_size=60).map(str.encode)
WORDS = st.sampled_from(b'{ } image glance : cloud-1 local | || & ( ) [ ] a=b , ; * " @'.split())
GOOD_MANIFEST = {
    "apiVersion": "scopeway.io/v1alpha1",
    "kind": "EdgeCloud",
    "metadata": {"name": "cloud-1", "labels": {"a": "b"}},
    "spec": {
        "front": {"address": "127.0.0.1", "port": 1, "ports": {"image": 2}},
        "peer": {"address": "127.0.0.1", "port": 3},
        "services": {"image": {"endpoints": [{"address": "h", "port": 4}], "path": "/x"}},
        "accept": [{"clouds": ["a", "[b=c]"], "identity": {"clouds": ["a"], "roles": ["r"]}}],
    },
}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
NESTED = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=5), SCALARS)
VALUES = NESTED | st.lists(NESTED, max_size=3) | st.dictionaries(st.text(max_size=5), NESTED)
REQUESTS = st.builds(
    write_request,
    st.sampled_from([CLUSTER, LISTENER, "x", ""]),
    node=st.none() | st.tuples(st.text(max_size=9), st.text(max_size=9)),
    subscribe=st.lists(st.text(max_size=9) | st.binary(max_size=9) | st.just("*"), max_size=4),
    unsubscribe=st.lists(st.text(max_size=9) | st.just("*"), max_size=3),
    versions=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    nonce=st.text(max_size=3),
    error=st.none() | st.text(max_size=5),
)

STATUS_REQUESTS = st.lists(st.text(max_size=9), max_size=3).map(
    lambda ids: b"".join(
        wire.field_bytes(1, wire.field_bytes(1, wire.field_string(1, each))) for each in ids
    )
)


@FUZZ
@given(damaged(SCOPES | st.lists(WORDS, max_size=25).map(b"".join)) | st.binary(max_size=99))
def test_scopes(data: bytes) -> None:
    scope(data)


@FUZZ
@given(damaged(st.just(json.dumps(GOOD_MANIFEST).encode())) | st.binary(max_size=99))
def test_manifests_as_bytes(data: bytes) -> None:
    manifest(data)


@FUZZ
@given(st.data())
def test_manifests_as_values(data: st.DataObject) -> None:
    """A good manifest with a value anywhere replaced, or a field added."""
    document = json.loads(json.dumps(GOOD_MANIFEST))
    node = document
    while isinstance(node, dict | list) and node:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys))
        if data.draw(st.booleans()) or not isinstance(node[key], dict | list):
            node[key] = data.draw(VALUES)
            break
        node = node[key]
    with suppress(InvalidCloud):
        parse_manifest(document, "place")


@FUZZ
@given(damaged(REQUESTS) | st.binary(max_size=99))
def test_requests(data: bytes) -> None:
    fields(data)
    request(data)
    sotw(data)


@FUZZ
@given(damaged(STATUS_REQUESTS) | st.binary(max_size=99))
def test_requests_for_a_status(data: bytes) -> None:
    status(data)


@pytest.mark.parametrize("file", sorted(KEPT.iterdir()), ids=lambda file: file.name)
def test_what_was_found_once(file: Path) -> None:
    READERS[file.name.partition("-")[0]](file.read_bytes())
