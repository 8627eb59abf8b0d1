"""The errors of the library, each with the gRPC status of the stream that it ends.

    XdsError
      ProtocolError(status)     the client broke the protocol, or is not served; ends its stream
        MalformedRequestError   INVALID_ARGUMENT: the bytes are no DeltaDiscoveryRequest
        MissingNodeError        INVALID_ARGUMENT: the first request of a stream names no node
      ListenError               the server cannot listen at its address
      InconsistentSnapshot      a snapshot refers to what is not in it; also a ValueError

A status is a plain name ("INVALID_ARGUMENT"), so that only `xds.grpc_server.server` needs to know
gRPC.
"""

from collections.abc import Sequence

from scopeway.xds.text import shown


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


class InconsistentSnapshot(XdsError, ValueError):
    """A snapshot refers to resources that it does not hold. The cache keeps the previous one."""

    def __init__(self, key: str, problems: Sequence[str]) -> None:
        self.key = key
        """The key of the snapshot."""
        self.problems = tuple(problems)
        """What is missing, a sentence each."""
        listed = "".join(f"\n- {problem}" for problem in self.problems)
        super().__init__(
            f"the snapshot {shown(key)!r} is not consistent (check=False allows that):{listed}"
        )
