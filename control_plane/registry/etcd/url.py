"""The URL of etcd: `etcd://[user:password@]host[:port][,host[:port]]/[prefix][?option=...]`.

Pure: opens no connection. Invariant: no text for people contains the password.
"""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from scopeway.control_plane.clouds import validators
from scopeway.control_plane.registry.interface import RegistryUnavailable

DEFAULT_PORT = 2379
DEFAULT_PREFIX = "/scopeway"
FILES = ("cacert", "cert", "key")


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdUrl:
    """The members of etcd, and how to log in."""

    endpoints: tuple[str, ...]
    """host:port, at least one; members of one cluster."""
    prefix: str = DEFAULT_PREFIX
    """Begins with a slash, and does not end with one."""
    user: str = ""
    password: str = field(default="", repr=False)
    cacert: str = ""
    """A file of PEM CA certificates used to verify etcd; "" and no `cert` means no TLS."""
    cert: str = ""
    """A PEM file with the client certificate; needs `key`."""
    key: str = ""

    def __str__(self) -> str:
        return f"etcd://{','.join(self.endpoints)}{self.prefix}"


def parse_etcd_url(url: str) -> EtcdUrl:
    """Parse the URL of etcd.

    Raises:
        RegistryUnavailable: the URL does not have this form; the text names the wrong part.
    """
    scheme, _, rest = url.partition(":")
    if scheme != "etcd":
        raise RegistryUnavailable(f"unsupported scheme {scheme!r}; use etcd://host[:port]")
    if not rest.startswith("//"):
        raise RegistryUnavailable("'//' is missing after 'etcd:'; use etcd://host[:port]")
    rest = rest.removeprefix("//")
    # urlsplit would apply the port of the last host to all hosts
    authority = rest.partition("/")[0].partition("?")[0]
    remainder = urlsplit(rest[len(authority) :])
    login, _, hosts = authority.rpartition("@")
    user, _, password = login.partition(":")
    options = dict(parse_qsl(remainder.query, keep_blank_values=True))
    for option in options.keys() - set(FILES):
        raise RegistryUnavailable(f"unknown option {option!r} of etcd://; use {', '.join(FILES)}")
    if bool(options.get("cert")) != bool(options.get("key")):
        raise RegistryUnavailable("the options cert and key of etcd:// must be used together")
    prefix = unquote(remainder.path).rstrip("/")
    return EtcdUrl(
        endpoints=tuple(_endpoint(host) for host in hosts.split(",")),
        prefix=prefix or DEFAULT_PREFIX,
        user=unquote(user),
        password=unquote(password),
        **options,
    )


def _endpoint(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    bare = host.removeprefix("[").removesuffix("]")
    if (":" in bare) != (host != bare) or validators.address_problem(bare) is not None:
        raise RegistryUnavailable(f"{host!r} is not a valid etcd host")
    if not port.isascii() or not port.isdigit() or validators.port_problem(int(port)) is not None:
        raise RegistryUnavailable(f"{port!r} is not a valid etcd port (1 to 65535)")
    return f"{host}:{port}"
