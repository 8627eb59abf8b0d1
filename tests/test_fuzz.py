"""Every input from outside is read or refused: with no other error, and within bounds.

The checks of an input are in `tests/support/fuzzing`. Here they run on kept inputs and on a few
random ones. `make fuzz` runs them on many, guided by coverage (CONTRIBUTING.md).
"""

import json
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzzing import (
    answers,
    collect,
    corpus,
    dispatch,
    files,
    front,
    links,
    lua,
    manifest,
    peer,
    requests,
    scope,
)
from scopeway.control_plane.clouds.document import to_document
from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.clouds.manifest import parse_manifest
from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.type_urls import CLUSTER, LISTENER
from xds_model import write_request

READERS: Mapping[str, ModuleType] = {
    "scope": scope,
    "manifest": manifest,
    "requests": requests,
    "lua": lua,
    "front": front,
    "peer": peer,
    "answers": answers,
    "dispatch": dispatch,
    "collect": collect,
    "links": links,
    "files": files,
}
FOUND: list[dict[str, Any]] = corpus.found()
FUZZ = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


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


def known(reader: str) -> st.SearchStrategy[bytes]:
    return st.sampled_from([*READERS[reader].seeds(), *corpus.read(reader)])


SCOPES = st.text("{}()[]:;,|&^%=*\"' -._~aA1clouds", max_size=60).map(str.encode)
WORDS = st.sampled_from(b'{ } image glance : cloud-1 local | || & ( ) [ ] a=b , ; * " @'.split())
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
RANDOM = st.binary(max_size=99)


@FUZZ
@given(damaged(SCOPES | st.lists(WORDS, max_size=25).map(b"".join) | known("scope")) | RANDOM)
def test_a_damaged_scope_is_parsed_or_refused(data: bytes) -> None:
    scope.check(data)


@FUZZ
@given(damaged(known("manifest")) | RANDOM)
def test_damaged_bytes_of_a_manifest_are_parsed_or_refused(data: bytes) -> None:
    manifest.check(data)


@FUZZ
@given(st.data())
def test_a_manifest_with_a_replaced_or_added_value_is_parsed_or_refused(
    data: st.DataObject,
) -> None:
    """A good manifest with a value anywhere replaced, or a field added."""
    document = json.loads(json.dumps(manifest.WHOLE))
    node = document
    while isinstance(node, dict | list) and node:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys))
        if data.draw(st.booleans()) or not isinstance(node[key], dict | list):
            node[key] = data.draw(VALUES)
            break
        node = node[key]
    try:
        cloud = parse_manifest(document, "place")
    except InvalidCloud as refused:
        problem = str(refused)
    else:
        problem = ""
        assert parse_manifest(to_document(cloud), "place") == cloud
    assert problem.isprintable()


@FUZZ
@given(damaged(REQUESTS | STATUS_REQUESTS | known("requests")) | RANDOM)
def test_damaged_xds_requests_are_decoded_or_refused(data: bytes) -> None:
    requests.check(data)


@FUZZ
@given(damaged(known("lua")) | RANDOM)
def test_lua_and_its_python_models_agree_on_damaged_input(data: bytes) -> None:
    lua.check(data)


@pytest.mark.parametrize("reader", ["front", "peer", "answers", "dispatch", "collect", "links"])
@FUZZ
@given(st.data())
def test_damaged_messages_to_the_lua_of_an_envoy_are_forwarded_or_refused(
    reader: str, data: st.DataObject
) -> None:
    message = data.draw(damaged(known(reader)))
    other = READERS[reader].mutated(message, data.draw(st.integers(0, 2**30)))
    READERS[reader].check(message if other is None else other)


@FUZZ
@given(damaged(known("files")) | RANDOM)
def test_damaged_files_are_read_or_refused(data: bytes) -> None:
    files.check(data)


@pytest.mark.parametrize("reader", READERS)
def test_kept_fuzz_inputs_are_read_or_refused(reader: str) -> None:
    check: Callable[[bytes], None] = READERS[reader].check
    for data in [*READERS[reader].seeds(), *corpus.read(reader)]:
        try:
            check(data)
        except Exception as error:
            error.add_note(f"the input: {data!r}")
            raise


@pytest.mark.parametrize("case", FOUND, ids=lambda case: case["why"])
def test_inputs_that_once_failed_are_read_or_refused(case: dict[str, Any]) -> None:
    READERS[case["reader"]].check(corpus.bytes_of(case["input"]))
