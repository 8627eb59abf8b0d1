"""Which requests answer a list, and what a list looks like. Pure.

For OpenStack's services a table; for a declared service type what its document says, which comes
with each request (`x-scopeway-lists`). Every other GET answers one resource.
"""

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final, Literal
from urllib.parse import unquote

import msgspec

from scopeway.control_plane.collector.messages.request import FanoutRequest, Refused

MAX_LISTS: Final = 16
"""Of a declared service type."""

Next = Literal["next", "links", "key_links", "name", ""]
"""How a page names the next one: `next`; `links`; `<key>_links`; by the name of its last item; not.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceList:
    """A list of one service."""

    key: str
    """The field that holds the list; "": the answer is the list itself."""
    id: str = ""
    """The field that tells items apart; "": none does."""
    replicas: bool = False
    """Whether an item with the same id in two clouds is one item."""
    sort: tuple[tuple[str, bool], ...] = ()
    """What the service sorts by where nobody says it: fields, and whether they descend."""
    page: int = 0
    """The most items of a page; 0: not known."""
    next: Next = ""
    sortable: bool = False
    """Whether `limit`, `marker` and the sort parameters mean what they mean in OpenStack."""


def _openstack(
    key: str,
    sort: str = "",
    *,
    page: int = 0,
    next: Next = "",
    id: str = "id",
    replicas: bool = False,
) -> ServiceList:
    """Make a row; `sort` as OpenStack's `sort=` has it."""
    pairs = tuple(
        (each.partition(":")[0], each.endswith(":desc")) for each in sort.split(",") if each
    )
    return ServiceList(
        key=key, id=id, replicas=replicas, sort=pairs, page=page, next=next, sortable=bool(pairs)
    )


_NETWORK: Final = (
    "address-groups",
    "address-scopes",
    "agents",
    "floatingips",
    "networks",
    "ports",
    "rbac-policies",
    "routers",
    "security-group-rules",
    "security-groups",
    "segments",
    "subnetpools",
    "subnets",
    "trunks",
)
_LOAD_BALANCER: Final = ("healthmonitors", "l7policies", "listeners", "loadbalancers", "pools")
_UNSORTED: Final = {
    "compute": {
        "os-aggregates": "aggregates",
        "os-availability-zone(?:/detail)?": "availabilityZoneInfo",
        "os-hypervisors(?:/detail)?": "hypervisors",
        "os-migrations": "migrations",
        "os-server-groups": "server_groups",
        "os-services": "services",
    },
    "block-storage": {
        "attachments(?:/detail)?": "attachments",
        "group_snapshots(?:/detail)?": "group_snapshots",
        "group_types": "group_types",
        "groups(?:/detail)?": "groups",
        "messages": "messages",
        "os-services": "services",
        "(?:os-volume-transfer|volume-transfers)(?:/detail)?": "transfers",
        "qos-specs": "qos_specs",
        "types": "volume_types",
    },
}
"""Lists that are joined and not sorted: the ends of their paths, and their keys."""
_NEWEST: Final = "created_at:desc,id:desc"
_VERSION: Final = r"v[0-9]+(?:\.[0-9]+)?"


def _unsorted(service: str) -> list[tuple[str, ServiceList]]:
    return [(path, _openstack(key, next="key_links")) for path, key in _UNSORTED[service].items()]


def _with_project(*rows: tuple[str, ServiceList]) -> list[tuple[str, ServiceList]]:
    """Return rows for paths that may have a project between version and list."""
    return [(rf".*/{_VERSION}(?:/[^/]+)?/{path}", each) for path, each in rows]


@cache
def _table() -> dict[str, tuple[tuple[re.Pattern[str], ServiceList], ...]]:
    """Return, for each service type, the ends of paths and their lists."""
    servers = _openstack("servers", _NEWEST, page=1000, next="key_links")
    flavors = _openstack("flavors", "flavorid:asc", page=1000, next="key_links", replicas=True)
    rows: dict[str, list[tuple[str, ServiceList]]] = {
        "image": [
            (
                rf".*/{_VERSION}/images",
                _openstack("images", _NEWEST, page=1000, next="next", replicas=True),
            )
        ],
        "compute": _with_project(
            ("servers(?:/detail)?", servers),
            ("flavors(?:/detail)?", flavors),
            ("os-keypairs", ServiceList(key="keypairs")),
            *_unsorted("compute"),
        ),
        "block-storage": _with_project(
            *(
                (f"{name}(?:/detail)?", _openstack(name, _NEWEST, page=1000, next="key_links"))
                for name in ("volumes", "snapshots", "backups")
            ),
            *_unsorted("block-storage"),
        ),
        "load-balancer": [
            (rf".*/{_VERSION}/(?:lbaas|octavia)/{name}", _openstack(name, next="key_links"))
            for name in _LOAD_BALANCER
        ],
        "network": [
            (
                rf".*/{_VERSION}/{name}(?:\.json)?",  # Neutron takes the name of a format
                _openstack(name.replace("-", "_"), "id:asc", next="key_links"),
            )
            for name in _NETWORK
        ]
        + [(rf".*/{_VERSION}/availability_zones", ServiceList(key="availability_zones"))],
        "orchestration": _with_project(
            ("stacks", _openstack("stacks", "created_at:desc", page=1000, next="links"))
        ),
        "object-store": [
            (
                # an account, or a container; an object, which may be named like those, has more
                rf"/{_VERSION}/[^/]+(?:/[^/]+)?",
                _openstack("", "name:asc", page=10_000, next="name", id="name", replicas=True),
            )
        ],
    }
    return {
        service: tuple((re.compile(f"{pattern}/?"), each) for pattern, each in found)
        for service, found in rows.items()
    }


def list_of(request: FanoutRequest) -> ServiceList | None:
    """Return the list that a request asks for; None: it asks for one resource, or writes.

    Raises:
        Refused: The lists of a declared service type cannot be read.
    """
    if request.method != "GET":
        return None
    rows = _declared(request.lists) if request.lists else _table().get(request.service, ())
    path = unquote(request.path)  # as services read it: else a list would be that of one cloud
    for pattern, each in rows:
        if pattern.fullmatch(path):
            return each
    return None


class _Declared(msgspec.Struct, frozen=True):
    path: str
    key: str = ""
    id: str = ""


@lru_cache(maxsize=64)
def _declared(text: str) -> tuple[tuple[re.Pattern[str], ServiceList], ...]:
    """Read the lists of a declared service type."""
    try:
        found = msgspec.json.decode(text.encode("latin-1"), type=list[_Declared])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Refused(400, f"x-scopeway-lists cannot be read: {error}") from None
    if len(found) > MAX_LISTS:
        raise Refused(400, f"x-scopeway-lists has more than {MAX_LISTS} lists")
    return tuple(
        (
            re.compile(f".*{_ends(each.path)}/?"),
            ServiceList(key=each.key, id=each.id, replicas=bool(each.id)),
        )
        for each in found
    )


def _ends(path: str) -> str:
    """Return the pattern of an end of paths: whole segments, `*` for any one of them."""
    segments = [each for each in path.split("/") if each]
    return "".join("/" + ("[^/]+" if each == "*" else re.escape(each)) for each in segments)
