"""CSDS over gRPC: answers what the nodes of a server's streams run.

Off unless `xds.grpc_server.server.serve` is asked for it, since it tells one client about others.
With mutual TLS it tells only about nodes that have proven the same identities as the one who asks.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Final, Protocol, TypeAlias

import grpc
import grpc.aio

from scopeway.xds.errors import ProtocolError
from scopeway.xds.grpc_server.tls import Security, peer_identity
from scopeway.xds.protocol.csds import SERVICE, ClientStatusReport, decode_request
from scopeway.xds.protocol.status import ResourceState
from scopeway.xds.source import Node
from scopeway.xds.text import shown

_SLICE: Final = 0.003
"""Seconds of one answer in one turn of the loop."""

_Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


class ReportedSession(Protocol):
    """The session of a stream, as far as it is reported."""

    node: Node | None

    def resource_states(self) -> Iterable[ResourceState]:
        """Yield how far each resource has come."""


class ClientStatusService:
    """What answers CSDS.

    Args:
        sessions: Yields the sessions of the streams that are open, each only if it still is.
        limit: The largest answer, in bytes.
        security: How those who ask prove who they are; None: they needn't, and are told of all.
    """

    def __init__(
        self,
        sessions: Callable[[], Iterable[ReportedSession]],
        *,
        limit: int,
        security: Security | None,
    ) -> None:
        self._sessions = sessions
        self._limit = limit
        self._security = security
        self._report_lock = asyncio.Lock()  # one answer at a time, whoever asks how often

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what gRPC calls, bytes in and out."""
        methods = {
            "FetchClientStatus": grpc.unary_unary_rpc_method_handler(self._fetch),
            "StreamClientStatus": grpc.stream_stream_rpc_method_handler(self._stream),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _stream(self, _requests: object, context: _Context) -> None:
        while (data := await context.read()) is not grpc.aio.EOF:
            await context.write(await self._fetch(data, context))

    async def _fetch(self, data: bytes, context: _Context) -> bytes:
        try:
            requester = self._requester(context)
            ids = decode_request(data)
            async with self._report_lock:
                return await self._report(ids, requester)
        except ProtocolError as error:
            await context.abort(grpc.StatusCode[error.status], shown(str(error), 1024))
            raise  # not reached: abort raises

    def _requester(self, context: _Context) -> tuple[str, ...] | None:
        """Return the identities that are proven; None where the channel proves nothing."""
        if self._security is None:
            return None
        identity = peer_identity(context)
        if not (identity.identities and self._security.is_trusted(identity.certificate)):
            raise ProtocolError("the client certificate is not trusted", status="UNAUTHENTICATED")
        if self._security.expires_at(identity.certificate) <= time.time():
            raise ProtocolError("the client certificate has expired", status="UNAUTHENTICATED")
        return identity.identities

    async def _report(self, ids: frozenset[str] | None, requester: tuple[str, ...] | None) -> bytes:
        report = ClientStatusReport(self._limit)
        for session in self._sessions():
            node = session.node
            if node is None or node.identities != requester or not (ids is None or node.id in ids):
                continue
            end = perf_counter() + _SLICE
            report.add_node(node)
            for state in session.resource_states():
                report.add_resource(node, state)
                if perf_counter() >= end:  # a lookup may take milliseconds
                    await asyncio.sleep(0)
                    end = perf_counter() + _SLICE
            await asyncio.sleep(0)  # the loop may do others' work between
        return report.encode()
