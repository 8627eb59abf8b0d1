"""What the clouds of a fan-out did, as Scopeway reports it in the response.

The header `X-Scopeway-Report` is on each response of a fan-out. The report in the body, under the
key `scopeway:report`, has more and wins. Both come from outside: sizes are limited here, and
`sentences` escapes the texts.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from scopeway.control_plane.openstack_client.structured_fields import (
    InvalidField,
    Item,
    parse_dictionary,
    parse_list,
)

MAX_HEADER = 16 * 1024
MAX_BODY = 4 * 1024 * 1024
"""Bytes of the report within a body: 4,096 clouds with the longest name and reason."""
MAX_CLOUDS = 4096

_KEY = b'"scopeway:report"'
_MORE = "more"
_MAX_STATUS = 599


class UnreadableReport(ValueError):
    """The response has a report that cannot be read."""


@dataclass(frozen=True, slots=True)
class CloudResult:
    """What one cloud did; the texts are as they came."""

    cloud: str
    status: int = 0
    """The HTTP status; 0 if unknown."""
    cause: str = ""
    reason: str = ""
    id: str = ""
    """The id of the resource that a write made or changed."""
    done: str = ""
    """Whether it did a write: "yes", "no" or "perhaps"; "" if only the status is known."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the clouds of one request did."""

    asked: int
    failures: int = 0
    """How many clouds did not answer; `failed` may name fewer."""
    failed: tuple[CloudResult, ...] = ()
    results: tuple[CloudResult, ...] = ()
    """Each cloud of a write; empty for a read."""


def read_report(header: str, body: bytes | None) -> Report:
    """Return the report of a response.

    Args:
        header: The value of `X-Scopeway-Report`.
        body: The whole body, or None if it is not to be read.

    Raises:
        UnreadableReport: The report has an unknown form, or is too large.
    """
    in_body = _from_body(body) if body else None
    return in_body or _from_header(header)


def _from_body(body: bytes) -> Report | None:
    """Return the report that ends a JSON object, without parsing what stands before it.

    An item of a hostile cloud may contain the key as well. Only the report of the outermost object
    is followed by nothing but one brace.
    """
    key = body.rfind(_KEY)
    if key < 0:
        return None
    tail = body[key + len(_KEY) : key + len(_KEY) + MAX_BODY].strip()
    if not (tail.startswith(b":") and tail.endswith(b"}")):
        return None
    try:
        found = json.loads(tail[1:-1])
    except (ValueError, RecursionError):
        return None
    return _from_json(found) if isinstance(found, dict) else None


def _from_json(found: Mapping[str, object]) -> Report:
    failed = _clouds(found.get("failed"))
    results = _clouds(found.get("results"))
    asked = max(_count(found.get("asked")), len(failed), len(results))
    answered = found.get("answered")
    missing = asked - min(asked, _count(answered)) if answered is not None else 0
    return Report(asked, max(len(failed), missing), failed, results)


def _clouds(found: object) -> tuple[CloudResult, ...]:
    entries = found[:MAX_CLOUDS] if isinstance(found, list) else []
    return tuple(
        CloudResult(
            cloud=_text(entry.get("cloud")),
            status=_status(entry.get("status")),
            cause=_text(entry.get("cause")),
            reason=_text(entry.get("reason")),
            id=_text(entry.get("id")),
            done=_text(entry.get("done")),
        )
        for entry in entries
        if isinstance(entry, dict)
    )


def _from_header(header: str) -> Report:
    if len(header) > MAX_HEADER:
        raise UnreadableReport(f"it is longer than {MAX_HEADER} bytes")
    try:
        if header.lstrip().startswith("asked="):
            return _of_read(parse_dictionary(header))
        return _of_write(parse_list(header))
    except InvalidField as error:
        raise UnreadableReport(str(error)) from None


def _of_read(members: Mapping[str, Item]) -> Report:
    counts = {key: _count(item.value) for key, item in members.items()}
    clouds = members["clouds"].value if "clouds" in members else ()
    failed = tuple(map(_cloud, clouds)) if isinstance(clouds, tuple) else ()
    asked = max(counts["asked"], len(failed))
    missing = asked - min(asked, counts["answered"]) if "answered" in counts else 0
    failures = max(missing, counts.get("failed", 0), len(failed))
    return Report(asked, min(asked, failures), failed)


def _of_write(items: list[Item]) -> Report:
    results = []
    more = 0
    for item in items:
        if item.value == _MORE and "status" not in item.parameters:
            more = _count(item.parameters.get("n"))
        else:
            results.append(_cloud(item))
    return Report(len(results) + more, results=tuple(results))


def _cloud(item: Item) -> CloudResult:
    of = item.parameters
    return CloudResult(
        cloud=_text(item.value),
        status=_status(of.get("status")),
        cause=_text(of.get("cause")),
        reason=_text(of.get("reason")),
        id=_text(of.get("id")),
    )


def _text(found: object) -> str:
    return found if isinstance(found, str) else ""


def _count(found: object) -> int:
    """Return a number of clouds, at most what a fan-out may have."""
    if not isinstance(found, int) or isinstance(found, bool):
        return 0
    return min(max(found, 0), MAX_CLOUDS)


def _status(found: object) -> int:
    return found if isinstance(found, int) and 100 <= found <= _MAX_STATUS else 0
