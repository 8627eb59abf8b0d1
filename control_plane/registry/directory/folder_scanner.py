"""Notices which files of a folder change, and which entries disappear.

Only changed documents of changed files are parsed. Invariant: a file that is being written or
replaced, or that cannot be read, deletes no cloud. An entry counts as deleted once it has been
missing for GONE_AFTER seconds.
"""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.registry.directory.files import (
    Manifests,
    read_manifests,
    unreadable_file,
)
from scopeway.control_plane.registry.interface import Batch, Entry, Place

MAX_FILE = 64 * 1024 * 1024
"""Bytes; a larger file is not read."""
MAX_UNSETTLED_SCANS = 3
"""Scans after which a file is read although it still changes."""
GONE_AFTER = 2.0
"""Seconds after which a missing entry counts as deleted. Editors and `git checkout` remove a file
before they write it anew; `git rebase` takes a second or two."""
MAX_GONE_AFTER = 2 * GONE_AFTER
"""The same while another file has changed and was not read yet: it may contain the entry."""

_Stat = tuple[int, int, int, int, int]
_Signature = _Stat | str
"""The status of a file that shows a change, or why the file cannot be read."""
_NOTHING = Manifests(entries={}, documents={}, all_identified=True)


class FolderScanner:
    """Reads the files of one folder that changed since the last scan. Blocks; not thread-safe."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._files: dict[str, Manifests] = {}
        """The reported contents of each file, including missing entries."""
        self._read_as: dict[str, _Signature] = {}
        """The signature of each file when it was read."""
        self._unsettled: dict[str, tuple[_Signature, int]] = {}
        """Files that may be half written: their signature, and the number of scans since it
        changed."""
        self._missing_files: dict[str, float] = {}
        """Files that do not exist any more, and when that was noticed."""
        self._missing_entries: dict[Place, tuple[str, float]] = {}
        """Entries that their file does not contain any more: the file, and when that was
        noticed."""
        self._unreadable_since: dict[str, float] = {}
        """Since when files cannot be read; reported after GONE_AFTER."""
        self._folder_id: tuple[int, int] | None = None
        """Device and inode of the folder when it last contained files."""
        self._is_first_scan = True
        self._read_unsettled = True
        """Whether files are read before they have settled."""

    def scan(self) -> Batch:
        """Return the changes since the last scan; the first scan returns everything.

        Raises:
            OSError: the folder does not exist, or an empty folder has taken its place.
        """
        upserts: dict[Place, Entry] = {}
        deletes: set[Place] = set()
        now = self._clock()
        signatures = dict(self._signatures())
        self._missing_files = {
            file: self._missing_files.get(file, now)
            for file in self._files.keys() - signatures.keys()
        }
        for file in self._missing_files:
            self._read_as.pop(file, None)
            self._unreadable_since.pop(file, None)
        for file, signature in signatures.items():
            if self._read_as.get(file) != signature and self._is_settled(file, signature):
                self._read_file(file, signature, upserts, deletes)
        deletes |= self._collect_gone(now, signatures)
        complete, self._is_first_scan, self._read_unsettled = self._is_first_scan, False, False
        return Batch(upserts=upserts, deletes=deletes - upserts.keys(), complete=complete)

    def reset(self) -> None:
        """Have the next scan read every file: the folder may have been replaced."""
        self._read_as.clear()
        # what was missing may exist again, so it gets the full time anew
        self._missing_files.clear()
        self._missing_entries.clear()
        self._read_unsettled = True

    def _signatures(self) -> Iterator[tuple[str, _Signature]]:
        identity = self._path.stat()
        with os.scandir(self._path) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if entry.name.endswith((".yaml", ".yml")) and not entry.name.startswith(".")
            )
        if names or not any(manifests.entries for manifests in self._files.values()):
            self._folder_id = identity.st_dev, identity.st_ino
        elif self._folder_id != (identity.st_dev, identity.st_ino):
            raise OSError(errno.ENODEV, "an empty folder has taken its place; is it not mounted?")
        for name in names:
            signature = self._signature(name)
            if signature is not None:
                yield name, signature

    def _signature(self, file: str) -> _Signature | None:
        """Return the signature of a file; None if it does not exist or is not a file."""
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
        """Return whether to read a changed file now: its signature is that of the last scan."""
        before, looks = self._unsettled.pop(file, (None, 0))
        if self._read_unsettled or before == signature or looks >= MAX_UNSETTLED_SCANS:
            return True
        self._unsettled[file] = (signature, looks + 1)
        return False

    def _read_file(
        self,
        file: str,
        signature: _Signature,
        upserts: dict[Place, Entry],
        deletes: set[Place],
    ) -> None:
        """Read a file and collect its changes."""
        old = self._files.get(file, _NOTHING)
        now = self._clock()
        new = self._load(file, signature, old)
        if new is None:
            return
        if isinstance(new, str):
            for place in old.entries:
                self._missing_entries.pop(place, None)
            since = self._unreadable_since.setdefault(file, now)
            if old.entries and not self._read_unsettled and now - since < GONE_AFTER:
                self._read_as.pop(file, None)
                return
            new = unreadable_file(str(self._path / file), new)
        else:
            self._unreadable_since.pop(file, None)
        missing = {at: entry for at, entry in old.entries.items() if at not in new.entries}
        # an entry without a name was an error, and deletes no cloud
        named = {at: entry for at, entry in missing.items() if entry.name}
        unnamed = missing.keys() - named.keys()
        deletes |= unnamed
        upserts |= {
            at: one for at, one in new.entries.items() if not _is_equal(old.entries.get(at), one)
        }
        for place in named:
            if new.all_identified:
                self._missing_entries.setdefault(place, (file, now))
            else:  # the unidentified document may be this cloud
                self._missing_entries.pop(place, None)
        for place in new.entries.keys() | unnamed:
            self._missing_entries.pop(place, None)
        self._files[file] = replace(new, entries={**named, **new.entries})

    def _collect_gone(self, now: float, signatures: Mapping[str, _Signature]) -> set[Place]:
        """Forget and return entries that are overdue, or are in another file now."""
        if not (self._missing_files or self._missing_entries):
            return set()
        leaving = dict(self._missing_entries)
        for file, since in self._missing_files.items():
            leaving |= dict.fromkeys(self._files[file].entries, (file, since))
        here = {
            _subject(entry)
            for manifests in self._files.values()
            for place, entry in manifests.entries.items()
            if place not in leaving and not isinstance(entry, InvalidCloud)
        }
        # a file that changed since it was read may contain the entry
        unread = {file for file, found in signatures.items() if self._read_as.get(file) != found}
        gone_after = MAX_GONE_AFTER if unread else GONE_AFTER
        gone: dict[str, set[Place]] = {}
        for place, (file, since) in leaving.items():
            entry = self._files[file].entries[place]
            is_overdue = file not in unread and now - since >= gone_after
            if is_overdue or entry.name is None or _subject(entry) in here:
                gone.setdefault(file, set()).add(place)
        for file, places in gone.items():
            manifests = self._files[file]
            left = {at: one for at, one in manifests.entries.items() if at not in places}
            self._files[file] = replace(manifests, entries=left)
            for place in places:
                self._missing_entries.pop(place, None)
        for file in self._missing_files:
            if not self._files[file].entries:
                del self._files[file]
        return {place for places in gone.values() for place in places}

    def _load(self, file: str, signature: _Signature, old: Manifests) -> Manifests | str | None:
        """Return the contents of a file, or why it cannot be read; None if it changes meanwhile."""
        path = self._path / file
        if isinstance(signature, str):
            self._read_as[file] = signature
            return signature
        try:
            content, found = _read_bytes(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        if not self._read_unsettled:
            if _signature(found) != signature:
                return None
            self._read_as[file] = signature
        if len(content) > MAX_FILE:
            return f"longer than {MAX_FILE} bytes"
        if not content.strip() and any(entry.name for entry in old.entries.values()):
            return "is empty; to take its clouds away, remove the file"
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            return f"is not UTF-8 at byte {error.start}"
        return read_manifests(
            text, str(path), old.documents, inside=self._is_in_folder(path, found)
        )

    def _is_in_folder(self, path: Path, opened: os.stat_result) -> bool:
        """Return whether an opened file is in the folder, and not behind a link out of it."""
        target = Path(os.path.realpath(path))
        try:
            found = target.lstat()
        except OSError:
            return False
        same = (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino)
        return same and target.is_relative_to(os.path.realpath(self._path))


def _read_bytes(path: Path) -> tuple[bytes, os.stat_result]:
    """Return the contents of a file, cut after MAX_FILE + 1 bytes, and its status.

    Raises:
        OSError: the file cannot be read.
    """
    # not blocking: the file may have been replaced by a pipe
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a file")
        content = file.read(MAX_FILE + 1)
        if content is None:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return content, os.fstat(file.fileno())


def _signature(found: os.stat_result) -> _Stat:
    # ctime: `rsync -t` and `cp -p` can set mtime, but nothing can set ctime
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev


def _subject(entry: Entry) -> tuple[type[Entry], str | None]:
    return Cloud if isinstance(entry, InvalidCloud) else type(entry), entry.name


def _is_equal(old: Entry | None, new: Entry) -> bool:
    if isinstance(old, InvalidCloud) and isinstance(new, InvalidCloud):
        return str(old) == str(new) and old.name == new.name
    return old is new
