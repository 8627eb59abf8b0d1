"""The files of an identity, by cert-manager's names, and how they are written and read.

Owns the layout of one folder. Every file is replaced by a rename, which is what Envoy watches for.
The three are not replaced at once: whoever reads them checks that certificate and key belong
together, and keeps what it has until they do (`read_identity`).
"""

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from control_plane.identity.certificates import (
    CertificateError,
    Issued,
    belong_together,
    read_certificates,
    read_key,
)

CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
AUTHORITIES: Final = "ca.crt"

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


def in_folder(folder: Path) -> IdentityFiles:
    """Return the files of a folder by cert-manager's names."""
    return IdentityFiles(
        certificate=folder / CERTIFICATE, key=folder / KEY, authorities=folder / AUTHORITIES
    )


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
    if not belong_together(leaf, read_key(key, str(files.key))):
        raise CertificateError(f"{files.key} is not the key of {files.certificate}")
    return Identity(certificate=certificate, key=key, authorities=authorities)


def write_issued(folder: Path, issued: Issued) -> None:
    """Replace certificate and key in a folder, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / KEY, issued.key, PRIVATE)
    replace_file(folder / CERTIFICATE, issued.certificate, PUBLIC)


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


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CertificateError(f"{file} cannot be read: {error.strerror}") from None
