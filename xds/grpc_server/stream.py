"""One gRPC stream: reads requests, writes responses, and leaves the protocol to its session.

The task of the gRPC handler reads requests and writes the responses to them. Another task pushes
changes while there are any. An error ends its own stream only. All events are logged and reported
to the observer here.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

import grpc
import grpc.aio

from scopeway.xds.errors import ProtocolError
from scopeway.xds.events import (
    CERTIFICATE_EXPIRED,
    Event,
    Observer,
    Sent,
    SlowClient,
    StreamClosed,
    StreamOpened,
    Throttled,
)
from scopeway.xds.grpc_server.cpu_budget import (
    BYTE_SECONDS,
    REQUEST_SECONDS,
    ClientBudget,
    ClientBudgets,
)
from scopeway.xds.grpc_server.tls import PeerIdentity
from scopeway.xds.grpc_server.token_bucket import TokenBucket
from scopeway.xds.limits import Limits
from scopeway.xds.lookup_tasks import LookupTasks
from scopeway.xds.notifier import ChangeNotifier, Member
from scopeway.xds.protocol.lookups import Lookup
from scopeway.xds.protocol.session import Response, Session
from scopeway.xds.protocol.variants import ProtocolVariant, Request
from scopeway.xds.security import Security
from scopeway.xds.source import Node, Source
from scopeway.xds.steps import Steps
from scopeway.xds.text import shown

_log = logging.getLogger("scopeway.xds")
_T = TypeVar("_T")

_BYTES_OF_A_NAME: Final = 1024
"""Each so many bytes of a request count as one more name, as they must be parsed."""
_CANCEL_SECONDS: Final = 1.0
"""How long after a failed write gRPC may take to cancel the handler."""


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """How a stream ends: the name of a gRPC status, and the message to the client."""

    status: str
    message: str = ""


BudgetKey: TypeAlias = Callable[[tuple[str, ...] | None, Node | None], str | None]
"""Returns the key of the budget that the streams of one client share; None: a budget of its own.

The arguments are the identities that TLS has verified, and the node that the client claims to be.
The node is None until the first request."""


def budget_key(identities: tuple[str, ...] | None, node: Node | None) -> str | None:
    """Return the URIs of the client certificate, or without TLS the cluster of the node."""
    if identities is not None:
        return " ".join(identities)
    return None if node is None else node.cluster


@dataclass(frozen=True, slots=True)
class Method(Generic[Request]):
    """The gRPC method of a stream."""

    variant: ProtocolVariant[Request]
    type_url: str
    """The only resource type of the stream; "" on an aggregated stream."""


class Stream(Generic[Request]):
    """One stream. It ends exactly once, with a `StreamEnd`."""

    def __init__(
        self,
        method: Method[Request],
        source: Source,
        notifier: ChangeNotifier,
        observer: Observer | None,
        limits: Limits,
        context: grpc.aio.ServicerContext[bytes, bytes],
        security: Security | None,
        identity: PeerIdentity | None,
        budgets: ClientBudgets,
        key: BudgetKey,
    ) -> None:
        self.admission_delay = 0.0
        """Seconds to wait before the first read, as too many streams were opened at once."""
        self._peer_identity = identity
        self._budgets = budgets
        self._budget_key = key
        self.budget: ClientBudget = budgets.acquire(key(self._identities, None))
        """The budget of the client. Without TLS it is replaced when the node is known."""
        self._method: Method[Request] = method
        self.session: Session[Request] = Session(
            method.variant,
            source,
            response_limit=limits.response_bytes,
            names_limit=limits.names,
            identities=self._identities,
            stopwatch=time.perf_counter,
        )
        self._lookups: LookupTasks | None = None  # once the source has answered later
        self.peer: str = context.peer()
        self.since = asyncio.get_running_loop().time()
        self._security = security
        self._notifier = notifier
        self._observer = observer
        self._limits = limits
        self._context = context
        self._member: Member | None = None
        self._push_requested = False
        self._push_task: asyncio.Task[None] | None = None  # only while there may be changes
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None  # fires at the deadline
        self._work_lock = asyncio.Lock()  # one request or push at a time
        self._end: StreamEnd | None = None
        self._read_timeout: asyncio.Timeout | None = None  # ends the handler's task

    @property
    def _identities(self) -> tuple[str, ...] | None:
        return None if self._peer_identity is None else self._peer_identity.identities

    def finish(self, end: StreamEnd) -> None:
        """End the stream; only the first call counts."""
        if self._end is None:
            self._end = end
            if self._read_timeout is not None:
                self._read_timeout.reschedule(asyncio.get_running_loop().time())

    def recheck(self) -> None:
        """End the stream if the client certificate is not trusted any more."""
        if self._security is None or self._peer_identity is None:
            return
        if not self._security.is_trusted(self._peer_identity.certificate):
            self.finish(
                StreamEnd("UNAUTHENTICATED", "the client certificate is not trusted any more")
            )

    def _schedule_certificate_expiry(self) -> asyncio.TimerHandle | None:
        if self._security is None or self._peer_identity is None:
            return None
        seconds = self._security.expires_at(self._peer_identity.certificate) - time.time()
        end = StreamEnd("UNAUTHENTICATED", CERTIFICATE_EXPIRED)
        if seconds <= 0:  # expired before the stream was opened: read nothing
            self.finish(end)
            return None
        return asyncio.get_running_loop().call_later(seconds, self.finish, end)

    async def run(self) -> StreamEnd:
        """Serve the client until the stream ends; return how it ended.

        gRPC cancels this when the connection is lost; it cleans up then, too.
        """
        end = StreamEnd("CANCELLED")
        expiry = self._schedule_certificate_expiry()
        self.recheck()  # the certificate was checked when the connection began, maybe long ago
        try:
            if self._end is None:
                await self._serve()
            end = self._end or end
        finally:
            for timer in (expiry, self._timer):
                if timer is not None:
                    timer.cancel()
            opened = self._member is not None
            if self._member is not None:
                self._notifier.leave(self._member)
                self._member = None  # breaks a reference cycle, so that the stream is freed at once
            self.session.close()
            if self._lookups is not None:
                self._lookups.close()
                self._lookups = None  # breaks a reference cycle, too
            self._report(StreamClosed(end.status, end.message, opened))
        return end

    async def _serve(self) -> None:
        try:
            async with asyncio.timeout(None) as self._read_timeout:
                await self._end_on_error(self._read())
        except TimeoutError:
            assert self._end is not None  # `finish`
        finally:
            self._read_timeout = None
            if self._push_task is not None:
                self._push_task.cancel()
                await asyncio.wait([self._push_task])

    async def _end_on_error(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except ProtocolError as error:
            self.finish(StreamEnd(error.status, str(error)))
        except grpc.aio.BaseError as error:
            # usually the client has gone, and gRPC is about to cancel the handler
            await asyncio.sleep(_CANCEL_SECONDS)
            fields = {"node": shown(self._node_id()), "error": shown(str(error))}
            message = "gRPC call failed, ending the stream: node %(node)s: %(error)s"
            _log.warning(message, fields, extra=fields)
            self.finish(StreamEnd("UNAVAILABLE", f"gRPC failed: {error}"))
        except Exception:
            fields = {"node": shown(self._node_id())}
            _log.exception("internal error, ending the stream: node %(node)s", fields, extra=fields)
            self.finish(StreamEnd("INTERNAL", "internal error"))

    async def _read(self) -> None:
        if self.admission_delay:
            await asyncio.sleep(self.admission_delay)
        bucket = TokenBucket(rate=self._limits.names_per_second, burst=self._limits.names_burst)
        data = await self._read_first()
        while data is not grpc.aio.EOF:
            cost = await self._handle_request(data)
            seconds = bucket.take(cost, asyncio.get_running_loop().time())
            if seconds:
                await asyncio.sleep(seconds)
            data = await self._context.read()
        self.finish(StreamEnd("OK"))

    async def _read_first(self) -> Any:
        try:
            async with asyncio.timeout(self._limits.first_request_timeout):
                return await self._context.read()
        except TimeoutError:
            seconds = self._limits.first_request_timeout
            raise ProtocolError(
                f"no request within {seconds:g} s", status="DEADLINE_EXCEEDED"
            ) from None

    async def _handle_request(self, data: bytes) -> int:
        """Process a request and send the responses; return its cost in names."""
        self.budget.charge(REQUEST_SECONDS + len(data) * BYTE_SECONDS)
        async with self._work_lock:
            if self._member is None:  # the node in it may select another budget
                request = await self._work(self._decode_steps(data, with_node=True))
                self._adopt_budget(request.node)
                responses = await self._work(self._response_steps(request))
            else:
                request, responses = await self._work(self._decode_and_respond_steps(data))
            await self._send(responses)
        return request.size + len(data) // _BYTES_OF_A_NAME

    def _decode_steps(self, data: bytes, *, with_node: bool) -> Steps[Request]:
        limits, method = self._limits, self._method
        return method.variant.decode(
            data, with_node, limits.name_bytes, 2 * limits.names, method.type_url
        )

    def _response_steps(self, request: Request) -> Steps[list[Response]]:
        yield from self.session.receive_steps(request, self._now())
        self._update_interests()
        return (yield from self.session.response_steps(self._now()))

    def _decode_and_respond_steps(self, data: bytes) -> Steps[tuple[Request, list[Response]]]:
        request = yield from self._decode_steps(data, with_node=False)
        return request, (yield from self._response_steps(request))

    def _adopt_budget(self, node: Node | None) -> None:
        """Switch to the budget that belongs to the node, once that is known."""
        if self.budget.key is not None or self._member is not None:
            return
        key = self._budget_key(self._identities, node)
        if key is not None:
            before, self.budget = self.budget, self._budgets.acquire(key)
            self._budgets.release(before)
            self.budget.charge(before.cpu_seconds)

    async def _work(self, steps: Steps[_T]) -> _T:
        return await self.budget.run(steps, self._update_interests, self._report_throttled)

    def _report_throttled(self, seconds: float) -> None:
        self._report(Throttled(seconds))

    def _update_interests(self) -> None:
        """Update the notifier's index. Must run before anything else does."""
        if self._member is not None:
            self._notifier.update_interests(self._member)
        elif self.session.is_attached:
            self._member = self._notifier.join(self.session, self.session.group, self._request_push)
            self._report(StreamOpened())

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _lookup_finished(self, lookup: Lookup, answer: object) -> None:
        if self.session.lookup_finished(lookup, answer):
            self._request_push()

    def _request_push(self) -> None:
        """Start a push; all changes of one turn of the event loop are sent together."""
        self._push_requested = True
        if self._push_task is None and self._read_timeout is not None:
            self._push_task = asyncio.create_task(self._end_on_error(self._push()), name="xds push")

    async def _push(self) -> None:
        while self._push_requested:
            self._push_requested = False
            async with self._work_lock:
                await self._send(await self._work(self.session.response_steps(self._now())))
        self._push_task = None

    async def _send(self, responses: list[Response]) -> None:
        self._update_interests()
        for event in self.session.events():
            self._report(event)
        lookups = self.session.new_lookups()
        if lookups:
            self._lookups = self._lookups or LookupTasks(
                self._limits.lookups, self._lookup_finished
            )
            self._lookups.start(lookups)
        self._update_timer()
        for response in responses:
            await self._write(response)

    def _update_timer(self) -> None:
        deadline = self.session.next_deadline()
        if deadline == self._deadline:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deadline = deadline
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._request_push)

    async def _write(self, response: Response) -> None:
        send_window = self.budget.send_window
        await send_window.acquire(response.size)
        try:
            data = await self._work(_join_parts(response))
            async with asyncio.timeout(self._limits.send_timeout):
                await self._context.write(data)
        except TimeoutError:
            self._report(SlowClient(response.type_url))
            seconds = self._limits.send_timeout
            raise ProtocolError(
                f"the client did not read a response within {seconds:g} s",
                status="RESOURCE_EXHAUSTED",
            ) from None
        finally:
            send_window.release(response.size)
        self._report(Sent(response.type_url, response.resources, response.removed, response.size))

    def _report(self, event: Event) -> None:
        self.budget.log.log(self._node_id(), event)
        if self._observer is not None:
            self._observer.observe(self.session.node, event)

    def _node_id(self) -> str:
        return self.session.node.id if self.session.node else self.peer


def _join_parts(response: Response) -> Steps[bytes]:
    """Return the bytes of a response. Copying them takes some milliseconds for each MiB."""
    data = response.data
    yield  # gRPC is about to copy them once more
    return data
