"""What of the events of a stream goes into the log, how loud, and how often.

A client decides how often it rejects a response or comes in vain. So of each kind of line a client
gets `LINES` at once and then one in `SECONDS`, which says how many were left out before it.
"""

import logging
from time import monotonic
from typing import Final

from scopeway.xds.events import (
    CERTIFICATE_ENDED,
    Event,
    Kept,
    LookupFailed,
    Nacked,
    NamesSkipped,
    SlowClient,
    StreamClosed,
    Throttled,
    TypeNotServed,
)
from scopeway.xds.grpc_server.token_bucket import TokenBucket
from scopeway.xds.text import shown

_log = logging.getLogger("scopeway.xds")
_REFUSALS: Final = (
    *("PERMISSION_DENIED", "UNAUTHENTICATED", "FAILED_PRECONDITION", "INVALID_ARGUMENT"),
    *("RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"),
)
"""Statuses of clients that come in vain until somebody changes something."""

LINES: Final = 10
SECONDS: Final = 10.0
_NAMES: Final = 10
"""Names of a rejected response that a line shows."""
_MESSAGE: Final = 1024
"""Characters of a client's own words that a line shows."""


class StreamLog:
    """The lines about one client's streams."""

    __slots__ = ("_buckets", "_omitted")

    def __init__(self) -> None:
        self._buckets: dict[type[Event], TokenBucket] = {}
        self._omitted: dict[type[Event], int] = {}

    def log(self, node: str, event: Event) -> None:
        """Log an event of a stream of `node`."""
        level = _level(event)
        if level == logging.DEBUG:
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug("%s", shown(str(event), _MESSAGE), extra={"node": shown(node)})
            return
        omitted = self._allow(type(event))
        if omitted is None:
            return
        fields: dict[str, object] = {"node": shown(node)}
        if omitted:
            fields["lines_left_out"] = omitted
        _write(level, event, fields)

    def _allow(self, kind: type[Event]) -> int | None:
        """Return how many lines of a kind were left out before this one; None: this one, too."""
        bucket = self._buckets.get(kind)
        if bucket is None:
            bucket = self._buckets[kind] = TokenBucket(rate=1 / SECONDS, burst=LINES)
        now = monotonic()
        if bucket.wait_time(1, now):
            self._omitted[kind] = self._omitted.get(kind, 0) + 1
            return None
        bucket.take(1, now)
        return self._omitted.pop(kind, 0)


def _level(event: Event) -> int:
    match event:
        case LookupFailed():
            return logging.ERROR
        case StreamClosed(_, reason, opened) if opened and reason == CERTIFICATE_ENDED:
            # as often as clients renew theirs; who stays away is missed among the open streams
            return logging.DEBUG
        case StreamClosed(status) if status in _REFUSALS:
            return logging.WARNING
        case Kept(first=True):
            return logging.WARNING
        case Nacked() | NamesSkipped() | TypeNotServed() | SlowClient() | Throttled():
            return logging.WARNING
        case _:
            return logging.DEBUG


def _write(level: int, event: Event, fields: dict[str, object]) -> None:
    match event:
        case Nacked():
            names = [shown(name) for name in event.names[:_NAMES]]
            if len(event.names) > _NAMES:
                names.append(f"and {len(event.names) - _NAMES} more")
            fields |= {"type_url": shown(event.type_url), "names": names}
            _log.log(
                level,
                "client rejected a response: %s",
                shown(event.message, _MESSAGE),
                extra=fields,
            )
        case LookupFailed():
            fields |= {"type_url": shown(event.type_url), "resource_name": shown(event.name)}
            _log.log(level, "source failed", exc_info=event.error, extra=fields)
        case StreamClosed(status, reason):
            fields["status"] = status
            _log.log(level, "stream ended, %s: %s", status, shown(reason, _MESSAGE), extra=fields)
        case Throttled(seconds):
            _log.log(
                level,
                "the client has used up its budget of CPU time, its work waits: %.3f s",
                seconds,
                extra=fields,
            )
        case Kept(type_url, count):
            fields |= {"type_url": shown(type_url), "count": count}
            _log.log(
                level,
                "the client keeps what it has, which is not what is known here: that is outdated",
                extra=fields,
            )
        case NamesSkipped(type_url) | TypeNotServed(type_url) | SlowClient(type_url):
            fields["type_url"] = shown(type_url)
            _log.log(level, "%s", shown(str(event), _MESSAGE), extra=fields)
