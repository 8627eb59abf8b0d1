"""The listeners, routes, secrets and filters of sites, made when asked for and kept a while.

Owns what was made last. They are different at each site and together larger than all else that a
stream costs, so only those of the last sites are kept, and of sites that have just come. Knows
neither streams nor which clouds there are.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from control_plane.memo import Memo
from control_plane.site.setup import Setup
from xds.codec import resource
from xds.resource import Resource
from xds.types import EXTENSION, LISTENER, ROUTE, SECRET

SITE_TYPES: Final = (LISTENER, ROUTE, SECRET, EXTENSION)

SiteResources = Mapping[str, Mapping[str, bytes]]
"""Type URL to name to encoded message: listeners, routes, secrets and filters of one site."""

Key = tuple[str, Setup]
"""A cloud, and in what an Envoy of its site may differ from others."""

_Made = Mapping[str, Mapping[str, Resource]]
"""The same, encoded for streams."""

_MOST = 4 << 20
"""Bytes of the resources that are kept of the last sites; some 130 kB each, made in 0.4 ms."""

_MOST_FRESH = 64 << 20
"""The same of sites that have just come. One that doesn't fit is made again when it asks."""


class SiteMemo:
    """What each site's Envoys are sent besides clusters."""

    def __init__(self, make: Callable[[str, Setup], SiteResources]) -> None:
        """Keep what `make` makes of a cloud's name and a setup."""
        self._make = make
        self._made: Memo[Key, _Made] = Memo(_MOST, _size)
        self._fresh: Memo[Key, _Made] = Memo(_MOST_FRESH, _size)
        """Of sites that have just come, until they have asked for all of it."""

    def come(self, key: Key) -> Mapping[tuple[str, str], str]:
        """Make what a site needs that has come now; return its `versions`."""
        self._fresh.put(key, self._site(key))
        return self.versions(key)

    def versions(self, key: Key) -> Mapping[tuple[str, str], str]:
        """Return type URL and name to version: one table, and its keys the same at all sites."""
        return {
            _pair(type_url, name): each.version
            for type_url, resources in self._site(key).items()
            for name, each in resources.items()
        }

    def resource(self, key: Key, type_url: str, name: str) -> Resource | None:
        """Return one of a site's resources, made anew where it isn't one of the last sites."""
        made = self._site(key)
        if type_url == EXTENSION and key in self._fresh:
            self._fresh.pop(key)
            self._made.put(key, made)  # Envoy asks for these last
        return made.get(type_url, {}).get(name)

    def forget(self, key: Key) -> None:
        """Forget a site, because it has changed or gone."""
        self._made.pop(key)
        self._fresh.pop(key)

    def _site(self, key: Key) -> _Made:
        fresh = self._fresh.get(key)
        if fresh is not None:
            return fresh
        made = self._made.get(key)
        return self._made.put(key, self._make_anew(key)) if made is None else made

    def _make_anew(self, key: Key) -> _Made:
        made = self._make(*key)
        return {
            type_url: {
                name: resource(type_url, name, body)
                for name, body in made.get(type_url, {}).items()
            }
            for type_url in SITE_TYPES
        }


def _size(_: Key, made: _Made) -> int:
    return sum(each.body_size for resources in made.values() for each in resources.values())


@lru_cache(maxsize=256)
def _pair(type_url: str, name: str) -> tuple[str, str]:
    return type_url, name
