"""Connections to etcd: the choice of a member, TLS and login.

A connection is short-lived: after an error, the caller makes a new one. So expired tokens and
certificates are renewed. The messages and stubs come from `aetcd`. The channel does not, because
aetcd's client supports neither TLS nor several endpoints.
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

HANDSHAKE_TIMEOUT = 2.0
"""Seconds for one attempt to connect to a member."""
CALL_TIMEOUT = 10.0
"""Seconds for one request over an established connection."""

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    # a member that vanished silently is noticed within 15 s, also while a watch is idle
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # without this, grpcio 1.85 waits for 60 s in spite of the options above (tried with a paused
    # etcd)
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # a new connection is a new attempt, not a shared subchannel that is in its back-off
    ("grpc.use_local_subchannel_pool", 1),
)
_REFUSALS = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
)


class EtcdError(Exception):
    """etcd cannot be used now; the text says why, without the address of etcd."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused
        """etcd answered and denied access: a retry cannot succeed before somebody changes that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A connection to one member, which has answered."""

    endpoint: str
    channel: Any
    metadata: tuple[tuple[str, str], ...]
    """Sent with every call."""
    cluster: int
    """The id of the etcd cluster."""

    async def call(self, method: Any, request: Any) -> Any:
        """Return the answer to one request, `session.call(session.kv.Range, ...)`.

        Raises:
            EtcdError: the call failed.
        """
        return await _call(method, request, self.metadata, CALL_TIMEOUT)

    @property
    def kv(self) -> Any:
        """The calls of the KV service."""
        return rpc.KVStub(self.channel)

    @property
    def lease(self) -> Any:
        """The calls of the Lease service."""
        return rpc.LeaseStub(self.channel)


@asynccontextmanager
async def connect(url: EtcdUrl, *, avoid: str = "") -> AsyncIterator[Session]:
    """Connect to the member that answers first.

    Args:
        url: The members, and how to log in.
        avoid: The endpoint that has just failed; used only if there is no other.

    Raises:
        EtcdError: no member answers.
    """
    endpoints = [one for one in url.endpoints if one != avoid] or list(url.endpoints)
    random.shuffle(endpoints)
    credentials = await asyncio.to_thread(_credentials, url)
    async with AsyncExitStack() as stack:
        channels = [
            (one, await stack.enter_async_context(_channel(one, credentials))) for one in endpoints
        ]
        yield await _first_success(_handshake(url, one, channel) for one, channel in channels)


def to_etcd_error(error: Exception) -> EtcdError:
    """Return the EtcdError of a failed call."""
    if not isinstance(error, grpc.aio.AioRpcError):
        return EtcdError(str(error) or type(error).__name__)
    details = (error.details() or error.code().name).removeprefix("etcdserver: ")
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        details = "no answer in time"
    return EtcdError(details, refused=error.code() in _REFUSALS)


async def _handshake(url: EtcdUrl, endpoint: str, channel: Any) -> Session:
    metadata = await _login(url, channel)
    # a linearizable read of our keys: it needs a majority and the right to read them
    request = rpc.RangeRequest(key=f"{url.prefix}/clouds/".encode(), count_only=True)
    header = (await _call(rpc.KVStub(channel).Range, request, metadata, HANDSHAKE_TIMEOUT)).header
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
        answer = await rpc.AuthStub(channel).Authenticate(request, timeout=HANDSHAKE_TIMEOUT)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
            return (leader,)  # authentication is disabled in this etcd
        raise to_etcd_error(error) from None
    return leader, ("token", answer.token)


async def _call(method: Any, request: Any, metadata: Any, seconds: float) -> Any:
    try:
        return await method(request, metadata=metadata, timeout=seconds)
    except grpc.aio.AioRpcError as error:
        raise to_etcd_error(error) from None


async def _first_success(attempts: Iterable[Coroutine[Any, Any, Session]]) -> Session:
    """Return the first session; if all attempts fail, prefer a denial to other errors."""
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
        for task in tasks:  # mark the exceptions of the other attempts as retrieved
            _ = task.cancelled() or task.exception()
    # always the same one of equal errors: a different reason would be reported again
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
        if content is not None and b"-----BEGIN " not in content:  # gRPC would not report it
            raise EtcdError(f"{file} contains no PEM block", refused=True)
    return grpc.ssl_channel_credentials(cacert, key, cert)
