"""The registry in a folder: `dir:<folder>` with every *.yaml and *.yml file in it.

The folder is polled. That works on every file system, and with the symbolic links of a Kubernetes
ConfigMap. `folder_scanner` reads the files, in a thread.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from scopeway.control_plane.registry.directory.folder_scanner import FolderScanner
from scopeway.control_plane.registry.interface import Batch, RegistryUnavailable

POLL_INTERVAL = 0.25
"""Seconds between two scans; a slow scan makes it longer."""


class DirectoryRegistry:
    """The registry in one folder, without its subfolders."""

    def __init__(self, folder: Path) -> None:
        self._path = folder
        self._scanner = FolderScanner(folder)

    @property
    def name(self) -> str:
        """The URL."""
        return f"dir:{self._path}"

    async def watch(self) -> AsyncGenerator[Batch, None]:
        """See `Registry.watch`."""
        self._scanner = FolderScanner(self._path)
        try:
            yield await asyncio.to_thread(self._scanner.scan)
        except OSError as error:
            raise RegistryUnavailable(self._reason(error)) from None
        pause, current = POLL_INTERVAL, time.time()
        reported: str | None = None
        while True:
            await asyncio.sleep(pause)
            start = time.monotonic()
            try:
                batch = await asyncio.to_thread(self._scanner.scan)
            except OSError as error:
                self._scanner.reset()
                if reported != self._reason(error):
                    reported = self._reason(error)
                    yield Batch(stale=reported, current_until=current)
                continue
            current = time.time()
            pause = max(POLL_INTERVAL, 4 * (time.monotonic() - start))
            if reported is not None or batch.upserts or batch.deletes:
                yield batch
            reported = None

    async def close(self) -> None:
        """Do nothing: no file stays open."""

    def _reason(self, error: OSError) -> str:
        return f"{self.name} cannot be read: {error.strerror}"
