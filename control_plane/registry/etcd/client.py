"""Connections to an etcd: which member, TLS, login.

Owns one short-lived connection after the other; whoever uses one makes a new one after an error, so
that a token or a certificate that has run out is renewed on the way. Knows no clouds. The messages
and stubs are `aetcd`'s; its client has neither TLS nor several endpoints, so the channel is ours.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from aetcd import rpc

from scopeway.control_plane.registry.etcd.url import EtcdUrl

HELLO_TIMEOUT = 2.0
"""Seconds for one attempt to reach a member."""
CALL_TIMEOUT = 10.0
"""Seconds for one request to a member that has answered before."""

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    # a member that vanished without a word is noticed within 15 s, also below an idle watch
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # without this grpcio 1.85 waits for 60 s all the same (a paused etcd, tried)
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # a new connection is a new attempt: not the shared one that is in its back-off
    ("grpc.use_local_subchannel_pool", 1),
)
_REFUSALS = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
)


class EtcdError(Exception):
    """An etcd that cannot be used just now; the text says why, without naming the etcd."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused
        """It answered, and won't have us: trying again without a change elsewhere is useless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A connection to one member that has answered."""

    endpoint: str
    channel: Any
    metadata: tuple[tuple[str, str], ...]
    """To be sent with every call."""
    cluster: int
    """The id of the etcd cluster."""

    async def call(self, method: Any, request: Any) -> Any:
        """Return the answer to one request, `session.call(session.kv.Range, ...)`.

        Raises:
            EtcdError: there is none.
        """
        return await _call(method, request, self.metadata, CALL_TIMEOUT)

    @property
    def kv(self) -> Any:
        """The calls on keys."""
        return rpc.KVStub(self.channel)

    @property
    def lease(self) -> Any:
        """The calls on leases."""
        return rpc.LeaseStub(self.channel)


@asynccontextmanager
async def connected(url: EtcdUrl, *, avoid: str = "") -> AsyncIterator[Session]:
    """Connect to the member that answers first.

    Args:
        url: Where.
        avoid: The endpoint that has just failed; taken only where there is no other.

    Raises:
        EtcdError: none answers.
    """
    endpoints = [one for one in url.endpoints if one != avoid] or list(url.endpoints)
    random.shuffle(endpoints)
    credentials = await asyncio.to_thread(_credentials, url)
    async with AsyncExitStack() as stack:
        channels = [
            (one, await stack.enter_async_context(_channel(one, credentials))) for one in endpoints
        ]
        yield await _first(_hello(url, one, channel) for one, channel in channels)


def describe(error: Exception) -> EtcdError:
    """Return what a failed call means."""
    if not isinstance(error, grpc.aio.AioRpcError):
        return EtcdError(str(error) or type(error).__name__)
    details = (error.details() or error.code().name).removeprefix("etcdserver: ")
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        details = "no answer in time"
    return EtcdError(details, refused=error.code() in _REFUSALS)


async def _hello(url: EtcdUrl, endpoint: str, channel: Any) -> Session:
    metadata = await _login(url, channel)
    # a read that needs the majority, and the right to read our keys: what we are going to do
    request = rpc.RangeRequest(key=f"{url.prefix}/clouds/".encode(), count_only=True)
    header = (await _call(rpc.KVStub(channel).Range, request, metadata, HELLO_TIMEOUT)).header
    return Session(
        endpoint=endpoint,
        channel=channel,
        metadata=metadata,
        cluster=header.cluster_id,
    )


async def _login(url: EtcdUrl, channel: Any) -> tuple[tuple[str, str], ...]:
    leader = ("hasleader", "true")
    if not url.user:
        return (leader,)
    request = rpc.AuthenticateRequest(name=url.user, password=url.password)
    try:
        answer = await rpc.AuthStub(channel).Authenticate(request, timeout=HELLO_TIMEOUT)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
            return (leader,)  # this etcd asks nobody for a password
        raise describe(error) from None
    return leader, ("token", answer.token)


async def _call(method: Any, request: Any, metadata: Any, seconds: float) -> Any:
    try:
        return await method(request, metadata=metadata, timeout=seconds)
    except grpc.aio.AioRpcError as error:
        raise describe(error) from None


async def _first(attempts: Iterable[Coroutine[Any, Any, Session]]) -> Session:
    """Return the first success; a refusal by one member is told rather than another's silence."""
    tasks = [asyncio.create_task(attempt, name="etcd hello") for attempt in attempts]
    errors: list[EtcdError] = []
    try:
        for done in asyncio.as_completed(tasks):
            try:
                return await done
            except EtcdError as error:
                errors.append(error)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:  # nobody asks for the errors of those that came too late
            _ = task.cancelled() or task.exception()
    # of equal ones always the same: a reason that is another one is told again
    raise max(errors, key=lambda error: (error.refused, str(error)))


@asynccontextmanager
async def _channel(endpoint: str, credentials: Any) -> AsyncIterator[Any]:
    if credentials is None:
        channel = grpc.aio.insecure_channel(endpoint, options=_OPTIONS)
    else:
        channel = grpc.aio.secure_channel(endpoint, credentials, options=_OPTIONS)
    try:
        yield channel
    finally:
        await channel.close()


def _credentials(url: EtcdUrl) -> Any:
    if not (url.cacert or url.cert):
        return None
    try:
        cacert, cert, key = (
            Path(file).read_bytes() if file else None for file in (url.cacert, url.cert, url.key)
        )
    except OSError as error:
        reason = f"{error.filename} cannot be read: {error.strerror}"
        raise EtcdError(reason, refused=True) from None
    for file, content in ((url.cacert, cacert), (url.cert, cert), (url.key, key)):
        if content is not None and b"-----BEGIN " not in content:  # else gRPC says nothing of it
            raise EtcdError(f"{file} holds nothing in PEM", refused=True)
    return grpc.ssl_channel_credentials(cacert, key, cert)
