"""The errors of the library, each with the gRPC status that ends a stream because of it.

    XdsError
      ProtocolError(status)     the peer broke the protocol, or is not served; ends its stream only
        MalformedRequestError   INVALID_ARGUMENT: the bytes are no DeltaDiscoveryRequest
        MissingNodeError        INVALID_ARGUMENT: the first request of a stream names no node
      ListenError               the server cannot listen at its address

A status is a plain name ("INVALID_ARGUMENT"), so that only `xds.grpc_server.server` needs to know
gRPC.
"""


class XdsError(Exception):
    """Any error of this library."""


class ProtocolError(XdsError):
    """Ends the stream it happened on, with `status`, the name of a gRPC status code."""

    def __init__(self, message: str, *, status: str = "INVALID_ARGUMENT") -> None:
        super().__init__(message)
        self.status = status


class MalformedRequestError(ProtocolError):
    """The bytes of a request cannot be read."""


class MissingNodeError(ProtocolError):
    """The first request of a stream does not say who sends it."""


class ListenError(XdsError):
    """The server cannot listen at the address that the message names."""
