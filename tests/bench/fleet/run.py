"""What the parts of the bench share: the processes, the world, and the table."""

import argparse
import sys
import time
from contextlib import ExitStack
from itertools import islice

import report
from fleet import usage
from fleet.generator import Generator
from fleet.table import Table
from fleet.world import FEW, SHARED, Putter, World

from harness.stack import ServeProcess, Stack
from scopeway.control_plane.clouds.model import Cloud

WARM_STREAMS, WARM_TARGETS = 100, 50
"""These use more than the control plane keeps of parsed names and compiled clusters."""


class Run:
    """Real etcd and control plane, filled; all streams connected, with their targets in use."""

    def __init__(
        self, options: argparse.Namespace, table: Table, stack: Stack, closing: ExitStack
    ) -> None:
        """Start everything that is to be measured.

        Args:
            options: `clouds`, `streams`, `targets`, `rounds`, `rate`, `seconds`.
            table: Gets the rows.
            stack: A started etcd.
            closing: Ends what was started.
        """
        self.options = options
        self.table = table
        self.stack = stack
        self.world = World(clouds=options.clouds, streams=options.streams, targets=options.targets)
        self.generator = Generator(self.world.sites, seed=1)
        closing.callback(self.generator.close)
        self.putter = Putter(stack.etcd.port)
        closing.callback(self.putter.close)
        self._changes = 0
        self.serve = self._start()
        self.loaded = self.serve.memory()
        """The memory of the control plane with all clouds, and no stream."""
        self._warm()
        self.warm = self.serve.memory()
        """The same after some streams, when all is there that is kept once for all of them."""
        self.connect(first=True)

    @property
    def address(self) -> tuple[str, int]:
        """Where the control plane takes streams."""
        return "127.0.0.1", self.serve.xds_port

    def connect(self, *, first: bool = False) -> None:
        """Connect all streams; the first time, let them use their targets, too."""
        if not first:
            self.reconnect(self.address)
            return
        self.progress(f"{self.options.streams} streams, {self.options.targets} targets each")
        before, begin = usage.cpu(self.serve.pid), time.perf_counter()
        self.generator.connect([self.address])
        self.generator.use(self.world.targets)
        took, cpu = time.perf_counter() - begin, usage.cpu(self.serve.pid) - before
        report.value("first connection of all streams, with all first uses", took, "s")
        report.value("  CPU of it", cpu, "s")
        self.table.row(
            f"{self.options.streams} new Envoys at once, {self.options.targets} first uses each",
            f"{took:.1f} s, CPU {cpu:.1f} s",
        )
        time.sleep(self.options.settle)

    def reconnect(self, *addresses: tuple[str, int]) -> None:
        """Cut all connections and connect anew, to one address after the other."""
        self.generator.reconnect(addresses, [""] * len(self.world.sites))
        time.sleep(1)
        for serve in self.stack.serves:
            if serve.running:
                usage.await_idle(serve.pid)

    def changed(self, name: str) -> Cloud:
        """Return another version of a cloud, to be put."""
        self._changes += 1
        return self.world.cloud(name, self._changes % 50_000)

    def progress(self, text: str) -> None:
        """Tell the operator."""
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    def _warm(self) -> None:
        self.progress(f"{WARM_STREAMS} streams use {WARM_TARGETS} targets, and go")
        names = iter(self.world.one_cloud_targets())
        generator = Generator(self.world.names[-WARM_STREAMS:], seed=2)
        try:
            generator.connect([self.address])
            generator.use([list(islice(names, WARM_TARGETS)) for _ in range(WARM_STREAMS)])
        finally:
            generator.close()
        time.sleep(self.options.settle)

    def _start(self) -> ServeProcess:
        self.progress(f"{self.options.clouds} clouds")
        serve = self.stack.serve()
        self.empty = serve.memory()
        """The memory of the control plane without clouds."""
        serve.kill()
        self.stack.put(*map(self.world.cloud, (*self.world.names, SHARED, FEW)))
        begin = time.perf_counter()
        serve.start()
        took = time.perf_counter() - begin
        report.value(f"start with {self.options.clouds} clouds", took, "s")
        self.table.row(f"start with {self.options.clouds} clouds", f"{took:.1f} s", target="3 s")
        return serve
