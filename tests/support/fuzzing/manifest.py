"""Documents of the registry, as values of keys in etcd, and what is made of a cloud."""

import json
import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Any
from zlib import crc32

from fuzzing import json_mutation
from fuzzing.steps import steps
from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.manifest import MAX_PROBLEMS
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.policy import policy_of
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.planner.planner import PlanSettings, plan_target
from scopeway.control_plane.registry.documents import (
    CORDON_KEY,
    SERVICE_TYPES_KEY,
    parse_json,
    to_json,
)
from scopeway.control_plane.scope import parse_target
from scopeway.control_plane.translator.clusters import compile_cluster
from scopeway.control_plane.translator.routes import peer_routes
from scopeway.control_plane.translator.site_resources import site_resources

NAME = "cloud-1"
WHOLE = {
    "apiVersion": "scopeway.io/v1alpha1",
    "kind": "EdgeCloud",
    "metadata": {"name": NAME, "labels": {"region": "eu", "tier": "edge"}},
    "spec": {
        "front": {
            "address": "10.0.0.1",
            "port": 8080,
            "ports": {"image": 9292},
            "bind": "0.0.0.0",
            "region": "R",
            "url": "https://f.example:443",
            "tls": {"certificate": "/c.pem", "key": "/k.pem"},
        },
        "peer": {
            "address": "2001:db8::7",
            "port": 8443,
            "bind": "::",
            "limits": {"requestsPerSecond": "unlimited", "requestsAtOnce": 100000},
        },
        "services": {
            "image": {
                "endpoints": [{"address": "glance.example", "port": 9292}],
                "path": "/x/%20y/",
                "host": "[::1]:80",
            },
            "identity": {"endpoints": [{"address": "::1", "port": 5000}]},
        },
        "acceptMode": "audit",
        "accept": [
            {"clouds": ["cloud-2", "[region=eu,tier=edge]"], "services": ["image"]},
            {
                "clouds": ["cloud-2"],
                "services": ["identity.validate"],
                "methods": ["GET", "HEAD"],
                "identity": {"clouds": ["cloud-2"], "roles": ["member"], "ids": "kept"},
                "limits": {"requestsPerSecond": 1, "requestsAtOnce": 10},
                "fanout": False,
            },
        ],
    },
}
CORDON = {
    "apiVersion": "scopeway.io/v1alpha1",
    "kind": "Cordon",
    "metadata": {"name": NAME},
    "spec": {"reason": "disk"},
}
SERVICE_TYPE = {
    "apiVersion": "scopeway.io/v1alpha1",
    "kind": "ServiceType",
    "metadata": {"name": NAME},
    "spec": {
        "aliases": ["probe"],
        "protocol": "http",
        "forward": ["authorization"],
        "lists": [{"path": "/rooms/*/readings", "key": "readings", "id": "id"}],
    },
}
DICTIONARY = (
    *('"', "{", "}", "[", "]", ":", ",", "null", "true", "1e9", "-1", "65536", "NaN", '""', "{}"),
    *("[]", '"\\ud800"', '"\\u0000"', '"local"', '"[a=b]"', '"0.0.0.0"', '"::"', '"http://a"'),
    *('"apiVersion"', '"kind"', '"metadata"', '"name"', '"labels"', '"spec"', '"front"', '"peer"'),
    *('"ports"', '"services"', '"accept"', '"acceptMode"', '"address"', '"port"', '"bind"'),
    *('"url"', '"tls"', '"certificate"', '"key"', '"endpoints"', '"path"', '"host"', '"clouds"'),
    *('"methods"', '"identity"', '"roles"', '"ids"', '"mapped"', '"enforce"', '"Cordon"'),
    *('"fanout"', "false"),
    *('"limits"', '"requestsPerSecond"', '"requestsAtOnce"', '"unlimited"', "10", "100001"),
    *('"identity.validate"', '"compute"', '"block-storage"', '"region"', '"reason"', '"%2e%2e/"'),
    *('"ServiceType"', '"aliases"', '"protocol"', '"http"', '"forward"', '"lists"', '"sensor"'),
)
_WORDS = tuple(json.loads(word) for word in DICTIONARY if word.startswith('"') and word != '"')
_EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))
_OTHER: Any = json.loads(json.dumps(WHOLE))
_OTHER["metadata"]["name"] = "cloud-2"


def seeds() -> Iterator[bytes]:
    yield json.dumps(CORDON).encode()
    yield json.dumps(SERVICE_TYPE).encode()
    minimal = {key: WHOLE[key] for key in ("apiVersion", "kind", "metadata")}
    spec: Any = WHOLE["spec"]
    yield json.dumps(minimal).encode()
    for field in spec:
        yield json.dumps({**minimal, "spec": {field: spec[field]}}, separators=(",", ":")).encode()
    yield json.dumps({**minimal, "spec": {**spec, "accept": []}}).encode()
    yield json.dumps(WHOLE).encode()
    yield json.dumps(minimal).replace("{", '{"kind": "EdgeCloud", ', 1).encode()
    yield b"[" * 200


KINDS: Mapping[str | None, tuple[type, ...]] = {
    None: (Cloud, Cordon, ServiceType),
    NAME: (Cloud,),
    NAME + CORDON_KEY: (Cordon,),
    SERVICE_TYPES_KEY + NAME: (ServiceType,),
}
"""What may stand at which key."""


def mutated(data: bytes, seed: int) -> bytes | None:
    return json_mutation.mutated(data, seed, _WORDS)


def check(data: bytes) -> None:
    twins = _has_twins(data)
    for key, kind in KINDS.items():
        entry = parse_json(data, "/key", key)
        assert not twins or isinstance(entry, InvalidCloud), "one of two values was taken"
        if isinstance(entry, InvalidCloud):
            _refused(entry, data)
            continue
        assert isinstance(entry, kind)
        assert key is None or entry.name == NAME
        written = to_json(entry)
        assert parse_json(written, "/key", key) == entry
        assert to_json(parse_json(written, "/key", key)) == written  # type: ignore[arg-type]
        if key == NAME:
            assert isinstance(entry, Cloud)
            _compiled(entry)
    if data and crc32(data) % 64 == 0:
        _costs(data)


def _has_twins(data: bytes) -> bool:
    found = []

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found.append(len(dict(pairs)) < len(pairs))
        return dict(pairs)

    try:
        json.loads(data, object_pairs_hook=look)
    except (ValueError, RecursionError):
        return False
    return any(found)


def _refused(error: InvalidCloud, data: bytes) -> None:
    """One line for people, and each problem names a field of the document."""
    assert 1 <= len(error.problems) <= MAX_PROBLEMS
    assert str(error).isprintable()
    assert len(str(error)) <= 4000
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        assert [problem.field for problem in error.problems] == [""]
        return
    for problem in error.problems:
        assert problem.field.isprintable()
        assert problem.reason.isprintable()
        assert problem.reason
        assert len(problem.field) <= 300
        assert len(problem.reason) <= 500
        if isinstance(document, dict) and "duplicate field" not in problem.reason:
            _is_there(document, problem)


def _is_there(document: Any, problem: Any) -> None:
    """What has the problem, or what should have it, is in the document."""
    if "\\" in problem.field or '"' in problem.field or "..." in problem.field:
        return  # somebody's own name, shown
    node, rest = document, problem.field
    while rest:
        if isinstance(node, list) and rest.startswith("["):
            index, _, rest = rest.removeprefix("[").partition("]")
            assert int(index) < len(node), problem
            node, rest = node[int(index)], rest.removeprefix(".")
            continue
        fitting = [key for key in node if _begins_with(rest, key)] if isinstance(node, dict) else []
        if not fitting:
            assert re.search("is missing|is required|null is not", problem.reason), problem
            return
        key = max(fitting, key=len)
        node, rest = node[key], rest[len(key) :].removeprefix(".")


def _begins_with(way: str, key: str) -> bool:
    return way.startswith(key) and way[len(key) :][:1] in {"", ".", "["}


def _compiled(cloud: Cloud) -> None:
    """A cloud that is taken never stops the control plane: its Envoy and others get something."""
    other = parse_json(json.dumps(_OTHER).encode(), "/other")
    assert isinstance(other, Cloud)
    site_resources(cloud)
    inventory = Inventory().apply({cloud.name: cloud, other.name: other})
    peer_routes(policy_of(cloud), inventory)
    settings = PlanSettings(direct=(*_EVERYWHERE, *_addresses(cloud), *_addresses(other)))
    for caller, name in ((other, NAME), (cloud, "cloud-2")):
        for service in ("image", "identity", "identity.validate", "compute"):
            target = f"{service}@{name}"
            compile_cluster(target, plan_target(parse_target(target), caller, inventory, settings))


def _addresses(cloud: Cloud) -> Iterator[str]:
    for service in cloud.services.values():
        yield from (each.address for each in service.endpoints)


def _costs(data: bytes) -> None:
    """A list of many of them, and one with a field for each, cost as much as they are long."""
    some = [data] * (20_000 // (len(data) + 1) + 1)
    fields = b",".join(b'"%d":%s' % each for each in enumerate(some))
    for inside in (b"[%s]" % b",".join(some), b"{%s}" % fields):
        text = json.dumps(WHOLE).replace('"audit"', "@").encode().replace(b"@", inside)
        taken = steps(lambda text=text: parse_json(text, "/key"))  # type: ignore[misc]
        assert taken <= 40 * (len(text) + 100), f"{taken} steps for {len(text)} bytes"
