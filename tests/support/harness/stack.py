"""The whole of Scopeway as processes: a real etcd, real `scopeway serve`s, real Envoys.

with Stack(folder) as stack:
    serve = stack.serve()
    stack.put(manifest("cloud-2", services=...))
    cloud = stack.site("cloud-1", services=...)
    send(cloud.front.port, "/image/v2/images", [("X-Scope", "{glance:cloud-2}")])
"""

import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import grpc
from aetcd import rpc
from prometheus_client.parser import text_string_to_metric_families

from harness.envoy import Envoy
from harness.fleet import manifest
from harness.http import Response, send
from harness.identities import Identities
from harness.ports import free_ports, listens
from harness.process import Process, ProcessFailed, clean_environment, until
from harness.services import Services, at
from harness.version_before import control_plane_of
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.registry.documents import to_json
from scopeway.control_plane.translator.bootstrap import Channel, bootstrap

REPOSITORY = Path(__file__).parents[3]
PREFIX = "/scopeway"
KEYS = f"{PREFIX}/clouds/"
TYPES = 4
"""That an Envoy asks for at least: clusters, listeners, routes, filters; and secrets, with TLS."""
TRANSACTION = 100
"""Puts of one etcd transaction; etcd refuses more than 128."""


class Etcd(Process):
    """One etcd; its ports and its data outlive a restart."""

    def __init__(self, folder: Path) -> None:
        self.port, peer = free_ports(2)
        self.data = folder / "etcd"
        options = {
            "name": "one",
            "data-dir": self.data,
            "listen-client-urls": f"http://127.0.0.1:{self.port}",
            "advertise-client-urls": f"http://127.0.0.1:{self.port}",
            "listen-peer-urls": f"http://127.0.0.1:{peer}",
            "initial-advertise-peer-urls": f"http://127.0.0.1:{peer}",
            "initial-cluster": f"one=http://127.0.0.1:{peer}",
            # alone, it has nobody to wait for
            "heartbeat-interval": 20,
            "election-timeout": 200,
            "log-level": "error",
        }
        program = Path(sys.executable).parent / "etcd"
        flags = [f"--{name}={value}" for name, value in options.items()]
        super().__init__("etcd", [program, "--unsafe-no-fsync", *flags], folder)

    @property
    def url(self) -> str:
        """The registry, as `scopeway` is told it."""
        return f"etcd://127.0.0.1:{self.port}"

    def start(self) -> "Etcd":
        self.launch()
        self.wait_until(self._is_healthy, "etcd answers")
        return self

    def wipe(self) -> None:
        """Set it up anew: the same member of the same cluster by name and id, without any data."""
        self.kill()
        shutil.rmtree(self.data)
        self.start()

    def put(self, clouds: Iterable[Cloud]) -> None:
        """Register clouds, many at once."""
        self._write([_put(each.name, to_json(each)) for each in clouds])

    def put_text(self, name: str, text: bytes) -> None:
        """Write anything in the place of a cloud."""
        self._write([_put(name, text)])

    def delete(self, names: Iterable[str]) -> None:
        """Take clouds away, many at once."""
        self._write(
            [
                rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=_key(each)))
                for each in names
            ]
        )

    def names(self) -> set[str]:
        """Return the names of the registered clouds."""
        with self._channel() as channel:
            end = KEYS[:-1].encode() + b"0"
            request = rpc.RangeRequest(key=KEYS.encode(), range_end=end, keys_only=True)
            found = rpc.KVStub(channel).Range(request).kvs
        return {each.key.decode().removeprefix(KEYS) for each in found}

    def lease_of(self, key: str) -> int:
        """Return the lease of a key; 0 where it has none."""
        with self._channel() as channel:
            (found,) = rpc.KVStub(channel).Range(rpc.RangeRequest(key=key.encode())).kvs
        return int(found.lease)

    def compact(self) -> int:
        """Forget all revisions but the last; return it."""
        with self._channel() as channel:
            answer = rpc.KVStub(channel).Range(rpc.RangeRequest(key=b"0", count_only=True))
            request = rpc.CompactionRequest(revision=answer.header.revision, physical=True)
            rpc.KVStub(channel).Compact(request)
        return int(answer.header.revision)

    def _write(self, operations: Sequence[Any]) -> None:
        with self._channel() as channel:
            for first in range(0, len(operations), TRANSACTION):
                request = rpc.TxnRequest(success=operations[first : first + TRANSACTION])
                rpc.KVStub(channel).Txn(request)

    def _channel(self) -> Any:
        options = [("grpc.enable_http_proxy", 0)]
        return grpc.insecure_channel(f"127.0.0.1:{self.port}", options=options)

    def _is_healthy(self) -> bool:
        try:
            return send(self.port, "/health").status == 200
        except OSError:
            return False


class ServeProcess(Process):
    """One `scopeway serve`; its ports outlive a restart."""

    def __init__(
        self,
        registry: str,
        folder: Path,
        *options: object,
        name: str = "serve",
        sources: Path = REPOSITORY,
        xds: tuple[str, int] | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            registry: As on the command line.
            folder: Gets its log.
            options: More of the command line.
            name: Of its log.
            sources: Of the version that runs.
            xds: Where it listens for Envoys; None: at a free port.
        """
        xds_port, self.admin_port = free_ports(2)
        self.xds = xds or ("127.0.0.1", xds_port)
        command = [
            *(sys.executable, "-m", control_plane_of(sources), "serve"),
            *("--registry", registry),
            *("--xds-listen", "{}:{}".format(*self.xds)),
            *("--admin-listen", f"127.0.0.1:{self.admin_port}"),
        ]
        super().__init__(name, [*command, *options], folder, cwd=sources)

    @property
    def xds_port(self) -> int:
        return self.xds[1]

    def start(self) -> "ServeProcess":
        self.launch()
        self.wait_until(self.is_ready, "/readyz is 200")
        return self

    def restart(self, sources: Path | None = None) -> None:
        """Kill it, where it runs, and start it again; with `sources`, from those from now on."""
        self.kill()
        if sources:
            self.cwd = sources
            self.command[2] = control_plane_of(sources)
        self.start()

    def is_ready(self) -> bool:
        try:
            return self.get("/readyz").status == 200
        except OSError:
            return False

    def get(self, path: str) -> Response:
        return send(self.admin_port, path, host="localhost")

    def status(self) -> Any:
        """Return what /status says, once the control plane has time for it."""
        answers: list[Response] = []

        def ask() -> bool:
            answers[:] = [self.get("/status")]
            return answers[0].status == 200

        self.wait_until(ask, "/status is 200")
        return answers[0].json

    def serves(self, envoy: Envoy) -> bool:
        """Return whether an Envoy is connected and has said what it has of each type."""
        found = [each["types"] for each in self.status()["streams"] if each["node"] == envoy.node]
        return any(len(types) >= TYPES for types in found)

    def metrics(self) -> dict[str, float]:
        """Return all samples, `name` or `name{type}` with the last word of the type URL."""
        text = self.get("/metrics").body.decode()
        samples = (
            each for family in text_string_to_metric_families(text) for each in family.samples
        )
        return {_sample_name(each.name, each.labels): each.value for each in samples}

    def sent(self) -> dict[str, float]:
        """Return how many resources were sent, by the last word of their type."""
        prefix = "xds_resources_sent_total{"
        return {
            name.removeprefix(prefix).removesuffix("}"): value
            for name, value in self.metrics().items()
            if name.startswith(prefix)
        }

    def wait_sent(self, expected: dict[str, float]) -> None:
        """Wait until exactly so many resources were sent: bytes leave before they are counted."""
        with suppress(ProcessFailed):
            self.wait_until(lambda: self.sent() == expected, "")
        assert self.sent() == expected


class ProcessStack(Services):
    """Control planes over one registry, and Envoys; a subclass owns the registry."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.serves: list[ServeProcess] = []
        self.identities: Identities | None = None
        """Where set, control planes and Envoys speak mutual TLS."""
        self.xds_name: tuple[str, int] | None = None
        """Where set, the host name and the port by which Envoys know all control planes."""
        self.hurry = True
        """Whether Envoys are sooner back at a restarted control plane than those of many should
        be, and look sooner for another one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def registry(self) -> str:
        """The registry, as `scopeway` is told it."""
        raise NotImplementedError

    def put(self, *clouds: Cloud) -> None:
        """Register clouds."""
        raise NotImplementedError

    def serve(
        self,
        *options: object,
        start: bool = True,
        sources: Path = REPOSITORY,
        xds: tuple[str, int] | None = None,
    ) -> ServeProcess:
        """Return a control plane over the registry, started unless told otherwise."""
        name = f"serve-{len(self.serves) + 1}"
        if self.identities is not None:
            options = (*self.identities.serve_options(), *options)
        serve = ServeProcess(
            self.registry, self.folder, *options, name=name, sources=sources, xds=xds
        )
        self.serves.append(serve)
        self._closing.callback(serve.kill)
        return serve.start() if start else serve

    def site(
        self,
        name: str,
        *serves: ServeProcess,
        peer: bool = True,
        collector: Path | None = None,
        **spec: Any,
    ) -> Cloud:
        """Register a cloud with a front (and a peer), and start its Envoy.

        Args:
            name: Of the cloud.
            serves: The control planes that the Envoy knows, by default all of them.
            peer: Whether it has one.
            collector: The folder of the sockets that the Envoy shares with a collector.
            spec: Of its manifest.
        """
        front, peer_port = free_ports(2)
        spec["front"] = at(front)
        if peer:
            spec["peer"] = at(peer_port)
        cloud = manifest(name, **spec)
        self.put(cloud)
        envoy = self.start_envoy(name, *serves, collector=collector).wait_ready()
        # ready it is also while the control plane hasn't heard of the cloud yet
        until(lambda: listens(front), f"the front of {name} listens", log=envoy.tail)
        return cloud

    def start_envoy(
        self,
        cloud: str,
        *serves: ServeProcess,
        channel: Channel | None = None,
        name: str | None = None,
        collector: Path | None = None,
    ) -> Envoy:
        """Start an Envoy of a cloud; `name` it where the cloud has another one already."""
        by_name = [self.xds_name] if self.xds_name and not serves else []
        addresses = by_name or [each.xds for each in serves or self.serves]
        if channel is None and self.identities is not None:
            channel = self.identities.channel(cloud)
        config = bootstrap(
            cloud=cloud,
            xds=addresses,
            admin=("127.0.0.1", 0),
            channel=channel,
            collector=str(collector or ""),
        )
        if self.hurry:
            _hurry(config)
        return self.run_envoy(name or cloud, config)

    def logs(self) -> str:
        """Return the ends of all logs, for a failed test."""
        return "\n".join([*(each.tail() for each in self.serves), super().logs()])


class Stack(ProcessStack):
    """Everything that one module of tests, or one bench, needs; closes what it has started."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.etcd = Etcd(folder)
        self._closing.callback(self.etcd.kill)
        self.etcd.start()

    @property
    def registry(self) -> str:
        return self.etcd.url

    def put(self, *clouds: Cloud) -> None:
        self.etcd.put(clouds)

    def logs(self) -> str:
        return f"{self.etcd.tail()}\n{super().logs()}"


def run_scopeway(*arguments: object, status: int = 0, sources: Path = REPOSITORY) -> str:
    """Run a `scopeway` command as a process; return its standard output.

    Args:
        arguments: As on the command line.
        status: The exit status that is expected.
        sources: Of the version that is run.
    """
    done = subprocess.run(
        [sys.executable, "-m", control_plane_of(sources), *map(str, arguments)],
        cwd=sources,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, f"{arguments} ended with {done.returncode}\n{done.stderr}"
    return done.stdout


def _hurry(config: dict[str, Any]) -> None:
    """Shorten what an Envoy waits before it tries a control plane again, or asks for its name."""
    grpc_service = config["dynamic_resources"]["ads_config"]["grpc_services"][0]
    grpc_service["envoy_grpc"]["retry_policy"]["retry_back_off"]["max_interval"] = "0.5s"
    (control_plane,) = config["static_resources"]["clusters"]
    control_plane["dns_refresh_rate"] = "0.2s"


def _key(name: str) -> bytes:
    return f"{KEYS}{name}".encode()


def _put(name: str, text: bytes) -> Any:
    return rpc.RequestOp(request_put=rpc.PutRequest(key=_key(name), value=text))


def _sample_name(name: str, labels: dict[str, str]) -> str:
    kinds = ",".join(value.rpartition(".")[2] for value in labels.values())
    return f"{name}{{{kinds}}}" if kinds else name
