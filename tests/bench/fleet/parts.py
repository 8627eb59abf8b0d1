"""The parts of the bench; each says its figures as JSON, and adds its rows to the table.

A part leaves the streams connected to the first control plane, with their targets in use.
"""

import statistics
import time
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import cycle, islice

import report
from fleet import usage
from fleet.floor import METHOD as FLOOR_METHOD
from fleet.floor import Floor
from fleet.generator import Generator
from fleet.run import Run
from fleet.world import EVERYWHERE, FEW, FEW_USERS, SHARED, World

MIB, KB = 1 << 20, 1000
SETTLE = 0.25
"""Seconds after which what a change brought has been read everywhere."""
FIRST_USES = 3
"""New targets of each stream while clouds change."""


def memory(run: Run) -> None:
    """What clouds and streams take; the floor of a stream is the bare server's."""
    clouds = (run.loaded - run.empty) / len(run.world.names) / KB
    settled = usage.memory(run.serve.pid)
    stream = (settled - run.warm) / len(run.world.sites) / KB
    once = (run.warm - run.loaded) / MIB
    report.value("memory of the control plane without clouds", run.empty / MIB, "MiB")
    report.value("memory of a cloud", clouds, "kB", n=len(run.world.names))
    report.value("memory that is kept once for all streams", once, "MiB")
    report.value("memory of a stream with its targets", stream, "kB", n=len(run.world.sites))
    run.generator.disconnect()
    bare = _bare_memory(run, our_malloc=False) / KB
    report.value("  floor: memory of a stream", bare, "kB", n=len(run.world.sites))
    apart = _bare_memory(run, our_malloc=True) / KB
    report.value("  floor with our settings of malloc", apart, "kB", n=len(run.world.sites))
    run.connect()
    time.sleep(run.options.settle)
    back = (usage.memory(run.serve.pid) - run.warm) / len(run.world.sites) / KB
    report.value("  of one that came back", back, "kB", n=len(run.world.sites))
    further = _further_streams(run) / KB
    report.value("  of each further one", further, "kB", n=len(run.world.sites) // 2)
    run.table.row("memory of a cloud", f"{clouds:.1f} kB", target="10 kB")
    run.table.row("memory kept once for all streams", f"{once:.0f} MiB")
    run.table.row(
        f"memory of a stream, {run.options.targets} targets",
        f"{stream:.0f} kB; of one that came back {back:.0f}; of each further one {further:.0f}",
        target="80 kB",
        floor=f"{bare:.0f} kB: bare grpc.aio; {apart:.0f} with our settings of malloc",
    )


def _bare_memory(run: Run, *, our_malloc: bool) -> float:
    """Return the bytes that a stream takes of the bare server."""
    with Floor(our_malloc=our_malloc) as floor:
        before = usage.memory(floor.pid)
        run.generator.connect([floor.address], method=FLOOR_METHOD)
        floor.await_streams(len(run.world.sites))
        time.sleep(SETTLE)
        taken = usage.memory(floor.pid) - before
        run.generator.disconnect()
    return taken / len(run.world.sites)


def _further_streams(run: Run) -> float:
    """Return the bytes that each of half as many streams more takes."""
    first, count = len(run.world.sites), len(run.world.sites) // 2
    world = World(clouds=len(run.world.names), streams=first + count, targets=run.options.targets)
    before = usage.memory(run.serve.pid)
    generator = Generator(world.sites[first:], seed=3)
    try:
        generator.connect([run.address])
        generator.use(world.targets[first:])
        time.sleep(run.options.settle)
        return (usage.memory(run.serve.pid) - before) / count
    finally:
        generator.close()


def fanout(run: Run) -> None:
    """One cloud changes, and all streams that use it take it: from the put to the last ACK."""
    pushes = ((FEW, FEW_USERS), (SHARED, len(run.world.sites)))
    times, cpu = {}, {}
    for cloud, users in pushes:
        before = usage.cpu(run.serve.pid)
        times[cloud] = _rounds(run, cloud, users)
        cpu[cloud] = (usage.cpu(run.serve.pid) - before) / run.options.rounds * 1e3
        report.samples(
            f"change of a cloud that {users} streams use, put to ACKs", times[cloud], "ms"
        )
        report.value("  CPU of it", cpu[cloud], "ms", n=run.options.rounds)
    data = run.generator.sample()
    run.generator.disconnect()
    with Floor() as floor:
        run.generator.connect([floor.address], method=FLOOR_METHOD)
        floor.await_streams(len(run.world.sites))
        for cloud, users in pushes:
            before = usage.cpu(floor.pid)
            bare = _bare_rounds(run, floor, data, users)
            bare_cpu = (usage.cpu(floor.pid) - before) / run.options.rounds * 1e3
            report.samples(f"  floor: a bare push to {users} streams", bare, "ms")
            report.value("  CPU of it", bare_cpu, "ms", n=run.options.rounds)
            ratio = statistics.median(times[cloud]) / statistics.median(bare)
            run.table.row(
                f"change of a cloud that {users} streams use, put to last ACK",
                f"{statistics.median(times[cloud]):.1f} ms, {ratio:.1f} x floor; "
                f"CPU {cpu[cloud]:.1f} ms, {cpu[cloud] / bare_cpu:.1f} x",
                target="10 ms" if cloud == FEW else "2.5 x floor",
                floor=f"{statistics.median(bare):.1f} ms; CPU {bare_cpu:.1f} ms",
            )
        run.generator.disconnect()
    run.connect()


def changes(run: Run) -> None:
    """Clouds change at a rate, each once in a long while, and Envoys use new targets meanwhile."""
    seconds, rate = run.options.seconds, run.options.rate
    users = Counter(target.partition("@")[2] for targets in run.world.targets for target in targets)
    pool = run.world.shuffled()
    documents = [run.changed(name) for name in islice(cycle(pool), rate * seconds)]
    expected = sum(users[cloud.name] for cloud in documents)
    before, cpu = usage.memory(run.serve.pid), usage.cpu(run.serve.pid)
    clients = usage.cpu(run.generator.pid)
    first_uses = run.world.more(FIRST_USES, seed=2)
    run.generator.record(first_uses, seconds / (FIRST_USES * len(run.world.sites)))
    puts: dict[str, list[float]] = defaultdict(list)
    start = time.perf_counter()
    for number, cloud in enumerate(documents):
        time.sleep(max(start + number / rate - time.perf_counter(), 0))
        puts[cloud.name].append(time.perf_counter())
        run.putter.put(cloud)
        if number % (rate * 10) == rate * 10 - 1:
            run.progress(f"{number + 1} changes")
    took = time.perf_counter() - start
    time.sleep(1)
    taken, first = run.generator.recorded()
    cpu, clients = usage.cpu(run.serve.pid) - cpu, usage.cpu(run.generator.pid) - clients
    waits = _waits(taken, puts)
    growth = usage.memory(run.serve.pid) - before
    clouds = len(run.world.names)
    name = f"{len(documents) / took:.0f} changes/s for {seconds} s, {clouds} clouds"
    report.samples(f"{name}: put to ACK", waits, "ms")
    # the first uses are pushed to as well, so more may come
    report.value(f"{name}: pushes that never came", max(expected - len(taken), 0), "", n=expected)
    report.samples(f"{name}: first uses", [each * 1e3 for each in first], "ms")
    report.value(f"{name}: CPU of a change", cpu / len(documents) * 1e3, "ms", n=len(documents))
    report.value(f"{name}: CPU of a core", 100 * cpu / took, "%")
    report.value(f"{name}: CPU of a core for the clients", 100 * clients / took, "%")
    report.value(f"{name}: growth", growth / MIB, "MiB")
    run.table.row(
        f"{name}: put to ACK",
        f"p50 {usage.percentile(waits, 50):.1f} ms, p99 {usage.percentile(waits, 99):.1f} ms "
        f"({len(waits)} pushes, {max(expected - len(taken), 0)} never came)",
        target="p99 500 ms",
    )
    if first:
        milliseconds = [each * 1e3 for each in first]
        run.table.row(
            "  first use of a target meanwhile",
            f"p50 {usage.percentile(milliseconds, 50):.1f} ms, "
            f"p99 {usage.percentile(milliseconds, 99):.1f} ms",
            target="p99 20 ms",
        )
    run.table.row(
        "  CPU of a change; memory before and after",
        f"{cpu / len(documents) * 1e3:.2f} ms ({len(taken) / len(documents):.1f} pushes); "
        f"{before / MIB:.0f} + {growth / MIB:.0f} MiB",
        target="flat",
    )


def idle_changes(run: Run) -> None:
    """Clouds change that nobody uses: what a change costs by itself, whatever the number of them.

    Their users are all of one kind, so that the same is done with few and with many clouds.
    """
    count = 1000
    used = {
        cloud
        for targets in run.world.targets
        for target in targets
        for cloud in target.partition("@")[2].split("|")
    }
    unused = [name for name in run.world.names if name not in used]
    if not unused:
        return
    documents = [run.changed(name) for name in islice(cycle(unused), count)]
    before = usage.cpu(run.serve.pid)
    for cloud in documents:
        run.putter.put(cloud)
    time.sleep(SETTLE)
    cost = (usage.cpu(run.serve.pid) - before) / count * 1e6
    clouds = len(run.world.names)
    report.value(f"CPU of a change that no stream needs, {clouds} clouds", cost, "us", n=count)
    run.table.row(
        f"CPU of a change that no stream needs, {clouds} clouds",
        f"{cost:.0f} us",
        target="the same",
    )


def reconnect(run: Run) -> None:
    """All streams lose their connection at once and come back; then with a new control plane."""
    for number, restarted in enumerate((False, True)):
        extra = [names[0] for names in run.world.more(1, seed=3 + number)]
        if restarted:
            run.serve.restart()
        run.generator.totals()
        before = usage.cpu(run.serve.pid)
        waits = run.generator.reconnect([run.address], extra)
        usage.await_idle(run.serve.pid)
        cpu = usage.cpu(run.serve.pid) - before
        totals = run.generator.totals()
        again = totals.resources + totals.removed - len(waits)
        name = f"{len(waits)} streams reconnect at once" + (" to a new process" * restarted)
        report.samples(f"{name}: to their first use", waits, "s")
        report.value(f"{name}: resources sent again", again, "", n=len(waits))
        report.value(f"{name}: CPU", cpu, "s")
        run.table.row(
            name,
            f"steady, with a first use each, in {max(waits):.1f} s, "
            f"half of them in {statistics.median(waits):.1f} s; "
            f"{again} resources sent again; CPU {cpu:.1f} s",
            target="5 s; none",
        )


def replicas(run: Run) -> None:
    """A second control plane on the same machine takes half of the streams, then all of them."""
    other = run.stack.serve()
    second = ("127.0.0.1", other.xds_port)
    count = len(run.world.sites)
    run.generator.totals()
    run.reconnect(run.address, second)
    moved = run.generator.totals()
    before = usage.cpu(run.serve.pid) + usage.cpu(other.pid)
    times = _rounds(run, SHARED, count)
    cpu = (usage.cpu(run.serve.pid) + usage.cpu(other.pid) - before) / run.options.rounds * 1e3
    both = (usage.memory(run.serve.pid) + usage.memory(other.pid)) / MIB
    report.value("Envoys moved to another control plane: sent again", moved.resources, "", n=count)
    report.samples(f"two control planes, a change that {count} streams use", times, "ms")
    report.value("  CPU of it", cpu, "ms", n=run.options.rounds)
    report.value("  memory of both", both, "MiB")
    run.table.row(
        f"half of {count} streams moved to another control plane: resources sent again",
        f"{moved.resources + moved.removed}",
        target="none",
    )
    run.table.row(
        f"two processes, {count // 2} streams each: a change that all use",
        f"{statistics.median(times):.1f} ms; CPU {cpu:.1f} ms; {both:.0f} MiB together",
    )
    run.reconnect(run.address)
    other.kill()


def labels(run: Run) -> None:
    """All streams use the nearest clouds with a label that all bear, and one of these changes.

    The last part: the streams keep that target.
    """
    count = len(run.world.sites)
    run.generator.use([[f"image@[{EVERYWHERE}]"]] * count)
    usage.await_idle(run.serve.pid)
    run.generator.totals()
    before = usage.cpu(run.serve.pid)
    for _ in range(run.options.rounds):
        run.putter.put(run.changed(run.world.names[-1]))
        time.sleep(SETTLE)
    usage.await_idle(run.serve.pid)
    cpu = (usage.cpu(run.serve.pid) - before) / run.options.rounds * 1e3
    report.value(f"change of a cloud that the labels of {count} streams select: CPU", cpu, "ms")
    run.table.row(
        f"a cloud changes that {EVERYWHERE} of {count} streams selects, with "
        f"{run.options.clouds} others",
        f"CPU {cpu:.0f} ms; {run.generator.totals().resources / run.options.rounds:.1f} pushes",
    )


def _rounds(run: Run, cloud: str, users: int) -> list[float]:
    times = []
    for _ in range(run.options.rounds):
        changed = run.changed(cloud)
        run.generator.expect(f"image@{cloud}", users)
        begin = time.perf_counter()
        run.putter.put(changed)
        times.append((max(run.generator.expected()) - begin) * 1e3)
        time.sleep(SETTLE)
    return times


def _bare_rounds(run: Run, floor: Floor, data: bytes, users: int) -> list[float]:
    times = []
    for _ in range(run.options.rounds):
        run.generator.expect(f"image@{SHARED}", users)
        begin = time.perf_counter()
        floor.push(data, users)
        times.append((max(run.generator.expected()) - begin) * 1e3)
        time.sleep(SETTLE)
    return times


def _waits(taken: Sequence[tuple[float, str]], puts: Mapping[str, Sequence[float]]) -> list[float]:
    """Return the milliseconds from each cloud's last put to each ACK of it.

    A cloud that is put again is so after seconds, when all that it concerned has been taken.
    """
    waits = []
    for at, name in taken:
        assert name.partition("@")[2] in puts, f"{name} was pushed, and its cloud did not change"
        times = puts[name.partition("@")[2]]
        waits.append((at - times[bisect(times, at) - 1]) * 1e3)
    return waits
