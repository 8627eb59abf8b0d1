"""Puts the scope onto the requests of an openstacksdk connection.

openstacksdk calls `attach_scope` for a cloud whose configuration says
`vendor_hook: control_plane.client.hook:attach_scope`, before the connection's first request. The
option `--scope` says so; a clouds.yaml may, for programs that use openstacksdk themselves. Must not
import openstacksdk.
"""

from collections.abc import Mapping, MutableMapping
from typing import Protocol

from control_plane.errors import ControlPlaneError
from control_plane.scope import lexical_form, parse_scope

HEADER = "X-Scope"


class _Session(Protocol):
    @property
    def additional_headers(self) -> MutableMapping[str, str]: ...


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
            headers[HEADER] = lexical_form(str(scope))
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        raise CannotAttachScope(f"the scope cannot be sent: {error}") from error
