"""The address of an etcd: `etcd://[user:password@]host[:port][,host[:port]]/[prefix][?option=...]`.

Pure: opens nothing. Invariant: the password is in no text that is made for people.
"""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from scopeway.control_plane.clouds import validators
from scopeway.control_plane.registry.protocol import RegistryUnavailable

DEFAULT_PORT = 2379
DEFAULT_PREFIX = "/scopeway"
FILES = ("cacert", "cert", "key")


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdUrl:
    """Where an etcd is, and how to be let in."""

    endpoints: tuple[str, ...]
    """host:port, at least one; members of one cluster."""
    prefix: str = DEFAULT_PREFIX
    """Begins with a slash, doesn't end with one."""
    user: str = ""
    password: str = field(default="", repr=False)
    cacert: str = ""
    """A file of PEM certificates to trust; "" and no `cert` means no TLS."""
    cert: str = ""
    """A file with our own certificate for etcd; needs `key`."""
    key: str = ""

    def __str__(self) -> str:
        return f"etcd://{','.join(self.endpoints)}{self.prefix}"


def parse_etcd_url(url: str) -> EtcdUrl:
    """Return what a URL says.

    Raises:
        RegistryUnavailable: it isn't a URL of this form; names the part that is wrong.
    """
    scheme, _, rest = url.partition("://")
    if scheme != "etcd" or not rest:
        raise RegistryUnavailable(f"{scheme!r} is not how the URL of an etcd begins: etcd://host")
    # urlsplit would take the port of the last of several hosts for the port of all
    authority = rest.partition("/")[0].partition("?")[0]
    remainder = urlsplit(rest[len(authority) :])
    login, _, hosts = authority.rpartition("@")
    user, _, password = login.partition(":")
    options = dict(parse_qsl(remainder.query, keep_blank_values=True))
    for option in options.keys() - set(FILES):
        raise RegistryUnavailable(f"{option!r} is not an option of etcd://: {', '.join(FILES)} are")
    if bool(options.get("cert")) != bool(options.get("key")):
        raise RegistryUnavailable("of the options cert and key of etcd:// one is missing")
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
        raise RegistryUnavailable(f"{host!r} is not a host of an etcd")
    if not port.isascii() or not port.isdigit() or validators.port_problem(int(port)) is not None:
        raise RegistryUnavailable(f"{port!r} is not a port (1 to 65535) of an etcd")
    return f"{host}:{port}"
