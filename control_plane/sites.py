"""What the streams of one site share, and which sites are remembered that have none now.

An Envoy that comes back says which versions it has. While its site is remembered, whether they are
what it would get is a look into a table; otherwise all of it must be made anew to be compared.
Knows neither clouds nor how resources are made.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from xds.source import Node

UNKNOWN = ""
"""In the place of a version."""


class Stream(Protocol):
    """What a site needs of a stream's view."""

    node: Node
    targets: set[str]
    """Those that it uses."""
    access_log: str
    """The path of its Envoy's access log, the one thing in which a site's Envoys may differ."""


@dataclass(slots=True)
class Site:
    """One site, with the streams of its Envoys; without any, it is remembered."""

    streams: set[Stream] = field(default_factory=set)
    versions: dict[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    """Type URL to name to version of its listeners, routes, secrets and filters, by the path of
    an Envoy's access log."""
    clusters: dict[str, str] = field(default_factory=dict)
    """The targets that its streams use, or used, to the version of the cluster now: UNKNOWN where
    it was not made since something changed, and where the target cannot be served."""
    prefetched: dict[str, frozenset[str]] = field(default_factory=dict)
    """Cloud of the prefetch set to its targets for this site; none stands here without one."""

    def of_node(self, node_id: str) -> int:
        """Return the number of streams of a node."""
        return sum(stream.node.id == node_id for stream in self.streams)

    def leave(self, stream: Stream) -> Collection[str]:
        """Take out a stream; return the targets that nobody uses any more.

        What the last one used is kept.
        """
        self.streams.discard(stream)
        if not self.streams:
            self.versions = {stream.access_log: self.versions[stream.access_log]}
            unused = self.clusters.keys() - stream.targets
        else:
            if not self.has_access_log(stream.access_log):
                del self.versions[stream.access_log]
            unused = stream.targets.difference(*(each.targets for each in self.streams))
        for name in unused:
            del self.clusters[name]
        return unused

    def has_access_log(self, path: str) -> bool:
        """Return whether the Envoy of some stream has that path."""
        return any(stream.access_log == path for stream in self.streams)


class Away:
    """The sites that are remembered, those that left first in front."""

    def __init__(self, *, sites: int, targets: int) -> None:
        """Remember at most so many sites, which used at most so many targets together."""
        self._sites = sites
        self._targets = targets
        self._left: dict[str, int] = {}
        """Name to the number of targets."""
        self._total = 0

    def leave(self, site: str, targets: int) -> Iterator[str]:
        """Note that a site has no stream any more; yield the sites that are to be forgotten."""
        self._left[site] = targets
        self._total += targets
        while len(self._left) > self._sites or self._total > self._targets:
            first = next(iter(self._left))
            self.come(first)
            yield first

    def come(self, site: str) -> None:
        """Note that a site has a stream; harmless when it isn't here."""
        self._total -= self._left.pop(site, 0)
