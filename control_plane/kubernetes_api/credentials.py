"""The token or certificate of a login, renewed for as long as a client lives.

lightkube 1.0.1 reads a token file, and runs a plug-in, at the first request and after a 401 only.
Here both are also renewed before they expire, so that a watch is not refused first.
"""

import asyncio
import base64
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from scopeway.control_plane.kubernetes_api.errors import ApiError, one_line
from scopeway.control_plane.kubernetes_api.exec_plugin import ExecPlugin, read_plugin, run_plugin
from scopeway.control_plane.kubernetes_api.kubeconfig import Login

log = logging.getLogger(__name__)

TOKEN_FILE_INTERVAL: Final = 10.0
"""Seconds between two readings of a token file. kubelet renews it after 80 % of its life, which is
an hour by default."""
MAX_TOKEN: Final = 64 * 1024
"""Bytes of a token file."""
EXPIRY_LEEWAY: Final = 10.0
"""Seconds before its expiry at which a credential is renewed."""
PLUGIN_INTERVAL: Final = 5.0
"""Seconds between two runs of a plug-in, whatever expiry it tells."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What one request is sent with."""

    authorization: str = field(default="", repr=False)
    """The value of the header; "" for none."""
    certificate: str = ""
    """PEM of a certificate that a plug-in has given."""
    key: str = field(default="", repr=False)


class Credentials(Protocol):
    """The source of credentials of one login."""

    async def get(self) -> Credential:
        """Return the present credential.

        Raises:
            ApiError: there is none.
        """

    def reject(self, credential: Credential) -> None:
        """Take note that the API server has answered 401 to a credential."""


def credentials_of(login: Login) -> Credentials:
    """Return the credentials of a login, in kubectl's order of precedence.

    Raises:
        ApiError: the plug-in of the kubeconfig cannot be used.
    """
    user = login.user
    if user.get("tokenFile"):
        return TokenFile(login.folder / str(user["tokenFile"]))
    if user.get("token"):
        return Fixed(Credential(f"Bearer {checked_token(str(user['token']), 'token')}"))
    if user.get("username"):
        pair = f"{user['username']}:{user.get('password', '')}".encode()
        return Fixed(Credential(f"Basic {base64.b64encode(pair).decode()}"))
    if isinstance(user.get("exec"), dict):
        return Plugin(read_plugin(user["exec"], login.folder, login.cluster))
    return Fixed(Credential())


class Fixed:
    """A credential that does not change: a token, a password, or none besides a certificate."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential

    async def get(self) -> Credential:
        """See `Credentials.get`."""
        return self._credential

    def reject(self, credential: Credential) -> None:
        """Do nothing: there is no other."""


class TokenFile:
    """A token in a file that somebody renews, such as kubelet."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._credential: Credential | None = None
        self._problem = ""
        """Why the file cannot be used now, as it was logged."""
        self._next = 0.0
        """When the file is read again (time.monotonic)."""

    async def get(self) -> Credential:
        """See `Credentials.get`; keeps the token before if the file cannot be read."""
        now = time.monotonic()
        if self._credential is not None and now < self._next:
            return self._credential
        self._next = now + TOKEN_FILE_INTERVAL
        try:
            self._credential = Credential(f"Bearer {self._read()}")
            self._problem = ""
        except ApiError as error:
            if self._credential is None:
                raise
            if str(error) != self._problem:
                log.warning("keeping the token before: %s", error)
            self._problem = str(error)
        return self._credential

    def reject(self, credential: Credential) -> None:
        """See `Credentials.reject`."""
        self._next = 0.0

    def _read(self) -> str:
        try:
            with self._file.open("rb") as stream:
                text = stream.read(MAX_TOKEN + 1)
        except OSError as error:
            raise ApiError(
                f"the token file {self._file} cannot be read: {error.strerror}", refused=True
            ) from None
        if len(text) > MAX_TOKEN:
            raise ApiError(
                f"the token file {self._file} is longer than {MAX_TOKEN} bytes", refused=True
            )
        return checked_token(text.decode(errors="replace"), f"the token file {self._file}")


class Plugin:
    """An exec plug-in: runs when its credential expires, or is refused."""

    def __init__(self, plugin: ExecPlugin) -> None:
        self._plugin = plugin
        self._lock = asyncio.Lock()
        self._credential: Credential | None = None
        self._expires: float | None = None
        """Seconds since 1970."""
        self._earliest = 0.0
        """Before this (time.monotonic), the plug-in does not run again."""
        self._is_rejected = False

    async def get(self) -> Credential:
        """See `Credentials.get`."""
        async with self._lock:  # one run serves all requests that wait
            if self._credential is None or self._must_run():
                found = await run_plugin(self._plugin)
                self._earliest = time.monotonic() + PLUGIN_INTERVAL
                self._expires = found.expires
                self._is_rejected = False
                authorization = f"Bearer {found.token}" if found.token else ""
                self._credential = Credential(authorization, found.certificate, found.key)
            return self._credential

    def reject(self, credential: Credential) -> None:
        """See `Credentials.reject`."""
        self._is_rejected = self._is_rejected or credential == self._credential

    def _must_run(self) -> bool:
        expired = self._expires is not None and time.time() > self._expires - EXPIRY_LEEWAY
        return (expired or self._is_rejected) and time.monotonic() >= self._earliest


def checked_token(text: str, name: str) -> str:
    """Return a token without surrounding space.

    Raises:
        ApiError: it is none; the text does not have the token.
    """
    token = text.strip()
    if not token:
        raise ApiError(f"{one_line(name)} is empty", refused=True)
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ApiError(f"{one_line(name)} has characters that no token has", refused=True)
    return token
