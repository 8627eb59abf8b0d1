"""The state of a running control plane as one document: `/status`, `scopeway status`.

Owns the document's shape, which programs read; made anew at each request. Holds no secrets: no
tokens, no keys, no URL with a password.
"""

from collections.abc import Collection, Mapping
from importlib.metadata import version
from typing import Any, Final

from scopeway.control_plane.catalog.catalog import Change
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.xds.grpc_server.server import StreamStatus
from scopeway.xds.protocol.status import TypeStatus
from scopeway.xds.type_urls import CLUSTER


def registry_status(
    *,
    name: str,
    change: Change | None,
    stale: str | None,
    lag: float,
    held: Mapping[str, str],
    undeclared: Collection[str],
    policies: Mapping[str, str],
) -> Mapping[str, Any]:
    """Return what is known of the registry and its clouds.

    Args:
        name: The registry's, without its password.
        change: What the last batch came to; None before the first.
        stale: Why the registry cannot be read, None where it can.
        lag: Seconds since the last confirmed read of the registry.
        held: The clouds that are held after a mass loss, to where they were registered.
        undeclared: Sentences on service types that manifests name and that are not declared.
        policies: The connected sites whose policy is too large, so that it lets nobody in, to why.
    """
    inventory = change.inventory if change else Inventory()
    return {
        "scopeway": version("scopeway"),
        "registry": name,
        "clouds": len(inventory),
        "revision": inventory.revision,
        "stale": stale,
        "lag_seconds": round(lag, 3),
        "refused": [str(problem) for problem in change.problems.values()] if change else [],
        "held": dict(sorted(held.items())),
        "service_types": sorted(inventory.declared.types),
        "undeclared_service_types": list(undeclared),
        "policies_too_large": dict(sorted(policies.items())),
        "cordoned": dict(sorted(inventory.cordons.items())),
    }


STALE: Final = ("unknown", "keeps", "sent", "unchanged")
"""What an Envoy has of a control plane whose registry is away, see `stale_state`."""


def stale_state(known: bool, kept: int, sent: int) -> str:
    """Return the first that is true of an Envoy whose control plane cannot read its registry.

    "unknown": its cloud is not known here. "keeps": it runs something that differs from what is
    known here, from another control plane or an earlier time. "sent": it was sent what is known
    here. "unchanged": what it runs is what is known here, and it was sent nothing since.

    Args:
        known: Whether its cloud is.
        kept: The number of resources that it keeps.
        sent: The number of resources that it was sent.
    """
    if not known:
        return "unknown"
    return "keeps" if kept else "sent" if sent else "unchanged"


def stream_status(
    stream: StreamStatus, now: float, *, known: bool | None = None
) -> Mapping[str, Any]:
    """Return how far one Envoy has come.

    Args:
        stream: Its stream.
        now: Of the clock of the streams.
        known: Whether its cloud is known, where the registry is away; None where it isn't.
    """
    kept = sum(each.kept for each in stream.types)
    sent_stale = sum(each.sent_outdated for each in stream.types)
    lags = [now - each.in_flight_since for each in stream.types if each.in_flight_since is not None]
    return {
        "node": stream.node.id,
        "cloud": stream.node.cluster,
        "instance": stream.node.id.partition("/")[2],
        "version": stream.node.user_agent,
        "peer": stream.peer,
        "connected_seconds": round(now - stream.since, 3),
        "targets": sum(each.subscribed for each in stream.types if each.type_url == CLUSTER),
        "acked": sum(each.acked for each in stream.types),
        "nacked": _nacked(stream.types),
        "lag_seconds": round(max(lags, default=0.0), 3),
        "stale": None if known is None else stale_state(known, kept, sent_stale),
        "kept": kept,
        "sent_stale": sent_stale,
        "types": {_short(each.type_url): _type_status(each) for each in stream.types},
    }


def _type_status(each: TypeStatus) -> Mapping[str, Any]:
    return {
        "subscribed": each.subscribed,
        "acked": each.acked,
        "in_flight": each.in_flight,
        "rejected": sorted(each.rejected),
        "last_nack": each.last_nack.message if each.last_nack else None,
    }


def _nacked(types: Collection[TypeStatus]) -> Mapping[str, str]:
    """Return the resources whose newest version the Envoy does not take, each with its words.

    By target, and what is no cluster by type and name: a listener and a secret may both be `front`.
    By the type alone, where its last rejection says of no resource that it is the bad one.
    """
    unnamed = {
        _short(each.type_url): each.last_nack.message.strip()
        for each in types
        if each.last_nack and each.last_nack.is_current and len(each.last_nack.names) != 1
    }
    return unnamed | {
        name
        if each.type_url == CLUSTER
        else f"{_short(each.type_url)} {name}": rejection.message.strip()
        for each in types
        for name, rejection in sorted(each.rejected.items())
    }


def _short(type_url: str) -> str:
    return type_url.rpartition(".")[2]
