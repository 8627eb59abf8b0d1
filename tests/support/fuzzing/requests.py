"""The requests of xDS and CSDS, read as Google's own reader does, and what a session makes."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from fuzzing.protobuf_model import parsed
from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.encoding.messages import MAX_NAME_BYTES, decode_delta_request, decode_sotw_request
from scopeway.xds.encoding.node import MAX_METADATA
from scopeway.xds.errors import ProtocolError
from scopeway.xds.protocol.csds import decode_request
from scopeway.xds.protocol.session import DeltaSession, SotwSession
from scopeway.xds.source import Node
from scopeway.xds.type_urls import CLUSTER, ENDPOINT, LISTENER
from xds_model import Store, write_request

DICTIONARY = (
    *(
        CLUSTER,
        LISTENER,
        ENDPOINT,
        "*",
        "a",
        b"\x0a\x03\x0a\x01n",
        b"\x12\x00",
        b"\xff" * 9 + b"\x01",
    ),
    *(bytes((number << 3 | kind,)) for number in range(1, 10) for kind in (0, 1, 2, 5)),
    *(b"\x1a\x01a", b"\x22\x01a", b"\x2a\x06\x0a\x01a\x12\x01v", b"\x3a\x02\x08\x0d", b"\x80\x00"),
)
_MAX_DEPTH = 16
_STRICTER = re.compile(r"has no type_url|wire type [34]|node.metadata|bytes; at most|entries")
"""What ours refuses and protobuf doesn't: as documented, and groups, which xDS never had."""


def seeds() -> Iterator[bytes]:
    metadata = _entry(
        "scopeway", wire.field_bytes(5, _entry("protocol", wire.field_string(3, "1")))
    )
    metadata += _entry("n", b"\x11" + b"\x00" * 6 + b"\xf0\x3f") + _entry("b", b"\x20\x01")
    build = wire.field_bytes(1, wire.field_varint(1, 1) + wire.field_varint(2, -1))
    node = wire.field_string(1, "n") + wire.field_string(2, "c") + wire.field_bytes(3, metadata)
    locality = wire.field_string(1, "r") + wire.field_string(2, "z") + wire.field_string(3, "s")
    node += wire.field_bytes(4, locality) + wire.field_string(10, "one")
    node += wire.field_string(6, "envoy") + wire.field_bytes(8, build)
    delta = write_request(
        CLUSTER, subscribe=["a", "*"], unsubscribe=["b"], versions={"a": "1"}, nonce="1", error="no"
    )
    yield delta
    yield wire.field_bytes(1, node) + write_request(LISTENER, subscribe=["*"])
    sotw = wire.field_string(1, "1") + wire.field_bytes(2, node) + wire.field_string(3, "a")
    yield sotw + wire.field_string(4, CLUSTER) + wire.field_string(5, "1")
    yield sotw + wire.field_string(4, ENDPOINT) + wire.field_bytes(6, wire.field_varint(1, -1))
    matcher = wire.field_bytes(1, wire.field_string(1, "n") + wire.field_varint(6, 0))
    yield wire.field_bytes(1, matcher) + wire.field_bytes(1, matcher)


def _entry(key: str, value: bytes) -> bytes:
    return wire.field_bytes(1, wire.field_string(1, key) + wire.field_bytes(2, value))


def check(data: bytes) -> None:
    _fields(data)
    _delta(data)
    _sotw(data)
    _status(data)


def _fields(data: bytes) -> None:
    """The two readers of fields see the same."""
    try:
        slow = list(wire.raw_fields(data))
    except ValueError:
        slow = None
    try:
        fast = list(wire.fields(data))
    except ValueError:
        fast = None
    wanted = (
        None if slow is None else [(n * (kind == 2), start, end) for n, kind, start, end in slow]
    )
    assert fast == wanted
    assert all(0 <= start <= end <= len(data) for _, _, start, end in slow or [])


def _delta(data: bytes) -> None:
    read, model = _read(decode_delta_request, data), parsed("Delta", data)
    if read is None:
        return
    assert _size(read.node) <= MAX_METADATA + 8 * len(data)
    if model is not None:
        assert read.type_url == model.type_url
        assert read.response_nonce == _text(model.nonce)
        assert read.subscribe == _names(model.subscribe)
        assert read.unsubscribe == _names(model.unsubscribe)
        versions = {
            name: _text(each.version) for each in model.versions for name in _names([each.name])
        }
        assert dict(read.initial_versions) == versions
        listed = [*model.subscribe, *model.unsubscribe]
        assert read.names_empty == (not listed)
        named = [*listed, *(each.name for each in model.versions)]
        assert read.skipped == len(named) - len(_names(named))
        _same_error(read.error, model.error)
        _same_node(read.node, model.node)
    session = DeltaSession(Store(texts={(CLUSTER, "a"): "1"}, wildcards={LISTENER: []}))
    _answered(session, read, data)


def _sotw(data: bytes) -> None:
    read, model = _read(decode_sotw_request, data), parsed("Sotw", data)
    if read is None:
        return
    if model is not None:
        assert read.type_url == model.type_url
        assert read.version_info == _text(model.version)
        assert read.response_nonce == _text(model.nonce)
        assert read.names == _names(model.names)
        assert read.skipped == len(model.names) - len(read.names)
        assert read.names_empty == (not model.names)
        _same_error(read.error, model.error)
        _same_node(read.node, model.node)
    _answered(SotwSession(Store(texts={(CLUSTER, "a"): "1"})), read, data)


def _answered(session: Any, read: Any, data: bytes) -> None:
    """A session takes the request or ends; it doesn't answer more than was asked."""
    try:
        session.receive(read, 0)
        session.receive(read, 0)  # once more, on the same stream: nonces and names are known now
    except ProtocolError as refused:
        _said(refused, data)
        return
    for response in session.responses_to_send(0):
        assert response.resources + getattr(response, "removed", 0) <= len(data) + 1
    session.close()


def _status(data: bytes) -> None:
    model = parsed("StatusRequest", data)
    try:
        ids = decode_request(data)
    except ProtocolError as refused:
        _said(refused, data)
        return
    if model is not None:
        wanted = [matcher.node_id[-1].exact for matcher in model.matchers if matcher.node_id]
        assert len(wanted) == len(model.matchers), "a matcher without an id was served"
        assert ids == (frozenset(wanted) or None)


def _read(decode: Callable[..., Any], data: bytes) -> Any:
    try:
        read = decode(data)
    except ProtocolError as refused:
        _said(refused, data)
        name = "Delta" if decode is decode_delta_request else "Sotw"
        assert parsed(name, data) is None or _STRICTER.search(str(refused)), refused
        return None
    without = decode(data, with_node=False)
    assert without.node is None
    assert without.type_url == read.type_url
    return read


def _said(refused: ProtocolError, data: bytes) -> None:
    assert refused.status in {"INVALID_ARGUMENT", "UNIMPLEMENTED", "PERMISSION_DENIED"}
    assert len(str(refused)) <= 300 + 8 * len(data)


def _same_error(read: Any, model: Any) -> None:
    assert (read is None) == (not model)
    if read is not None:
        assert read.code == model[-1].code
        assert read.message == _text(model[-1].message)


def _same_node(read: Node | None, model: Any) -> None:
    assert (read is None) == (not model)
    if read is None:
        return
    node = model[-1]
    build = node.build.version
    version = _text(node.version)
    if node.HasField("build"):
        version = f"{build.major}.{build.minor}.{build.patch}"
    assert read.id == node.id
    assert read.cluster == node.cluster
    assert read.user_agent == "/".join(part for part in (_text(node.agent), version) if part)
    assert read.client_features == {_text(each) for each in node.features}
    where = read.locality.region, read.locality.zone, read.locality.sub_zone
    last = node.locality[-1] if node.locality else None
    assert where == (
        (_text(last.region), _text(last.zone), _text(last.sub_zone)) if last else ("",) * 3
    )
    leaves: dict[str, str] = {}
    if node.metadata:
        _leaves(node.metadata[-1], (), leaves)
    assert read.metadata == leaves


def _leaves(struct: Any, path: tuple[str, ...], into: dict[str, str]) -> None:
    if len(path) >= _MAX_DEPTH:
        return
    for key, value in {_text(each.key): each.value for each in struct.fields}.items():
        place = (*path, key)
        match value[-1].WhichOneof("kind") if value else None:
            case "number":
                into[".".join(place)] = repr(value[-1].number).removesuffix(".0")
            case "text":
                into[".".join(place)] = _text(value[-1].text)
            case "struct":
                _leaves(value[-1].struct, place, into)


def _size(node: Node | None) -> int:
    return sum(len(key) + len(value) for key, value in node.metadata.items()) if node else 0


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _names(listed: Any) -> tuple[str, ...]:
    names = []
    for data in listed:
        if len(data) <= MAX_NAME_BYTES:
            try:
                names.append(data.decode())
            except UnicodeDecodeError:
                continue
    return tuple(names)
