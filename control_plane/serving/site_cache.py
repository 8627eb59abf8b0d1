"""A cache of the listeners, routes, secrets and filters of sites.

They differ at each site and are larger than all else that a stream costs. So the cache holds only
those of the sites that asked last, and of sites that have just connected. Knows neither streams nor
which clouds there are.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final
from weakref import WeakValueDictionary

from scopeway.control_plane.collections.byte_cache import ByteBoundedCache
from scopeway.control_plane.serving.node_context import SiteKey
from scopeway.control_plane.translator.node_setup import Setup
from scopeway.xds.encoding.messages import resource
from scopeway.xds.resource import Resource
from scopeway.xds.steps import Steps, finish
from scopeway.xds.type_urls import EXTENSION, LISTENER, ROUTE, SECRET

SITE_TYPES: Final = (LISTENER, ROUTE, SECRET, EXTENSION)

SiteResources = Iterable[tuple[str, str, bytes]]
"""Type URL, name and encoded message of the listeners, routes, secrets and filters of one site; an
iterator, so that each is made in a step of its own."""

EncodedResources = Mapping[str, Mapping[str, Resource]]
"""Type URL to name to resource."""

_MOST = 4 << 20
"""Bytes for the sites that asked last; some 130 kB each, made in 0.4 ms."""

_MOST_FRESH = 64 << 20
"""Bytes for sites that have just connected. What does not fit is made again when they ask."""


class SiteCache:
    """What the Envoys of each site are sent besides clusters."""

    def __init__(self, make: Callable[[str, Setup], SiteResources]) -> None:
        """Keep what `make` makes of a cloud's name and a setup."""
        self._make = make
        self._made: ByteBoundedCache[SiteKey, EncodedResources] = ByteBoundedCache(_MOST, _size)
        self._fresh: ByteBoundedCache[SiteKey, EncodedResources] = ByteBoundedCache(
            _MOST_FRESH, _size
        )
        """Of sites that have just connected, until they have asked for everything."""
        self._in_use: WeakValueDictionary[tuple[str, str, str, str], Resource] = (
            WeakValueDictionary()
        )
        """Of a cloud, a type, a name and a version. The Lua of a site, up to 16 MB, is the same for
        all its Envoys, and many streams may come at once."""

    def __contains__(self, key: SiteKey) -> bool:
        return key in self._fresh or key in self._made

    def make(self, key: SiteKey) -> Steps[EncodedResources]:
        """Make what a site needs, in steps, for `put` if its cloud has not changed meanwhile."""
        made: dict[str, dict[str, Resource]] = {type_url: {} for type_url in SITE_TYPES}
        for type_url, name, body in self._make(*key):
            new = resource(type_url, name, body)
            made[type_url][name] = self._in_use.setdefault(
                (key[0], type_url, name, new.version), new
            )
            yield
        return made

    def put(self, key: SiteKey, made: EncodedResources) -> None:
        """Keep what was made for a site."""
        self._made.put(key, made)

    def add(self, key: SiteKey) -> Mapping[tuple[str, str], str]:
        """Keep what a site needs that has just connected; return its `versions`."""
        self._fresh.put(key, self._site(key))
        return self.versions(key)

    def versions(self, key: SiteKey) -> Mapping[tuple[str, str], str]:
        """Return type URL and name to version: one table, and its keys the same at all sites."""
        return {
            _pair(type_url, name): each.version
            for type_url, resources in self._site(key).items()
            for name, each in resources.items()
        }

    def resource(self, key: SiteKey, type_url: str, name: str) -> Resource | None:
        """Return one of a site's resources; makes them if they are not kept."""
        made = self._site(key)
        if type_url == EXTENSION and key in self._fresh:
            self._fresh.pop(key)
            self._made.put(key, made)  # Envoy asks for these last
        return made.get(type_url, {}).get(name)

    def forget(self, key: SiteKey) -> None:
        """Forget a site, because it has changed or gone."""
        self._made.pop(key)
        self._fresh.pop(key)

    def clear(self) -> None:
        """Forget all sites, because what they have in common has changed."""
        self._made.clear()
        self._fresh.clear()

    def _site(self, key: SiteKey) -> EncodedResources:
        fresh = self._fresh.get(key)
        if fresh is not None:
            return fresh
        made = self._made.get(key)
        return self._made.put(key, finish(self.make(key))) if made is None else made


def _size(_: SiteKey, made: EncodedResources) -> int:
    return sum(each.body_size for resources in made.values() for each in resources.values())


@lru_cache(maxsize=256)
def _pair(type_url: str, name: str) -> tuple[str, str]:
    return type_url, name
