"""The files of an identity in a folder, by cert-manager's names."""

from pathlib import Path

from scopeway.control_plane.identity.files import AUTHORITIES, CERTIFICATE, KEY, IdentityFiles


def in_folder(folder: Path) -> IdentityFiles:
    """Return the files of a folder."""
    return IdentityFiles(
        certificate=folder / CERTIFICATE, key=folder / KEY, authorities=folder / AUTHORITIES
    )
