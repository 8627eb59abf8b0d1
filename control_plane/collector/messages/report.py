"""What answered and what did not: the report of a fan-out, and errors of the collector. Pure.

The report is JSON in a body, under the key `scopeway:report`, and a header, `X-Scopeway-Report`
(RFC 9651). Texts of clouds are cut, and what a header cannot hold is replaced.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Literal

import msgspec

from scopeway.control_plane.collector.messages.request import FanoutRequest

CLOUD: Final = "scopeway:cloud"
"""The field of an item that names its cloud, or clouds."""
REPORT: Final = "scopeway:report"
"""The field of a body that holds the report."""

MAX_REASON: Final = 300
"""Characters of a reason."""
MAX_HEADER: Final = 8192
"""Bytes of the header."""
MAX_NAMED: Final = 5
"""Failures that a sentence names."""

Cause = Literal[
    # from the control plane: why a cloud was not asked at all
    "unknown",
    "no-service",
    "policy",
    "cordoned",
    # from the collector
    "unreachable",
    "timeout",
    "refused",
    "error",
    "malformed",
    "too-large",
    "not-asked",
]

_MISSING_REASONS: Final = {
    "unknown": "no such cloud",
    "no-service": "this cloud does not offer the service",
    "policy": "the policy of this cloud does not allow the request",
    "cordoned": "this cloud is cordoned",
    "unreachable": "this site has no way to the cloud",
}
_encode = msgspec.json.Encoder().encode
_NOT_IN_A_STRING = re.compile(r"[^ !#-\[\]-~]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Failure:
    """A cloud that gave nothing to an answer."""

    cloud: str
    status: int
    cause: str
    reason: str

    def document(self) -> dict[str, Any]:
        """Return the failure as JSON has it."""
        return {
            "cloud": self.cloud,
            "status": self.status,
            "cause": self.cause,
            "reason": self.reason,
        }


@dataclass(slots=True)
class Report:
    """What answered and what did not."""

    asked: int
    """Clouds of the expression, those that could not be asked included."""
    answered: int = 0
    failed: list[Failure] = field(default_factory=list)
    replicas: int = 0
    """Items that were left out, since another cloud had given one with the same id."""
    unchecked: int = 0
    """Items that were passed on without a look for replicas: there were too many."""

    def fail(self, failure: Failure) -> None:
        """Note a cloud that gave nothing."""
        self.failed.append(failure)

    def document(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        made: dict[str, Any] = {
            "asked": self.asked,
            "answered": self.answered,
            "failed": [each.document() for each in self.failed],
        }
        if self.replicas:
            made["replicas"] = self.replicas
        if self.unchecked:
            made["unchecked"] = self.unchecked
        return made

    def json(self) -> bytes:
        """Return the report's JSON."""
        return _encode(self.document())

    def header(self, *, names: bool = False) -> bytes:
        """Return the value of X-Scopeway-Report, where the whole report is known.

        Args:
            names: Whether it names the clouds that failed, for an answer whose body cannot.
        """
        text = f"asked={self.asked}, answered={self.answered}, failed={len(self.failed)}"
        if names and self.failed:
            parts: list[str] = []
            size = len(text)
            for each in self.failed:
                part = f"{_item(each.cloud)};status={each.status};cause={each.cause}"
                size += len(part) + 1
                if size > MAX_HEADER - 32:
                    break
                parts.append(part)
            text += f", clouds=({' '.join(parts)})"
        return text.encode()

    def early_header(self) -> bytes:
        """Return its value before the clouds have answered: the body's report has the rest."""
        return b"asked=%d" % self.asked

    def sentence(self) -> str:
        """Return which clouds failed: the first few, and how many more."""
        named = ", ".join(
            f"{each.cloud} ({each.status} {each.reason})" for each in self.failed[:MAX_NAMED]
        )
        more = len(self.failed) - MAX_NAMED
        return f"{len(self.failed)} of {self.asked} clouds failed: {named}" + (
            f", and {more} more" if more > 0 else ""
        )


def report_for(request: FanoutRequest) -> Report:
    """Return the report of a request before any cloud is asked: the missing ones have failed."""
    report = Report(asked=request.clouds)
    for each in request.missing:
        reason = _MISSING_REASONS.get(each.cause, "this cloud cannot be asked")
        report.fail(Failure(each.cloud, each.status, each.cause, reason))
    return report


def write_header(results: Iterable[tuple[str, int, str | None, str]]) -> bytes:
    """Return X-Scopeway-Report for a write, an RFC 9651 list: each cloud with what came of it.

    Args:
        results: Cloud, status, the new id or None, and the reason or "", in order.
    """
    parts: list[str] = []
    size = 0
    rest = 0
    for cloud, status, made, reason in results:
        part = f"{_item(cloud)};status={status}"
        if made:
            part += f';id="{_in_string(made, 64)}"'
        if reason:
            part += f';reason="{_in_string(reason, 120)}"'
        size += len(part) + 2
        if rest or size > MAX_HEADER - 32:
            rest += 1
        else:
            parts.append(part)
    if rest:
        parts.append(f"more;n={rest}")
    return ", ".join(parts).encode()


def error_body(
    status: int, message: str, report: Report | dict[str, Any] | None = None, *, title: str = ""
) -> bytes:
    """Return an error as OpenStack's services shape theirs, with the report beside it."""
    document: dict[str, Any] = {
        "error": {"code": status, "title": title or title_of(status), "message": message}
    }
    if report is not None:
        document[REPORT] = report.document() if isinstance(report, Report) else report
    return _encode(document)


def title_of(status: int) -> str:
    """Return the words for a status; "" where HTTP has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def cut(text: str) -> str:
    """Return a text of a cloud as a reason: one line, no control characters, cut."""
    return _CONTROLS.sub(" ", text[: 4 * MAX_REASON]).strip()[:MAX_REASON]


def _item(cloud: str) -> str:
    """Return a cloud's name as RFC 9651 has it: a token, or a string if a digit comes first."""
    return cloud if cloud[0].isalpha() else f'"{cloud}"'


def _in_string(text: str, most: int) -> str:
    return _NOT_IN_A_STRING.sub("'", text)[:most]
