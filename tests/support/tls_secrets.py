"""Secrets with certificates, as `scopeway ca` and cert-manager fill them."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from scopeway.control_plane.identity.authority import AuthorityFolder
from scopeway.control_plane.identity.files import AUTHORITIES, CERTIFICATE, KEY

_DAY = timedelta(days=1)


class TlsSecrets:
    """An authority of the trust domain that the manifests have, and Secrets of its certificates."""

    def __init__(self, folder: Path) -> None:
        self._authority = AuthorityFolder.create(
            folder, "scopeway", now=datetime.now(UTC), lifetime=_DAY
        )

    def of_control_plane(self) -> dict[str, Any]:
        return self._secret(None, "scopeway-control-plane-tls", "scopeway-system")

    def of_site(self, cloud: str) -> dict[str, Any]:
        """Return the Secret of a site, in the namespace of its name."""
        return self._secret(cloud, "scopeway-site-tls", cloud)

    def _secret(self, cloud: str | None, name: str, namespace: str) -> dict[str, Any]:
        holder = self._authority.holder(cloud)
        self._authority.issue(holder, now=datetime.now(UTC), lifetime=_DAY)
        files = [holder.folder / name for name in (CERTIFICATE, KEY, AUTHORITIES)]
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "data": {file.name: b64encode(file.read_bytes()).decode() for file in files},
        }
