"""Where clouds are registered: etcd, a folder of files, memory.

Owns reading registries and folding what they say into the inventory (`catalog`, pure). Knows no
scopes, compilers or streams. The way in is `open_registry`.
"""

from scopeway.control_plane.registry.catalog import Catalog, Change
from scopeway.control_plane.registry.opening import open_registry, open_store, read_registry
from scopeway.control_plane.registry.protocol import Batch, Registry, RegistryUnavailable, Store

__all__ = [
    "Batch",
    "Catalog",
    "Change",
    "Registry",
    "RegistryUnavailable",
    "Store",
    "open_registry",
    "open_store",
    "read_registry",
]
