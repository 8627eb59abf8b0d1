"""A request of Envoy for several clouds, and the bytes of its sub-requests. Pure.

The headers `x-scopeway-*` come from the front's route (`%CLUSTER_METADATA(…)%`), not from a client:
Envoy removes those of clients. They are validated all the same.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal, get_args
from urllib.parse import parse_qsl

from scopeway.control_plane.errors import ControlPlaneError
from scopeway.control_plane.scope.text import is_cloud_name, quoted

Header = tuple[bytes, bytes]
"""Name in lower case, value."""
Operator = Literal["&", "^"]

MAX_MEMBERS: Final = 4096
"""Members and missing clouds, each."""
MAX_DEADLINE: Final = 300.0
"""Seconds that a client may ask for with X-Scope-Deadline."""

READS: Final = ("GET", "HEAD", "OPTIONS")
WRITES: Final = ("POST", "PUT", "PATCH", "DELETE")

SCOPE_MARK: Final = "~1~"
"""What stands between a token and its scope (docs/envoy.md)."""

_OWN: Final = frozenset(
    (
        # of this hop
        b"connection",
        b"content-length",
        b"expect",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        # written anew for each sub-request
        b"accept-encoding",
        b"host",
        b"x-auth-token",
        # for the collector
        b"x-scope",
        b"x-scope-require",
        b"x-scope-deadline",
    )
)
CONDITIONS: Final = frozenset(
    (
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
    )
)
"""What speaks of one representation: not sent where answers of several clouds are joined."""
_SCOPEWAY = b"x-scopeway-"

_SERVICE = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")
_MISSING = re.compile(r"([a-z0-9-]{1,63})=([45][0-9]{2})/([a-z-]{1,32})")
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")


class Refused(ControlPlaneError):
    """A request that the collector answers itself; the text is for the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Missing:
    """A cloud of the fan-out that cannot be asked."""

    cloud: str
    status: int
    cause: str


@dataclass(frozen=True, slots=True)
class Token:
    """The token of a request, split where the clouds of the asked service stand in its scope."""

    before: bytes
    after: bytes


@dataclass(slots=True, kw_only=True)
class FanoutRequest:
    """One request for several clouds."""

    method: str
    path: str
    """As it was sent, without the query."""
    query: str
    """As it was sent, without the question mark."""
    service: str
    """The official service type."""
    target: str
    """`image@a&b`"""
    operator: Operator
    members: tuple[str, ...]
    """The clouds to ask, in the order of the expression."""
    missing: tuple[Missing, ...]
    lists: str = ""
    """JSON of the lists of a declared service type; "" for those of OpenStack."""
    require_all: bool = False
    deadline: float | None = None
    """Seconds that the client allows; None: the default."""
    headers: tuple[Header, ...] = ()
    """Those that every cloud gets."""
    host: bytes = b"localhost"
    token: Token | bytes | None = None
    """Bytes where the token has no scope: it is sent as it is."""
    client: bytes = b""
    """A digest of the credential: requests with the same one are of one client."""
    address: str = ""
    """The client's address, as the front saw it; "" if it is not known."""
    body: bytes = b""
    _head: bytes | None = field(default=None, repr=False)

    @property
    def is_read(self) -> bool:
        """Whether asking twice does no harm."""
        return self.method in READS

    @property
    def clouds(self) -> int:
        """How many clouds the expression has, with those that cannot be asked."""
        return len(self.members) + len(self.missing)

    @property
    def location(self) -> str:
        """Path and query, as they were sent."""
        return f"{self.path}?{self.query}" if self.query else self.path

    def parameters(self) -> list[tuple[str, str]]:
        """Return the query's names and values.

        Raises:
            Refused: It has more than 64.
        """
        try:
            return parse_qsl(self.query, keep_blank_values=True, max_num_fields=64)
        except ValueError:
            raise Refused(400, "the query has more than 64 parameters") from None

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of this name (lower case) that every cloud gets."""
        return next((value for key, value in self.headers if key == name), None)

    def drop_conditions(self) -> None:
        """Send no range and no `If-…`: the answers of several clouds will be joined."""
        self.headers = tuple(each for each in self.headers if each[0] not in CONDITIONS)
        self._head = None

    def encode(
        self,
        cloud: str,
        *,
        method: str = "",
        location: str = "",
        body: bytes | None = None,
    ) -> bytes:
        """Return the head of the sub-request for one cloud, with the empty line.

        Args:
            cloud: A member.
            method: Instead of this request's.
            location: Path and query instead of this request's.
            body: Instead of this request's; its length is written, not its bytes.
        """
        if self._head is None:
            self._head = self._common_head()
        made = bytearray(
            f"{method or self.method} {location or self.location} HTTP/1.1\r\n", "latin-1"
        )
        made += f"x-scopeway-target: {self.service}@{cloud}\r\n".encode("latin-1")
        if isinstance(self.token, Token):
            made += b"x-auth-token: %b%b%b\r\n" % (
                self.token.before,
                cloud.encode(),
                self.token.after,
            )
        made += self._head
        sent = self.body if body is None else body
        if sent or (method or self.method) in WRITES:
            made += b"content-length: %d\r\n" % len(sent)
        made += b"\r\n"
        return bytes(made)

    def _common_head(self) -> bytes:
        lines = [
            b"host: " + self.host,
            b"x-scopeway-service: " + self.service.encode(),
            b"x-scopeway-fanout: %d" % len(self.members),
            b"accept-encoding: identity",
        ]
        if isinstance(self.token, bytes):
            lines.append(b"x-auth-token: " + self.token)
        lines += (name + b": " + value for name, value in self.headers)
        return b"\r\n".join(lines) + b"\r\n"


def read_request(method: str, url: bytes, headers: Sequence[Header]) -> FanoutRequest:
    """Read the head of a request.

    Args:
        method: In upper case.
        url: Path and query.
        headers: Names in any case.

    Raises:
        Refused: It names no clouds, or a header has a wrong form.
    """
    found: dict[bytes, bytes] = {}
    kept: list[Header] = []
    for name, value in headers:
        key = name.lower()
        found.setdefault(key, value)
        if key not in _OWN and not key.startswith(_SCOPEWAY):
            kept.append((key, value))
    path, _, query = url.decode("latin-1").partition("?")
    target = _text(found, b"x-scopeway-target")
    service = _text(found, b"x-scopeway-service") or target.partition("@")[0]
    operator = _text(found, b"x-scopeway-operator")
    if _SERVICE.fullmatch(service) is None or target.partition("@")[0] != service:
        raise Refused(400, "x-scopeway-target and x-scopeway-service name no service")
    if operator not in get_args(Operator):
        raise Refused(400, "x-scopeway-operator is neither '&' nor '^'")
    token = found.get(b"x-auth-token")
    return FanoutRequest(
        method=method,
        path=path,
        query=query,
        service=service,
        target=target,
        operator="&" if operator == "&" else "^",
        members=_members(_text(found, b"x-scopeway-members")),
        missing=_missing(_text(found, b"x-scopeway-missing")),
        lists=_text(found, b"x-scopeway-lists"),
        require_all=_required(found),
        deadline=_deadline(found),
        headers=tuple(kept),
        host=found.get(b"host", b"localhost"),
        token=None if token is None else split_token(token, service),
        client=_client(found),
        address=address_in(found.get(b"x-forwarded-for", b"")),
    )


def address_in(forwarded_for: bytes) -> str:
    """Return the address that the front saw: the last one of X-Forwarded-For; "" if none is."""
    return forwarded_for.decode("latin-1").rpartition(",")[2].strip()


def split_token(token: bytes, service: str) -> Token | bytes:
    """Split a token around the clouds that its scope binds to a service.

    `T~1~*:home;image:a&b` becomes `T~1~*:home;image:` and ``. All other bindings stay, and the
    bindings stay sorted. A token without a scope is returned as it is.
    """
    bare, mark, scope = token.decode("latin-1").partition(SCOPE_MARK)
    if not mark:
        return token
    bindings = dict(each.split(":", 1) for each in scope.split(";") if ":" in each)
    bindings[service] = "\0"
    joined = ";".join(f"{name}:{bindings[name]}" for name in sorted(bindings))
    before, _, after = joined.partition("\0")
    return Token(f"{bare}{SCOPE_MARK}{before}".encode("latin-1"), after.encode("latin-1"))


def _client(found: dict[bytes, bytes]) -> bytes:
    """Return who asks: the token without its scope, else another credential."""
    credential = found.get(b"x-auth-token", b"").partition(SCOPE_MARK.encode())[0]
    credential = credential or found.get(b"authorization", b"")
    return hashlib.blake2b(credential, digest_size=16).digest() if credential else b""


def _text(found: dict[bytes, bytes], name: bytes) -> str:
    return found.get(name, b"").decode("latin-1")


# the same 4,000 names come with each request of one target
@lru_cache(maxsize=8)
def _members(text: str) -> tuple[str, ...]:
    members = tuple(text.split(",")) if text else ()
    if len(members) > MAX_MEMBERS:
        raise Refused(400, f"more than {MAX_MEMBERS} clouds")
    if len(set(members)) != len(members) or not all(map(is_cloud_name, members)):
        raise Refused(400, "x-scopeway-members is no list of different clouds")
    return members


@lru_cache(maxsize=8)
def _missing(text: str) -> tuple[Missing, ...]:
    if not text:
        return ()
    found = [_MISSING.fullmatch(each) for each in text.split(",", MAX_MEMBERS)]
    if len(found) > MAX_MEMBERS or None in found:
        raise Refused(400, "x-scopeway-missing has a wrong form")
    return tuple(Missing(each[1], int(each[2]), each[3]) for each in found if each is not None)


def _required(found: dict[bytes, bytes]) -> bool:
    text = _text(found, b"x-scope-require").strip().lower()
    if text not in ("", "all"):
        raise Refused(400, f"X-Scope-Require: {quoted(text)} is not 'all', its only value")
    return text == "all"


def _deadline(found: dict[bytes, bytes]) -> float | None:
    text = _text(found, b"x-scope-deadline").strip()
    if not text:
        return None
    if _SECONDS.fullmatch(text) is None or not 0 < float(text) <= MAX_DEADLINE:
        raise Refused(
            400,
            f"X-Scope-Deadline: {quoted(text)} is not a number of seconds above 0, at most "
            f"{MAX_DEADLINE:.0f}",
        )
    return float(text)
