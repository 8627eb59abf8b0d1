"""The names that listeners, routes, clusters and Lua agree on (docs/architecture.md)."""

from typing import Final

FRONT: Final = "front"
PEER: Final = "peer"
DISPATCH: Final = "dispatch"
COLLECT: Final = "collect"
"""The listener on which a site's collector asks for one cloud of a fan-out."""
ERRORS: Final = "errors"

METADATA: Final = "scopeway"
"""The namespace of all metadata."""
UNLOGGED: Final = "unlogged"
"""The key of a request's metadata that keeps it out of a peer's access log."""
SITE: Final = "site"
"""The key of a listener's metadata under which its cloud's name stands."""

GATE_TYPE: Final = "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher"
"""A filter that is asked only where something matches."""
LUA_TYPE: Final = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"

TARGET: Final = "x-scopeway-target"
SERVICE: Final = "x-scopeway-service"
METHOD: Final = "x-scopeway-method"
"""At peers, what the policy takes for the method: the request's, or FORM (`clouds.policy`)."""
ORIGIN: Final = "x-scopeway-origin"
STATUS: Final = "x-scopeway-status"
REASON: Final = "x-scopeway-reason"
UNSENT: Final = "x-scopeway-unsent"
UNREACHABLE: Final = "x-scopeway-unreachable"
"""On a local reply of `dispatch` or a peer, "true": no connection to the service could be made. It
is the only evidence by which a cloud of several is ejected."""
SERVED_BY: Final = "x-scopeway-served-by"
OPERATOR: Final = "x-scopeway-operator"
MEMBERS: Final = "x-scopeway-members"
MISSING: Final = "x-scopeway-missing"
LISTS: Final = "x-scopeway-lists"
"""What the collector is told of a fan-out: the metadata of its cluster under the last word."""
FANOUT: Final = "x-scopeway-fanout"
"""On a request to one cloud of a fan-out: how many clouds are asked."""
REPORT: Final = "x-scopeway-report"
"""On the answer of a collector: which clouds have answered, and which have not."""
ANSWER: Final = "x-scopeway-answer"
"""Set by the front's Lua where the answer has to be edited; decides the route."""
ROUTE: Final = "x-scopeway-route"
"""Set by Lua on requests that need a route of their own: FANOUT_ROUTE or HTTP."""
FANOUT_ROUTE: Final = "fanout"
HTTP: Final = "http"
"""A request of a service with the protocol `http` for another cloud: the Lua has dropped every
header that may not leave the site."""
LIMIT: Final = "x-scopeway-limit"
"""Set by Lua on what a Keystone has to answer within a time: LOGIN or VALIDATION; decides the
route."""
LOGIN: Final = "login"
"""A request for a token, and the route of a front that bounds its body before the Lua reads it."""
VALIDATION: Final = "validation"
HONOURED: Final = "x-scopeway-honoured"
"""On the answer to a validation at another cloud, for the front's Lua alone: what counts of it."""
REJECTED: Final = "x-scopeway-rejected"
"""Is "true" on an answer that an Envoy of ours gave itself: its status and message are about the
scope. Where a service sent it, it is overwritten with the metadata `rejected` of the service's
cluster, which is "false"."""

UNRESOLVED: Final = "unresolved"
"""The key in a cluster's metadata of its host names, as an answer says them."""
DIALLED: Final = "dialled"
"""The key of host name and port, where a cluster has one endpoint and that is a host name."""

RBAC: Final = "rbac"
"""The filter of peers that enforces the policy, and the key of what it enforces in their routes."""

CLASSES: Final = "classes"
"""The filter before it, which notes in which class of callers a request's is; and the key of these
classes in their routes."""

CERTIFICATE: Final = "front"
"""The secret of a front: its certificate, for all of its ports."""
IDENTITY: Final = "identity"
"""The secret of an Envoy: the certificate that says at which cloud it stands (`identity`)."""
AUTHORITIES: Final = "authorities"
"""The secret of whom an Envoy believes such a certificate."""

ANSWERS: Final = "answers"
"""The Lua of a front that edits answers, beside the one for requests."""

UPGRADES: Final = "upgrades"
"""The Lua of a peer for answers to requests to upgrade, beside the one for requests."""

BUFFER: Final = "buffer"
"""The filter of fronts that reads the body of a login, and its key in the route LOGIN."""

LINKS: Final = "links"
"""The filter of all listeners that edits `Location`, and its configuration."""

SITE_NAME: Final = f"%METADATA(LISTENER:{METADATA}:{SITE})%"
"""What Envoy replaces by the name of the cloud it stands at."""


def front_of(service: str) -> str:
    """Return the name of the listener on which a front serves one service only."""
    return f"{FRONT}/{service}"


def lua(listener: str) -> str:
    """Return the name of a listener's Lua filter, which is also that of its configuration."""
    return f"lua/{listener}"
