"""Which events of a stream are logged, at which level, and how often.

A client decides how often it rejects a response or connects in vain. So a client gets `LINES` lines
of each kind at once, and then one in `SECONDS`, which says how many were left out before it.

The fields that a message names are `extra` fields too, for programs that read log records.
"""

import logging
from time import monotonic
from typing import Final

from scopeway.xds.events import (
    CERTIFICATE_EXPIRED,
    Event,
    Kept,
    LookupFailed,
    Nacked,
    NamesSkipped,
    SlowClient,
    SourceBlocked,
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
"""Statuses of clients that fail again until somebody changes something."""

LINES: Final = 10
SECONDS: Final = 10.0
_NAMES: Final = 10
"""Names of a rejected response that a line shows."""
_MESSAGE: Final = 1024
"""Characters of a text from outside that a line shows."""


class StreamLog:
    """The log lines about the streams of one client."""

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
        message, fields = _line(event)
        fields["node"] = shown(node)
        if omitted:
            fields["lines_left_out"] = omitted
        error = event.error if isinstance(event, LookupFailed) else None
        _log.log(level, message, fields, exc_info=error, extra=fields)

    def _allow(self, kind: type[Event]) -> int | None:
        """Return how many lines of a kind were left out before this one; None: omit this one."""
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
        case StreamClosed(_, reason, opened) if opened and reason == CERTIFICATE_EXPIRED:
            # clients renew their certificates regularly; the status shows one that stays away
            return logging.DEBUG
        case StreamClosed(status) if status in _REFUSALS:
            return logging.WARNING
        case Kept(first=True):
            return logging.WARNING
        case Nacked() | NamesSkipped() | TypeNotServed() | SlowClient() | Throttled():
            return logging.WARNING
        case SourceBlocked():
            return logging.WARNING
        case _:
            return logging.DEBUG


def _line(event: Event) -> tuple[str, dict[str, object]]:
    """Return the message of a line and its fields but for `node`."""
    match event:
        case Nacked(type_url, names, code, message):
            known = [shown(name) for name in names[:_NAMES]]
            if len(names) > _NAMES:
                known.append(f"and {len(names) - _NAMES} more")
            return (
                "client rejected a response (NACK): node %(node)s, type %(type_url)s, "
                "resources %(names)s: %(error)s",
                {
                    "type_url": shown(type_url),
                    "names": known,
                    "code": code,
                    "error": shown(message, _MESSAGE),
                },
            )
        case LookupFailed(type_url, name, error, retry_after):
            retry = "" if retry_after is None else ", will retry in %(retry_after).2g s"
            fields: dict[str, object] = {
                "type_url": shown(type_url),
                "resource_name": shown(name),
                "error": shown(f"{type(error).__name__}: {error}", _MESSAGE),
            }
            if retry_after is not None:
                fields["retry_after"] = retry_after
            return (
                f"resource lookup failed{retry}: type %(type_url)s, resource %(resource_name)s, "
                "node %(node)s: %(error)s",
                fields,
            )
        case SourceBlocked(call, type_url, name, seconds):
            return (
                "source blocked the event loop for %(seconds).3f s in %(call)s: node %(node)s, "
                "type %(type_url)s, resource %(resource_name)s; make it answer later (async def)",
                {
                    "seconds": seconds,
                    "call": call,
                    "type_url": shown(type_url) or "-",
                    "resource_name": shown(name) or "-",
                },
            )
        case StreamClosed(status, reason):
            return (
                "stream ended with %(status)s: node %(node)s: %(reason)s",
                {"status": status, "reason": shown(reason, _MESSAGE)},
            )
        case Throttled(seconds):
            return (
                "client has used up its CPU budget, its requests and responses wait for "
                "%(seconds).3f s: node %(node)s",
                {"seconds": seconds},
            )
        case Kept(type_url, count):
            return (
                "client keeps the resources that it reported, because the source is outdated: "
                "node %(node)s, type %(type_url)s, resources: %(count)d",
                {"type_url": shown(type_url), "count": count},
            )
        case NamesSkipped(type_url, count):
            return (
                "skipped resource names that are too long, not UTF-8 or over the limit: "
                "node %(node)s, type %(type_url)s, names: %(count)d",
                {"type_url": shown(type_url), "count": count},
            )
        case TypeNotServed(type_url):
            return (
                "client requested a type that the source does not serve: node %(node)s, "
                "type %(type_url)s",
                {"type_url": shown(type_url)},
            )
        case SlowClient(type_url):
            return (
                "client did not read a response in time, ending its stream: node %(node)s, "
                "type %(type_url)s",
                {"type_url": shown(type_url)},
            )
        case _:
            return "%(event)s", {"event": shown(str(event), _MESSAGE)}
