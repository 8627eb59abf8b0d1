"""gRPC's health service, `grpc.health.v1.Health`: whether the server takes clients.

NOT_SERVING while the server drains. Anybody who can connect may ask. `List` is left out.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final, TypeAlias

import grpc
import grpc.aio

from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.grpc_server.services import SERVICES
from scopeway.xds.text import shown

SERVICE: Final = "grpc.health.v1.Health"
MOST_BYTES: Final = 1024
"""Of a request; it holds the name of a service."""
# the numbers of HealthCheckResponse.ServingStatus
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = 1, 2, 3
_KNOWN: Final = frozenset({"", SERVICE, *(service.name for service in SERVICES)})

_Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


class HealthService:
    """Answers health checks; "" is the server as a whole."""

    def __init__(self) -> None:
        self._serving = True
        self._closed = False
        self._changed = asyncio.Event()

    def drain(self) -> None:
        """The server sends its clients away."""
        self._serving = False
        self._tell()

    def close(self) -> None:
        """End those who watch, once they have been told."""
        self._closed = True
        self._tell()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what answers the service, bytes in and out."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Check": grpc.unary_unary_rpc_method_handler(self._check),
                "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
            },
        )

    async def _check(self, request: bytes, context: _Context) -> bytes:
        service = await _service(request, context)
        if service not in _KNOWN:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"there is no service {shown(service)!r}"
            )
        return _response(self._status(service))

    async def _watch(self, request: bytes, context: _Context) -> AsyncIterator[bytes]:
        service = await _service(request, context)
        told = None
        while True:
            changed, status = self._changed, self._status(service)
            if status != told:  # it may change while it is sent
                told = status
                yield _response(status)
            elif self._closed:
                return
            else:
                await changed.wait()

    def _status(self, service: str) -> int:
        if service not in _KNOWN:
            return _SERVICE_UNKNOWN
        return _SERVING if self._serving else _NOT_SERVING

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


async def _service(request: bytes, context: _Context) -> str:
    """Return which service a HealthCheckRequest asks for; end the call if it is no such message."""
    service = ""
    try:
        wire.check_length("the request", 0, len(request), MOST_BYTES)
        for number, start, end in wire.fields(request):
            if number == 1:
                service = request[start:end].decode()
    except ValueError as error:
        text = f"malformed HealthCheckRequest: {error}"
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
    return service


def _response(status: int) -> bytes:
    return wire.field_varint(1, status)
