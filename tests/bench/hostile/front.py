"""Attacks on a front by one client: what an honest client beside it feels, and Envoy's memory.

`CASES` has a function for each attack, which returns figures by name: p50 and p99 (ms) of the
honest client alone and beside the attack, for requests to a target in use and for first uses, its
errors and the answers of another cloud than it named first, and Envoy's resident set (MiB) before
and at most. The attacker is held to half a core.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

BENCH = Path(__file__).parents[1]
sys.path[:0] = [str(BENCH)]

from fixtures import Stack, at, manifest  # noqa: E402 - the path has to be there first
from hostile.attacker import attacker, in_folder  # noqa: E402

from harness.envoy import Envoy  # noqa: E402
from harness.http import Connection  # noqa: E402
from harness.raw_service import RawService, answer, saying  # noqa: E402

REQUESTS = 400
FIRST_USES = 40
PAUSE = 0.01
"""Seconds between two requests of the honest client."""
WARM_UP = 3.0
"""Seconds that an attack runs before the honest client beside it is measured."""
ATTACKS = Path(__file__).with_name("front_attacks.py")

Figures = dict[str, float]
ANYONE = [{"clouds": ["cloud-1"]}]


def honest(
    port: int, scopes: Sequence[str], *, method: str = "GET"
) -> tuple[list[float], list[int], list[str]]:
    """Send a request for each scope; their times in ms, statuses, and who answered."""
    times, statuses, clouds = [], [], []
    with Connection(port) as connection:
        for scope in scopes:
            begin = time.perf_counter()
            response = connection.send("/image/v2", [("X-Scope", scope)], method=method)
            times.append((time.perf_counter() - begin) * 1e3)
            statuses.append(response.status)
            clouds.append(response.headers["x-scopeway-served-by"] or "")
            time.sleep(PAUSE)
    return times, statuses, clouds


def beside(attack: str, folder: Path, *, method: str = "GET", **clouds: Any) -> Figures:
    """Measure an honest client alone and beside an attack.

    Args:
        attack: Its name in `front_attacks`.
        folder: For what is started.
        method: Of the honest client's requests to a target in use.
        clouds: Further clouds of the scene, as manifests have them; the target in use is
            `refusing|cloud-1` where there is that one, else cloud-2.
    """
    with Stack(folder) as stack:
        stack.serve()
        image = stack.service("glance")
        stack.site("cloud-2", services={"image": image}, accept=ANYONE)
        firsts = [f"new-{number}" for number in range(2 * FIRST_USES)]
        stack.put(*(manifest(each, services={"image": image}, accept=ANYONE) for each in firsts))
        stack.put(*(manifest(name, **spec) for name, spec in clouds.items()))
        honoured = {"clouds": ["cloud-9"]}
        site = stack.site(
            "cloud-1",
            services={"image": image, "identity": stack.service("keystone")},
            accept=[{**honoured, "services": ["identity.validate"], "identity": honoured}],
        )
        assert site.front is not None
        port, envoy = site.front.port, stack.envoys["cloud-1"]
        expected = "refusing" if "refusing" in clouds else "cloud-2"
        in_use = "{image:refusing|cloud-1}" if "refusing" in clouds else "{image:cloud-2}"
        honest(port, [in_use] * 20, method=method)
        figures: Figures = {"envoy_before_mib": _mib(envoy.memory())}

        def measure(what: str, scopes: Sequence[str]) -> None:
            times, statuses, answered = honest(port, [in_use] * REQUESTS, method=method)
            _add(figures, f"in_use_{what}", times)
            figures[f"errors_{what}"] = sum(status >= 400 for status in statuses)
            figures[f"by_another_cloud_{what}"] = sum(each != expected for each in answered)
            times, statuses, _ = honest(port, scopes)
            _add(figures, f"first_use_{what}", times)
            figures[f"errors_{what}"] += sum(status >= 400 for status in statuses)

        scopes = [f"{{image:{each}}}" for each in firsts]
        measure("alone", scopes[:FIRST_USES])
        with attacker(ATTACKS, attack, port), _most(envoy) as most:
            time.sleep(WARM_UP)
            measure("beside", scopes[FIRST_USES:])
        figures["envoy_most_mib"] = _mib(max(most))
        return figures


@contextmanager
def _most(envoy: Envoy) -> Iterator[list[int]]:
    """Sample the resident set."""
    seen, ended = [envoy.memory()], Event()

    def sample() -> None:
        while not ended.wait(0.05):
            seen.append(envoy.memory())

    thread = Thread(target=sample)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def _mib(size: int) -> float:
    return round(size / (1 << 20), 1)


def _add(figures: Figures, name: str, times: Sequence[float]) -> None:
    ordered = sorted(times)
    figures[f"{name}_p50_ms"] = round(statistics.median(ordered), 2)
    figures[f"{name}_p99_ms"] = round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)], 2)


def endless_logins_http1(folder: Path) -> Figures:
    """200 connections of HTTP/1.1 with logins that don't end."""
    return beside("endless_logins_http1", folder)


def endless_logins_http2(folder: Path) -> Figures:
    """1,000 logins of 2 MiB each on one connection of HTTP/2."""
    return beside("endless_logins_http2", folder)


def silent_keystone(folder: Path) -> Figures:
    """200 validations at once at another cloud's Keystone that doesn't answer."""

    def never(*_: object) -> bool:
        time.sleep(1e6)
        return False

    with RawService(never) as keystone:
        services = {"identity": {"endpoints": [at(keystone.port)]}}
        return beside("validations", folder, **{"cloud-9": {"services": services}})


def ejection_by_a_user(folder: Path) -> Figures:
    """Uploads that a service refuses early, to `a|b`; the honest client writes there."""
    said = saying(answer(200))

    def handle(connection: Any, head: bytes) -> bool:
        if head.startswith(b"PUT"):
            connection.sendall(answer(413))
            return False
        return said(connection, head)

    with RawService(handle) as service:
        services = {"image": {"endpoints": [at(service.port)]}}
        refusing = {"services": services, "accept": ANYONE}
        return beside("refused_uploads", folder, method="POST", refusing=refusing)


CASES: Mapping[str, Callable[[], Figures]] = {
    each.__name__.replace("_", " "): in_folder(each)
    for each in (endless_logins_http1, endless_logins_http2, silent_keystone, ejection_by_a_user)
}
