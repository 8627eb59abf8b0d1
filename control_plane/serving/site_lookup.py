"""The listeners, routes, secrets and filters of sites: made from their clouds, and made again.

They depend on the site's own cloud and on the declared service types. Owns when they are made. The
routes of a site's peer depend on other clouds, too: `policy_index`.
"""

import logging
from collections.abc import Callable, Collection
from operator import is_
from typing import Final

from scopeway.control_plane.clouds.declared_types import DeclaredTypes
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.serving.node_context import SiteKey
from scopeway.control_plane.serving.site_cache import SiteCache, SiteResources
from scopeway.control_plane.serving.site_state import Fleet, Versions, names_of
from scopeway.control_plane.translator.node_setup import Setup
from scopeway.xds.errors import ProtocolError
from scopeway.xds.resource import Resource
from scopeway.xds.steps import Steps

_log = logging.getLogger(__name__)

ATTEMPTS: Final = 5
"""Attempts to make the listeners of a site whose cloud changes meanwhile."""

MakeSite = Callable[[Cloud, Setup, DeclaredTypes], SiteResources]
"""Makes the listeners, routes and filters of a cloud's site, for an Envoy with that setup."""


class SiteLookup:
    """What the Envoys of each site need besides clusters."""

    def __init__(self, fleet: Fleet, make_site: MakeSite) -> None:
        """See `ScopewaySource`."""
        self._fleet = fleet
        self._make_site = make_site
        self._cache = SiteCache(self._make)

    def attach(self, key: SiteKey) -> Versions:
        """Return the versions of what an Envoy needs that connects now, and keep that."""
        state = self._fleet.sites.get(key[0])
        known = None if state is None else state.versions.get(key[1])
        return self._cache.add(key) if known is None else known

    def resource(self, key: SiteKey, type_url: str, name: str) -> Resource | None:
        """Return one of the resources of a site."""
        return self._cache.resource(key, type_url, name)

    def is_current(self, key: SiteKey, type_url: str, name: str, version: str) -> bool:
        """Return whether a resource of a site has that version."""
        return self._versions(key).get((type_url, name)) == version

    def names(self, key: SiteKey, type_url: str) -> Collection[str]:
        """Return the names of the resources of one type."""
        return names_of(type_url, self._versions(key))

    def forget(self, key: SiteKey) -> None:
        """Forget what was made for a site."""
        self._cache.forget(key)

    def forget_all(self) -> None:
        """Forget what was made for all sites."""
        self._cache.clear()

    def prepare(self, key: SiteKey) -> Steps[None]:
        """Make what the Envoys of a site need, in steps, if it is not kept.

        Raises:
            ProtocolError: its cloud has changed each time before all was made.
        """
        for _ in range(ATTEMPTS):
            if key in self._cache:
                return
            before = self._read(key[0])
            made = yield from self._cache.make(key)
            if all(map(is_, self._read(key[0]), before)):
                self._cache.put(key, made)
                return
        raise ProtocolError(
            f"cloud {key[0]} changes so often that its listeners cannot be made",
            status="UNAVAILABLE",
        )

    def make_again(self, site: str) -> Steps[list[tuple[Versions, Versions]]]:
        """Make what a site needs after its cloud has changed; return old and new versions.

        One pair for each setup. Streams and their setups may come and go meanwhile.
        """
        before, pairs = dict(self._fleet.sites[site].versions), []
        for setup in before:
            self._cache.forget((site, setup))
        try:
            for setup, was in before.items():
                yield from self.prepare((site, setup))
                now = self._cache.versions((site, setup))
                state = self._fleet.sites.get(site)
                if state is not None and setup in state.versions:
                    state.versions[setup] = now
                    pairs.append((was, now))
        except Exception:  # its Envoys keep what they have, and other sites must not miss anything
            _log.exception(
                "making the listeners of a site failed, its Envoys keep the previous ones",
                extra={"cloud": site},
            )
        return pairs

    def _versions(self, key: SiteKey) -> Versions:
        return self._fleet.sites[key[0]].versions[key[1]]

    def _make(self, site: str, setup: Setup) -> SiteResources:
        cloud, types = self._read(site)
        return () if cloud is None else self._make_site(cloud, setup, types)

    def _read(self, site: str) -> tuple[Cloud | None, DeclaredTypes]:
        """Return what the resources of a site are made from."""
        return self._fleet.inventory.get(site), self._fleet.inventory.declared
