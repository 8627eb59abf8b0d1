"""A program that uses the library with types: `make dist` checks it against the built wheel.

mypy and pyright must find no error in strict mode. It also runs: it serves one cluster, and ends.
"""

import asyncio
from collections.abc import Collection, Mapping

from scopeway.xds.encoding.messages import resource
from scopeway.xds.encoding.protobuf import field_string
from scopeway.xds.errors import ProtocolError
from scopeway.xds.events import Event, Nacked
from scopeway.xds.grpc_server.server import serve
from scopeway.xds.notifier import ChangeNotifier
from scopeway.xds.resource import Resource
from scopeway.xds.source import Node, NodeView
from scopeway.xds.type_urls import CLUSTER


class View:
    """What the nodes of one group see."""

    def __init__(self, group: str, clusters: Mapping[str, Resource]) -> None:
        self.group = group
        self._clusters = clusters

    def resource(self, type_url: str, name: str) -> Resource | None:
        return self._clusters.get(name) if type_url == CLUSTER else None

    def wildcard(self, type_url: str) -> Collection[str]:
        return self._clusters.keys() if type_url == CLUSTER else ()

    def close(self) -> None:
        pass


class Source:
    """Clusters for the nodes that name a service."""

    def __init__(self) -> None:
        self.notifier = ChangeNotifier()
        self._clusters: dict[str, Resource] = {}

    def put(self, name: str) -> None:
        self._clusters[name] = resource(CLUSTER, name, field_string(1, name))
        self.notifier.resources_changed(CLUSTER, [name])

    def type_urls(self) -> Collection[str]:
        return [CLUSTER]

    def attach(self, node: Node) -> NodeView:
        if not node.cluster:
            raise ProtocolError(f"{node.id} names no cluster", status="INVALID_ARGUMENT")
        return View(node.cluster, self._clusters)


class Rejections:
    """Collects what clients reject."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def observe(self, node: Node | None, event: Event) -> None:
        if isinstance(event, Nacked):
            self.messages.append(f"{node.id if node else 'unknown'}: {event}")


async def main() -> None:
    source = Source()
    source.put("a")
    rejections = Rejections()
    async with serve(
        source, listen="127.0.0.1:0", notifier=source.notifier, observer=rejections
    ) as server:
        print(f"serving on port {server.port}, {len(server.status())} streams")
        source.put("b")


if __name__ == "__main__":
    asyncio.run(main())
