"""The parts of the bench; each prints its figures, and leaves no control plane running."""

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice

import report
from fixtures import LABELS, at
from fleet import usage
from fleet.world import Putter
from kubernetes.client import Client, fill
from kubernetes.run import MIB, NAMESPACE, Run

from harness.http import Connection
from harness.kubernetes import KUBECTL
from harness.process import clean_environment
from harness.stack import ServeProcess, Stack
from scopeway.control_plane.clouds.document import to_document
from scopeway.control_plane.clouds.model import Cloud

IMAGES = "/image/v2/images"
STATUS = ("--status-namespace", NAMESPACE)
KUBECTL_SAMPLES = 15
TOGETHER = 4
"""Changes at once."""
READY_SECONDS, MEMORY_MIB, APPLY_MS, CHANGE_MS = 4.0, 200.0, 30.0, 1.0
"""The bounds."""


def start(run: Run) -> None:
    """From exec until /readyz is 200; beside an etcd with the same clouds, in turn."""
    with Stack(run.folder) as etcd:
        etcd.put(*map(run.world.cloud, run.world.names))
        served = {
            "kubernetes": run.stack.serve(start=False),
            "etcd": etcd.serve(start=False),
        }
        found: dict[str, list[tuple[float, ...]]] = {name: [] for name in served}
        for _ in range(run.options.starts):
            for name, serve in served.items():
                found[name].append(_start(serve))
    run.stack.serves.clear()
    for name, rows in found.items():
        ready, cpu, memory, peak = (statistics.median(column) for column in zip(*rows, strict=True))
        case, n = f"{name}: start with {run.options.clouds} clouds", run.options.starts
        ours = name == "kubernetes"
        report.value(f"{case}: ready", ready, "s", n=n, bound=READY_SECONDS if ours else None)
        report.value(f"{case}: CPU", cpu, "s", n=n)
        report.value(f"{case}: memory", memory, "MiB", n=n, bound=MEMORY_MIB if ours else None)
        report.value(f"{case}: peak of memory", peak, "MiB", n=n)


def _start(serve: ServeProcess) -> tuple[float, ...]:
    """Start it; return seconds, CPU seconds, and MiB, also at most; then end it."""
    begin = time.perf_counter()
    serve.start()
    took, cpu = time.perf_counter() - begin, serve.cpu()
    usage.await_idle(serve.pid)
    memory, peak = serve.memory() / MIB, serve.peak_memory() / MIB
    serve.kill()
    return took, cpu, memory, peak


def apply(run: Run) -> None:
    """From a cloud's apply to the first success through a real Envoy."""
    with run.serving() as serve:
        image = {"image": {"endpoints": [at(run.port)]}}
        site = run.stack.site("cloud-1", serve, labels=LABELS, services=image)
        assert site.front is not None
        new = run.more_clouds(run.options.samples + KUBECTL_SAMPLES)
        with Connection(site.front.port) as client:
            by_call = [_applied(client, run.client.apply, each) for each in new[KUBECTL_SAMPLES:]]
            by_kubectl = [
                _applied(client, lambda cloud: _kubectl_apply(run, cloud), each)
                for each in new[:KUBECTL_SAMPLES]
            ]
        for how, samples in (("server-side apply", by_call), ("kubectl apply", by_kubectl)):
            calls, waits = zip(*samples, strict=True)
            beyond = f"{how}: until the first 200, beyond the call"
            report.samples(f"{how}: the call", calls, "ms")
            report.samples(beyond, waits, "ms", bound=APPLY_MS)
        run.stack.envoys["cloud-1"].stop()


def _applied(
    client: Connection, apply: Callable[[Cloud], None], cloud: Cloud
) -> tuple[float, float]:
    """Apply a cloud; return the milliseconds of the call, and then until it answered."""
    scope = [("X-Scope", f"{{image:{cloud.name}}}")]
    assert client.send(IMAGES, scope).status == 404
    begin = time.perf_counter()
    apply(cloud)
    called = time.perf_counter()
    while (status := client.send(IMAGES, scope).status) == 404:
        pass
    assert status == 200, status
    return (called - begin) * 1e3, (time.perf_counter() - called) * 1e3


def _kubectl_apply(run: Run, cloud: Cloud) -> None:
    subprocess.run(
        [KUBECTL, "apply", "--server-side", "-f", "-"],
        input=json.dumps(to_document(cloud)).encode(),
        env=clean_environment(KUBECONFIG=str(run.stack.api.kubeconfig), HOME=str(run.folder)),
        stdout=subprocess.DEVNULL,
        check=True,
    )


def changes(run: Run) -> None:
    """CPU of a change of a cloud that no Envoy uses; beside etcd with the same clouds.

    Changes that come together cost less: each change by itself finds the caches of the processor
    full of the API server's data.
    """
    rate, seconds = run.options.rate, run.options.seconds
    names = list(islice(cycle(run.world.shuffled()), rate * seconds))
    clients = [Client(run.stack.api) for _ in range(TOGETHER)]
    with run.serving() as serve, ThreadPoolExecutor(TOGETHER) as pool:
        before = serve.memory()

        def patch(changed: Sequence[tuple[str, int]]) -> None:
            def one(client: Client, change: tuple[str, int]) -> None:
                client.patch(change[0], {"peer": {"port": 20_000 + change[1] % 40_000}})

            list(pool.map(one, clients, changed))

        _costs(run, "kubernetes", serve, names, patch, bound=CHANGE_MS)
        grown = (serve.memory() - before) / MIB
        report.value("kubernetes: memory grown by these changes", grown, "MiB")
        peak = serve.peak_memory() / MIB
        report.value("kubernetes: peak of memory by then", peak, "MiB", bound=MEMORY_MIB)
    for client in clients:
        client.close()
    with Stack(run.folder) as etcd:
        etcd.put(*map(run.world.cloud, run.world.names))
        putter = Putter(etcd.etcd.port)
        serve = etcd.serve()
        usage.await_idle(serve.pid)

        def put(changed: Sequence[tuple[str, int]]) -> None:
            for name, number in changed:
                putter.put(run.world.cloud(name, 1 + number))

        _costs(run, "etcd", serve, names, put)
        putter.close()


Change = Callable[[Sequence[tuple[str, int]]], None]
"""Changes clouds at once, each to another number."""


def _costs(
    run: Run,
    registry: str,
    serve: ServeProcess,
    names: Sequence[str],
    change: Change,
    *,
    bound: float | None = None,
) -> None:
    for together in (1, TOGETHER):
        cost = _cost(serve, names, run.options.rate, change, together=together)
        case = f"CPU of a change, {run.options.rate} a second, {together} at once"
        report.value(f"{registry}: {case}", cost, "ms", n=len(names), bound=bound)


def _cost(
    serve: ServeProcess, names: Sequence[str], rate: int, change: Change, *, together: int = 1
) -> float:
    """Change clouds at a rate; return the milliseconds of CPU that the control plane took each."""
    before, start = serve.cpu(), time.perf_counter()
    for first in range(0, len(names), together):
        time.sleep(max(start + first / rate - time.perf_counter(), 0))
        some = names[first : first + together]
        change([(name, first + number + together) for number, name in enumerate(some)])
    usage.await_idle(serve.pid)
    return (serve.cpu() - before) / len(names) * 1e3


def status(run: Run) -> None:
    """What the replica that writes status writes, and what it costs; before any other change."""
    clouds = run.options.clouds
    run.progress("the first status of all clouds")
    before, begin = _writes(run), time.perf_counter()
    serve = run.stack.serve(*STATUS)
    _await_quiet(run)
    took = time.perf_counter() - begin
    report.value(f"status of {clouds} clouds that had none: writes", _since(run, before), "")
    report.value("  seconds of it", took, "s")
    report.value("  CPU of it at the control plane", serve.cpu(), "s")
    report.value("  memory after it", serve.memory() / MIB, "MiB", bound=MEMORY_MIB)

    run.progress("all clouds are applied anew, unchanged")
    before, cpu = _writes(run), serve.cpu()
    fill(run.stack.api, list(map(run.world.cloud, run.world.names)))
    _await_quiet(run)
    again = f"{clouds} clouds applied anew, unchanged"
    report.value(f"{again}: status writes", _since(run, before), "", bound=0)
    report.value(f"{again}: CPU at the control plane", serve.cpu() - cpu, "s")

    run.progress(f"{run.options.idle} idle seconds")
    before, others, cpu = _writes(run), run.client.requests(), serve.cpu()
    time.sleep(run.options.idle)
    idle = f"{run.options.idle} idle seconds"
    report.value(f"{idle}: status writes", _since(run, before), "", bound=0)
    later = run.client.requests() - others
    for resource in ("leases", "configmaps"):
        wrote = sum(
            count
            for (name, _, verb), count in later.items()
            if name == resource and verb in ("PUT", "PATCH", "POST", "APPLY")
        )
        report.value(f"{idle}: writes of {resource}", wrote, "")
    report.value(f"{idle}: CPU at the control plane", (serve.cpu() - cpu) * 1e3, "ms")

    rate = run.options.rate
    names = list(islice(cycle(run.world.shuffled()), rate * run.options.seconds))

    def patch(changed: Sequence[tuple[str, int]]) -> None:
        for name, number in changed:
            run.client.patch(name, {"peer": {"port": 20_000 + number % 40_000}})

    cost = _cost(serve, names, rate, patch)
    case = f"CPU of a change, {rate} a second, with its status written"
    report.value(f"kubernetes: {case}", cost, "ms", n=len(names))
    report.value("kubernetes: peak of memory with status", serve.peak_memory() / MIB, "MiB")
    serve.kill()
    run.stack.serves.clear()


def _writes(run: Run) -> int:
    """Return how many writes of the status of clouds the API server has answered."""
    return sum(
        count
        for (resource, subresource, verb), count in run.client.requests().items()
        if (resource, subresource) == ("edgeclouds", "status") and verb != "GET"
    )


def _since(run: Run, before: int) -> int:
    return _writes(run) - before


def _await_quiet(run: Run) -> None:
    """Wait until no status has been written for some seconds."""
    writes = -1
    while (now := _writes(run)) != writes:
        writes = now
        time.sleep(3)
