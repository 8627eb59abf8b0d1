"""Whether a process is alive and ready: the pages that probes and load balancers ask for."""

from collections.abc import Mapping

from scopeway.control_plane.admin.answers import Answer, Page, text_answer


class Health:
    """The state of one process, and its two pages.

    /healthz is 200 while the process runs. /readyz is 200 once `ready` has been set and until
    `leaving` is, else 503. Neither says more than that.
    """

    def __init__(self) -> None:
        self.ready = False
        self.leaving = False

    def pages(self) -> Mapping[str, Page]:
        """Return /healthz and /readyz."""
        return {"/healthz": lambda: text_answer(200, "ok"), "/readyz": self._readyz}

    def _readyz(self) -> Answer:
        if self.leaving:
            return text_answer(503, "this control plane is leaving")
        if self.ready:
            return text_answer(200, "ready")
        return text_answer(503, "the registry has not been listed yet")
