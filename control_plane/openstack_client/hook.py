"""Adds the scope to the requests of an openstacksdk connection, and reads Scopeway's responses.

openstacksdk calls `attach_scope` before the first request of a connection whose configuration has
`vendor_hook: scopeway.control_plane.openstack_client.hook:attach_scope`. The option `--scope` sets
it. A clouds.yaml may set it too, for programs that use openstacksdk. Must not import openstacksdk.
"""

from collections.abc import Callable, Mapping, MutableMapping, MutableSequence
from typing import Protocol

from scopeway.control_plane.errors import ControlPlaneError
from scopeway.control_plane.openstack_client.checked_scope import checked_scope
from scopeway.control_plane.openstack_client.responses import (
    RejectionHook,
    ReportHook,
    ScopeRejected,
)
from scopeway.control_plane.openstack_client.sentences import is_fanout
from scopeway.control_plane.openstack_client.summary import audience

HEADER = "X-Scope"

REQUIRE = "X-Scope-Require"
"""The header is "all" if a read is to fail unless every cloud of a fan-out answers."""

IN_COMMAND = "x_scope_command"
"""The key of the configuration that tells the `openstack` command from other programs."""

__all__ = ["CannotAttachScope", "ScopeRejected", "attach_scope"]


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


def attach_scope(connection: _Connection) -> None:
    """Send the scope of the cloud's configuration (`x_scope`) with each following request.

    With `x_scope_require: all`, a read fails unless every cloud of a fan-out answers.

    Raises:
        ScopeError: The configured text is not a scope.
        CannotAttachScope: Any other error. openstacksdk would log the original exception, and
            continue without the scope.
    """
    try:
        config = connection.config.config
        scope = config.get("x_scope")
        headers = connection.session.additional_headers
        if scope:
            lexical = checked_scope(str(scope))
            hooks = connection.session.session.hooks["response"]
            _remove_ours(hooks)
            reports = None
            if is_fanout(lexical):
                required = _are_all_required(config)
                told = audience(is_command=bool(config.get(IN_COMMAND)))
                reports = ReportHook(told, required=required)
                if required:
                    headers[REQUIRE] = "all"
            hooks.append(RejectionHook(lexical, reports).raise_if_rejected)
            if reports is not None:
                hooks.append(reports.read_report)
            headers[HEADER] = lexical
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        raise CannotAttachScope(f"the scope cannot be sent: {error}") from error


def _remove_ours(hooks: MutableSequence[Callable[..., None]]) -> None:
    """Remove the hooks of an earlier connection: openstackclient makes several on one session."""
    ours = (RejectionHook, ReportHook)
    hooks[:] = [each for each in hooks if not isinstance(getattr(each, "__self__", None), ours)]


def _are_all_required(config: Mapping[str, object]) -> bool:
    value = config.get("x_scope_require")
    if value and value != "all":
        raise CannotAttachScope(
            f"the scope cannot be sent: x_scope_require is {value!a}, not 'all'"
        )
    return bool(value)
