"""From a URL to a registry: `dir:folder`, `etcd://host:port/prefix`.

Owns the list of kinds. What a kind needs is imported when it is asked for: a folder needs no gRPC.
"""

from pathlib import Path

from scopeway.control_plane.registry.protocol import Registry, RegistryUnavailable, Store

PATIENCE = 5.0
"""Seconds to wait for a registry at the start, where nothing else could be served."""


def open_registry(url: str, *, patience: float = PATIENCE) -> Registry:
    """Return the registry that a URL names; nothing is connected or read before its `watch`.

    Args:
        url: `dir:<folder>`, or `etcd://[user:password@]host:port[,host:port]/[prefix]` with the
            options `cacert`, `cert` and `key` for TLS.
        patience: Seconds to wait for etcd's first listing.

    Raises:
        RegistryUnavailable: it isn't such a URL; names the part that is wrong.
    """
    if url.startswith("dir:"):
        from scopeway.control_plane.registry.directory.registry import DirectoryRegistry

        return DirectoryRegistry(Path(url.removeprefix("dir:")))
    if url.startswith("etcd:"):
        from scopeway.control_plane.registry.etcd.registry import EtcdRegistry
        from scopeway.control_plane.registry.etcd.url import parse_etcd_url

        return EtcdRegistry(parse_etcd_url(url), patience=patience)
    raise RegistryUnavailable(f"{url!r} is not a registry: dir:<folder> or etcd://<host>:<port>")


def open_store(url: str) -> Store:
    """Return the registry that a URL names, to be written.

    Raises:
        RegistryUnavailable: it isn't such a URL, or cannot be written through us.
    """
    if url.startswith("dir:"):
        raise RegistryUnavailable(f"{url} is changed by editing its files")
    from scopeway.control_plane.registry.etcd.store import EtcdStore
    from scopeway.control_plane.registry.etcd.url import parse_etcd_url

    return EtcdStore(parse_etcd_url(url))
