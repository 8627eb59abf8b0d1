"""A program that uses the library with types: `make dist` checks it against the built wheel.

mypy and pyright must find no error in strict mode. It also runs: it serves from a source of its own
and from both caches, and ends.
"""

import asyncio
from collections.abc import Collection, Mapping

from scopeway import xds


def cluster(name: str) -> xds.Resource:
    """A `Cluster` with a name, by hand: this program needs no protobuf library."""
    return xds.resource_from_bytes(xds.CLUSTER, name, bytes((10, len(name))) + name.encode())


class View:
    """What the nodes of one group see; a name that is not known yet is looked up later."""

    def __init__(self, group: str, clusters: Mapping[str, xds.Resource]) -> None:
        self.group = group
        self._clusters = clusters

    async def resource(self, type_url: str, name: str) -> xds.Found:
        await asyncio.sleep(0)
        return self._clusters.get(name) if type_url == xds.CLUSTER else None

    def wildcard(self, type_url: str) -> Collection[str] | xds.Pending:
        return self._clusters.keys() if type_url == xds.CLUSTER else xds.PENDING

    def close(self) -> None:
        pass


class Source:
    """Clusters for the nodes that name a service."""

    def __init__(self) -> None:
        self.notifier = xds.ChangeNotifier()
        self._clusters: dict[str, xds.Resource] = {}

    def put(self, name: str) -> None:
        self._clusters[name] = cluster(name)
        self.notifier.resources_changed(xds.CLUSTER, [name])

    def type_urls(self) -> Collection[str]:
        return [xds.CLUSTER]

    def attach(self, node: xds.Node) -> xds.NodeView:
        if not node.cluster:
            raise xds.ProtocolError(f"{node.id} names no cluster", status="INVALID_ARGUMENT")
        return View(node.cluster, self._clusters)


class Rejections:
    """Collects what clients reject."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def observe(self, node: xds.Node | None, event: xds.Event) -> None:
        if isinstance(event, xds.Nacked):
            self.messages.append(event.message)


async def main() -> None:
    source, rejections = Source(), Rejections()
    source.put("a")
    snapshots = xds.SnapshotCache(group=lambda node: node.cluster)
    snapshots.set("edges", cluster("a"), cluster("b"))
    single = xds.ResourceCache()
    single.set(cluster("a"))
    limits = xds.Limits(lookups=10)
    async with (
        xds.serve(source, listen="127.0.0.1:0", observer=rejections, limits=limits) as first,
        xds.serve(snapshots, listen="127.0.0.1:0", health=True) as second,
        xds.serve(single, listen="127.0.0.1:0") as third,
    ):
        assert len({first.port, second.port, third.port}) == 3
        assert [status.node.id for status in first.status()] == []
    assert rejections.messages == []


if __name__ == "__main__":
    asyncio.run(main())
