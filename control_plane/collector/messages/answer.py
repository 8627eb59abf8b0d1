"""What one cloud answered, and what a report says of it. Pure."""

import re
from typing import Final

import msgspec

from scopeway.control_plane.collector.messages.report import Failure, cut
from scopeway.control_plane.collector.messages.request import Header

REJECTED: Final = b"x-scopeway-rejected"
"""`true` where an Envoy of Scopeway, and not a service, made the answer."""
NO_CONTROL_PLANE: Final = b"the control plane did not answer"
"""In the 503 of an Envoy that waited in vain for a new target: asking again may help."""

_HTML_REASON = re.compile(r"</h1>\s*([^<]*)", re.DOTALL)
_SEARCHED: Final = 4096
"""Characters in which the reason of an HTML page is looked for."""


class _Error(msgspec.Struct, gc=False):
    message: str = ""


_errors = msgspec.json.Decoder(dict[str, msgspec.Raw])
_error = msgspec.json.Decoder(_Error)


class Answer:
    """What a cloud answered, or why it did not."""

    __slots__ = ("body", "cause", "cloud", "headers", "reason", "status")

    def __init__(self, cloud: str) -> None:
        self.cloud = cloud
        self.status = 0
        self.headers: list[Header] = []
        """Names in lower case."""
        self.body = bytearray()
        self.cause = ""
        """Of `report.Cause`, where there is no whole answer of the cloud; else ""."""
        self.reason = ""
        """A sentence for it."""

    @property
    def ok(self) -> bool:
        """Whether the cloud answered, with success or a redirect."""
        return not self.cause and 200 <= self.status < 400

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of this name, in lower case."""
        return next((value for key, value in self.headers if key == name), None)

    def fail(self, status: int, cause: str, reason: str) -> None:
        """Note why there is no whole answer."""
        self.status, self.cause, self.reason = status, cause, reason

    @property
    def is_rejected(self) -> bool:
        """Whether an Envoy of Scopeway, and not a service, made the answer."""
        return self.header(REJECTED) == b"true"

    @property
    def lacks_control_plane(self) -> bool:
        """Whether an Envoy waited in vain for its control plane."""
        return self.status == 503 and self.is_rejected and NO_CONTROL_PLANE in self.body


def cause_of(answer: Answer) -> str:
    """Return the cause of an answer that is no success, one of `report.Cause`."""
    if answer.cause:
        return answer.cause
    if answer.status in (401, 403, 429):
        return "policy" if answer.is_rejected and answer.status == 403 else "refused"
    if answer.is_rejected:
        return {404: "no-service", 502: "unreachable", 503: "unreachable", 504: "timeout"}.get(
            answer.status, "error"
        )
    return "error"


def reason_of(answer: Answer) -> str:
    """Return the sentence of an error: of OpenStack's JSON, of Scopeway's, or of an HTML page."""
    if answer.reason:
        return answer.reason
    body = bytes(answer.body[: 64 << 10])
    try:
        if len(body) == len(answer.body):
            # OpenStack wraps errors in a name: {"itemNotFound": {"message": …}}
            for value in _errors.decode(body).values():
                if bytes(value)[:1] == b"{" and (message := _error.decode(value).message):
                    return cut(message)
    except (msgspec.MsgspecError, RecursionError):
        pass
    found = _HTML_REASON.search(body[:_SEARCHED].decode("utf-8", "replace"))
    return (cut(found[1]) if found else "") or f"HTTP {answer.status}"


def failure_of(answer: Answer) -> Failure:
    """Return what a report says of an answer that is no success."""
    return Failure(answer.cloud, answer.status, cause_of(answer), reason_of(answer))
