"""The error of a call to an API server, as one sentence for people.

Pure. Text of the API server is cut and printed as one line. Invariant: no text has a token in it,
because no text is made of a request's headers.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from scopeway.control_plane.errors import ControlPlaneError
from scopeway.control_plane.kubernetes_api.paths import GROUP, GROUP_VERSION

MAX_TEXT: Final = 500
"""Characters of a text from outside that an error shows."""

_OBJECT_VERBS: Final = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch"}


class ApiError(ControlPlaneError):
    """An API server cannot be used, or has answered with an error."""

    def __init__(
        self,
        sentence: str,
        *,
        place: str = "",
        code: int = 0,
        reason: str = "",
        refused: bool = False,
        missing_object: bool = False,
        status: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the error.

        Args:
            sentence: What is wrong, and what to do.
            place: The API server and the context of the kubeconfig.
            code: The HTTP status; 0 if there was no answer.
            reason: The `reason` of Kubernetes' Status, such as "AlreadyExists".
            refused: A retry cannot succeed before somebody changes something.
            missing_object: The API server knows the resource, but has no object of this name.
            status: Kubernetes' Status as it was answered.
        """
        super().__init__(f"{place}: {sentence}" if place else sentence)
        self.sentence = sentence
        self.place = place
        self.code = code
        self.reason = reason
        self.status: Mapping[str, Any] = status or {}
        """Kubernetes' Status as it was answered; empty without one. Not bounded or escaped."""
        self.is_missing = missing_object
        """Whether the object does not exist, while its resource does."""
        self._refused = refused

    def at(self, place: str) -> "ApiError":
        """Return this error with its place; the error itself if it has one."""
        if self.place:
            return self
        return ApiError(self.sentence, place=place, refused=self._refused)

    @property
    def is_gone(self) -> bool:
        """Whether the resource version or the `continue` token is too old: list anew."""
        return self.code == HTTPStatus.GONE or self.reason in ("Expired", "Gone")

    @property
    def is_refused(self) -> bool:
        """Whether a retry cannot succeed before somebody changes a right, a login or a resource."""
        denied = self.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
        unknown = self.code == HTTPStatus.NOT_FOUND and not self.is_missing
        return self._refused or denied or unknown

    @property
    def is_conflict(self) -> bool:
        """Whether somebody else has changed, or created, the object first."""
        return self.code == HTTPStatus.CONFLICT


def status_error(
    place: str, method: str, path: str, code: int, status: Mapping[str, Any], *, verb: str = ""
) -> ApiError:
    """Return the error of an answer.

    Args:
        place: The API server and the context.
        method: Of the request.
        path: Of the request.
        code: The HTTP status, or the code of an ERROR event.
        status: Kubernetes' Status; empty if the answer was none.
        verb: The verb that RBAC knows the request by, if the method does not tell.
    """
    details = status.get("details")
    named = isinstance(details, Mapping) and bool(details.get("name"))
    reason = one_line(str(status.get("reason", "")))[:100]
    message = one_line(str(status.get("message") or _phrase(code)))
    missing = code == HTTPStatus.NOT_FOUND and named
    if code == HTTPStatus.UNAUTHORIZED:
        sentence = "denies access: it accepts neither a token nor a certificate of this login"
    elif code == HTTPStatus.FORBIDDEN:
        sentence = f"denies access: {message}; {_grant(method, path, verb)}"
    elif code == HTTPStatus.NOT_FOUND and not missing and f"/apis/{GROUP_VERSION}/" in path:
        sentence = (
            f"does not know {_resource(path)} of {GROUP_VERSION}; install the custom resource "
            "definitions: kubectl apply -k deploy/crds"
        )
    else:
        sentence = f"answered {code}: {message}"
    return ApiError(
        sentence, place=place, code=code, reason=reason, missing_object=missing, status=status
    )


def one_line(text: str) -> str:
    """Return text from outside in one printable line, cut."""
    shown = "".join(each if each.isprintable() else " " for each in text[: 2 * MAX_TEXT])
    shown = " ".join(shown.split())
    return shown if len(shown) <= MAX_TEXT else f"{shown[: MAX_TEXT - 3]}..."


def _grant(method: str, path: str, verb: str) -> str:
    _, _, after = path.partition(f"/apis/{GROUP_VERSION}/")
    if after:
        resource, _, subresource = [*after.split("/"), "", ""][:3]
        resource = f"{resource}/{subresource}" if subresource else resource
        wanted = verb or _OBJECT_VERBS.get(method, method.lower())
        return f"grant {wanted} on {resource} of {GROUP} to this user by a ClusterRole"
    return "grant it to this user by a Role or ClusterRole"


def _resource(path: str) -> str:
    return path.partition(f"/apis/{GROUP_VERSION}/")[2].split("/")[0]


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "unknown status"
