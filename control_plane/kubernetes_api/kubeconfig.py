"""Finds the login: a context of a kubeconfig, or the service account of this pod.

lightkube turns the result into TLS (`access`). Its own reader ends with a KeyError or an assertion
where a kubeconfig is incomplete, and ignores fields that change who the caller is. So the checks
are here.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from scopeway.control_plane.kubernetes_api.errors import ApiError, one_line
from scopeway.control_plane.kubernetes_api.merged_kubeconfig import merge
from scopeway.control_plane.kubernetes_api.url import KubernetesUrl

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where kubelet mounts the service account of a pod."""
MAX_KUBECONFIG: Final = 4 * 1024 * 1024
"""Bytes of a kubeconfig."""

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_IMPERSONATION: Final = ("as", "as-uid", "as-groups", "as-user-extra")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What a kubeconfig, or a pod's service account, says."""

    source: str
    """For people: the file and the context."""
    cluster: dict[str, Any]
    """The `cluster` of the kubeconfig."""
    user: Mapping[str, Any] = field(repr=False)
    """The `user` of the kubeconfig; empty for an anonymous caller."""
    file: Path | None = None
    """The kubeconfig; None for a service account."""
    context: str = ""
    more_files: tuple[Path, ...] = ()
    """Further kubeconfigs of $KUBECONFIG."""

    @property
    def server(self) -> str:
        """The URL of the API server, without a slash at the end."""
        return str(self.cluster["server"]).rstrip("/")

    @property
    def place(self) -> str:
        """The login and the API server, for people."""
        return f"{self.source} ({self.server})"

    @property
    def folder(self) -> Path:
        """The folder that relative paths are relative to."""
        return self.file.parent if self.file is not None else Path()


def find_login(url: KubernetesUrl, *, account: Path = SERVICE_ACCOUNT) -> Login:
    """Read the login that a URL names; blocks on files.

    Args:
        url: The kubeconfig, or none.
        account: The folder of the service account.

    Raises:
        ApiError: there is none, or it is not valid. The text names the file.
    """
    file = url.kubeconfig
    # whoever sets the variable in a pod wants another API server, as of kubectl
    named = file is not None or bool(url.context) or bool(os.environ.get("KUBECONFIG"))
    if not named and (account / "token").is_file():
        return _service_account(account)
    if file is not None:
        return choose(_load(file), file, url.context)
    files = _default_files(account)
    if len(files) == 1:
        return choose(_load(files[0]), files[0], url.context)
    documents: list[tuple[Path, dict[str, Any]]] = []
    for each in files:
        document = _load(each) or {}  # an empty file is a kubeconfig, too
        if not isinstance(document, dict):
            raise _wrong(each, "is not a kubeconfig")
        documents.append((each, document))
    joined = Path(os.pathsep.join(map(str, files)))  # for people
    login = choose(merge(documents), joined, url.context)
    return replace(login, file=files[0], more_files=tuple(files[1:]))


def choose(document: object, file: Path, wanted: str) -> Login:
    """Return the login of one context of a kubeconfig.

    Args:
        document: The contents of the kubeconfig.
        file: Where it is.
        wanted: The name of a context; "" means the current one.

    Raises:
        ApiError: the context is missing or not valid.
    """
    if not isinstance(document, dict):
        raise _wrong(file, "is not a kubeconfig")
    name = wanted or document.get("current-context")
    if not name:
        raise _wrong(file, f"has no current-context; use kubernetes:{file}?context=NAME")
    context = _named(document, file, "context", name)
    cluster_name, user_name = context.get("cluster"), context.get("user")
    if not cluster_name:
        raise _wrong(file, f"context {_show(name)} names no cluster")
    cluster = _named(document, file, "cluster", cluster_name)
    user = _named(document, file, "user", user_name) if user_name else {}
    server = cluster.get("server")
    if not isinstance(server, str) or not server:
        raise _wrong(file, f"cluster {_show(cluster_name)} has no server")
    _check_server(file, server)
    _check_user(file, str(user_name), user)
    return Login(
        source=str(KubernetesUrl(kubeconfig=file, context=str(name))),
        cluster=cluster,
        user=user,
        file=file,
        context=str(name),
    )


def _service_account(account: Path) -> Login:
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ApiError(
            f"kubernetes: {account} exists, but $KUBERNETES_SERVICE_HOST is not set", refused=True
        )
    bracketed = f"[{host}]" if ":" in host else host
    cluster = {
        "server": f"https://{bracketed}:{port}",
        "certificate-authority": str(account / "ca.crt"),
    }
    user = {"tokenFile": str(account / "token")}
    return Login(source="kubernetes: service account of this pod", cluster=cluster, user=user)


def _default_files(account: Path) -> list[Path]:
    """Return the files of $KUBECONFIG, or the one in the home folder."""
    named = os.environ.get("KUBECONFIG", "")
    files = [Path(each) for each in named.split(os.pathsep) if each]
    if len(files) > 1:  # kubectl leaves out those that do not exist
        return [each for each in files if each.exists()] or files[:1]
    file = files[0] if files else Path.home() / ".kube" / "config"
    if not file.exists() and not files:
        raise ApiError(
            f"kubernetes: no login was found: neither {account / 'token'} nor {file} exists, and "
            "$KUBECONFIG is not set",
            refused=True,
        )
    return [file]


def _load(file: Path) -> object:
    try:
        with file.open("rb") as stream:
            text = stream.read(MAX_KUBECONFIG + 1)
    except OSError as error:
        raise _wrong(file, f"cannot be read: {error.strerror}") from None
    if len(text) > MAX_KUBECONFIG:
        raise _wrong(file, f"is longer than {MAX_KUBECONFIG} bytes")
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise _wrong(file, f"is not YAML{where}") from None  # its words may quote a token


def _named(document: Mapping[str, Any], file: Path, kind: str, name: object) -> dict[str, Any]:
    entries = document.get(f"{kind}s") or ()
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("name") == name:
            found = entry.get(kind) or {}
            if isinstance(found, dict):
                return found
            raise _wrong(file, f"{kind} {_show(name)} is not valid")
    raise _wrong(file, f"has no {kind} {_show(name)}")


def _check_server(file: Path, server: str) -> None:
    try:
        parts = urlsplit(server)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = None, None
    is_plain = server.isprintable() and " " not in server
    if parts is None or parts.scheme not in ("http", "https") or not host or not is_plain:
        raise _wrong(file, f"server {_show(server)} is not a URL with https:")
    if parts.username is not None:
        raise _wrong(file, "server has a user name or password in its URL")
    if parts.query or parts.fragment:
        raise _wrong(file, f"server {_show(server)} has a query or a fragment")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise _wrong(file, f"server {_show(server)} has no TLS; use https:")


def _check_user(file: Path, name: str, user: Mapping[str, Any]) -> None:
    where = f"user {_show(name)}"
    if user.get("auth-provider"):
        raise _wrong(file, f"{where}: auth-provider is not supported; use exec")
    for key in _IMPERSONATION:
        if user.get(key):  # to ignore it would be to act as somebody with more rights
            raise _wrong(file, f"{where}: impersonation ({key}) is not supported")
    if user.get("exec") and not isinstance(user["exec"], dict):
        raise _wrong(file, f"{where}: exec is not valid")
    for certificate, key in (
        ("client-certificate", "client-key"),
        ("client-certificate-data", "client-key-data"),
    ):
        if bool(user.get(certificate)) != bool(user.get(key)):
            raise _wrong(file, f"{where}: {certificate} and {key} must be used together")


def _wrong(file: Path, problem: str) -> ApiError:
    return ApiError(f"kubernetes: {file} {problem}", refused=True)


def _show(name: object) -> str:
    return repr(one_line(str(name))[:100])
