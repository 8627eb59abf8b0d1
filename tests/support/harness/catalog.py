"""A catalog for tests: clouds by name, and batches one after the other."""

from collections.abc import Mapping

from scopeway.control_plane.catalog.catalog import Catalog, Change
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.registry import Batch
from scopeway.control_plane.registry.interface import Entry

Entries = Mapping[str, Entry]


def cloud(name: str, version: int = 0) -> Cloud:
    return Cloud(name=name, labels={"version": str(version)})


class Fold:
    """A catalog whose clock goes on by a minute with each batch."""

    def __init__(self) -> None:
        self.catalog = Catalog()
        self.now = 0.0

    def __call__(
        self,
        upserts: Entries | None = None,
        *deletes: str,
        complete: bool = False,
        now: float | None = None,
    ) -> Change:
        self.now = self.now + 60 if now is None else 1000 + now
        batch = Batch(upserts=upserts or {}, deletes=deletes, complete=complete)
        return self.catalog.apply(batch, now=self.now)
