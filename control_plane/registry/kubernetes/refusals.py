"""Why an API server does not accept an object, in one sentence for people.

Pure. Text of the API server is cut and printed as one line.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from scopeway.control_plane.collections.listing import listed
from scopeway.control_plane.kubernetes_api.errors import ApiError, one_line

SHOWN: Final = 10
"""Problems of one object that a sentence names."""

_POLICY = re.compile(
    r"ValidatingAdmissionPolicy '(?P<policy>[^']*)' with binding '[^']*' denied request: "
    r"(?P<why>.*)",
    re.DOTALL,
)


def refusal(error: ApiError) -> str | None:
    """Return what is wrong with an object; None if the error is about something else.

    An admission policy is named with its own sentence, and a schema with each field.
    """
    message = str(error.status.get("message", ""))
    if match := _POLICY.search(message):
        return f"{one_line(match['why'])} (admission policy {one_line(match['policy'])})"
    if "admission webhook" in message:
        return one_line(message)
    if error.code == HTTPStatus.UNPROCESSABLE_ENTITY:
        problems = [_problem(cause) for cause in causes(error.status)]
        return listed(problems, SHOWN, separator="; ") or one_line(message)
    if error.code == HTTPStatus.BAD_REQUEST:
        return one_line(message)
    return None


def causes(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the causes that Kubernetes' Status names; those of another form are left out."""
    details = status.get("details")
    named = details.get("causes") if isinstance(details, Mapping) else None
    found = named if isinstance(named, list) else []
    return [cause for cause in found if isinstance(cause, Mapping)]


def _problem(cause: Mapping[str, Any]) -> str:
    field, message = (one_line(str(cause.get(key, ""))) for key in ("field", "message"))
    return f"{field}: {message}" if field and field != "<nil>" else message
