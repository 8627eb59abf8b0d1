"""The bootstrap of a site's Envoy: the template `envoy/bootstrap.yaml`, filled in.

The template is complete and explains itself. This module replaces what differs between sites.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from ipaddress import ip_address
from typing import Any

import yaml

from scopeway.control_plane.translator.node_identity import SiteIdentity, to_metadata
from scopeway.control_plane.translator.node_setup import CACHED
from scopeway.control_plane.translator.sds_files import control_plane_socket

UNIX = "unix"
"""In place of a host: the other half of the pair is the path of a socket, or `@` and a name in
Linux's abstract namespace."""

PRIVATE = 0o600
"""The mode of a unix socket for the admin interface; one without a file has none."""

PRESSURE_SCALE = 4
"""How many times the memory of an Envoy full pressure is, in the template: Envoy ends requests each
time that the pressure changes, so it must never come to full pressure."""

DNS_QUERY_SECONDS = 1
DNS_TRIES = 2
"""How long, and how often, each name server is asked for the control plane's host name."""

_CARES = "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
_LONGEST = 107
"""Bytes of a socket's name that Envoy takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """The mutual TLS between an Envoy and its control planes."""

    identity: SiteIdentity
    sds_folder: str
    """Where the Envoy finds the files of `identity.sds_files`."""
    trust_domain: str


def bootstrap(
    *,
    cloud: str,
    xds: Sequence[tuple[str, int]],
    admin: tuple[str, str | int],
    instance: str = "envoy",
    access_log: str = "/dev/stdout",
    channel: Channel | None = None,
    max_heap_size: int | None = None,
    collector: str = "",
    cache_validations: bool = False,
) -> dict[str, Any]:
    """Return the bootstrap as Envoy reads it.

    Args:
        cloud: The cloud that this Envoy stands in front of.
        xds: Host and port of each control plane; any of them will do. At least one.
        admin: Host and port, or `UNIX` and a path, of Envoy's own admin interface.
        instance: This Envoy's name among those of its cloud.
        access_log: The file that gets a line for each request, as this Envoy sees it.
        channel: How both sides of the channel to the control plane prove who they are; None: not at
            all, which a control plane takes on loopback only.
        collector: The folder of the sockets between this Envoy and its collector, as this Envoy
            sees it; "" for none.
        cache_validations: Whether the collector caches validations of tokens.
        max_heap_size: Bytes of memory that this Envoy is to take at most; None: as the template
            has it.
    """
    filled: dict[str, Any] = yaml.safe_load(template())
    node = filled["node"]
    node["id"], node["cluster"] = f"{cloud}/{instance}", cloud
    node["metadata"]["scopeway"]["access_log"] = access_log
    if collector:
        node["metadata"]["scopeway"]["collector"] = collector
        if cache_validations:
            node["metadata"]["scopeway"]["validations"] = CACHED
    (control_plane,) = filled["static_resources"]["clusters"]
    control_plane["type"] = "STATIC" if all(_is_ip(host) for host, _ in xds) else "STRICT_DNS"
    if control_plane["type"] == "STRICT_DNS":
        # Envoy's own figures: a machine that starts before its name server waits for up to 118 s
        control_plane["typed_dns_resolver_config"] = {
            "name": "envoy.network.dns_resolver.cares",
            "typed_config": {
                "@type": _CARES,
                "query_timeout_seconds": DNS_QUERY_SECONDS,
                "query_tries": DNS_TRIES,
            },
        }
    (locality,) = control_plane["load_assignment"]["endpoints"]
    locality["lb_endpoints"] = [
        {"endpoint": {"address": _socket(host, port)}} for host, port in xds
    ]
    if channel is not None:
        node["metadata"]["scopeway"]["identity"] = to_metadata(channel.identity)
        control_plane["transport_socket"] = control_plane_socket(
            channel.sds_folder, channel.trust_domain
        )
    filled["admin"]["address"] = _admin(*admin)
    if max_heap_size is not None:
        monitor = resource_monitor(filled, "fixed_heap")
        monitor["max_heap_size_bytes"] = max_heap_size * PRESSURE_SCALE
    return filled


def resource_monitor(filled: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the configuration of a resource monitor in a bootstrap, for changes."""
    monitors = filled["overload_manager"]["resource_monitors"]
    (found,) = (each for each in monitors if each["name"].endswith(f".{name}"))
    config: dict[str, Any] = found["typed_config"]
    return config


def admin_socket(cloud: str, instance: str) -> tuple[str, str]:
    """Return where an Envoy's own admin interface listens unless it is told otherwise.

    No address, so that nothing can be led there by one: no registry, no service's download. It
    needs no folder that the Envoy may write to.
    """
    return UNIX, f"@scopeway/{cloud}/{instance}"[:_LONGEST]


def render_bootstrap(filled: Mapping[str, Any]) -> str:
    """Return a bootstrap as YAML."""
    return yaml.safe_dump(filled, sort_keys=False, width=100)


def template() -> str:
    """Return the text of `envoy/bootstrap.yaml`, which the package has a link to."""
    folder = files("scopeway.control_plane.translator")
    return folder.joinpath("bootstrap.yaml").read_text(encoding="utf-8")


def _admin(host: str, port: str | int) -> dict[str, Any]:
    if host == UNIX:
        return {"pipe": {"path": port, **({} if str(port).startswith("@") else {"mode": PRIVATE})}}
    return _socket(host, int(port))


def _socket(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
