"""What Envoy answers by itself, as OpenStack-shaped JSON with a reason that helps.

Without this, clients would get plain text or nothing. What the Lua filters and the routes answer is
JSON already and stays as it is.

Invariant: what a user wrote gets into an answer only through `%REQ(…)%`, never as a format string.
"""

from collections.abc import Iterator, Mapping, Sequence

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    ExtensionFilter,
    ResponseFlagFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import HeaderValueOption, RuntimeUInt32
from envoy_data_plane.envoy.extensions.access_loggers.filters.cel.v3 import ExpressionFilter
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    LocalReplyConfig,
    ResponseMapper,
)
from envoy_data_plane.google.protobuf import Any

from control_plane.site import names
from control_plane.site.envoy_types import error_body, overwrite
from control_plane.site.policy import NONE

_TARGET = f"%REQ({names.TARGET})%"
_SERVICE = f"%REQ({names.SERVICE})%"
_DETAILS = "%RESPONSE_CODE_DETAILS%"

NO_CLUSTER = ("NC", "OM", "NR")
"""Response flags where the control plane did not answer a first use."""
NOT_SENT = ("UF", "UH", "UO")
"""Response flags where no byte has left: no connection, no live endpoint, overflow."""
WHY_NOT_SENT: Mapping[str, str] = {
    "Connection_refused": "connection refused",
    "connection_timeout": "no connection in time",
    "TLS_error": "no trusted TLS connection",
    "no_healthy_upstream": "none of its endpoints is alive",
}
"""A part of Envoy's details of these to what a user is told; the access log has all of them."""
BROKEN = ("UC", "UR", "LR", "LH", "URX", "UMSDR", "NFCF")
"""Response flags where the answer broke off before it began."""
WHY_BROKEN: Mapping[str, str] = {"connection_termination": "the connection was closed"}
"""The same for these."""
SLOW = ("UT", "SI", "DT")
TOO_LONG_TO_REPEAT = 'response.code_details == "request_payload_exceeded_retry_buffer_limit"'
"""In CEL: the first cloud of several is dead, and no longer all of the body is there for the next.
Envoy's own 507 would say that a disk is full."""

NOT_ACCEPTED = f'response.code_details == "rbac_access_denied_matched_policy[{NONE}]"'
"""In CEL: no rule of a peer's policy that is about the service is for the caller."""
NOT_LIKE_THIS = 'response.code_details.startsWith("rbac_access_denied")'
"""In CEL: one is, but not with this method. Which one only the access log says: a reply can show no
more than the details as they are, where the rule stands among words of Envoy's."""

OURS = 'response.code_details in ["lua_response", "direct_response"]'
"""In CEL: the answer of a Lua filter or of a route, whatever its status; the log's filters know
statuses and flags only, in which these are like some of Envoy's own."""


def local_replies(*, mark_unsent: bool = False) -> LocalReplyConfig:
    """Return the answers; `mark_unsent` adds the header that lets an outer retry go on safely.

    Every answer says the site that gave it: without that, the name of a cloud that never answered
    would stand in the header.
    """
    here = [overwrite(names.SERVED_BY, names.SITE_NAME), overwrite(names.REJECTED, "true")]
    unsent = [*here, overwrite(names.UNSENT, "true")] if mark_unsent else here
    away = _and(_flags(NO_CLUSTER), _status(503))
    # a removal, which is how a name too many is answered, has the flags of no answer
    no_cluster = (
        f"the control plane did not answer for {_TARGET}, "
        "or this site has too many that cannot be served"
    )
    denied = f"{names.SITE_NAME} does not let %REQ({names.ORIGIN})% use its {_SERVICE} service"
    not_accepted = f"{denied}: none of its accept rules for it names %REQ({names.ORIGIN})%"
    not_like_this = (
        f"{denied} with %REQ(:METHOD)%: "
        f"its accept rules for it allow %REQ({names.ORIGIN})% other methods"
    )
    unavailable = "Service Unavailable"
    return LocalReplyConfig(
        mappers=[
            ResponseMapper(filter=_expression(OURS), headers_to_add=here),
            _json(_expression(NOT_ACCEPTED), "Forbidden", not_accepted, here),
            _json(_expression(NOT_LIKE_THIS), "Forbidden", not_like_this, here),
            _json(away, unavailable, no_cluster, unsent),
            *_because(NOT_SENT, WHY_NOT_SENT, f"{_TARGET} cannot be reached", unsent),
            _json(_flags(SLOW), "Timeout", f"no answer from {_TARGET} in time: {_DETAILS}", here),
            *_because(BROKEN, WHY_BROKEN, f"no answer from {_TARGET}", here),
            _json(_flags(("UPE",)), "Bad Gateway", f"{_TARGET} broke HTTP: {_DETAILS}", here),
            ResponseMapper(
                filter=_expression(TOO_LONG_TO_REPEAT),
                status_code=503,
                body_format_override=error_body(
                    "%RESPONSE_CODE%",
                    unavailable,
                    f"no answer from {_TARGET}, and the body is too long to be sent again",
                ),
                headers_to_add=here,
            ),
            _json(
                _status(400, ComparisonFilterOp.GE),
                "Request Refused",
                f"the Envoy of {names.SITE_NAME} refused this: {_DETAILS}",
                here,
            ),
        ]
    )


def _because(
    flags: Sequence[str], whys: Mapping[str, str], what: str, headers: list[HeaderValueOption]
) -> Iterator[ResponseMapper]:
    """A sentence for each cause that has words; the details themselves for all others."""
    title = "Service Unavailable"
    for part, words in whys.items():
        why = _expression(f'response.code_details.contains("{part}")')
        yield _json(_and(_flags(flags), why), title, f"{what}: {words}", headers)
    yield _json(_flags(flags), title, f"{what}: {_DETAILS}", headers)


def _json(
    which: AccessLogFilter, title: str, message: str, headers: list[HeaderValueOption]
) -> ResponseMapper:
    return ResponseMapper(
        filter=which,
        body_format_override=error_body("%RESPONSE_CODE%", title, message),
        headers_to_add=headers,
    )


def _flags(flags: Sequence[str]) -> AccessLogFilter:
    return AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=list(flags)))


def _status(status: int, operator: ComparisonFilterOp = ComparisonFilterOp.EQ) -> AccessLogFilter:
    # the key is demanded by Envoy; nobody overrides it at run time
    value = RuntimeUInt32(default_value=status, runtime_key="scopeway.unused")
    comparison = ComparisonFilter(op=operator, value=value)
    return AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=comparison))


def _expression(cel: str) -> AccessLogFilter:
    config = Any.pack(ExpressionFilter(expression=cel))
    return AccessLogFilter(extension_filter=ExtensionFilter(name="cel", typed_config=config))


def _and(*filters: AccessLogFilter) -> AccessLogFilter:
    return AccessLogFilter(and_filter=AndFilter(filters=list(filters)))
