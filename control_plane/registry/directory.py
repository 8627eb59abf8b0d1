"""Clouds registered in a folder of YAML files: `dir:<folder>`, every *.yaml and *.yml in it.

Owns noticing what changes. The folder is polled: that works on every file system and with the
symbolic links of a Kubernetes ConfigMap. Only changed documents of changed files are parsed, in a
thread. Invariant: a file that is just being written, or cannot be read, takes no cloud away.
"""

import asyncio
import os
import stat
import time
from collections.abc import AsyncGenerator, Collection, Iterator
from dataclasses import replace
from pathlib import Path

from control_plane.registry.files import Manifests, read_manifests, unreadable
from control_plane.registry.protocol import Batch, Entry, Place, RegistryUnavailable

POLL = 0.25
"""Seconds between two looks; more where one look takes long."""
MAX_FILE = 64 * 1024 * 1024
"""Bytes; a larger file is not read."""
LONGEST_WRITE = 3
"""Looks after which a file is read though it is still changing."""

_Signature = tuple[int, int, int]
_NOTHING = Manifests(entries={}, documents={}, whole=True)


class DirectoryRegistry:
    """The clouds of one folder; not of the folders in it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder
        self._folder = Folder(folder)

    @property
    def name(self) -> str:
        """The URL."""
        return f"dir:{self._path}"

    async def watch(self) -> AsyncGenerator[Batch, None]:
        """See `Registry.watch`."""
        try:
            yield await asyncio.to_thread(self._folder.look)
        except OSError as error:
            reason = f"{self.name} cannot be read: {error.strerror}"
            raise RegistryUnavailable(reason) from None
        pause, away, seen = POLL, False, time.time()
        while True:
            await asyncio.sleep(pause)
            start = time.monotonic()
            try:
                batch = await asyncio.to_thread(self._folder.look)
            except OSError as error:
                if not away:
                    stale = f"{self.name} cannot be read: {error.strerror}"
                    yield Batch(stale=stale, current=seen)
                away = True
                continue
            seen = time.time()
            pause = max(POLL, 4 * (time.monotonic() - start))
            if away or batch.upserts or batch.deletes:
                yield batch
            away = False

    def release(self, names: Collection[str]) -> None:
        """Do nothing: what is gone is not remembered here."""

    async def close(self) -> None:
        """Do nothing: no file stays open."""


class Folder:
    """What was in a folder at the last look. Blocks; for one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[str, Manifests] = {}
        self._read: dict[str, _Signature] = {}
        """The signature of each file as it was read."""
        self._changing: dict[str, tuple[_Signature, int]] = {}
        """Files not read yet as they may be half written: what they look like, since how long."""
        self._first = True

    def look(self) -> Batch:
        """Return what has changed since the last look, all of it at the first.

        Raises:
            OSError: there is no such folder.
        """
        upserts: dict[Place, Entry] = {}
        deletes: set[Place] = set()
        signatures = dict(self._signatures())
        for file in self._files.keys() - signatures.keys():
            deletes |= self._files.pop(file).entries.keys()
            self._read.pop(file, None)
        for file, signature in signatures.items():
            if self._read.get(file) != signature and self._is_settled(file, signature):
                self._take(file, signature, upserts, deletes)
        complete, self._first = self._first, False
        return Batch(upserts=upserts, deletes=deletes - upserts.keys(), complete=complete)

    def _signatures(self) -> Iterator[tuple[str, _Signature]]:
        with os.scandir(self._path) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            if name.endswith((".yaml", ".yml")) and not name.startswith("."):
                try:
                    found = (self._path / name).stat()
                except OSError:
                    continue  # gone since, or a link to nowhere
                if stat.S_ISREG(found.st_mode):
                    yield name, _signature(found)

    def _is_settled(self, file: str, signature: _Signature) -> bool:
        """Tell whether to read a changed file now: it looks as it did the last time."""
        before, looks = self._changing.pop(file, (None, 0))
        if self._first or before == signature or looks >= LONGEST_WRITE:
            return True
        self._changing[file] = (signature, looks + 1)
        return False

    def _take(
        self,
        file: str,
        signature: _Signature,
        upserts: dict[Place, Entry],
        deletes: set[Place],
    ) -> None:
        """Read a file and collect what is different in it."""
        old = self._files.get(file, _NOTHING)
        new = self._manifests(file, signature, old)
        if new is None:
            return
        missing = {at: entry for at, entry in old.entries.items() if at not in new.entries}
        # any of these may be the cloud of the document that cannot be told
        kept = {} if new.whole else {at: one for at, one in missing.items() if one.name}
        deletes |= missing.keys() - kept.keys()
        upserts |= {at: one for at, one in new.entries.items() if old.entries.get(at) is not one}
        self._files[file] = replace(new, entries={**kept, **new.entries})
        self._read[file] = signature

    def _manifests(self, file: str, signature: _Signature, old: Manifests) -> Manifests | None:
        """Read a file; None where it has changed meanwhile."""
        path = self._path / file
        if signature[1] > MAX_FILE:
            return unreadable(str(path), f"longer than {MAX_FILE} bytes")
        try:
            text = path.read_text(encoding="utf-8")
            if not self._first and _signature(path.stat()) != signature:
                return None
        except OSError as error:
            return unreadable(str(path), f"cannot be read: {error.strerror}")
        except UnicodeDecodeError as error:
            return unreadable(str(path), f"is not UTF-8 at byte {error.start}")
        return read_manifests(text, str(path), old.documents)


def _signature(found: os.stat_result) -> _Signature:
    return found.st_mtime_ns, found.st_size, found.st_ino
