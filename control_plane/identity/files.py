"""Reads and writes the files of an identity, with cert-manager's names.

Every write is a rename, because Envoy watches for renames; one rename replaces certificate and key.
Other programs may replace one file after the other. So `read_identity` checks that certificate and
key belong together, and its callers keep the previous identity until they do.
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
"""The link to the folder of the present certificate and key."""

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityFiles:
    """The files of a certificate, its key, and the CA bundle used to verify peers."""

    certificate: Path
    key: Path
    authorities: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The validated contents of the files, in PEM."""

    certificate: bytes
    key: bytes
    authorities: bytes


def read_identity(files: IdentityFiles) -> Identity:
    """Read the files of an identity.

    Raises:
        CertificateError: a file cannot be read or has other contents, or certificate and key do
            not belong together. The latter is temporary while they are being replaced.
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
    """Replace certificate and key in a folder at once; create the folder if it is missing.

    Both are links into a folder that one rename replaces, as in a Kubernetes volume. An Envoy that
    reads the new certificate with the old key would reject every new cluster that uses them.
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
    """Write a file atomically: no reader sees a part of it, or a wider mode."""
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
    """Create or replace a link by a rename."""
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    os.replace(new, link)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CertificateError(f"{file} cannot be read: {error.strerror}") from None
