"""Reloading of the control plane's own certificate."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from identity_files import in_folder
from scopeway.control_plane.identity.authority import AuthorityFolder
from scopeway.control_plane.identity.certificates import CertificateError
from scopeway.control_plane.identity.files import IdentityFiles
from scopeway.control_plane.runtime.server_tls import ReloadingServerCredentials, ends_at
from scopeway.xds.security import Certificates

DAY = timedelta(days=1)
NOW = datetime.now(UTC)


@pytest.fixture
def authority(tmp_path: Path) -> AuthorityFolder:
    made = AuthorityFolder.create(tmp_path, "edge.example", now=NOW, lifetime=9 * DAY)
    for cloud in (None, "cloud-1"):
        made.issue(made.holder(cloud), now=NOW, lifetime=DAY)
    return made


@pytest.fixture
def files(authority: AuthorityFolder) -> IdentityFiles:
    return in_folder(authority.holder(None).folder)


def of_cloud(authority: AuthorityFolder) -> bytes:
    return in_folder(authority.holder("cloud-1").folder).certificate.read_bytes()


def current(credentials: ReloadingServerCredentials) -> bytes:
    """The certificate that a new connection is shown."""
    certificates = credentials.security().certificates
    assert not isinstance(certificates, Certificates)
    return certificates().certificate


def test_a_new_connection_gets_the_renewed_certificate(
    authority: AuthorityFolder, files: IdentityFiles
) -> None:
    credentials = ReloadingServerCredentials(files, "edge.example")
    first = current(credentials)
    assert first == files.certificate.read_bytes()
    authority.issue(authority.holder(None), now=NOW, lifetime=DAY)

    assert current(credentials) == files.certificate.read_bytes() != first


def test_a_mismatched_certificate_and_key_keep_the_previous_pair_and_are_logged_once(
    authority: AuthorityFolder, files: IdentityFiles, caplog: pytest.LogCaptureFixture
) -> None:
    credentials = ReloadingServerCredentials(files, "edge.example")
    shown = current(credentials)
    authority.issue(authority.holder(None), now=NOW, lifetime=DAY)
    renewed, key = files.certificate.read_bytes(), files.key.read_bytes()
    files.key.write_bytes(b"half")
    for _ in range(3):
        assert not credentials.refresh()
        assert current(credentials) == shown
    (record,) = caplog.records
    files.key.unlink()
    assert current(credentials) == shown
    files.key.write_bytes(key)

    assert "certificate reload failed, keeping the previous one" in record.message
    assert current(credentials) == renewed != shown


def test_only_certificates_of_a_removed_authority_lose_trust(
    authority: AuthorityFolder, files: IdentityFiles
) -> None:
    credentials = ReloadingServerCredentials(files, "edge.example")
    old = of_cloud(authority)
    refreshed = []
    for _ in range(3):
        assert credentials.believes(old)
        authority.rotate(now=NOW, lifetime=9 * DAY)
        refreshed.append(credentials.refresh())

    assert refreshed == [False, False, True]
    assert not credentials.refresh()
    assert not credentials.believes(old)
    assert credentials.believes(of_cloud(authority))


def test_a_removed_authority_noticed_by_a_new_connection_is_reported_to_refresh(
    authority: AuthorityFolder, files: IdentityFiles
) -> None:
    credentials = ReloadingServerCredentials(files, "edge.example")
    for _ in range(3):
        authority.rotate(now=NOW, lifetime=9 * DAY)
        current(credentials)

    assert credentials.refresh()


def test_a_connection_ends_with_its_certificate(authority: AuthorityFolder) -> None:
    assert ends_at(of_cloud(authority)) == pytest.approx((NOW + DAY).timestamp(), abs=1)


@pytest.mark.parametrize("trust_domain", ["other.example", "edge.example"])
def test_a_certificate_with_another_spiffe_id_is_refused(
    authority: AuthorityFolder, files: IdentityFiles, trust_domain: str
) -> None:
    chosen = (
        files if trust_domain == "other.example" else in_folder(authority.holder("cloud-1").folder)
    )
    with pytest.raises(CertificateError, match=f"not spiffe://{trust_domain}/control-plane"):
        ReloadingServerCredentials(chosen, trust_domain)
