"""The limits of one stream and one site."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLimits:
    """What one stream and one site may use, and how many idle sites are remembered."""

    targets: int = 10_000
    """Distinct targets."""
    negative: int = 500
    """Targets among them that cannot be served, and are answered with the reason."""
    streams_per_node: int = 4
    """Streams of one `node.id` at a time; a vanished connection counts for up to 40 s."""
    streams_per_cloud: int = 32
    """Streams of all Envoys of one cloud, which is one certificate's name."""
    atoms_per_cloud: int = 40_000
    """Clouds and labels in all targets that the Envoys of one cloud use: each costs some memory,
    and work when such a cloud changes."""
    idle_sites: int = 10_000
    """Sites without a stream that are remembered, for their Envoys that come back; 6 kB each."""
    idle_targets: int = 500_000
    """Targets of all of these; each 0.2 kB and the length of its name."""
