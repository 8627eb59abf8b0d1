"""Tokens, certificates and kubeconfigs that are renewed while a client lives."""

import json
import logging
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import trustme

from scopeway.control_plane.kubernetes_api import credentials, renewed_pool
from scopeway.control_plane.kubernetes_api.client import ApiClient
from scopeway.control_plane.kubernetes_api.credentials import MAX_TOKEN, TokenFile, credentials_of
from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.kubernetes_api.kubeconfig import Login
from scopeway.control_plane.kubernetes_api.url import KubernetesUrl
from stub_api_server import Request, StubApiServer, answering

pytestmark = pytest.mark.asyncio

V1 = "client.authentication.k8s.io/v1"


async def serve_ok(request: Request) -> None:
    request.answer({})


def client_of(file: Path) -> ApiClient:
    return ApiClient(KubernetesUrl(kubeconfig=file))


def tokens(stub: StubApiServer) -> list[str]:
    return [each.headers.get("authorization", "") for each in stub.requests]


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at, and plug-ins run, whenever it is time or a request wants it."""
    monkeypatch.setattr(credentials, "TOKEN_FILE_INTERVAL", 0)
    monkeypatch.setattr(credentials, "PLUGIN_INTERVAL", 0)
    monkeypatch.setattr(renewed_pool, "FILES_INTERVAL", 0)


@pytest.mark.parametrize(
    ("user", "header"),
    [
        ({}, ""),
        ({"token": "abc"}, "Bearer abc"),
        ({"username": "me", "password": "pw"}, "Basic bWU6cHc="),
        ({"token": "abc", "username": "me"}, "Bearer abc"),
    ],
)
async def test_each_form_of_login_is_sent(tmp_path: Path, user: Any, header: str) -> None:
    async with answering(serve_ok) as stub:
        async with client_of(stub.kubeconfig(tmp_path / "k", user)) as client:
            await client.get("/version")

        assert tokens(stub) == [header]


@pytest.mark.parametrize("token", ["a b", "a\nb", "ü", " "])
async def test_a_token_that_no_header_may_have_is_refused(token: str) -> None:
    login = Login(source="x", cluster={"server": "https://x"}, user={"token": token})
    with pytest.raises(ApiError) as caught:
        credentials_of(login)

    assert token.strip() == "" or token not in str(caught.value)


@pytest.mark.usefixtures("no_waiting")
async def test_a_token_file_is_read_again_before_its_token_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("one\n")
    async with answering(serve_ok) as stub:
        file = stub.kubeconfig(tmp_path / "k", {"tokenFile": "token"})  # relative to it
        async with client_of(file) as client:
            await client.get("/version")
            (tmp_path / "token").write_text("two")
            await client.get("/version")

        assert tokens(stub) == ["Bearer one", "Bearer two"]


async def test_a_token_that_is_refused_is_read_again_at_once(tmp_path: Path) -> None:
    async def serve(request: Request) -> None:
        request.answer({}, 200 if request.headers["authorization"] == "Bearer two" else 401)

    (tmp_path / "token").write_text("zero")
    async with answering(serve) as stub:
        file = stub.kubeconfig(tmp_path / "k", {"tokenFile": str(tmp_path / "token")})
        async with client_of(file) as client:
            with pytest.raises(ApiError, match="accepts neither a token nor a certificate"):
                await client.get("/version")
            (tmp_path / "token").write_text("two")
            assert await client.get("/version") == {}


@pytest.mark.parametrize("content", [None, "", "a b", "x" * (MAX_TOKEN + 1)])
async def test_a_token_file_that_becomes_bad_keeps_the_token_before(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    content: str | None,
) -> None:
    monkeypatch.setattr(credentials, "TOKEN_FILE_INTERVAL", 0)
    file = tmp_path / "token"
    file.write_text("one")
    source = TokenFile(file)
    first = await source.get()
    file.unlink() if content is None else file.write_text(content)

    assert [await source.get(), await source.get()] == [first, first]
    assert len(caplog.messages) == 1
    with pytest.raises(ApiError, match=f"the token file {file} "):
        await TokenFile(file).get()


async def test_a_kubeconfig_that_is_replaced_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(renewed_pool, "FILES_INTERVAL", 0)
    async with answering(serve_ok) as stub:
        file = stub.kubeconfig(tmp_path / "k", {"token": "one"})
        async with client_of(file) as client:
            await client.get("/version")
            stub.kubeconfig(file, {"token": "two"})
            await client.get("/version")
            file.write_text("[")
            with caplog.at_level(logging.WARNING):
                await client.get("/version")
                await client.get("/version")

        assert tokens(stub) == ["Bearer one", *["Bearer two"] * 3]
    (message,) = caplog.messages  # not one for each request
    assert message.startswith(f"keeping the login before: kubernetes: {file} is not YAML")


def plugin(folder: Path, statuses: list[dict[str, str]]) -> dict[str, Any]:
    """Return the `exec` of a user: each run prints the next status, the last one for ever."""
    file = folder / "plugin"
    file.write_text(
        f"#!{sys.executable}\n"
        "import json, pathlib\n"
        "runs = pathlib.Path(__file__).with_name('runs')\n"
        "run = int(runs.read_text()) if runs.exists() else 0\n"
        "runs.write_text(str(run + 1))\n"
        f"statuses = json.loads({json.dumps(statuses)!r})\n"
        f"print(json.dumps({{'apiVersion': {V1!r}, 'kind': 'ExecCredential',"
        " 'status': statuses[min(run, len(statuses) - 1)]}))\n"
    )
    file.chmod(0o755)
    return {"exec": {"apiVersion": V1, "command": "./plugin"}}


@pytest.mark.usefixtures("no_waiting")
async def test_a_plug_in_runs_again_once_its_token_is_refused(tmp_path: Path) -> None:
    async def serve(request: Request) -> None:
        request.answer({}, 200 if request.headers["authorization"] == "Bearer two" else 401)

    async with answering(serve) as stub:
        user = plugin(tmp_path, [{"token": "one"}, {"token": "two"}])
        async with client_of(stub.kubeconfig(tmp_path / "k", user)) as client:
            for _ in range(2):
                assert await client.get("/version") == {}

        assert tokens(stub) == ["Bearer one", "Bearer two", "Bearer two"]


class Authority:
    """Signs the server and its clients."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.folder = folder
        self.file = folder / "ca.crt"
        self.authority.cert_pem.write_to_path(self.file)

    def server(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.verify_mode = ssl.CERT_REQUIRED
        self.authority.configure_trust(context)
        self.authority.issue_cert("127.0.0.1", "api.example").configure_cert(context)
        return context

    def pair(self, name: str) -> tuple[str, str]:
        made = self.authority.issue_cert("x", common_name=name)
        return made.cert_chain_pems[0].bytes().decode(), made.private_key_pem.bytes().decode()


def client_names(stub: StubApiServer) -> list[str]:
    names = []
    for request in stub.requests:
        subject = request.writer.get_extra_info("peercert")["subject"]
        names += [value for ((key, value),) in subject if key == "commonName"]
    return names


@pytest.mark.usefixtures("no_waiting")
async def test_a_client_certificate_that_is_replaced_is_used_by_the_next_request(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    user = {"client-certificate": "tls.crt", "client-key": "tls.key"}

    def write(name: str) -> None:
        for file, text in zip(user.values(), authority.pair(name), strict=True):
            (tmp_path / file).write_text(text)

    async with answering(serve_ok, tls=authority.server()) as stub:
        file = stub.kubeconfig(tmp_path / "k", user, **{"certificate-authority": "ca.crt"})
        write("one")
        async with client_of(file) as client:
            await client.get("/version")
            write("two")
            await client.get("/version")
            (tmp_path / "tls.key").write_text("half written")
            await client.get("/version")

        assert client_names(stub) == ["one", "two", "two"]


async def test_a_plug_in_may_give_certificates_and_renews_them_before_they_expire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "PLUGIN_INTERVAL", 0)
    authority = Authority(tmp_path)
    statuses = []
    for name, year in (("one", 2030), ("two", 2040)):
        certificate, key = authority.pair(name)
        statuses.append(
            {
                "clientCertificateData": certificate,
                "clientKeyData": key,
                "expirationTimestamp": f"{year}-01-01T00:00:00Z",
            }
        )
    async with answering(serve_ok, tls=authority.server()) as stub:
        user = plugin(tmp_path, statuses)
        file = stub.kubeconfig(tmp_path / "k", user, **{"certificate-authority": "ca.crt"})
        async with client_of(file) as client:
            await client.get("/version")
            monkeypatch.setattr(time, "time", lambda: 1893456000.0)  # 2030
            await client.get("/version")

        assert client_names(stub) == ["one", "two"]


async def test_the_name_in_the_certificate_may_be_another_one(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.pair("one")
    (tmp_path / "c").write_text(certificate)
    (tmp_path / "k").write_text(key)
    user = {"client-certificate": "c", "client-key": "k"}
    async with answering(serve_ok, tls=authority.server()) as stub:
        cluster = {"certificate-authority": "ca.crt", "tls-server-name": "api.example"}
        async with client_of(stub.kubeconfig(tmp_path / "good", user, **cluster)) as client:
            assert await client.get("/version") == {}
        cluster["tls-server-name"] = "other.example"
        async with client_of(stub.kubeconfig(tmp_path / "bad", user, **cluster)) as client:
            with pytest.raises(ApiError, match="its certificate is not accepted: Hostname mism"):
                await client.get("/version")


@pytest.mark.parametrize(
    ("cluster", "user", "problem"),
    [
        ({"certificate-authority": "none"}, {}, "none cannot be read: No such file or directory"),
        ({"certificate-authority": "text"}, {}, "a certificate of .*text cannot be used"),
        ({"certificate-authority-data": "?"}, {}, "certificate-authority-data is not base64"),
        (
            {},
            {"client-certificate": "text", "client-key": "text"},
            "a certificate of .*text cannot be used",
        ),
        ({"certificate-authority": 7}, {}, "cannot be read|not valid"),
        ({"proxy-url": "gopher://here"}, {}, "proxy-url cannot be used"),
        ({"proxy-url": "socks5://127.0.0.1:1"}, {}, "proxy-url cannot be used: it must begin"),
    ],
)
async def test_a_certificate_that_cannot_be_used_is_refused(
    tmp_path: Path, cluster: Any, user: Any, problem: str
) -> None:
    (tmp_path / "text").write_text("no certificate")
    file = StubApiServer(1, "https").kubeconfig(tmp_path / "k", user, **cluster)
    async with client_of(file) as client:
        with pytest.raises(ApiError, match=problem) as caught:
            await client.get("/version")

    assert str(caught.value).startswith(f"kubernetes:{file}?context=x (https://127.0.0.1:1): ")
    assert caught.value.is_refused


async def test_without_the_extra_the_command_to_install_it_is_told(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "sys.modules['lightkube'] = None\n"
        "from scopeway.control_plane.catalog.loader import read_registry\n"
        "from scopeway.control_plane.registry import open_registry\n"
        "try: asyncio.run(read_registry(open_registry('kubernetes:' + sys.argv[1])))\n"
        "except Exception as error: print(error)\n"
    )
    file = StubApiServer(1, "http").kubeconfig(tmp_path / "k", {})
    done = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=False
    )

    assert done.stdout == (
        "the registry kubernetes: needs the package lightkube: pip install 'scopeway[kubernetes]'\n"
    )
