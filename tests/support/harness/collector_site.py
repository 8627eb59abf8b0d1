"""A collector in this process, between fake clouds and a client."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.fake_clouds import CollectorClient, FakeClouds, fake_clouds
from scopeway.control_plane.collector.collector import Collector, serving
from scopeway.control_plane.collector.limits import Limits


@dataclass
class CollectorSite:
    """A collector with what is on both sides of it."""

    folder: Path
    clouds: FakeClouds
    client: CollectorClient
    collector: Collector


@asynccontextmanager
async def collector_site(**limits: Any) -> AsyncIterator[CollectorSite]:
    """Start a collector.

    Args:
        limits: Fields of `Limits`.
    """
    # a socket's path has at most 107 bytes, which those of pytest's folders may exceed
    with TemporaryDirectory(prefix="scopeway") as name:
        folder = Path(name)
        users = frozenset([os.getuid()])
        async with (
            fake_clouds(folder) as clouds,
            serving(folder, limits=Limits(**limits), users=users, drain=0.0) as collector,
        ):
            client = CollectorClient(folder / "collector.sock")
            yield CollectorSite(folder, clouds, client, collector)
