"""From a URL to a registry: `dir:folder`, `etcd://host:port/prefix`.

Owns the list of kinds. What a kind needs is imported when it is asked for: a folder needs no gRPC.
"""

from pathlib import Path

from scopeway.control_plane.registry.catalog import Catalog, Change
from scopeway.control_plane.registry.protocol import Registry, RegistryUnavailable, Store

PATIENCE = 5.0
"""Seconds to wait for a registry at the start, where nothing else could be served."""
PATIENCE_WITH_STATE = 2.0
"""The same where the saved state can be served instead."""


def open_registry(
    url: str, *, state_dir: Path | None = None, patience: float | None = None
) -> Registry:
    """Return the registry that a URL names; nothing is connected or read before its `watch`.

    Args:
        url: `dir:<folder>`, or `etcd://[user:password@]host:port[,host:port]/[prefix]` with the
            options `cacert`, `cert` and `key` for TLS.
        state_dir: Where the last good clouds are kept, and served while the registry is away.
        patience: Seconds to wait for etcd's first listing; None: 5, and 2 with a `state_dir`.

    Raises:
        RegistryUnavailable: it isn't such a URL; names the part that is wrong.
    """
    if patience is None:
        patience = PATIENCE if state_dir is None else PATIENCE_WITH_STATE
    registry = _open(url, patience)
    if state_dir is None:
        return registry
    from scopeway.control_plane.registry.state import StateRegistry

    return StateRegistry(registry, state_dir)


def open_store(url: str) -> Store:
    """Return the registry that a URL names, to be written.

    Raises:
        RegistryUnavailable: it isn't such a URL, or cannot be written through us.
    """
    if url.startswith("dir:"):
        raise RegistryUnavailable(f"{url} is changed by editing its files")
    from scopeway.control_plane.registry.etcd_store import EtcdStore
    from scopeway.control_plane.registry.etcd_url import parse_etcd_url

    return EtcdStore(parse_etcd_url(url))


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


def _open(url: str, patience: float) -> Registry:
    if url.startswith("dir:"):
        from scopeway.control_plane.registry.directory import DirectoryRegistry

        return DirectoryRegistry(Path(url.removeprefix("dir:")))
    if url.startswith("etcd:"):
        from scopeway.control_plane.registry.etcd import EtcdRegistry
        from scopeway.control_plane.registry.etcd_url import parse_etcd_url

        return EtcdRegistry(parse_etcd_url(url), patience=patience)
    raise RegistryUnavailable(f"{url!r} is not a registry: dir:<folder> or etcd://<host>:<port>")
