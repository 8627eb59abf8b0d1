"""The names of the fields of every object of the documents.

The parsers refuse all other fields. The custom resource definitions have the same fields
(`custom_resources`).
"""

from typing import Final

from scopeway.control_plane.clouds.caller_limits import AT_ONCE, PER_SECOND

Names = frozenset[str]

DOCUMENT: Final[Names] = frozenset({"apiVersion", "kind", "metadata", "spec"})

# EdgeCloud
METADATA: Final[Names] = frozenset({"name", "labels"})
SPEC: Final[Names] = frozenset({"front", "peer", "services", "accept", "acceptMode"})
FRONT: Final[Names] = frozenset({"address", "port", "ports", "bind", "region", "url", "tls"})
PEER: Final[Names] = frozenset({"address", "port", "bind", "limits"})
LIMITS: Final[Names] = frozenset({PER_SECOND, AT_ONCE})
TLS: Final[Names] = frozenset({"certificate", "key"})
SERVICE: Final[Names] = frozenset({"endpoints", "path", "host"})
ENDPOINT: Final[Names] = frozenset({"address", "port"})
RULE: Final[Names] = frozenset({"clouds", "services", "methods", "identity", "limits", "fanout"})
IDENTITY: Final[Names] = frozenset({"clouds", "roles", "ids"})

# Cordon and ServiceType
NAME_ONLY: Final[Names] = frozenset({"name"})
CORDON_SPEC: Final[Names] = frozenset({"reason"})
SERVICE_TYPE_SPEC: Final[Names] = frozenset({"aliases", "protocol", "forward", "lists"})
SERVICE_LIST: Final[Names] = frozenset({"path", "key", "id"})
