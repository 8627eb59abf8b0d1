"""The access log: one JSON object a line for each request (docs/envoy.md has the fields).

Never in it: queries, tokens, bodies, and any header but those named here.
"""

from functools import cache

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLogFilter, MetadataFilter
from envoy_data_plane.envoy.type.matcher.v3 import (
    MetadataMatcher,
    MetadataMatcherPathSegment,
    StringMatcher,
    ValueMatcher,
)
from envoy_data_plane.google.protobuf import Struct

from scopeway.control_plane.translator import names
from scopeway.xds.encoding.protobuf import field_bytes, field_string

# SubstitutionFormatString, Struct, an entry of its map, Value
_JSON_FORMAT, _STRUCT_FIELDS, _KEY, _VALUE, _STRING_VALUE = 2, 1, 1, 2, 3

_FIELDS = {
    "time": "%START_TIME%",
    "site": names.SITE_NAME,
    "request_id": "%REQ(X-REQUEST-ID)%",
    "origin": f"%REQ({names.ORIGIN})%",
    "service": f"%REQ({names.SERVICE})%",
    "target": f"%REQ({names.TARGET})%",
    "method": "%REQ(:METHOD)%",
    # not :ORIG, which a header could forge; the path as it was sent on
    "path": "%PATH(NQ:PATH)%",
    "status": "%RESPONSE_CODE%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "served_by": f"%RESP({names.SERVED_BY})%",
    "upstream": "%UPSTREAM_HOST%",
    "duration_ms": "%DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
}

_POLICY = {
    "policy_method": f"%REQ({names.METHOD})%",
    # which rule of the peer's policy decided, and what it would have decided in audit mode
    "policy": "%DYNAMIC_METADATA(envoy.filters.http.rbac:enforced_effective_policy_id)%",
    "audit": "%DYNAMIC_METADATA(envoy.filters.http.rbac:shadow_engine_result)%",
    "audit_policy": "%DYNAMIC_METADATA(envoy.filters.http.rbac:shadow_effective_policy_id)%",
    # how many clouds its fan-out has, where it is part of one; another site says so, at any length
    "fanout": f"%REQ({names.FANOUT}):8%",
    # which limit of the caller was reached; the Lua says it
    "limit": f"%DYNAMIC_METADATA({names.METADATA}:limit)%",
}

_UNLOGGED = AccessLogFilter(
    metadata_filter=MetadataFilter(
        matcher=MetadataMatcher(
            filter=names.METADATA,
            path=[MetadataMatcherPathSegment(key=names.UNLOGGED)],
            # Envoy doesn't mind `invert` here: what is set to anything else is not logged
            value=ValueMatcher(string_match=StringMatcher(exact="false")),
        ),
        match_if_key_not_found=True,
    )
)

_SHORT = ("time", "site", "request_id", "target", "status", "served_by", "flags", "details")
_MEMBER = (*_SHORT, "method", "duration_ms", "bytes_sent")
"""Of a request for one cloud of a fan-out: the line of the front has the rest."""


def log_format(listener: str) -> bytes:
    """Return the `SubstitutionFormatString` of a listener: of `front`, `peer`, `dispatch`, ..."""
    # by hand, since each service may have a listener of its own
    value = field_bytes(_VALUE, field_string(_STRING_VALUE, listener))
    entry = field_bytes(_STRUCT_FIELDS, field_string(_KEY, "listener") + value)
    own = (names.DISPATCH, names.PEER, names.COLLECT)
    kind = listener if listener in own else names.FRONT
    return field_bytes(_JSON_FORMAT, _fields_but_listener(kind) + entry)


@cache
def log_filter(listener: str) -> bytes:
    """Return the `AccessLogFilter` of a listener; "" where each request is logged.

    At peers the Lua chooses, of the requests of a caller beyond its limits, some for the log: else
    who floods would fill the disk.
    """
    return bytes(_UNLOGGED) if listener == names.PEER else b""


@cache
def _fields_but_listener(kind: str) -> bytes:
    chosen = {names.DISPATCH: _SHORT, names.COLLECT: _MEMBER}.get(kind, tuple(_FIELDS))
    policy = _POLICY if kind == names.PEER else {}
    return bytes(Struct.from_dict({**{name: _FIELDS[name] for name in chosen}, **policy}))
