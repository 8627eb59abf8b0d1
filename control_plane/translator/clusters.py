"""Translates a plan into the bytes of an Envoy `Cluster`.

Appends the fields that vary to a template of `cluster_templates`: microseconds, and no message
objects. The numbers below are the field numbers of Envoy's API. A test compares the result with
what Envoy's types encode.
"""

from collections.abc import Sequence
from typing import assert_never

from scopeway.control_plane.clouds.model import Endpoint
from scopeway.control_plane.clouds.validators import is_ip
from scopeway.control_plane.planner.plan import (
    Direct,
    Fanout,
    Hop,
    IdentityMapping,
    Local,
    PeerHop,
    Plan,
    Rejection,
    Route,
    missing_text,
)
from scopeway.control_plane.translator import cluster_templates, tls
from scopeway.control_plane.translator.collector_sockets import collector_socket, validations_socket
from scopeway.control_plane.translator.names import DIALLED, DISPATCH, ERRORS, UNRESOLVED
from scopeway.control_plane.translator.proto_fields import metadata, socket_address
from scopeway.xds.encoding.protobuf import field_bytes, field_string, field_varint

MAX_REASON = 512
"""Characters of a reason; it travels as a header."""

# envoy.config.cluster.v3.Cluster
_NAME, _TRANSPORT_SOCKET, _METADATA, _LOAD_ASSIGNMENT = 1, 24, 25, 33
# envoy.config.endpoint.v3.ClusterLoadAssignment, LocalityLbEndpoints, LbEndpoint, Endpoint
_CLUSTER_NAME, _ENDPOINTS = 1, 2
_LB_ENDPOINTS, _PRIORITY = 2, 5
_ENDPOINT, _ENDPOINT_METADATA = 1, 3
_ADDRESS = 1
# envoy.config.core.v3.Address, EnvoyInternalAddress, Pipe
_INTERNAL_ADDRESS, _LISTENER_NAME, _ENDPOINT_ID = 3, 1, 2
_PIPE, _PIPE_PATH = 2, 1


def compile_cluster(name: str, plan: Plan, *, earlier: bool = False, collector: str = "") -> bytes:
    """Return the encoded `Cluster` that carries out a plan under that name.

    Args:
        name: The target name.
        plan: Its plan.
        earlier: Whether it is for an Envoy with listeners of an earlier version (`Setup`).
        collector: The folder of that Envoy's collector, for a fan-out and for a validation that
            the collector caches (`is_cached_validation`); "" for all others.
    """
    match plan:
        case Rejection():
            return _negative(name, plan)
        case Fanout():
            return _fanout(name, plan, collector)
        case Route(hops=hops) if collector and is_cached_validation(plan):
            return _validations(name, hops[0].cloud, collector)
        case Route(hops=hops, identity_mapping=mapping):
            if _is_of_clouds(name, plan):
                return _cluster_of_clouds(name, hops)
            return _one_cloud(name, hops[0], mapping, earlier=earlier)
        case _:
            assert_never(plan)


def preload() -> None:
    """Encode all templates, so that no request waits for them."""
    cluster_templates.one_name("any", 1)
    for waits in (False, True):
        cluster_templates.peer(waits=waits)
        for endpoints in range(1, cluster_templates.MAX_ENDPOINT_RETRIES + 2):
            cluster_templates.service(endpoints, waits=waits)
    cluster_templates.negative()
    cluster_templates.fanout()
    cluster_templates.cluster_of_clouds(2)


def transport_fields(hop: PeerHop) -> bytes:
    """Return the fields that a peer's `Cluster` has for its transport; none without TLS."""
    if not hop.identity:
        return b""
    return field_bytes(_TRANSPORT_SOCKET, tls.to_peer(hop.identity))


def header_value(text: str) -> str:
    """Return the text as a header can carry it: printable ASCII, bounded, anything else escaped."""
    printable = "".join(
        char if " " <= char <= "~" else char.encode("unicode_escape").decode() for char in text
    )
    return printable if len(printable) <= MAX_REASON else f"{printable[: MAX_REASON - 3]}..."


def is_cached_validation(plan: Plan) -> bool:
    """Return whether a collector that caches validations serves a plan: that of the own Keystone.

    Only the Lua of an Envoy with such a collector names this target.
    """
    if not isinstance(plan, Route) or plan.identity_mapping is None:
        return False
    return isinstance(plan.hops[0], Local)


def waits_for_names(name: str, plan: Plan, *, earlier: bool = False) -> bool:
    """Return whether a cluster warms up only when Envoy has the address of a host name."""
    if not isinstance(plan, Route) or _is_of_clouds(name, plan):
        return False
    endpoints = _endpoints(plan.hops[0])
    return bool(_host_names(endpoints)) and (earlier or len(endpoints) > 1)


def _is_of_clouds(name: str, route: Route) -> bool:
    # also what is left of several: `dispatch` knows that it is the site's own, the front doesn't,
    # and the front's retry headers, which are for several, would repeat a 404 here
    first, *others = route.hops
    expression = name.partition("@")[2]
    is_spread = "|" in expression or "[" in expression  # as `lua_filters/target.lua` has it
    return bool(others) or is_spread or (isinstance(first, Local) and expression != first.cloud)


def _endpoints(hop: Hop) -> tuple[Endpoint, ...]:
    if isinstance(hop, PeerHop):
        return (Endpoint(address=hop.address, port=hop.port),)
    return hop.service.endpoints


def _host_names(endpoints: Sequence[Endpoint]) -> list[str]:
    return sorted({each.address for each in endpoints if not is_ip(each.address)})


def _one_cloud(name: str, hop: Hop, mapping: IdentityMapping | None, *, earlier: bool) -> bytes:
    endpoints = _endpoints(hop)
    host_names = _host_names(endpoints)
    one_name = bool(host_names) and len(endpoints) == 1 and not earlier
    waits = bool(host_names) and not one_name
    match hop:
        case PeerHop(cloud=cloud, prefix=prefix):
            fields, host = cluster_templates.peer(waits=waits) + transport_fields(hop), ""
        case Local(cloud=cloud, service=service) | Direct(cloud=cloud, service=service):
            fields = cluster_templates.service(len(endpoints), waits=waits)
            prefix, host = service.path, service.host
        case _:
            assert_never(hop)
    locality = b"".join(
        field_bytes(_LB_ENDPOINTS, _lb_endpoint(socket_address(endpoint.address, endpoint.port)))
        for endpoint in endpoints
    )
    values = {"prefix": prefix, "host": host, "cloud": cloud}
    if host_names:  # for the answer where none of them can be resolved
        names = "host name" if len(host_names) == 1 else "host names"
        values[UNRESOLVED] = header_value(f"{names} {', '.join(host_names)}")
    if one_name:
        values[DIALLED] = f"{endpoints[0].address}:{endpoints[0].port}"
        fields += cluster_templates.one_name(endpoints[0].address, endpoints[0].port)
    if not isinstance(hop, PeerHop):
        values["rejected"] = "false"  # of what a service answers, whatever it claims
        values["places"] = " ".join(hop.link_origins)
    if mapping is not None:
        values["honoured"] = f"{mapping.namespace};{','.join(mapping.roles)}"
    assigned = b"" if one_name else field_bytes(_ENDPOINTS, locality)
    return _assemble(fields, name, assigned, metadata(values))


def _cluster_of_clouds(name: str, hops: Sequence[Hop]) -> bytes:
    service = name.partition("@")[0]
    localities = []
    for priority, hop in enumerate(hops):
        target = f"{service}@{hop.cloud}"
        endpoint = field_bytes(
            _LB_ENDPOINTS,
            _lb_endpoint(_internal(DISPATCH, target))
            + field_bytes(_ENDPOINT_METADATA, metadata({"target": target})),
        )
        if priority:
            endpoint += field_varint(_PRIORITY, priority)
        localities.append(field_bytes(_ENDPOINTS, endpoint))
    fields = cluster_templates.cluster_of_clouds(len(hops))
    return _assemble(fields, name, b"".join(localities), metadata({"prefix": "", "host": ""}))


def _validations(name: str, cloud: str, collector: str) -> bytes:
    said = metadata({"prefix": "", "host": "", "cloud": cloud})
    endpoint = _socket_endpoint(validations_socket(collector))
    return _assemble(cluster_templates.fanout(), name, endpoint, said)


def _socket_endpoint(path: str) -> bytes:
    pipe = field_bytes(_PIPE, field_string(_PIPE_PATH, path))
    return field_bytes(_ENDPOINTS, field_bytes(_LB_ENDPOINTS, _lb_endpoint(pipe)))


def _fanout(name: str, plan: Fanout, collector: str) -> bytes:
    told = metadata(
        {
            "prefix": "",
            "host": "",
            "operator": plan.operator,
            "members": ",".join(plan.members),
            "missing": missing_text(plan.missing),
            "lists": plan.lists,
        }
    )
    endpoint = _socket_endpoint(collector_socket(collector))
    return _assemble(cluster_templates.fanout(), name, endpoint, told)


def _negative(name: str, rejection: Rejection) -> bytes:
    endpoint = field_bytes(_LB_ENDPOINTS, _lb_endpoint(_internal(ERRORS)))
    said = metadata(
        {
            "prefix": "",
            "host": "",
            "status": str(rejection.status),
            "reason": header_value(rejection.reason),
        }
    )
    return _assemble(cluster_templates.negative(), name, field_bytes(_ENDPOINTS, endpoint), said)


def _assemble(fields: bytes, name: str, endpoints: bytes, metadata: bytes) -> bytes:
    if endpoints:
        assignment = field_string(_CLUSTER_NAME, name) + endpoints
        fields += field_bytes(_LOAD_ASSIGNMENT, assignment)
    return field_string(_NAME, name) + fields + field_bytes(_METADATA, metadata)


def _lb_endpoint(address: bytes) -> bytes:
    return field_bytes(_ENDPOINT, field_bytes(_ADDRESS, address))


def _internal(listener: str, identifier: str = "") -> bytes:
    fields = field_string(_LISTENER_NAME, listener)
    if identifier:
        fields += field_string(_ENDPOINT_ID, identifier)
    return field_bytes(_INTERNAL_ADDRESS, fields)
