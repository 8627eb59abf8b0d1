"""An authority for tests, and the certificates of servers in files, as fronts have them."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from scopeway.control_plane.identity.authority import AuthorityFolder, Step
from scopeway.control_plane.identity.certificates import key_pem
from scopeway.control_plane.identity.files import (
    AUTHORITIES,
    CERTIFICATE,
    KEY,
    PRIVATE,
    replace_file,
)
from scopeway.control_plane.translator.node_identity import SiteIdentity

DAY = timedelta(days=1)


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


class Sites:
    """An authority of sites, and their certificates; made as they are asked for."""

    def __init__(self, folder: Path, trust_domain: str = "fleet.test") -> None:
        self.trust_domain = trust_domain
        self.folder = folder
        self._authority = AuthorityFolder.create(folder, trust_domain, now=_now(), lifetime=DAY)

    def identity(self, cloud: str) -> SiteIdentity:
        """Return the files of a site's Envoy."""
        holder = self._authority.holder(cloud)
        if not holder.has_certificate:
            self._authority.issue(holder, now=_now(), lifetime=DAY)
        certificate, key, authorities = (
            str(holder.folder / name) for name in (CERTIFICATE, KEY, AUTHORITIES)
        )
        return SiteIdentity(certificate=certificate, key=key, authorities=authorities)

    def renew(self) -> None:
        """Give every site a new certificate and key."""
        for holder in self._authority.holders():
            self._authority.renew(holder, force=True, now=_now(), lifetime=None)

    def rotate(self) -> Step:
        """Do the next of the three steps of the authority's rotation."""
        return self._authority.rotate(now=_now(), lifetime=DAY)

    def serial(self, cloud: str) -> int:
        """Return the number of a site's certificate."""
        return self._authority.holder(cloud).certificate().serial_number

    def trusted(self, cloud: str) -> set[int]:
        """Return the numbers of the authorities that a site is told to trust."""
        file = self._authority.holder(cloud).folder / AUTHORITIES
        found = x509.load_pem_x509_certificates(file.read_bytes())
        return {each.serial_number for each in found}

    def break_key(self, cloud: str) -> None:
        """Put another key beside a site's certificate."""
        other = ec.generate_private_key(ec.SECP256R1())
        replace_file(self._authority.holder(cloud).folder / KEY, key_pem(other), PRIVATE)

    def let_expire(self, cloud: str) -> None:
        """Give a site a certificate that ended an hour ago."""
        start = _now() - DAY - timedelta(hours=1)
        self._authority.issue(self._authority.holder(cloud), now=start, lifetime=DAY)

    def client(self, cloud: str | None) -> ssl.SSLContext:
        """Return the context of a client with a site's certificate; None: with none at all.

        It believes any server, so that what the server does is under test.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        if cloud is not None:
            identity = self.identity(cloud)
            context.load_cert_chain(identity.certificate, identity.key)
        return context


def _now() -> datetime:
    return datetime.now(UTC)


def _replace(file: Path, content: bytes) -> None:
    new = file.with_name(f".{file.name}.new")
    new.write_bytes(content)
    new.rename(file)  # what Envoy watches for
