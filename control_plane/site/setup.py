"""In what the Envoys of one site differ, as their bootstraps say it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

LISTENERS: Final = "2"
"""What `node.metadata.scopeway.listeners` is in bootstraps of this version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What one Envoy needs that another one of its site may not."""

    access_log: str = ""
    """The path of the file, as that Envoy sees it; "" where it names none."""
    earlier: bool = False
    """Whether it was started with a bootstrap of an earlier version. It may have the listeners of
    that: those share their ports with others, which no update can change, and connections that are
    open keep filters that know nothing of clusters of one host name."""


def setup_of(metadata: Mapping[str, str]) -> Setup:
    """Return what the metadata of a node says."""
    return Setup(
        access_log=metadata.get("scopeway.access_log", ""),
        earlier=metadata.get("scopeway.listeners") != LISTENERS,
    )
