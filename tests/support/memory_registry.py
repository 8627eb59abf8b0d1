"""A registry in memory, for tests and for programs that bring their own clouds."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping

from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.registry.documents import CORDON_KEY, SERVICE_TYPES_KEY
from scopeway.control_plane.registry.interface import Batch, Entry, Place


class MemoryRegistry:
    """Clouds that are put and deleted by method calls; the place of a cloud is its name."""

    name = "memory"

    def __init__(self, *clouds: Cloud) -> None:
        self._entries: dict[Place, Entry] = {cloud.name: cloud for cloud in clouds}
        self._batches: asyncio.Queue[Batch] = asyncio.Queue()

    def put(self, entry: Entry, place: Place = "") -> None:
        """Register a cloud, a cordon or a service type, or something bad in its place."""
        if not place and isinstance(entry, ServiceType):
            place = f"{SERVICE_TYPES_KEY}{entry.name}"
        place = place or f"{entry.name or ''}{CORDON_KEY if isinstance(entry, Cordon) else ''}"
        self.tell(Batch(upserts={place: entry}))

    def delete(self, *places: Place) -> None:
        """Take clouds away."""
        self.tell(Batch(deletes=places))

    def tell(self, batch: Batch) -> None:
        """Change the entries by a batch of one's own making."""
        self._entries = _after(self._entries, batch)
        self._batches.put_nowait(batch)

    async def watch(self) -> AsyncGenerator[Batch, None]:
        """Yield what is there, then every change."""
        while not self._batches.empty():
            self._batches.get_nowait()
        yield Batch(upserts=dict(self._entries), complete=True)
        while True:
            yield await self._batches.get()

    async def close(self) -> None:
        """Do nothing: there is nothing to give back."""


def _after(entries: Mapping[Place, Entry], batch: Batch) -> dict[Place, Entry]:
    gone: Collection[Place] = entries if batch.complete else batch.deletes
    return {at: entry for at, entry in entries.items() if at not in gone} | dict(batch.upserts)
