"""SPIFFE ids, X.509 certificates, and a small certificate authority that issues them.

`names` is pure, and all that plans, listeners and policies need. `certificates` makes and reads
certificates without I/O. `authority` keeps an authority and its certificates in a folder. Only
these two import `cryptography`.
"""

from scopeway.control_plane.identity.names import (
    CONTROL_PLANE,
    DEFAULT_TRUST_DOMAIN,
    cloud_of,
    control_plane_id,
    spiffe_id,
    trust_domain_problem,
)

__all__ = [
    "CONTROL_PLANE",
    "DEFAULT_TRUST_DOMAIN",
    "cloud_of",
    "control_plane_id",
    "spiffe_id",
    "trust_domain_problem",
]
