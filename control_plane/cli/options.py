"""Options that several commands share, and the values they are read into."""

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from scopeway.control_plane.clouds.addresses import AllowedAddress

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def address(text: str | tuple[str, int]) -> tuple[str, int]:
    """Read host:port, the port 0 to 65535; return the host without the brackets of IPv6.

    The host is a host name or an IP address, which may have a zone: [fe80::1%eth0]:18000.

    Raises:
        click.BadParameter: it isn't that; names the part that is wrong.
    """
    if isinstance(text, tuple):  # a default that has been read already
        return text
    from scopeway.control_plane.clouds import validators

    if "://" in text:
        raise click.BadParameter(f"{text!r} is a URL; give host:port alone")
    if ":" in text and validators.is_ip(text):
        raise click.BadParameter(f"{text!r} is not host:port; write IPv6 as [{text}]:18000")
    host, colon, port = text.rpartition(":")
    if not colon or not host or port.endswith("]"):
        raise click.BadParameter(f"{text!r} is not host:port")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise click.BadParameter(f"{port!r} in {text!r} is not a port")
    bare = host.removeprefix("[").removesuffix("]")
    is_ip = validators.is_ip(bare.partition("%")[0])
    if is_ip and host != (f"[{bare}]" if ":" in bare else bare):
        raise click.BadParameter(f"{text!r} is not host:port; brackets are for IPv6, [::1]:18000")
    if not is_ip and (problem := validators.address_problem(host)) is not None:
        raise click.BadParameter(f"{host!r} in {text!r} {problem}")
    return bare, int(port)


def cloud_name(text: str) -> str:
    """Read the name of a cloud; it need not be registered yet."""
    from scopeway.control_plane.clouds import validators

    problem = validators.name_problem(text)
    if problem is not None:
        raise click.BadParameter(f"{text!r} {problem}")
    return text


def place(text: str) -> "AllowedAddress":
    """Read a network, an IP address or a host name."""
    from scopeway.control_plane.clouds import validators

    try:
        return ip_network(text)
    except ValueError as error:
        if validators.is_ip(text.partition("/")[0]):
            raise click.BadParameter(str(error)) from None
    if validators.address_problem(text) is not None:
        raise click.BadParameter(f"{text!r} is not a network, an IP address or a host name")
    return validators.canonical_address(text)


direct_option: Decorator = click.option(
    "--direct",
    type=place,
    multiple=True,
    envvar="SCOPEWAY_DIRECT",
    metavar="NETWORK|HOST",
    help="Where services of clouds without a peer may be: 203.0.113.0/24, or a host name as the "
    "manifest has it. Requests to them, tokens included, are plain HTTP. May be given again. "
    "Default: nowhere; without mutual TLS on loopback.",
)


def _trust_domain(text: str) -> str:
    from scopeway.control_plane.identity import trust_domain_problem

    problem = trust_domain_problem(text)
    if problem is not None:
        raise click.BadParameter(f"{text!r} {problem}")
    return text


trust_domain_option: Decorator = click.option(
    "--trust-domain",
    type=_trust_domain,
    metavar="DOMAIN",
    default="scopeway",
    show_default=True,
    envvar="SCOPEWAY_TRUST_DOMAIN",
    show_envvar=True,
    help="The SPIFFE trust domain of the fleet: sites are spiffe://DOMAIN/cloud/NAME.",
)


def tls_options(text: str) -> Decorator:
    """Return --tls-cert, --tls-key and --tls-ca, which go together (`three_files`)."""
    texts = {
        "cert": text,
        "key": "The private key of this certificate.",
        "ca": "CA bundle used to verify the peer; may hold several authorities.",
    }
    options = [
        click.option(
            f"--tls-{name}",
            type=click.Path(dir_okay=False, path_type=Path),
            envvar=f"SCOPEWAY_TLS_{name.upper()}",
            show_envvar=True,
            help=each,
        )
        for name, each in texts.items()
    ]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def three_files(
    certificate: Path | None, key: Path | None, authorities: Path | None
) -> tuple[Path, Path, Path] | None:
    """Return the files of the three options; None if none of them is set.

    Raises:
        click.UsageError: some are set, and others are not.
    """
    if certificate and key and authorities:
        return certificate, key, authorities
    if certificate or key or authorities:
        raise click.UsageError("--tls-cert, --tls-key and --tls-ca go together")
    return None


def _registry_option(what: str, *, required: bool) -> Decorator:
    return click.option(
        "--registry",
        required=required,
        envvar="SCOPEWAY_REGISTRY",
        show_envvar=True,
        metavar="URL",
        # no word of it is longer than the column that it gets
        help=f"{what}: dir:FOLDER, kubernetes:[FILE][?context=NAME] "
        "(default: $KUBECONFIG, else the account of this pod, else your kubeconfig), or "
        "etcd://[user:password@]host:port[,host:port] "
        "with /PREFIX and ?cacert=FILE&cert=FILE&key=FILE behind it, where wanted.",
    )


def health_option(variable: str) -> Decorator:
    """Return --health-listen."""
    return click.option(
        "--health-listen",
        type=address,
        metavar="HOST:PORT",
        envvar=variable,
        show_envvar=True,
        help="Where /healthz and /readyz answer, and nothing else: for probes and load balancers "
        "on other machines; default: at --admin-listen only.",
    )


def metrics_option(variable: str) -> Decorator:
    """Return --metrics-listen."""
    return click.option(
        "--metrics-listen",
        type=address,
        metavar="HOST:PORT",
        envvar=variable,
        show_envvar=True,
        help="Where /metrics answers, and nothing else; its figures name no cloud and no Envoy; "
        "default: at --admin-listen only.",
    )


log_level_option: Decorator = click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    envvar="SCOPEWAY_LOG_LEVEL",
    show_envvar=True,
)

registry_option: Decorator = _registry_option("Where clouds are registered", required=True)

optional_registry_option: Decorator = _registry_option(
    "Where further types are declared; default: the built-in ones only", required=False
)

admin_option: Decorator = click.option(
    "--admin",
    "admins",
    multiple=True,
    default=("http://127.0.0.1:18002",),
    show_default=True,
    envvar="SCOPEWAY_ADMIN",
    show_envvar=True,
    metavar="URL",
    help="The admin address of a control plane; may be given again for each replica.",
)

force_option: Decorator = click.option(
    "--force",
    is_flag=True,
    help="With kubernetes:, replace also the fields that other field managers own, such as kubectl "
    "or Argo CD.",
)

format_option: Decorator = click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="For people, or as JSON for programs.",
)
