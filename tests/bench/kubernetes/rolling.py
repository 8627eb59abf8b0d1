"""A rolling restart of two replicas under load, with the times that real Envoys and Pods have."""

from collections.abc import Sequence
from contextlib import ExitStack, closing

import report
from fixtures import LABELS
from kubernetes.run import Run

from harness.deployment import Deployment, after
from harness.front_load import FirstUses, image, is_ok
from harness.http import Connection
from harness.identities import Identities
from harness.load import Kind, Load
from harness.process import until

SITES = [f"site-{number}" for number in range(1, 5)]
EDGES = 100
"""Clouds of which two in any order are a target that was never used."""
MIN_READY_SECONDS = 10
"""Twice what an Envoy waits before it asks DNS again; this name server's answers are never old.
deploy/control-plane/deployment.yaml has 30 s more."""
PAUSE = 0.1
"""Seconds between two first uses at a front."""


def restart(run: Run) -> None:
    """Replace both replicas while requests go on; count what fails, and what is sent again."""
    stack = run.stack
    stack.hurry = False
    stack.identities = Identities(run.folder)
    edges = run.more_clouds(EDGES, first=100_000)
    for each in edges:
        run.client.apply(each)
    steady: dict[str, Kind] = {
        "own": (image(""), is_ok),
        "a peer": (image(f"{{image:{SITES[0]}}}"), is_ok),
        "direct": (image(f"{{image:{edges[0].name}}}"), is_ok),
        "several": (image(f"{{image:{edges[0].name}|{SITES[0]}}}"), is_ok),
    }
    with closing(Deployment(stack, "--direct", "127.0.0.0/8")) as deployment:
        deployment.start()
        fronts = []
        for name in SITES:
            services = {"image": stack.service(name)}
            accept = [{"clouds": ["[tier=edge]"]}]
            site = stack.site(name, labels=LABELS, services=services, accept=accept)
            assert site.front
            fronts.append(site.front.port)
            with Connection(site.front.port) as client:
                for ask, _ in steady.values():
                    until(lambda ask=ask, client=client: is_ok(ask(client)), "it is in use")
        sent, requests, failed = 0.0, 0, list[str]()
        for _ in range(run.options.restarts):
            loads = [Load(port, steady) for port in fronts]
            _restart(deployment, loads)
            sent += sum(value for each in deployment.replicas for value in each.sent().values())
            failed += [each for load in loads for each in load.failed]
            requests += sum(sum(load.counts.values()) for load in loads)
        n = run.options.restarts
        case = f"rolling restart of 2 replicas, {run.options.clouds} clouds, targets in use"
        report.value(f"{case}: failed requests", len(failed), "", n=requests, bound=0)
        report.value(f"{case}: resources sent again", sent, "", n=n, bound=0)
        _first_uses(run, deployment, fronts, [each.name for each in edges])
        for each in deployment.replicas:
            each.kill()
    for name in SITES:
        stack.envoys[name].stop()


def _first_uses(
    run: Run, deployment: Deployment, fronts: Sequence[int], names: Sequence[str]
) -> None:
    """Do it once more while each front uses new targets."""
    uses = [FirstUses(names, pause=PAUSE) for _ in fronts]
    failed: list[str] = []
    for _ in range(run.options.restarts):
        loads = [
            Load(port, {"first use": (use, is_ok)}) for port, use in zip(fronts, uses, strict=True)
        ]
        _restart(deployment, loads)
        failed += (each for load in loads for each in load.failed)
    times = [each for use in uses for each in use.milliseconds]
    case = f"rolling restart of 2 replicas, {run.options.clouds} clouds, first uses"
    report.value(f"{case}: failed requests", len(failed), "", n=len(times), bound=0)
    for each in failed[:5]:
        run.progress(each)
    report.samples(f"{case}: time of each", times, "ms")
    report.value(f"{case}: longest", max(times), "ms", n=len(times))


def _restart(deployment: Deployment, loads: Sequence[Load]) -> None:
    with ExitStack() as running:
        for load in loads:
            running.enter_context(load.running())
            load.goes_on()
        deployment.restart(after(MIN_READY_SECONDS))
        deployment.await_ends()
        for load in loads:
            load.goes_on()
