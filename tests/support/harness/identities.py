"""Sites and control planes with certificates, from the authority that operators use."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from identity_files import in_folder
from scopeway.control_plane.identity.authority import AuthorityFolder, Step
from scopeway.control_plane.identity.files import IdentityFiles
from scopeway.control_plane.translator.bootstrap import Channel
from scopeway.control_plane.translator.node_identity import SiteIdentity
from scopeway.control_plane.translator.sds_files import sds_files

TRUST_DOMAIN = "tests.example"
LIFETIME = timedelta(days=1)


class Identities:
    """An authority in a folder, and whom it has issued a certificate."""

    def __init__(self, folder: Path) -> None:
        self._sds = folder / "sds"
        self._authority = AuthorityFolder.create(
            folder / "certs", TRUST_DOMAIN, now=datetime.now(UTC), lifetime=10 * LIFETIME
        )
        self.issue(None)

    def issue(self, cloud: str | None) -> IdentityFiles:
        """Give a new key and certificate to a cloud; None: to the control planes."""
        holder = self._authority.holder(cloud)
        addresses = ["localhost"] if cloud is None else []
        self._authority.issue(holder, addresses=addresses, now=datetime.now(UTC), lifetime=LIFETIME)
        return in_folder(holder.folder)

    def of(self, cloud: str | None) -> IdentityFiles:
        """Return the files of a cloud, or of the control planes; made where they are missing."""
        holder = self._authority.holder(cloud)
        return in_folder(holder.folder) if holder.has_certificate else self.issue(cloud)

    def rotate(self) -> Step:
        """Do one step of replacing the authority."""
        return self._authority.rotate(now=datetime.now(UTC), lifetime=10 * LIFETIME)

    def serve_options(self) -> list[str]:
        """Return what makes `scopeway serve` speak mutual TLS."""
        files = self.of(None)
        return [
            *("--tls-cert", str(files.certificate), "--tls-key", str(files.key)),
            *("--tls-ca", str(files.authorities), "--trust-domain", TRUST_DOMAIN),
        ]

    def client(self, cloud: str) -> ssl.SSLContext:
        """Return the context of a client of HTTP/2 with a cloud's certificate.

        It believes any server, so that what the server does is under test.
        """
        files = self.of(cloud)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        context.load_cert_chain(files.certificate, files.key)
        return context

    def channel(self, cloud: str) -> Channel:
        """Return how the Envoy of a cloud reaches its control plane."""
        files = self.of(cloud)
        identity = SiteIdentity(
            certificate=str(files.certificate),
            key=str(files.key),
            authorities=str(files.authorities),
        )
        folder = self._sds / cloud
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in sds_files(identity).items():
            (folder / name).write_text(text)
        return Channel(identity=identity, sds_folder=str(folder), trust_domain=TRUST_DOMAIN)
