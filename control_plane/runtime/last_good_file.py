"""The file of the last good clouds: one line about itself, then one document in each line.

Owns its format. Blocks, so it runs in threads. Invariant: the file is either the new one or the old
one, even after a crash. A damaged file is refused as a whole, since half an inventory would
remove clouds, and is never overwritten.
"""

import hashlib
import json
import os
import re
import stat
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from scopeway.control_plane.catalog.mass_loss import is_mass_loss
from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.registry.documents import MAX_BYTES, parse_json, to_json
from scopeway.control_plane.registry.interface import Entry, Place

FILE = "clouds.jsonl"
FORMAT = 1
"""Of the versions since the first, which wrote no other: a control plane of any of them reads what
another has written. What is added to the first line must not change that."""
LEFT_BEHIND = 60.0
"""Age in seconds from which a temporary file counts as left by a crash."""
LINE_BYTES = 4 * MAX_BYTES
"""Of a document of ours: its JSON may be longer than the YAML that it was read from."""


_CLOUD = re.compile(
    rb'^{"apiVersion":"[^"]*","kind":"EdgeCloud","metadata":{"name":"([^"]*)"', re.M
)
"""A line of a cloud as `to_json` writes it; its name."""


class LastGoodDamaged(Exception):
    """The file cannot be used; the text names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastGood:
    """What a file holds."""

    entries: dict[Place, Entry]
    registry: str
    """Where these clouds came from."""
    current: float
    """When these clouds were last confirmed to be those of the registry, in seconds since 1970."""


class LastGoodFile:
    """The file in one folder, as one control plane writes it. For one thread at a time."""

    def __init__(self, folder: Path, registry: str) -> None:
        self._folder = folder
        self._registry = registry
        self._lines: dict[str, tuple[Cloud, bytes]] = {}
        """What was written last, by name: most clouds are the same the next time."""
        self._written: tuple[int, int] | None = None
        """The file that is ours, by device and inode."""

    def save(self, inventory: Inventory) -> None:
        """Replace the file; only its owner may read it.

        Raises:
            OSError: it could not be written; the old one stays.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        body = self._body(inventory)
        about = {
            "format": FORMAT,
            "registry": self._registry,
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        # a name of its own: another control plane may write into the same folder just now
        number, new = tempfile.mkstemp(prefix=f".{FILE}.", suffix=".new", dir=self._folder)
        try:
            with open(number, "wb") as file:
                file.write(json.dumps(about).encode() + b"\n" + body)
                file.flush()
                os.fsync(number)
                written = _identity(os.fstat(number))
            os.replace(new, self._folder / FILE)
        except BaseException:
            with suppress(OSError):
                os.unlink(new)
            raise
        _sync_folder(self._folder)
        self._written = written

    def still_current(self) -> bool:
        """Note that the file is what the registry holds at this moment.

        Returns:
            Whether the file is the one that was saved; if not, it has to be saved again.

        Raises:
            OSError: it cannot be looked at.
        """
        path = self._folder / FILE
        try:
            if _identity(path.lstat()) != self._written:
                return False
        except FileNotFoundError:
            return False
        os.utime(path)
        return True

    def _body(self, inventory: Inventory) -> bytes:
        clouds = sorted(inventory, key=lambda cloud: cloud.name)
        for cloud in clouds:
            known = self._lines.get(cloud.name)
            if known is None or known[0] is not cloud:
                self._lines[cloud.name] = (cloud, to_json(cloud) + b"\n")
        # one by one: to free thousands of clouds at once would stop the event loop, too
        for name in self._lines.keys() - {cloud.name for cloud in clouds}:
            del self._lines[name]
        types = [
            to_json(inventory.declared.types[name]) + b"\n"
            for name in sorted(inventory.declared.types)
        ]
        cordons = [
            to_json(Cordon(name=name, reason=why)) + b"\n"
            for name, why in sorted(inventory.cordons.items())
        ]
        lines = (self._lines[cloud.name][1] for cloud in clouds)
        return b"".join([*types, *lines, *cordons])


def save(folder: Path, inventory: Inventory, registry: str) -> None:
    """Replace the file once.

    Raises:
        OSError: it could not be written; the old one stays.
    """
    LastGoodFile(folder, registry).save(inventory)


def set_aside(folder: Path, inventory: Inventory) -> tuple[str, Path] | None:
    """Keep the present file under another name, if it is damaged or has many clouds that are gone.

    Removes temporary files of crashed control planes.

    Args:
        folder: That of the file.
        inventory: What is to be saved.

    Returns:
        Why the file was kept, and as what; None where it is not.

    Raises:
        OSError: the folder cannot be changed.
    """
    long_ago = time.time() - LEFT_BEHIND
    for left in folder.glob(f".{FILE}*.new"):
        with suppress(FileNotFoundError):
            if left.lstat().st_mtime < long_ago:
                left.unlink()
    path = folder / FILE
    try:
        found = _read(path)
    except LastGoodDamaged as damage:
        kept = folder / f"{FILE}.unusable-{time.time_ns()}"
        path.rename(kept)
        return str(damage), kept
    saved = set(_CLOUD.findall(found[1])) if found is not None else set()
    gone = sum(inventory.get(name.decode()) is None for name in saved)
    if not is_mass_loss(gone, len(saved)):
        return None
    kept = folder / f"{FILE}.before-{time.time_ns()}"
    try:
        os.link(path, kept, follow_symlinks=False)
    except OSError:  # a file system without hard links
        path.rename(kept)
    return f"{gone} of {len(saved)} clouds that were saved are not registered any more", kept


def load(folder: Path) -> LastGood | None:
    """Return what was saved; None where nothing was.

    Raises:
        LastGoodDamaged: there is a file, and it cannot be used.
    """
    path = folder / FILE
    found = _read(path)
    if found is None:
        return None
    registry, body, current = found
    entries = {
        f"{path}:{number}": parse_json(line, f"{path}:{number}", max_bytes=LINE_BYTES)
        for number, line in enumerate(body.splitlines(), start=2)
    }
    return LastGood(entries=entries, registry=registry, current=current)


def _read(path: Path) -> tuple[str, bytes, float] | None:
    """Return the registry, the documents and the time of a file that is whole."""
    try:
        # what isn't a file must not be waited for
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise LastGoodDamaged(f"{path} is not a file")
            text = file.read()
    except FileNotFoundError:
        if path.is_symlink():
            raise LastGoodDamaged(f"{path} is a link to a file that is not there") from None
        return None
    except OSError as error:
        raise LastGoodDamaged(f"{path} cannot be read: {error.strerror}") from None
    head, _, body = text.partition(b"\n")
    try:
        about = json.loads(head)
        number, digest, registry = about["format"], about["sha256"], str(about["registry"])
        if type(number) is not int:
            raise TypeError
    except (ValueError, LookupError, TypeError, RecursionError):
        raise LastGoodDamaged(f"{path} is not a file of saved clouds") from None
    if number > FORMAT:
        raise LastGoodDamaged(
            f"{path} was written by a newer version of Scopeway "
            f"(format {number}, and this version reads format {FORMAT})"
        )
    if number != FORMAT or digest != hashlib.sha256(body).hexdigest():
        raise LastGoodDamaged(f"{path} is damaged: its checksum is another one")
    return registry, body, min(found.st_mtime, time.time())  # clocks may have been set back


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
