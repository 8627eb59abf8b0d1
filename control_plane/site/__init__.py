"""What a site's Envoy is besides its clusters: listeners, routes, filters, and the bootstrap.

Pure: a cloud's manifest in, encoded messages out. Must not know which other clouds exist, so
nothing of this changes when clouds come or go. docs/envoy.md says what Envoy makes of it.
"""

from control_plane.site.resources import filters, listeners, routes, site_resources, warm

__all__ = ["filters", "listeners", "routes", "site_resources", "warm"]
