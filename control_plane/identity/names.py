"""The SPIFFE ids of the fleet: `spiffe://<trust domain>/cloud/<name>`.

Pure. Invariant: `cloud_of` accepts exactly the ids that `spiffe_id` makes, byte for byte.

https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md
"""

import re
from typing import Final

from scopeway.control_plane.clouds import validators

DEFAULT_TRUST_DOMAIN: Final = "scopeway"
"""For first steps; a fleet of several owners should use a DNS name of its own."""
CLOUD: Final = "cloud"
CONTROL_PLANE: Final = "control-plane"
"""The path of the control planes' id; not below `cloud/`, because a cloud may have this name."""

_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}")


def spiffe_id(trust_domain: str, cloud: str) -> str:
    """Return the SPIFFE id of the site of a cloud."""
    return f"spiffe://{trust_domain}/{CLOUD}/{cloud}"


def control_plane_id(trust_domain: str) -> str:
    """Return the SPIFFE id of the control planes."""
    return f"spiffe://{trust_domain}/{CONTROL_PLANE}"


def cloud_of(spiffe: str, trust_domain: str) -> str | None:
    """Return the cloud of a SPIFFE id; None if it is not the id of a cloud in this trust domain."""
    prefix = spiffe_id(trust_domain, "")
    name = spiffe.removeprefix(prefix)
    if not spiffe.startswith(prefix) or validators.name_problem(name) is not None:
        return None
    return name


def trust_domain_problem(text: str) -> str | None:
    """Return why a text is not a valid trust domain, or None."""
    if not _TRUST_DOMAIN.fullmatch(text):
        return "is not a trust domain of lower case letters, digits, '.', '-' and '_', at most 255"
    return None
