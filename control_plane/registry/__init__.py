"""Where clouds are registered: etcd or a folder of files.

Reads and writes registries. The way in is `open_registry`. What the batches of a registry add up
to is for `catalog` to say.
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
