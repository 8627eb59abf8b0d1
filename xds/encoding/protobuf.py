"""The part of protobuf's wire format that an xDS server needs.

A message is written by joining its encoded fields, and read field by field, so streams need no
message objects. Knows nothing of xDS.

Invariant: every reader returns whole fields or raises ValueError; it never reads past the end.
"""

from collections.abc import Iterable, Iterator

VARINT = 0
FIXED64 = 1
BYTES = 2
FIXED32 = 5
_MAX_FIELD = (1 << 29) - 1
_MASK64 = (1 << 64) - 1
_ONE_BYTE = tuple(bytes((value,)) for value in range(0x80))


def varint(value: int) -> bytes:
    """Encode an integer. A negative int32, int64 or enum takes ten bytes."""
    if 0 <= value < 0x80:
        return _ONE_BYTE[value]
    value &= _MASK64
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field_bytes(number: int, data: bytes) -> bytes:
    """Encode a field of bytes or an embedded message, even if it is empty."""
    size = len(data)
    if size < 0x80 and number < 16:  # the usual case, on the hot path of making a resource
        return _ONE_BYTE[number << 3 | BYTES] + _ONE_BYTE[size] + data
    return varint(number << 3 | BYTES) + varint(size) + data


def nested(number: int, parts: Iterable[bytes]) -> list[bytes]:
    """Encode an embedded message from its parts; return parts of the message around it.

    So a large field that is nested deeply is copied once, when the outermost message is joined.
    """
    parts = list(parts)
    return [varint(number << 3 | BYTES) + varint(sum(map(len, parts))), *parts]


def field_string(number: int, text: str) -> bytes:
    """Encode a string field, even if it is empty."""
    return field_bytes(number, text.encode())


def field_varint(number: int, value: int) -> bytes:
    """Encode an integer or enum field, even if it is zero."""
    return varint(number << 3 | VARINT) + varint(value)


def field_bool(number: int, value: bool) -> bytes:
    """Encode a bool field, even if it is false."""
    return field_varint(number, int(value))


def any_message(type_url: str, body: bytes) -> bytes:
    """Encode the body of a google.protobuf.Any that holds `body`."""
    return field_string(1, type_url) + field_bytes(2, body)


def fields(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int]]:
    """Yield `(number, start, end)` for the payload of each length-delimited field, in order.

    A field of another wire type is yielded with number 0, so that a caller that works in steps
    counts it. The payload is `data[start:end]`; nothing is copied.

    Raises:
        ValueError: the bytes are no protobuf message.
    """
    # a fast path beside raw_fields, for requests with 10,000 names: nearly all tags and lengths
    # have one byte
    position, limit = start, len(data) if end is None else end
    while position < limit:
        tag = data[position]
        length = data[position + 1] if position + 1 < limit else 0x80
        stop = position + 2 + length
        if tag & 0x87 != BYTES or tag < 8 or length >= 0x80 or stop > limit:
            number, wire_type, begin, stop = next(raw_fields(data, position, limit))
            yield number if wire_type == BYTES else 0, begin, stop
        else:
            yield tag >> 3, position + 2, stop
        position = stop


def text(data: bytes, start: int, end: int) -> str:
    """Decode a text that is only shown or compared; invalid UTF-8 is replaced."""
    return data[start:end].decode(errors="replace")  # Envoy cuts long messages inside a character


def check_length(field: str, start: int, end: int, most: int) -> None:
    """Check that a field has at most `most` bytes.

    Raises:
        ValueError: it has more; the message names the field and both sizes.
    """
    if end - start > most:
        raise ValueError(f"{field} has {end - start} bytes; at most {most} are allowed")


def bounded(field: str, data: bytes, start: int, end: int, most: int) -> bytes:
    """Return the bytes of a field. Raises as `check_length`."""
    check_length(field, start, end, most)
    return data[start:end]


def raw_fields(
    data: bytes, start: int = 0, end: int | None = None
) -> Iterator[tuple[int, int, int, int]]:
    """Yield `(number, wire type, start, end)` for the payload of each field, in order.

    Raises:
        ValueError: the bytes are no protobuf message.
    """
    position, limit = start, len(data) if end is None else end
    while position < limit:
        tag, position = read_varint(data, position, limit)
        number, wire_type = tag >> 3, tag & 7
        if not 0 < number <= _MAX_FIELD:
            raise ValueError(f"field number {number} at byte {position}")
        if wire_type == BYTES:
            length, position = read_varint(data, position, limit)
            stop = position + length
        elif wire_type == VARINT:
            _, stop = read_varint(data, position, limit)
        elif wire_type == FIXED64:
            stop = position + 8
        elif wire_type == FIXED32:
            stop = position + 4
        else:
            raise ValueError(f"wire type {wire_type} at byte {position}")
        if stop > limit:
            raise ValueError(f"field {number} is cut off at byte {limit}")
        yield number, wire_type, position, stop
        position = stop


def read_varint(data: bytes, position: int, limit: int) -> tuple[int, int]:
    """Read an integer at `position`; return it and the position after it.

    Raises:
        ValueError: the integer is cut off at `limit`, or longer than ten bytes.
    """
    value = shift = 0
    while position < limit:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK64, position
        shift += 7
        if shift >= 70:
            raise ValueError(f"a varint of more than ten bytes at byte {position}")
    raise ValueError(f"a varint is cut off at byte {limit}")
