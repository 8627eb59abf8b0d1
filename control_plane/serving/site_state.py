"""What the streams of one site share, and which sites are remembered that have none now.

An Envoy that comes back says which versions it has. While its site is remembered, whether they are
what it would get is a look into a table; otherwise all of it must be made anew to be compared.
Knows neither clouds nor how resources are made.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from scopeway.control_plane.translator.node_setup import Setup
from scopeway.xds.source import Node

UNKNOWN = ""
"""In the place of a version."""

Versions = Mapping[tuple[str, str], str]
"""Type URL and name to version."""


class StreamTargets(Protocol):
    """What a site needs of a stream's view."""

    node: Node
    targets: dict[str, str]
    """Those that it uses, to the version of the cluster now: UNKNOWN where it was not made since
    something changed, and where the target cannot be served."""
    negative: dict[str, None]
    """Targets that cannot be served."""
    withheld: dict[str, None]
    """The same, of which it was told nothing."""
    setup: Setup
    """In what its Envoy may differ from others of the site."""


@dataclass(slots=True)
class SiteState:
    """One site, with the streams of its Envoys; without any, it is remembered."""

    streams: list[StreamTargets] = field(default_factory=list)
    versions: dict[Setup, Versions] = field(default_factory=dict)
    """Of its listeners, routes, secrets and filters, by the setup of an Envoy."""
    left: dict[str, str] = field(default_factory=dict)
    """Targets of the stream that went last, to the versions of their clusters; those that another
    one has taken up since are not in it any more."""
    prefetched: dict[str, frozenset[str]] = field(default_factory=dict)
    """Cloud of the prefetch set to its targets for this site; none stands here without one."""
    earlier: bool = False
    """Whether one of its Envoys has come with a bootstrap of an earlier version (`Setup`)."""

    def of_node(self, node_id: str) -> int:
        """Return the number of streams of a node."""
        return sum(stream.node.id == node_id for stream in self.streams)

    def uses(self, target: str) -> bool:
        """Return whether one of its streams uses a target, or used it last."""
        return any(target in table for table in self.tables())

    def version(self, target: str) -> str:
        """Return the version of a target's cluster for this site, UNKNOWN where it isn't known."""
        versions = (table.get(target, UNKNOWN) for table in self.tables())
        return next(filter(None, versions), UNKNOWN)

    def outdate(self, targets: Iterable[str]) -> None:
        """Note that the clusters of some of its targets may have other versions now."""
        for target in targets:
            for table in self.tables():
                if target in table:
                    table[target] = UNKNOWN

    def track(self, stream: StreamTargets, target: str, version: str) -> None:
        """Note that a stream uses a target, whose cluster has that version."""
        stream.targets[target] = version
        if self.left.pop(target, None) is not None and not self.left:
            self.left = {}  # an emptied one keeps its room

    def remove(self, stream: StreamTargets) -> Collection[str]:
        """Take out a stream; return the targets that it used and maybe nobody uses any more.

        What the last one used is kept.
        """
        self.streams.remove(stream)
        if not self.streams:
            self.versions = {stream.setup: self.versions[stream.setup]}
            unused, self.left = self.left, stream.targets
            return unused
        if not self.has_setup(stream.setup):
            del self.versions[stream.setup]
        return stream.targets

    def has_setup(self, setup: Setup) -> bool:
        """Return whether the Envoy of some stream has that setup."""
        return any(stream.setup == setup for stream in self.streams)

    def rejected(self) -> Collection[str]:
        """Return the targets of its streams that cannot be served."""
        names: set[str] = set()
        for stream in self.streams:
            names.update(stream.negative, stream.withheld)
        return names

    def tables(self) -> Iterator[dict[str, str]]:
        """Yield the targets of each stream to their versions, and of the stream that went last."""
        yield self.left
        for stream in self.streams:
            yield stream.targets


def names_of(type_url: str, versions: Versions) -> set[str]:
    """Return the names of the resources of one type."""
    return {name for each, name in versions if each == type_url}


def changed_names(type_url: str, was: Versions, now: Versions) -> tuple[list[str], list[str]]:
    """Return the names of one type that have another version now, and those that came or went."""
    before, after = names_of(type_url, was), names_of(type_url, now)
    changed = [
        name for name in sorted(before & after) if was[type_url, name] != now[type_url, name]
    ]
    return changed, sorted(before ^ after)


class IdleSites:
    """The sites that are remembered, those that left first in front."""

    def __init__(self, *, sites: int, targets: int) -> None:
        """Remember at most so many sites, which used at most so many targets together."""
        self._sites = sites
        self._targets = targets
        self._left: dict[str, int] = {}
        """Name to the number of targets."""
        self._total = 0

    def add(self, site: str, targets: int) -> Iterator[str]:
        """Note that a site has no stream any more; yield the sites that are to be forgotten."""
        self._left[site] = targets
        self._total += targets
        while len(self._left) > self._sites or self._total > self._targets:
            first = next(iter(self._left))
            self.remove(first)
            yield first

    def remove(self, site: str) -> None:
        """Note that a site has a stream; harmless when it isn't here."""
        self._total -= self._left.pop(site, 0)
