"""Opens a connection pool to an API server: TLS by lightkube, HTTP by its httpx2.

Import this module only when a connection is made: it needs the extra `scopeway[kubernetes]`.
"""

import asyncio
import base64
import logging
import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec
from lightkube.config.client_adapter import verify_cluster
from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import Cluster, Context, User

from scopeway.control_plane.kubernetes_api.credentials import (
    Credential,
    Credentials,
    credentials_of,
)
from scopeway.control_plane.kubernetes_api.errors import ApiError, one_line
from scopeway.control_plane.kubernetes_api.kubeconfig import Login

logging.getLogger("httpx2").setLevel(logging.WARNING)  # it would log each request

CONNECT_TIMEOUT: Final = 4.0
"""Seconds to connect, with TLS."""
MAX_CONNECTIONS: Final = 16
"""Connections of one pool; each watch takes one."""

_TCP_FAMILY = (
    # a host that vanished silently is noticed within 25 s, also while a watch is idle
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)
_FILES: Final = (
    ("cluster", "certificate-authority"),
    ("user", "client-certificate"),
    ("user", "client-key"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose body has not been read."""

    code: int
    response: httpx2.Response

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives.

        Raises:
            ApiError: the connection has ended.
        """
        try:
            async for chunk in self.response.aiter_raw():
                yield chunk
        except (httpx2.HTTPError, OSError) as error:
            raise ApiError(_words(error)) from None


class Pool:
    """The connections of one login with one set of certificates."""

    def __init__(
        self, login: Login, credentials: Credentials, credential: Credential, stamp: object
    ) -> None:
        """Make the pool; connects at the first request. Blocks on files.

        Args:
            login: Where, and with which certificates.
            credentials: Tokens of the requests.
            credential: The one whose certificate TLS uses.
            stamp: Of the files, before they were read.

        Raises:
            ApiError: a certificate cannot be used.
        """
        self.login = login
        self.credentials = credentials
        self._stamp = stamp
        self._pair = (credential.certificate, credential.key)
        self._users = 0
        self._is_retired = False
        name = login.cluster.get("tls-server-name")
        self._extensions = {"sni_hostname": str(name)} if name else {}
        transport = httpx2.AsyncHTTPTransport(
            verify=_tls(login, credential),
            trust_env=False,
            limits=httpx2.Limits(
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=MAX_CONNECTIONS,
                keepalive_expiry=30,
            ),
            proxy=_proxy(login),
            socket_options=_TCP_FAMILY,
        )
        self._client = httpx2.AsyncClient(transport=transport, trust_env=False)

    @property
    def is_used(self) -> bool:
        """Whether requests run."""
        return self._users > 0

    def has_pair(self, credential: Credential) -> bool:
        """Return whether TLS uses the certificate of a credential."""
        return (credential.certificate, credential.key) == self._pair

    def is_current(self, credential: Credential) -> bool:
        """Return whether the pool was made of the files as they are now; blocks on files."""
        return self.has_pair(credential) and file_stamp(self.login) == self._stamp

    @asynccontextmanager
    async def send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        body: bytes | None,
        content_type: str,
        authorization: str,
        silence: float,
        head: float,
    ) -> AsyncIterator[Answer]:
        """Send one request, and yield the answer once its head is here.

        Args:
            method: Of HTTP.
            path: Of the API.
            query: Parameters.
            body: JSON; None for none.
            content_type: Of the body.
            authorization: The header; "" for none.
            silence: Seconds without a byte after which the connection counts as dead.
            head: Seconds until the head of the answer must be here.

        Raises:
            ApiError: there is no answer.
        """
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "scopeway",
        }
        if body is not None:
            headers["Content-Type"] = content_type
        if authorization:
            headers["Authorization"] = authorization
        request = self._client.build_request(
            method,
            f"{self.login.server}{path}",
            params=dict(query) or None,
            headers=headers,
            content=body,
            timeout=httpx2.Timeout(silence, connect=CONNECT_TIMEOUT),
            extensions={**self._extensions, "trace": _Handshake()},
        )
        self._users += 1
        try:
            try:
                async with asyncio.timeout(head):
                    response = await self._client.send(request, stream=True)
            except TimeoutError:
                raise ApiError("no answer in time") from None
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
                raise ApiError(_words(error)) from None
            try:
                yield Answer(response.status_code, response)
            finally:
                await response.aclose()
        finally:
            self._users -= 1
            await self._close_if_unused()

    async def retire(self) -> None:
        """Close the connections once the requests that run have ended."""
        self._is_retired = True
        await self._close_if_unused()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _close_if_unused(self) -> None:
        if self._is_retired and not self._users:
            await self._client.aclose()


class _Handshake:
    """Closes a connection whose TLS handshake is cancelled. httpcore closes it only at an error.

    Watches are cancelled in their handshakes if an API server that starts refuses one of them.
    """

    def __init__(self) -> None:
        self._stream: Any = None

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Take an event of httpcore's extension `trace`."""
        if event == "connection.connect_tcp.complete":
            self._stream = info["return_value"]
        elif event == "connection.start_tls.failed":
            await self._stream.aclose()


async def open_pool(login: Login, credentials: Credentials | None = None) -> Pool:
    """Return the pool of a login.

    Raises:
        ApiError: the login cannot be used.
    """
    stamp = await asyncio.to_thread(file_stamp, login)
    credentials = credentials or credentials_of(login)
    credential = await credentials.get()
    return await asyncio.to_thread(Pool, login, credentials, credential, stamp)


def file_stamp(login: Login) -> object:
    """Return a value that differs once the kubeconfig or a certificate has been replaced."""
    stamps: list[tuple[int, int, int] | None] = []
    for file in _files(login):
        try:
            found = file.stat()
            stamps.append((found.st_mtime_ns, found.st_size, found.st_ino))
        except OSError:
            stamps.append(None)
    return tuple(stamps)


def _files(login: Login) -> list[Path]:
    named = {"cluster": login.cluster, "user": login.user}
    files = [named[kind].get(key) for kind, key in _FILES]
    own = [login.file, *login.more_files] if login.file is not None else []
    return own + [login.folder / str(file) for file in files if file]


def _tls(login: Login, credential: Credential) -> ssl.SSLContext | bool:
    if not login.server.startswith("https:"):
        return True
    user = dict(login.user)
    if credential.certificate:
        for key in ("client-certificate", "client-key"):
            user.pop(key, None)
        user["client-certificate-data"] = base64.b64encode(credential.certificate.encode()).decode()
        user["client-key-data"] = base64.b64encode(credential.key.encode()).decode()
    for file in _files(login):
        _check_readable(file)
    certificates = {key: value for key, value in user.items() if key.startswith("client-")}
    for key, value in (login.cluster | certificates).items():
        if key.endswith("-data"):
            _check_base64(key, value)
    try:
        cluster = msgspec.convert(dict(login.cluster), Cluster)
        context = Context(cluster=login.context)
        config = SingleConfig(login.context, context, cluster, None, login.file)
        person = msgspec.convert(certificates, User)
        tls = verify_cluster(cluster, person, config.abs_file, trust_env=False)
    except msgspec.ValidationError as error:
        raise ApiError(
            f"the kubeconfig is not valid: {one_line(str(error))}", refused=True
        ) from None
    except ssl.SSLError as error:
        why = one_line(error.reason or str(error))
        names = ", ".join(str(file) for file in _files(login))
        raise ApiError(f"a certificate of {names} cannot be used: {why}", refused=True) from None
    except (OSError, ValueError) as error:  # of base64, or of a temporary file
        why = one_line(getattr(error, "strerror", None) or str(error))
        raise ApiError(f"a certificate cannot be used: {why}", refused=True) from None
    if cluster.insecure:  # lightkube ignores it beside a CA
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    return tls


def _check_base64(key: str, text: object) -> None:
    try:
        base64.b64decode(str(text), validate=True)
    except ValueError:
        raise ApiError(f"{key} is not base64", refused=True) from None


def _check_readable(file: Path) -> None:
    try:
        with file.open("rb"):
            pass
    except OSError as error:  # that of ssl does not name the file
        raise ApiError(f"{file} cannot be read: {error.strerror}", refused=True) from None


def _proxy(login: Login) -> Any:
    proxy = login.cluster.get("proxy-url")
    if not proxy:
        return None
    if not str(proxy).startswith(("http://", "https://")):  # httpx2 has no SOCKS alone
        raise ApiError(
            "proxy-url cannot be used: it must begin with http:// or https://", refused=True
        )
    try:
        return httpx2.Proxy(str(proxy))
    except (ValueError, httpx2.InvalidURL) as error:
        raise ApiError(f"proxy-url cannot be used: {one_line(str(error))}", refused=True) from None


def _words(error: BaseException) -> str:
    """Return why there is no answer, in one line."""
    if isinstance(error, httpx2.TimeoutException):
        return "no answer in time"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {one_line(cause.verify_message)}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {one_line(cause.reason or str(cause))}"
        if isinstance(cause, socket.gaierror):
            return f"its name cannot be resolved: {one_line(cause.strerror or str(cause))}"
        if isinstance(cause, OSError) and (cause.errno or cause.strerror):
            words = os.strerror(cause.errno) if cause.errno else str(cause.strerror)
            return one_line(words.lower())
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx2.RemoteProtocolError):
        return "it closed the connection"
    return one_line(str(error)) or type(error).__name__
