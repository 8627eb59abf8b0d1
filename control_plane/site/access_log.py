"""The access log: one JSON object a line for each request (docs/envoy.md has the fields).

Never in it: queries, tokens, bodies, and any header but those named here.
"""

from envoy_data_plane.envoy.config.core.v3 import SubstitutionFormatString

from control_plane.site import names
from control_plane.site.envoy_types import json_format

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
    # which rule of the peer's policy decided, and what it would have decided in audit mode
    "policy": "%DYNAMIC_METADATA(envoy.filters.http.rbac:enforced_effective_policy_id)%",
    "audit": "%DYNAMIC_METADATA(envoy.filters.http.rbac:shadow_engine_result)%",
    "audit_policy": "%DYNAMIC_METADATA(envoy.filters.http.rbac:shadow_effective_policy_id)%",
}

_SHORT = ("time", "site", "request_id", "target", "status", "served_by", "flags", "details")


def log_format(listener: str) -> SubstitutionFormatString:
    """Return the format of a listener: `front`, `front/image`, `peer` or `dispatch`."""
    chosen = _SHORT if listener == names.DISPATCH else tuple(_FIELDS)
    policy = _POLICY if listener == names.PEER else {}
    return json_format({"listener": listener, **{name: _FIELDS[name] for name in chosen}, **policy})
