"""One registry entry, or one certified site, against the control plane that serves all.

Each function runs one attack against real etcd, `scopeway serve` and Envoy with mutual TLS, and
returns its figures by name: the first uses of an honest client (milliseconds, p50, p99 and the
longest) alone and beside the attack, and the memory of the control plane (MiB). The longest first
use bounds the longest turn of its event loop. The attacker gets half a core.
"""

import itertools
import json
import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue

BENCH = Path(__file__).parents[1]
sys.path.insert(0, str(BENCH))

import grpc  # noqa: E402 - the path has to be there first
from fixtures import stack  # noqa: E402
from hostile.attacker import held_back  # noqa: E402

from harness.fleet import at, manifest  # noqa: E402
from harness.http import Connection  # noqa: E402
from harness.identities import Identities  # noqa: E402
from harness.ports import free_ports  # noqa: E402
from harness.stack import ServeProcess, Stack  # noqa: E402
from scopeway.control_plane.clouds.model import Cloud  # noqa: E402
from scopeway.control_plane.scope import SERVICE_TYPES  # noqa: E402
from scopeway.xds.encoding.protobuf import field_bytes, field_string, fields  # noqa: E402
from scopeway.xds.type_urls import ROUTE  # noqa: E402

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
METHODS = ["COPY", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
CLOUDS = 10_000
SAMPLES = 250
PAUSE = 0.02
"""Seconds between two first uses: a front lets 100 a second pass."""
FAILED = 3000.0
"""Milliseconds that a failed first use counts: the time-out of Envoy."""
MIB = 1 << 20
EVIL = "cloud-3"

Figures = Mapping[str, float]
Attack = Callable[["Target"], None]


class Target:
    """What an attacker's process is told."""

    def __init__(self, stack: Stack, serve: ServeProcess) -> None:
        assert stack.identities is not None
        files = stack.identities.of(EVIL)
        self.files = [
            path.read_bytes() for path in (files.authorities, files.key, files.certificate)
        ]
        self.xds, self.etcd = serve.xds_port, stack.etcd.port

    def stream(self, node: bytes, type_url: str, names: list[str]) -> Callable[[], bytes]:
        """Open a stream that subscribes to names; return what reads and acknowledges an answer."""
        authorities, key, certificate = self.files
        options = [
            ("grpc.ssl_target_name_override", "localhost"),
            ("grpc.max_receive_message_length", -1),
            ("grpc.enable_http_proxy", 0),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        credentials = grpc.ssl_channel_credentials(authorities, key, certificate)
        channel = grpc.secure_channel(f"127.0.0.1:{self.xds}", credentials, options=options)
        requests: SimpleQueue[bytes] = SimpleQueue()
        call = channel.stream_stream(METHOD)(iter(requests.get, None))
        subscribe = b"".join(field_string(3, name) for name in names)
        requests.put(node + field_string(2, type_url) + subscribe)

        def read() -> bytes:
            answer: bytes = next(call)
            nonces = [answer[start:end] for number, start, end in fields(answer) if number == 5]
            requests.put(field_string(2, type_url) + b"".join(field_bytes(6, n) for n in nonces))
            return answer

        return read

    def put(self, *entries: tuple[str, bytes]) -> None:
        """Write entries of the registry."""
        from aetcd import rpc

        with grpc.insecure_channel(
            f"127.0.0.1:{self.etcd}", options=[("grpc.enable_http_proxy", 0)]
        ) as channel:
            for name, text in entries:
                key = f"/scopeway/clouds/{name}".encode()
                rpc.KVStub(channel).Put(rpc.PutRequest(key=key, value=text))


def node(cloud: str, *, log: str = "/dev/null", **paths: str) -> bytes:
    """Return the field of a request that says who asks."""
    files = {"certificate": "/c", "key": "/k", "authorities": "/a", **paths}
    metadata = {"scopeway": {"protocol": "2", "access_log": log, "identity": files}}
    body = field_string(1, f"{cloud}/envoy{log}") + field_string(2, cloud)
    return field_bytes(1, body + field_bytes(3, _struct(metadata)))


def _struct(values: Mapping[str, object]) -> bytes:
    entries = b""
    for key, value in values.items():
        if isinstance(value, str):
            body = field_string(3, value)
        else:
            assert isinstance(value, dict)
            body = field_bytes(5, _struct(value))
        entries += field_bytes(1, field_string(1, key) + field_bytes(2, body))
    return entries


def entry(name: str, labels: Mapping[str, str], **spec: object) -> tuple[str, bytes]:
    """Return an entry of the registry that may be refused."""
    document = {
        "apiVersion": "scopeway.io/v1alpha1",
        "kind": "EdgeCloud",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }
    return name, json.dumps(document, separators=(",", ":")).encode()


# the attacks: each goes on until its process is ended


def many_labels(target: Target) -> None:
    """An entry of 256 KiB, all labels, and then others."""
    for turn in _turns():
        labels = {f"{turn:x}k{number:x}": "b" for number in range(12_000)}
        target.put(entry(EVIL, labels))


def other_labels(target: Target) -> None:
    """As many labels as may be, and then others."""
    for turn in _turns():
        target.put(entry(EVIL, {f"{turn:x}k{number:x}": "b" for number in range(64)}))


def many_rules(target: Target) -> None:
    """As many rules as may be, for clouds that all bear the label, read by a stream of the site.

    One of those clouds loses the label and gets it back meanwhile.
    """
    front, peer = free_ports(2)
    services = sorted(SERVICE_TYPES)
    rules = [
        {
            "clouds": ["[fleet=f]"],
            "services": [services[number % len(services)]],
            "methods": [METHODS[number // 8 % 8]],
        }
        for number in range(256)
    ]
    target.put(entry(EVIL, {}, front=at(front), peer=at(peer), accept=rules))
    time.sleep(0.5)
    read = target.stream(node(EVIL), ROUTE, ["peer"])
    for turn in _turns():
        target.put(entry("edge-7", {"fleet": "f"} if turn % 2 else {}))
        read()


def other_files(target: Target) -> None:
    """Streams that name other files each time, the paths as long as may be and longer."""
    for turn in _turns():
        length = 4000 if turn % 2 else 1_000_000
        path = f"/{turn:06}{'x' * length}"
        read = target.stream(node(EVIL, certificate=path), ROUTE, ["peer"])
        try:
            read()
        except grpc.RpcError:  # refused
            continue


def rewrites(target: Target) -> None:
    """The largest site, rewritten 100 times a second, with eight streams that have other logs."""
    front, peer = free_ports(2)
    ports = {service: 20_000 + number for number, service in enumerate(SERVICE_TYPES)}
    kept = [f"{'k' * 40}-{number}" for number in range(2048)]
    entries = [
        entry(
            EVIL,
            {},
            front={**at(front), "ports": ports},
            peer=at(peer),
            accept=[
                {
                    "clouds": [f"version-{version}", "[fleet=f]"],
                    "services": ["image"],
                    "identity": {"clouds": kept, "ids": "kept"},
                }
            ],
        )
        for version in range(2)
    ]

    def follow(number: int) -> None:
        while True:
            read = target.stream(node(EVIL, log=f"/log/{number}"), ROUTE, ["peer"])
            with suppress(grpc.RpcError):
                while True:
                    read()
            time.sleep(1)

    target.put(entries[0])
    for number in range(8):
        threading.Thread(target=follow, args=(number,), daemon=True).start()
    begin = time.monotonic()
    for count in itertools.count(1):
        target.put(entries[count % 2])
        time.sleep(max(begin + count / 100 - time.monotonic(), 0))


def _turns() -> Iterator[int]:
    """Count, and rest as long as the turn before took."""
    turn, start = 0, time.perf_counter()
    while True:
        yield turn
        turn += 1
        time.sleep(max(time.perf_counter() - start, 0.01))
        start = time.perf_counter()


# the benches


def labels() -> Figures:
    """12,000 labels of one entry, and then others."""
    return _beside(many_labels)


def churn() -> Figures:
    """64 labels of one entry, and then others, all the time."""
    return _beside(other_labels)


def policy() -> Figures:
    """256 rules for a label that 10,000 clouds bear, and a change of one of them all the time."""
    return _beside(many_rules)


def identity_cache() -> Figures:
    """Other names of certificates on each stream."""
    return _beside(other_files)


def rewritten() -> Figures:
    """The largest site, rewritten 100 times a second."""
    return _beside(rewrites)


CASES: Mapping[str, Callable[[], Figures]] = {
    "labels": labels,
    "churn": churn,
    "policy": policy,
    "rewritten": rewritten,
    "identity_cache": identity_cache,
}


def _beside(attack: Attack) -> Figures:
    with stack() as started:
        started.identities = Identities(started.folder)
        started.put(*(Cloud(name=f"edge-{n}", labels={"fleet": "f"}) for n in range(CLOUDS)))
        serve = started.serve()
        image = started.service("image")
        started.site("cloud-2", services={"image": image}, accept=[{"clouds": ["cloud-1"]}])
        site = started.site("cloud-1", services={"image": image}, accept=[])
        started.put(manifest(EVIL))
        assert site.front
        with Connection(site.front.port) as connection:
            _first_uses(connection, "warm", 20)
            alone = _first_uses(connection, "alone", SAMPLES)
            puts_alone = _puts(started, connection, "put-alone")
            before = serve.memory()
            with _running(attack, Target(started, serve)):
                time.sleep(1)
                cpu, begin = serve.cpu(), time.monotonic()
                beside = _first_uses(connection, "beside", SAMPLES)
                puts_beside = _puts(started, connection, "put-beside")
                cores = (serve.cpu() - cpu) / (time.monotonic() - begin)
            after = serve.memory()
    return {
        **_figures("alone", alone),
        **_figures("beside", beside),
        **_figures("put alone", puts_alone),
        **_figures("put beside", puts_beside),
        "cores": cores,
        "memory before": before / MIB,
        "memory after": after / MIB,
    }


@contextmanager
def _running(attack: Attack, target: Target) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=attack, args=(target,))
    process.start()
    assert process.pid is not None
    try:
        with held_back(process.pid):
            yield
            assert process.is_alive(), "the attack has failed"
    finally:
        process.kill()
        process.join()


def _first_uses(connection: Connection, name: str, count: int) -> list[float]:
    """Return how long they took, in order; one that fails counts as the on-demand time-out."""
    times = []
    for number in range(count):
        scope = f"{{image:{name}-{number}|cloud-2}}"
        begin = time.perf_counter()
        response = connection.send("/image/v2/images", [("X-Scope", scope)])
        took = (time.perf_counter() - begin) * 1000
        times.append(took if response.status == 200 else max(took, FAILED))
        time.sleep(PAUSE)
    return sorted(times)


def _puts(started: Stack, connection: Connection, name: str) -> list[float]:
    """Return how long it took until ten new clouds counted, in order."""
    times = []
    for number in range(10):
        scope = [("X-Scope", f"{{image:{name}-{number}}}")]
        connection.send("/image/v2/images", scope)  # no such cloud
        begin = time.perf_counter()
        started.put(manifest(f"{name}-{number}"))
        while b"no cloud is named" in connection.send("/image/v2/images", scope).body:
            time.sleep(0.005)
        times.append((time.perf_counter() - begin) * 1000)
    return sorted(times)


def _figures(when: str, times: list[float]) -> Figures:
    p99 = times[min(len(times) - 1, len(times) * 99 // 100)]
    return {f"{when} p50": times[len(times) // 2], f"{when} p99": p99, f"{when} most": times[-1]}
