"""The files of an identity, by cert-manager's names, and how they are written and read.

Owns the layout of one folder. Everything is replaced by a rename, which is what Envoy watches for;
certificate and key by one. Others may write them one after the other: whoever reads them checks
that they belong together, and keeps what it has until they do (`read_identity`).
"""

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scopeway.control_plane.identity.certificates import (
    CertificateError,
    Issued,
    is_key_of,
    read_certificates,
    read_key,
)

CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
AUTHORITIES: Final = "ca.crt"
_PAIR: Final = "..data"
"""The link to the folder of certificate and key that count."""

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityFiles:
    """Where a program finds who it is, and whom to trust."""

    certificate: Path
    key: Path
    authorities: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the files hold, checked; all in PEM."""

    certificate: bytes
    key: bytes
    authorities: bytes


def read_identity(files: IdentityFiles) -> Identity:
    """Read the files of an identity.

    Raises:
        CertificateError: one cannot be read or holds something else, or certificate and key do
            not belong together (which passes, where they are just being replaced).
    """
    certificate, key, authorities = (
        _read(file) for file in (files.certificate, files.key, files.authorities)
    )
    leaf = read_certificates(certificate, str(files.certificate))[0]
    read_certificates(authorities, str(files.authorities))
    if not is_key_of(leaf, read_key(key, str(files.key))):
        raise CertificateError(f"{files.key} is not the key of {files.certificate}")
    return Identity(certificate=certificate, key=key, authorities=authorities)


def write_issued(folder: Path, issued: Issued) -> None:
    """Replace certificate and key in a folder at once; the folder is made where it is missing.

    Both are links into a folder that one rename replaces, as in a volume of Kubernetes. An Envoy
    that read the one of now with the other of before would refuse every new cluster with them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pair = Path(tempfile.mkdtemp(dir=folder, prefix=".."))
    pair.chmod(0o755)
    replace_file(pair / KEY, issued.key, PRIVATE)
    replace_file(pair / CERTIFICATE, issued.certificate, PUBLIC)
    current = folder / _PAIR
    before = current.readlink().name if current.is_symlink() else None
    _link(current, pair.name)
    for name in (CERTIFICATE, KEY):
        if not (folder / name).is_symlink():
            _link(folder / name, f"{_PAIR}/{name}")
    if before is not None:
        shutil.rmtree(folder / before, ignore_errors=True)


def replace_file(file: Path, content: bytes, mode: int) -> None:
    """Write a file whole or not at all; nobody sees a part of it, or a wider mode."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # of mode 0600
    try:
        with open(handle, "wb") as temporary:
            temporary.write(content)
            os.fchmod(temporary.fileno(), mode)
            temporary.flush()
            os.fsync(temporary.fileno())
        os.replace(name, file)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def _link(link: Path, target: str) -> None:
    """Make a link, in the place of whatever has its name, by a rename."""
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    os.replace(new, link)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CertificateError(f"{file} cannot be read: {error.strerror}") from None
