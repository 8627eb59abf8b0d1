"""The errors of the library, each with the gRPC status of the stream that it ends.

    XdsError
      ProtocolError(status)     the client broke the protocol, or is not served; ends its stream
        MalformedRequestError   INVALID_ARGUMENT: the bytes are no DeltaDiscoveryRequest
        MissingNodeError        INVALID_ARGUMENT: the first request of a stream names no node
      ListenError               the server cannot listen at its address

A status is a plain name ("INVALID_ARGUMENT"), so that only `xds.grpc_server.server` needs to know
gRPC.
"""


class XdsError(Exception):
    """Any error of this library."""


class ProtocolError(XdsError):
    """Ends the stream on which it occurs. `status` is the name of a gRPC status code."""

    def __init__(self, message: str, *, status: str = "INVALID_ARGUMENT") -> None:
        super().__init__(message)
        self.status = status


class MalformedRequestError(ProtocolError):
    """A request cannot be decoded."""


class MissingNodeError(ProtocolError):
    """The first request of a stream has no node."""


class ListenError(XdsError):
    """The server cannot listen on an address; the message names it."""
