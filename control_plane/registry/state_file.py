"""The file of the last good clouds: one line about itself, then one document in each line.

Owns its form. Blocks; called in threads. Invariant: the file is either the new one or the old one,
also after a crash; one that is damaged is refused as a whole, as half an inventory would take
clouds away.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from control_plane.clouds.cordon import Cordon
from control_plane.clouds.inventory import Inventory
from control_plane.clouds.model import Cloud
from control_plane.registry.documents import parse_json, to_json
from control_plane.registry.protocol import Entry, Place

FILE = "clouds.jsonl"
FORMAT = 1


class StateDamaged(Exception):
    """The file cannot be used; the text names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What a file holds."""

    entries: dict[Place, Entry]
    registry: str
    """Where these clouds came from."""
    current: float
    """Until when they are known to have been what the registry holds, in seconds since 1970."""


def save(folder: Path, inventory: Inventory, registry: str) -> None:
    """Replace the file.

    Raises:
        OSError: it could not be written; the old one stays.
    """
    entries: list[Cloud | Cordon] = sorted(inventory, key=lambda cloud: cloud.name)
    entries += [Cordon(name=name, reason=why) for name, why in sorted(inventory.cordons.items())]
    body = b"".join(to_json(entry) + b"\n" for entry in entries)
    about = {"format": FORMAT, "registry": registry, "sha256": hashlib.sha256(body).hexdigest()}
    new = folder / f".{FILE}.new"
    with new.open("wb") as file:
        file.write(json.dumps(about).encode() + b"\n" + body)
        file.flush()
        os.fsync(file.fileno())
    new.replace(folder / FILE)
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def still_current(folder: Path) -> None:
    """Note that the file is what the registry holds at this moment."""
    os.utime(folder / FILE)


def load(folder: Path) -> Saved | None:
    """Return what was saved; None where nothing was.

    Raises:
        StateDamaged: there is a file, and it cannot be used.
    """
    path = folder / FILE
    try:
        text = path.read_bytes()
        current = path.stat().st_mtime
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateDamaged(f"{path} cannot be read: {error.strerror}") from None
    head, _, body = text.partition(b"\n")
    try:
        about = json.loads(head)
        known = (about["format"], about["sha256"])
        registry = str(about["registry"])
    except (ValueError, LookupError, TypeError):
        raise StateDamaged(f"{path} is not a file of saved clouds") from None
    if known != (FORMAT, hashlib.sha256(body).hexdigest()):
        raise StateDamaged(f"{path} is damaged")
    places = [f"{path}:{number}" for number, _ in enumerate(body.splitlines(), start=2)]
    entries = dict(zip(places, map(parse_json, body.splitlines(), places), strict=True))
    return Saved(entries=entries, registry=registry, current=current)
