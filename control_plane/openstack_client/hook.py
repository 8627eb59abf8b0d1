"""Adds the scope to the requests of an openstacksdk connection.

openstacksdk calls `attach_scope` before the first request of a connection whose configuration has
`vendor_hook: scopeway.control_plane.client.hook:attach_scope`. The option `--scope` sets it. A
clouds.yaml may set it too, for programs that use openstacksdk. Must not import openstacksdk.
"""

import json
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence
from typing import Protocol

from scopeway.control_plane.errors import ControlPlaneError
from scopeway.control_plane.scope import lexical_form, parse_scope

HEADER = "X-Scope"


REJECTED = "X-Scopeway-Rejected"
"""The header is "true" if Scopeway produced the response, and not a service."""

UNAUTHORIZED = 401


class _Response(Protocol):
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def status_code(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def url(self) -> str: ...


class _Transport(Protocol):
    @property
    def hooks(self) -> Mapping[str, MutableSequence[Callable[..., None]]]: ...


class _Session(Protocol):
    @property
    def additional_headers(self) -> MutableMapping[str, str]: ...
    @property
    def session(self) -> _Transport: ...


class _Configuration(Protocol):
    @property
    def config(self) -> Mapping[str, object]: ...


class _Connection(Protocol):
    @property
    def config(self) -> _Configuration: ...
    @property
    def session(self) -> _Session: ...


class CannotAttachScope(ControlPlaneError):
    """The scope cannot be sent, because the connection lacks something."""


class ScopeRejected(ControlPlaneError):
    """Scopeway cannot serve the scope; the text has the reason and the HTTP status."""


def attach_scope(connection: _Connection) -> None:
    """Send the scope of the cloud's configuration (`x_scope`) with each following request.

    Raises:
        ScopeError: The configured text is not a scope.
        CannotAttachScope: Any other error. openstacksdk would log the original exception, and
            continue without the scope.
    """
    try:
        scope = connection.config.config.get("x_scope")
        headers = connection.session.additional_headers
        if scope:
            parse_scope(str(scope))
            connection.session.session.hooks["response"].append(RejectionHook().raise_if_rejected)
            headers[HEADER] = lexical_form(str(scope))
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        raise CannotAttachScope(f"the scope cannot be sent: {error}") from error


class RejectionHook:
    """Ends the command at a rejection by Scopeway on one connection."""

    def __init__(self) -> None:
        """Make a hook for one connection."""
        self._unauthorized = ""
        """The URL of the last response with status 401."""

    def raise_if_rejected(self, response: _Response, *args: object, **kwargs: object) -> None:
        """End the command with the reason if Scopeway rejected a request.

        keystoneauth would hide the reason: it takes an error during version discovery for a service
        without versions. A first 401 passes, because keystoneauth may log in anew and try again.

        Raises:
            ScopeRejected: The response is a rejection.
        """
        if response.headers.get(REJECTED) != "true":
            return
        if response.status_code == UNAUTHORIZED:
            before, self._unauthorized = self._unauthorized, response.url
            if before != response.url:
                return
        try:
            message = json.loads(response.text)["error"]["message"]
        except (KeyError, TypeError, ValueError):
            message = response.text
        raise ScopeRejected(f"{message} (HTTP {response.status_code})")
