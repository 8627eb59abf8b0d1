"""The figures in the tables of limits are the defaults."""

import dataclasses
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

import kubernetes_limits
from scopeway.control_plane.admin.pages import KEPT_SECONDS
from scopeway.control_plane.admin.server import MAX_CLIENTS
from scopeway.control_plane.cli.pods import MAX_PODS
from scopeway.control_plane.clouds import limits
from scopeway.control_plane.clouds.caller_limits import DEFAULT
from scopeway.control_plane.clouds.manifest import MAX_PROBLEMS
from scopeway.control_plane.clouds.validators import AT_ONCE_RANGE, PER_SECOND_RANGE
from scopeway.control_plane.collector import limits as collector_limits
from scopeway.control_plane.collector.handlers import places, sorted_pages, union, writes
from scopeway.control_plane.collector.http import client as collector_client
from scopeway.control_plane.collector.http import server
from scopeway.control_plane.collector.listing import cursors, items, markers, page, sort_order
from scopeway.control_plane.collector.messages import report, request, ways
from scopeway.control_plane.collector.validation import validation_cache, validations
from scopeway.control_plane.openstack_client import report as client_report
from scopeway.control_plane.openstack_client import sentences
from scopeway.control_plane.planner import fanout
from scopeway.control_plane.planner.caller_classes import MAX_LOOKED_AT
from scopeway.control_plane.planner.grants import MAX_GRANTS
from scopeway.control_plane.planner.planner import LABEL_WINDOW, MAX_HOPS, PlanSettings
from scopeway.control_plane.registry import change_pacer
from scopeway.control_plane.registry.directory import folder_scanner
from scopeway.control_plane.registry.directory.yaml_documents import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    MAX_DIRECTIVES,
    MAX_NUMBER,
)
from scopeway.control_plane.registry.documents import MAX_BYTES
from scopeway.control_plane.registry.etcd import registry as etcd
from scopeway.control_plane.runtime import app, control_plane, fd_limits, time_slices
from scopeway.control_plane.runtime import last_good as state
from scopeway.control_plane.scope import MAX_SERVICE_TYPE, text
from scopeway.control_plane.serving import cluster_lookup, debounce, site_lookup
from scopeway.control_plane.serving.limits import SourceLimits
from scopeway.control_plane.serving.node_auth import MAX_PATH
from scopeway.control_plane.serving.policy_index import REST
from scopeway.control_plane.translator import (
    cluster_templates,
    collector_sockets,
    http_connection_managers,
    listeners,
    lua,
    route_templates,
)
from scopeway.control_plane.translator.bootstrap import PRESSURE_SCALE, resource_monitor
from scopeway.control_plane.translator.rbac import MAX_ALONE
from scopeway.xds.encoding.messages import (
    MAX_ERROR_BYTES,
    MAX_NAMES,
    MAX_NONCE_BYTES,
    MAX_TYPE_BYTES,
    MAX_VERSION_BYTES,
)
from scopeway.xds.encoding.node import (
    MAX_FEATURES,
    MAX_METADATA,
    MAX_METADATA_BYTES,
    MAX_TEXT_BYTES,
)
from scopeway.xds.grpc_server.cpu_budget import SLICE
from scopeway.xds.grpc_server.logging import LINES, SECONDS
from scopeway.xds.grpc_server.server import MAX_UNACCEPTED_SECONDS
from scopeway.xds.limits import Limits
from scopeway.xds.protocol.session import TYPES_LIMIT
from scopeway.xds.protocol.sotw import FULL_STATE_LIMIT

REPOSITORY = Path(__file__).parents[1]
XDS = (
    (REPOSITORY / "docs/xds/protocol.md")
    .read_text()
    .partition("## Limits")[2]
    .partition("\n## ")[0]
)
ROWS = re.findall(r"^\| (.+?) \| (.+?) \|", XDS, re.MULTILINE)[1:]
PAGE = (REPOSITORY / "docs/limits.md").read_text().partition("\n## ")[0]
LIMITS = dict(re.findall(r"^\| (.+?) \| (.+?) \| ", PAGE.replace(r"\|", "or"), re.MULTILINE)[1:])
NUMBER = re.compile(r"(\d[\d,]*)(?: (Ki|Mi|KiB|MiB|GiB)\b)?")
UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

ONE, SOURCE, COLLECTOR = Limits(), SourceLimits(), collector_limits.Limits()


def constant(file: str, name: str) -> int:
    """A number of a Lua module."""
    found = re.search(rf"{name} = (\d+)", (REPOSITORY / "lua_filters" / file).read_text())
    assert found is not None
    return int(found[1])


def stated(limit: int | None) -> int:
    assert limit is not None
    return limit


def connections() -> int:
    monitor = resource_monitor(bootstrap(), "global_downstream_max_connections")
    return int(monitor["max_active_downstream_connections"])


def connections_to_peer() -> int:
    (layer,) = bootstrap()["layered_runtime"]["layers"]
    return int(layer["static_layer"]["envoy.resource_limits.listener.peer.connection_limit"])


def bootstrap() -> Any:
    return yaml.safe_load((REPOSITORY / "envoy/bootstrap.yaml").read_text())


EXPECTED: dict[str, list[float]] = {
    **kubernetes_limits.EXPECTED,
    "requests for several clouds under way at a collector; of one token; of one client's address": [
        COLLECTOR.requests,
        COLLECTOR.requests_of_token,
        COLLECTOR.requests_of_address,
    ],
    "bytes of the bodies of one address; its requests whose body is on its way": [
        COLLECTOR.bodies // 2,
        COLLECTOR.requests_of_address,
    ],
    "writes whose client has left": [],
    "sub-requests under way for one of these requests (`--concurrency`); for all": [
        COLLECTOR.at_once,
        COLLECTOR.all_at_once,
    ],
    "sub-requests of one client's address": [COLLECTOR.all_at_once // 2],
    "connections to a collector; connections that it keeps to its Envoy": [
        COLLECTOR.connections,
        COLLECTOR.idle,
    ],
    "seconds until a cloud has answered a read (`--cloud-seconds`)": [COLLECTOR.cloud_seconds],
    "seconds that a read waits for all of its clouds (`--deadline`); what "
    "`X-Scope-Deadline` may say": [COLLECTOR.seconds, request.MAX_DEADLINE],
    "seconds in which a collector's client takes nothing of its answer": [
        COLLECTOR.stalled_seconds
    ],
    "seconds in which it takes the page of a cloud, if requests of others wait for the room": [
        COLLECTOR.crowded_seconds
    ],
    "seconds until all of a request has come to a collector": [COLLECTOR.body_seconds],
    "bytes of the head of a request to a collector; its headers": [
        COLLECTOR.request_head,
        server.MAX_HEADERS,
    ],
    "bytes of the body of a request for several clouds; of all of them": [
        ways.MAX_BODY,
        COLLECTOR.bodies,
    ],
    "clouds in each of the lists that a collector is sent": [request.MAX_MEMBERS],
    "bytes of a cloud's answer to a list; of its head; its headers; interim answers before it": [
        COLLECTOR.page,
        COLLECTOR.head,
        collector_client.MAX_HEADERS,
        collector_client.MAX_INTERIM,
    ],
    "items of a cloud's page; bytes of an item; of one with escapes in it; levels of "
    "nesting; digits of a number": [
        items.MAX_ITEMS,
        items.MAX_ITEM,
        items.MAX_REWRITTEN,
        items.MAX_DEPTH,
        items.MAX_DIGITS,
    ],
    "bytes of answers that a collector has not passed on, a quarter of them for one token and half "
    "for one address; of one page besides": [COLLECTOR.bytes, COLLECTOR.page],
    "bytes that requests at a collector keep until they end; that those of one token or address "
    "keep": [COLLECTOR.kept, COLLECTOR.kept_of_request],
    "bytes of an answer that is held back until all clouds have answered": [union.HELD_BACK],
    "places of resources that a collector remembers": [places.MAX_PLACES],
    "clouds of a sorted page": [markers.MAX_SORTED_CLOUDS],
    "items of a sorted page, where its service has no limit of its own": [sorted_pages.MAX_PAGE],
    "bytes that the items of a sorted page need; rounds in which its clouds are asked": [
        page.MAX_HELD,
        page.MAX_ROUNDS,
    ],
    "sort keys of a list of several clouds; characters of one; of a text to order by": [
        sort_order.MAX_KEYS,
        sort_order.MAX_KEY_NAME,
        sort_order.MAX_TEXT,
    ],
    "characters of the marker of a list of several clouds; bytes of each cloud's own": [
        markers.MAX_MARKER,
        markers.MAX_CLOUD_MARKER,
    ],
    "bytes of the ends of sorted pages that a collector remembers": [cursors.MAX_BYTES],
    "clouds of a write; bytes of the answer of each": [ways.MAX_WRITES, writes.MAX_ANSWER],
    "bytes of the header `X-Scopeway-Report`; characters of a reason": [
        report.MAX_HEADER,
        report.MAX_REASON,
    ],
    "what the plug-in of `openstack` reads of a report: bytes of the header, of the report in a "
    "body; clouds that it prints": [
        client_report.MAX_HEADER,
        client_report.MAX_BODY,
        sentences.MAX_NAMES,
    ],
    "bytes of a scope": [text.MAX_BYTES],
    "bindings of a scope": [],
    "clouds and labels of an expression": [text.MAX_ATOMS],
    "levels of parentheses": [text.MAX_DEPTH],
    "words and signs of an expression, which bounds what the control plane takes to read a "
    "target's name: 3 ms, not 20": [text.MAX_PIECES],
    "clouds of a fan-out": [fanout.MAX_CLOUDS],
    "bytes of their names, with why some are missing": [fanout.MAX_NAME_BYTES],
    "clouds that each of several fan-outs in one scope names; only one may have `&[…]`": [
        text.MAX_NESTED_NAMES
    ],
    "names of a worker that a fan-out by labels counts for": [
        constant("target.lua", "NAMES_OF_A_LABEL_FANOUT")
    ],
    "targets that an Envoy worker names for its collector": [lua.MAX_MEMBERS],
    "seconds between two changes of a fan-out that its sites are told of": [debounce.REST],
    "plans of fan-outs that are kept until their cluster is made": [cluster_lookup.PLANNED],
    "bytes of the folder for the sockets of a collector": [
        collector_sockets.LONGEST - len(collector_sockets.collector_socket(""))
    ],
    "seconds for which a collector keeps the answer to a validation (`--cache-validations`)": [
        0,
        validation_cache.MAX_SECONDS,
    ],
    "bytes of an answer to a validation that is kept; of all of them": [
        validation_cache.MAX_ANSWER,
        validation_cache.MAX_BYTES,
    ],
    "answers that are kept of one token": [validation_cache.MAX_VARIANTS],
    "validations under way at a collector": [validations.CONNECTIONS],
    "bytes of an answer to a validation; seconds that the Keystone may take": [
        validations.MAX_ANSWER,
        validations.SECONDS,
    ],
    "bytes of an answer that Envoy keeps for a collector that does not read": [
        http_connection_managers.COLLECT_BUFFER
    ],
    "headers of a request at a front": [
        http_connection_managers.MAX_HEADERS,
        http_connection_managers.MAX_HEADERS_KB * 1024,
    ],
    "clouds that labels select": [PlanSettings().label_limit],
    "clouds with some labels that are looked at for those that may be used": [LABEL_WINDOW],
    "priorities of a cluster (`or`)": [MAX_HOPS],
    "new targets of an Envoy worker; each 256 bytes of a name count as one more": [lua.MAX_TARGETS],
    "first uses of an Envoy worker": [
        lua.NEW_TARGETS_PER_SECOND,
        lua.NEW_TARGETS_BURST,
    ],
    "negative targets of a stream": [SOURCE.negative],
    "targets of a stream": [SOURCE.targets],
    "names of a type on a stream": [ONE.names],
    "new names of a stream": [ONE.names_per_second, ONE.names_burst],
    "the same in state of the world, where each request repeats all names": [
        ONE.names_per_second * 1024,
        ONE.names_burst,
    ],
    "bytes of a name": [ONE.name_bytes],
    "types on a stream": [TYPES_LIMIT],
    "bytes of a request to the control plane": [ONE.request_bytes],
    "names that are kept of a type that isn't served": [0],
    "names that are read of one field of a request": [MAX_NAMES],
    "bytes of a complete state (state of the world)": [FULL_STATE_LIMIT],
    "bytes of each text of a node: id, cluster, region, zone, sub-zone, user agent, its version, a "
    "client feature": [MAX_TEXT_BYTES],
    "client features of a node": [MAX_FEATURES],
    "bytes of a type URL; of a nonce": [MAX_TYPE_BYTES, MAX_NONCE_BYTES],
    "bytes of a version that a client says it has": [MAX_VERSION_BYTES],
    "bytes of a NACK's message": [MAX_ERROR_BYTES],
    "lines of the log of one kind for a site": [LINES, SECONDS],
    "milliseconds of work for one site in one turn of the event loop": [SLICE * 1000],
    "CPU time of the control plane for one certificate (a cloud; without TLS the cloud that the "
    "node claims)": [app.CPU_BURST, app.CPU_SHARE * 100],
    "new streams of a certificate": [app.CLOUD_CONNECTS_PER_SECOND, ONE.client_connects_burst],
    "clouds and labels in all targets of a cloud's Envoys": [SOURCE.atoms_per_cloud],
    "bytes of a node's encoded metadata": [MAX_METADATA_BYTES],
    "seconds until gRPC gives up a stream that the control plane has not taken, as its event loop "
    "was busy": [MAX_UNACCEPTED_SECONDS],
    "characters of a node's metadata, as paths and texts": [MAX_METADATA],
    "bytes of a path in it (access log, certificate, key, authorities)": [MAX_PATH],
    "streams of a node": [SOURCE.streams_per_node],
    "streams of a certificate (a cloud)": [SOURCE.streams_per_cloud],
    "sites without a stream that are remembered": [SOURCE.idle_sites],
    "targets of all of these": [SOURCE.idle_targets],
    "connections of a control plane": [ONE.connections, fd_limits.RESERVE],
    "seconds until TLS and HTTP/2 are agreed on, at a control plane": [ONE.handshake_timeout],
    "connections to each HTTP address of a control plane or collector (`--admin-listen`, "
    "`--health-listen`, `--metrics-listen`)": [MAX_CLIENTS],
    "seconds for which the figures of `--metrics-listen` are kept": [KEPT_SECONDS],
    "pods of a control plane that `kubectl scopeway status` asks": [MAX_PODS],
    "new streams of a control plane": [ONE.connects_per_second, ONE.connects_burst],
    "seconds that a new stream may have to wait for that": [
        ONE.connect_wait,
        ONE.connects_burst + ONE.connects_per_second * ONE.connect_wait,
    ],
    "seconds until a stream names its node": [ONE.first_request_timeout],
    "seconds to take a response": [ONE.send_timeout],
    "bytes of responses that are on their way to one certificate, on all its streams": [
        ONE.unsent_bytes
    ],
    "a stream's certificate": [],
    "bytes of a login's body": [constant("token_body.lua", "MAX_BYTES")],
    "bytes of a body in which ids of a foreign user's projects are looked for": [
        constant("project_ids.lua", "MAX_BYTES")
    ],
    "seconds until all of a login's body has come": [
        route_templates.LOGIN_BODY_WITHIN.total_seconds()
    ],
    "seconds of a validation of a token; at the peer of the Keystone's cloud": [
        route_templates.WITHIN[each]["validation"].total_seconds() for each in ("front", "peer")
    ],
    "seconds of a login, its body included; of one attempt at a cloud of several; at the peer": [
        route_templates.WITHIN[each]["login"].total_seconds()
        for each in ("front", "dispatch", "peer")
    ],
    "seconds that a request waits for the address of a host name": [
        cluster_templates.DNS_WITHIN.total_seconds()
    ],
    "times that a read reaches a cloud whose service breaks off": [],
    "connections of an Envoy": [connections()],
    "connections to an Envoy's peer, of these": [connections_to_peer()],
    "seconds until TLS is agreed on, at a peer and a front with TLS": [listeners.HANDSHAKE_SECONDS],
    "requests at a time on a connection of HTTP/2 at a front": [
        http_connection_managers.FRONT_STREAMS
    ],
    "requests at a time on a connection between two sites": [http_connection_managers.PEER_STREAMS],
    "bytes of a request or answer between two sites that nobody has taken": [
        http_connection_managers.PEER_STREAM_WINDOW
    ],
    "bytes of an answer over HTTP/2 that a front keeps for a client": [
        http_connection_managers.FRONT_STREAM_WINDOW
    ],
    "bytes that an Envoy reads of a connection before others have their turn": [
        http_connection_managers.READ_AHEAD
    ],
    "minutes in which a client of a front takes nothing of an answer over HTTP/1.1": [
        http_connection_managers.STALLED / timedelta(minutes=1)
    ],
    "minutes between two requests on a connection": [
        http_connection_managers.BETWEEN_REQUESTS / timedelta(minutes=1)
    ],
    "seconds in which a connection that is about to close takes nothing of what is left": [
        http_connection_managers.CLOSING.total_seconds()
    ],
    "seconds in which a client takes the last 1 MiB of an answer of one cloud of several (`or`)": [
        http_connection_managers.DISPATCH_IDLE.total_seconds()
    ],
    "bytes of memory of an Envoy": [
        resource_monitor(bootstrap(), "fixed_heap")["max_heap_size_bytes"] / PRESSURE_SCALE
    ],
    "requests a second of a calling cloud, at a worker of a peer, where its manifest states no "
    "other": [stated(DEFAULT.requests_per_second)],
    "requests at once of a calling cloud, there": [stated(DEFAULT.requests_at_once)],
    "lines of a peer's access log for refused requests of a calling cloud, at a worker": [
        constant("limits.lua", "LOGGED")
    ],
    "what a manifest may state for the first": [*PER_SECOND_RANGE],
    "what it may state for the second": [*AT_ONCE_RANGE],
    "entries in the lists of requests under way, of all callers at a worker, before all lists are "
    "made anew": [constant("limits.lua", "ENTRIES")],
    "frames on it that cost the sender nothing: answers to SETTINGS and PING that it doesn't take; "
    "empty DATA and CONTINUATION in a row; PRIORITY for each stream; WINDOW_UPDATE for each DATA "
    "that it was sent": [
        http_connection_managers.MAX_CONTROL_ANSWERS,
        http_connection_managers.MAX_EMPTY_FRAMES,
        http_connection_managers.MAX_PRIORITIES,
        http_connection_managers.MAX_WINDOW_UPDATES,
    ],
    "requests on it that are taken back within a second": [],
    "rights of a policy (a class of clouds, services, methods)": [MAX_GRANTS],
    "sets of labels, for each selector, and names that are looked at for a policy": [MAX_LOOKED_AT],
    "bytes of a policy for a site with an Envoy of the version before: 160 and what it may do, for "
    "each caller": [MAX_ALONE],
    "share of a processor that a policy takes which is slow to compile": [1, REST],
    "milliseconds that a change of the registry holds up the streams at a time": [
        time_slices.SLICE * 1000
    ],
    "seconds that an entry of etcd or Kubernetes rests before its next change is taken over; only "
    "entries whose last change took more than 5 ms of CPU rest": [
        change_pacer.REST_FACTOR,
        change_pacer.MAX_REST_SECONDS,
    ],
    "times that the listeners of a site are made for a new stream while its cloud changes": [
        site_lookup.ATTEMPTS
    ],
    "problems that are kept of a refused document": [MAX_PROBLEMS],
    "labels of a cloud, or of one `[label=value,…]`": [limits.LABELS],
    "services of a cloud, of a rule, or with a port of a front": [limits.SERVICES],
    "endpoints of a service": [limits.ENDPOINTS],
    "rules of a cloud": [limits.RULES],
    "different services in all rules of a cloud": [limits.RULE_SERVICES],
    "methods and roles of a rule": [limits.METHODS, limits.ROLES],
    "entries in all lists of clouds of a manifest together": [limits.CLOUDS],
    "entries among these that are labels": [limits.SELECTORS],
    "entries in all lists `identity.clouds` of a manifest together": [limits.IDENTITY_CLOUDS],
    "service types that a registry declares": [limits.SERVICE_TYPES],
    "service types of a cloud that are noted as not declared": [limits.SERVICES],
    "of these, those that `/status` names, and those of a batch that get a line in the log": [
        control_plane.STATUS_UNDECLARED,
        control_plane.LOGGED_PROBLEMS,
    ],
    "characters of a service type": [MAX_SERVICE_TYPE],
    "aliases, forwarded headers and lists of a service type": [
        limits.ALIASES,
        limits.FORWARDED_HEADERS,
        limits.LISTS,
    ],
    "characters of the path of such a list": [limits.LIST_PATH],
    "seconds until a difference between etcd and what is served is found that no watch has told": [
        etcd.RELIST_INTERVAL,
        etcd.RELIST_COST_FACTOR,
    ],
    "seconds that a file of a folder, or a document in it, is gone or unreadable before that "
    "counts": [folder_scanner.GONE_AFTER],
    "bytes of a file in a folder": [folder_scanner.MAX_FILE],
    "seconds until a change is written to `--state-dir`; the first listing is written before "
    "anybody is served": [state.DEBOUNCE],
    "seconds that the first listing waits for the disk": [state.FIRST],
    "bytes of an entry in etcd, or of the manifest in a Kubernetes object": [MAX_BYTES],
    "objects of a document in etcd": [limits.OBJECTS],
    "characters of a document in a folder": [MAX_CHARACTERS],
    "levels of nesting in it": [MAX_DEPTH],
    "lines of it that begin with `%`": [MAX_DIRECTIVES],
    "characters of a number in it": [MAX_NUMBER],
}


def numbers(cell: str) -> list[int]:
    return [int(value.replace(",", "")) * UNITS[unit] for value, unit in NUMBER.findall(cell)]


@pytest.mark.parametrize(("names", "default"), ROWS)
def test_the_page_of_the_xds_library_has_the_defaults(names: str, default: str) -> None:
    values = [getattr(ONE, name) for name in re.findall(r"`(\w+)`", names)]

    assert numbers(default) == [value for value in values if value is not None]


def test_the_page_of_the_xds_library_has_every_limit() -> None:
    named = {name for row in ROWS for name in re.findall(r"`(\w+)`", row[0])}

    assert named == {field.name for field in dataclasses.fields(Limits)}


def test_every_limit_of_the_page_of_the_xds_library_is_compared() -> None:
    """A new row needs its constant, in `EXPECTED` above or in `kubernetes_limits`."""
    assert LIMITS.keys() == EXPECTED.keys()


@pytest.mark.parametrize("limit", EXPECTED)
def test_the_page_of_limits_has_the_defaults(limit: str) -> None:
    assert numbers(LIMITS[limit])[: len(EXPECTED[limit])] == EXPECTED[limit]


def test_lua_and_python_have_the_same_limits() -> None:
    assert constant("scope.lua", "MAX_BYTES") == text.MAX_BYTES
    assert constant("token_body.lua", "MAX_BYTES") == route_templates.MAX_LOGIN
    assert constant("project_ids.lua", "MAX_BYTES") == route_templates.MAX_BODY_WITH_IDS
