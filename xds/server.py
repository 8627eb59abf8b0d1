"""The gRPC server: with `xds.entrance` and `xds.csds_service` the only part that does I/O.

Owns the streams: each is a session with one task that reads and one that writes when it is woken.
Bytes in, bytes out; what they mean is the session's. An error ends the stream it happened on and
no other. Everything that happens is logged here and told to the observer.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias

import grpc
import grpc.aio

from xds.bucket import Bucket
from xds.codec import (
    DeltaRequest,
    SotwRequest,
    decode_delta_request,
    decode_sotw_request,
)
from xds.csds_service import ClientStatusService
from xds.entrance import Entrance
from xds.errors import ListenError, ProtocolError
from xds.events import (
    Event,
    Observer,
    Sent,
    SlowClient,
    StreamClosed,
    StreamOpened,
)
from xds.hub import Hub, Member
from xds.limits import Limits
from xds.log import log_event
from xds.security import Security, proof_of
from xds.services import SERVICES
from xds.session import (
    DELTA,
    SOTW,
    Dialect,
    Request,
    Response,
    Session,
    TypeStatus,
)
from xds.source import Node, Source

_log = logging.getLogger(__name__)

_Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
_Handler: TypeAlias = Callable[[object, _Context], Coroutine[Any, Any, None]]

_BYTES_OF_A_NAME: Final = 1024
"""So much of a request counts as one name more: whatever it holds has to be read."""
_CANCEL_SECONDS: Final = 1.0
"""So long after a failed write gRPC may say that its client has gone."""
_MANY: Final = 1 << 20
_DRAIN_STEP: Final = 0.05
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatus:
    """One stream, as `Server.status` shows it."""

    node: Node
    peer: str
    """The client's address, as gRPC writes it."""
    since: float
    """When it was opened, on the event loop's clock, as `TypeStatus.in_flight_since`."""
    types: tuple[TypeStatus, ...]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a stream ends: the name of a gRPC status, and what the client is told."""

    status: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class _Method(Generic[Request]):
    """What a stream speaks, and of what."""

    dialect: Dialect[Request]
    decode: Callable[..., Request]
    type_url: str
    """"" on an aggregated stream."""


class _Stream(Generic[Request]):
    """One stream: reads, writes, and ends exactly once, with an outcome."""

    def __init__(
        self,
        method: _Method[Request],
        source: Source,
        hub: Hub,
        observer: Observer | None,
        limits: Limits,
        context: grpc.aio.ServicerContext[bytes, bytes],
        security: Security | None,
        hold: float,
    ) -> None:
        self._hold = hold
        self._proof = None if security is None else proof_of(context)
        self._method: _Method[Request] = method
        self.session: Session[Request] = Session(
            method.dialect,
            source,
            answer_limit=limits.answer_bytes,
            names_limit=limits.names,
            identities=None if self._proof is None else self._proof.identities,
        )
        self.peer: str = context.peer()
        self.since = asyncio.get_running_loop().time()
        self._security = security
        self._hub = hub
        self._observer = observer
        self._limits = limits
        self._context = context
        self._member: Member | None = None
        self._woken = asyncio.Event()
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None  # wakes at the deadline
        self._writing = asyncio.Lock()  # gRPC takes one response at a time
        self._outcome: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()

    def finish(self, outcome: _Outcome) -> None:
        """End the stream; the first outcome counts."""
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    def recheck(self) -> None:
        """End the stream where its client's certificate is believed no longer."""
        if self._security is None or self._proof is None:
            return
        if not self._security.believes(self._proof.certificate):
            self.finish(_Outcome("UNAUTHENTICATED", "the certificate is not believed any more"))

    def _end_unless_named(self) -> asyncio.TimerHandle:
        def look() -> None:
            if self._member is None:
                reason = f"no node was named within {self._limits.first_request_timeout:g} s"
                self.finish(_Outcome("DEADLINE_EXCEEDED", reason))

        seconds = self._hold + self._limits.first_request_timeout
        return asyncio.get_running_loop().call_later(seconds, look)

    def _end_with_certificate(self) -> asyncio.TimerHandle | None:
        if self._security is None or self._proof is None:
            return None
        seconds = self._security.ends_at(self._proof.certificate) - time.time()
        outcome = _Outcome("UNAUTHENTICATED", "the certificate has ended: come with a new one")
        return asyncio.get_running_loop().call_later(seconds, self.finish, outcome)

    async def run(self) -> _Outcome:
        """Serve the client until it leaves, or must; return the outcome.

        Cancelled when the connection is lost; cleans up all the same.
        """
        outcome = _Outcome("CANCELLED")
        timers: list[asyncio.TimerHandle | None]
        timers = [self._end_unless_named(), self._end_with_certificate()]
        self.recheck()  # one connection may carry one stream after the other
        try:
            if not self._outcome.done():
                await self._serve()
            outcome = self._outcome.result()
        finally:
            for timer in (*timers, self._timer):
                if timer is not None:
                    timer.cancel()
            if self._member is not None:
                self._hub.leave(self._member)
            self.session.close()
            opened = self._member is not None
            self._report(StreamClosed(outcome.status, outcome.message, opened))
        return outcome

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            children = [
                tasks.create_task(self._guard(self._read()), name=f"xds read {self.peer}"),
                tasks.create_task(self._guard(self._push()), name=f"xds push {self.peer}"),
            ]
            await self._outcome
            for child in children:
                child.cancel()

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except ProtocolError as error:
            self.finish(_Outcome(error.status, str(error)))
        except grpc.aio.BaseError as error:
            # nearly always the client has gone, and gRPC is about to cancel the handler
            await asyncio.sleep(_CANCEL_SECONDS)
            _log.warning("gRPC failed under a stream: %s", error, extra={"node": self._node_id()})
            self.finish(_Outcome("UNAVAILABLE", f"gRPC failed: {error}"))
        except Exception:
            _log.exception("stream failed", extra={"node": self._node_id()})
            self.finish(_Outcome("INTERNAL", "internal error"))

    async def _read(self) -> None:
        if self._hold:
            await asyncio.sleep(self._hold)
        now = asyncio.get_running_loop().time
        bucket = Bucket(rate=self._limits.names_per_second, burst=self._limits.names_burst)
        while (data := await self._context.read()) is not grpc.aio.EOF:
            first = self._member is None
            request = self._method.decode(
                data,
                with_node=first,
                max_name_bytes=self._limits.name_bytes,
                type_url=self._method.type_url,
            )
            self.session.receive(request, now())
            if first:
                self._member = self._hub.join(self.session, self.session.group, self._woken.set)
                self._report(StreamOpened())
            await self._send()
            seconds = bucket.take(request.size + len(data) // _BYTES_OF_A_NAME, now())
            if seconds:
                await asyncio.sleep(seconds)
        self.finish(_Outcome("OK"))

    async def _push(self) -> None:
        while True:
            await self._woken.wait()
            # cleared before the look at the session: a later change wakes again, and all the
            # changes of one turn of the loop go together
            self._woken.clear()
            await self._send()

    async def _send(self) -> None:
        assert self._member is not None
        async with self._writing:
            responses = self.session.responses_to_send(asyncio.get_running_loop().time())
            self._hub.follow(self._member)
            for event in self.session.events():
                self._report(event)
            self._follow_deadline()
            for response in responses:
                await self._write(response)

    def _follow_deadline(self) -> None:
        deadline = self.session.next_deadline()
        if deadline == self._deadline:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deadline = deadline
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._woken.set)

    async def _write(self, response: Response) -> None:
        try:
            async with asyncio.timeout(self._limits.send_timeout):
                await self._context.write(response.data)
        except TimeoutError:
            self._report(SlowClient(response.type_url))
            seconds = self._limits.send_timeout
            raise ProtocolError(
                f"a response was not taken within {seconds:g} s", status="RESOURCE_EXHAUSTED"
            ) from None
        self._report(
            Sent(response.type_url, response.resources, response.removed, len(response.data))
        )

    def _report(self, event: Event) -> None:
        log_event(self._node_id(), event)
        if self._observer is not None:
            self._observer.observe(self.session.node, event)

    def _node_id(self) -> str:
        return self.session.node.id if self.session.node else self.peer


class Server:
    """A running server, as `serve` yields it."""

    def __init__(
        self,
        source: Source,
        hub: Hub,
        observer: Observer | None,
        limits: Limits,
        security: Security | None,
        *,
        csds: bool = False,
    ) -> None:
        self.port = 0
        """The port it listens on."""
        self.hub = hub
        """To be told of every change of the source's resources."""
        self._source = source
        self._observer = observer
        self._limits = limits
        self._security = security
        self._streams: dict[_Stream[DeltaRequest] | _Stream[SotwRequest], None] = {}
        self._entrance = Entrance(limits, observer)
        handlers = self.handlers()
        if csds:
            status = ClientStatusService(
                self.sessions, limit=limits.status_bytes, security=security
            )
            handlers.append(status.handler())
        self._shell = grpc.aio.server(handlers=handlers, options=_options(limits))
        self._closing: asyncio.Task[None] | None = None
        """What keeps new clients out while the streams are asked to end."""

    async def start(self, listen: str) -> None:
        """Begin to serve; ListenError where the address cannot be had."""
        self.port = _bind(self._shell, listen, self._security)
        await self._shell.start()

    async def stop(self) -> None:
        """End the streams; takes at most `limits.drain_timeout`."""
        self.drain()
        await self._shell.stop(self._limits.drain_timeout)
        self._entrance.close()
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

    def _open_streams(self) -> "Iterator[_Stream[DeltaRequest] | _Stream[SotwRequest]]":
        for stream in tuple(self._streams):
            if stream in self._streams:
                yield stream

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return what answers all services of `xds.services`, bytes in and out."""
        return [
            grpc.method_handlers_generic_handler(
                service.name,
                {
                    method: grpc.stream_stream_rpc_method_handler(handler)
                    for method, handler in (
                        (service.delta, self._delta(service.type_url or "")),
                        (service.sotw, self._sotw(service.type_url or "")),
                    )
                    if method is not None
                },
            )
            for service in SERVICES
        ]

    def _delta(self, type_url: str) -> _Handler:
        method = _Method(DELTA, decode_delta_request, type_url)

        async def serve_delta(_requests: object, context: _Context) -> None:
            await self._serve(method, context)

        return serve_delta

    def _sotw(self, type_url: str) -> _Handler:
        method = _Method(SOTW, decode_sotw_request, type_url)

        async def serve_sotw(_requests: object, context: _Context) -> None:
            await self._serve(method, context)

        return serve_sotw

    async def _serve(self, method: _Method[Any], context: _Context) -> None:
        hold = await self._entrance.admit(context)
        arguments = self._source, self.hub, self._observer, self._limits
        stream = _Stream(method, *arguments, context, self._security, hold)
        self._streams[stream] = None
        try:
            # before any response: gRPC cannot end a call whose first write was given up half-way
            await context.send_initial_metadata(())
            outcome = await stream.run()
        finally:
            del self._streams[stream]
        if outcome.status != "OK":
            await context.abort(grpc.StatusCode[outcome.status], outcome.message)

    def recheck(self) -> None:
        """End the streams whose client's certificate is believed no longer."""
        for stream in self._streams:
            stream.recheck()

    def drain(self) -> None:
        """Ask every stream to end; its client then looks for another server."""
        self._end(list(self._streams))

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
            self._closing = asyncio.create_task(self._shell.stop(grace), name="xds closing")
        streams = list(self._streams)
        steps = max(1, math.ceil(over / _DRAIN_STEP))
        asked = 0
        for step in range(steps):
            due = math.ceil(len(streams) * (step + 1) / steps)
            self._end(streams[asked:due])
            asked = due
            if asked == len(streams) or not self._streams:
                return
            await asyncio.sleep(over / steps)

    def _end(self, streams: "list[_Stream[DeltaRequest] | _Stream[SotwRequest]]") -> None:
        for stream in streams:
            stream.finish(_Outcome("UNAVAILABLE", "the server is shutting down"))


@asynccontextmanager
async def serve(
    source: Source,
    *,
    listen: str,
    hub: Hub | None = None,
    observer: Observer | None = None,
    limits: Limits | None = None,
    security: Security | None = None,
    csds: bool = False,
) -> AsyncIterator[Server]:
    """Serve a source until the block is left: delta and state of the world, ADS and each type.

    Leaving ends the streams and takes at most `limits.drain_timeout`.

    Args:
        source: Where the resources come from; told nothing, asked on the event loop.
        listen: "host:port", where port 0 takes a free one, or "unix:path".
        hub: For a source that was made with one; otherwise the server makes its own.
        observer: Is told all that happens.
        limits: What one client may cost.
        security: How clients prove who they are; None: plain text, nobody proves anything.
        csds: Answer what nodes run (CSDS): to whoever can connect, and where `security` proves
            who that is, of the nodes with the same identities only.

    Raises:
        ListenError: the address is in use, or not one of this machine.
    """
    limits = limits or Limits()
    server = Server(source, Hub() if hub is None else hub, observer, limits, security, csds=csds)
    await server.start(listen)
    try:
        yield server
    finally:
        await server.stop()


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", limits.request_bytes),
        ("grpc.max_concurrent_streams", limits.streams_per_connection),
        # of more than 1000 calls that Python has not taken yet, gRPC would cancel some at random,
        # without a word; who comes too fast is for the entrance to say
        ("grpc.server.max_pending_requests", _MANY),
        ("grpc.server.max_pending_requests_hard_limit", _MANY),
        # two servers on one port would share the clients without a word
        ("grpc.so_reuseport", 0),
        # a peer that is gone without a FIN is noticed within 40 s
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ]


def _bind(shell: grpc.aio.Server, listen: str, security: Security | None) -> int:
    # gRPC says nothing of the reason but on stderr, and older releases return 0
    try:
        if security is None:
            port = int(shell.add_insecure_port(listen))
        else:
            port = int(shell.add_secure_port(listen, security.credentials))
    except RuntimeError:
        port = 0
    if port == 0:
        raise ListenError(f"cannot listen on {listen}: in use, or not an address of this machine")
    return port
