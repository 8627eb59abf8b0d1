"""Mutual TLS for a server: what it shows, whom it trusts, and until when it believes a client.

The caller of `serve` owns the certificates, their renewal and what an identity means.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """What a server needs for mutual TLS, each in PEM."""

    certificate: bytes
    """The server's certificate, and behind it those between it and its authority."""
    key: bytes
    """The private key of the certificate."""
    authorities: bytes
    """The CA bundle that verifies the client's certificate."""


def never(certificate: bytes) -> float:
    """Return when the streams of a certificate end: never."""
    return math.inf


def always(certificate: bytes) -> bool:
    """Return whether a certificate is still trusted: it is."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """How a server speaks TLS. A client without a certificate of the authorities is refused."""

    certificates: Certificates | Callable[[], Certificates]
    """What the server shows and trusts. A function is called at each new connection, from a thread
    of its own, and when the server starts: it may read files, so that a renewed certificate is used
    without a restart. If it raises later, the certificates before stay, and the log says so once
    for each error."""
    expires_at: Callable[[bytes], float] = never
    """From a client's certificate, in PEM, the POSIX time at which its streams end. By default they
    last as long as its connection."""
    is_trusted: Callable[[bytes], bool] = always
    """Whether a client's certificate, in PEM, that was verified when its connection began, is still
    trusted. Asked for each stream when it begins, and by `Server.recheck`."""
