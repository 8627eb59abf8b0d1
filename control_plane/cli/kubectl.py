"""`kubectl scopeway`: the commands of `scopeway`, for the objects of a Kubernetes cluster.

kubectl runs the executable `kubectl-scopeway`, and `kubectl_complete-scopeway` to complete words.
"""

import copy
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from scopeway.control_plane.cli import cli, run
from scopeway.control_plane.cli.cloud import release_clouds
from scopeway.control_plane.cli.options import Decorator, format_option
from scopeway.control_plane.cli.pods import forwarded
from scopeway.control_plane.cli.status import show_status, watch_option

PROGRAM: Final = "kubectl scopeway"
NOT_HERE: Final = ("serve", "collect")
"""Commands that run in pods."""
CONTROL_PLANE: Final = "app.kubernetes.io/name=scopeway,app.kubernetes.io/component=control-plane"

_COMMAND = re.compile(r"(?<![\w/-])scopeway (?=[a-z])")
_REGISTRY = re.compile(r" --registry \S+")

_kubeconfig_option: Decorator = click.option(
    "--kubeconfig",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The kubeconfig; default: as kubectl finds it.",
)
_context_option: Decorator = click.option(
    "--context", default="", metavar="NAME", help="The context of the kubeconfig."
)


def _pod_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say in which pods control planes run."""
    for option in (
        click.option(
            "--selector",
            "-l",
            default=CONTROL_PLANE,
            show_default=True,
            metavar="LABELS",
            help="The labels of the pods of the control plane.",
        ),
        click.option(
            "--namespace",
            "-n",
            default="scopeway-system",
            show_default=True,
            metavar="NAME",
            help="The namespace of these pods.",
        ),
        _context_option,
        _kubeconfig_option,
    ):
        command = option(command)
    return command


@click.command()
@_pod_options
@watch_option
@format_option
@click.argument("clouds", nargs=-1)
def status(
    kubeconfig: Path | None,
    context: str,
    namespace: str,
    selector: str,
    seconds: float | None,
    output: str,
    clouds: tuple[str, ...],
) -> None:
    """Show what each Envoy, or those of CLOUDS, uses and refuses.

    Asks every pod of the control plane, by kubectl port-forward. Above the table it reports a
    registry that cannot be read, clouds that are held or cordoned, refused entries, and missing
    service types. Exit status 1 if a control plane does not answer.
    """
    with forwarded(_kubectl_options(kubeconfig, context, namespace), selector) as admins:
        show_status(admins, seconds, output, clouds)


@click.command()
@_pod_options
@click.option("--all", "every", is_flag=True, help="All clouds that are held.")
@click.argument("names", nargs=-1)
def release(
    kubeconfig: Path | None,
    context: str,
    namespace: str,
    selector: str,
    every: bool,
    names: tuple[str, ...],
) -> None:
    """Release clouds that are held after a mass loss.

    Use it for clouds that were removed on purpose. Tells every pod of the control plane, by kubectl
    port-forward. Exit status 1 if none of them holds one of the names.
    """
    if every == bool(names):
        raise click.UsageError("name clouds, or pass --all")
    with forwarded(_kubectl_options(kubeconfig, context, namespace), selector) as admins:
        release_clouds(admins, names)


def plugin() -> click.Group:
    """Return the commands as kubectl runs them."""
    group = _group(cli)
    for name in NOT_HERE:
        del group.commands[name]
    group.add_command(status)
    clouds = group.commands["cloud"]
    assert isinstance(clouds, click.Group)
    clouds.add_command(release)
    return group


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `kubectl scopeway`.

    Args:
        arguments: What follows these words; None: what this process was given.
    """
    run(plugin(), PROGRAM, arguments, translate=_for_kubectl)


def complete(arguments: Sequence[str] | None = None) -> None:
    """Print the words that may come next, as kubectl expects them.

    Args:
        arguments: The words behind `kubectl scopeway`, the last of them incomplete; None: what this
            process was given.
    """
    from click.shell_completion import ShellComplete

    *words, incomplete = (sys.argv[1:] if arguments is None else arguments) or [""]
    completion = ShellComplete(plugin(), {}, PROGRAM, "")
    found = [
        f"{item.value}\t{item.help}" if item.help else str(item.value)
        for item in completion.get_completions(words, incomplete)
        if item.type == "plain"
    ]
    # a directive of cobra: whether the shell may complete names of files
    click.echo("\n".join([*found, ":4" if found else ":0"]))


def _group(group: click.Group) -> click.Group:
    made = _command(group)
    assert isinstance(made, click.Group)
    made.commands = {
        name: _group(each) if isinstance(each, click.Group) else _command(each)
        for name, each in group.commands.items()
    }
    return made


def _command(command: click.Command) -> click.Command:
    """Return a copy whose registry is the cluster of the kubeconfig."""
    made = copy.copy(command)
    made.help = None if command.help is None else _for_kubectl(_REGISTRY.sub("", command.help))
    if any(each.name == "registry" for each in command.params):
        made.params = [each for each in command.params if each.name not in ("registry", "ttl")]
        made.callback = _over_cluster(command)
        _context_option(_kubeconfig_option(made))
    return made


def _over_cluster(command: click.Command) -> Callable[..., Any]:
    has_ttl = any(each.name == "ttl" for each in command.params)
    callback = command.callback
    assert callback is not None

    def call(kubeconfig: Path | None, context: str, **values: Any) -> Any:
        if not kubeconfig and not context and not os.environ.get("KUBECONFIG"):
            # kubectl in a pod, too, prefers this file to the account of the pod
            home = Path.home() / ".kube" / "config"
            kubeconfig = home if home.exists() else None
        query = f"?context={quote(context, safe='')}" if context else ""
        registry = f"kubernetes:{kubeconfig or ''}{query}"
        return callback(registry=registry, **values, **({"ttl": None} if has_ttl else {}))

    return call


def _for_kubectl(text: str) -> str:
    """Return a text in which commands are as people type them here."""
    return _COMMAND.sub(f"{PROGRAM} ", text)


def _kubectl_options(kubeconfig: Path | None, context: str, namespace: str) -> list[str]:
    return [
        *([f"--kubeconfig={kubeconfig}"] if kubeconfig else []),
        *([f"--context={context}"] if context else []),
        f"--namespace={namespace}",
    ]
