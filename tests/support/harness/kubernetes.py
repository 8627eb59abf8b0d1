"""A real Kubernetes API server on loopback, with its etcd: no kubelet, no controllers.

with ApiServer(folder) as api:
    api.kubectl("apply", "--server-side", "-f", "-", text=manifest)
    serve = stack.serve(registry=f"kubernetes:{api.kubeconfig}")

`make test-kubernetes` builds the programs (tests/support/kubernetes_programs) and installs kubectl.
"""

import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Sequence
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPSHandler, OpenerDirector, ProxyHandler, build_opener

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from harness.ports import free_ports
from harness.process import Process, clean_environment

REPOSITORY = Path(__file__).parents[3]
KUBECTL = REPOSITORY / ".venv-kubernetes/bin/kubectl"
BUILD = REPOSITORY / "tests/support/kubernetes_programs/build_programs"
OURS = [REPOSITORY / "deploy/crds", REPOSITORY / "deploy/admission"]
"""Our resources, and what is checked of them when they are applied."""
READY_SECONDS = 120.0
"""An API server takes 2 s of CPU time to start, and more than 10 s on a machine that is busy."""
END_SECONDS = 20.0


class KubectlFailed(Exception):
    """kubectl ended with another status than 0; the text is what it wrote to standard error."""


class ApiServer:
    """An API server and its etcd; ports, certificates and data outlive a restart."""

    def __init__(self, folder: Path, *flags: str) -> None:
        """Start nothing yet.

        Args:
            folder: Gets certificates, logs, kubeconfigs and etcd's data.
            flags: More options of kube-apiserver.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port, self.etcd_port, peer = free_ports(3)
        self.data = folder / "etcd"
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(folder / "ca.crt")
        self._write_server_files()
        programs = programs_folder()
        self.etcd = Process("etcd", _etcd(programs, self.data, self.etcd_port, peer), folder)
        self.server = Process("kube-apiserver", self._command(programs, flags), folder)
        self.kubeconfig = self.kubeconfig_of("admin", group="system:masters")

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def registry(self) -> str:
        """The registry, as `scopeway` is told it; with all rights."""
        return f"kubernetes:{self.kubeconfig}"

    def __enter__(self) -> "ApiServer":
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> "ApiServer":
        self.start_etcd()
        self.start_server()
        return self

    def start_etcd(self) -> None:
        self.etcd.launch()
        self.etcd.wait_for_ports(self.etcd_port)

    def start_server(self) -> None:
        """Start it, and wait until it is ready; custom resources may not be served yet."""
        self.server.launch()
        self.server.wait_until(self._is_ready, "it is ready", seconds=READY_SECONDS)

    def stop(self) -> None:
        """Ask both to end; the API server first, which would wait for its etcd."""
        self.server.stop(seconds=END_SECONDS)
        self.etcd.stop(seconds=END_SECONDS)

    def kill(self) -> None:
        self.server.kill()
        self.etcd.kill()

    def save(self, backup: Path) -> None:
        """Copy etcd's data; both processes must have ended."""
        shutil.copytree(self.data, backup)

    def restore(self, backup: Path) -> None:
        """Put a copy of etcd's data in place; both processes must have ended."""
        shutil.rmtree(self.data)
        shutil.copytree(backup, self.data)

    def kubectl(
        self,
        *arguments: object,
        text: str | None = None,
        check: bool = True,
        kubeconfig: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl.

        Args:
            arguments: Its arguments.
            text: Its standard input.
            check: Whether a failure raises KubectlFailed.
            kubeconfig: Who it is; None: the administrator.
            environment: More variables of its environment.
        """
        done = subprocess.run(
            [str(KUBECTL), *map(str, arguments)],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=READY_SECONDS,
            env=clean_environment(
                **{"KUBECONFIG": str(kubeconfig or self.kubeconfig), "HOME": str(self.folder)}
                | (environment or {})
            ),
        )
        if check and done.returncode:
            raise KubectlFailed(f"kubectl {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return done

    def apply(self, *documents: object, kubeconfig: Path | None = None) -> None:
        """Apply documents on the server side, as the field manager kubectl."""
        text = "\n---\n".join(json.dumps(each) for each in documents)
        self.kubectl("apply", "--server-side", "-f", "-", text=text, kubeconfig=kubeconfig)

    def apply_ours(self, folders: Sequence[Path] = OURS) -> "ApiServer":
        """Apply our resources, and wait until they are served."""
        for folder in folders:
            if folder.is_dir():
                self.kubectl("apply", "--server-side", "-k", folder)
        for crd in self.get("crds")["items"]:
            self.kubectl("wait", "--for=condition=Established", f"crd/{crd['metadata']['name']}")
        if OURS[1] in folders:
            self._wait_for_admission()
        return self

    def _wait_for_admission(self) -> None:
        """Wait until our policies are in force, some moments after they were applied."""
        wrong = {"apiVersion": "scopeway.io/v1alpha1", "metadata": {"name": "sensor"}, "strange": 1}
        options = ("--dry-run=server", "--validate=false", "-f", "-")
        for kind in ("EdgeCloud", "Cordon", "ServiceType"):
            text = json.dumps({**wrong, "kind": kind})
            for _ in range(100):
                if self.kubectl("create", *options, text=text, check=False).returncode:
                    break
            else:
                raise RuntimeError(f"no admission policy for {kind} is in force")

    def get(self, *arguments: object) -> Any:
        """Return what `kubectl get … -o json` prints."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json").stdout)

    def read(self, path: str) -> bytes | None:
        """Return what the administrator gets at a path; None if nothing is there.

        For what is looked at again and again: kubectl takes 0.2 s of CPU time for each answer.
        """
        try:
            with self._opener.open(f"{self.url}{path}", timeout=END_SECONDS) as answer:
                found: bytes = answer.read()
                return found
        except HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return None
            raise

    @cached_property
    def _opener(self) -> OpenerDirector:
        login = self.folder / "user-admin"
        context = ssl.create_default_context(cafile=self.folder / "ca.crt")
        context.load_cert_chain(login / "tls.crt", login / "tls.key")
        return build_opener(HTTPSHandler(context=context), ProxyHandler({}))

    def kubeconfig_of(self, user: str, *, group: str = "") -> Path:
        """Write the kubeconfig of a user with a client certificate."""
        folder = self.folder / f"user-{user}"
        folder.mkdir(exist_ok=True)
        # Go's TLS refuses a certificate without any subject alternative name
        made = self._authority.issue_cert(
            f"{user}.invalid", common_name=user, organization_name=group or None
        )
        made.cert_chain_pems[0].write_to_path(folder / "tls.crt")
        made.private_key_pem.write_to_path(folder / "tls.key")
        login = {
            "client-certificate": str(folder / "tls.crt"),
            "client-key": str(folder / "tls.key"),
        }
        return self._write_kubeconfig(folder / "kubeconfig", user, login)

    def kubeconfig_for(self, account: str, *, namespace: str = "default") -> Path:
        """Write the kubeconfig of a service account, with a token of one hour."""
        token = self.token(account, namespace=namespace)
        path = self.folder / f"account-{namespace}-{account}"
        return self._write_kubeconfig(path, account, {"token": token})

    def token(self, account: str, *, namespace: str = "default") -> str:
        """Return a token of a service account, valid for one hour."""
        return self.kubectl("-n", namespace, "create", "token", account).stdout.strip()

    def _write_kubeconfig(self, path: Path, user: str, login: dict[str, str]) -> Path:
        cluster = {"server": self.url, "certificate-authority": str(self.folder / "ca.crt")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": user, "user": login}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": user}}],
            "current-context": "tests",
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(config, indent=2))  # which is YAML as well
        return path

    def _write_server_files(self) -> None:
        names = ("127.0.0.1", "localhost", "kubernetes.default.svc")
        made = self._authority.issue_cert(*names)
        made.cert_chain_pems[0].write_to_path(self.folder / "server.crt")
        made.private_key_pem.write_to_path(self.folder / "server.key")
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        (self.folder / "accounts.key").write_bytes(key)

    def _command(self, programs: Path, flags: Sequence[str]) -> list[object]:
        options = {
            "etcd-servers": f"http://127.0.0.1:{self.etcd_port}",
            "bind-address": "127.0.0.1",
            "secure-port": self.port,
            "advertise-address": "127.0.0.1",
            "endpoint-reconciler-type": "none",  # 127.0.0.1 is no endpoint
            "tls-cert-file": self.folder / "server.crt",
            "tls-private-key-file": self.folder / "server.key",
            "client-ca-file": self.folder / "ca.crt",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": self.folder / "accounts.key",
            "service-account-signing-key-file": self.folder / "accounts.key",
            "service-cluster-ip-range": "10.96.0.0/24",
            "authorization-mode": "RBAC",
            "profiling": "false",
        }
        return [
            programs / "kube-apiserver",
            *(f"--{name}={value}" for name, value in options.items()),
            *flags,
        ]

    def _is_ready(self) -> bool:
        context = ssl.create_default_context(cafile=self.folder / "ca.crt")
        opener = build_opener(HTTPSHandler(context=context), ProxyHandler({}))
        try:
            with opener.open(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.read() == b"ok")
        except (URLError, OSError):
            return False


def programs_folder() -> Path:
    """Return the folder of kube-apiserver and etcd, which must be built.

    Raises:
        RuntimeError: they cannot be built; the text says why.
    """
    built = subprocess.run([BUILD], stdout=subprocess.PIPE, text=True, check=False, env=os.environ)
    if built.returncode:
        raise RuntimeError(f"{BUILD.name} failed; see standard error")
    return Path(built.stdout.strip())


def _etcd(programs: Path, data: Path, port: int, peer: int) -> list[object]:
    options = {
        "name": "one",
        "data-dir": data,
        "listen-client-urls": f"http://127.0.0.1:{port}",
        "advertise-client-urls": f"http://127.0.0.1:{port}",
        "listen-peer-urls": f"http://127.0.0.1:{peer}",
        "initial-advertise-peer-urls": f"http://127.0.0.1:{peer}",
        "initial-cluster": f"one=http://127.0.0.1:{peer}",
        "heartbeat-interval": 20,  # alone, it has nobody to wait for
        "election-timeout": 200,
        "log-level": "error",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [programs / "etcd", "--unsafe-no-fsync", *flags]
