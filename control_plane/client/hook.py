"""Puts the scope onto the requests of an openstacksdk connection.

openstacksdk calls `attach_scope` for a cloud whose configuration says
`vendor_hook: control_plane.client.hook:attach_scope`, before the connection's first request. The
option `--scope` says so; a clouds.yaml may, for programs that use openstacksdk themselves. Must not
import openstacksdk.
"""

import json
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence
from typing import Protocol

from scopeway.control_plane.errors import ControlPlaneError
from scopeway.control_plane.scope import lexical_form, parse_scope

HEADER = "X-Scope"


REJECTED = "X-Scopeway-Rejected"
"""Is "true" on an answer that Scopeway gave itself, and "false" where a service sent it."""

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
    """Something is missing that the scope needs to be sent."""


class ScopeRejected(ControlPlaneError):
    """The scope cannot be served; says why, and the HTTP status."""


def attach_scope(connection: _Connection) -> None:
    """Sends the scope of the cloud's configuration (`x_scope`) with each request from now on.

    Raises:
        ScopeError: The configured text is not a scope.
        CannotAttachScope: Anything else. Of the errors that it stands for, openstacksdk would make
            a line in the log, and go on without the scope.
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
    """What Scopeway itself refused on one connection."""

    def __init__(self) -> None:
        """Begin without any."""
        self._unauthorized = ""
        """The URL that was answered with the last 401."""

    def raise_if_rejected(self, response: _Response, *args: object, **kwargs: object) -> None:
        """End the command with the reason where Scopeway itself refused a request.

        keystoneauth takes an error on the way to a service's versions for a service without
        versions, and would say only that. After a first 401 it may log in anew and try again.

        Raises:
            ScopeRejected: The answer is a rejection.
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
