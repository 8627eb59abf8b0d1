"""Clouds registered in a folder of YAML files: `dir:<folder>`, every *.yaml and *.yml in it.

Owns noticing what changes. The folder is polled: that works on every file system and with the
symbolic links of a Kubernetes ConfigMap. Only changed documents of changed files are parsed, in a
thread. Invariant: a file that is just being written or replaced, or cannot be read, takes no cloud
away: what is gone counts as deleted once it has stayed away.
"""

import asyncio
import errno
import os
import stat
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.manifest import InvalidCloud
from scopeway.control_plane.registry.directory.files import Manifests, read_manifests, unreadable
from scopeway.control_plane.registry.protocol import Batch, Entry, Place, RegistryUnavailable

POLL = 0.25
"""Seconds between two looks; more where one look takes long."""
MAX_FILE = 64 * 1024 * 1024
"""Bytes; a larger file is not read."""
LONGEST_WRITE = 3
"""Looks after which a file is read though it is still changing."""
GONE = 2.0
"""Seconds after which what has not been there counts as deleted. `git checkout` and editors remove
a file before they write it anew; `git rebase` takes a second or two."""
LONGEST_GONE = 2 * GONE
"""The same while another file has changed and was not read yet: what is missing may stand there."""

_Stat = tuple[int, int, int, int, int]
_Signature = _Stat | str
"""What a file looks like, or why it cannot be looked at."""
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
        self._folder = Folder(self._path)
        try:
            yield await asyncio.to_thread(self._folder.look)
        except OSError as error:
            raise RegistryUnavailable(self._reason(error)) from None
        pause, seen = POLL, time.time()
        away: str | None = None
        while True:
            await asyncio.sleep(pause)
            start = time.monotonic()
            try:
                batch = await asyncio.to_thread(self._folder.look)
            except OSError as error:
                self._folder.forget()
                if away != self._reason(error):
                    away = self._reason(error)
                    yield Batch(stale=away, current_until=seen)
                continue
            seen = time.time()
            pause = max(POLL, 4 * (time.monotonic() - start))
            if away is not None or batch.upserts or batch.deletes:
                yield batch
            away = None

    def release(self, names: Collection[str]) -> None:
        """Do nothing: what is gone is not remembered here."""

    async def close(self) -> None:
        """Do nothing: no file stays open."""

    def _reason(self, error: OSError) -> str:
        return f"{self.name} cannot be read: {error.strerror}"


class Folder:
    """What was in a folder at the last look. Blocks; for one thread at a time."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._files: dict[str, Manifests] = {}
        """What was told of each file, with what is leaving."""
        self._read: dict[str, _Signature] = {}
        """The signature of each file as it was read."""
        self._changing: dict[str, tuple[_Signature, int]] = {}
        """Files not read yet as they may be half written: what they look like, since how long."""
        self._absent: dict[str, float] = {}
        """Files that are not there any more, and when that was seen."""
        self._leaving: dict[Place, tuple[str, float]] = {}
        """What a file does not hold any more: the file, and when that was seen."""
        self._troubled: dict[str, float] = {}
        """Files that cannot be read, since when; it is told when it lasts as long as an absence."""
        self._identity: tuple[int, int] | None = None
        """Of the folder as it last held files, by device and inode."""
        self._first = True
        self._at_once = True
        """Files are read without waiting until they have settled."""

    def look(self) -> Batch:
        """Return what has changed since the last look, all of it at the first.

        Raises:
            OSError: there is no such folder, or an empty one has taken its place.
        """
        upserts: dict[Place, Entry] = {}
        deletes: set[Place] = set()
        now = self._clock()
        signatures = dict(self._signatures())
        self._absent = {
            file: self._absent.get(file, now) for file in self._files.keys() - signatures.keys()
        }
        for file in self._absent:
            self._read.pop(file, None)
            self._troubled.pop(file, None)
        for file, signature in signatures.items():
            if self._read.get(file) != signature and self._is_settled(file, signature):
                self._take(file, signature, upserts, deletes)
        deletes |= self._left(now, signatures)
        complete, self._first, self._at_once = self._first, False, False
        return Batch(upserts=upserts, deletes=deletes - upserts.keys(), complete=complete)

    def forget(self) -> None:
        """Have the next look read every file: the folder was away and may be another one."""
        self._read.clear()
        # what was missing before may be there again; it settles anew
        self._absent.clear()
        self._leaving.clear()
        self._at_once = True

    def _signatures(self) -> Iterator[tuple[str, _Signature]]:
        identity = self._path.stat()
        with os.scandir(self._path) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if entry.name.endswith((".yaml", ".yml")) and not entry.name.startswith(".")
            )
        if names or not any(manifests.entries for manifests in self._files.values()):
            self._identity = identity.st_dev, identity.st_ino
        elif self._identity != (identity.st_dev, identity.st_ino):
            raise OSError(errno.ENODEV, "an empty folder has taken its place; is it not mounted?")
        for name in names:
            signature = self._signature(name)
            if signature is not None:
                yield name, signature

    def _signature(self, file: str) -> _Signature | None:
        """Return what a file looks like; None where it is gone, or is no file."""
        path = self._path / file
        try:
            found = path.stat()
        except OSError as error:
            if error.errno != errno.ENOENT:
                return f"cannot be read: {error.strerror}"
            return "is a link to a file that is not there" if path.is_symlink() else None
        if stat.S_ISREG(found.st_mode):
            return _signature(found)
        return "is not a file" if file in self._files else None

    def _is_settled(self, file: str, signature: _Signature) -> bool:
        """Tell whether to read a changed file now: it looks as it did the last time."""
        before, looks = self._changing.pop(file, (None, 0))
        if self._at_once or before == signature or looks >= LONGEST_WRITE:
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
        now = self._clock()
        new = self._manifests(file, signature, old)
        if new is None:
            return
        if isinstance(new, str):
            for place in old.entries:
                self._leaving.pop(place, None)
            since = self._troubled.setdefault(file, now)
            if old.entries and not self._at_once and now - since < GONE:
                self._read.pop(file, None)
                return
            new = unreadable(str(self._path / file), new)
        else:
            self._troubled.pop(file, None)
        missing = {at: entry for at, entry in old.entries.items() if at not in new.entries}
        # what is about no cloud in particular takes none away
        kept = {at: entry for at, entry in missing.items() if entry.name}
        unnamed = missing.keys() - kept.keys()
        deletes |= unnamed
        upserts |= {
            at: one for at, one in new.entries.items() if not _is_same(old.entries.get(at), one)
        }
        for place in kept:
            if new.whole:
                self._leaving.setdefault(place, (file, now))
            else:  # any of these may be the cloud of the document that cannot be told
                self._leaving.pop(place, None)
        for place in new.entries.keys() | unnamed:
            self._leaving.pop(place, None)
        self._files[file] = replace(new, entries={**kept, **new.entries})

    def _left(self, now: float, signatures: Mapping[str, _Signature]) -> set[Place]:
        """Forget what has stayed away, or stands elsewhere now; return its places."""
        if not (self._absent or self._leaving):
            return set()
        leaving = dict(self._leaving)
        for file, since in self._absent.items():
            leaving |= dict.fromkeys(self._files[file].entries, (file, since))
        here = {
            _subject(entry)
            for manifests in self._files.values()
            for place, entry in manifests.entries.items()
            if place not in leaving and not isinstance(entry, InvalidCloud)
        }
        # a file that has changed since it was read may hold it again, and another one hold it now
        unread = {file for file, found in signatures.items() if self._read.get(file) != found}
        patience = LONGEST_GONE if unread else GONE
        gone: dict[str, set[Place]] = {}
        for place, (file, since) in leaving.items():
            entry = self._files[file].entries[place]
            stayed_away = file not in unread and now - since >= patience
            if stayed_away or entry.name is None or _subject(entry) in here:
                gone.setdefault(file, set()).add(place)
        for file, places in gone.items():
            manifests = self._files[file]
            left = {at: one for at, one in manifests.entries.items() if at not in places}
            self._files[file] = replace(manifests, entries=left)
            for place in places:
                self._leaving.pop(place, None)
        for file in self._absent:
            if not self._files[file].entries:
                del self._files[file]
        return {place for places in gone.values() for place in places}

    def _manifests(
        self, file: str, signature: _Signature, old: Manifests
    ) -> Manifests | str | None:
        """Read a file; return why it cannot be read, and None where it has changed meanwhile."""
        path = self._path / file
        if isinstance(signature, str):
            self._read[file] = signature
            return signature
        try:
            content, found = _contents(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        if not self._at_once:
            if _signature(found) != signature:
                return None
            self._read[file] = signature
        if len(content) > MAX_FILE:
            return f"longer than {MAX_FILE} bytes"
        if not content.strip() and any(entry.name for entry in old.entries.values()):
            return "is empty; to take its clouds away, remove the file"
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            return f"is not UTF-8 at byte {error.start}"
        return read_manifests(text, str(path), old.documents, inside=self._is_inside(path, found))

    def _is_inside(self, path: Path, opened: os.stat_result) -> bool:
        """Tell whether a file, which has been opened, is in the folder; no link leads out of it."""
        target = Path(os.path.realpath(path))
        try:
            found = target.lstat()
        except OSError:
            return False
        same = (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino)
        return same and target.is_relative_to(os.path.realpath(self._path))


def _contents(path: Path) -> tuple[bytes, os.stat_result]:
    """Return what a file holds, more than MAX_FILE bytes where it holds more, and its status then.

    Raises:
        OSError: it cannot be read.
    """
    # should it have become a pipe, nobody waits for its other end
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a file")
        content = file.read(MAX_FILE + 1)
        if content is None:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return content, os.fstat(file.fileno())


def _signature(found: os.stat_result) -> _Stat:
    # the time of the last change of the inode cannot be set, as `rsync -t` or `cp -p` set the other
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev


def _subject(entry: Entry) -> tuple[bool, str | None]:
    return isinstance(entry, Cordon), entry.name


def _is_same(old: Entry | None, new: Entry) -> bool:
    if isinstance(old, InvalidCloud) and isinstance(new, InvalidCloud):
        return str(old) == str(new) and old.name == new.name
    return old is new
