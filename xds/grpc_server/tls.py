"""Mutual TLS for a server: its credentials, and the verified identities of clients.

The caller of `xds.grpc_server.server.serve` owns the certificates and their renewal, and decides
what an identity means.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc.aio


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """The TLS credentials of a server, and how long it trusts a client certificate."""

    credentials: Any
    """`grpc.ServerCredentials` that require a client certificate. Use
    `grpc.dynamic_ssl_server_credentials` to renew the server certificate without a restart."""
    expires_at: Callable[[bytes], float]
    """Returns the POSIX time at which the streams of a client end; gets its certificate in PEM."""
    is_trusted: Callable[[bytes], bool]
    """Returns whether a certificate (PEM) that was trusted when its connection began is still
    trusted. Called when a stream is opened, and by `Server.recheck`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerIdentity:
    """The client of a connection with mutual TLS."""

    certificate: bytes
    """In PEM."""
    identities: tuple[str, ...]
    """The URIs in the certificate."""


def peer_identity(context: grpc.aio.ServicerContext[bytes, bytes]) -> PeerIdentity:
    """Return the verified client of a call; its fields are empty without a client certificate."""
    found: Mapping[str, Sequence[bytes]] = context.auth_context()
    return PeerIdentity(
        certificate=b"".join(found.get("x509_pem_cert", ())),
        identities=tuple(each.decode(errors="replace") for each in found.get("peer_uri", ())),
    )
