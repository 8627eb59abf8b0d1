"""The option `--scope` of the `openstack` command, an extension of python-openstackclient.

Defines the option, and checks its value before anything is sent. Every `openstack` command imports
this module, so it imports nothing slow, and the scope language only for a scope. `hook` adds the
header.

openstackclient passes its parsed options to openstacksdk as configuration of the cloud, with
precedence over clouds.yaml. The option sets `x_scope` and `vendor_hook` there. It does not depend
on the authentication type.
"""

import argparse
import os
from collections.abc import Sequence
from functools import partial

API_NAME = "scopeway"
API_VERSION_OPTION = "os_scopeway_api_version"
DEFAULT_API_VERSION = "1"
API_VERSIONS = ("1",)

_VARIABLE = "OS_SCOPE"
_SET_ASIDE = "SCOPEWAY_OS_SCOPE"
_VENDOR_HOOK = "scopeway.control_plane.openstack_client.hook:attach_scope"


def build_option_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add `--scope` to the options of the `openstack` command; openstackclient calls this."""
    scope = _scope_of_environment()
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
    if scope is not None:
        parser.set_defaults(vendor_hook=_VENDOR_HOOK)
    return parser


def _scope_of_environment() -> str | None:
    """Return the scope in OS_SCOPE, and hide that variable from openstacksdk.

    openstacksdk reads every variable OS_* as configuration. It would format the braces of a scope,
    and prefer a cloud made of this one variable to the only cloud of a clouds.yaml. The variable is
    renamed, so that a second command in this process, and its children, still find the scope.
    """
    if _VARIABLE in os.environ:
        os.environ[_SET_ASIDE] = os.environ.pop(_VARIABLE)
    return os.environ.get(_SET_ASIDE) or None


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
    from scopeway.control_plane.scope import ScopeError, lexical_form, parse_scope

    try:
        parse_scope(text)
        return lexical_form(text)
    except ScopeError as error:
        parser.exit(2, f"{parser.prog}: error: argument --scope: {error}\n")
