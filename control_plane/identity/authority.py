"""A small certificate authority, and the certificates that it has issued, in one folder.

    authority/current.pem         certificate and key of what signs now (mode 0600)
    authority/next.pem            between the first and the second step of a rotation
    authority/previous.crt        between the second and the third
    cloud/<name>/                 tls.crt, tls.key, ca.crt of a site
    control-plane/                the same for control planes

The folder of an identity is the path of its SPIFFE id. Every `ca.crt` holds all authorities that
are trusted at that time. A rotation has three steps: trust the next authority too, sign with it,
stop trusting the previous one. After each step, the operator copies the files to where they are
used.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from scopeway.control_plane.identity import certificates, files
from scopeway.control_plane.identity.certificates import Authority, CertificateError
from scopeway.control_plane.identity.names import CLOUD, CONTROL_PLANE


class Step(Enum):
    """The step that a rotation has done."""

    TRUSTED = "the next authority is trusted beside the current one"
    SIGNS = "the next authority is the current one now, and has signed all certificates anew"
    FORGOTTEN = "the previous authority is trusted no longer"

    @property
    def number(self) -> int:
        """1, 2 or 3."""
        return list(Step).index(self) + 1

    @property
    def next_step(self) -> str:
        """What to do after the files are where they are used."""
        return "" if self is Step.FORGOTTEN else ", then rotate again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The owner of a certificate: a cloud, or the control planes."""

    cloud: str | None
    """None for the control planes."""
    folder: Path

    @property
    def name(self) -> str:
        """The last part of the SPIFFE id."""
        return self.cloud or CONTROL_PLANE

    @property
    def has_certificate(self) -> bool:
        """Whether a certificate was issued."""
        return (self.folder / files.CERTIFICATE).exists()

    def certificate(self) -> x509.Certificate:
        """Read the certificate.

        Raises:
            CertificateError: the certificate cannot be read.
        """
        place = self.folder / files.CERTIFICATE
        try:
            return certificates.read_certificates(place.read_bytes(), str(place))[0]
        except OSError as error:
            raise CertificateError(f"{place} cannot be read: {error.strerror}") from None


class AuthorityFolder:
    """The authority of one trust domain; methods may raise CertificateError and OSError."""

    def __init__(self, root: Path) -> None:
        """Open a folder that `create` has made."""
        self._root = root
        self._current = root / "authority" / "current.pem"
        self._next = root / "authority" / "next.pem"
        self._previous = root / "authority" / "previous.crt"
        if not self._current.exists():
            raise CertificateError(
                f"{root} contains no authority; create one: scopeway ca init --dir {root}"
            )
        self.authority = _read_authority(self._current)
        """The authority that signs now."""

    @staticmethod
    def create(
        root: Path, trust_domain: str, *, now: datetime, lifetime: timedelta
    ) -> "AuthorityFolder":
        """Create the authority of a trust domain.

        Raises:
            CertificateError: the folder holds one already.
        """
        file = root / "authority" / "current.pem"
        if file.exists():
            raise CertificateError(f"{root} already contains an authority: {file}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.parent.chmod(0o700)
        _write_authority(
            file, certificates.make_authority(trust_domain, now=now, lifetime=lifetime)
        )
        return AuthorityFolder(root)

    def trusted(self) -> bytes:
        """Return the PEM bundle of all authorities that are trusted now."""
        found = [self.authority.certificate]
        if self._next.exists():
            found.append(_read_authority(self._next).certificate)
        if self._previous.exists():
            previous = self._previous.read_bytes()
            found += certificates.read_certificates(previous, str(self._previous))
        return certificates.bundle(found)

    def holder(self, cloud: str | None) -> Holder:
        """Return the holder for a cloud, or for the control planes (None)."""
        parts = (CONTROL_PLANE,) if cloud is None else (CLOUD, cloud)
        return Holder(cloud=cloud, folder=self._root.joinpath(*parts))

    def holders(self) -> Iterator[Holder]:
        """Yield all holders with a certificate, the control planes first."""
        clouds = sorted((self._root / CLOUD).glob(f"*/{files.CERTIFICATE}"))
        for holder in (self.holder(None), *(self.holder(each.parent.name) for each in clouds)):
            if holder.has_certificate:
                yield holder

    def is_due(self, *, now: datetime) -> bool:
        """Return whether it is time to rotate."""
        return certificates.is_due(self.authority.certificate, now=now)

    def issue(
        self, holder: Holder, *, addresses: Sequence[str] = (), now: datetime, lifetime: timedelta
    ) -> x509.Certificate:
        """Replace key and certificate by new ones; return the certificate."""
        issued = certificates.issue(
            self.authority, holder.cloud, addresses=addresses, now=now, lifetime=lifetime
        )
        files.write_issued(holder.folder, issued)
        self._write_trusted(holder)
        return holder.certificate()

    def renew(
        self, holder: Holder, *, force: bool = False, now: datetime, lifetime: timedelta | None
    ) -> x509.Certificate | None:
        """Renew a certificate that is due, with the same addresses; return None if it is not due.

        A certificate is due after two thirds of its lifetime, or if another authority signed it.

        Args:
            holder: The owner of the certificate.
            force: Renew even if it is not due.
            now: The time.
            lifetime: The new lifetime; None for the one it had.

        Raises:
            CertificateError: the holder has no certificate that can be read.
        """
        if not holder.has_certificate:
            raise CertificateError(f"{holder.name} has no certificate to renew in {holder.folder}")
        old = holder.certificate()
        self._write_trusted(holder)
        if not (force or self._is_foreign(old) or certificates.is_due(old, now=now)):
            return None
        return self.issue(
            holder,
            addresses=certificates.addresses_of(old),
            now=now,
            lifetime=lifetime or certificates.lifetime_of(old),
        )

    def rotate(self, *, now: datetime, lifetime: timedelta) -> Step:
        """Do the next of the three steps of a rotation.

        Raises:
            CertificateError: a certificate cannot be read, or the third step would lock its holder
                out. Then nothing has changed.
        """
        held = {holder: holder.certificate() for holder in self.holders()}
        if self._next.exists():
            files.replace_file(self._previous, self.authority.pem, files.PUBLIC)
            self._next.replace(self._current)
            self.authority = _read_authority(self._current)
            for holder in held:
                self.renew(holder, now=now, lifetime=None)
            return Step.SIGNS
        if self._previous.exists():
            for holder, certificate in held.items():  # if the second step was interrupted
                if self._is_foreign(certificate):
                    raise CertificateError(
                        f"{holder.name} has a certificate of the previous authority: renew it first"
                    )
            self._previous.unlink()
            self._write_all_trusted()
            return Step.FORGOTTEN
        trust_domain = self.authority.trust_domain
        _write_authority(
            self._next, certificates.make_authority(trust_domain, now=now, lifetime=lifetime)
        )
        self._write_all_trusted()
        return Step.TRUSTED

    def _is_foreign(self, certificate: x509.Certificate) -> bool:
        return certificate.issuer != self.authority.certificate.subject

    def _write_all_trusted(self) -> None:
        for holder in self.holders():
            self._write_trusted(holder)

    def _write_trusted(self, holder: Holder) -> None:
        file, trusted = holder.folder / files.AUTHORITIES, self.trusted()
        if not file.exists() or file.read_bytes() != trusted:
            files.replace_file(file, trusted, files.PUBLIC)


def _write_authority(file: Path, authority: Authority) -> None:
    content = certificates.key_pem(authority.key) + authority.pem
    files.replace_file(file, content, files.PRIVATE)


def _read_authority(file: Path) -> Authority:
    content = file.read_bytes()
    (certificate,) = certificates.read_certificates(content, str(file))
    key = certificates.read_key(content, str(file))
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"{file} holds a key that is not of an elliptic curve")
    if not certificates.is_key_of(certificate, key):
        raise CertificateError(f"{file} holds a certificate and the key of another one")
    return Authority(certificate=certificate, key=key)
