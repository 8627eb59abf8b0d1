import re

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.struct_pb2 import Value
from google.protobuf.wrappers_pb2 import BoolValue, BytesValue, Int64Value, StringValue, UInt64Value
from hypothesis import given
from hypothesis import strategies as st

from scopeway.xds.encoding import protobuf as wire


@given(st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_integers_are_encoded_as_protobuf_does(value: int) -> None:
    assert Int64Value.FromString(wire.field_varint(1, value)).value == value


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_integers_are_read_back(value: int) -> None:
    data = b"\xff" + UInt64Value(value=value or 1).SerializeToString()[1:]

    assert wire.read_varint(data, 1, len(data)) == (value or 1, len(data))


@given(st.text(), st.binary())
def test_texts_bytes_and_bools_are_encoded_as_protobuf_does(text: str, data: bytes) -> None:
    assert StringValue.FromString(wire.field_string(1, text)).value == text
    assert BytesValue.FromString(wire.field_bytes(1, data)).value == data
    assert BoolValue.FromString(wire.field_bool(1, True)).value is True
    assert BoolValue.FromString(wire.field_bool(1, False)).value is False


def test_high_field_numbers_take_longer_tags() -> None:
    assert wire.field_string(16, "") == b"\x82\x01\x00"


@given(st.text(), st.binary())
def test_any_holds_type_and_body(type_url: str, body: bytes) -> None:
    message = Any.FromString(wire.any_message(type_url, body))

    assert message.type_url == type_url
    assert message.value == body


def test_fields_of_every_other_wire_type_have_no_number() -> None:
    data = (
        wire.field_varint(1, 300)
        + b"\x11"
        + bytes(8)
        + b"\x1d"
        + bytes(4)
        + wire.field_bytes(4, b"payload")
        + wire.field_bytes(5, b"")
    )

    assert [(number, data[start:end]) for number, start, end in wire.fields(data)] == [
        (0, wire.varint(300)),
        (0, bytes(8)),
        (0, bytes(4)),
        (4, b"payload"),
        (5, b""),
    ]
    assert [(number, kind) for number, kind, _, _ in wire.raw_fields(data)] == [
        (1, wire.VARINT),
        (2, wire.FIXED64),
        (3, wire.FIXED32),
        (4, wire.BYTES),
        (5, wire.BYTES),
    ]


def test_a_part_of_the_bytes_can_be_read() -> None:
    inner = wire.field_string(3, "x")
    data = b"??" + inner + b"??"

    assert list(wire.fields(data, 2, 2 + len(inner))) == [(3, 4, 5)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x0a", "a varint is cut off at byte 1"),
        (b"\x0a\x00\x0a", "a varint is cut off at byte 3"),
        (b"\x0a\x05abc", "field 1 is cut off at byte 5"),
        (b"\x09\x00", "field 1 is cut off at byte 2"),
        (b"\x08\xff", "a varint is cut off at byte 2"),
        (b"\x02\x00", "field number 0 at byte 1"),
        (b"\x80\x80\x80\x80\x10", "field number 536870912 at byte 5"),
        (b"\x0b", "wire type 3 at byte 1"),
        (b"\x08" + b"\xff" * 11, "a varint of more than ten bytes at byte 11"),
    ],
)
def test_bytes_that_are_no_message_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(wire.fields(data))


@given(st.binary())
def test_the_fast_path_of_fields_reads_the_same(data: bytes) -> None:
    def slow() -> list[tuple[int, int, int]]:
        return [(n * (kind == wire.BYTES), s, e) for n, kind, s, e in wire.raw_fields(data)]

    try:
        expected = slow()
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error))):
            list(wire.fields(data))
    else:
        assert list(wire.fields(data)) == expected


@given(st.binary())
def test_readers_stay_inside_the_bytes_or_raise_value_error(data: bytes) -> None:
    try:
        spans = list(wire.raw_fields(data))
    except ValueError:
        return

    assert all(0 <= start <= end <= len(data) for _, _, start, end in spans)


@given(st.recursive(st.text() | st.floats(allow_nan=False) | st.booleans(), st.lists))
def test_what_protobuf_writes_is_read_to_the_end(value: object) -> None:
    message = Value()
    _fill(message, value)
    data = message.SerializeToString()

    assert (list(wire.raw_fields(data)) or [(0, 0, 0, 0)])[-1][-1] == len(data)


def _fill(message: Value, value: object) -> None:
    if isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, str):
        message.string_value = value
    elif isinstance(value, float):
        message.number_value = value
    elif isinstance(value, list):
        message.list_value.SetInParent()
        for each in value:
            _fill(message.list_value.values.add(), each)
