"""What differs between the Envoys of one site, from their bootstraps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from scopeway.control_plane.translator.collector_sockets import folder_problem

PROTOCOL: Final = "2"
"""What `node.metadata.scopeway.protocol` is in bootstraps of this version. Control planes of
earlier versions refuse it, so such an Envoy has never had their listeners."""
EARLIER: Final = "1"
"""The same in bootstraps of earlier versions, which are served all the same."""


CACHED: Final = "cached"
"""What `node.metadata.scopeway.validations` is if the collector caches validations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The settings of one Envoy that other Envoys of its site may not have."""

    access_log: str = ""
    """The path of the file, as that Envoy sees it; "" where it names none."""
    earlier: bool = False
    """Whether it was started with a bootstrap of an earlier version. It may have listeners of that
    version: they share their ports, which no update can change, and open connections keep filters
    that do not know clusters of one host name."""
    collector: str = ""
    """The folder of the sockets that it shares with its collector, as that Envoy sees it; "" if it
    has no collector."""
    caches_validations: bool = False
    """Whether the collector answers validations of tokens that the site's Keystone has just
    answered (`collector.validation.validations`)."""


DEFAULT_SETUP: Final = Setup()


def setup_of(metadata: Mapping[str, str]) -> Setup:
    """Return what the metadata of a node says."""
    folder = metadata.get("scopeway.collector", "")
    if folder_problem(folder) is not None:  # an Envoy would reject a listener at such a path
        folder = ""
    return Setup(
        access_log=metadata.get("scopeway.access_log", ""),
        earlier=metadata.get("scopeway.protocol") == EARLIER,
        collector=folder,
        caches_validations=bool(folder) and metadata.get("scopeway.validations") == CACHED,
    )
