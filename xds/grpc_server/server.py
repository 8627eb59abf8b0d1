"""The gRPC server: the port, the open streams, and how they end."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio

from scopeway.xds.arguments import check_names, described
from scopeway.xds.encoding.messages import DeltaRequest, SotwRequest
from scopeway.xds.errors import ListenError
from scopeway.xds.events import Observer
from scopeway.xds.grpc_server.admission import Admission
from scopeway.xds.grpc_server.cpu_budget import ClientBudgets
from scopeway.xds.grpc_server.csds_service import ClientStatusService
from scopeway.xds.grpc_server.health_service import HealthService
from scopeway.xds.grpc_server.services import SERVICES
from scopeway.xds.grpc_server.stream import BudgetKey, Method, Stream, StreamEnd, budget_key
from scopeway.xds.grpc_server.tls import are_usable, credentials_of, peer_identity
from scopeway.xds.limits import Limits
from scopeway.xds.notifier import ChangeNotifier, HasNotifier
from scopeway.xds.protocol.session import Session
from scopeway.xds.protocol.status import TypeStatus
from scopeway.xds.protocol.variants import DELTA, SOTW, ProtocolVariant
from scopeway.xds.security import Security
from scopeway.xds.source import Node, Source
from scopeway.xds.text import shown

_log = logging.getLogger("scopeway.xds")

_Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

_UNLIMITED: Final = 1 << 20
_MAX_DETAIL_CHARS: Final = 1024
"""Characters of a status message to a client; it may quote the client."""
MAX_UNACCEPTED_SECONDS: Final = 86_400
"""Seconds that gRPC keeps a call that Python has not accepted."""
_MAX_PORT: Final = 65_535
_DRAIN_INTERVAL: Final = 0.05
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatus:
    """The status of one stream."""

    node: Node
    peer: str
    """The client's address in the format of gRPC ("ipv4:127.0.0.1:4711")."""
    since: float
    """When the stream was opened: seconds on the clock of the event loop (`loop.time()`)."""
    types: tuple[TypeStatus, ...]


class Server:
    """A running server, as `serve` yields it. Use it only on its event loop."""

    def __init__(
        self,
        source: Source,
        notifier: ChangeNotifier,
        observer: Observer | None,
        limits: Limits,
        security: Security | None,
        *,
        csds: bool = False,
        health: bool = False,
        key: BudgetKey = budget_key,
    ) -> None:
        self.port = 0
        """The port it listens on."""
        self.notifier = notifier
        """The notifier: report all changes of the resources to it."""
        self._source = source
        self._observer = observer
        self._limits = limits
        self._security = security
        self._streams: dict[Stream[DeltaRequest] | Stream[SotwRequest], None] = {}
        self._admission = Admission(limits, observer)
        self._budgets = ClientBudgets(limits)
        self._budget_key = key
        handlers = self._handlers()
        if csds:
            status = ClientStatusService(
                self.sessions, limit=limits.status_bytes, security=security
            )
            handlers.append(status.handler())
        self._health = HealthService()
        if health:
            handlers.append(self._health.handler())
        self._grpc_server = grpc.aio.server(handlers=handlers, options=_options(limits))
        self._closing: asyncio.Task[None] | None = None
        """Closes the port while `drain_slowly` ends the streams."""

    async def start(self, listen: str) -> None:
        """Start the server. `serve` calls it once.

        Raises:
            ListenError: the server cannot listen on the address.
            TypeError, ValueError: the certificates cannot be used.
        """
        self.port = await _listen(self._grpc_server, listen, self._security)
        await self._grpc_server.start()

    async def stop(self) -> None:
        """End the streams and stop. `serve` calls it. Takes at most `limits.drain_timeout`."""
        self.drain()
        self._health.close()
        await self._grpc_server.stop(self._limits.drain_timeout)
        self._admission.close()
        if self._closing is not None:
            await self._closing

    def status(self) -> list[StreamStatus]:
        """Return the status of every stream. Costs O(all names)."""
        return list(self.statuses())

    def statuses(self) -> Iterator[StreamStatus]:
        """Yield the status of each stream that was open at the start and still is.

        Each costs O(its names). The caller may let the event loop run between two of them.
        """
        for stream in self._open_streams():
            node = stream.session.node
            if node is not None:
                yield StreamStatus(
                    node=node, peer=stream.peer, since=stream.since, types=stream.session.status()
                )

    def sessions(self) -> Iterator[Session[DeltaRequest] | Session[SotwRequest]]:
        """Yield the session of each stream, like `statuses`."""
        for stream in self._open_streams():
            yield stream.session

    def _open_streams(self) -> "Iterator[Stream[DeltaRequest] | Stream[SotwRequest]]":
        for stream in tuple(self._streams):
            if stream in self._streams:
                yield stream

    def _handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return gRPC handlers for all `xds.grpc_server.services`. Messages are bytes."""
        return [
            grpc.method_handlers_generic_handler(
                service.name,
                {
                    name: self._handler(variant, service.type_url or "")
                    for name, variant in ((service.delta, DELTA), (service.sotw, SOTW))
                    if name is not None
                },
            )
            for service in SERVICES
        ]

    def _handler(self, variant: ProtocolVariant[Any], type_url: str) -> grpc.RpcMethodHandler:
        method: Method[Any] = Method(variant, type_url)
        return grpc.stream_stream_rpc_method_handler(partial(self._serve, method))

    async def _serve(self, method: Method[Any], _requests: object, context: _Context) -> None:
        identity = None if self._security is None else peer_identity(context)
        arguments = self._source, self.notifier, self._observer, self._limits
        stream = Stream(
            method, *arguments, context, self._security, identity, self._budgets, self._budget_key
        )
        try:
            stream.admission_delay = await self._admission.admit(
                context, stream.budget.connect_limiter
            )
            self._streams[stream] = None
            # before any response: gRPC cannot end a call whose first write was cancelled
            await context.send_initial_metadata(())
            end = await stream.run()
        finally:
            self._streams.pop(stream, None)
            self._budgets.release(stream.budget)
        if end.status != "OK":
            await context.abort(grpc.StatusCode[end.status], shown(end.message, _MAX_DETAIL_CHARS))

    def recheck(self) -> None:
        """End the streams whose client certificate is not trusted any more (UNAUTHENTICATED).

        Call it when the results of `Security.is_trusted` may have changed. Costs O(streams).
        """
        for stream in self._streams:
            stream.recheck()

    def drain(self) -> None:
        """End all streams (UNAVAILABLE), so that their clients try another server.

        Returns at once. The port stays open: a client that finds no other server may reconnect.
        From then on the health service returns NOT_SERVING.
        """
        self._health.drain()
        self._end_streams(list(self._streams))

    async def drain_slowly(self, *, over: float) -> None:
        """End the streams evenly over `over` seconds, so that the other servers see no burst.

        Await it before the block of `serve` is left. The port is closed at once, and connections
        accept no new streams, as clients would reconnect to this server. Streams are ended every
        50 ms, in the order in which they were opened; until then they are served. Returns as soon
        as all streams have ended. Clients that watch the health service get NOT_SERVING at once.
        """
        self._health.drain()
        if self._closing is None:
            # gRPC aborts the remaining streams then, unless `stop` does so before
            grace = over + self._limits.drain_timeout
            self._closing = asyncio.create_task(self._grpc_server.stop(grace), name="xds closing")
        streams = list(self._streams)
        steps = max(1, math.ceil(over / _DRAIN_INTERVAL))
        asked = 0
        for step in range(steps):
            due = math.ceil(len(streams) * (step + 1) / steps)
            self._end_streams(streams[asked:due])
            asked = due
            if asked == len(streams) or not self._streams:
                return
            await asyncio.sleep(over / steps)

    def _end_streams(self, streams: "list[Stream[DeltaRequest] | Stream[SotwRequest]]") -> None:
        for stream in streams:
            stream.finish(StreamEnd("UNAVAILABLE", "the server is shutting down"))


@asynccontextmanager
async def serve(
    source: Source,
    *,
    listen: str,
    notifier: ChangeNotifier | None = None,
    observer: Observer | None = None,
    limits: Limits | None = None,
    security: Security | None = None,
    csds: bool = False,
    health: bool = False,
    key: BudgetKey = budget_key,
) -> AsyncIterator[Server]:
    """Serve a source until the block is left: delta and state of the world, ADS and each type.

    Leaving it stops the server gracefully: the health service says NOT_SERVING, each stream ends
    with UNAVAILABLE, so that its client looks for another server, and what is left after
    `limits.drain_timeout` is cut. To spread the clients over some time, await
    `Server.drain_slowly` before.

    Args:
        source: Where the resources come from: a `SnapshotCache`, a `ResourceCache`, or any other
            `Source`. It is asked on the event loop.
        listen: "host:port", where port 0 takes a free one (`Server.port`), or "unix:path".
        notifier: What the source tells its changes; None: `source.notifier` if it has one, as the
            caches do, or else one of the server's own (`Server.notifier`).
        observer: Is told all that happens.
        limits: What one client, or a crowd of them, may cost; None: `Limits()`.
        security: How clients prove who they are; None: plain text, nobody proves anything.
        csds: Answer what nodes run (CSDS): to whoever can connect, and where `security` proves
            who that is, of the nodes with the same identities only.
        health: Answer health checks (`grpc.health.v1.Health`).
        key: Tells which streams have one budget (`Limits.cpu_share`); by default those whose
            certificates bear the same URIs, or without TLS those whose nodes name one cluster.

    Raises:
        ListenError: the address is in use, or not one of this machine.
        TypeError: the source is no `Source`, or an argument is of another type.
        ValueError: `listen` has no port; the source has a notifier other than `notifier`; or the
            certificates of `security` cannot be used.
    """
    _check_listen(listen)
    _check_source(source)
    limits = limits or Limits()
    chosen = _notifier_of(source, notifier)
    chosen.check_against(source.type_urls)
    server = Server(
        source,
        chosen,
        observer,
        limits,
        security,
        csds=csds,
        health=health,
        key=key,
    )
    # gRPC never closes the port of a server whose start is cancelled
    starting = asyncio.create_task(server.start(listen), name="xds start")
    try:
        await asyncio.shield(starting)
        yield server
    finally:
        await asyncio.wait([starting])
        await server.stop()


def _check_listen(listen: object) -> None:
    """Let an address pass that names a port: without one, gRPC would listen on 443."""
    if not isinstance(listen, str):
        raise TypeError(f"listen must be a string such as '127.0.0.1:0', not {described(listen)}")
    if listen.startswith("unix"):
        return
    host, _, port = listen.rpartition(":")
    is_bare_ipv6 = ":" in host and not host.endswith("]")
    if not host or is_bare_ipv6 or not (port.isascii() and port.isdigit()):
        raise ValueError(
            f"listen={shown(listen)!r} names no port: write host:port, such as '127.0.0.1:18000' "
            f"or '[::1]:18000' (port 0 takes a free one), or 'unix:path'"
        )
    if int(port) > _MAX_PORT:  # gRPC would take the number modulo 65536
        raise ValueError(f"listen={shown(listen)!r}: a port is at most {_MAX_PORT}")


def _check_source(source: object) -> None:
    missing = [each for each in ("type_urls", "attach") if not hasattr(source, each)]
    if missing or isinstance(source, type):
        why = f"has no {', no '.join(missing)}" if missing else "is a class, not an object of it"
        raise TypeError(f"{described(source)} is no Source: it {why}")
    assert hasattr(source, "type_urls")
    check_names(source.type_urls(), f"what {type(source).__name__}.type_urls() returns")


def _notifier_of(source: Source, given: ChangeNotifier | None) -> ChangeNotifier:
    own = source.notifier if isinstance(source, HasNotifier) else None
    if own is not None and given is not None and own is not given:
        raise ValueError(
            f"{described(source)} tells its changes to a notifier of its own (source.notifier): "
            f"leave out notifier=..., or pass that one"
        )
    chosen = own if given is None else given
    return ChangeNotifier() if chosen is None else chosen  # an empty one is falsy


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", limits.request_bytes),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.server_handshake_timeout_ms", int(limits.handshake_timeout * 1000)),
        ("grpc.max_concurrent_streams", limits.streams_per_connection),
        # gRPC would silently cancel random calls if more than 1000 wait for Python; `Admission`
        # limits the rate of new streams instead
        ("grpc.server.max_pending_requests", _UNLIMITED),
        ("grpc.server.max_pending_requests_hard_limit", _UNLIMITED),
        # gRPC would silently cancel a call that Python has not accepted within 30 s, as the event
        # loop was busy
        ("grpc.server_max_unrequested_time_in_server", MAX_UNACCEPTED_SECONDS),
        # channelz takes 0.6 kB for each stream, and its service is not offered
        ("grpc.enable_channelz", 0),
        # two servers on one port would silently share the clients
        ("grpc.so_reuseport", 0),
        # detect a client that went away without a FIN within 40 s
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # without this, grpcio 1.85 takes more than 75 s (measured with a paused client)
        ("grpc.http2.ping_timeout_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ]


async def _listen(grpc_server: grpc.aio.Server, listen: str, security: Security | None) -> int:
    credentials = None if security is None else credentials_of(security)
    # gRPC reports the reason on stderr only, and older releases return 0
    try:
        if credentials is None:
            port = int(grpc_server.add_insecure_port(listen))
        else:
            port = int(grpc_server.add_secure_port(listen, credentials))
    except RuntimeError:
        port = 0
    if port == 0:
        if security is not None and not await are_usable(security):
            raise ValueError(
                "security.certificates: gRPC cannot use them (its log says more): the key must "
                "belong to the certificate, and each must be complete PEM"
            )
        raise ListenError(f"cannot listen on {listen}: in use, or not an address of this machine")
    return port
