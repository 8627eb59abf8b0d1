"""Mutual TLS for a server: who the other side of a connection has proven to be.

The caller of `xds.grpc_server.server.serve` owns the certificates, their renewal and what an
identity means.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc.aio


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """How a server speaks TLS, and until when it believes a client's certificate."""

    credentials: Any
    """`grpc.ServerCredentials` that ask for the client's certificate; ask
    `grpc.dynamic_ssl_server_credentials` for those that are renewed without a restart."""
    expires_at: Callable[[bytes], float]
    """From a client's certificate, in PEM, the POSIX time at which its streams end."""
    is_trusted: Callable[[bytes], bool]
    """Whether a certificate that was believed when its connection began, still is. Asked for each
    stream when it begins, and by `Server.recheck`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerIdentity:
    """The client's side of a connection with mutual TLS."""

    certificate: bytes
    """In PEM."""
    identities: tuple[str, ...]
    """The URIs that it bears."""


def peer_identity(context: grpc.aio.ServicerContext[bytes, bytes]) -> PeerIdentity:
    """Return what the client of a call has proven; empty where it has shown no certificate."""
    found: Mapping[str, Sequence[bytes]] = context.auth_context()
    return PeerIdentity(
        certificate=b"".join(found.get("x509_pem_cert", ())),
        identities=tuple(each.decode(errors="replace") for each in found.get("peer_uri", ())),
    )
