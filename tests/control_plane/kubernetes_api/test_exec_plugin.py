"""Credential plug-ins, as small scripts."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from scopeway.control_plane.kubernetes_api import credentials
from scopeway.control_plane.kubernetes_api.credentials import Plugin
from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.kubernetes_api.exec_plugin import (
    VERSIONS,
    ExecPlugin,
    read_credential,
    read_plugin,
    run_plugin,
)

SECRET = "t0p-secret"
V1 = VERSIONS[0]
GUARD = 30.0
"""Seconds until a test that waits for something that never comes is given up."""


def script(folder: Path, text: str, **more: Any) -> ExecPlugin:
    """Return a plug-in that runs some Python."""
    file = folder / "plugin"
    file.write_text(f"#!{sys.executable}\n{text}")
    file.chmod(0o755)
    return ExecPlugin(version=V1, command=str(file), **more)


def printing(**status: Any) -> str:
    document = {"apiVersion": V1, "kind": "ExecCredential", "status": status}
    return f"print({json.dumps(document)!r})"


@pytest.mark.asyncio
async def test_a_plug_in_gives_a_token_until_its_expiry(tmp_path: Path) -> None:
    status = {"token": SECRET, "expirationTimestamp": "2030-01-01T00:00:00Z"}
    found = await run_plugin(script(tmp_path, printing(**status)))

    assert (found.token, found.expires) == (SECRET, 1893456000.0)
    assert SECRET not in repr(found)


@pytest.mark.asyncio
async def test_a_plug_in_gets_its_arguments_its_variables_and_the_cluster(tmp_path: Path) -> None:
    text = (
        "import json, os, sys\n"
        "info = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
        "told = [*sys.argv[1:], os.environ['REGION'], info['spec'], sys.stdin.read()]\n"
        "status = {'token': json.dumps(told).replace(' ', '')}\n"
        "print(json.dumps({'apiVersion': info['apiVersion'], 'kind': info['kind'],"
        " 'status': status}))"
    )
    cluster = {"server": "https://here"}
    plugin = script(tmp_path, text, args=("get", "token"), env={"REGION": "eu"}, cluster=cluster)
    told = json.loads((await run_plugin(plugin)).token)

    assert told == ["get", "token", "eu", {"interactive": False, "cluster": cluster}, ""]


@pytest.mark.asyncio
async def test_a_plug_in_that_fails_is_told_with_what_it_said(tmp_path: Path) -> None:
    plugin = script(tmp_path, "import sys; sys.exit('log in\\nfirst \\x1b[1m' + 'x' * 10_000)")
    with pytest.raises(ApiError) as caught:
        await run_plugin(plugin)

    text = str(caught.value)
    assert text.startswith(f"the exec plug-in {plugin.command} failed with code 1: log in first")
    assert text.isprintable()
    assert len(text) < 700


@pytest.mark.asyncio
async def test_a_plug_in_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match=r"plugin did not end within 0.1 s"):
        await run_plugin(script(tmp_path, "import time; time.sleep(1000)"), timeout=0.1)


async def ended(pid: int) -> bool:
    """Wait for the end of a process; it may still be a zombie of init."""
    status = Path(f"/proc/{pid}/status")
    while status.exists() and "\nState:\tZ" not in status.read_text():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.01)
    return True


@pytest.mark.asyncio
async def test_a_reason_shows_no_word_as_long_as_a_token(tmp_path: Path) -> None:
    text = f"import sys; sys.exit('no use for {'t0ken.' * 100}: expired')"
    with pytest.raises(ApiError, match=r"failed with code 1: no use for \.\.\. expired$"):
        await run_plugin(script(tmp_path, text))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "wrong", [{"command": "/a\0b"}, {"args": ("a\0b",)}, {"env": {"a=b": "c"}}], ids=str
)
async def test_what_no_process_can_be_given_is_told(wrong: dict[str, Any]) -> None:
    plugin = ExecPlugin(**{"version": V1, "command": "/bin/true"} | wrong)
    with pytest.raises(ApiError, match=r"cannot be started: (embedded null byte|illegal env)"):
        await run_plugin(plugin)


@pytest.mark.asyncio
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_a_plug_in_that_prints_without_end_is_ended(tmp_path: Path, stream: str) -> None:
    text = f"import sys\nwhile True: sys.{stream}.write('x' * 1000)"
    with pytest.raises(ApiError, match="printed more than"):
        await run_plugin(script(tmp_path, text))


@pytest.mark.asyncio
async def test_a_plug_in_that_does_not_exist_is_told_with_its_hint(tmp_path: Path) -> None:
    plugin = ExecPlugin(version=V1, command=str(tmp_path / "none"), hint="install it")
    with pytest.raises(
        ApiError, match="none cannot be started: No such file or directory; install"
    ):
        await run_plugin(plugin)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ("no json", "no valid ExecCredential"),
        ("[" * 100_000, "no valid ExecCredential"),
        ([], "no valid ExecCredential"),
        ({"kind": "Pod", "apiVersion": V1}, f"no ExecCredential of {V1}"),
        ({"kind": "ExecCredential", "apiVersion": VERSIONS[1]}, f"no ExecCredential of {V1}"),
        ({}, "neither a token nor a certificate"),
        ({"token": 7}, "no valid ExecCredential"),
        ({"token": f"{SECRET}\n"}, "a token with invalid characters"),
        ({"token": SECRET, "expirationTimestamp": "soon"}, "no valid ExecCredential"),
        ({"clientCertificateData": SECRET}, "no valid ExecCredential"),
    ],
)
def test_another_output_is_refused_without_showing_it(document: Any, problem: str) -> None:
    if isinstance(document, dict) and "kind" not in document:
        document = {"kind": "ExecCredential", "apiVersion": V1, "status": document}
    output = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(ApiError) as caught:
        read_credential(output.encode(), V1, "p")

    assert problem in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1", "command": "a"}, "v1alpha1"),
        ({"apiVersion": V1}, "command is missing"),
        ({"apiVersion": V1, "command": "a", "interactiveMode": "Always"}, "wants a terminal"),
        ({"apiVersion": V1, "command": "a", "args": 7}, "args or env do not have the form"),
        ({"apiVersion": V1, "command": "a", "env": [{"name": "a"}]}, "args or env do not have"),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_refused(document: Any, problem: str) -> None:
    with pytest.raises(ApiError, match=problem):
        read_plugin(document, Path("/etc"), {})


def test_a_command_with_a_slash_is_relative_to_the_kubeconfig() -> None:
    def command(text: str) -> str:
        return read_plugin({"apiVersion": V1, "command": text}, Path("/etc"), {}).command

    assert (command("aws"), command("./aws"), command("/bin/aws")) == (
        "aws",
        "/etc/aws",
        "/bin/aws",
    )


def test_the_cluster_is_told_only_where_the_kubeconfig_says_so() -> None:
    cluster = {"server": "https://here", "certificate-authority": "/etc/ca"}
    document = {"apiVersion": V1, "command": "a"}

    assert read_plugin(document, Path(), cluster).cluster is None
    told = read_plugin(document | {"provideClusterInfo": True}, Path(), cluster).cluster
    assert told == {"server": "https://here"}


COUNTED = """
import json, pathlib, time
file = pathlib.Path(__file__).with_name("runs")
runs = int(file.read_text()) + 1 if file.exists() else 1
file.write_text(str(runs))
status = {"token": f"token-{runs}", "expirationTimestamp": EXPIRES}
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
                  "status": status}))
"""


def counted(folder: Path, expires: str) -> Plugin:
    return Plugin(script(folder, COUNTED.replace("EXPIRES", repr(expires))))


async def token(plugin: Plugin) -> str:
    return (await plugin.get()).authorization


@pytest.mark.asyncio
async def test_a_credential_serves_until_it_expires_or_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "PLUGIN_INTERVAL", 0)
    plugin = counted(tmp_path, "2030-01-01T00:00:00+00:00")

    assert await asyncio.gather(token(plugin), token(plugin)) == ["Bearer token-1"] * 2
    monkeypatch.setattr(time, "time", lambda: 1893456000.0 - 11)
    assert await token(plugin) == "Bearer token-1"
    plugin.reject(await plugin.get())
    assert await token(plugin) == "Bearer token-2"
    monkeypatch.setattr(time, "time", lambda: 1893456000.0 - 9)
    assert await token(plugin) == "Bearer token-3"


@pytest.mark.asyncio
async def test_a_plug_in_whose_credentials_are_always_expired_does_not_run_all_the_time(
    tmp_path: Path,
) -> None:
    plugin = counted(tmp_path, "2000-01-01T00:00:00Z")

    assert [await token(plugin) for _ in range(3)] == ["Bearer token-1"] * 3
    plugin.reject(await plugin.get())
    assert await token(plugin) == "Bearer token-1"


@pytest.mark.asyncio
@pytest.mark.parametrize("moment", ["it runs", "asyncio still connects its pipes"])
async def test_a_run_that_is_cancelled_leaves_neither_the_plug_in_nor_its_children(
    tmp_path: Path, moment: str
) -> None:
    pids = tmp_path / "pids"
    text = (
        "import os, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '1000'])\n"
        f"open({str(pids)!r} + '.new', 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        f"os.rename({str(pids)!r} + '.new', {str(pids)!r})\n"
        "time.sleep(1000)"
    )
    run = asyncio.create_task(run_plugin(script(tmp_path, text)))
    for _ in range(2):  # until it is started
        await asyncio.sleep(0)
    while not pids.exists():
        if moment == "it runs":
            await asyncio.sleep(0.01)
        else:
            time.sleep(0.01)  # noqa: ASYNC251 - the event loop gets no turn
    run.cancel()
    await asyncio.wait({run}, timeout=GUARD)
    assert run.done()

    async with asyncio.timeout(GUARD):
        for pid in pids.read_text().split():
            assert await ended(int(pid))
