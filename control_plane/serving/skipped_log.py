"""Why plans skipped clouds of an `|` or of a label selector: counted and logged.

The counter has every time. The log has a line when the reasons of a target change, within a budget.
The values of the counter's label are the planner's causes, never what a client named.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence

from scopeway.control_plane.collections.listing import listed
from scopeway.control_plane.planner.plan import Cause, Skipped
from scopeway.control_plane.serving.log_rate_limit import LogBudget

_log = logging.getLogger(__name__)

LINES, SECONDS = 20, 60.0
"""At most so many lines in so many seconds."""
REMEMBERED = 4096
"""Sites and targets whose last line is remembered; some 200 bytes each."""
SHOWN = 3
"""Clouds of one line."""


class SkippedLog:
    """The clouds skipped since the start; a scrape of the metrics reads it in its own thread."""

    def __init__(self, budget: LogBudget | None = None) -> None:
        self._budget = budget or LogBudget(LINES, SECONDS)
        self._counts: Counter[Cause] = Counter()
        self._told: OrderedDict[tuple[str, str], int] = OrderedDict()

    @property
    def counts(self) -> Mapping[Cause, int]:
        """How often clouds were skipped, by cause."""
        return self._counts

    def note(self, site: str, target: str, skipped: Sequence[Skipped]) -> None:
        """Count and log the clouds, if any, that the plan of a site's target skips."""
        for each in skipped:
            self._counts[each.cause] += 1
        key = (site, target)
        if not skipped:
            self._told.pop(key, None)
            return
        digest = hash(tuple(skipped))
        if self._told.get(key) == digest:
            return
        withheld = self._budget.take()
        if withheld is None:
            return
        self._told[key] = digest
        self._told.move_to_end(key)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        reasons = [f"{each.cloud} ({each.cause}): {each.reason}" for each in skipped[:SHOWN]]
        _log.info(
            "passed over: %s",
            listed(reasons, SHOWN, total=len(skipped), separator="; "),
            extra={"cloud": site, "target": target}
            | ({"lines_withheld": withheld} if withheld else {}),
        )
