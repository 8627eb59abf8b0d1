"""Makes, reads and compares the X.509 certificates of the fleet. No files and no clock.

Keys are EC P-256. An authority signs leaf certificates only. A leaf has one SPIFFE id, and is valid
for both sides of a connection. Invariant: a certificate never outlives its authority.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from scopeway.control_plane.errors import ControlPlaneError
from scopeway.control_plane.identity.names import CONTROL_PLANE, control_plane_id, spiffe_id

CLOCK_SKEW = timedelta(minutes=5)
"""A certificate is valid from so long before its creation, because the clocks of sites differ."""
COMMON_NAME = 64
"""The most characters of a common name in X.509."""
_BOTH_SIDES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


class CertificateError(ControlPlaneError):
    """A certificate or key that cannot be used; the text has the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate with its key, in PEM."""

    certificate: bytes
    """The leaf only: authorities are roots, so there is no chain."""
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate authority: a root certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def trust_domain(self) -> str:
        """The trust domain of all SPIFFE ids that it signs."""
        (name,) = spiffe_names(self.certificate)
        return name.removeprefix("spiffe://")

    @property
    def pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(Encoding.PEM)


def make_authority(trust_domain: str, *, now: datetime, lifetime: timedelta) -> Authority:
    """Make a new root certificate of a trust domain."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Scopeway {trust_domain}", key_id=secrets.token_hex(4))
    builder = (
        _builder(name, name, key, now, now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        # SPIFFE: a signing certificate has the trust domain without a path
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]
            ),
            critical=False,
        )
    )
    return Authority(certificate=builder.sign(key, SHA256()), key=key)


def issue(
    authority: Authority,
    cloud: str | None,
    *,
    addresses: Sequence[str] = (),
    now: datetime,
    lifetime: timedelta,
) -> Issued:
    """Make a key and a certificate.

    Args:
        authority: The signer.
        cloud: The cloud of the site; None for control planes.
        addresses: DNS names and IP addresses, for clients that verify them; Envoy does not.
        now: The start of validity, minus `CLOCK_SKEW`.
        lifetime: The lifetime, cut to the end of the authority.

    Raises:
        CertificateError: the authority has expired.
    """
    domain, root = authority.trust_domain, authority.certificate
    spiffe = control_plane_id(domain) if cloud is None else spiffe_id(domain, cloud)
    end = min(now + lifetime, root.not_valid_after_utc)
    if end <= now:
        raise CertificateError(f"the authority has ended on {root.not_valid_after_utc:%Y-%m-%d}")
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.UniformResourceIdentifier(spiffe), *map(_address, addresses)]
    certificate = (
        _builder(_name(cloud or CONTROL_PLANE), root.subject, key, now, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_BOTH_SIDES), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(_issuer(authority), critical=False)
        .sign(authority.key, SHA256())
    )
    return Issued(certificate=certificate.public_bytes(Encoding.PEM), key=key_pem(key))


def addresses_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the DNS names and IP addresses of a certificate."""
    names = _alternative_names(certificate)
    return (
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    )


def spiffe_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the URIs of a certificate; a valid SPIFFE certificate has exactly one."""
    return tuple(
        _alternative_names(certificate).get_values_for_type(x509.UniformResourceIdentifier)
    )


def is_due(certificate: x509.Certificate, *, now: datetime) -> bool:
    """Return whether a certificate should be renewed: two thirds of its lifetime are over."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now >= start + (end - start) * 2 / 3


def lifetime_of(certificate: x509.Certificate) -> timedelta:
    """Return the lifetime that a certificate was issued for."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return end - start - CLOCK_SKEW


def read_certificates(pem: bytes, place: str) -> list[x509.Certificate]:
    """Return the certificates of a PEM file, at least one.

    Raises:
        CertificateError: there is no certificate, or one cannot be read.
    """
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise CertificateError(f"{place} holds no certificate in PEM") from None


def read_key(pem: bytes, place: str) -> PrivateKeyTypes:
    """Return the key of a PEM file.

    Raises:
        CertificateError: there is no key that can be read without a password.
    """
    try:
        return load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        raise CertificateError(f"{place} holds no key in PEM, or one with a password") from None


def is_key_of(certificate: x509.Certificate, key: PrivateKeyTypes) -> bool:
    """Return whether a key belongs to a certificate."""
    ours, its = key.public_key(), certificate.public_key()
    return _public_bytes(ours) == _public_bytes(its)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a key in PEM, without a password."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def bundle(certificates: Iterable[x509.Certificate]) -> bytes:
    """Return certificates in PEM, in order, each once."""
    return b"".join(dict.fromkeys(each.public_bytes(Encoding.PEM) for each in certificates))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common_name: str, key_id: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name[:COMMON_NAME])]
    if key_id:  # distinguishes the authorities of one trust domain
        parts.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, key_id))
    return x509.Name(parts)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _issuer(authority: Authority) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())


def _address(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])
    return found.value


def _public_bytes(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]
