"""What of the events of a stream goes into the log, and how loud."""

import logging
from typing import Final

from xds.events import (
    CERTIFICATE_ENDED,
    Event,
    LookupFailed,
    Nacked,
    NamesSkipped,
    SlowClient,
    StreamClosed,
    TypeNotServed,
)

_log = logging.getLogger("xds.server")
_REFUSALS: Final = (
    *("PERMISSION_DENIED", "UNAUTHENTICATED", "FAILED_PRECONDITION"),
    *("RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"),
)
"""Statuses of clients that come in vain until somebody changes something."""


def log_event(node: str, event: Event) -> None:
    """Log an event of the stream of `node`."""
    match event:
        case Nacked():
            _log.warning(
                "client rejected a response: %s",
                event.message,
                extra={"node": node, "type_url": event.type_url, "names": event.names},
            )
        case LookupFailed():
            _log.error(
                "source failed",
                exc_info=event.error,
                extra={"node": node, "type_url": event.type_url, "resource_name": event.name},
            )
        case StreamClosed(_, reason, opened) if opened and reason == CERTIFICATE_ENDED:
            # as often as clients renew theirs; who stays away is missed among the open streams
            _log.debug("%s", event, extra={"node": node})
        case StreamClosed(status, reason) if status in _REFUSALS:
            _log.warning(
                "stream ended, %s: %s", status, reason, extra={"node": node, "status": status}
            )
        case NamesSkipped() | TypeNotServed() | SlowClient():
            _log.warning("%s", event, extra={"node": node, "type_url": event.type_url})
        case _:
            _log.debug("%s", event, extra={"node": node})
