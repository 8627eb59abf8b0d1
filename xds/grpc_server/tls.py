"""Mutual TLS over gRPC: the credentials of a server, and the verified identities of clients."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import grpc
import grpc.aio

from scopeway.xds.arguments import described
from scopeway.xds.security import Certificates, Security

_log = logging.getLogger("scopeway.xds")


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


def credentials_of(security: Security) -> Any:
    """Return gRPC's credentials of a server."""
    certificates = security.certificates
    if not callable(certificates):
        check(certificates)
        pair = [(certificates.key, certificates.certificate)]
        return grpc.ssl_server_credentials(pair, certificates.authorities, require_client_auth=True)
    reload = ReloadedCertificates(certificates)
    return grpc.dynamic_ssl_server_credentials(
        _configuration(reload.given), reload.fetch, require_client_authentication=True
    )


async def are_usable(security: Security) -> bool:
    """Return whether gRPC takes the certificates; it does not say why it cannot open a port."""
    server = grpc.aio.server()
    try:
        return bool(server.add_secure_port("localhost:0", credentials_of(security)))
    except RuntimeError:
        return False
    finally:
        await server.stop(None)


def check(found: object) -> None:
    """Let certificates pass of which each is PEM.

    Without authorities, gRPC would ask those of the system.

    Raises:
        TypeError: they are no `Certificates`, or one of them is not bytes.
        ValueError: one of them is not PEM.
    """
    if not isinstance(found, Certificates):
        raise TypeError(
            f"security.certificates must be Certificates, or a function that returns them, not "
            f"{described(found)}"
        )
    for field in fields(found):
        value: object = getattr(found, field.name)
        if not isinstance(value, bytes):
            raise TypeError(
                f"Certificates.{field.name} must be bytes in PEM, not {described(value)}: pass "
                f"what the file holds, such as Path(...).read_bytes()"
            )
        if b"-----BEGIN " not in value:
            raise ValueError(f"Certificates.{field.name} is not PEM: it has no -----BEGIN line")


class ReloadedCertificates:
    """What gRPC is told at each new connection, from threads of its own."""

    def __init__(self, ask: Callable[[], Certificates]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._problem = ""
        self.given = self._ask()
        check(self.given)
        """What gRPC uses."""

    def fetch(self) -> Any:
        """Return what to use for a new connection; None: what gRPC has."""
        with self._lock:
            try:
                found = self._ask()
                check(found)
                configuration = None if found == self.given else _configuration(found)
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
                if problem != self._problem:
                    _log.warning("certificate reload failed, keeping the previous one: %s", problem)
                self._problem = problem
                return None
            self.given, self._problem = found, ""
            return configuration


def _configuration(found: Certificates) -> Any:
    return grpc.ssl_server_certificate_configuration(
        [(found.key, found.certificate)], root_certificates=found.authorities
    )
