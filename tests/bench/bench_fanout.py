"""One request for many clouds, beside what a user has without: python tests/bench/bench_fanout.py.

Real etcd, `scopeway serve`, `scopeway collect` and Envoy; the clouds are one fast process
(`fanout/upstream.py`). CPU is that of the processes named, for one cloud of one listing. The parts,
each of which `--only` selects:

- direct: 10, 100 and 1,000 clouds of 5 images; the first use of 1,000 targets; and the same listing
  with `openstack`, openstacksdk, keystoneauth, and asyncio by hand, in the same run.
- peers: 200 clouds of 5 images through a second Envoy, with mutual TLS.
- large: 1,000 clouds of 100 images (82 MB): all of them, to a client that reads at once and to one
  that waits; and a sorted page of 100.
- faults: 1,000 clouds, of which 50 refuse connections and 50 never answer.
"""

import argparse
import http.client
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import report
from fanout import alternatives
from fanout.world import PATH, SCOPE, Listing, World, world

from harness.process import clean_environment

MIB = 2**20
WARM = 5
"""Listings that a figure is a median of."""
DEADLINE = 5
"""Seconds that the clouds of `faults` get."""
STALLED_SECONDS = 5.0

Counts = Sequence[tuple[str, int]]
COMPARED: Counts = (
    ("openstacksdk", 60),
    ("keystoneauth", 300),
    ("by_hand", 1000),
    ("by_hand_without_login", 1000),
)
"""The alternatives, and how many clouds each is measured with."""
COMMANDS = 4
"""`openstack` commands of the loop."""


def direct() -> None:
    """Measure clouds that have no Envoy, and the alternatives."""
    with world(1000, 5) as made:
        first = made.get()
        _must_be_whole(first, 1000)
        _figures("first use of 1000 clouds", [first], 1000)
        for count in (10, 100):
            scope = f"{{image: &[first{count}=yes]}}"
            listings = _warm(made, scope=scope, count=count)
            _figures(f"{count} clouds of 5 images", listings, count)
        _figures("1000 clouds of 5 images", _warm(made, count=1000), 1000)
        _memory(made, "1000 clouds of 5 images")
        _compare(made)


def peers() -> None:
    """Measure clouds behind the peer of another Envoy."""
    with world(200, 5, peers=True) as made:
        _must_be_whole(made.get(), 200)
        _figures("200 clouds of 5 images, mutual TLS", _warm(made, count=200), 200)


def large() -> None:
    """Measure large answers and slow clients."""
    with world(1000, 100) as made:
        _must_be_whole(made.get(), 1000)
        listings = _warm(made, count=1000)
        _figures("1000 clouds of 100 images", listings, 1000)
        report.value("1000 clouds of 100 images: answer", len(listings[0].body) / 1e6, "MB")
        _memory(made, "1000 clouds of 100 images")
        size = _read_slowly(made)
        report.value(f"a client that waits {STALLED_SECONDS:g} s: answer", size / 1e6, "MB")
        _memory(made, "a client that waits")
        made.get(f"{PATH}?limit=100")  # the services sort their images
        before = made.sent()
        pages = [made.get(f"{PATH}?limit=100") for _ in range(WARM)]
        moved = (made.sent() - before) / WARM
        assert len(pages[0].json["images"]) == 100, pages[0].body[:300]
        _figures("a sorted page of 100 of 1000 clouds of 100 images", pages, 1000)
        report.value("a sorted page of 100: bytes that the clouds sent", moved / 1e6, "MB")


def faults() -> None:
    """Measure clouds that refuse connections or hang."""
    with world(1000, 5, refusing=50, hanging=50) as made:
        for case in ("first use", "warm"):
            found = made.get(headers={"X-Scope-Deadline": str(DEADLINE)})
            failed = found.report["failed"]
            assert {each["cloud"] for each in failed} == made.failing, failed
            causes = Counter(each["cause"] for each in failed)
            case = f"5 % refuse, 5 % hang, deadline {DEADLINE} s, {case}"
            report.value(f"{case}: answered", found.report["answered"], "clouds")
            for cause, number in sorted(causes.items()):
                report.value(f"{case}: {cause}", number, "clouds")
            report.value(f"{case}: total", found.total_ms, "ms")
        refused = made.get(headers={"X-Scope-Require": "all"})
        assert refused.status == 502, refused.body[:300]
        report.value("5 % refuse, all clouds required: total", refused.total_ms, "ms")


def _warm(made: World, *, count: int, scope: str = SCOPE) -> list[Listing]:
    _must_be_whole(made.get(scope=scope), count)  # not measured
    listings = [made.get(scope=scope) for _ in range(WARM)]
    for each in listings:
        _must_be_whole(each, count)
    return listings


def _must_be_whole(listing: Listing, count: int) -> None:
    if listing.status != 200 or listing.report.get("answered") != count:
        raise SystemExit(f"not all of {count} answered: {listing.body[-2000:]!r}")


def _figures(case: str, listings: Sequence[Listing], clouds: int) -> None:
    def median(of: Callable[[Listing], float]) -> float:
        return statistics.median(map(of, listings))

    n = len(listings)
    for name in listings[0].cpu_ms:
        spent = median(lambda each, name=name: each.cpu_ms[name])
        report.value(f"{case}: CPU of {name}", spent / clouds, "ms a cloud", n=n)
    both = median(lambda each: sum(v for k, v in each.cpu_ms.items() if k != "control plane"))
    report.value(f"{case}: CPU of collector and Envoys", both / clouds, "ms a cloud", n=n)
    report.value(f"{case}: first byte", median(lambda each: each.first_ms), "ms", n=n)
    report.value(f"{case}: total", median(lambda each: each.total_ms), "ms", n=n)


def _memory(made: World, case: str) -> None:
    report.value(f"{case}: memory of collector", made.collector.memory() / MIB, "MiB")
    peak = made.collector.peak_memory() / MIB
    report.value(f"{case}: memory of collector at most", peak, "MiB")
    envoy = made.stack.envoys["cloud-1"].memory() / MIB
    report.value(f"{case}: memory of Envoy", envoy, "MiB")


def _read_slowly(made: World) -> int:
    """Read a listing after a pause; return its length."""
    connection = http.client.HTTPConnection("127.0.0.1", made.front, timeout=120)
    connection.request("GET", PATH, headers={"X-Scope": SCOPE, "X-Auth-Token": "gAAAA"})
    response = connection.getresponse()
    before = made.sent()
    time.sleep(STALLED_SECONDS)
    report.value("a client that waits: sent meanwhile", (made.sent() - before) / 1e6, "MB")
    size = len(response.read())
    connection.close()
    return size


def _compare(made: World) -> None:
    """Measure what lists the same images without `&`."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "clouds.yaml"
        file.write_text(alternatives.clouds_yaml(made.upstream_port, made.clouds, made.front))
        variables = {"OS_CLIENT_CONFIG_FILE": str(file)}

        def openstack(cloud: str, *more: str) -> tuple[float, float, str]:
            command = [sys.executable, "-m", "openstackclient.shell", "--os-cloud", cloud]
            return _run([*command, "image", "list", "-f", "value", "-c", "ID", *more], variables)

        runs = [openstack(f"c{number}") for number in range(COMMANDS)]
        cpu, seconds = (sum(run[at] for run in runs) for at in (0, 1))
        _compared("a loop of `openstack`", COMMANDS, cpu, seconds)
        for way, count in COMPARED:
            cpu, seconds, printed = _run(
                alternatives.command(way, made.upstream_port, count), variables
            )
            assert int(printed) == count * made.items, printed
            _compared(way, count, cpu, seconds)
        before = made.cpu()
        cpu, seconds, printed = openstack("all", "--scope", SCOPE)
        assert printed.count("\n") == made.clouds * made.items, printed[-300:]
        _compared("one `openstack` with &", made.clouds, cpu, seconds)
        spent = {name: now - before[name] for name, now in made.cpu().items()}
        both = (spent["collector"] + spent["Envoy"]) / made.clouds * 1e3
        report.value("one `openstack` with &: CPU of collector and Envoy", both, "ms a cloud")


def _compared(way: str, clouds: int, cpu: float, seconds: float) -> None:
    report.value(f"{way}: CPU", cpu / clouds * 1e3, "ms a cloud", n=clouds)
    report.value(f"{way}: total", seconds / clouds * 1e3, "ms a cloud", n=clouds)


def _run(command: Sequence[str], variables: dict[str, str]) -> tuple[float, float, str]:
    """Run a command; return its CPU and wall time in seconds, and its output."""
    begin = time.perf_counter()
    with subprocess.Popen(
        command, env=clean_environment(**variables), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        printed = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime, time.perf_counter() - begin, printed


PARTS = {each.__name__: each for each in (direct, peers, large, faults)}


def main() -> None:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, action="append")
    for name in parser.parse_args().only or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
