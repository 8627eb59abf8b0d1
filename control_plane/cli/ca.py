"""`scopeway ca`: a small authority for the certificates of sites and control planes."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scopeway.control_plane.cli.options import Decorator, cloud_name, trust_domain_option
from scopeway.control_plane.errors import ControlPlaneError, sentence

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from scopeway.control_plane.identity.authority import AuthorityFolder, Holder

_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def _lifetime(text: str) -> timedelta:
    """Read a lifetime: 30d, 12h, 90m."""
    found = re.fullmatch(r"([1-9][0-9]{0,4})([dhm])", text)
    if not found:
        raise click.BadParameter(f"{text!r} is not a lifetime: 30d, 12h or 90m")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _host(text: str) -> str:
    """Read an address for a certificate: a DNS name or an IP address, without a port."""
    from scopeway.control_plane.clouds import validators

    problem = validators.address_problem(text)
    if problem is not None:
        raise click.BadParameter(f"{text!r} {problem}")
    return text


def _lifetime_option(default: str | None, text: str) -> Decorator:
    return click.option(
        "--lifetime",
        type=_lifetime,
        default=default,
        show_default=True,
        metavar="30d|12h|90m",
        help=text,
    )


folder_option: Decorator = click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default="certs",
    show_default=True,
    envvar="SCOPEWAY_CA_DIR",
    show_envvar=True,
    help="Folder of the authority and of what it has issued.",
)


@click.group()
def ca() -> None:
    """Certificates for demos, tests and small fleets.

    \b
        scopeway ca init --trust-domain edge.example
        scopeway ca issue --control-plane --address cp.edge.example
        scopeway ca issue cloud-1 cloud-2
        scopeway ca renew                       # every day, by cron

    Copy certs/cloud/NAME to each site and certs/control-plane to each control plane. Copy
    certs/authority nowhere. In Kubernetes use cert-manager or SPIRE (docs/identities.md).
    """


@ca.command()
@folder_option
@trust_domain_option
@_lifetime_option("3650d", "How long the authority lasts.")
def init(folder: Path, trust_domain: str, lifetime: timedelta) -> None:
    """Make a new authority."""
    from scopeway.control_plane.identity.authority import AuthorityFolder

    made = AuthorityFolder.create(folder, trust_domain, now=_now(), lifetime=lifetime)
    end = _day(made.authority.certificate)
    click.echo(f"authority of the trust domain {trust_domain} in {folder}/authority, until {end}")


@ca.command()
@folder_option
@click.option("--control-plane", is_flag=True, help="Issue the certificate of the control planes.")
@click.option(
    "--address",
    "addresses",
    type=_host,
    multiple=True,
    metavar="HOST",
    help="A DNS name or IP address to add; Envoy compares the SPIFFE name only.",
)
@click.option("--force", is_flag=True, help="Replace a certificate that is there.")
@_lifetime_option("30d", "How long the certificate lasts.")
@click.argument("clouds", nargs=-1, type=cloud_name)
def issue(
    folder: Path,
    control_plane: bool,
    addresses: Sequence[str],
    force: bool,
    lifetime: timedelta,
    clouds: Sequence[str],
) -> None:
    """Issue certificates, with keys, to CLOUDS or the control planes."""
    if not clouds and not control_plane:
        raise click.UsageError("name clouds, or --control-plane")
    authority = _open(folder)
    names = [None, *clouds] if control_plane else list(clouds)
    holders = [authority.holder(each) for each in names]
    for holder in holders:
        if not force and holder.has_certificate:
            raise ControlPlaneError(
                f"{holder.name} has a certificate, until {_day(holder.certificate())}: "
                f"renew it, or issue another with --force"
            )
    for holder in holders:
        made = authority.issue(holder, addresses=addresses, now=_now(), lifetime=lifetime)
        _say(holder, made)


@ca.command()
@folder_option
@click.option("--control-plane", is_flag=True, help="Renew the certificate of the control planes.")
@click.option("--force", is_flag=True, help="Renew certificates that are not due, too.")
@_lifetime_option(None, "How long the new ones last; default: as long as those before.")
@click.argument("clouds", nargs=-1, type=cloud_name)
def renew(
    folder: Path,
    control_plane: bool,
    force: bool,
    lifetime: timedelta | None,
    clouds: Sequence[str],
) -> None:
    """Renew the certificates of CLOUDS, or all; only what is due.

    A certificate is due after two thirds of its lifetime. Run this every day, by cron. Exit status
    1 if one could not be renewed; the others are renewed all the same.
    """
    from scopeway.control_plane.identity.certificates import CertificateError

    authority = _open(folder)
    if clouds or control_plane:
        names = [None, *clouds] if control_plane else list(clouds)
        holders = [authority.holder(each) for each in names]
    else:
        holders = list(authority.holders())
    problems = []
    for holder in holders:
        try:
            made = authority.renew(holder, force=force, now=_now(), lifetime=lifetime)
        except (CertificateError, OSError) as error:
            problems.append(sentence(error))
            continue
        if made is None:
            click.echo(f"{holder.name} not due, until {_day(holder.certificate())}")
        else:
            _say(holder, made)
    if authority.is_due(now=_now()):
        end = _day(authority.authority.certificate)
        click.echo(f"the authority itself ends on {end}: scopeway ca rotate", err=True)
    if problems:
        raise ControlPlaneError("\n".join(["not all were renewed", *problems]))


@ca.command()
@folder_option
@_lifetime_option("3650d", "How long the next authority lasts.")
def rotate(folder: Path, lifetime: timedelta) -> None:
    """Replace the authority, one of three steps at each call.

    Step 1 adds the next authority to those that are trusted. Step 2 issues all certificates anew,
    signed by it. Step 3 removes the previous authority. Copy the new files to all sites and control
    planes before each next step; a site without them is cut off.
    """
    step = _open(folder).rotate(now=_now(), lifetime=lifetime)
    click.echo(f"step {step.number} of 3: {step.value}")
    click.echo("bring the files to all sites and control planes" + step.next_step)


def _open(folder: Path) -> "AuthorityFolder":
    from scopeway.control_plane.identity.authority import AuthorityFolder

    return AuthorityFolder(folder)


def _say(holder: "Holder", certificate: "Certificate") -> None:
    click.echo(f"{holder.name} in {holder.folder}, until {_day(certificate)}")


def _day(certificate: "Certificate") -> str:
    return f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"


def _now() -> datetime:
    return datetime.now(UTC)
