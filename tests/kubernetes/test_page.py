"""docs/kubernetes.md, typed into a shell: each block works and prints what is shown below it.

The API server is a real one, and so are control planes, Envoys and collectors. `harness.pods` says
what stands for kubelet, controllers and DNS. `kubectl port-forward` needs kubelet, so a program of
the test forwards instead.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from harness.kubernetes import KUBECTL, REPOSITORY, ApiServer
from harness.pods import Pods
from harness.ports import free_ports
from harness.process import SECONDS, clean_environment, until

PAGE = (REPOSITORY / "docs" / "kubernetes.md").read_text()
BLOCK = re.compile(r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
QUICKSTART, OTHERS = (
    BLOCK.findall(part) for part in PAGE.partition("\n## Your own control plane\n")[::2]
)
END = "end of block"
LOCAL_PORTS = ("8080", "18002")
"""Of port-forward, on the reader's machine."""

FORWARD = """
import asyncio, sys

async def pipe(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()

async def main():
    async def forward(reader, writer):
        there_reader, there_writer = await asyncio.open_connection(sys.argv[2], int(sys.argv[3]))
        await asyncio.gather(pipe(reader, there_writer), pipe(there_reader, writer))

    async with await asyncio.start_server(forward, "127.0.0.1", int(sys.argv[1])) as server:
        await server.serve_forever()

asyncio.run(main())
"""

KUBECTL_OF_PAGE = """#!{python}
import os, pathlib, sys

arguments = sys.argv[1:]
if "port-forward" not in arguments:
    os.execv({kubectl!r}, [{kubectl!r}, *arguments])
here, there = arguments[-1].split(":")
pod = pathlib.Path({folder!r}, arguments[1], arguments[-2].replace("/", "-")).read_text()
os.execv(sys.executable, [sys.executable, "-c", {forward!r}, here, pod, there])
"""


class Reader:
    """A reader's shell, in a copy of the checkout's `deploy/`."""

    def __init__(self, api: ApiServer, folder: Path) -> None:
        self.api = api
        self.pods = Pods(api, folder / "pods")
        self._folder = folder
        self._ports = dict(zip(LOCAL_PORTS, map(str, free_ports(len(LOCAL_PORTS))), strict=True))
        ignored = shutil.ignore_patterns("scopeway-xds")
        shutil.copytree(REPOSITORY / "deploy", folder / "deploy", ignore=ignored)
        programs = folder / "bin"
        programs.mkdir()
        _write_program(
            programs / "kubectl",
            KUBECTL_OF_PAGE.format(
                python=sys.executable, kubectl=str(KUBECTL), folder=str(folder), forward=FORWARD
            ),
        )
        _write_program(
            programs / "scopeway",
            f'#!/bin/sh\nexec {sys.executable} -m scopeway.control_plane "$@"\n',
        )
        self._shell = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=clean_environment(
                PATH=f"{programs}:{os.environ['PATH']}",
                KUBECONFIG=str(api.kubeconfig),
                HOME=str(folder),
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def close(self) -> None:
        os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.communicate()
        self.pods.close()

    def type(self, block: str) -> tuple[int, str]:
        """Return the status of a block, and what it prints."""
        for written, free in self._ports.items():
            # only the reader's end of a port-forward
            block = block.replace(f"127.0.0.1:{written}", f"127.0.0.1:{free}")
            block = block.replace(f" {written}:{written} ", f" {free}:{written} ")
        block = block.replace("curl ", f"curl --max-time {SECONDS // 2:g} ")
        assert self._shell.stdin
        assert self._shell.stdout
        self._shell.stdin.write(f"(set -e\n{block}\n)\necho; echo {END} $?\n")
        self._shell.stdin.flush()
        lines = []
        for line in self._shell.stdout:
            before, end, status = line.partition(END)
            lines.append(before.rstrip())
            if end:
                return int(status), "\n".join(lines).rstrip()
        raise AssertionError(f"the shell has ended: {block}")

    def type_until(self, shown: str, block: str) -> None:
        """Type a block until it prints this: an Envoy of the test may not be ready yet."""
        answers = [(0, "")]

        def prints() -> bool:
            answers.append(self.type(block))
            return answers[-1] == (0, shown.rstrip())

        until(prints, f"{block}\n{shown}", log=lambda: f"but {answers[-1]}\n{self.pods.logs()}")

    def start_pods(self) -> None:
        """Do what controllers and kubelet do, once a pod's Secret is there."""
        for each in self.api.get("deployments", "-A")["items"]:
            self.pods.run(each["metadata"]["namespace"], each["metadata"]["name"])
        for namespace, service in (("cloud-1", "scopeway-front"), ("scopeway-system", "")):
            pods = (
                self.pods.at(namespace, service)
                if service
                else [each for each in self.pods.pods if each.namespace == namespace]
            )
            name = f"service-{service}" if service else "deployment-scopeway"
            (self._folder / namespace).mkdir()
            (self._folder / namespace / name).write_text(pods[0].address)

    def bind_to_pods(self) -> None:
        """Write the addresses of the pods into the manifests: all pods share this machine."""
        for cloud in ("cloud-1", "cloud-2"):
            (pod,) = self.pods.at(cloud, "scopeway-front")
            file = self._folder / "deploy/overlays/quickstart/clouds" / f"{cloud}.yaml"
            text = file.read_text()
            assert "bind: 0.0.0.0" in text
            file.write_text(text.replace("bind: 0.0.0.0", f"bind: {pod.address}"))


def _write_program(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o755)


@pytest.fixture
def reader(make_api_server: Any) -> Iterator[Reader]:
    """Her cluster is empty. Her folder has a short name, as sockets lie below it."""
    with TemporaryDirectory() as name:
        (Path(name) / "pods").mkdir()
        reader = Reader(make_api_server(ours=False), Path(name))
        try:
            yield reader
        finally:
            reader.close()


def every_pod_is_an_instance_of_its_cloud(reader: Reader) -> None:
    """Ask all control planes: an Envoy is connected to one of them."""
    replicas = [pod for pod in reader.pods.pods if pod.namespace == "scopeway-system"]
    assert len(replicas) == 2
    admin = " ".join(f"--admin {pod.address}:18002" for pod in replicas)
    status, printed = reader.type(f"scopeway status {admin}")
    assert status == 0, printed
    for cloud in ("cloud-1", "cloud-2"):
        assert re.search(rf"^{cloud} +scopeway-envoy-0 ", printed, re.M), printed


def test_every_block_prints_what_is_shown(reader: Reader) -> None:
    """The last of the quickstart removes everything, so it comes at the end."""
    *quickstart, removal = QUICKSTART
    assert "kubectl delete" in removal[0]
    for block, shown in [*quickstart, *OTHERS, removal]:
        if block == removal[0]:
            every_pod_is_an_instance_of_its_cloud(reader)
        if "clouds\n" in block and "apply" in block:
            reader.bind_to_pods()
        if shown:
            reader.type_until(shown, block)
        else:
            status, printed = reader.type(block)
            assert status == 0, f"{block}\n{printed}\n{reader.pods.logs()}"
        if "create secret" in block and not reader.pods.pods:
            reader.start_pods()
