"""Every way in which a kubeconfig is incomplete has a sentence that names the file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.kubernetes_api.kubeconfig import MAX_KUBECONFIG, choose, find_login
from scopeway.control_plane.kubernetes_api.url import KubernetesUrl

FILE = Path("/etc/kubeconfig")
SECRET = "t0p-secret"


def config(**changes: Any) -> dict[str, Any]:
    return {
        "clusters": [
            {"name": "here", "cluster": {"server": "https://127.0.0.1:6443/"}},
            {"name": "there", "cluster": {"server": "https://10.0.0.1"}},
        ],
        "users": [{"name": "me", "user": {"token": SECRET}}],
        "contexts": [
            {"name": "a", "context": {"cluster": "here", "user": "me"}},
            {"name": "b", "context": {"cluster": "there"}},
        ],
        "current-context": "a",
    } | changes


def with_user(**user: Any) -> dict[str, Any]:
    return config(users=[{"name": "me", "user": user}])


def with_cluster(**cluster: Any) -> dict[str, Any]:
    return config(clusters=[{"name": "here", "cluster": cluster}])


def test_the_current_context_is_chosen() -> None:
    login = choose(config(), FILE, "")

    assert login.place == "kubernetes:/etc/kubeconfig?context=a (https://127.0.0.1:6443)"
    assert login.user == {"token": SECRET}
    assert SECRET not in repr(login)


def test_a_named_context_is_chosen_and_may_have_no_user() -> None:
    login = choose(config(), FILE, "b")

    assert (login.server, login.user) == ("https://10.0.0.1", {})


@pytest.mark.parametrize(
    ("document", "context", "problem"),
    [
        (None, "", "is not a kubeconfig"),
        ([], "", "is not a kubeconfig"),
        ({}, "", "has no current-context; use kubernetes:/etc/kubeconfig?context=NAME"),
        (config(), "c", "has no context 'c'"),
        (config(contexts="x"), "", "has no context 'a'"),
        (config(contexts=[7, {"name": "a"}]), "", "context 'a' names no cluster"),
        (config(clusters=[]), "", "has no cluster 'here'"),
        (config(clusters=[{"name": "here", "cluster": 7}]), "", "cluster 'here' is not valid"),
        (config(users=None), "", "has no user 'me'"),
        (with_cluster(), "", "cluster 'here' has no server"),
        (with_cluster(server="10.0.0.1:6443"), "", "is not a URL with https:"),
        (with_cluster(server="https://a:b"), "", "is not a URL with https:"),
        (with_cluster(server="http://10.0.0.1"), "", "has no TLS; use https:"),
        (
            with_cluster(server=f"https://me:{SECRET}@a"),
            "",
            "server has a user name or password in its URL",
        ),
        (with_cluster(server="https://a/\nb"), "", "server 'https://a/ b' is not a URL"),
        (with_cluster(server="https://a/?b=c"), "", "server 'https://a/?b=c' has a query or"),
        (with_user(exec=["a"]), "", "user 'me': exec is not valid"),
        (
            with_user(**{"auth-provider": {"name": "gcp"}}),
            "",
            "user 'me': auth-provider is not supported; use exec",
        ),
        (
            with_user(**{"token": SECRET, "as": "other"}),
            "",
            "user 'me': impersonation (as) is not supported",
        ),
        (
            with_user(**{"client-certificate": "a"}),
            "",
            "user 'me': client-certificate and client-key must be used together",
        ),
        (
            with_user(**{"client-key-data": SECRET}),
            "",
            "client-certificate-data and client-key-data must be used together",
        ),
    ],
)
def test_an_incomplete_kubeconfig_is_refused(document: Any, context: str, problem: str) -> None:
    with pytest.raises(ApiError) as caught:
        choose(document, FILE, context)

    assert str(caught.value).startswith("kubernetes: /etc/kubeconfig ")
    assert problem in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.is_refused


@pytest.mark.parametrize(
    "server", ["http://localhost:8001", "http://127.0.0.1:1", "http://[::1]:1"]
)
def test_an_api_server_on_loopback_needs_no_tls(server: str) -> None:
    assert choose(with_cluster(server=server), FILE, "").server == server


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda file: None, "cannot be read: No such file or directory"),
        (lambda file: file.mkdir(), "cannot be read: Is a directory"),
        (lambda file: file.write_text(f"token: [{SECRET}"), "is not YAML in line "),
        (lambda file: file.write_text("[" * 100_000), "is not YAML"),
        (lambda file: file.write_bytes(b"#" * (MAX_KUBECONFIG + 1)), "is longer than"),
    ],
)
def test_a_file_that_is_no_kubeconfig_is_refused(
    tmp_path: Path, make: Callable[[Path], object], problem: str
) -> None:
    make(tmp_path / "config")
    with pytest.raises(ApiError) as caught:
        find_login(KubernetesUrl(kubeconfig=tmp_path / "config"))

    assert str(caught.value).startswith(f"kubernetes: {tmp_path / 'config'} {problem}")
    assert SECRET not in str(caught.value)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a kubeconfig, outside a pod."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(config()))
    return file


def write_account(folder: Path) -> Path:
    folder.mkdir()
    (folder / "token").write_text(SECRET)
    (folder / "ca.crt").write_text("")
    return folder


def test_without_any_login_all_places_are_named(home: Path) -> None:
    with pytest.raises(ApiError) as caught:
        find_login(KubernetesUrl(), account=home / "account")

    assert str(caught.value) == (
        f"kubernetes: no login was found: neither {home}/account/token nor {home}/.kube/config "
        "exists, and $KUBECONFIG is not set"
    )


def test_without_a_file_the_one_in_the_home_folder_is_read(home: Path) -> None:
    file = write(home / ".kube/config")

    assert find_login(KubernetesUrl(), account=home / "account").file == file
    assert find_login(KubernetesUrl(context="b"), account=home / "account").context == "b"


def test_the_variable_goes_before_the_home_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home / ".kube/config")
    monkeypatch.setenv("KUBECONFIG", str(write(home / "other")))

    assert find_login(KubernetesUrl(), account=home / "account").file == home / "other"


@pytest.mark.parametrize(
    ("host", "port", "server"),
    [
        ("10.96.0.1", "443", "https://10.96.0.1:443"),
        ("fd00::1", "6443", "https://[fd00::1]:6443"),
    ],
)
def test_the_account_of_the_pod_goes_before_the_home_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch, host: str, port: str, server: str
) -> None:
    write(home / ".kube/config")
    account = write_account(home / "account")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    login = find_login(KubernetesUrl(), account=account)

    assert login.place == f"kubernetes: service account of this pod ({server})"
    assert login.user == {"tokenFile": str(account / "token")}
    assert find_login(KubernetesUrl(context="b"), account=account).context == "b"
    monkeypatch.setenv("KUBECONFIG", str(write(home / "other")))
    assert find_login(KubernetesUrl(), account=account).file == home / "other"


def test_an_account_without_the_address_of_its_api_server_is_refused(home: Path) -> None:
    with pytest.raises(ApiError, match=r"exists, but \$KUBERNETES_SERVICE_HOST is not set"):
        find_login(KubernetesUrl(), account=write_account(home / "account"))
