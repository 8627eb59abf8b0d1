"""Envoy's own responses, as OpenStack-shaped JSON with a reason that helps.

Without this, clients would get plain text or nothing. Responses of the Lua filters and of the
routes are JSON already and stay unchanged.

Invariants: user input gets into a response only through `%REQ(…)%`, never as a format string.
Envoy's own words get into no response. A cause without a sentence here is in the access log, with
Envoy's details.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    ExtensionFilter,
    ResponseFlagFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValueOption,
    RuntimeUInt32,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.extensions.access_loggers.filters.cel.v3 import ExpressionFilter
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    LocalReplyConfig,
    ResponseMapper,
)
from envoy_data_plane.envoy.extensions.formatter.cel.v3 import Cel
from envoy_data_plane.google.protobuf import Any

from scopeway.control_plane.clouds.policy import FORM, NO_FANOUT
from scopeway.control_plane.translator import names
from scopeway.control_plane.translator.envoy_types import error_body, overwrite
from scopeway.control_plane.translator.rbac import NONE, TOO_LARGE
from scopeway.control_plane.translator.route_templates import LOGIN_BODY_WITHIN, MAX_LOGIN, WITHIN

_TARGET = f"%REQ({names.TARGET})%"
_SERVICE = f"%REQ({names.SERVICE})%"
_LOG = f"the access log of {names.SITE_NAME}'s Envoy says why"

NO_CLUSTER = ("NC", "OM", "NR")
"""Response flags where the control plane did not answer a first use."""
NOT_CONNECTED = ("UF", "UH")
"""Response flags where no byte has left: no connection, or no live endpoint."""
OVERFLOW = ("UO",)
"""The same, because of a limit of this Envoy: it says nothing about the service."""
WHY_NOT_SENT: Mapping[str, str] = {
    "Connection_refused": "connection refused",
    "onnection_time": "no connection in time",  # Envoy's own connection_timeout, or the kernel's
    "TLS_error": "no trusted TLS connection",
    "No_route_to_host": "no route to its address",
    "Network_is_unreachable": "no route to its address",
    "No_such_file": "nothing listens on its socket (scopeway collect)",
    "no_healthy_upstream": "none of its endpoints is alive",
    "remote_connection_failure}": "the connection was closed before a request",
}
"""A part of Envoy's details of these to what a user is told, in their order."""
BROKEN = ("UC", "UR", "LR", "LH", "URX", "UMSDR")
"""Response flags where the answer broke off before it began."""
WHY_BROKEN: Mapping[str, str] = {
    "connection_termination": "the connection was closed",
    "premature_upstream_half_close": "the connection was closed",
    "remote_refused_stream_reset": "it takes no further request just now",
    "remote_reset": "it ended the request",
}
"""The same for these."""
NO_HTTP = "UPE"
UPLOAD_BYTES = 64 * 1024
"""Of a request's body, beyond which an answer that breaks off may be one to an upload."""
_PERHAPS = "; it may have been carried out, or not"
PERHAPS_DONE = (
    'request.method in ["GET", "HEAD"] ? "" : '
    f'request.size <= {UPLOAD_BYTES} ? "{_PERHAPS}" : "{_PERHAPS}, and an upload that breaks off '
    "is often one that the service refused before it had read it: too large, no quota, or an "
    'expired token"'
)
"""In CEL: what else there is to say of an answer that broke off. Reads have been sent again."""
NO_FILTERS = ("NFCF",)
"""Response flags where the Lua has never come, or Envoy could not take it."""
SLOW = ("UT", "SI", "DT")
WHY_REFUSED: Mapping[str, str] = {
    "http1.codec_error": "it is no well-formed HTTP/1.1",
    "low_version": "it is older than HTTP/1.1",
    "http1.content_length_and_chunked_not_allowed": "it has Content-Length and Transfer-Encoding",
    "http1.invalid_transfer_encoding": "its Transfer-Encoding is not just chunked",
    "http1.invalid_characters": "a header has a character that HTTP forbids",
    "http1.connection_header_rejected": "its Connection header names what it must not",
    "headers_too_large": "its headers, with the URL, are too long",
    "too_many_headers": "it has too many headers",
    "missing_host_header": "it has no Host",
    "http.invalid_authority": "its Host is malformed",
    "http1.invalid_url": "its URL is malformed",
    "http1.invalid_scheme": "its URL begins with neither http:// nor https://",
    "http1.https_url_on_plaintext_connection": "its URL says https, but it came without TLS",
    "absolute_path_rejected": "its path does not begin with a slash",
    "path_normalization_failed": "its path has a #, which clients keep to themselves",
    "upgrade_failed": "it can become a WebSocket, and nothing else",
    "request_payload_too_large": f"its body is too long: a login has at most {MAX_LOGIN} bytes",
    "response_payload_too_large": "the answer is too long",
    "request_header_timeout": "its headers did not come in time",
}
"""The same for what Envoy refuses whatever the target is."""
_CAUSES = 8
"""Causes of one answer, of which CEL chooses the words: Envoy reads no expression deeper than 32.
An answer for each would make every listener twice as large."""
TOO_LONG_TO_REPEAT = 'response.code_details == "request_payload_exceeded_retry_buffer_limit"'
"""In CEL: the first cloud of several is dead, and no longer all of the body is there for the next.
Envoy's own 507 would say that a disk is full."""

UNRESOLVED = 'response.code_details.startsWith("dns_")'
"""In CEL: the host name of a target's one endpoint has no address."""
WHY_UNRESOLVED: Mapping[str, str] = {
    "resolve_timeout": "the name server did not answer in time",
    "Domain_name_not_found": "no such name exists",
    "answer_with_no_data": "it has no address",
    "cares_norecords": "it has no address",
    "cares_failure:Timeout": "the name server did not answer in time",
    "cares_failure": "the name server failed",
    "overflow": "too many requests wait for that",
}
"""The same for these."""
NONE_RESOLVED = (
    'response.code_details == "no_healthy_upstream" && '
    f'"{names.UNRESOLVED}" in xds.cluster_metadata.filter_metadata["{names.METADATA}"]'
)
"""In CEL: a target has several endpoints, some of them host names, and no address. Envoy does not
say why."""

NOT_ACCEPTED = f'response.code_details == "rbac_access_denied_matched_policy[{NONE}]"'
"""In CEL: no rule of a peer's policy that is about the service is for the caller."""
TOO_MANY_RULES = f'response.code_details == "rbac_access_denied_matched_policy[{TOO_LARGE}]"'
"""In CEL: the policy of this peer is too large, so nobody is let in."""
NOT_LIKE_THIS = 'response.code_details.startsWith("rbac_access_denied")'
"""In CEL: one is, but not with this method. Which one only the access log says: a reply can show no
more than the details as they are, where the rule stands among words of Envoy's."""

NO_FANOUTS = f'{NOT_LIKE_THIS} && response.code_details.contains("{NO_FANOUT.replace(" ", "_")}]")'
"""In CEL: the same of what is part of a fan-out. Envoy's details have no blanks."""

NOT_A_FORM = f'{NOT_LIKE_THIS} && request.headers["{names.METHOD}"] == "{FORM}"'
"""In CEL: the same of what may carry a form, in which a service may find another method."""

TOO_LATE = 'response.code_details == "max_duration_timeout"'
"""In CEL: a Keystone, or who logs in, took longer than the route allows (`route.WITHIN`)."""
LIMITED = f'"{names.LIMIT}" in request.headers'
"""In CEL: a Keystone is asked, and has so long to answer."""

OURS = 'response.code_details in ["lua_response", "direct_response"]'
"""In CEL: the answer of a Lua filter or of a route, whatever its status; the log's filters know
statuses and flags only, in which these are like some of Envoy's own."""


def local_replies(*, mark_unsent: bool = False, mark_unreachable: bool = False) -> LocalReplyConfig:
    """Return the local replies.

    Every answer says the site that gave it: without that, the name of a cloud that never answered
    would stand in the header.

    Args:
        mark_unsent: True adds the header that lets an outer retry go on safely.
        mark_unreachable: True adds the header by which the outer cluster ejects the cloud, but
            only to causes that lie between the Envoy and the service: no client can provoke them.
    """
    here = [overwrite(names.SERVED_BY, names.SITE_NAME), overwrite(names.REJECTED, "true")]
    unsent = [*here, overwrite(names.UNSENT, "true")] if mark_unsent else here
    unreachable = [*unsent, overwrite(names.UNREACHABLE, "true")] if mark_unreachable else unsent
    away = _and(_flags(NO_CLUSTER), _status(503))
    # a removal, which is how a name too many is answered, has the flags of no answer
    no_cluster = (
        f"the control plane did not answer for {_TARGET}, "
        "or this site has too many that cannot be served"
    )
    host_name = f"%CLUSTER_METADATA({names.METADATA}:{names.UNRESOLVED})%"
    unresolved = f"{_TARGET} cannot be reached: its {host_name} could not be resolved"
    none_resolved = f"{unresolved}: no name server answered in time, or there is no address"
    denied = f"{names.SITE_NAME} does not let %REQ({names.ORIGIN})% use its {_SERVICE} service"
    not_accepted = f"{denied}: none of its accept rules for it names %REQ({names.ORIGIN})%"
    too_large = f"{denied}: its accept rules are too large to be enforced, so nobody is let in"
    not_like_this = (
        f"{denied} with %REQ(:METHOD)%: "
        f"its accept rules for it allow %REQ({names.ORIGIN})% other methods"
    )
    no_fanouts = (
        f"{denied} in a fan-out ('&', '^'): its accept rules for it allow %REQ({names.ORIGIN})% "
        "single requests only"
    )
    not_a_form = (
        f"{denied} with a form, which can say another method, or a %REQ(:METHOD)% that may be one: "
        f"its accept rules for it allow %REQ({names.ORIGIN})% only some methods; "
        "send another Content-Type, or Content-Length: 0"
    )
    unavailable = "Service Unavailable"
    half_sent = "the rest of the request did not come in time"
    half_login = (
        f"{half_sent}: a login has to be there within {_seconds(LOGIN_BODY_WITHIN)} seconds"
    )
    validation, login = (
        _seconds(WITHIN[names.FRONT][limit]) for limit in (names.VALIDATION, names.LOGIN)
    )
    times = f"({validation} seconds for a validation, {login} for a login)"
    what_to_do = "try again, or tell the operator of that cloud"
    slow_keystone = f"the Keystone of {_TARGET} did not answer in time {times}: {what_to_do}"
    # an answer that has begun cannot be replaced: the next Envoy sees that it breaks off
    broken_keystone = (
        f"the Keystone of {_TARGET} broke its answer off, or took too long for it {times}: "
        f"{what_to_do}"
    )
    no_filters = f"the Envoy of {names.SITE_NAME} has no filters from its control plane yet"
    no_http = f"{_TARGET} answered what is no HTTP, or has too many or too long headers"
    return LocalReplyConfig(
        mappers=[
            ResponseMapper(filter=_expression(OURS), headers_to_add=here),
            _json(_expression(NOT_ACCEPTED), "Forbidden", not_accepted, here),
            _json(_expression(TOO_MANY_RULES), "Forbidden", too_large, here),
            _json(_expression(NO_FANOUTS), "Forbidden", no_fanouts, here),
            _json(_expression(NOT_A_FORM), "Forbidden", not_a_form, here),
            _json(_expression(NOT_LIKE_THIS), "Forbidden", not_like_this, here),
            _json(away, unavailable, no_cluster, unsent),
            *_because(_expression(UNRESOLVED), WHY_UNRESOLVED, unavailable, unresolved, unsent),
            _json(_expression(NONE_RESOLVED), unavailable, none_resolved, unsent),
            *_because(
                _flags(NOT_CONNECTED),
                WHY_NOT_SENT,
                unavailable,
                f"{_TARGET} cannot be reached",
                unsent,
                known=unreachable,
            ),
            _json(
                _flags(OVERFLOW),
                unavailable,
                f"{_TARGET} cannot be reached: too many requests wait for it",
                unsent,
            ),
            _json(_and(_expression(TOO_LATE), _status(408)), "Timeout", half_login, here),
            _json(_expression(TOO_LATE), "Timeout", slow_keystone, here),
            _json(
                _and(_flags((*BROKEN, NO_HTTP)), _expression(LIMITED)),
                "No Answer",
                broken_keystone,
                here,
            ),
            _json(_and(_flags(SLOW), _status(408)), "Timeout", half_sent, here),
            _json(_flags(SLOW), "Timeout", f"no answer from {_TARGET} in time", here),
            # before those: a read has been sent again, and failed the same way
            _json(_flags((NO_HTTP,)), "Bad Gateway", no_http, here),
            *_because(
                _flags(BROKEN),
                WHY_BROKEN,
                unavailable,
                f"no answer from {_TARGET}",
                here,
                more=PERHAPS_DONE,
            ),
            _json(_flags(NO_FILTERS), "Internal Server Error", no_filters, here),
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
            *_because(
                _status(400, ComparisonFilterOp.GE),
                WHY_REFUSED,
                "Request Refused",
                f"the Envoy of {names.SITE_NAME} refused this",
                here,
            ),
        ]
    )


def _seconds(time: timedelta) -> str:
    return f"{time.total_seconds():g}"


def _because(
    which: AccessLogFilter,
    whys: Mapping[str, str],
    title: str,
    what: str,
    headers: list[HeaderValueOption],
    *,
    known: list[HeaderValueOption] | None = None,
    more: str = "",
) -> Iterator[ResponseMapper]:
    """A sentence for the causes that have words; where to look for all others.

    `known`: the headers of those that have words, where they differ. `more` is in CEL and stands at
    the end of either.
    """
    causes = list(whys.items())
    end = f"%CEL({more})%" if more else ""
    for start in range(0, len(causes), _CAUSES):
        some = causes[start : start + _CAUSES]
        any_of_them = " || ".join(_details_contain(part) for part, _ in some)
        *others, (_, words) = some
        words = f'"{words}"'
        for part, why in reversed(others):
            words = f'{_details_contain(part)} ? "{why}" : {words}'
        yield _json(
            _and(which, _expression(any_of_them)),
            title,
            f"{what}: %CEL({words})%{end}",
            headers if known is None else known,
        )
    yield _json(which, title, f"{what}; {_LOG}{end}", headers)


def _details_contain(part: str) -> str:
    return f'response.code_details.contains("{part}")'


def _json(
    which: AccessLogFilter, title: str, message: str, headers: list[HeaderValueOption]
) -> ResponseMapper:
    body = error_body("%RESPONSE_CODE%", title, message)
    if "%CEL(" in message:
        body.formatters = [
            TypedExtensionConfig(name="envoy.formatter.cel", typed_config=Any.pack(Cel()))
        ]
    return ResponseMapper(filter=which, body_format_override=body, headers_to_add=headers)


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
