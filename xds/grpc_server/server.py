"""The gRPC server.

Owns the port and which streams are open, and how they are ended.
"""

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

from scopeway.xds.encoding.messages import DeltaRequest, SotwRequest
from scopeway.xds.errors import ListenError
from scopeway.xds.events import Observer
from scopeway.xds.grpc_server.admission import Admission
from scopeway.xds.grpc_server.cpu_budget import ClientBudgets
from scopeway.xds.grpc_server.csds_service import ClientStatusService
from scopeway.xds.grpc_server.services import SERVICES
from scopeway.xds.grpc_server.stream import BudgetKey, Method, Stream, StreamEnd, budget_key
from scopeway.xds.grpc_server.tls import Security, peer_identity
from scopeway.xds.limits import Limits
from scopeway.xds.notifier import ChangeNotifier
from scopeway.xds.protocol.session import Session
from scopeway.xds.protocol.status import TypeStatus
from scopeway.xds.protocol.variants import DELTA, SOTW, ProtocolVariant
from scopeway.xds.source import Node, Source
from scopeway.xds.text import shown

_log = logging.getLogger("scopeway.xds")

_Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

_UNLIMITED: Final = 1 << 20
_MAX_DETAIL_CHARS: Final = 1024
"""Characters of what a client is told; some of it are its own words."""
MAX_UNACCEPTED_SECONDS: Final = 86_400
"""How long gRPC keeps a call that Python hasn't taken."""
_DRAIN_INTERVAL: Final = 0.05
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatus:
    """One stream, as `Server.status` shows it."""

    node: Node
    peer: str
    """The client's address, as gRPC writes it."""
    since: float
    """When it was opened, in seconds on the event loop's clock (`loop.time()`)."""
    types: tuple[TypeStatus, ...]


class Server:
    """A running server, as `serve` yields it; to be used on its event loop only."""

    def __init__(
        self,
        source: Source,
        notifier: ChangeNotifier,
        observer: Observer | None,
        limits: Limits,
        security: Security | None,
        *,
        csds: bool = False,
        key: BudgetKey = budget_key,
    ) -> None:
        self.port = 0
        """The port it listens on."""
        self.notifier = notifier
        """To be told of every change of the resources; that which was given to `serve`."""
        self._source = source
        self._observer = observer
        self._limits = limits
        self._security = security
        self._streams: dict[Stream[DeltaRequest] | Stream[SotwRequest], None] = {}
        self._admission = Admission(limits, observer)
        self._budgets = ClientBudgets(limits)
        self._budget_key = key
        handlers = self.handlers()
        if csds:
            status = ClientStatusService(
                self.sessions, limit=limits.status_bytes, security=security
            )
            handlers.append(status.handler())
        self._grpc_server = grpc.aio.server(handlers=handlers, options=_options(limits))
        self._closing: asyncio.Task[None] | None = None
        """What keeps new clients out while the streams are asked to end."""

    async def start(self, listen: str) -> None:
        """Begin to serve; for `serve`, once.

        Raises:
            ListenError: the address cannot be had.
        """
        self.port = _listen(self._grpc_server, listen, self._security)
        await self._grpc_server.start()

    async def stop(self) -> None:
        """End the streams; for `serve`. Takes at most `limits.drain_timeout`."""
        self.drain()
        await self._grpc_server.stop(self._limits.drain_timeout)
        self._admission.close()
        if self._closing is not None:
            await self._closing

    def status(self) -> list[StreamStatus]:
        """Return how far every stream has come; costs O(all names)."""
        return list(self.statuses())

    def statuses(self) -> Iterator[StreamStatus]:
        """Yield how far each stream has come, one at a time: the loop may do others' work between.

        Those that were open at the start and still are. Each costs O(its names).
        """
        for stream in self._open_streams():
            node = stream.session.node
            if node is not None:
                yield StreamStatus(
                    node=node, peer=stream.peer, since=stream.since, types=stream.session.status()
                )

    def sessions(self) -> Iterator[Session[DeltaRequest] | Session[SotwRequest]]:
        """Yield the session of each stream, as `statuses`."""
        for stream in self._open_streams():
            yield stream.session

    def _open_streams(self) -> "Iterator[Stream[DeltaRequest] | Stream[SotwRequest]]":
        for stream in tuple(self._streams):
            if stream in self._streams:
                yield stream

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return what answers all services of `xds.grpc_server.services`, bytes in and out."""
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
            # before any response: gRPC cannot end a call whose first write was given up half-way
            await context.send_initial_metadata(())
            end = await stream.run()
        finally:
            self._streams.pop(stream, None)
            self._budgets.release(stream.budget)
        if end.status != "OK":
            await context.abort(grpc.StatusCode[end.status], shown(end.message, _MAX_DETAIL_CHARS))

    def recheck(self) -> None:
        """End the streams (UNAUTHENTICATED) whose client's certificate is believed no longer.

        To be called when what `Security.is_trusted` says may have changed. Costs O(streams).
        """
        for stream in self._streams:
            stream.recheck()

    def drain(self) -> None:
        """Ask every stream to end (UNAVAILABLE); its client then looks for another server.

        Returns at once. The port stays open: who finds no other server is taken in again.
        """
        self._end_streams(list(self._streams))

    async def drain_slowly(self, *, over: float) -> None:
        """Ask the streams to end, spread evenly over `over` seconds, so that none meets a crowd.

        To be awaited before the server is left. The port is closed at once, and no connection
        takes a new stream: who was sent away would come back here. The streams that wait for
        their turn are served as before. They are asked every 50 ms, in the order in which they
        came; it ends as soon as all have been asked, or have gone by themselves.
        """
        if self._closing is None:
            # gRPC cuts what is left after this; leaving the server does so before
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
    key: BudgetKey = budget_key,
) -> AsyncIterator[Server]:
    """Serve a source until the block is left: delta and state of the world, ADS and each type.

    Leaving ends the streams and takes at most `limits.drain_timeout`.

    Args:
        source: Where the resources come from; told nothing, asked on the event loop.
        listen: "host:port", where port 0 takes a free one (`Server.port`), or "unix:path".
        notifier: For a source that was made with one; otherwise the server makes its own.
        observer: Is told all that happens.
        limits: What one client, or a crowd of them, may cost; None: `Limits()`.
        security: How clients prove who they are; None: plain text, nobody proves anything.
        csds: Answer what nodes run (CSDS): to whoever can connect, and where `security` proves
            who that is, of the nodes with the same identities only.
        key: Tells which streams have one budget (`Limits.cpu_share`); by default those whose
            certificates bear the same URIs, or without TLS those whose nodes name one cluster.

    Raises:
        ListenError: the address is in use, or not one of this machine.
    """
    limits = limits or Limits()
    server = Server(
        source,
        ChangeNotifier() if notifier is None else notifier,
        observer,
        limits,
        security,
        csds=csds,
        key=key,
    )
    await server.start(listen)
    try:
        yield server
    finally:
        await server.stop()


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", limits.request_bytes),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.server_handshake_timeout_ms", int(limits.handshake_timeout * 1000)),
        ("grpc.max_concurrent_streams", limits.streams_per_connection),
        # of more than 1000 calls that Python has not taken yet, gRPC would cancel some at random,
        # without a word; who comes too fast is for the entrance to say
        ("grpc.server.max_pending_requests", _UNLIMITED),
        ("grpc.server.max_pending_requests_hard_limit", _UNLIMITED),
        # a call that Python has not taken within 30 s, as the loop was busy, gRPC would cancel
        # without a word; who comes too fast is for the entrance to say
        ("grpc.server_max_unrequested_time_in_server", MAX_UNACCEPTED_SECONDS),
        # its books, 0.6 kB a stream, are for a service that isn't offered here
        ("grpc.enable_channelz", 0),
        # two servers on one port would share the clients without a word
        ("grpc.so_reuseport", 0),
        # a peer that is gone without a FIN is noticed within 40 s
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # without this grpcio 1.85 takes more than 75 s all the same (a paused client, tried)
        ("grpc.http2.ping_timeout_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ]


def _listen(grpc_server: grpc.aio.Server, listen: str, security: Security | None) -> int:
    # gRPC says nothing of the reason but on stderr, and older releases return 0
    try:
        if security is None:
            port = int(grpc_server.add_insecure_port(listen))
        else:
            port = int(grpc_server.add_secure_port(listen, security.credentials))
    except RuntimeError:
        port = 0
    if port == 0:
        raise ListenError(f"cannot listen on {listen}: in use, or not an address of this machine")
    return port
