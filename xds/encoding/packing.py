"""Resources from the messages of any protobuf library, or from bytes.

Owns what a message is asked for: its bytes and its full name. Imports no protobuf library: a
message of Google's says what it is by its `DESCRIPTOR`, one of betterproto2 by the pool of messages
that its module has.
"""

import sys
from typing import Any, Final

from scopeway.xds import type_urls
from scopeway.xds.arguments import described
from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.encoding.messages import MAX_NAME_BYTES, WILDCARD, resource
from scopeway.xds.resource import Resource
from scopeway.xds.text import shown

NAME_FIELD: Final = 1
"""Where the messages of all types of `xds.type_urls` have their name."""
MAX_TTL: Final = 315_576_000_000
"""Seconds: the longest google.protobuf.Duration, 10,000 years."""
_PREFIX: Final = "type.googleapis.com/"
_ANY: Final = _PREFIX + "google.protobuf.Any"
_NAMED_OTHERWISE: Final = frozenset({type_urls.VIRTUAL_HOST})
"""Types whose resources don't bear the name in the message. The one of a virtual host is
`<route configuration>/<domain>`."""


def resource_from_message(
    message: Any, *, name: str | None = None, ttl: float | None = None, after: str | None = None
) -> Resource:
    """Encode a protobuf message as a resource, once for every stream that will see it.

    Args:
        message: A message of Google's protobuf library, or of betterproto2 (envoy-data-plane).
        name: The resource's name; None: the name in the message. It must be given for types that
            are not in `xds.type_urls`, and for virtual hosts (`<route configuration>/<domain>`).
        ttl: As of `resource_from_bytes`.
        after: As `Resource.after`.

    Raises:
        TypeError: it is no such message, or an Any.
        ValueError: it has no name, or another than `name`.
    """
    type_url = type_url_of(message)
    if type_url == _ANY:
        raise TypeError(
            "a google.protobuf.Any is no resource: pass the message in it, or "
            "resource_from_bytes(any.type_url, name, any.value)"
        )
    body = _body(message)
    if name is None:
        if type_url not in type_urls.SEND_ORDER or type_url in _NAMED_OTHERWISE:
            raise ValueError(
                f"the name of {short(type_url)} resources is not in their messages: pass name=..."
            )
        name = _name_in(body)
        if not name:
            raise ValueError(f"a {short(type_url)} without a name: set the message's name")
    return resource_from_bytes(type_url, name, body, ttl=ttl, after=after)


def resource_from_bytes(
    type_url: str, name: str, body: bytes, *, ttl: float | None = None, after: str | None = None
) -> Resource:
    """Encode a resource whose message is encoded already, once for every stream that will see it.

    Args:
        type_url: Its type, as in `xds.type_urls`; any other type URL will do, too.
        name: Its name.
        body: The encoded message of that type.
        ttl: Seconds after which the client drops the resource unless the server refreshes it, which
            it does. At least 1; None: the client keeps the resource.
        after: As `Resource.after`.

    Raises:
        TypeError: an argument is of another type.
        ValueError: the type URL, the name or the TTL cannot be used, the body is no protobuf
            message, or it bears another name.
    """
    check_type_url(type_url)
    check_name(type_url, name)
    if ttl is not None:
        _check_ttl(type_url, name, ttl)
    if not isinstance(body, bytes | bytearray | memoryview):
        raise TypeError(
            f"the body of {short(type_url)} {name!r} is {described(body)}, not bytes: pass what "
            f"the message's SerializeToString() or bytes() returns, or use resource_from_message"
        )
    body = bytes(body)
    check_body(type_url, name, body)
    return resource(type_url, name, body, ttl=ttl, after=after)


def as_resource(found: Any) -> Resource:
    """Return a resource as it is, and a message as a resource.

    Raises:
        TypeError: it is neither.
        ValueError: as of `resource_from_message`; or it is a resource that bears another name.
    """
    if not isinstance(found, Resource):
        return resource_from_message(found)
    check_type_url(found.type_url)
    check_name(found.type_url, found.name)
    check_body(found.type_url, found.name, found.body)
    return found


def type_url_of(message: Any) -> str:
    """Return the type URL of a message.

    Raises:
        TypeError: it is no message of a library that is known.
    """
    full_name = getattr(getattr(message, "DESCRIPTOR", None), "full_name", None)
    if isinstance(full_name, str) and not isinstance(message, type):
        return _PREFIX + full_name
    pool = getattr(sys.modules.get(type(message).__module__), "default_message_pool", None)
    url = getattr(pool, "type_to_url", {}).get(type(message))
    if isinstance(url, str):
        return url
    raise TypeError(
        f"{described(message)} is no resource: pass a message of Google's protobuf or of "
        f"betterproto2, or what resource_from_bytes(type_url, name, body) returns"
    )


def check_type_url(type_url: object) -> None:
    """Let a type URL pass.

    Raises:
        TypeError: it is no string.
        ValueError: it has no slash.
    """
    if not isinstance(type_url, str):
        raise TypeError(f"a type URL must be a string, not {described(type_url)}")
    if "/" not in type_url:
        raise ValueError(
            f"{shown(type_url)!r} is no type URL: they read like {type_urls.CLUSTER!r} "
            f"(xds.CLUSTER)"
        )


def check_name(type_url: str, name: object) -> None:
    """Let the name of a resource pass.

    Raises:
        TypeError: it is no string.
        ValueError: it is empty, "*", no valid Unicode, or longer than a client may ask for.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a {short(type_url)} must be a string, not {described(name)}")
    if not name or name == WILDCARD:
        raise ValueError(f"{name!r} cannot be the name of a {short(type_url)}")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError(f"the name {name!r} of a {short(type_url)} is no valid Unicode") from None
    if size > MAX_NAME_BYTES:
        raise ValueError(
            f"the name of a {short(type_url)} has more than {MAX_NAME_BYTES} bytes: {shown(name)}"
        )


def check_body(type_url: str, name: str, body: bytes) -> None:
    """Let the encoded message of a resource pass, if it bears the resource's name.

    Raises:
        ValueError: it is no protobuf message, or bears another name.
    """
    try:
        inside = _name_in(body)
    except ValueError as error:
        raise ValueError(
            f"the body of {short(type_url)} {shown(name)!r} is no protobuf message: {error}"
        ) from None
    if type_url in type_urls.SEND_ORDER and type_url not in _NAMED_OTHERWISE and inside != name:
        raise ValueError(
            f"the {short(type_url)} {shown(name)!r} is named {shown(inside)!r} in its message: "
            f"both must be the same"
        )


def _check_ttl(type_url: str, name: str, ttl: object) -> None:
    place = f"the TTL of {short(type_url)} {shown(name)!r}"
    if isinstance(ttl, bool) or not isinstance(ttl, int | float):
        raise TypeError(f"{place} must be a number of seconds, not {described(ttl)}")
    if not ttl <= MAX_TTL:  # also of a NaN; a minimum has `resource`
        raise ValueError(f"{place} is {ttl!r}: it must be at most {MAX_TTL} seconds")


def short(type_url: str) -> str:
    """Return the last part of a type URL, "Cluster"."""
    return shown(type_url.rpartition(".")[2])


def _body(message: Any) -> bytes:
    if hasattr(message, "DESCRIPTOR"):  # Google's; equal messages are to have equal bytes
        return bytes(message.SerializeToString(deterministic=True))
    return bytes(message)


def _name_in(body: bytes) -> str:
    name = ""
    for number, start, end in wire.fields(body):
        if number == NAME_FIELD:
            name = wire.text(body, start, end)
    return name
