"""The files of a site's certificate, as the node's metadata names them.

The control plane learns the names from the metadata and hands them back as secrets. So clusters and
listeners are the same bytes at every site, and no key is ever sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_METADATA: Final = ("certificate", "key", "authorities")


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteIdentity:
    """The files, as Envoy sees them; all in PEM."""

    certificate: str
    key: str
    authorities: str
    """Who signs the control plane and the other sites; several during a rotation."""


def from_metadata(metadata: Mapping[str, str]) -> SiteIdentity | None:
    """Return what a node says of its files; None where it says nothing, or not all."""
    found = {each: metadata.get(f"scopeway.identity.{each}", "") for each in _METADATA}
    return SiteIdentity(**found) if all(found.values()) else None


def to_metadata(identity: SiteIdentity) -> dict[str, str]:
    """Return what belongs below `scopeway.identity` in the metadata of a node."""
    return {each: getattr(identity, each) for each in _METADATA}
