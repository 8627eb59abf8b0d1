"""Links to the next page of a list of several clouds. Pure."""

from urllib.parse import quote, unquote_plus

import msgspec

from scopeway.control_plane.collector.messages.request import FanoutRequest
from scopeway.control_plane.collector.messages.service_lists import ServiceList

_encode = msgspec.json.Encoder().encode


def with_marker(request: FanoutRequest, marker: str | None, *, drop: tuple[str, ...] = ()) -> str:
    """Return path and query with another marker.

    Args:
        request: The request for the page before.
        marker: Of one cloud, or of all; None: that of the request is left out.
        drop: Other parameters that are left out.
    """
    left_out = ("marker", *drop)
    query = [
        each
        for each in request.query.split("&")
        if each and unquote_plus(each.partition("=")[0]) not in left_out
    ]
    if marker is not None:
        query.append("marker=" + quote(marker, safe=""))
    return request.path + ("?" + "&".join(query) if query else "")


def next_link(request: FanoutRequest, wanted: ServiceList, marker: str) -> bytes:
    """Return the fields of an answer that lead to the next page, as JSON without braces.

    Glance gives a path, the others a URL: that of the client, which the front knows.
    """
    location = with_marker(request, marker)
    if wanted.next == "next":
        return b'"next": ' + _encode(location)
    field = f"{wanted.key}_links" if wanted.next == "key_links" else "links"
    href = _base(request) + location
    return _encode(field) + b": " + _encode([{"rel": "next", "href": href}])


def _base(request: FanoutRequest) -> str:
    host, proto, prefix = (
        (request.header(name) or b"").decode("latin-1")
        for name in (b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-prefix")
    )
    return f"{proto or 'http'}://{host}{prefix.rstrip('/')}" if host else ""
