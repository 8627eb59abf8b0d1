"""Until when the inventory is known to be current, and what follows for Envoys and users.

While the registry cannot be read, "not known here" does not mean "does not exist". So Envoys keep
what they report (`xds.source.MayBeOutdated`, docs/adr/0017), and rejections say since when the
registry cannot be read.
"""

import logging

from scopeway.control_plane.planner.plan import Plan, Rejection
from scopeway.control_plane.planner.staleness import mark_stale, registry_away_since, unknown_caller
from scopeway.control_plane.serving.log_rate_limit import LogBudget
from scopeway.xds.source import Node
from scopeway.xds.text import shown

_log = logging.getLogger(__name__)

LINES, SECONDS = 20, 60.0
"""At most so many lines about nodes of unknown clouds in so many seconds."""


class Staleness:
    """How far the inventory of a source can be trusted."""

    def __init__(self, until: float | None = None) -> None:
        self.until = until
        """When the registry was last read, in seconds since 1970; None while it can be read. Set it
        before an outdated batch is taken over, and to None after all that is current."""
        self._budget = LogBudget(LINES, SECONDS)

    @property
    def is_outdated(self) -> bool:
        """Return whether another control plane may know more."""
        return self.until is not None

    def annotate(self, plan: Plan) -> Plan:
        """Return a plan whose rejection says what may be outdated."""
        return plan if self.until is None else mark_stale(plan, self.until)

    def unknown_site(self, cloud: str) -> Rejection:
        """Return the rejection for a site whose cloud is not known."""
        return unknown_caller(cloud, self.until)

    def note_unknown(self, node: Node) -> None:
        """Log that the cloud of a node is unknown, if it may be registered all the same."""
        withheld = None if self.until is None else self._budget.take()
        if self.until is None or withheld is None:
            return
        _log.warning(
            "the cloud of a node is not known here; the node keeps what it has, and gets what it "
            "lacks once the registry is back (%s)",
            registry_away_since(self.until),
            extra={"node": shown(node.id), "cloud": shown(node.cluster)}
            | ({"lines_withheld": withheld} if withheld else {}),
        )
