"""An authority for tests, and the certificates of servers in files, as fronts have them."""

import ssl
from pathlib import Path

import trustme


class Authority:
    """Signs certificates, and makes the contexts of clients that trust it."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    def write(self, folder: Path, *names: str) -> dict[str, str]:
        """Put a certificate for these names into a folder, in the place of an older one.

        Returns:
            The `tls` of a manifest's front.
        """
        made = self._ca.issue_cert(*names)
        files = {"certificate": folder / "front.pem", "key": folder / "front.key"}
        chain = b"".join(each.bytes() for each in made.cert_chain_pems)
        _replace(files["certificate"], chain)
        _replace(files["key"], made.private_key_pem.bytes())
        return {field: str(file) for field, file in files.items()}

    def client(self) -> ssl.SSLContext:
        """Return the context of a client that trusts this authority and no other."""
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        return context

    def write_authority(self, file: Path) -> Path:
        """Put the authority's own certificate into a file, for `OS_CACERT`."""
        self._ca.cert_pem.write_to_path(file)
        return file


def _replace(file: Path, content: bytes) -> None:
    new = file.with_name(f".{file.name}.new")
    new.write_bytes(content)
    new.rename(file)  # what Envoy watches for
