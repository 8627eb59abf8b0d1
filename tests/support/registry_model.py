"""A real etcd, alone on free ports, and a reader of a registry's batches."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from aetcd import rpc

from control_plane.clouds.document import to_document
from control_plane.clouds.inventory import Inventory
from control_plane.clouds.model import Cloud, Endpoint, Service
from control_plane.registry import Batch, Catalog, Registry
from control_plane.registry.documents import to_json
from control_plane.registry.etcd_client import connected
from control_plane.registry.etcd_url import parse_etcd_url


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def a_cloud(name: str, *, port: int = 9292, **labels: str) -> Cloud:
    image = Service(endpoints=(Endpoint(address="127.0.0.1", port=port),))
    return Cloud(name=name, labels=labels, services={"image": image})


def written(cloud: Cloud) -> str:
    """Return the YAML document of a cloud."""
    return f"---\n{json.dumps(to_document(cloud), indent=1)}\n"


class Etcd:
    """One etcd process with its data in a folder."""

    def __init__(self, folder: Path, *options: str, scheme: str = "http") -> None:
        self.folder = folder
        self.port = free_port()
        self.peer_port = free_port()
        self.endpoint = f"127.0.0.1:{self.port}"
        self.scheme = scheme
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        client, peer = f"{self.scheme}://{self.endpoint}", f"http://127.0.0.1:{self.peer_port}"
        options = {
            "name": "one",
            "data-dir": self.folder / "data",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"one={peer}",
            "heartbeat-interval": 20,
            "election-timeout": 200,
            "log-level": "fatal",
        }
        program = Path(sys.executable).parent / "etcd"
        self.process = subprocess.Popen(
            [
                program,
                "--unsafe-no-fsync",
                *(f"--{key}={value}" for key, value in options.items()),
                *self.options,
            ],
            env={"PATH": os.environ["PATH"]},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if self.scheme == "http":
            self._wait()

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """Hold it; its connections stay open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def control(self, *words: str) -> str:
        """Run etcdctl."""
        program = Path(sys.executable).parent / "etcdctl"
        command = [program, f"--endpoints={self.endpoint}", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
        return done.stdout

    def _wait(self) -> None:
        give_up = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"http://{self.endpoint}/health", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                assert time.monotonic() < give_up, "etcd does not start"
            time.sleep(0.02)


async def fill(url: str, clouds: Iterable[Cloud]) -> None:
    """Put many clouds into an etcd quickly."""
    where = parse_etcd_url(url)
    async with connected(where) as session:
        for cloud in clouds:
            key = f"{where.prefix}/clouds/{cloud.name}".encode()
            await session.call(session.kv.Put, rpc.PutRequest(key=key, value=to_json(cloud)))


class Reader:
    """Folds the batches of a registry and waits for what a test expects of them."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.catalog = Catalog()
        self.problems: dict[str, str] = {}
        self._news = asyncio.Condition()

    @property
    def inventory(self) -> Inventory:
        return self.catalog.inventory

    @property
    def names(self) -> set[str]:
        return {cloud.name for cloud in self.inventory}

    async def until(self, expected: Callable[[], bool]) -> None:
        async with asyncio.timeout(30), self._news:
            await self._news.wait_for(expected)

    async def read(self, registry: Registry) -> None:
        async for batch in registry.watch():
            async with self._news:
                self.batches.append(batch)
                change = self.catalog.apply(batch, now=len(self.batches) * 1000.0)
                self.problems = {at: str(problem) for at, problem in change.problems.items()}
                self._news.notify_all()


@asynccontextmanager
async def reading(registry: Registry) -> AsyncIterator[Reader]:
    """Read a registry beside the test, from its first batch on."""
    reader = Reader()
    task = asyncio.create_task(reader.read(registry), name="reader")
    try:
        waiting = asyncio.create_task(reader.until(lambda: bool(reader.batches)))
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            task.result()
        yield reader
    finally:
        task.cancel()
        await asyncio.wait({task})
        await registry.close()
