"""The state of the connected and remembered sites, and of their streams.

An Envoy that reconnects reports which versions it has. While its site is remembered, the comparison
is a look-up; otherwise all resources must be made again to compare them. Knows neither clouds nor
how resources are made.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.serving.node_context import NodeContext
from scopeway.control_plane.translator.node_setup import Setup

UNKNOWN = ""
"""In the place of a version."""

Versions = Mapping[tuple[str, str], str]
"""Type URL and name to version."""


@dataclass(slots=True, eq=False)
class StreamState:
    """One stream, and the targets that its Envoy uses."""

    node: NodeContext
    targets: dict[str, str] = field(default_factory=dict)
    """Target to the version of its cluster: UNKNOWN if the cluster was not made since something
    changed, and if the target cannot be served. A connected Envoy gives up none."""
    # dicts, as empty ones take a third of the room of sets
    negative: dict[str, None] = field(default_factory=dict)
    """Targets that could not be served when they were last compiled."""
    withheld: dict[str, None] = field(default_factory=dict)
    """Targets that cannot be served either, and are above the limit of `negative`: the Envoy got no
    answer for them."""
    warned: bool = False
    """Whether the log has the line that a limit was reached."""


@dataclass(slots=True)
class SiteState:
    """One site, with the streams of its Envoys. A site without streams is remembered."""

    streams: list[StreamState] = field(default_factory=list)
    versions: dict[Setup, Versions] = field(default_factory=dict)
    """Of its listeners, routes, secrets and filters, by the setup of an Envoy."""
    left: dict[str, str] = field(default_factory=dict)
    """Targets of the stream that ended last, to the versions of their clusters; without those that
    another stream has used since."""
    prefetched: dict[str, frozenset[str]] = field(default_factory=dict)
    """Cloud of the prefetch set to its targets for this site; only clouds that have a target."""
    earlier: bool = False
    """Whether one of its Envoys has come with a bootstrap of an earlier version (`Setup`)."""

    def streams_of(self, node_id: str) -> int:
        """Return the number of streams of a node."""
        return sum(stream.node.node_id == node_id for stream in self.streams)

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

    def track(self, stream: StreamState, target: str, version: str) -> None:
        """Note that a stream uses a target, whose cluster has that version."""
        stream.targets[target] = version
        if self.left.pop(target, None) is not None and not self.left:
            self.left = {}  # an emptied one keeps its room

    def remove(self, stream: StreamState) -> Collection[str]:
        """Remove a stream; return targets that it used, which no stream may use any more.

        The targets of the last stream are kept in `left`.
        """
        self.streams.remove(stream)
        if not self.streams:
            self.versions = {stream.node.setup: self.versions[stream.node.setup]}
            unused, self.left = self.left, stream.targets
            return unused
        if not self.has_setup(stream.node.setup):
            del self.versions[stream.node.setup]
        return stream.targets

    def has_setup(self, setup: Setup) -> bool:
        """Return whether the Envoy of some stream has that setup."""
        return any(stream.node.setup == setup for stream in self.streams)

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


@dataclass(slots=True, kw_only=True)
class Fleet:
    """What all parts of the source share: the clouds, and the sites that use them."""

    inventory: Inventory
    """The clouds as of the last batch."""
    sites: dict[str, SiteState] = field(default_factory=dict)
    """The sites that have a stream, or are remembered, by name."""


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
    """The sites without streams that are remembered, the longest idle first."""

    def __init__(self, *, sites: int, targets: int) -> None:
        """Remember at most so many sites, which used at most so many targets together."""
        self._sites = sites
        self._targets = targets
        self._left: dict[str, int] = {}
        """Name to the number of targets."""
        self._total = 0

    def add(self, site: str, targets: int) -> Iterator[str]:
        """Note that a site has no stream any more; yield the sites to forget."""
        self._left[site] = targets
        self._total += targets
        while len(self._left) > self._sites or self._total > self._targets:
            first = next(iter(self._left))
            self.remove(first)
            yield first

    def remove(self, site: str) -> None:
        """Note that a site has a stream; no effect if it was not idle."""
        self._total -= self._left.pop(site, 0)
