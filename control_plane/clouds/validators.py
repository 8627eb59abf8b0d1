"""Checks of the single values of a cloud manifest.

Each `..._problem` function takes one value and returns what is wrong with it, or None if the value
is valid. The text is a predicate that follows the value: "70000 is not a port (1 to 65535)". This
module does not know the structure of the document (`manifest`).
"""

import json
import re
import socket
from functools import lru_cache
from ipaddress import IPv6Address
from urllib.parse import unquote

from scopeway.control_plane.scope import (
    IDENTITY_VALIDATE,
    MAX_SERVICE_TYPE,
    is_service_type,
    official_type,
)

METHODS = frozenset({"COPY", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})

MAX_HOST = 253
"""Characters of a host name or an address."""
MAX_PATH = 512
"""Characters of a path, of a URL or of a file."""
MAX_REGION = 255
BLANKS = " \t\n\f\r"
"""What may stand around the labels of `[label=value,...]`."""
LOCAL = "local"
"""The word for the origin in a scope."""
PORT_RANGE = (1, 65535)

PER_SECOND_RANGE = (1, 1_000_000)
AT_ONCE_RANGE = (10, 100_000)
"""Least and most. With fewer at once, one that has ended within 20 ms could be a large part of them
(`lua_filters/limits.lua`)."""
UNLIMITED_WORD = "unlimited"

# the custom resource definitions have these patterns too, so they are such as RE2 can read
NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9._]{0,61}[a-z0-9])?")
HOST_NAME = re.compile(r"(?:\w(?:[-\w]{0,61}\w)?\.)*\w(?:[-\w]{0,61}\w)?", re.ASCII)
AUTHORITY = re.compile(r"(?:([A-Za-z0-9._-]{1,253})|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{1,5}))?")
PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)*/?")
_URL = re.compile(r"https?://(.+)")
ROLE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
NO_SERVICE_WORD = (
    f"is not a service type: lower case letters, digits and inner '-', at most {MAX_SERVICE_TYPE}"
)
_MAPPED = b"\0" * 10 + b"\xff\xff"
NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?")
"""A text that some resolvers read as an IPv4 address: 127.1, 2130706433, 0x7f000001."""


def name_problem(value: object) -> str | None:
    """Check a cloud's name: an RFC 1123 label that a scope can hold."""
    if not isinstance(value, str):
        return not_text_problem(value)
    if value == LOCAL:
        return "means the origin in a scope, so no cloud can have this name"
    if not NAME.fullmatch(value):
        return "is not a name of lower case letters, digits and inner '-', at most 63 characters"
    return None


def label_problem(value: object) -> str | None:
    """Check a label or its value: what a scope can hold between brackets."""
    if not isinstance(value, str):
        return not_text_problem(value)
    if not LABEL.fullmatch(value):
        return "is not made of lower case letters, digits and inner '-', '.' or '_', at most 63"
    return None


def port_problem(value: object) -> str | None:
    """Check a TCP port."""
    if type(value) is not int or not PORT_RANGE[0] <= value <= PORT_RANGE[1]:
        return "is not a port (1 to 65535)"
    return None


def address_problem(value: object) -> str | None:
    """Check an address to connect to: an IP address or a host name."""
    if not isinstance(value, str):
        return not_text_problem(value)
    if is_ip(value):
        return _connect_problem(value)
    if "%" in value:
        return "has a zone, which means something on one machine only"
    if len(value) <= MAX_HOST and NUMBER.fullmatch(value):
        return "is not an IP address: write it as four numbers, such as 127.0.0.1"
    if len(value) > MAX_HOST or not HOST_NAME.fullmatch(value):
        return "is not an IP address or a host name"
    return None


def bind_problem(value: object) -> str | None:
    """Check an address to listen on."""
    if not isinstance(value, str):
        return not_text_problem(value)
    return _mapped_problem(value) if is_ip(value) else "is not an IP address to listen on"


def canonical_address(value: str) -> str:
    """Return the one spelling of an address that `address` or `bind` lets pass (RFC 5952)."""
    # IPv4 passes in one spelling only; most addresses are that, and need no closer look
    return str(IPv6Address(_packed(value))) if ":" in value else value.lower()


def host_problem(value: object) -> str | None:
    """Check the value of a Host header: a host or an IP address, perhaps with a port."""
    if not isinstance(value, str):
        return not_text_problem(value)
    parts = AUTHORITY.fullmatch(value)
    if not parts or (parts[2] and not is_ip(parts[2])):
        return "is not a host as in a Host header"
    return port_problem(int(parts[3])) if parts[3] else None


def url_problem(value: object) -> str | None:
    """Check the URL of a front: clients put a path behind it."""
    if not isinstance(value, str):
        return not_text_problem(value)
    parts = _URL.fullmatch(value)
    if not parts or host_problem(parts[1]) is not None:
        return "is not http:// or https:// and a host, perhaps with a port, and nothing behind"
    authority = AUTHORITY.fullmatch(parts[1])
    assert authority, "host_problem() has matched it"
    ip = authority[1] or authority[2]
    return _connect_problem(ip) if is_ip(ip) else None


def file_problem(value: object) -> str | None:
    """Check the path of a file on another machine."""
    if not isinstance(value, str):
        return not_text_problem(value)
    if not value.startswith("/"):
        return "is not the absolute path of a file"
    if len(value) > MAX_PATH or not value.isprintable():
        return f"is not a path of at most {MAX_PATH} printable characters"
    return None


def path_problem(value: object) -> str | None:
    """Check a path prefix."""
    if not isinstance(value, str):
        return not_text_problem(value)
    if not value.startswith("/"):
        return "does not begin with '/'"
    if len(value) > MAX_PATH:
        return f"is longer than {MAX_PATH} characters"
    if not PATH.fullmatch(value):
        return "is not a path: no query, no empty segments, other characters as %XX"
    if any(segment in (".", "..") for segment in unquote(value).split("/")):
        return "has a segment '.' or '..'"
    return None


def service_problem(value: object) -> str | None:
    """Check a service type: a built-in one, or a word that may be declared as one.

    An alias of a built-in type is a problem, because it can never be declared.
    """
    if not isinstance(value, str):
        return not_text_problem(value)
    return _service_type_problem(value) if len(value) <= MAX_SERVICE_TYPE else NO_SERVICE_WORD


def accepted_problem(value: object) -> str | None:
    """Check what a rule may allow: a service, or the part of one that can be allowed alone."""
    return None if value == IDENTITY_VALIDATE else service_problem(value)


def method_problem(value: object) -> str | None:
    """Check an HTTP method."""
    if not isinstance(value, str):
        return not_text_problem(value)
    return None if value in METHODS else f"is not one of {', '.join(sorted(METHODS))}"


def requests_per_second_problem(value: object) -> str | None:
    """Check how many requests a second a calling cloud may send."""
    return _limit_problem(value, *PER_SECOND_RANGE)


def requests_at_once_problem(value: object) -> str | None:
    """Check how many requests of a calling cloud may be under way."""
    return _limit_problem(value, *AT_ONCE_RANGE)


def region_problem(value: object) -> str | None:
    """Check the id of an OpenStack region."""
    if not isinstance(value, str):
        return not_text_problem(value)
    if not 1 <= len(value) <= MAX_REGION or not value.isprintable():
        return f"is not a region: 1 to {MAX_REGION} printable characters"
    return None


def role_problem(value: object) -> str | None:
    """Check the name of a role: it must fit into a header's list."""
    if not isinstance(value, str):
        return not_text_problem(value)
    return None if ROLE.fullmatch(value) else "is not a role of letters, digits and '_.:-'"


def is_ip(value: str) -> bool:
    """Tell whether `value` is an IPv4 or IPv6 address without a zone."""
    try:
        _packed(value)
    except (OSError, ValueError):
        return False
    return True


def _connect_problem(ip: str) -> str | None:
    if not any(_packed(ip)):
        return "can be listened on but not connected to; use it in bind"
    return _mapped_problem(ip)


def _mapped_problem(ip: str) -> str | None:
    # the system connects to, and listens on, the IPv4 address in it, whatever a list of IPv6 says
    packed = _packed(ip)
    if len(packed) == 4 or not packed.startswith(_MAPPED):
        return None
    four = socket.inet_ntop(socket.AF_INET, packed[len(_MAPPED) :])
    return f"is an IPv4 address written as IPv6; write {four}"


def _packed(ip: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)


def not_text_problem(value: object) -> str:
    """Return why something that isn't a text is refused where a text is wanted."""
    if isinstance(value, bool | int | float):
        return "is not text; put it into quotes"
    return "is not text"


def show(value: object) -> str:
    """Return a value as it stands in an error: short, in one line, printable."""
    try:
        text = json.dumps(value, default=str).replace("\x7f", "\\u007f")
    except (ValueError, TypeError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _limit_problem(value: object, least: int, most: int) -> str | None:
    if value == UNLIMITED_WORD or (type(value) is int and least <= value <= most):
        return None
    return f"is neither a whole number from {least} to {most} nor {UNLIMITED_WORD!r}"


@lru_cache(maxsize=1024)
def _service_type_problem(word: str) -> str | None:
    official = official_type(word)
    if official is not None:
        return None if official == word else f"is an alias; the service type is {official!r}"
    return None if is_service_type(word) else NO_SERVICE_WORD
