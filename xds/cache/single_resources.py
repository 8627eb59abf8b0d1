"""A source of single resources, which all nodes see; for what clients ask for by name.

As the `LinearCache` of go-control-plane, for any number of types.
"""

from collections.abc import Collection, Iterable
from typing import Any, Final

from scopeway.xds.arguments import check_names
from scopeway.xds.encoding.packing import as_resource, check_name, check_type_url, short
from scopeway.xds.notifier import ChangeNotifier
from scopeway.xds.resource import Resource
from scopeway.xds.source import Node
from scopeway.xds.text import shown
from scopeway.xds.type_urls import SEND_ORDER

_ALL: Final = "all"
"""The group of every node."""


class ResourceCache:
    """A source whose resources come and go one by one; every node sees the same.

    A client is sent what it asks for by name, and with a wildcard all resources of the type. To be
    used on the server's event loop. From another thread:
    `loop.call_soon_threadsafe(cache.set, resource)`.

    Args:
        type_urls: The types that it may hold.
    """

    group = _ALL
    """All nodes are one group."""

    def __init__(self, *, type_urls: Collection[str] = SEND_ORDER) -> None:
        check_names(type_urls, "type_urls")
        self.notifier = ChangeNotifier()
        """Tells the streams; `serve` takes it from here."""
        self._resources: dict[str, dict[str, Resource]] = {each: {} for each in type_urls}
        for type_url in self._resources:
            check_type_url(type_url)

    # for the owner of the resources

    def set(self, *resources: Any) -> None:
        """Add or replace resources, all at once; tell the nodes that want them.

        Args:
            resources: Messages of Google's protobuf or of betterproto2, or a `Resource`, which
                `resource_from_message` and `resource_from_bytes` make.

        Raises:
            TypeError: something is no resource; then nothing is taken.
            ValueError: a type or a name cannot be used; then nothing is taken.
        """
        taken = [as_resource(each) for each in resources]
        for resource in taken:
            self._check_type(resource.type_url)
        changed: dict[str, list[str]] = {}
        came = set()
        for resource in taken:
            its_type = self._resources[resource.type_url]
            before = its_type.get(resource.name)
            its_type[resource.name] = resource
            if before is None:
                came.add(resource.type_url)
            if before is None or before.version != resource.version:
                changed.setdefault(resource.type_url, []).append(resource.name)
        for type_url, names in changed.items():
            self._tell(type_url, names, members=type_url in came)

    def delete(self, type_url: str, *names: str) -> None:
        """Remove resources, all at once; tell the nodes that have them. Unknown names are harmless.

        Raises:
            TypeError: a name is no string.
            ValueError: the type is none of the cache.
        """
        self._check_type(type_url)
        for name in names:
            check_name(type_url, name)
        gone = [name for name in names if self._resources[type_url].pop(name, None) is not None]
        if gone:
            self._tell(type_url, gone, members=True)

    def get(self, type_url: str, name: str) -> Resource | None:
        """Return a resource; None: there is none by that name.

        Raises:
            ValueError: the type is none of the cache.
        """
        self._check_type(type_url)
        return self._resources[type_url].get(name)

    def names(self, type_url: str) -> Collection[str]:
        """Return the names of a type; a copy.

        Raises:
            ValueError: the type is none of the cache.
        """
        self._check_type(type_url)
        return tuple(self._resources[type_url])

    # for the server: `xds.source.Source`, which is its own view

    def type_urls(self) -> Collection[str]:
        """Return the types that it may hold."""
        return self._resources.keys()

    def attach(self, node: Node) -> "ResourceCache":
        """Return what a node sees: all of it."""
        return self

    def resource(self, type_url: str, name: str) -> Resource | None:
        """Return a resource; None: there is none by that name."""
        return self._resources[type_url].get(name)

    def wildcard(self, type_url: str) -> Collection[str]:
        """Return all names of a type."""
        return self._resources[type_url].keys()

    def close(self) -> None:
        """A stream has ended."""

    def _check_type(self, type_url: str) -> None:
        check_type_url(type_url)
        if type_url not in self._resources:
            raise ValueError(
                f"{short(type_url)} is no type of this cache: pass "
                f"type_urls=[*SEND_ORDER, {shown(type_url)!r}] to ResourceCache"
            )

    def _tell(self, type_url: str, names: Iterable[str], *, members: bool) -> None:
        self.notifier.resources_changed(type_url, list(names))
        if members:
            self.notifier.wildcard_changed(type_url, _ALL)
