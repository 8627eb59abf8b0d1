"""A source of snapshots: all that a node or a group of nodes has, replaced at once.

Owns the snapshots and tells its notifier what differs between two of them. As the `SnapshotCache`
of go-control-plane, but versions come from the resources themselves.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from scopeway.xds.arguments import check_names, close_unawaited, described
from scopeway.xds.cache.consistency import problems_of
from scopeway.xds.encoding.packing import as_resource, check_type_url, short
from scopeway.xds.errors import InconsistentSnapshot
from scopeway.xds.notifier import ChangeNotifier
from scopeway.xds.resource import Resource
from scopeway.xds.source import PENDING, Node, Pending
from scopeway.xds.text import shown
from scopeway.xds.type_urls import SEND_ORDER

_NOTHING: Final[Mapping[str, Resource]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All resources of one key; immutable."""

    _by_type: Mapping[str, Mapping[str, Resource]]

    def resources(self, type_url: str) -> Mapping[str, Resource]:
        """Return the resources of a type, by name."""
        return self._by_type.get(type_url, _NOTHING)

    def type_urls(self) -> Collection[str]:
        """Return the types of which it has a resource."""
        return self._by_type.keys()

    def problems(
        self, static_clusters: Collection[str] = (), type_urls: Collection[str] = SEND_ORDER
    ) -> list[str]:
        """Return what it refers to and does not have, a sentence each; [] if it is consistent.

        See `SnapshotCache` and `SnapshotCache.set`.
        """
        return problems_of(self.resources, frozenset(static_clusters), type_urls)


def node_id(node: Node) -> str:
    """Return the id of a node: the key under which its snapshot is, unless you say otherwise."""
    return node.id


class SnapshotCache:
    """A source that serves each node the snapshot of its key.

    A node whose key has no snapshot waits: it is sent nothing until there is one. A change goes to
    the nodes of its key only, in the order of `SEND_ORDER`; on delta, clusters are removed when all
    else has been sent and accepted (make before break).

    To be used on the server's event loop. From another thread:
    `loop.call_soon_threadsafe(cache.set, key, *resources)`.

    Args:
        group: From a node, the key of its snapshot, such as `lambda node: node.cluster`. Several
            nodes may have one key. It is called once a stream, and may raise `ProtocolError` to
            refuse the node.
        type_urls: The types that it may hold.
        static_clusters: Clusters that the nodes have from elsewhere, such as from their bootstrap:
            to refer to them is consistent.
    """

    def __init__(
        self,
        *,
        group: Callable[[Node], str] = node_id,
        type_urls: Collection[str] = SEND_ORDER,
        static_clusters: Collection[str] = (),
    ) -> None:
        check_names(type_urls, "type_urls")
        check_names(static_clusters, "static_clusters")
        if not callable(group):
            raise TypeError(f"group must be a function of a Node, not {described(group)}")
        self.notifier = ChangeNotifier(by_name=False)
        """Tells the streams; `serve` takes it from here."""
        self._group = group
        self._type_urls = tuple(type_urls)
        for type_url in self._type_urls:
            check_type_url(type_url)
        self._static_clusters = frozenset(static_clusters)
        self._snapshots: dict[str, Snapshot] = {}

    # for the owner of the resources

    def set(self, key: str, *resources: Any, check: bool = True) -> None:
        """Replace the snapshot of a key, all at once; tell its nodes what differs.

        If anything is wrong, the snapshot stays as it was. Encoding 10,000 messages takes seconds:
        do it in a thread (`resource_from_message`) and pass what it returns.

        Args:
            key: The id of a node, or what `group` returns.
            resources: All that the nodes of the key have from now on: messages of Google's protobuf
                or of betterproto2, or a `Resource`, which `resource_from_message` and
                `resource_from_bytes` make.
            check: Whether the snapshot must be consistent: each cluster that a route or a listener
                names is in it, each RDS name of a listener, and of each cluster filled by EDS
                the endpoints; and no endpoints without their cluster. Types that the cache may not
                hold are not missed: the nodes have them from elsewhere.

        Raises:
            TypeError: something is no resource, or the key is no string.
            ValueError: a type or a name cannot be used, or two resources have one name.
            InconsistentSnapshot: it is not consistent; the error lists all problems.
        """
        if not isinstance(key, str):
            raise TypeError(f"the key of a snapshot must be a string, not {described(key)}")
        snapshot = self._made(key, resources)
        problems = snapshot.problems(self._static_clusters, self._type_urls) if check else ()
        if problems:
            raise InconsistentSnapshot(key, problems)
        before = self._snapshots.get(key)
        self._snapshots[key] = snapshot
        if before is None:
            self.notifier.everything_changed(key)
        else:
            self._tell(key, before, snapshot)

    def get(self, key: str) -> Snapshot | None:
        """Return the snapshot of a key; None: it has none."""
        return self._snapshots.get(key)

    def clear(self, key: str) -> None:
        """Forget the snapshot of a key; harmless if it has none.

        Its nodes keep what they have, and new ones wait. To remove their resources instead, set an
        empty snapshot: `set(key)`.
        """
        self._snapshots.pop(key, None)

    def keys(self) -> Collection[str]:
        """Return the keys that have a snapshot; a copy."""
        return tuple(self._snapshots)

    # for the server: `xds.source.Source`

    def type_urls(self) -> Collection[str]:
        """Return the types that it may hold."""
        return self._type_urls

    def attach(self, node: Node) -> "_View":
        """Return what a node sees."""
        key = self._group(node)
        if not isinstance(key, str):
            close_unawaited(key)
            raise TypeError(
                f"the group function of the SnapshotCache returned {described(key)} for the node "
                f"{shown(node.id)!r}: it must return a string"
            )
        return _View(self, key)

    def _made(self, key: str, resources: tuple[Any, ...]) -> Snapshot:
        by_type: dict[str, dict[str, Resource]] = {}
        for position, found in enumerate(resources, 1):
            place = f"resource {position} of the snapshot {shown(key)!r}"
            resource = _taken(found, place)
            if resource.type_url not in self._type_urls:
                raise ValueError(
                    f"{place}: {short(resource.type_url)} is no type of this cache: pass "
                    f"type_urls=[*SEND_ORDER, {shown(resource.type_url)!r}] to SnapshotCache"
                )
            its_type = by_type.setdefault(resource.type_url, {})
            if resource.name in its_type:
                raise ValueError(
                    f"{place}: there are two of {short(resource.type_url)} {shown(resource.name)!r}"
                )
            its_type[resource.name] = resource
        return Snapshot(by_type)

    def _tell(self, key: str, before: Snapshot, after: Snapshot) -> None:
        for type_url in self._type_urls:
            old, new = before.resources(type_url), after.resources(type_url)
            names = old.keys() | new.keys()
            changed = [each for each in names if _version(old, each) != _version(new, each)]
            if changed:
                self.notifier.resources_changed(type_url, changed, key)
            if old.keys() != new.keys():
                self.notifier.wildcard_changed(type_url, key)


class _View:
    """What the nodes of one key see."""

    __slots__ = ("_cache", "group")

    def __init__(self, cache: SnapshotCache, key: str) -> None:
        self._cache = cache
        self.group = key

    def resource(self, type_url: str, name: str) -> Resource | Pending | None:
        snapshot = self._cache.get(self.group)
        return PENDING if snapshot is None else snapshot.resources(type_url).get(name)

    def wildcard(self, type_url: str) -> Collection[str] | Pending:
        snapshot = self._cache.get(self.group)
        return PENDING if snapshot is None else snapshot.resources(type_url).keys()

    def close(self) -> None:
        pass


def _taken(found: Any, place: str) -> Resource:
    if isinstance(found, list | tuple | set | frozenset):
        raise TypeError(
            f"{place} is {described(found)}: pass its members one by one, set(key, *resources)"
        )
    try:
        return as_resource(found)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{place}: {error}") from None


def _version(resources: Mapping[str, Resource], name: str) -> str | None:
    resource = resources.get(name)
    return None if resource is None else resource.version
