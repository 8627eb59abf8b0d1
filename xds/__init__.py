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
    from scopeway.xds import testing as testing
    from scopeway.xds.cache.single import (
        ResourceCache as ResourceCache,
    )
    from scopeway.xds.cache.snapshot import (
        Snapshot as Snapshot,
    )
    from scopeway.xds.cache.snapshot import (
        SnapshotCache as SnapshotCache,
    )
    from scopeway.xds.encoding.messages import (
        DeltaRequest as DeltaRequest,
    )
    from scopeway.xds.encoding.messages import (
        ErrorDetail as ErrorDetail,
    )
    from scopeway.xds.encoding.messages import (
        SotwRequest as SotwRequest,
    )
    from scopeway.xds.encoding.messages import (
        decode_delta_request as decode_delta_request,
    )
    from scopeway.xds.encoding.messages import (
        decode_sotw_request as decode_sotw_request,
    )
    from scopeway.xds.encoding.packing import (
        resource_from_bytes as resource_from_bytes,
    )
    from scopeway.xds.encoding.packing import (
        resource_from_message as resource_from_message,
    )
    from scopeway.xds.errors import (
        InconsistentSnapshot as InconsistentSnapshot,
    )
    from scopeway.xds.errors import (
        ListenError as ListenError,
    )
    from scopeway.xds.errors import (
        MalformedRequestError as MalformedRequestError,
    )
    from scopeway.xds.errors import (
        MissingNodeError as MissingNodeError,
    )
    from scopeway.xds.errors import (
        ProtocolError as ProtocolError,
    )
    from scopeway.xds.errors import (
        XdsError as XdsError,
    )
    from scopeway.xds.events import (
        Acked as Acked,
    )
    from scopeway.xds.events import (
        Event as Event,
    )
    from scopeway.xds.events import (
        Kept as Kept,
    )
    from scopeway.xds.events import (
        LookupFailed as LookupFailed,
    )
    from scopeway.xds.events import (
        Nacked as Nacked,
    )
    from scopeway.xds.events import (
        NamesSkipped as NamesSkipped,
    )
    from scopeway.xds.events import (
        Observer as Observer,
    )
    from scopeway.xds.events import (
        Sent as Sent,
    )
    from scopeway.xds.events import (
        SlowClient as SlowClient,
    )
    from scopeway.xds.events import (
        SourceBlocked as SourceBlocked,
    )
    from scopeway.xds.events import (
        StreamClosed as StreamClosed,
    )
    from scopeway.xds.events import (
        StreamDelayed as StreamDelayed,
    )
    from scopeway.xds.events import (
        StreamOpened as StreamOpened,
    )
    from scopeway.xds.events import (
        StreamRefused as StreamRefused,
    )
    from scopeway.xds.events import (
        Throttled as Throttled,
    )
    from scopeway.xds.events import (
        TypeNotServed as TypeNotServed,
    )
    from scopeway.xds.grpc_server.server import (
        Server as Server,
    )
    from scopeway.xds.grpc_server.server import (
        StreamStatus as StreamStatus,
    )
    from scopeway.xds.grpc_server.server import (
        serve as serve,
    )
    from scopeway.xds.grpc_server.stream import (
        BudgetKey as BudgetKey,
    )
    from scopeway.xds.limits import (
        Limits as Limits,
    )
    from scopeway.xds.notifier import (
        ChangeNotifier as ChangeNotifier,
    )
    from scopeway.xds.notifier import (
        HasNotifier as HasNotifier,
    )
    from scopeway.xds.protocol.lookups import (
        Lookup as Lookup,
    )
    from scopeway.xds.protocol.session import (
        DeltaSession as DeltaSession,
    )
    from scopeway.xds.protocol.session import (
        Response as Response,
    )
    from scopeway.xds.protocol.session import (
        Session as Session,
    )
    from scopeway.xds.protocol.session import (
        SotwSession as SotwSession,
    )
    from scopeway.xds.protocol.status import (
        Nack as Nack,
    )
    from scopeway.xds.protocol.status import (
        Rejection as Rejection,
    )
    from scopeway.xds.protocol.status import (
        ResourceState as ResourceState,
    )
    from scopeway.xds.protocol.status import (
        Status as Status,
    )
    from scopeway.xds.protocol.status import (
        TypeStatus as TypeStatus,
    )
    from scopeway.xds.resource import (
        Resource as Resource,
    )
    from scopeway.xds.security import (
        Certificates as Certificates,
    )
    from scopeway.xds.security import (
        Security as Security,
    )
    from scopeway.xds.source import (
        PENDING as PENDING,
    )
    from scopeway.xds.source import (
        AttachesInSteps as AttachesInSteps,
    )
    from scopeway.xds.source import (
        Found as Found,
    )
    from scopeway.xds.source import (
        KnowsVersions as KnowsVersions,
    )
    from scopeway.xds.source import (
        Locality as Locality,
    )
    from scopeway.xds.source import (
        MakesInSteps as MakesInSteps,
    )
    from scopeway.xds.source import (
        MayBeOutdated as MayBeOutdated,
    )
    from scopeway.xds.source import (
        Node as Node,
    )
    from scopeway.xds.source import (
        NodeView as NodeView,
    )
    from scopeway.xds.source import (
        Pending as Pending,
    )
    from scopeway.xds.source import (
        Source as Source,
    )
    from scopeway.xds.steps import (
        Steps as Steps,
    )
    from scopeway.xds.steps import (
        finish as finish,
    )
    from scopeway.xds.type_urls import (
        CLUSTER as CLUSTER,
    )
    from scopeway.xds.type_urls import (
        ENDPOINT as ENDPOINT,
    )
    from scopeway.xds.type_urls import (
        EXTENSION as EXTENSION,
    )
    from scopeway.xds.type_urls import (
        LISTENER as LISTENER,
    )
    from scopeway.xds.type_urls import (
        ROUTE as ROUTE,
    )
    from scopeway.xds.type_urls import (
        RUNTIME as RUNTIME,
    )
    from scopeway.xds.type_urls import (
        SCOPED_ROUTE as SCOPED_ROUTE,
    )
    from scopeway.xds.type_urls import (
        SECRET as SECRET,
    )
    from scopeway.xds.type_urls import (
        SEND_ORDER as SEND_ORDER,
    )
    from scopeway.xds.type_urls import (
        VIRTUAL_HOST as VIRTUAL_HOST,
    )

_HOMES: Final = {
    "cache.single": ("ResourceCache",),
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
