"""The certificate of the control plane: read at the start, and again when its files change.

Owns what the xDS server shows and trusts at each new connection. If the files are bad or
half-written, the previous certificate stays in use, and the log says so once. The server's threads
call this, too.
"""

import logging
import threading

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from scopeway.control_plane.identity import control_plane_id
from scopeway.control_plane.identity.certificates import (
    CertificateError,
    read_certificates,
    spiffe_names,
)
from scopeway.control_plane.identity.files import Identity, IdentityFiles, read_identity
from scopeway.xds.security import Certificates, Security

_log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""Seconds between two checks of the files; each new connection checks them, too."""

_Stamp = tuple[tuple[int, int, int], ...]


class ReloadingServerCredentials:
    """Credentials for mutual TLS with Envoys, which follow their files."""

    def __init__(self, files: IdentityFiles, trust_domain: str) -> None:
        """Read the files.

        Raises:
            CertificateError: they cannot be used, or are not those of a control plane.
        """
        self._files = files
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._identity = read_identity(files)
        self._gone: frozenset[x509.Certificate] = frozenset()
        """Authorities that were trusted at some time since the start, and are not now."""
        self._removed = False
        _check_name(self._identity, trust_domain, str(files.certificate))

    def security(self) -> Security:
        """Return what an xDS server needs."""
        return Security(certificates=self._fetch, expires_at=ends_at, is_trusted=self.believes)

    def refresh(self) -> bool:
        """Read the files if they have changed.

        Returns:
            Whether an authority has been removed since the last call that returned True. If so, the
            caller must end the streams whose certificate `believes` rejects.
        """
        self._read_again()
        removed, self._removed = self._removed, False
        return removed

    def believes(self, certificate: bytes) -> bool:
        """Return False if an authority that was removed has signed a client's certificate directly.

        Intermediate certificates are not known after the handshake. So a client with one stays
        until its certificate ends.
        """
        leaf = x509.load_pem_x509_certificate(certificate)
        return not any(_has_signed(each, leaf) for each in self._gone)

    def _fetch(self) -> Certificates:
        """Return what to use for a new connection."""
        self._read_again()
        identity = self._identity
        return Certificates(
            certificate=identity.certificate, key=identity.key, authorities=identity.authorities
        )

    def _read_again(self) -> None:
        with self._lock:
            stamp = self._look()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            try:
                identity = read_identity(self._files)
            except CertificateError as error:
                _log.warning("certificate reload failed, keeping the previous one: %s", error)
                return
            before, now = _authorities(self._identity), _authorities(identity)
            self._gone = (self._gone | before) - now
            self._removed = self._removed or not before <= now
            self._identity = identity
            _log.info(
                "certificate %s reloaded, valid until %s", self._files.certificate, _end(identity)
            )

    def _look(self) -> _Stamp:
        """Return inode, time and size of each file; zeros for a missing one."""
        stamps = []
        for file in (self._files.certificate, self._files.key, self._files.authorities):
            try:
                found = file.stat()
                stamps.append((found.st_ino, found.st_mtime_ns, found.st_size))
            except OSError:
                stamps.append((0, 0, 0))
        return tuple(stamps)


def ends_at(certificate: bytes) -> float:
    """Return the POSIX time at which a certificate ends."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()


def _check_name(identity: Identity, trust_domain: str, place: str) -> None:
    names = spiffe_names(read_certificates(identity.certificate, place)[0])
    if names != (control_plane_id(trust_domain),):
        raise CertificateError(
            f"{place} bears {', '.join(names) or 'no URI'}, not {control_plane_id(trust_domain)}: "
            f"Envoys would reject it (--trust-domain)"
        )


def _authorities(identity: Identity) -> frozenset[x509.Certificate]:
    return frozenset(read_certificates(identity.authorities, "the authorities"))


def _has_signed(authority: x509.Certificate, leaf: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _end(identity: Identity) -> str:
    end = read_certificates(identity.certificate, "the certificate")[0].not_valid_after_utc
    return f"{end:%Y-%m-%d %H:%M} UTC"
