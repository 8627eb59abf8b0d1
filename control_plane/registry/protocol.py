"""What a registry is: the source of all clouds, seen as a stream of batches.

Owns the two shapes that every registry speaks. Knows no etcd, no files, no Envoy. Invariant: the
batches of one `watch`, folded in order, are all that the registry holds; `catalog` folds them.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.manifest import InvalidCloud
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.errors import ControlPlaneError

Entry = Cloud | Cordon | InvalidCloud
"""What stands in one place: a cloud, the cordon of one, or something that is refused."""

Place = str
"""Where a registry keeps one entry: an etcd key, or a file and what is in it. For people, too."""


class RegistryUnavailable(ControlPlaneError):
    """The registry cannot be read; the sentence names it and says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a registry has to tell at once; seen as a whole or not at all."""

    upserts: Mapping[Place, Entry] = field(default_factory=dict)
    """New or changed entries, the bad ones as the reason why they are refused."""
    deletes: Collection[Place] = ()
    """Entries that are gone; never a place of `upserts`."""
    complete: bool = False
    """`upserts` is everything: what isn't in it is gone. So is the first batch of every `watch`."""
    stale: str | None = None
    """Not None: the registry cannot be reached just now, and why, in words for people ("etcd ... is
    away: connection refused"). Holds until the next batch."""
    current_until: float | None = None
    """Where it is stale: until when what was told is known to have been what the registry holds, in
    seconds since 1970."""
    report_cost: Callable[[float], None] = field(default=lambda _: None, compare=False, repr=False)
    """To be called by who has taken it over, with the seconds of CPU that this took: a registry may
    let what takes long rest before its next change."""


class Store(Protocol):
    """A registry that can be written, for the command line."""

    async def put(self, cloud: Cloud, *, lease_ttl: int | None = None) -> None:
        """Register a cloud, or replace it.

        Args:
            cloud: The new value.
            lease_ttl: Seconds after which it is gone unless it is put again; None: it stays.
        """

    async def get(self, name: str) -> Cloud | None:
        """Return a cloud.

        Raises:
            InvalidCloud: what is registered under that name is refused.
        """

    async def list(self) -> Mapping[Place, Entry]:
        """Return everything."""

    async def delete(self, name: str) -> bool:
        """Take a cloud away; tell whether it was there."""

    async def cordon(self, cordon: Cordon) -> None:
        """Cordon a cloud, registered or not, or give another reason."""

    async def cordoned(self, name: str) -> str | None:
        """Return why a cloud is cordoned, None where it isn't.

        Raises:
            InvalidCloud: what stands in the place of its cordon is refused.
        """

    async def uncordon(self, name: str) -> bool:
        """Lift a cordon; tell whether there was one."""

    async def close(self) -> None:
        """Give back connections."""


class Registry(Protocol):
    """Somewhere clouds are registered."""

    @property
    def name(self) -> str:
        """How people call it in logs and errors; holds no password."""

    def watch(self) -> AsyncGenerator[Batch, None]:
        """Yield a complete batch and then every change, for ever.

        A lost connection is mended inside and never ends it. One at a time; to be called again
        after a RegistryUnavailable only. Close it (`aclosing`) rather than leave it.

        Raises:
            RegistryUnavailable: it could not be read at the start.
        """

    def release(self, names: Collection[str]) -> None:
        """Take note that clouds, lost from it in a storm and held since, were given up.

        For registries that remember clouds themselves; others hold none.
        """

    async def close(self) -> None:
        """Give back connections and files; to be called when no `watch` runs any more."""
