"""The CSDS service over gRPC: reports the status of the resources of the connected nodes.

It is off unless `serve(csds=True)` turns it on, as it shows clients to each other. With mutual TLS,
a client sees only nodes with the identities of its own certificate.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Final, Protocol, TypeAlias

import grpc
import grpc.aio

from scopeway.xds.errors import ProtocolError
from scopeway.xds.grpc_server.tls import peer_identity
from scopeway.xds.protocol.csds import SERVICE, ClientStatusReport, decode_request
from scopeway.xds.protocol.status import ResourceState
from scopeway.xds.security import Security
from scopeway.xds.source import Node
from scopeway.xds.text import shown

_SLICE: Final = 0.003
"""Seconds of work for one response in one turn of the event loop."""

_Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


class ReportedSession(Protocol):
    """What a report needs of the session of a stream."""

    node: Node | None

    def resource_states(self) -> Iterable[ResourceState]:
        """Yield the status of each resource."""


class ClientStatusService:
    """The CSDS service.

    Args:
        sessions: Yields the session of each open stream.
        limit: The largest response, in bytes.
        security: The mutual TLS of the server; None: clients are not authenticated, and see all
            nodes.
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
        self._report_lock = asyncio.Lock()  # one response at a time, of all clients

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the gRPC handler of the service. Messages are bytes."""
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
        """Return the verified identities of the client; None without TLS."""
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
            await asyncio.sleep(0)  # let other work run in between
        return report.encode()
