"""The interface of a registry: a stream of batches to read, and a store to write.

Knows neither etcd nor files. Invariant: the batches of one `watch`, folded in order by `catalog`,
are the contents of the registry.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.errors import ControlPlaneError

Declared = Cloud | Cordon | ServiceType
"""What a valid document declares."""

Entry = Declared | InvalidCloud
"""One entry: a valid document, or one that is not valid."""

Place = str
"""Where a registry keeps an entry: an etcd key, or a file and a name. Also shown to people."""


class RegistryUnavailable(ControlPlaneError):
    """The registry cannot be read; the text names the registry and the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The changes that a registry reports at once; they take effect together."""

    upserts: Mapping[Place, Entry] = field(default_factory=dict)
    """New or changed entries; those that are not valid as InvalidCloud."""
    deletes: Collection[Place] = ()
    """Deleted entries; never a place of `upserts`."""
    complete: bool = False
    """Whether `upserts` is the whole registry. True for the first batch of every `watch`."""
    stale: str | None = None
    """Why the registry cannot be reached now, for people ("etcd ... is away: connection refused");
    None if it can. Valid until the next batch."""
    current_until: float | None = None
    """If `stale`: the last time at which the reported entries were the contents of the registry, in
    seconds since 1970."""
    report_cost: Callable[[float], None] = field(default=lambda _: None, compare=False, repr=False)
    """The receiver calls this with the CPU seconds that applying the batch took. A registry may
    delay further changes of entries that are expensive to apply."""


class Store(Protocol):
    """A registry that can be written, for the command line."""

    async def refusals(self, values: Sequence[Declared], *, force: bool = False) -> Sequence[str]:
        """Return why the registry would refuse to store values; nothing is written.

        Args:
            values: What is to be put.
            force: As it will be passed to `put`.
        """

    async def put(self, cloud: Cloud, *, lease_ttl: int | None = None, force: bool = False) -> None:
        """Register a cloud, or replace it.

        Args:
            cloud: The new value.
            lease_ttl: Seconds after which the cloud is deleted unless it is put again; None: never.
            force: Whether to replace what other writers own, in a registry that knows owners.
        """

    async def get(self, name: str) -> Cloud | None:
        """Return a cloud.

        Raises:
            InvalidCloud: the document of that name is not valid.
        """

    async def list(self) -> Mapping[Place, Entry]:
        """Return all entries."""

    async def delete(self, name: str) -> bool:
        """Delete a cloud; return whether it existed."""

    async def cordon(self, cordon: Cordon) -> None:
        """Cordon a cloud, registered or not, or replace the reason."""

    async def cordoned(self, name: str) -> str | None:
        """Return the reason if a cloud is cordoned, else None.

        Raises:
            InvalidCloud: the document of its cordon is not valid.
        """

    async def uncordon(self, name: str) -> bool:
        """Remove a cordon; return whether there was one."""

    async def put_service_type(self, service_type: ServiceType, *, force: bool = False) -> None:
        """Declare a service type, or replace its declaration; `force` as for `put`."""

    async def service_types(self) -> Mapping[Place, Entry]:
        """Return all declarations of service types."""

    async def delete_service_type(self, name: str) -> bool:
        """Delete the declaration of a service type; return whether there was one."""

    async def close(self) -> None:
        """Close connections."""


class Registry(Protocol):
    """A source of clouds that can be watched."""

    @property
    def name(self) -> str:
        """The name in logs and errors; contains no password."""

    def watch(self) -> AsyncGenerator[Batch, None]:
        """Yield a complete batch and then every change, forever.

        A lost connection is re-established inside, and does not end the watch. Only one watch may
        run at a time. Start another one only after RegistryUnavailable. Close a watch with
        `aclosing`.

        Raises:
            RegistryUnavailable: the registry could not be read at the start.
        """

    async def close(self) -> None:
        """Close connections and files; call this when no `watch` runs."""
