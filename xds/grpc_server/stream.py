"""One stream over gRPC: bytes in, bytes out; what they mean is its session's.

Part of the server's shell. The handler's task reads; another one writes while there is news. An
error ends the stream it happened on and no other. Everything that happens is logged here and told
to the observer.
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
from scopeway.xds.grpc_server.tls import PeerIdentity, Security
from scopeway.xds.grpc_server.token_bucket import TokenBucket
from scopeway.xds.limits import Limits
from scopeway.xds.notifier import ChangeNotifier, Member
from scopeway.xds.protocol.session import Response, Session
from scopeway.xds.protocol.variants import ProtocolVariant, Request
from scopeway.xds.source import Node, Source
from scopeway.xds.steps import Steps
from scopeway.xds.text import shown

_log = logging.getLogger("scopeway.xds")
_T = TypeVar("_T")

_BYTES_OF_A_NAME: Final = 1024
"""So much of a request counts as one name more: whatever it holds has to be read."""
_CANCEL_SECONDS: Final = 1.0
"""So long after a failed write gRPC may say that its client has gone."""


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """How a stream ends: the name of a gRPC status, and what the client is told."""

    status: str
    message: str = ""


BudgetKey: TypeAlias = Callable[[tuple[str, ...] | None, Node | None], str | None]
"""From what TLS has proven of a client and what it claims, the key of the budget that its streams
have together; None: of one stream alone. The node is None until the first request."""


def budget_key(identities: tuple[str, ...] | None, node: Node | None) -> str | None:
    """Return what a certificate says, or without TLS what the node claims as its cluster."""
    if identities is not None:
        return " ".join(identities)
    return None if node is None else node.cluster


@dataclass(frozen=True, slots=True)
class Method(Generic[Request]):
    """What a stream speaks, and of what."""

    variant: ProtocolVariant[Request]
    type_url: str
    """"" on an aggregated stream."""


class Stream(Generic[Request]):
    """One stream: reads, writes, and ends exactly once, with an outcome."""

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
        """Seconds until it is its turn to be read."""
        self._peer_identity = identity
        self._budgets = budgets
        self._budget_key = key
        self.budget: ClientBudget = budgets.acquire(key(self._identities, None))
        """What its client may use; another one when an unproven node has said what it is."""
        self._method: Method[Request] = method
        self.session: Session[Request] = Session(
            method.variant,
            source,
            response_limit=limits.response_bytes,
            names_limit=limits.names,
            identities=self._identities,
        )
        self.peer: str = context.peer()
        self.since = asyncio.get_running_loop().time()
        self._security = security
        self._notifier = notifier
        self._observer = observer
        self._limits = limits
        self._context = context
        self._member: Member | None = None
        self._push_requested = False
        self._push_task: asyncio.Task[None] | None = None  # only while there may be news
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None  # wakes at the deadline
        self._work_lock = asyncio.Lock()  # requests are taken in, and responses made, one by one
        self._end: StreamEnd | None = None
        self._read_timeout: asyncio.Timeout | None = None  # ends what the handler's own task does

    @property
    def _identities(self) -> tuple[str, ...] | None:
        return None if self._peer_identity is None else self._peer_identity.identities

    def finish(self, end: StreamEnd) -> None:
        """End the stream; the first outcome counts."""
        if self._end is None:
            self._end = end
            if self._read_timeout is not None:
                self._read_timeout.reschedule(asyncio.get_running_loop().time())

    def recheck(self) -> None:
        """End the stream where its client's certificate is believed no longer."""
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
        if seconds <= 0:  # on a connection that has outlived it: nothing more is read
            self.finish(end)
            return None
        return asyncio.get_running_loop().call_later(seconds, self.finish, end)

    async def run(self) -> StreamEnd:
        """Serve the client until it leaves, or must; return the outcome.

        Cancelled when the connection is lost; cleans up all the same.
        """
        end = StreamEnd("CANCELLED")
        expiry = self._schedule_certificate_expiry()
        self.recheck()  # one connection may carry one stream after the other
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
                self._member = None  # it holds the stream, which is to be freed at once
            self.session.close()
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
            # nearly always the client has gone, and gRPC is about to cancel the handler
            await asyncio.sleep(_CANCEL_SECONDS)
            node = shown(self._node_id())
            _log.warning("gRPC failed under a stream: %s", error, extra={"node": node})
            self.finish(StreamEnd("UNAVAILABLE", f"gRPC failed: {error}"))
        except Exception:
            _log.exception("stream failed", extra={"node": shown(self._node_id())})
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
                f"no node was named within {seconds:g} s", status="DEADLINE_EXCEEDED"
            ) from None

    async def _handle_request(self, data: bytes) -> int:
        """Answer a request; return how many names it counts for."""
        self.budget.charge(REQUEST_SECONDS + len(data) * BYTE_SECONDS)
        async with self._work_lock:
            if self._member is None:  # whose account it is, is known when it has been read
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
        """Go on with the account of a client that has now said what it is."""
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
        """Have the notifier know what the client wants, before anything else runs."""
        if self._member is not None:
            self._notifier.update_interests(self._member)
        elif self.session.is_attached:
            self._member = self._notifier.join(self.session, self.session.group, self._request_push)
            self._report(StreamOpened())

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _request_push(self) -> None:
        """Send what is new; all the changes of one turn of the loop go together."""
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
                f"a response was not taken within {seconds:g} s", status="RESOURCE_EXHAUSTED"
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
    """Return the bytes of a response; to copy them takes some milliseconds for MiB."""
    data = response.data
    yield  # gRPC is about to copy them once more
    return data
