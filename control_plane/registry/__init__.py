"""Reads and writes registries: etcd, or a folder of files. Start at `open_registry`.

`catalog` folds the batches of a registry into the inventory.
"""

from scopeway.control_plane.registry.opening import open_registry, open_store
from scopeway.control_plane.registry.protocol import Batch, Registry, RegistryUnavailable, Store

__all__ = [
    "Batch",
    "Registry",
    "RegistryUnavailable",
    "Store",
    "open_registry",
    "open_store",
]
