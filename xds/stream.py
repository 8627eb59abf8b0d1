"""One stream over gRPC: bytes in, bytes out; what they mean is its session's.

Part of the server's shell. The handler's task reads; another one writes while there is news. An
error ends the stream it happened on and no other. Everything that happens is logged here and told
to the observer.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, Generic

import grpc
import grpc.aio

from xds.bucket import Bucket
from xds.dialect import Dialect, Request
from xds.errors import ProtocolError
from xds.events import (
    CERTIFICATE_ENDED,
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
from xds.session import Response, Session
from xds.source import Source

_log = logging.getLogger("xds.server")

_BYTES_OF_A_NAME: Final = 1024
"""So much of a request counts as one name more: whatever it holds has to be read."""
_CANCEL_SECONDS: Final = 1.0
"""So long after a failed write gRPC may say that its client has gone."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a stream ends: the name of a gRPC status, and what the client is told."""

    status: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Method(Generic[Request]):
    """What a stream speaks, and of what."""

    dialect: Dialect[Request]
    type_url: str
    """"" on an aggregated stream."""


class Stream(Generic[Request]):
    """One stream: reads, writes, and ends exactly once, with an outcome."""

    def __init__(
        self,
        method: Method[Request],
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
        self._method: Method[Request] = method
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
        self._rung = False
        self._pushing: asyncio.Task[None] | None = None  # only while there may be news
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None  # wakes at the deadline
        self._writing = asyncio.Lock()  # gRPC takes one response at a time
        self._outcome: Outcome | None = None
        self._reading: asyncio.Timeout | None = None  # ends what the handler's own task does

    def finish(self, outcome: Outcome) -> None:
        """End the stream; the first outcome counts."""
        if self._outcome is None:
            self._outcome = outcome
            if self._reading is not None:
                self._reading.reschedule(asyncio.get_running_loop().time())

    def recheck(self) -> None:
        """End the stream where its client's certificate is believed no longer."""
        if self._security is None or self._proof is None:
            return
        if not self._security.believes(self._proof.certificate):
            self.finish(Outcome("UNAUTHENTICATED", "the certificate is not believed any more"))

    def _end_with_certificate(self) -> asyncio.TimerHandle | None:
        if self._security is None or self._proof is None:
            return None
        seconds = self._security.ends_at(self._proof.certificate) - time.time()
        outcome = Outcome("UNAUTHENTICATED", CERTIFICATE_ENDED)
        if seconds <= 0:  # on a connection that has outlived it: nothing more is read
            self.finish(outcome)
            return None
        return asyncio.get_running_loop().call_later(seconds, self.finish, outcome)

    async def run(self) -> Outcome:
        """Serve the client until it leaves, or must; return the outcome.

        Cancelled when the connection is lost; cleans up all the same.
        """
        outcome = Outcome("CANCELLED")
        end = self._end_with_certificate()
        self.recheck()  # one connection may carry one stream after the other
        try:
            if self._outcome is None:
                await self._serve()
            outcome = self._outcome or outcome
        finally:
            for timer in (end, self._timer):
                if timer is not None:
                    timer.cancel()
            opened = self._member is not None
            if self._member is not None:
                self._hub.leave(self._member)
                self._member = None  # it holds the stream, which is to be freed at once
            self.session.close()
            self._report(StreamClosed(outcome.status, outcome.message, opened))
        return outcome

    async def _serve(self) -> None:
        try:
            async with asyncio.timeout(None) as self._reading:
                await self._guard(self._read())
        except TimeoutError:
            assert self._outcome is not None  # `finish`
        finally:
            self._reading = None
            if self._pushing is not None:
                self._pushing.cancel()
                await asyncio.wait([self._pushing])

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except ProtocolError as error:
            self.finish(Outcome(error.status, str(error)))
        except grpc.aio.BaseError as error:
            # nearly always the client has gone, and gRPC is about to cancel the handler
            await asyncio.sleep(_CANCEL_SECONDS)
            _log.warning("gRPC failed under a stream: %s", error, extra={"node": self._node_id()})
            self.finish(Outcome("UNAVAILABLE", f"gRPC failed: {error}"))
        except Exception:
            _log.exception("stream failed", extra={"node": self._node_id()})
            self.finish(Outcome("INTERNAL", "internal error"))

    async def _read(self) -> None:
        if self._hold:
            await asyncio.sleep(self._hold)
        bucket = Bucket(rate=self._limits.names_per_second, burst=self._limits.names_burst)
        data = await self._read_first()
        while data is not grpc.aio.EOF:
            cost = await self._take(data)
            seconds = bucket.take(cost, asyncio.get_running_loop().time())
            if seconds:
                await asyncio.sleep(seconds)
            data = await self._context.read()
        self.finish(Outcome("OK"))

    async def _read_first(self) -> Any:
        try:
            async with asyncio.timeout(self._limits.first_request_timeout):
                return await self._context.read()
        except TimeoutError:
            seconds = self._limits.first_request_timeout
            raise ProtocolError(
                f"no node was named within {seconds:g} s", status="DEADLINE_EXCEEDED"
            ) from None

    async def _take(self, data: bytes) -> int:
        """Answer a request; return how many names it counts for."""
        first = self._member is None
        request = self._method.dialect.decode(
            data,
            with_node=first,
            max_name_bytes=self._limits.name_bytes,
            type_url=self._method.type_url,
        )
        self.session.receive(request, asyncio.get_running_loop().time())
        if first:
            self._member = self._hub.join(self.session, self.session.group, self._ring)
            self._report(StreamOpened())
        await self._send()
        return request.size + len(data) // _BYTES_OF_A_NAME

    def _ring(self) -> None:
        """Send what is new; all the changes of one turn of the loop go together."""
        self._rung = True
        if self._pushing is None and self._reading is not None:
            self._pushing = asyncio.create_task(self._guard(self._push()), name="xds push")

    async def _push(self) -> None:
        while self._rung:
            self._rung = False
            await self._send()
        self._pushing = None

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
            self._timer = asyncio.get_running_loop().call_at(deadline, self._ring)

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
