"""Fields that several of Envoy's messages have: socket addresses and metadata, encoded.

The numbers are the field numbers of Envoy's API.
"""

from collections.abc import Mapping

from scopeway.control_plane.translator import names
from scopeway.xds.encoding.protobuf import field_bytes, field_string, field_varint

# envoy.config.core.v3.Address, SocketAddress
_SOCKET_ADDRESS, _SOCKET_HOST, _SOCKET_PORT = 1, 2, 3
# envoy.config.core.v3.Metadata, google.protobuf.Struct and Value, and the entries of their maps
_FILTER_METADATA, _STRUCT_FIELDS, _STRING_VALUE = 1, 1, 3
_KEY, _VALUE = 1, 2


def socket_address(host: str, port: int) -> bytes:
    """Return an encoded `envoy.config.core.v3.Address` with a `SocketAddress`."""
    fields = field_string(_SOCKET_HOST, host) + field_varint(_SOCKET_PORT, port)
    return field_bytes(_SOCKET_ADDRESS, fields)


def metadata(values: Mapping[str, str]) -> bytes:
    """Return an encoded `envoy.config.core.v3.Metadata` with values of this project's namespace."""
    struct = b"".join(
        field_bytes(
            _STRUCT_FIELDS,
            field_string(_KEY, key) + field_bytes(_VALUE, field_string(_STRING_VALUE, value)),
        )
        for key, value in values.items()
    )
    entry = field_string(_KEY, names.METADATA) + field_bytes(_VALUE, struct)
    return field_bytes(_FILTER_METADATA, entry)
