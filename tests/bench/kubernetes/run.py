"""What the parts of the bench share: an API server full of clouds, and control planes."""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import report
from fixtures import clouds
from fleet import usage
from fleet.world import World
from kubernetes.client import Client, fill

from harness.kubernetes_stack import KubernetesStack
from harness.stack import ServeProcess
from scopeway.control_plane.clouds.model import Cloud

NAMESPACE = "scopeway-status"
"""Of the Leases and the replicas' objects, where a control plane writes status."""
MIB = 1 << 20


class Run:
    """A real API server with so many EdgeClouds; control planes are started by the parts."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        """Start the API server and fill it.

        Args:
            options: `clouds`, `samples`, `starts`, `rate`, `seconds`, `idle`.
            folder: Gets all files.
        """
        self.options = options
        self.folder = folder
        self.world = World(clouds=options.clouds, streams=0, targets=0)
        self.stack = KubernetesStack(folder)
        self.client = Client(self.stack.api)
        self.port = self.stack.echo("image").port
        self.progress(f"{options.clouds} clouds are applied")
        begin = time.perf_counter()
        fill(self.stack.api, list(map(self.world.cloud, self.world.names)))
        took = time.perf_counter() - begin
        report.value(f"filling: {options.clouds} server-side applies, 4 at a time", took, "s")
        self.stack.api.kubectl("create", "namespace", NAMESPACE)

    def close(self) -> None:
        self.client.close()
        self.stack.close()

    @contextmanager
    def serving(self, *options: object) -> Iterator[ServeProcess]:
        """Start a control plane, let it settle, and end it."""
        serve = self.stack.serve(*options)
        usage.await_idle(serve.pid)
        try:
            yield serve
        finally:
            serve.kill()
            self.stack.serves.remove(serve)

    def more_clouds(self, count: int, first: int = 0) -> list[Cloud]:
        """Return clouds that are not applied yet, each with a service that answers."""
        return clouds(count, self.port, first=1_000_000 + first)

    def progress(self, text: str) -> None:
        """Tell the operator."""
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
