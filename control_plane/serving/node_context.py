"""What the control plane knows of the node at the other end of a stream, once it is admitted."""

from dataclasses import dataclass

from scopeway.control_plane.translator.node_identity import SiteIdentity
from scopeway.control_plane.translator.node_setup import Setup

SiteKey = tuple[str, Setup]
"""A site, and the setup by which one of its Envoys may differ from the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeContext:
    """A node that was admitted (`node_auth.admit`)."""

    node_id: str
    site: str
    """The name of the node's own cloud: `node.cluster`, which its certificate proves if there is
    one."""
    setup: Setup
    identity: SiteIdentity | None
    """The files of the node's certificate; None: its bootstrap names none."""

    @property
    def key(self) -> SiteKey:
        """What the listeners, routes, secrets and filters of its Envoy are kept by."""
        return self.site, self.setup
