"""What a site's Envoy is besides its clusters: listeners, routes, filters, and the bootstrap.

Pure: a cloud's manifest in, encoded messages out. Must not know which other clouds exist, so
nothing of this changes when clouds come or go; but the routes of a peer, whose policy names the
clouds that bear the labels it speaks of. docs/envoy.md says what Envoy makes of it.
"""

from scopeway.control_plane.site.resources import (
    PeerRoutes,
    each_site_resource,
    peer_routes,
    peer_routes_steps,
    site_resources,
    warm,
)

__all__ = [
    "PeerRoutes",
    "each_site_resource",
    "peer_routes",
    "peer_routes_steps",
    "site_resources",
    "warm",
]
