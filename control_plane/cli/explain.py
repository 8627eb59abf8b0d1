"""`scopeway explain`: what a request would get, and why."""

import asyncio
import dataclasses
import json
import sys
from typing import TYPE_CHECKING

import click

from scopeway.control_plane.cli.options import direct_option, format_option, registry_option
from scopeway.control_plane.cli.output import add_row, console, say, table
from scopeway.control_plane.clouds.policy import FORM
from scopeway.control_plane.clouds.validators import METHODS

if TYPE_CHECKING:
    from scopeway.control_plane.clouds.addresses import AllowedAddress
    from scopeway.control_plane.planner.explain import Explanation

EXIT_REJECTED = 3


@click.command()
@registry_option
@click.option(
    "--from",
    "origin",
    required=True,
    metavar="CLOUD",
    help="The cloud whose front gets the request.",
)
@click.option("--scope", default="", help="The scope of the request; empty is all local.")
@click.option(
    "--insecure-peers",
    is_flag=True,
    envvar="SCOPEWAY_INSECURE_PEERS",
    show_envvar=True,
    help="Answer for a control plane that runs with --insecure-peers.",
)
@direct_option
@click.option(
    "--trust-domain",
    metavar="DOMAIN",
    envvar="SCOPEWAY_TRUST_DOMAIN",
    show_envvar=True,
    help="Answer for a control plane with --tls-…, whose sites speak mutual TLS, and this domain.",
)
@click.option(
    "--method",
    type=click.Choice([*sorted(METHODS), FORM], case_sensitive=False),
    help="Of the request: the rules of a cloud may allow some only; default: any that is allowed. "
    "form: what may carry one, as a POST without Content-Type.",
)
@format_option
@click.argument("service")
def explain(
    registry: str,
    origin: str,
    scope: str,
    insecure_peers: bool,
    direct: "tuple[AllowedAddress, ...]",
    trust_domain: str | None,
    method: str | None,
    output: str,
    service: str,
) -> None:
    """Print where a request to SERVICE goes, or why it is refused.

    If several clouds can serve it, prints their order. For a scope with & or ^, prints all clouds
    that are asked, and those that are missing. Reads the registry only: it needs no control plane,
    and does not know whether a collector runs at CLOUD.

    \b
        scopeway explain --registry dir:clouds/ --from cloud-1 --scope "{glance:cloud-999}" image
        scopeway explain … --method DELETE image

    Exit status: 0 a route or a fan-out, 3 a rejection, 2 bad usage or a registry that cannot be
    read.
    """
    from scopeway.control_plane.catalog.loader import read_registry
    from scopeway.control_plane.planner.explain import explain_request
    from scopeway.control_plane.planner.planner import PlanSettings
    from scopeway.control_plane.registry import RegistryUnavailable, open_registry

    try:
        source = open_registry(registry)
        found = asyncio.run(read_registry(source))
    except RegistryUnavailable as error:
        raise click.UsageError(str(error)) from None
    for problem in found.problems.values():
        say(f"warning: {problem}", err=True)
    inventory = found.inventory
    service_type = inventory.service_types.official(service)
    if service_type is None:
        raise click.BadParameter(inventory.service_types.unknown(service), param_hint="SERVICE")
    caller = inventory.get(origin)
    if caller is None:
        raise click.BadParameter(f"no cloud {origin!r} in {source.name}", param_hint="--from")
    settings = PlanSettings(
        insecure_peers=insecure_peers, direct=direct or None, trust_domain=trust_domain
    )
    explanation = explain_request(scope, service_type, caller, inventory, settings, method)
    if output == "json":
        click.echo(json.dumps(dataclasses.asdict(explanation)))
    else:
        _print(explanation)
    if explanation.outcome == "reject":
        sys.exit(EXIT_REJECTED)


def _print(explanation: "Explanation") -> None:
    shown = table("", "")
    shown.show_header = False
    shown.columns[0].style = "bold"
    add_row(shown, "target", explanation.target or "-")
    if explanation.outcome == "route":
        add_row(shown, "goes to", ", then ".join(explanation.clouds))
    elif explanation.outcome == "fanout":
        which = "all of" if explanation.operator == "&" else "the one that has it of"
        add_row(shown, "goes to", f"{which} {', '.join(explanation.clouds)}")
    else:
        add_row(shown, "refused", str(explanation.status))
        add_row(shown, "because", explanation.reason or "-")
    for cloud, rule in explanation.rules.items():
        add_row(shown, "policy", f"{cloud}: {rule}")
    for cloud, limits in explanation.limits.items():
        add_row(shown, "limits", f"{cloud} takes {limits}")
    skipped = "missing" if explanation.outcome == "fanout" else "skipped"
    for cloud, reason in explanation.skipped.items():
        add_row(shown, skipped, f"{cloud}: {reason}")
    for warning in explanation.warnings:
        add_row(shown, "warning", warning)
    console().print(shown)
