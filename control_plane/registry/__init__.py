"""Reads and writes registries: etcd, a folder of files, or a Kubernetes API server.

Start at `open_registry`.

`catalog` folds the batches of a registry into the inventory.
"""

from scopeway.control_plane.registry.factory import open_registry, open_store
from scopeway.control_plane.registry.interface import Batch, Registry, RegistryUnavailable, Store

__all__ = [
    "Batch",
    "Registry",
    "RegistryUnavailable",
    "Store",
    "open_registry",
    "open_store",
]
