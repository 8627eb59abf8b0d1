"""Runs the credential plug-in of a kubeconfig (`users[].user.exec`), as kubectl does.

lightkube 1.0.1 runs plug-ins of v1alpha1 and v1beta1 alone, without a time limit, and knows no
expiry. The protocol: https://kubernetes.io/docs/reference/access-authn-authz/authentication/
#client-go-credential-plugins.
"""

import asyncio
import json
import os
import re
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from scopeway.control_plane.kubernetes_api.errors import ApiError, one_line

EXEC_TIMEOUT: Final = 30.0
"""Seconds that a plug-in may take."""
END_TIMEOUT: Final = 1.0
"""Seconds to wait for the end of a plug-in that was killed."""
MAX_OUTPUT: Final = 256 * 1024
"""Bytes that a plug-in may print."""
MAX_REASON: Final = 16 * 1024
"""Bytes of what a plug-in prints about its failure that are looked at."""
VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")

_LONG_WORD: Final = re.compile(r"[^\s]{101,}")
"""A word as long as a token, which an error must not show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecPlugin:
    """A command that prints a credential."""

    version: str
    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cluster: Mapping[str, Any] | None = None
    """What the plug-in is told of the cluster; None without `provideClusterInfo`."""
    hint: str = ""
    """How to install the command, if it is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecCredential:
    """What a plug-in has printed. Either a token or a certificate, or both."""

    token: str = field(default="", repr=False)
    certificate: str = ""
    """PEM."""
    key: str = field(default="", repr=False)
    expires: float | None = None
    """Seconds since 1970; None: when the API server refuses it."""


def read_plugin(
    document: Mapping[str, Any], folder: Path, cluster: Mapping[str, Any]
) -> ExecPlugin:
    """Return the plug-in that a kubeconfig names.

    Args:
        document: The `exec` of a user.
        folder: The folder of the kubeconfig; a command with a slash is relative to it.
        cluster: What the kubeconfig says of the cluster.

    Raises:
        ApiError: the plug-in cannot be used here.
    """
    version, command = document.get("apiVersion"), document.get("command")
    if version not in VERSIONS:
        raise ApiError(
            f"exec: apiVersion {one_line(str(version))} is not supported; use {VERSIONS[0]}",
            refused=True,
        )
    if not isinstance(command, str) or not command:
        raise ApiError("exec: command is missing", refused=True)
    if document.get("interactiveMode") == "Always":
        raise ApiError(f"exec: {one_line(command)} wants a terminal; there is none", refused=True)
    try:
        env = {str(each["name"]): str(each["value"]) for each in document.get("env") or ()}
        args = tuple(str(each) for each in document.get("args") or ())
    except (TypeError, KeyError):
        raise ApiError(
            "exec: args or env do not have the form of a kubeconfig", refused=True
        ) from None
    told = _cluster_info(cluster) if document.get("provideClusterInfo") else None
    return ExecPlugin(
        version=version,
        command=str(folder / command) if "/" in command else command,
        args=args,
        env=env,
        cluster=told,
        hint=one_line(str(document.get("installHint") or "")),
    )


async def run_plugin(plugin: ExecPlugin, *, timeout: float = EXEC_TIMEOUT) -> ExecCredential:  # noqa: ASYNC109
    """Run a plug-in and return its credential.

    Raises:
        ApiError: it failed, took too long, or printed something else.
    """
    info: dict[str, Any] = {
        "apiVersion": plugin.version,
        "kind": "ExecCredential",
        "spec": {"interactive": False},
    }
    if plugin.cluster is not None:
        info["spec"]["cluster"] = plugin.cluster
    env = {**os.environ, **plugin.env, "KUBERNETES_EXEC_INFO": json.dumps(info)}
    name = one_line(plugin.command)
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            plugin.command,
            *plugin.args,
            env=env,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,  # so that its children end with it
        )
    )
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:  # asyncio would end the plug-in without its children
        with suppress(OSError, ValueError):
            await _end(await starting)
        raise
    except (OSError, ValueError) as error:  # the latter: a NUL, or a variable of a strange name
        hint = f"; {plugin.hint}" if plugin.hint else ""
        why = error.strerror if isinstance(error, OSError) else str(error)
        reason = f"the exec plug-in {name} cannot be started: {why}{hint}"
        raise ApiError(reason, refused=True) from None
    streams = (process.stdout, process.stderr)
    readers = [asyncio.create_task(_read(each, name), name="exec plug-in") for each in streams]
    try:
        async with asyncio.timeout(timeout):
            output, errors = await asyncio.gather(*readers)
            code = await process.wait()
    except TimeoutError:
        raise ApiError(f"the exec plug-in {name} did not end within {timeout:g} s") from None
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
        await _end(process)
    if code:
        text = _LONG_WORD.sub("...", errors[:MAX_REASON].decode(errors="replace"))
        said = one_line(text) or "it printed no reason"
        raise ApiError(f"the exec plug-in {name} failed with code {code}: {said}")
    return read_credential(output, plugin.version, name)


def read_credential(output: bytes, version: str, name: str) -> ExecCredential:
    """Return the credential that a plug-in has printed.

    Raises:
        ApiError: it is none. The text has nothing of the output, which may be a token.
    """
    try:
        document = json.loads(output)
        if document.get("kind") != "ExecCredential" or document.get("apiVersion") != version:
            raise ApiError(f"the exec plug-in {name} printed no ExecCredential of {version}")
        status = document["status"]
        texts = {
            key: status.get(key) or ""
            for key in ("token", "clientCertificateData", "clientKeyData")
        }
        until = status.get("expirationTimestamp")
        expires = None if until is None else _seconds(until)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ApiError(f"the exec plug-in {name} printed no valid ExecCredential") from None
    token, certificate, key = texts.values()
    if not all(isinstance(text, str) for text in texts.values()) or bool(certificate) != bool(key):
        raise ApiError(f"the exec plug-in {name} printed no valid ExecCredential")
    if not token and not certificate:
        raise ApiError(f"the exec plug-in {name} printed neither a token nor a certificate")
    if not token.isascii() or not token.isprintable():
        raise ApiError(f"the exec plug-in {name} printed a token with invalid characters")
    return ExecCredential(token=token, certificate=certificate, key=key, expires=expires)


def _seconds(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _cluster_info(cluster: Mapping[str, Any]) -> dict[str, Any]:
    keys = {
        "server": "server",
        "tls-server-name": "tls-server-name",
        "insecure-skip-tls-verify": "insecure-skip-tls-verify",
        "certificate-authority-data": "certificate-authority-data",
        "proxy-url": "proxy-url",
    }
    return {told: cluster[key] for key, told in keys.items() if key in cluster}


async def _read(stream: asyncio.StreamReader | None, name: str) -> bytes:
    assert stream is not None
    found = b""
    while part := await stream.read(64 * 1024):
        found += part
        if len(found) > MAX_OUTPUT:
            raise ApiError(f"the exec plug-in {name} printed more than {MAX_OUTPUT} bytes")
    return found


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a plug-in that runs, with its children."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):  # a child that left the group may keep the pipes open
        async with asyncio.timeout(END_TIMEOUT):
            # `wait` returns only once the pipes were read to their end
            await asyncio.gather(_drop(process.stdout), _drop(process.stderr), process.wait())


async def _drop(stream: asyncio.StreamReader | None) -> None:
    assert stream is not None
    while await stream.read(64 * 1024):
        pass
