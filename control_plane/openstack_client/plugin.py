"""The options `--scope` and `--scope-require` of the `openstack` command.

This is an extension of python-openstackclient. It defines the options, and checks the scope before
anything is sent. Every `openstack` command imports this module, so it imports nothing slow, and the
scope language only for a scope. `hook` adds the headers, and reads the responses.

openstackclient passes its parsed options to openstacksdk as configuration of the cloud, with
precedence over clouds.yaml. The options set `x_scope`, `x_scope_require` and `vendor_hook` there.
They do not depend on the authentication type.
"""

import argparse
import os
from collections.abc import Sequence
from functools import partial

API_NAME = "scopeway"
API_VERSION_OPTION = "os_scopeway_api_version"
DEFAULT_API_VERSION = "1"
API_VERSIONS = ("1",)

_SET_ASIDE = "SCOPEWAY_"
_VENDOR_HOOK = "scopeway.control_plane.openstack_client.hook:attach_scope"


def build_option_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options to those of the `openstack` command; openstackclient calls this."""
    scope = _of_environment("OS_SCOPE")
    parser.add_argument(
        "--scope",
        metavar="<scope>",
        dest="x_scope",
        action=_SetScope,
        type=partial(_checked_scope, parser),
        default=scope,
        help="Which cloud serves which service, e.g. '{keystone:cloud-1;glance:cloud-999}'"
        " (Env: OS_SCOPE)",
    )
    parser.add_argument(
        "--scope-require",
        metavar="all",
        dest="x_scope_require",
        type=partial(_checked_require, parser),
        default=_of_environment("OS_SCOPE_REQUIRE"),
        help="'all': a read from several clouds ('&') fails unless every one of them answers"
        " (Env: OS_SCOPE_REQUIRE)",
    )
    parser.set_defaults(x_scope_command=True)
    if scope is not None:
        parser.set_defaults(vendor_hook=_VENDOR_HOOK)
    return parser


def _of_environment(variable: str) -> str | None:
    """Return the value of a variable OS_*, and hide the variable from openstacksdk.

    openstacksdk reads every variable OS_* as configuration. It would format the braces of a scope,
    and prefer a cloud made of this one variable to the only cloud of a clouds.yaml. The variable is
    renamed, so that a second command in this process, and its children, still find the scope.
    """
    if variable in os.environ:
        os.environ[_SET_ASIDE + variable] = os.environ.pop(variable)
    return os.environ.get(_SET_ASIDE + variable) or None


class _SetScope(argparse.Action):
    """Sets the hook only if a scope is given: a cloud may have its own hook."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, values)
        namespace.vendor_hook = _VENDOR_HOOK


def _checked_scope(parser: argparse.ArgumentParser, text: str) -> str:
    """Return the value of the header; argparse calls this for OS_SCOPE as well.

    Errors are printed here, because argparse would print seventy lines of usage before them.
    """
    # here, because every `openstack` command imports this module
    from scopeway.control_plane.openstack_client.checked_scope import checked_scope
    from scopeway.control_plane.scope import ScopeError

    try:
        return checked_scope(text)
    except ScopeError as error:
        parser.exit(2, f"{parser.prog}: error: argument --scope: {error}\n")


def _checked_require(parser: argparse.ArgumentParser, text: str) -> str:
    if text not in {"", "all"}:
        parser.exit(2, f"{parser.prog}: error: argument --scope-require: {text!a} is not 'all'\n")
    return text
