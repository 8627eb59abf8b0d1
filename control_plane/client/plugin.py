"""The option `--scope` of the `openstack` command, an extension of python-openstackclient.

Owns the option, and the check of what it holds before anything is sent. Every `openstack` command
imports this module: so it imports nothing that costs time, and the scope language only when there
is a scope. The header itself is put on by `control_plane.client.hook`.

openstackclient hands its parsed options to openstacksdk as configuration of the cloud, above
clouds.yaml. That is the whole way: the option sets `x_scope` and `vendor_hook` there. No plug-in of
an authentication type is involved, so each type works, wherever it is chosen.
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
_VENDOR_HOOK = "scopeway.control_plane.client.hook:attach_scope"


def build_option_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Adds `--scope` to the options of the `openstack` command, as openstackclient asks."""
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
    """Returns the scope in OS_SCOPE, and hides that variable from openstacksdk.

    openstacksdk takes every variable OS_* for configuration: it would format the braces of a scope,
    and prefer a cloud made of this one variable to the only cloud of a clouds.yaml. Under another
    name the scope is still there for a second command in this process, and for its children.
    """
    if _VARIABLE in os.environ:
        os.environ[_SET_ASIDE] = os.environ.pop(_VARIABLE)
    return os.environ.get(_SET_ASIDE) or None


class _SetScope(argparse.Action):
    """Asks openstacksdk for the hook only where a scope is given: a cloud may have its own."""

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
    """Returns what goes into the header; argparse calls it for OS_SCOPE as well.

    What is wrong is told here: argparse would put some seventy lines of usage before it.
    """
    from scopeway.control_plane.scope import ScopeError, lexical_form, parse_scope

    try:
        parse_scope(text)
        return lexical_form(text)
    except ScopeError as error:
        parser.exit(2, f"{parser.prog}: error: argument --scope: {error}\n")
