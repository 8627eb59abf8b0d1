"""Translates a cloud into the resources of its site: listeners, routes, secrets and filters.

Clusters, and the routes of the peer, depend on other clouds and are made elsewhere.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from scopeway.control_plane.clouds.declared_types import NO_TYPES, DeclaredTypes
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud, Front, Peer
from scopeway.control_plane.clouds.policy import Policy
from scopeway.control_plane.translator import names, route_templates, tls
from scopeway.control_plane.translator.listener_addresses import PeerTransport
from scopeway.control_plane.translator.listeners import listeners
from scopeway.control_plane.translator.lua import lua_filters
from scopeway.control_plane.translator.node_setup import DEFAULT_SETUP, Setup
from scopeway.control_plane.translator.routes import collect_routes, front_routes, peer_routes
from scopeway.control_plane.translator.secrets import front_secrets
from scopeway.xds.type_urls import EXTENSION, LISTENER, ROUTE, SECRET

DEFAULT_ACCESS_LOG: Final = "/dev/stdout"


def site_resources(
    cloud: Cloud,
    setup: Setup = DEFAULT_SETUP,
    *,
    insecure_peers: bool = False,
    trust_domain: str | None = None,
    types: DeclaredTypes = NO_TYPES,
) -> Mapping[str, Mapping[str, bytes]]:
    """Return type URL to name to encoded message: what a site's Envoy needs.

    But clusters, and the routes of its peer (`peer_routes`), which depend on other clouds.

    Args:
        cloud: Whose site it is.
        setup: In what its Envoy may differ from other Envoys.
        insecure_peers: True lets a peer listen beyond loopback, though it speaks without TLS.
        trust_domain: Of the certificates of peers; None: they speak without TLS.
        types: The service types that are declared besides the built-in ones.
    """
    made: dict[str, dict[str, bytes]] = {LISTENER: {}, ROUTE: {}, SECRET: {}, EXTENSION: {}}
    for type_url, name, body in each_site_resource(
        cloud,
        setup,
        insecure_peers=insecure_peers,
        trust_domain=trust_domain,
        types=types,
    ):
        made[type_url][name] = body
    return made


def each_site_resource(
    cloud: Cloud,
    setup: Setup = DEFAULT_SETUP,
    *,
    insecure_peers: bool = False,
    trust_domain: str | None = None,
    types: DeclaredTypes = NO_TYPES,
) -> Iterator[tuple[str, str, bytes]]:
    """Yield type URL, name and encoded message of what `site_resources` returns, one by one.

    Each takes a millisecond at most, all of the largest site 20.
    """
    log = setup.access_log or DEFAULT_ACCESS_LOG
    # the front asks for fan-outs, the peer for validations
    if cloud.front is None and not setup.caches_validations:
        setup = replace(setup, collector="")
    collector = setup.collector
    peers = PeerTransport(insecure=insecure_peers, trust_domain=trust_domain)
    for type_url, made in (
        (LISTENER, listeners(cloud, log, peers, setup.earlier, collector)),
        (ROUTE, front_routes(cloud, peers)),
        (ROUTE, iter([collect_routes(cloud)] if collector else [])),
        (SECRET, iter(front_secrets(cloud).items())),
        (EXTENSION, lua_filters(cloud, peers, setup, types)),
    ):
        for name, body in made:
            yield type_url, name, body


def preload(*, trust_domain: str | None = None) -> None:
    """Build what all sites share, so that no Envoy waits half a second for it.

    Args:
        trust_domain: Of the certificates of peers; None: they speak without TLS.
    """
    front, peer = Front(address="127.0.0.1", port=1), Peer(address="127.0.0.1", port=2)
    any_cloud = Cloud(name="any", front=front, peer=peer)
    site_resources(any_cloud, Setup(collector="/any"), trust_domain=trust_domain)
    for behind_tls in (False, True):
        for listener in (names.FRONT, names.front_of("image")):
            route_templates.front(listener, behind_tls=behind_tls)
    tls.front()
    tls.to_peer("any")
    peer_routes(Policy(rules=(), audit=False), Inventory(), trust_domain=trust_domain)
