"""An authority in a folder: the files that it writes, and the steps of a rotation."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from identity_files import in_folder
from scopeway.control_plane.identity import certificates
from scopeway.control_plane.identity.authority import AuthorityFolder, Step
from scopeway.control_plane.identity.certificates import CertificateError
from scopeway.control_plane.identity.files import read_identity, replace_file

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MONTH = 30 * DAY


@pytest.fixture
def folder(tmp_path: Path) -> AuthorityFolder:
    return AuthorityFolder.create(tmp_path, "edge.example", now=NOW, lifetime=1000 * DAY)


def trusts(holder: Path, certificate: x509.Certificate) -> bool:
    """Whether who has this folder lets the bearer of a certificate in."""
    roots = x509.load_pem_x509_certificates((holder / "ca.crt").read_bytes())
    verifier = PolicyBuilder().store(Store(roots)).time(NOW + DAY).build_client_verifier()
    try:
        verifier.verify(certificate, [])
    except VerificationError:
        return False
    return True


def test_a_site_gets_files_named_as_by_cert_manager_and_its_key_is_private(
    folder: AuthorityFolder, tmp_path: Path
) -> None:
    folder.issue(folder.holder("cloud-1"), now=NOW, lifetime=MONTH)
    site = tmp_path / "cloud" / "cloud-1"

    shown = sorted(each.name for each in site.iterdir() if not each.name.startswith(".."))
    assert shown == ["ca.crt", "tls.crt", "tls.key"]
    assert (site / "tls.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "authority").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "authority" / "current.pem").stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in (site / "ca.crt").read_bytes() + (site / "tls.crt").read_bytes()
    read_identity(in_folder(site))


def test_certificate_and_key_are_replaced_by_one_rename(
    folder: AuthorityFolder, tmp_path: Path
) -> None:
    """With one of now and one of before, an Envoy refuses every cluster that it gets meanwhile."""
    holder = folder.holder("cloud-1")
    site = tmp_path / "cloud" / "cloud-1"
    pairs = []
    for _ in range(3):
        folder.issue(holder, now=NOW, lifetime=MONTH)
        pairs.append((site / "..data").readlink().name)

        assert (site / "tls.crt").readlink() == Path("..data/tls.crt")
        assert (site / "tls.key").readlink() == Path("..data/tls.key")
        hidden = {each.name for each in site.iterdir() if each.name.startswith("..")}
        assert hidden == {"..data", pairs[-1]}
        read_identity(in_folder(site))

    assert len(set(pairs)) == 3


def test_replacing_plain_files_turns_them_into_links(
    folder: AuthorityFolder, tmp_path: Path
) -> None:
    holder = folder.holder("cloud-1")
    site = tmp_path / "cloud" / "cloud-1"
    site.mkdir(parents=True)
    for name in ("tls.crt", "tls.key"):
        (site / name).write_text("of before")

    folder.issue(holder, now=NOW, lifetime=MONTH)

    assert (site / "tls.crt").is_symlink()
    assert (site / "tls.key").is_symlink()
    read_identity(in_folder(site))


def test_a_cloud_can_be_named_like_the_folders_of_the_authority(folder: AuthorityFolder) -> None:
    for cloud in (None, "control-plane", "authority", "cloud"):
        folder.issue(folder.holder(cloud), now=NOW, lifetime=MONTH)
    names = {certificates.spiffe_names(each.certificate())[0] for each in folder.holders()}

    assert names == {
        "spiffe://edge.example/control-plane",
        "spiffe://edge.example/cloud/control-plane",
        "spiffe://edge.example/cloud/authority",
        "spiffe://edge.example/cloud/cloud",
    }


def test_an_authority_is_not_overwritten(folder: AuthorityFolder, tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="already contains an authority"):
        AuthorityFolder.create(tmp_path, "edge.example", now=NOW, lifetime=DAY)
    with pytest.raises(
        CertificateError, match="contains no authority; create one: scopeway ca init"
    ):
        AuthorityFolder(tmp_path / "elsewhere")
    assert AuthorityFolder(tmp_path).authority.trust_domain == "edge.example"


def test_renew_replaces_only_due_certificates_and_keeps_names_and_lifetime(
    folder: AuthorityFolder,
) -> None:
    holder = folder.holder(None)
    first = folder.issue(holder, addresses=["cp.example"], now=NOW, lifetime=MONTH)

    assert folder.renew(holder, now=NOW + 19 * DAY, lifetime=None) is None
    assert folder.renew(holder, force=True, now=NOW, lifetime=None) is not None
    second = folder.renew(holder, now=NOW + 21 * DAY, lifetime=None)
    assert second is not None
    assert second.public_key() != first.public_key()
    assert certificates.addresses_of(second) == ("cp.example",)
    assert second.not_valid_after_utc == NOW + 51 * DAY


def test_old_and_new_files_trust_each_other_at_each_step_of_a_rotation(
    folder: AuthorityFolder, tmp_path: Path
) -> None:
    """Before each step some have the new files and some the old ones; all get on with all."""
    holders = [folder.holder("a"), folder.holder("b")]
    for each in holders:
        folder.issue(each, now=NOW, lifetime=MONTH)
    steps = []
    for _ in Step:
        before = [each.certificate() for each in holders]
        roots = (holders[0].folder / "ca.crt").read_bytes()
        behind = tmp_path / f"behind-{len(steps)}"
        behind.mkdir()
        (behind / "ca.crt").write_bytes(roots)
        steps.append(folder.rotate(now=NOW + DAY, lifetime=2000 * DAY))
        after = [each.certificate() for each in holders]

        for certificate in [*before, *after]:
            if steps[-1] is not Step.FORGOTTEN or certificate in after:
                assert trusts(holders[0].folder, certificate)
        for certificate in [*before, *after]:
            assert trusts(behind, certificate)

    assert steps == list(Step)
    assert folder.authority.certificate.not_valid_after_utc == NOW + 2001 * DAY


def test_a_rotation_ends_the_trust_in_the_previous_authority(folder: AuthorityFolder) -> None:
    holder = folder.holder("a")
    old = folder.issue(holder, now=NOW, lifetime=MONTH)
    for _ in Step:
        folder.rotate(now=NOW + DAY, lifetime=1000 * DAY)

    assert not trusts(holder.folder, old)
    assert trusts(holder.folder, holder.certificate())


def test_an_interrupted_rotation_resumes(folder: AuthorityFolder, tmp_path: Path) -> None:
    """The new authority was put in its place, and then the power failed: nothing renewed yet."""
    holder = folder.holder("a")
    folder.issue(holder, now=NOW, lifetime=MONTH)
    folder.rotate(now=NOW, lifetime=1000 * DAY)
    place = tmp_path / "authority"
    (place / "previous.crt").write_bytes(folder.authority.pem)
    (place / "next.pem").rename(place / "current.pem")
    again = AuthorityFolder(tmp_path)

    with pytest.raises(CertificateError, match="a has a certificate of the previous authority"):
        again.rotate(now=NOW, lifetime=1000 * DAY)
    assert again.renew(holder, now=NOW, lifetime=None) is not None
    assert holder.certificate().issuer == again.authority.certificate.subject
    assert again.rotate(now=NOW, lifetime=1000 * DAY) is Step.FORGOTTEN


def test_a_rotation_does_nothing_while_a_certificate_cannot_be_read(
    folder: AuthorityFolder, tmp_path: Path
) -> None:
    """A second step that broke off at it would have the third cut off all that came behind it."""
    for name in ("a", "b", "c"):
        folder.issue(folder.holder(name), now=NOW, lifetime=MONTH)
    folder.rotate(now=NOW, lifetime=1000 * DAY)
    (tmp_path / "cloud" / "b" / "tls.crt").write_bytes(b"")

    for _ in range(2):
        with pytest.raises(CertificateError, match=r"b/tls.crt holds no certificate in PEM"):
            folder.rotate(now=NOW, lifetime=1000 * DAY)
    assert (tmp_path / "authority" / "next.pem").exists()


def test_replacing_a_file_is_all_or_nothing(tmp_path: Path) -> None:
    file = tmp_path / "tls.key"
    replace_file(file, b"old", 0o600)
    with pytest.raises(TypeError):
        replace_file(file, None, 0o600)  # type: ignore[arg-type]

    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_reading_an_identity_during_its_replacement_is_refused(
    folder: AuthorityFolder, tmp_path: Path
) -> None:
    folder.issue(folder.holder("a"), now=NOW, lifetime=MONTH)
    files = in_folder(tmp_path / "cloud" / "a")
    other = certificates.issue(folder.authority, "a", now=NOW, lifetime=MONTH)
    files.key.write_bytes(other.key)

    with pytest.raises(CertificateError, match=r"tls.key is not the key of .*tls.crt"):
        read_identity(files)
    files.authorities.unlink()
    with pytest.raises(CertificateError, match=r"ca.crt cannot be read: No such file"):
        read_identity(files)
