"""Reads a registry once."""

from scopeway.control_plane.catalog.catalog import Catalog, Change
from scopeway.control_plane.registry import Registry


async def read_registry(registry: Registry) -> Change:
    """Return what a registry holds now, and close it.

    Raises:
        RegistryUnavailable: it cannot be read.
    """
    watch = registry.watch()
    try:
        return Catalog().apply(await anext(watch), now=0)
    finally:
        await watch.aclose()
        await registry.close()
