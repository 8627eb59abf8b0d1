"""How a request for several clouds is answered: method and path to a way. Pure."""

import re
from enum import Enum
from typing import Final

from scopeway.control_plane.collector.messages.request import READS, WRITES, FanoutRequest, Refused
from scopeway.control_plane.collector.messages.service_lists import ServiceList, list_of

MAX_WRITES: Final = 8
"""Clouds of a write."""
MAX_BODY: Final = 1 << 20
"""Bytes of a request's body, which is kept while it goes to each cloud."""

UPLOAD: Final = (
    "an upload goes to one cloud: the body of a request for several clouds has at most "
    f"{MAX_BODY} bytes; upload to each cloud alone"
)


class Way(Enum):
    """How a request is answered."""

    UNION = "union"
    """A page of each cloud, joined as they come."""
    SORTED = "sorted"
    """One page of all, sorted and limited."""
    ONE = "one"
    """The first cloud that has the resource."""
    EXACTLY_ONE = "exactly-one"
    """The one cloud that has it (`^`)."""
    WRITE = "write"
    """All of them."""


_ABOUT_THE_API: Final = re.compile(r"(v[0-9.]+)?|(v[0-9.]+/)?(schemas|versions)(/.*)?")
"""Paths that every cloud of a service has: versions and schemas. Clients read them first."""
_SORTED = frozenset(("limit", "sort", "sort_key", "sort_dir"))


def way_of(request: FanoutRequest) -> tuple[Way, ServiceList | None]:
    """Return how a request is answered, and the list that it asks for, if it asks for one.

    Raises:
        Refused: Nothing answers it for several clouds.
    """
    if request.service == "identity" or request.service.startswith("identity."):
        raise Refused(400, "identity takes one cloud")
    if request.method not in READS + WRITES:
        raise Refused(501, f"{request.method} takes one cloud, not {request.target}")
    wanted = list_of(request)
    if request.operator == "^":
        return _exclusive(request, wanted), None
    if request.method in WRITES:
        _check_write(request)
        return Way.WRITE, None
    if wanted is None:
        return Way.ONE, None
    parameters = request.parameters()
    if wanted.next == "name":
        _check_json(request, dict(parameters))
        return Way.SORTED, wanted
    if wanted.sortable and not _SORTED.isdisjoint(name for name, _ in parameters):
        return Way.SORTED, wanted
    return Way.UNION, wanted


def _exclusive(request: FanoutRequest, wanted: ServiceList | None) -> Way:
    if request.method in WRITES:
        raise Refused(501, f"'^' is for reads; {request.method} takes '&' or one cloud")
    if wanted is not None:
        raise Refused(501, "'^' is for one resource, by its id; a list takes '&'")
    return Way.ONE if _ABOUT_THE_API.fullmatch(request.path.strip("/")) else Way.EXACTLY_ONE


def _check_write(request: FanoutRequest) -> None:
    """Refuse writes to too many clouds, and to labels unless all clouds are required."""
    if request.clouds > MAX_WRITES:
        raise Refused(
            400,
            f"{request.method} to {request.clouds} clouds: a write takes at most {MAX_WRITES}",
        )
    if "[" in request.target and not request.require_all:
        raise Refused(
            400,
            f"{request.method} to clouds that labels select needs 'X-Scope-Require: all' "
            "(--scope-require all), or the names of the clouds",
        )


def _check_json(request: FanoutRequest, parameters: dict[str, str]) -> None:
    """Refuse listings of an object store as text, which names no clouds."""
    form = parameters.get("format", "").lower()
    accepted = request.header(b"accept") or b""
    if form != "json" and (form or b"json" not in accepted):
        raise Refused(406, "a listing of several clouds is JSON: add ?format=json")
