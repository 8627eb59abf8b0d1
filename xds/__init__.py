"""An xDS server as a library: `from scopeway import xds` is all that a program imports.

    cache = xds.SnapshotCache()
    cache.set("edge-1", Cluster(name="a"))
    async with xds.serve(cache, listen="127.0.0.1:18000"):
        ...

What is named here is public: it changes only with a line in the changelog. Each name is imported
when it is first used, so that a program without a server doesn't load gRPC.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from scopeway.xds import testing
    from scopeway.xds.cache.single_resources import ResourceCache
    from scopeway.xds.cache.snapshot import Snapshot, SnapshotCache
    from scopeway.xds.encoding.messages import (
        DeltaRequest,
        ErrorDetail,
        SotwRequest,
        decode_delta_request,
        decode_sotw_request,
    )
    from scopeway.xds.encoding.packing import resource_from_bytes, resource_from_message
    from scopeway.xds.errors import (
        InconsistentSnapshot,
        ListenError,
        MalformedRequestError,
        MissingNodeError,
        ProtocolError,
        XdsError,
    )
    from scopeway.xds.events import (
        Acked,
        Event,
        Kept,
        LookupFailed,
        Nacked,
        NamesSkipped,
        Observer,
        Sent,
        SlowClient,
        SourceBlocked,
        StreamClosed,
        StreamDelayed,
        StreamOpened,
        StreamRefused,
        Throttled,
        TypeNotServed,
    )
    from scopeway.xds.grpc_server.server import Server, StreamStatus, serve
    from scopeway.xds.grpc_server.stream import BudgetKey
    from scopeway.xds.limits import Limits
    from scopeway.xds.notifier import ChangeNotifier, HasNotifier
    from scopeway.xds.protocol.lookups import Lookup
    from scopeway.xds.protocol.session import (
        DeltaSession,
        Response,
        Session,
        SotwSession,
    )
    from scopeway.xds.protocol.status import (
        Nack,
        Rejection,
        ResourceState,
        Status,
        TypeStatus,
    )
    from scopeway.xds.resource import Resource
    from scopeway.xds.security import Certificates, Security
    from scopeway.xds.source import (
        PENDING,
        AttachesInSteps,
        Found,
        KnowsVersions,
        Locality,
        MakesInSteps,
        MayBeOutdated,
        Node,
        NodeView,
        Pending,
        Source,
    )
    from scopeway.xds.steps import Steps, finish
    from scopeway.xds.type_urls import (
        CLUSTER,
        ENDPOINT,
        EXTENSION,
        LISTENER,
        ROUTE,
        RUNTIME,
        SCOPED_ROUTE,
        SECRET,
        SEND_ORDER,
        VIRTUAL_HOST,
    )

_HOMES: Final = {
    "cache.single_resources": ("ResourceCache",),
    "cache.snapshot": (
        "Snapshot",
        "SnapshotCache",
    ),
    "encoding.messages": (
        "DeltaRequest",
        "ErrorDetail",
        "SotwRequest",
        "decode_delta_request",
        "decode_sotw_request",
    ),
    "encoding.packing": (
        "resource_from_bytes",
        "resource_from_message",
    ),
    "errors": (
        "InconsistentSnapshot",
        "ListenError",
        "MalformedRequestError",
        "MissingNodeError",
        "ProtocolError",
        "XdsError",
    ),
    "events": (
        "Acked",
        "Event",
        "Kept",
        "LookupFailed",
        "Nacked",
        "NamesSkipped",
        "Observer",
        "Sent",
        "SlowClient",
        "SourceBlocked",
        "StreamClosed",
        "StreamDelayed",
        "StreamOpened",
        "StreamRefused",
        "Throttled",
        "TypeNotServed",
    ),
    "grpc_server.server": (
        "Server",
        "StreamStatus",
        "serve",
    ),
    "grpc_server.stream": ("BudgetKey",),
    "limits": ("Limits",),
    "notifier": (
        "ChangeNotifier",
        "HasNotifier",
    ),
    "protocol.lookups": ("Lookup",),
    "protocol.session": (
        "DeltaSession",
        "Response",
        "Session",
        "SotwSession",
    ),
    "protocol.status": (
        "Nack",
        "Rejection",
        "ResourceState",
        "Status",
        "TypeStatus",
    ),
    "resource": ("Resource",),
    "security": (
        "Certificates",
        "Security",
    ),
    "source": (
        "AttachesInSteps",
        "Found",
        "KnowsVersions",
        "Locality",
        "MakesInSteps",
        "MayBeOutdated",
        "Node",
        "NodeView",
        "PENDING",
        "Pending",
        "Source",
    ),
    "steps": (
        "Steps",
        "finish",
    ),
    "type_urls": (
        "CLUSTER",
        "ENDPOINT",
        "EXTENSION",
        "LISTENER",
        "ROUTE",
        "RUNTIME",
        "SCOPED_ROUTE",
        "SECRET",
        "SEND_ORDER",
        "VIRTUAL_HOST",
    ),
}
"""Where each public name is defined, by the module below this package."""

__all__ = [
    "CLUSTER",
    "ENDPOINT",
    "EXTENSION",
    "LISTENER",
    "PENDING",
    "ROUTE",
    "RUNTIME",
    "SCOPED_ROUTE",
    "SECRET",
    "SEND_ORDER",
    "VIRTUAL_HOST",
    "Acked",
    "AttachesInSteps",
    "BudgetKey",
    "Certificates",
    "ChangeNotifier",
    "DeltaRequest",
    "DeltaSession",
    "ErrorDetail",
    "Event",
    "Found",
    "HasNotifier",
    "InconsistentSnapshot",
    "Kept",
    "KnowsVersions",
    "Limits",
    "ListenError",
    "Locality",
    "Lookup",
    "LookupFailed",
    "MakesInSteps",
    "MalformedRequestError",
    "MayBeOutdated",
    "MissingNodeError",
    "Nack",
    "Nacked",
    "NamesSkipped",
    "Node",
    "NodeView",
    "Observer",
    "Pending",
    "ProtocolError",
    "Rejection",
    "Resource",
    "ResourceCache",
    "ResourceState",
    "Response",
    "Security",
    "Sent",
    "Server",
    "Session",
    "SlowClient",
    "Snapshot",
    "SnapshotCache",
    "SotwRequest",
    "SotwSession",
    "Source",
    "SourceBlocked",
    "Status",
    "Steps",
    "StreamClosed",
    "StreamDelayed",
    "StreamOpened",
    "StreamRefused",
    "StreamStatus",
    "Throttled",
    "TypeNotServed",
    "TypeStatus",
    "XdsError",
    "decode_delta_request",
    "decode_sotw_request",
    "finish",
    "resource_from_bytes",
    "resource_from_message",
    "serve",
    "testing",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of this module

    def __getattr__(name: str) -> Any:
        if name == "testing":
            return import_module(f"{__name__}.testing")
        for home, names in _HOMES.items():
            if name in names:
                value = getattr(import_module(f"{__name__}.{home}"), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
