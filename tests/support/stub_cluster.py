"""Our resources at a stub of an API server: its moods are the test's."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from registry_model import a_cloud
from scopeway.control_plane.clouds.document import to_document
from scopeway.control_plane.kubernetes_api.url import KubernetesUrl
from scopeway.control_plane.registry.kubernetes.registry import KubernetesRegistry
from stub_api_server import Request, answering

DEEP = "made of many levels"
"""A text that the stub replaces by `StubCluster.levels` levels of lists."""


class StubCluster:
    def __init__(self) -> None:
        self.version = 10
        self.objects: dict[str, dict[str, Any]] = {
            "edgeclouds": {},
            "cordons": {},
            "servicetypes": {},
        }
        self.lists = 0
        """Lists of edgeclouds that were asked for, without the probes."""
        self.watch_answers: list[tuple[int, str]] = []
        """What the next watches are refused with."""
        self.list_answers: list[tuple[int, str]] = []
        """What the next lists of edgeclouds are refused with."""
        self.levels = 0
        self._watches: set[tuple[str, asyncio.Queue[bytes]]] = set()

    def put(self, name: str, port: int = 9292, **labels: str) -> None:
        self.put_object("edgeclouds", to_document(a_cloud(name, port=port, **labels)))

    def put_object(self, resource: str, document: dict[str, Any]) -> None:
        self.version += 1
        name = document["metadata"]["name"]
        metadata = {"uid": f"uid-{name}", "resourceVersion": str(self.version), "generation": 1}
        stored = document | {"metadata": document["metadata"] | metadata}
        kind = "MODIFIED" if name in self.objects[resource] else "ADDED"
        self.objects[resource][name] = stored
        self._send(resource, {"type": kind, "object": stored})

    def delete(self, name: str) -> None:
        self.version += 1
        gone = self.objects["edgeclouds"].pop(name)
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._send("edgeclouds", {"type": "DELETED", "object": gone})

    def bookmark(self, version: int) -> None:
        self._send(
            "edgeclouds",
            {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(version)}}},
        )

    def end_watches(self, code: int = 0) -> None:
        """End all watches; with a code, by an ERROR event."""
        for _, queue in self._watches:
            if code:
                event = {"type": "ERROR", "object": {"code": code, "message": "no more"}}
                queue.put_nowait(json.dumps(event).encode() + b"\n")
            queue.put_nowait(b"")

    async def __call__(self, request: Request) -> None:
        url = urlsplit(request.target)
        resource = url.path.rsplit("/", 1)[-1]
        query = parse_qs(url.query)
        if "watch" in query:
            await self._watch(request, resource)
            return
        if resource == "edgeclouds" and query["limit"] != ["1"]:
            self.lists += 1
            if self.list_answers:
                code, message = self.list_answers.pop(0)
                request.answer({"code": code, "message": message}, code)
                return
        items = list(self.objects[resource].values())
        metadata = {"resourceVersion": str(self.version)}
        request.answer(self._encode({"metadata": metadata, "items": items}))

    async def _watch(self, request: Request, resource: str) -> None:
        if self.watch_answers:
            code, message = self.watch_answers.pop(0)
            request.answer({"code": code, "message": message}, code)
            return
        request.begin()
        await request.writer.drain()
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._watches.add((resource, queue))
        try:
            while True:
                event = await queue.get()
                request.chunk(event)
                await request.writer.drain()
                if not event:
                    return
        finally:
            self._watches.discard((resource, queue))

    def _send(self, resource: str, event: dict[str, Any]) -> None:
        for watched, queue in self._watches:
            if watched == resource:
                queue.put_nowait(self._encode(event) + b"\n")

    def _encode(self, document: dict[str, Any]) -> bytes:
        levels = "[" * self.levels + "]" * self.levels
        return json.dumps(document).replace(f'"{DEEP}"', levels).encode()


@asynccontextmanager
async def stub_cluster(
    folder: Path, **options: Any
) -> AsyncIterator[tuple[StubCluster, KubernetesRegistry]]:
    """Run a stub, and yield it with its registry."""
    cluster = StubCluster()
    async with answering(cluster) as stub:
        url = KubernetesUrl(kubeconfig=stub.kubeconfig(folder / "kubeconfig", {}))
        yield cluster, KubernetesRegistry(url, **{"patience": 30.0} | options)
