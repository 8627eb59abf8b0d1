"""Opens the registry that a URL names: `dir:folder`, `etcd://host:port/prefix` or `kubernetes:`.

The imports inside the functions keep gRPC out of the start of a command that reads a folder: it
takes 100 ms. So does the client library of Kubernetes, an extra.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from scopeway.control_plane.registry.interface import Registry, RegistryUnavailable, Store

if TYPE_CHECKING:
    from scopeway.control_plane.kubernetes_api.url import KubernetesUrl

PATIENCE = 5.0
"""Seconds to wait for the registry at the start, if no saved clouds could be served instead."""


def open_registry(url: str, *, patience: float = PATIENCE) -> Registry:
    """Return the registry that a URL names; `watch` connects to it.

    Args:
        url: `dir:<folder>`, `etcd://[user:password@]host:port[,host:port]/[prefix]` with the
            options `cacert`, `cert` and `key` for TLS, or `kubernetes:[file][?context=name]`.
        patience: Seconds to wait for the first listing of etcd or of an API server.

    Raises:
        RegistryUnavailable: the URL is not supported; the text names the wrong part.
    """
    if url.startswith("dir:"):
        from scopeway.control_plane.registry.directory.registry import DirectoryRegistry

        return DirectoryRegistry(Path(url.removeprefix("dir:")))
    if url.startswith("etcd:"):
        from scopeway.control_plane.registry.etcd.registry import EtcdRegistry
        from scopeway.control_plane.registry.etcd.url import parse_etcd_url

        return EtcdRegistry(parse_etcd_url(url), patience=patience)
    if url.startswith("kubernetes:"):
        from scopeway.control_plane.registry.kubernetes.registry import KubernetesRegistry

        return KubernetesRegistry(_kubernetes_url(url), patience=patience)
    scheme = url.partition(":")[0]  # not the whole URL: it may contain a password
    raise RegistryUnavailable(
        f"unsupported registry {scheme!r}; use dir:<folder>, etcd://host[:port] or kubernetes:"
    )


def open_store(url: str) -> Store:
    """Return the registry that a URL names, for writing.

    Raises:
        RegistryUnavailable: the URL is not supported, or that registry is not written by Scopeway.
    """
    if url.startswith("dir:"):
        raise RegistryUnavailable(f"{url} is changed by editing its files")
    if url.startswith("kubernetes:"):
        from scopeway.control_plane.registry.kubernetes.store import KubernetesStore

        return KubernetesStore(_kubernetes_url(url))
    from scopeway.control_plane.registry.etcd.store import EtcdStore
    from scopeway.control_plane.registry.etcd.url import parse_etcd_url

    return EtcdStore(parse_etcd_url(url))


def _kubernetes_url(url: str) -> "KubernetesUrl":
    from scopeway.control_plane.kubernetes_api.errors import ApiError
    from scopeway.control_plane.kubernetes_api.url import parse_kubernetes_url

    try:
        return parse_kubernetes_url(url)
    except ApiError as error:
        raise RegistryUnavailable(str(error)) from None
