"""Certificates, as the verifier of the cryptography package judges them."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from scopeway.control_plane.identity import certificates
from scopeway.control_plane.identity.certificates import Authority, CertificateError, Issued

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return certificates.make_authority("edge.example", now=NOW, lifetime=100 * DAY)


def leaf(issued: Issued) -> x509.Certificate:
    (certificate,) = certificates.read_certificates(issued.certificate, "here")
    return certificate


def verify(issued: Issued, authority: Authority, at: datetime) -> None:
    store = Store([authority.certificate])
    PolicyBuilder().store(store).time(at).build_client_verifier().verify(leaf(issued), [])


def test_a_cloud_certificate_has_its_name_only_and_serves_as_server_and_client(
    authority: Authority,
) -> None:
    issued = certificates.issue(authority, "cloud-1", now=NOW, lifetime=DAY)
    usage = leaf(issued).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value

    assert certificates.spiffe_names(leaf(issued)) == ("spiffe://edge.example/cloud/cloud-1",)
    assert certificates.addresses_of(leaf(issued)) == ()
    assert {each._name for each in usage} == {"serverAuth", "clientAuth"}
    verify(issued, authority, NOW)


def test_a_control_plane_certificate_can_have_addresses(authority: Authority) -> None:
    addresses = ("cp.example", "127.0.0.1", "::1")
    issued = certificates.issue(authority, None, addresses=addresses, now=NOW, lifetime=DAY)

    assert certificates.spiffe_names(leaf(issued)) == ("spiffe://edge.example/control-plane",)
    assert certificates.addresses_of(leaf(issued)) == addresses


def test_keys_are_p256_and_never_reused(authority: Authority) -> None:
    pair = [certificates.issue(authority, "cloud-1", now=NOW, lifetime=DAY) for _ in range(2)]
    keys = [certificates.read_key(each.key, "here") for each in pair]

    assert all(isinstance(each.public_key(), ec.EllipticCurvePublicKey) for each in keys)
    assert {each.key_size for each in keys} == {256}
    assert certificates.is_key_of(leaf(pair[0]), keys[0])
    assert not certificates.is_key_of(leaf(pair[0]), keys[1])


def test_a_certificate_is_valid_from_just_before_now_until_its_end(authority: Authority) -> None:
    issued = certificates.issue(authority, "cloud-1", now=NOW, lifetime=DAY)

    verify(issued, authority, NOW + DAY)
    for outside in (NOW + DAY + timedelta(seconds=1), NOW - timedelta(minutes=6)):
        with pytest.raises(VerificationError):
            verify(issued, authority, outside)


def test_a_certificate_does_not_outlive_its_authority(authority: Authority) -> None:
    issued = certificates.issue(authority, "a", now=NOW + 99 * DAY, lifetime=30 * DAY)

    assert leaf(issued).not_valid_after_utc == NOW + 100 * DAY
    with pytest.raises(CertificateError, match="the authority has ended on 2030-04-11"):
        certificates.issue(authority, "a", now=NOW + 100 * DAY, lifetime=DAY)


def test_a_certificate_of_another_authority_of_the_same_domain_is_not_trusted(
    authority: Authority,
) -> None:
    other = certificates.make_authority("edge.example", now=NOW, lifetime=DAY)
    issued = certificates.issue(other, "cloud-1", now=NOW, lifetime=DAY)

    assert other.certificate.subject != authority.certificate.subject
    with pytest.raises(VerificationError):
        verify(issued, authority, NOW)


def test_a_leaf_certificate_cannot_sign(authority: Authority) -> None:
    issued = certificates.issue(authority, "cloud-1", now=NOW, lifetime=DAY)
    key = certificates.read_key(issued.key, "here")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    forger = Authority(certificate=leaf(issued), key=key)
    name = x509.UniformResourceIdentifier("spiffe://edge.example/cloud/cloud-2")
    forged = (
        certificates._builder(leaf(issued).subject, forger.certificate.subject, key, NOW, NOW + DAY)
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(certificates._BOTH_SIDES), critical=False)
        .add_extension(certificates._issuer(forger), critical=False)
        .sign(key, certificates.SHA256())
    )
    verifier = PolicyBuilder().store(Store([authority.certificate])).time(NOW)

    with pytest.raises(VerificationError):
        verifier.build_client_verifier().verify(forged, [leaf(issued)])


@pytest.mark.parametrize(("age", "due"), [(0, False), (19, False), (20, True), (31, True)])
def test_a_certificate_is_due_after_two_thirds_of_its_lifetime(
    authority: Authority, age: int, due: bool
) -> None:
    issued = certificates.issue(authority, "cloud-1", now=NOW, lifetime=30 * DAY)

    assert certificates.is_due(leaf(issued), now=NOW + age * DAY) is due
    assert certificates.lifetime_of(leaf(issued)) == 30 * DAY


def test_an_unreadable_certificate_or_key_is_named() -> None:
    with pytest.raises(CertificateError, match=r"ca\.crt holds no certificate in PEM"):
        certificates.read_certificates(b"potato", "ca.crt")
    with pytest.raises(CertificateError, match=r"tls\.key holds no key in PEM"):
        certificates.read_key(b"potato", "tls.key")
