"""The script in docs/identities.md that installs the files that spiffe-helper writes."""

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent

import pytest

from identity_files import in_folder
from scopeway.control_plane.identity.authority import AuthorityFolder
from scopeway.control_plane.identity.files import Identity, read_identity

DOCUMENT = Path(__file__).parents[3] / "docs" / "identities.md"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The folder of a site, with the script and the folders that the document wants."""
    site = tmp_path / "scopeway"
    for name in ("new", "tls"):
        (site / name).mkdir(parents=True)
    text = DOCUMENT.read_text().partition("<!-- take -->\n\n")[2].partition("\n\n")[0]
    (site / "take").write_text(dedent(text) + "\n")
    (site / "take").chmod(0o755)
    return site


@pytest.fixture
def renew(site: Path, tmp_path: Path) -> Callable[[], Identity]:
    """Write in place, as spiffe-helper does, and run its `cmd`."""
    authority = AuthorityFolder.create(tmp_path / "ca", "edge.example", now=NOW, lifetime=100 * DAY)

    def renewed() -> Identity:
        authority.issue(authority.holder("cloud-1"), now=NOW, lifetime=DAY)
        made = read_identity(in_folder(tmp_path / "ca" / "cloud" / "cloud-1"))
        files = in_folder(site / "new")
        files.certificate.write_bytes(made.certificate)
        files.key.touch(0o600)
        files.key.write_bytes(made.key)
        files.authorities.write_bytes(made.authorities)
        subprocess.run([site / "take"], check=True, cwd="/")
        return made

    return renewed


def test_each_renewal_of_the_script_is_one_rename(
    site: Path, renew: Callable[[], Identity]
) -> None:
    """With the certificate of now and the key of before, an Envoy refuses new clusters."""
    taken = []
    for _ in range(3):
        made = renew()
        taken.append((site / "tls" / "..data").readlink())

        assert read_identity(in_folder(site / "tls")) == made
        for name in ("tls.crt", "tls.key", "ca.crt"):
            assert (site / "tls" / name).readlink() == Path("..data", name)
    assert len(set(taken)) == 3


def test_the_script_keeps_the_key_private_and_removes_old_files(
    site: Path, renew: Callable[[], Identity]
) -> None:
    renew()
    renew()

    assert (site / "tls" / "tls.key").stat().st_mode & 0o777 == 0o600
    assert sum(each.is_dir() and not each.is_symlink() for each in (site / "tls").iterdir()) == 1


def test_an_interrupted_run_of_the_script_does_not_block_the_next(
    site: Path, renew: Callable[[], Identity]
) -> None:
    (site / "tls" / ".next").symlink_to("..gone")

    made = renew()

    assert read_identity(in_folder(site / "tls")) == made
