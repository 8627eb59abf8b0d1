"""Keeps one connection pool, and replaces it once files or the plug-in's certificate change.

Imports the client library only at the first request.
"""

import asyncio
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scopeway.control_plane.kubernetes_api.credentials import Credential, Credentials
from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.kubernetes_api.kubeconfig import Login, find_login
from scopeway.control_plane.kubernetes_api.url import KubernetesUrl

if TYPE_CHECKING:
    from scopeway.control_plane.kubernetes_api.access import Pool

log = logging.getLogger(__name__)

FILES_INTERVAL: Final = 10.0
"""Seconds between two looks at the files of kubeconfig and certificates."""
MISSING_PACKAGE: Final = (
    "the registry kubernetes: needs the package lightkube: pip install 'scopeway[kubernetes]'"
)


class RenewedPool:
    """The present pool of one URL."""

    def __init__(self, url: KubernetesUrl, *, account: Path) -> None:
        """Make it; `get` opens the pool.

        Args:
            url: Which API server, and which login.
            account: The folder of this pod's service account.
        """
        self._url = url
        self._account = account
        self._pool: Pool | None = None
        self._retired: list[Pool] = []
        """Pools that a request, such as a watch, still uses."""
        self._problem = ""
        """Why the present files cannot be used, as it was logged."""
        self._lock = asyncio.Lock()
        self._next_look = 0.0
        """When the files are looked at again (time.monotonic)."""

    @property
    def place(self) -> str:
        """The login and the API server, for people."""
        return self._pool.login.place if self._pool is not None else str(self._url)

    async def get(self) -> tuple["Pool", Credential]:
        """Return the pool of the present files, and the present credential.

        Raises:
            ApiError: the login cannot be used.
        """
        async with self._lock:
            pool = self._pool
            if pool is None:
                self._next_look = time.monotonic() + FILES_INTERVAL
                self._pool = pool = await _open(await self._login())
            credential = await _credential(pool)
            if time.monotonic() < self._next_look and pool.has_pair(credential):
                return pool, credential
            self._next_look = time.monotonic() + FILES_INTERVAL
            if not await asyncio.to_thread(pool.is_current, credential):
                pool = await self._renew(pool)
                credential = await _credential(pool)
            return pool, credential

    async def close(self) -> None:
        """Close all connections."""
        pools, self._pool, self._retired = [self._pool, *self._retired], None, []
        for pool in pools:
            if pool is not None:
                await pool.close()

    async def _renew(self, before: "Pool") -> "Pool":
        """Use the files as they are now; keep the pool before if they cannot be used."""
        try:
            login = await self._login()
            pool = await _open(login, before.credentials if login == before.login else None)
        except ApiError as error:
            if str(error) != self._problem:
                log.warning("keeping the login before: %s", error)
            self._problem = str(error)
            return before
        self._problem = ""
        await before.retire()
        self._retired = [each for each in (*self._retired, before) if each.is_used]
        self._pool = pool
        return pool

    async def _login(self) -> Login:
        return await asyncio.to_thread(find_login, self._url, account=self._account)


async def _open(login: Login, credentials: Credentials | None = None) -> "Pool":
    try:
        from scopeway.control_plane.kubernetes_api.access import open_pool
    except ImportError as error:
        if (error.name or "").partition(".")[0] in ("lightkube", "httpx2"):
            raise ApiError(MISSING_PACKAGE, refused=True) from None
        raise
    try:
        return await open_pool(login, credentials)
    except ApiError as error:
        raise error.at(login.place) from None


async def _credential(pool: "Pool") -> Credential:
    try:
        return await pool.credentials.get()
    except ApiError as error:
        raise error.at(pool.login.place) from None
